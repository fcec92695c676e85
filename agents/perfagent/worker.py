"""The worker: one daemon per run and host. It owns the lease, the jobs and the host's lock, and outlives any
channel to the coordinator.

All waiting happens in one selector: connections, the jobs' event pipes, the warden, signals, and askers at the
host's lock. The lock is an abstract Unix socket: it needs no file, dies with the process, and belongs to the
network namespace, which is what two runs would fight over.
"""

from __future__ import annotations

import json
import os
import platform
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from perfagent import __version__, wire
from perfagent.leave import kill_group, leave
from perfagent.room import room_bytes
from perfagent.service import Service
from perfagent.warden import Warden
from perfagent.wire import Code, Fault

LOCK = "\0perfharness"
UNREAD_LIMIT = 4 << 20
"""Bytes that a connection may leave unread: hours of live figures. A channel cut silently gets no more."""

WARDEN_PAUSE_NS = 1_000_000_000
"""Between two wardens, so that a host on which they cannot live is not worn out."""

_CAPABILITIES = {"cap_net_admin": 12, "cap_net_raw": 13, "cap_sys_nice": 23}


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """The pid and uid at the other end of a Unix socket, as the kernel knows them."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", credentials)
    return pid, uid


def take_host() -> socket.socket:
    """The host's lock. Raises Fault(HOST_BUSY) naming the run that holds it."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(LOCK)
    except OSError:
        lock.close()
        raise Fault(Code.HOST_BUSY, f"another run is on this host: {_holder()}") from None
    lock.listen(8)
    lock.setblocking(False)
    return lock


def _holder() -> str:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(LOCK)
            pid, uid = peer_of(asking)
        except OSError:
            return "it is just leaving"
        try:
            run = json.loads(asking.recv(4096))["run"]
        except (OSError, ValueError, LookupError, TypeError):
            return f"pid {pid} of uid {uid}"
        return f"run {run}, pid {pid} of uid {uid}"


def capabilities() -> dict[str, bool]:
    """Which of the privileges that methods may want this process has."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next((int(line[7:], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    return {name: bool(effective >> bit & 1) for name, bit in _CAPABILITIES.items()}


def filled_pipe(secret: bytes) -> IO[bytes]:
    """A pipe to read ``secret`` from, and then its end: nobody has to wait for a reader, and nobody reads it twice."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(secret)
    return os.fdopen(reading, "rb")


class JobProcess:
    """A job's process, leader of a group of its own, and the pipe of its events."""

    def __init__(self, folder: Path, program: Path, secret: bytes) -> None:
        with (folder / "job.log").open("wb") as log, filled_pipe(secret) as stdin:
            self._process = subprocess.Popen(
                [sys.executable, "-IS", str(program), "job", str(program.parent), folder.name],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder)},
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._folder = folder
        self.job = folder.name
        self.group = self._process.pid
        self.events = self._process.stdout
        self.lines = wire.Lines()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        kill_group(self.group)

    def reap(self) -> int:
        """After its pipe has closed: end what is left of its group, while its number cannot be reused."""
        self.kill()
        self.events.close()
        exit_code = self._process.wait()
        log = self._folder / "job.log"
        if log.exists() and log.stat().st_size == 0:
            log.unlink()
        return exit_code


class Connection:
    """A channel to a coordinator."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.lines = wire.Lines()
        self.unsent = bytearray()


class Worker:
    """Binds the service to the world. Create it, then ``run`` until the lease ends or ``bye``."""

    def __init__(self, folder: Path, run: str, lease_s: float) -> None:
        """Takes the host's lock, listens and has a warden. Raises Fault(HOST_BUSY), OSError."""
        self._folder = folder
        self._program = folder / "agent"
        self._run = run
        self._processes: dict[str, JobProcess] = {}
        self._connections: set[Connection] = set()
        self._selector = selectors.DefaultSelector()
        self._lock = take_host()
        self._watch(self._lock, self._on_asker)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind("sock")  # relative to the folder: a path may be too long for a socket's address
        self._listener.listen(8)
        self._listener.setblocking(False)
        self._watch(self._listener, self._on_connect)
        identity = {
            "version": __version__,
            "agent": (folder / wire.MARKER).read_text(encoding="ascii"),
            "python": platform.python_version(),
            "uid": os.geteuid(),
            "pid": os.getpid(),
            "dir": str(folder),
            "run": run,
            "abilities": capabilities(),
        }
        now_ns = time.monotonic_ns()
        self._service = Service(
            identity, folder / "jobs", lease_s, now_ns, self._spawn, os.getpid(), partial(room_bytes, folder)
        )
        self._warden: Warden | None = None
        self._next_warden_ns = now_ns
        self._heed_signals()
        self._keep_warden()

    def run(self) -> None:
        """Serve; on the way out leave nothing behind."""
        while not self._service.leaving:
            self._keep_warden()
            for key, events in self._selector.select(self._patience_s()):
                key.data(events)
            self._service.tick(time.monotonic_ns())
            if not self._service.leaving:
                for connection in list(self._connections):
                    self._flush(connection)
        leave(self._folder, [process.group for process in self._processes.values()])
        if self._warden is not None:
            self._warden.goodbye()
        self._last_words()

    # --- what happens ---

    def _on_asker(self, _events: int) -> None:
        """Somebody else wants the host: say who holds it."""
        with suppress(OSError):  # any user of the host may ask, and may be gone before he is answered
            asker, _ = self._lock.accept()
            with asker:
                asker.send(json.dumps({"run": self._run}).encode())

    def _on_connect(self, _events: int) -> None:
        sock, _ = self._listener.accept()
        if peer_of(sock)[1] != os.geteuid():
            sock.close()
            return
        sock.setblocking(False)
        connection = Connection(sock)
        self._connections.add(connection)
        self._watch(sock, partial(self._on_message, connection))

    def _on_message(self, connection: Connection, events: int) -> None:
        if not events & selectors.EVENT_READ:
            return  # it can take more of what is unsent: the loop sees to that
        try:
            data = connection.socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        try:
            for line in connection.lines.feed(data):
                connection.unsent += self._answer(wire.decode_request(line))
        except Fault as fault:
            connection.unsent += wire.encode(wire.Failure(0, fault.code, fault.message))
            self._flush(connection)
            self._drop(connection)

    def _on_job(self, process: JobProcess, _events: int) -> None:
        data = os.read(process.events.fileno(), 1 << 16)
        if not data:
            self._selector.unregister(process.events)
            exit_code = process.reap()
            del self._processes[process.job]
            if self._warden is not None:
                self._warden.release(process.group)
            self._broadcast(self._service.ended(process.job, exit_code, time.monotonic_ns()))
            return
        try:
            for line in process.lines.feed(data):
                event = wire.decode_answer(line)
                if isinstance(event, wire.Event):
                    self._broadcast(self._service.heard(event._replace(job=process.job), time.monotonic_ns()))
        except Fault:
            process.kill()  # a job that garbles its pipe cannot be followed

    def _on_warden(self, _events: int) -> None:
        """It never speaks, so this is its death."""
        if self._warden is not None:
            self._selector.unregister(self._warden.socket)
            self._warden.reap()
            self._warden = None

    def _on_signal(self, woken: socket.socket, _events: int) -> None:
        woken.recv(64)  # its handler has run already

    # --- what is done ---

    def _answer(self, request: wire.Request) -> bytes:
        try:
            return wire.encode(wire.Reply(request.id, self._service.answer(request, time.monotonic_ns())))
        except Fault as fault:
            return wire.encode(wire.Failure(request.id, fault.code, fault.message))
        except Exception as error:  # a bug must reach a person, not end the worker
            words = f"{request.method} broke in the agent: {type(error).__name__}: {error}"
            return wire.encode(wire.Failure(request.id, Code.INTERNAL, words[:4096]))

    def _spawn(self, folder: Path, secret: bytes) -> JobProcess:
        process = JobProcess(folder, self._program, secret)
        self._processes[process.job] = process
        if self._warden is not None:
            self._warden.guard(process.group)
        self._watch(process.events, partial(self._on_job, process))
        return process

    def _keep_warden(self) -> None:
        now_ns = time.monotonic_ns()
        if self._warden is None and now_ns >= self._next_warden_ns:
            self._next_warden_ns = now_ns + WARDEN_PAUSE_NS
            command = [sys.executable, "-IS", str(self._program), "warden", str(self._folder)]
            try:
                self._warden = Warden(command, [process.group for process in self._processes.values()])
            except OSError as error:
                print(f"no warden: {error}", file=sys.stderr)  # noqa: T201 - the agent's log
            else:
                self._watch(self._warden.socket, self._on_warden)

    def _broadcast(self, event: wire.Event | None) -> None:
        if event is not None:
            line = wire.encode(event)
            for connection in self._connections:
                connection.unsent += line

    def _flush(self, connection: Connection) -> None:
        """Send what the connection takes; wait for the rest, unless nobody has been reading for long."""
        try:
            if connection.unsent:
                del connection.unsent[: connection.socket.send(connection.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
            return
        if len(connection.unsent) > UNREAD_LIMIT:
            self._drop(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        key = self._selector.get_key(connection.socket)
        if key.events != events:
            self._selector.modify(connection.socket, events, key.data)

    def _drop(self, connection: Connection) -> None:
        """A channel has gone; the jobs go on."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._selector.unregister(connection.socket)
            connection.socket.close()

    def _last_words(self) -> None:
        """The host is clean: now ``bye`` may be answered."""
        for connection in self._connections:
            connection.socket.settimeout(2.0)
            with suppress(OSError):  # nobody listens any more
                connection.socket.sendall(connection.unsent)
            connection.socket.close()

    def _watch(self, source: Any, callback: Callable[[int], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, callback)

    def _patience_s(self) -> float:
        due_ns = self._service.next_due_ns()
        if self._warden is None:
            due_ns = min(due_ns, self._next_warden_ns)
        return max(0.0, (due_ns - time.monotonic_ns()) / 1e9)

    def _heed_signals(self) -> None:
        """SIGTERM means leave. The selector must wake up for it, hence the wake-up socket."""
        waking, woken = socket.socketpair()
        waking.setblocking(False)
        signal.set_wakeup_fd(waking.fileno())
        self._waking = waking  # kept: a collected socket closes
        self._watch(woken, partial(self._on_signal, woken))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self._service, "leaving", True))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def serve(folder: Path, run: str, lease_s: float) -> int:
    """The worker's process. Standard output says ``ready`` or why not, once, and is closed."""
    os.chdir(folder)
    os.umask(0o077)
    try:
        worker = Worker(folder, run, lease_s)
    except Fault as fault:
        os.write(1, wire.encode(wire.Failure(0, fault.code, fault.message)))
        return 1
    with suppress(BrokenPipeError):  # whoever started us was killed: the lease sees to the rest
        os.write(1, b"ready\n")
    os.dup2(0, 1)
    worker.run()
    return 0
