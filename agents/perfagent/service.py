"""What the agent answers: the lease, the table of jobs, the methods of the protocol.

No sockets, no clock and no processes here: requests and ``now_ns`` come in, answers and events go out, and
processes are something handed in that can be asked to end. Rules:

- Any request renews the lease; when it has run out, or after ``bye``, the agent is ``leaving``.
- A job is running → ready (serving jobs) → completed, failed or aborted; it ends when its process is gone,
  not when it says so, so that its ports are free again.
- A job asked to end has ``GRACE_NS`` to do so tidily, then its whole process group is killed; ``LOAD_GRACE_NS`` where
  the circuit suffers or the change window is over.
- A job past its deadline is asked to end in the same way, and is then aborted. So are all of them when the host's
  disk is down to its reserve (``room``); a job that says it will write more than there is room for is not begun.
- When a guard trips, the jobs of its task that carry load are aborted, whether or not anybody is connected. So they are
  when the guard itself ends: no load without one that was begun with one.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Protocol

from perfagent import methods, wire
from perfagent.jobs import past_deadline, write_result
from perfagent.wire import Code, Event, Fault

GRACE_NS = 5_000_000_000
LOAD_GRACE_NS = 400_000_000
"""What loads a circuit is gone within a second of the harm, and seeing that takes half of it."""
ROOM_PERIOD_NS = 10_000_000_000
"""Between looks at the disk."""
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Process(Protocol):
    """A running job."""

    def terminate(self) -> None:
        """Ask it to end tidily."""

    def kill(self) -> None:
        """End it and all its children now."""


class _Entry:
    """A row of the job table."""

    def __init__(self, process: Process, spec: dict[str, Any], started_ns: int) -> None:
        self.process: Process | None = process
        self.spec = spec
        self.started_ns = started_ns
        self.state = "running"
        self.data: dict[str, Any] = {}
        self.error: dict[str, Any] | None = None
        self.last_words: dict[str, Any] | None = None
        self.kill_at_ns: int | None = None
        self.ended_for: Fault | None = None
        """Why it was made to end, if that is not its own business."""

    def as_json(self) -> dict[str, Any]:
        return {"state": self.state, "data": self.data, "error": self.error}


class Service:
    """One run's agent on one host."""

    def __init__(
        self,
        identity: dict[str, Any],
        jobs: Path,
        lease_s: float,
        now_ns: int,
        spawn: Callable[[Path, bytes], Process],
        worker_pid: int,
        room: Callable[[], int],
    ) -> None:
        """``spawn(folder, secret)`` starts the job whose ``spec.json`` lies in the folder, with this on its standard
        input; it may raise OSError.

        ``room()`` says how many bytes may still be written.
        """
        self._identity = identity
        self._jobs = jobs
        self._spawn = spawn
        self._worker_pid = worker_pid
        self._room = room
        self._next_look_ns = now_ns + ROOM_PERIOD_NS
        self._table: dict[str, _Entry] = {}
        self._now_ns = now_ns
        self._lease_s = lease_s
        self._renew()
        self.leaving = False

    # --- in ---

    def answer(self, request: wire.Request, now_ns: int) -> Any:
        """Do what is asked and return the result. Raises Fault."""
        self._now_ns = now_ns
        handler = self._METHODS.get(request.method)
        if handler is None:
            raise Fault(Code.UNKNOWN_METHOD, f"the protocol has no method {request.method!r:.80}")
        wire.check_arguments(request.method, handler, request.args)
        self._renew()
        return handler(self, **request.args)

    def heard(self, event: Event, now_ns: int) -> Event | None:
        """Something a job's process said: do and keep what matters; the event to pass on, if any."""
        entry = self._table[event.job]
        if event.kind == "done":
            entry.last_words = event.data
            return None
        if event.kind == "ready":
            entry.state, entry.data = "ready", event.data
        if event.kind == "tripped":
            self._end_load(entry.spec["task"], str(event.data["reason"]), now_ns)
        return event

    def ended(self, job: str, exit_code: int, now_ns: int) -> Event:
        """A job's process is gone: settle its state, which is also the event to pass on."""
        entry = self._table[job]
        entry.process = entry.kill_at_ns = None
        words = entry.last_words or self._post_mortem(entry, exit_code, now_ns)
        if entry.ended_for is not None:
            words = {"state": "aborted", "error": entry.ended_for.as_json()}
        entry.state, entry.error = words["state"], words["error"]
        if entry.spec["guards"]:
            self._end_load(entry.spec["task"], "the load was ended, since the guard beside it had ended", now_ns)
        return Event("done", job, {"state": entry.state, "error": entry.error})

    def tick(self, now_ns: int) -> None:
        """Enforce what is due: the lease, deadlines, the end of a grace."""
        if now_ns >= self._expires_ns:
            self.leaving = True
        if now_ns >= self._next_look_ns:
            self._next_look_ns = now_ns + ROOM_PERIOD_NS
            self._leave_room(now_ns)
        for entry in self._table.values():
            if entry.process is None:
                continue
            if entry.kill_at_ns is not None:
                if now_ns >= entry.kill_at_ns:
                    entry.process.kill()
                    entry.kill_at_ns = now_ns + GRACE_NS  # a process stuck in the kernel dies when it gets out of there
            elif now_ns >= entry.spec["deadline_mono_ns"]:
                self._end(entry, now_ns, LOAD_GRACE_NS if entry.spec["window"] else GRACE_NS)

    def next_due_ns(self) -> int:
        """When ``tick`` has something to do."""
        running = [entry for entry in self._table.values() if entry.process is not None]
        due = [entry.kill_at_ns or entry.spec["deadline_mono_ns"] for entry in running]
        return min([self._expires_ns, self._next_look_ns, *due])

    # --- the methods of the protocol: arguments are keyword-only and named as on the wire ---

    def _hello(self, *, version: int) -> dict[str, Any]:
        if version != wire.VERSION:
            raise Fault(Code.VERSION, f"the agent speaks protocol version {wire.VERSION}, not {version}")
        states = {job: entry.state for job, entry in self._table.items()}
        return {**self._identity, "lease_s": self._lease_s, "jobs": states, "room_bytes": self._room()}

    def _renew_lease(self, *, lease_s: float) -> dict[str, Any]:
        if not lease_s > 0:
            raise Fault(Code.BAD_ARGUMENT, f"a lease of {lease_s} s is no lease")
        self._lease_s = lease_s
        self._renew()
        return {}

    def _start(
        self,
        *,
        job: str,
        method: str,
        args: dict[str, Any],
        deadline_s: float,
        writes_bytes: int = 0,
        secret: Any = "",
        task: str = "",
        load: bool = False,
        guards: bool = False,
        window_s: float | None = None,
    ) -> dict[str, Any]:
        """``load``: it loads the circuit; ``guards``: it watches what the loads of the same ``task`` do to it;
        ``window_s``: how long it may run at most, by a change window."""
        key = _secret(secret)
        if not _JOB_ID.fullmatch(job):
            raise Fault(Code.BAD_ARGUMENT, f"{job!r:.80} is no job id")
        if not deadline_s > 0:
            raise Fault(Code.BAD_ARGUMENT, f"a deadline of {deadline_s} s leaves no time")
        if window_s is not None and not window_s > 0:
            raise Fault(Code.WINDOW, "the change window is over")
        if load and any(entry.spec["guards"] and entry.process is None for entry in self._of(task)):
            raise Fault(Code.GUARD, "the guard of this load has ended")
        window = window_s is not None and window_s < deadline_s
        if job in self._table:
            raise Fault(Code.JOB_EXISTS, f"there is a job {job} already")
        wire.check_arguments(method, methods.resolve(method), args)
        room = max(0, self._room())
        if writes_bytes > room:
            reason = f"the job {job} may write {writes_bytes} bytes and this host's disk has {room} to spare"
            raise Fault(Code.PLATFORM, reason)
        spec = {
            "format_version": 1,
            "job": job,
            "method": method,
            "args": args,
            "deadline_mono_ns": self._now_ns + int((window_s if window and window_s else deadline_s) * 1e9),
            "window": window,
            "task": task,
            "load": load,
            "guards": guards,
            "worker_pid": self._worker_pid,
        }
        folder = self._jobs / job
        try:
            folder.mkdir(parents=True)
            (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
            self._table[job] = _Entry(self._spawn(folder, key), spec, time.time_ns())
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise Fault(Code.PLATFORM, f"the job {job} cannot be started: {error}") from error
        return {}

    def _status(self) -> dict[str, Any]:
        return {"jobs": {job: entry.as_json() for job, entry in self._table.items()}}

    def _stop(self, *, job: str) -> dict[str, Any]:
        entry = self._entry(job)
        if entry.process is not None and entry.kill_at_ns is None:
            self._end(entry, self._now_ns)
        return {}

    def _forget(self, *, job: str) -> dict[str, Any]:
        if self._entry(job).process is not None:
            raise Fault(Code.BAD_ARGUMENT, f"the job {job} has not ended")
        shutil.rmtree(self._jobs / job, ignore_errors=True)
        del self._table[job]
        return {}

    def _bye(self) -> dict[str, Any]:
        self.leaving = True
        return {}

    _METHODS: ClassVar[dict[str, Callable[..., Any]]] = {
        "hello": _hello,
        "renew": _renew_lease,
        "start": _start,
        "status": _status,
        "stop": _stop,
        "forget": _forget,
        "bye": _bye,
    }

    # --- helpers ---

    def _renew(self) -> None:
        self._expires_ns = self._now_ns + int(self._lease_s * 1e9)

    def _entry(self, job: str) -> _Entry:
        if job not in self._table:
            raise Fault(Code.NO_SUCH_JOB, f"there is no job {job!r:.80}")
        return self._table[job]

    def _leave_room(self, now_ns: int) -> None:
        """End what writes when the rest of the disk is the host's."""
        if self._room() >= 0:
            return
        for entry in self._table.values():
            if entry.process is not None and entry.kill_at_ns is None:
                entry.ended_for = Fault(Code.PLATFORM, "it was ended since this host's disk has nothing more to spare")
                self._end(entry, now_ns)

    def _of(self, task: str) -> list[_Entry]:
        return [entry for entry in self._table.values() if entry.spec["task"] == task]

    def _end_load(self, task: str, why: str, now_ns: int) -> None:
        for entry in self._of(task):
            if entry.spec["load"] and entry.process is not None and entry.ended_for is None:
                entry.ended_for = Fault(Code.GUARD, why)
                self._end(entry, now_ns, LOAD_GRACE_NS)

    def _end(self, entry: _Entry, now_ns: int, grace_ns: int = GRACE_NS) -> None:
        """Ask it to end, and kill it when it has not after this; the shorter of two counts."""
        entry.kill_at_ns = min(entry.kill_at_ns or now_ns + grace_ns, now_ns + grace_ns)
        if entry.process is not None:
            entry.process.terminate()

    def _post_mortem(self, entry: _Entry, exit_code: int, now_ns: int) -> dict[str, Any]:
        """Write the result of a job that could not: killed, crashed, or out of disk."""
        if now_ns >= entry.spec["deadline_mono_ns"]:
            state, fault = "aborted", past_deadline(entry.spec, "the job was killed at its deadline")
        else:
            how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
            state, fault = "failed", Fault(Code.INTERNAL, f"the job ended without a result ({how})")
        with suppress(OSError):  # the disk is full: the state in the table still tells
            write_result(self._jobs / entry.spec["job"], entry.spec, entry.started_ns, state, fault, {})
        return {"state": state, "error": fault.as_json()}


def _secret(text: Any) -> bytes:
    """What a job is to read, from hexadecimal digits. It goes into no file, no table and, whatever is wrong with it, no
    message: hence not a typed argument, whose refusal would quote it. Raises Fault(BAD_ARGUMENT)."""
    try:
        secret = bytes.fromhex(text)
    except (TypeError, ValueError):
        raise Fault(Code.BAD_ARGUMENT, "start: secret is not written in hexadecimal digits") from None
    if len(secret) > wire.MAX_SECRET:
        raise Fault(Code.BAD_ARGUMENT, f"a secret of {len(secret)} bytes exceeds the limit of {wire.MAX_SECRET}")
    return secret
