"""Which rate a path carries, from what its receiver reports: as RFC 9097 has it (IP-layer capacity), by an overload.

Steps of a growing rate until one is overloaded: less arrives than was sent, or it arrives more slowly and ever later.
Then a little above what arrived, until twice the same arrives. A step is told by the numbers of its packets, so the
length of the path does not matter. Pure: time and reports are arguments.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from perfagent.load.packet import Report
from perfagent.load.phases import Limits

STEP_NS, CLOSE_STEP_NS = 100_000_000, 300_000_000
"""How long a step lasts while the rate grows, and near the limit."""
SETTLING_NS = 20_000_000
"""The first packets of a step are left out: they came while the rate changed."""
GROWTH, ABOVE = 2.0, 1.25
ARRIVED = 0.98
"""Share of what was sent that must arrive, of the share that arrived at lower rates, or the step is overloaded."""
KEPT_UP, QUEUE_NS = 0.97, 2_000_000
"""... or what arrived in a time, as a share of what was sent in it, while the delay grew by so much."""
OFFERED = 0.9
"""Share of its rate that the sender must have reached, or it is the limit."""
MOST_SHORT = 3
"""So many steps in a row that the sender fell short of, and it has reached its own limit: one may be chance."""
MOST_STEPS = 1000
"""A receiver that reports nonsense could ask for steps without an end."""
AGREE = 0.03
"""Two steps that carried the same within this."""


class Step(NamedTuple):
    """What came of a rate."""

    rate_bps: int
    carried_bps: int
    share: float
    """Of the packets sent in it, that arrived."""
    queue_ns: int
    """How much later than the quickest packet of all the last one of the step came."""


class Search:
    """``rate_bps`` is to be sent now; ``found_bps`` and ``ended`` are set once the search is over."""

    def __init__(self, limits: Limits, packet_bits: int) -> None:
        """``packet_bits``: what a packet counts, headers included; all rates are of that."""
        self.limits = limits
        self.rate_bps = limits.from_bps
        self.found_bps: int | None = None
        self.ended = ""
        """``overloaded``, ``most`` (the highest rate arrived), ``sender`` (it could not send more) or ``time``."""
        self.steps: list[Step] = []
        self._packet_bits = packet_bits
        self._close = False
        self._overloaded_bps = 0
        """The rate of the last step that was overloaded."""
        self._counts: list[tuple[int, int, int]] = []
        """(rate, packets sent, packets arrived) of each step."""
        self._short = 0
        """Steps in a row in which the sender fell short."""
        self._least_ns: int | None = None
        self._begin(0)

    def _begin(self, first: int) -> None:
        """A step whose packets have the numbers from ``first`` on."""
        packets_per_ns = self.rate_bps / self._packet_bits / 1e9
        self._from = first + max(1, int(packets_per_ns * SETTLING_NS))
        self._to = self._from + max(
            10, int(packets_per_ns * (CLOSE_STEP_NS if self._close or self._short else STEP_NS))
        )
        self._start: Report | None = None
        self._sent_start_ns = 0

    def heard(self, report: Report, next_number: int) -> None:
        """A report came; ``next_number`` is that of the next packet to be sent."""
        if self.ended or not report.highest:
            return
        if len(self.steps) == MOST_STEPS:
            self.out_of_time()
            return
        if self._least_ns is None or report.delay_ns < self._least_ns:
            self._least_ns = report.delay_ns
        if self._start is None:
            if report.highest >= self._from:
                self._start = report
        elif report.highest >= self._to and report.highest > self._start.highest:
            step = self._step(self._start, report)
            if step is not None:
                self.steps.append(step)
                self._judge(step, report.sent_ns - self._start.sent_ns, report.highest - self._start.highest)
                self._begin(next_number)

    def out_of_time(self) -> None:
        """The best that is known by now."""
        if not self.ended:
            self.ended = "time"
            self.found_bps = max((step.carried_bps for step in self.steps), default=None)

    def _step(self, start: Report, end: Report) -> Step | None:
        lasted_ns = end.stamp_ns - start.stamp_ns
        if lasted_ns <= 0:
            return None
        packets, sent = end.packets - start.packets, end.highest - start.highest
        carried = round(packets * self._packet_bits * 1e9 / lasted_ns)
        self._counts.append((self.rate_bps, sent, min(sent, packets)))
        return Step(self.rate_bps, carried, min(1.0, packets / sent), end.delay_ns - (self._least_ns or 0))

    def _judge(self, step: Step, sending_ns: int, sent: int) -> None:
        offered_bps = sent * self._packet_bits * 1e9 / sending_ns if sending_ns > 0 else 0.0
        slower = step.carried_bps < KEPT_UP * offered_bps and step.queue_ns > QUEUE_NS
        if step.share < ARRIVED * self._usual() or slower:
            self._overloaded(step)
        elif offered_bps < OFFERED * self.rate_bps:
            self._fell_short(step)
        elif self.rate_bps >= self.limits.most_bps:
            self._end("most", step)
        else:
            self._short = 0
            self._close = self._close and self.rate_bps < self._overloaded_bps  # else that one was chance
            self._aim(self.rate_bps * (ABOVE if self._close else GROWTH))

    def _usual(self) -> float:
        """Share of the packets that arrived at lower rates: a path that loses some at any rate is not overloaded."""
        lower = [(sent, came) for rate, sent, came in self._counts if rate < self.rate_bps]
        return sum(came for _, came in lower) / sum(sent for sent, _ in lower) if lower else 1.0

    def _overloaded(self, step: Step) -> None:
        before = self.steps[-2].carried_bps if len(self.steps) > 1 and self._close else None
        if before is not None and abs(step.carried_bps - before) <= AGREE * before:
            self._end("overloaded", step)
        self._close, self._short, self._overloaded_bps = True, 0, self.rate_bps
        self._aim(step.carried_bps * ABOVE)

    def _fell_short(self, step: Step) -> None:
        """Once again; then less is asked of the sender, since the path's limit may lie between what it can do and what
        it was asked for; then it is the limit."""
        self._short += 1
        if self._short == MOST_SHORT:
            self._end("sender", step)
        elif self._short > 1:
            self._aim(step.carried_bps * ABOVE)

    def _aim(self, rate_bps: float) -> None:
        self.rate_bps = max(1, min(self.limits.most_bps, round(rate_bps)))

    def _end(self, why: str, step: Step) -> None:
        self.ended, self.found_bps = why, step.carried_bps

    def figures(self) -> dict[str, Any]:
        """For ``result.json``."""
        return {
            "found_bps": self.found_bps,
            "ended": self.ended,
            "steps": [step._asdict() for step in self.steps],
        }
