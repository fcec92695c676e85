"""The error estimate of our packets, kept up to date while a stream runs.

Whoever keeps the clock is asked by a command, and a process that sends on time must not start any: packets would wait
for it. So a child of ordinary priority, forked before the first packet, asks from time to time, and leaves the word
where its parent reads it like any other memory.
"""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from perfagent import clock
from perfagent.jobs import die_with_parent
from perfagent.stamp.times import ErrorEstimate

PERIOD_S = 32.0


class ClockWord:
    """Context manager: ``word()`` is the error estimate of this host's clock now (RFC 8762, section 4.2.1).

    Entering forks: before any socket is open, any file mapped and any real-time priority taken.
    """

    def __init__(
        self, *, ptp: bool = False, period_s: float = PERIOD_S, ask: Callable[..., dict[str, object]] = clock.state
    ) -> None:
        """``ask``: as ``clock.state``."""
        self._ptp = ptp
        self._period_s = period_s
        self._ask = ask
        self._shared = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("H")
        self._child = 0
        state = ask()
        self._source = state["source"] if state["source"] in clock.ASKED else None
        self._note(state)

    def word(self) -> int:
        return self._shared[0]

    def __enter__(self) -> ClockWord:
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                die_with_parent(parent)
                while True:
                    time.sleep(self._period_s)
                    self._note(self._ask(self._source))
            finally:
                os._exit(1)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)

    def _note(self, state: dict[str, object]) -> None:
        self._shared[0] = ErrorEstimate.of_clock(state, ptp=self._ptp).word
