"""One job: a method run in a process of its own, from ``spec.json`` to ``result.json``.

The worker starts ``agent job DIR ID`` as the leader of a new process group. Standard output is the pipe
to the worker and carries events; it is moved away at once so that a chatty library cannot garble them.
SIGTERM asks the method to end tidily. The worker enforces the deadline, first with SIGTERM, then with SIGKILL.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from perfagent import wire
from perfagent.wire import Code, Fault

FORMAT_VERSION = 1
LIVE_PERIOD_NS = 900_000_000
"""A little under the second that is promised, so that a method ticking once a second loses no figure."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)  # before any fork: loading is not safe in a forked child


class Job:
    """What a method is given: its folder, its deadline, and a voice."""

    def __init__(self, folder: Path, deadline_mono_ns: int, emit: Callable[[str, dict[str, Any]], None]) -> None:
        """``emit(kind, data)`` takes the events ``ready``, ``live``, ``counted`` and ``tripped``."""
        self.folder = folder
        self.deadline_mono_ns = deadline_mono_ns
        self.stopping = False
        self.stop_fd, self._stop_write = os.pipe()
        os.set_blocking(self._stop_write, False)
        self._emit = emit
        self._next_live_ns = 0

    def ready(self, data: dict[str, Any]) -> None:
        """A serving method says this once, when it listens."""
        self._emit("ready", data)

    def live(self, data: dict[str, Any]) -> None:
        """A figure for the person who watches; more than one a second are dropped."""
        now = time.monotonic_ns()
        if now >= self._next_live_ns:
            self._next_live_ns = now + LIVE_PERIOD_NS
            self._emit("live", data)

    def counted(self, data: dict[str, Any]) -> None:
        """Counters as they are now, for who compares them with another host's."""
        self._emit("counted", data)

    def tripped(self, reason: str) -> None:
        """The circuit suffers: the worker ends what loads it."""
        self._emit("tripped", {"reason": reason})

    def stop(self) -> None:
        """Ask the method to end: ``stopping`` turns true and ``stop_fd`` readable. Safe in a signal handler."""
        self.stopping = True
        with suppress(BlockingIOError):  # readable already
            os.write(self._stop_write, b"s")

    def journal(self, undo: dict[str, Any]) -> None:
        """Record how to put a setting back *before* changing it, e.g. ``{"kind":"sysctl","name":…,"old":…}``.

        The agent does so when it leaves the host, however it leaves.
        """
        line = json.dumps(undo).encode() + b"\n"
        journal = os.open(self.folder.parents[1] / "journal.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(journal, line)
            os.fsync(journal)
        finally:
            os.close(journal)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies; exit if that has happened already."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != parent_pid:
        os._exit(1)


def bound_child() -> Callable[[], None]:
    """A ``preexec_fn`` for a program that a method starts: it dies when the job's process does.

    Call it in the thread that will outlive the child: the kernel watches the thread, not the process.
    """
    parent_pid = os.getpid()
    return lambda: die_with_parent(parent_pid)


# --- the process ------------------------------------------------------------------------------


def run(folder: Path) -> int:
    """Run the job of this folder and write its ``result.json``; the exit code is 0 if it completed."""
    events = os.dup(1)
    os.dup2(2, 1)
    spec = json.loads((folder / "spec.json").read_bytes())
    die_with_parent(spec["worker_pid"])

    def emit(kind: str, data: dict[str, Any]) -> None:
        os.write(events, wire.encode(wire.Event(kind, spec["job"], data)))

    job = Job(folder, spec["deadline_mono_ns"], emit)
    signal.signal(signal.SIGTERM, lambda *_: job.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    result = _result(job, spec)
    emit("done", {"state": result["status"], "error": result["error"]})
    return 0 if result["status"] == "completed" else 1


def _result(job: Job, spec: dict[str, Any]) -> dict[str, Any]:
    started_ns = time.time_ns()
    data, fault = _call(job, spec)
    if time.monotonic_ns() >= job.deadline_mono_ns:
        status, fault = "aborted", fault or past_deadline(spec, "the job ran into its deadline")
    else:
        status = "failed" if fault else "completed"
    try:
        return write_result(job.folder, spec, started_ns, status, fault, data)
    except (TypeError, ValueError) as error:  # what the method returned is no JSON
        broken = Fault(Code.INTERNAL, f"{spec['method']} returned something that is not JSON: {error}")
        return write_result(job.folder, spec, started_ns, "failed", broken, {})
    except OSError as error:  # a full disk: the reason at least is told
        broken = fault or Fault(Code.PLATFORM, f"the result of {spec['method']} cannot be written: {error.strerror}")
        return {"status": "failed", "error": broken.as_json()}


def _call(job: Job, spec: dict[str, Any]) -> tuple[dict[str, Any], Fault | None]:
    from perfagent import methods

    try:
        function = methods.resolve(spec["method"])
        wire.check_arguments(spec["method"], function, spec["args"])
        return function(job, **spec["args"]), None
    except Fault as fault:
        return {}, fault
    except Exception as error:  # the last line of defence: a bug becomes a result, its trace goes to job.log
        import traceback

        traceback.print_exc(file=sys.stderr)
        return {}, Fault(Code.INTERNAL, f"{spec['method']} broke: {type(error).__name__}: {error}")


def past_deadline(spec: dict[str, Any], says: str) -> Fault:
    """Why a job is ended at its deadline: ``says``, unless that is the end of a change window."""
    return Fault(Code.WINDOW, "the change window ended") if spec.get("window") else Fault(Code.DEADLINE, says)


def write_result(
    folder: Path, spec: dict[str, Any], started_ns: int, status: str, fault: Fault | None, data: dict[str, Any]
) -> dict[str, Any]:
    """Write ``result.json`` in one step, so that nobody reads half of it. Raises ValueError, TypeError, OSError."""
    result = {
        "format_version": FORMAT_VERSION,
        "job": spec["job"],
        "method": spec["method"],
        "args": spec["args"],
        "started_ns": started_ns,
        "ended_ns": time.time_ns(),
        "status": status,
        "error": fault.as_json() if fault else None,
        "data": data,
    }
    text = json.dumps(result, allow_nan=False)
    partial = folder / "result.json.part"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / "result.json")
    return result
