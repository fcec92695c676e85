"""The near end of an SSH channel on the host: start the worker if this is the first time, then pass bytes between
the channel and the worker's socket. It may die at any moment without harm: the worker does not depend on it. If it
sees the worker die it cleans up, as the warden does."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from perfagent import wire
from perfagent.leave import leave
from perfagent.wire import Code, Fault

LAST_WORDS_S = 5
"""How long to wait for a channel that does not take the worker's last words: sshd may not know that it is cut."""

DYING_S = 0.5
"""How long a killed process may take to close its sockets one after the other."""

_SCAPY_HOMES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
"""Where scapy writes at import; in the agent's folder it is removed with the rest."""


def open_channel() -> int:
    """Keep standard output for the protocol and point fd 1 at stderr, so that nothing else can speak on it.

    The preamble lets the other side skip what a login script has printed.
    """
    channel = os.dup(1)
    os.dup2(2, 1)
    os.write(channel, wire.PREAMBLE)
    return channel


def attach(folder: Path, run: str = "", lease_s: float = 0.0) -> int:
    """Serve one channel until either side ends; with ``run``, start the worker first."""
    try:
        channel = open_channel()
    except OSError:  # the coordinator has gone while the agent was starting
        if run:
            shutil.rmtree(folder, ignore_errors=True)
        return 1
    try:
        if run:
            _start_worker(folder, run, lease_s)
        worker = _connect(folder)
    except Fault as fault:
        os.write(channel, wire.encode(wire.Failure(0, fault.code, fault.message)))
        return 1
    with suppress(ConnectionError):  # one side has gone, which is how this ends
        _relay(channel, worker)
    worker.close()
    if _has_gone(folder):  # it has left, or it was killed: should its warden be dead as well, this does its job
        signal.alarm(0)
        leave(folder, ())
    return 0


def _start_worker(folder: Path, run: str, lease_s: float) -> None:
    """Start the daemon and wait until it listens; a folder without one is removed. Raises Fault."""
    command = [sys.executable, "-IS", str(folder / "agent"), "worker", str(folder), run, str(lease_s)]
    environment = {**os.environ, **{name: str(folder / "scapy") for name in _SCAPY_HOMES}}
    log = folder / "worker.log"
    try:
        with log.open("wb") as errors:
            worker = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        assert worker.stdout is not None
        word = worker.stdout.readline()
        if word == b"ready\n":
            return
        answer = wire.decode_answer(word)
        if not isinstance(answer, wire.Failure):
            raise Fault(Code.INTERNAL, "the worker answered out of turn")
        fault = Fault(Code(answer.code), answer.message)
    except OSError as error:
        fault = Fault(Code.PLATFORM, f"the agent cannot be started: {error}")
    except Fault:
        trace = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
        fault = Fault(Code.INTERNAL, f"the worker died at its start: {trace[-1]}")
    shutil.rmtree(folder, ignore_errors=True)
    raise fault


def _connect(folder: Path) -> socket.socket:
    os.chdir(folder)
    worker = socket.socket(socket.AF_UNIX)
    try:
        worker.connect("sock")
    except OSError:
        worker.close()
        raise Fault(Code.INTERNAL, "the worker has gone") from None
    return worker


def _has_gone(folder: Path) -> bool:
    """A worker that is dying may still be connected to, and then hangs up."""
    try:
        with _connect(folder) as worker:
            worker.settimeout(DYING_S)
            return not worker.recv(1)
    except socket.timeout:
        return False
    except (Fault, OSError):
        return True


def _relay(channel: int, worker: socket.socket) -> None:
    """Pass bytes both ways until one side has gone. Neither may block: a cut channel takes nothing, for ever."""
    os.set_blocking(channel, False)
    unsent = b""
    while True:
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(worker, 0 if unsent else select.POLLIN)  # that it has gone is reported in any case
        if unsent:
            poll.register(channel, select.POLLOUT)
        for ready, what in poll.poll():
            if ready == 0:
                data = os.read(0, 1 << 16)
                if not data:
                    return
                if not _pass_on(worker, data):
                    _last_words(channel, worker, unsent)
                    return
            elif ready == channel:
                unsent = unsent[os.write(channel, unsent) :]
            elif what & select.POLLIN:
                unsent = worker.recv(1 << 16)
                if not unsent:
                    return
            else:
                _last_words(channel, worker, unsent)
                return


def _pass_on(worker: socket.socket, data: bytes) -> bool:
    try:
        worker.sendall(data)
    except OSError:
        return False
    return True


def _last_words(channel: int, worker: socket.socket, unsent: bytes) -> None:
    """The worker has gone: pass on what it said last, within reason."""
    signal.alarm(LAST_WORDS_S)  # its default action ends this process, which is all that is wanted
    os.set_blocking(channel, True)
    while unsent := unsent or worker.recv(1 << 16):
        unsent = unsent[os.write(channel, unsent) :]
