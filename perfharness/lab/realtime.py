"""Waking up on time in user space: real-time priority, a precise timer, and processors kept from sleeping."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from contextlib import suppress
from pathlib import Path

NS_PER_S = 1_000_000_000
CLOCK_MONOTONIC = 1
TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
TFD_TIMER_ABSTIME = 1
PR_SET_PDEATHSIG = 1
FIFO_PRIORITY = 10
ROUTER_PRIORITY = 11
"""Before the hosts' probers, which have 10 as well."""
_libc = ctypes.CDLL(None, use_errno=True)


class Timer:
    """A file descriptor that becomes readable at a moment of ``time.monotonic_ns()``.

    A poll's own time-out will not do: epoll rounds it up to a whole millisecond.
    """

    def __init__(self) -> None:
        self.fd: int = _checked(_libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK_CLOEXEC))

    def set(self, at_ns: int) -> None:
        """Once; a moment in the past fires at once."""
        spec = struct.pack("4q", 0, 0, *divmod(max(at_ns, 1), NS_PER_S))
        _checked(_libc.timerfd_settime(self.fd, TFD_TIMER_ABSTIME, spec, None))

    def clear(self) -> None:
        with suppress(BlockingIOError):  # set anew before it was read
            os.read(self.fd, 8)


def prefer_me() -> str:
    """Real-time priority where allowed; returns the scheduling class in force."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
    except PermissionError:
        return "other"
    return "fifo"


def prefer_router(pid: int) -> None:
    """All threads of a process go before the hosts' probers; where that is not allowed it is left as it is."""
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(PermissionError, ProcessLookupError):
            os.sched_setscheduler(int(thread.name), os.SCHED_FIFO, os.sched_param(ROUTER_PRIORITY))


def keep_processors_awake() -> list[int]:
    """One spinner on each processor that runs only when nothing else wants to; they die with us.

    A sleeping virtual processor takes milliseconds to wake. Returns the process ids.
    """
    return [_spinner(processor) for processor in sorted(os.sched_getaffinity(0))]


def _spinner(processor: int) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    os.sched_setaffinity(0, {processor})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
