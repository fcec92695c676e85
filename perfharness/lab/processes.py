"""Processes that outlive the command that started them, known by pid and start time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GATE = 'read -r go && exec "$@" </dev/null'
"""The program starts only once its pid is on record; if we die before that, it never does."""


@dataclass(frozen=True, slots=True)
class Process:
    name: str
    pid: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        return start_ticks(self.pid) == self.start_ticks

    def signal(self, number: signal.Signals) -> bool:
        """False if the process has gone; never signals another that got its pid."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; ``None`` if there is none or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(rest[18])


def identify(name: str, pid: int) -> Process | None:
    ticks = start_ticks(pid)
    return None if ticks is None else Process(name, pid, ticks)


def launch(
    name: str,
    argv: Sequence[str],
    log: Path,
    record: Callable[[Process], None],
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Start ``argv`` in a session of its own, output to ``log``, after ``record`` has noted it."""
    gate, opener = os.pipe()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", GATE, name, *argv],
            {**os.environ, **(environment or {})},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, gate, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE],  # Python ignores it, and that would be inherited
        )
        process = Process(name, pid, start_ticks(pid) or 0)
        record(process)
        os.write(opener, b"go\n")
    finally:
        for fd in (gate, opener, output):
            os.close(fd)
    return process


def end(processes: Iterable[Process], grace_s: float) -> None:
    """SIGTERM, then SIGKILL to those still there after ``grace_s``; returns when all have gone."""
    left = [process for process in processes if process.signal(signal.SIGTERM)]
    left = _await_end(left, grace_s)
    for process in left:
        process.signal(signal.SIGKILL)
    _await_end(left, grace_s)


def _await_end(processes: list[Process], patience_s: float) -> list[Process]:
    deadline = time.monotonic() + patience_s
    while True:
        for process in processes:
            with suppress(ChildProcessError):  # it may be a child of an earlier command
                os.waitpid(process.pid, os.WNOHANG)
        processes = [process for process in processes if process.alive]
        if not processes or time.monotonic() > deadline:
            return processes
        time.sleep(0.005)
