"""What the guard of a probe stream sets off: the load may begin, must end, or must not begin."""

from __future__ import annotations

from time import monotonic_ns

from perfagent.guard import Guard, Limits
from perfagent.jobs import Job
from perfagent.wire import Code, Fault

_PERIOD_NS = 50_000_000
"""Between two looks: a tenth of a millisecond of CPU each."""


class Watchman:
    """Looks at the guard while the stream runs. ``ready`` is said when there is a baseline: now load may come."""

    def __init__(self, job: Job, limits: Limits) -> None:
        self._job = job
        self._guard = Guard(limits)
        self._next_ns = 0
        self._told = False
        self.sent, self.answered = self._guard.sent, self._guard.answered
        self.tripped = ""
        """Why the load was ended."""
        self.fault: Fault | None = None
        """Why it must not begin."""

    def look(self) -> None:
        """When nothing is left to be read: a reply that waits in our socket has come back."""
        now_ns = monotonic_ns()
        if now_ns < self._next_ns or self.tripped:
            return
        self._next_ns = now_ns + _PERIOD_NS
        harm = self._guard.look(now_ns)
        if harm is None:
            if self._guard.rtt_ns is not None and not self._told:
                self._told = True
                self._job.ready({"rtt_ns": self._guard.rtt_ns})
        elif self._guard.rtt_ns is None:
            self.fault = Fault(Code.PEER_SILENT, f"no load was begun, since already before it {harm.says}")
            self._job.stop()
        else:
            after_s = (now_ns - harm.since_ns) / 1e9
            self.tripped = f"the load was ended {after_s:.1f} s after it began to do harm: {harm.says}"
            self._job.tripped(self.tripped)
