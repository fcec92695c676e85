"""A process on each processor that takes a share of its time: ``python -m perfharness.lab.hog SHARE SECONDS``."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

from perfharness.lab.realtime import PR_SET_PDEATHSIG

PERIOD_S = 0.02
PRIORITY = 1
"""Above every ordinary process, below the wire and a real-time prober."""


def main(share: float, seconds: float) -> None:
    """Until the time is over; the others end with the first."""
    parent = os.getpid()
    first, *others = sorted(os.sched_getaffinity(0))
    for processor in others:
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == parent:
                _spin(processor, share, seconds)
            os._exit(0)
    _spin(first, share, seconds)


def _spin(processor: int, share: float, seconds: float) -> None:
    os.sched_setaffinity(0, {processor})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    end_s = time.monotonic() + seconds
    while (begun_s := time.monotonic()) < end_s:
        while time.monotonic() < begun_s + share * PERIOD_S:
            pass
        time.sleep((1 - share) * PERIOD_S)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
