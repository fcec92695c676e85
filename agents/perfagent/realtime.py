"""Punctuality as far as the host allows, saying what was got; clock readings that belong together."""

from __future__ import annotations

import ctypes
import gc
import os
from time import monotonic_ns, time_ns
from typing import Any

_PR_SET_TIMERSLACK, _PR_GET_TIMERSLACK = 29, 30
_POLICIES = {os.SCHED_OTHER: "other", os.SCHED_FIFO: "fifo", os.SCHED_RR: "rr"}


def enter(priority: int) -> dict[str, Any]:
    """Real-time scheduling at ``priority`` (1..99), exact timers, no garbage collector.

    For what sleeps nearly always. The process is not bound to a CPU: the scheduler moves a real-time task away from a
    busy one at once.
    """
    reason = None
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except PermissionError:
        reason = "real-time scheduling needs root, CAP_SYS_NICE or a limit RLIMIT_RTPRIO"
    return _punctual(reason)


def hurry(nice: int) -> dict[str, Any]:
    """Before ordinary processes (``nice`` < 0), exact timers, no garbage collector.

    For what may need a whole CPU: a real-time task that does is stopped by the kernel for 50 ms each second, and stops
    all else on its CPU until then.
    """
    reason = None
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        reason = "to go before other processes needs root or CAP_SYS_NICE"
    return _punctual(reason)


def _punctual(reason: str | None) -> dict[str, Any]:
    gc.collect()
    gc.freeze()
    gc.disable()
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
    return {
        "policy": _POLICIES.get(policy, str(policy)),
        "priority": os.sched_getparam(0).sched_priority,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "timerslack_ns": libc.prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "reason": reason,
    }


def clock_pair() -> tuple[int, int]:
    """``(CLOCK_MONOTONIC, CLOCK_REALTIME)`` in ns at the same instant: the tightest of five readings.

    Their difference changes only when somebody sets the clock: a step.
    """
    best_width, best = 1 << 62, (0, 0)
    for _ in range(5):
        before = monotonic_ns()
        unix = time_ns()
        after = monotonic_ns()
        if after - before < best_width:
            best_width, best = after - before, ((before + after) // 2, unix)
    return best
