"""One direction of a failover test: what cut its flows off, and whether it is known that this was the cut."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from perfharness.analysis import ledger, outage
from perfharness.analysis.outage import Bounds, Outage
from perfharness.measurements import failover_timeline as timeline
from perfharness.measurements.failover_gone import Wan
from perfharness.measurements.failover_streams import Flow, Stream
from perfharness.model import LedgerRow

BEFORE, CUT, BACK = "before", "cut", "failback"


@dataclass(frozen=True, slots=True)
class Side:
    """One direction: the outages of each of its flows, in the phase in which each began."""

    stream: Stream
    clock: timeline.Clock
    least_run: int
    """Lost probes in a row that make an outage."""
    found: tuple[dict[str, tuple[Outage, ...]], ...]
    """Of each flow, by phase."""
    rows: tuple[LedgerRow, ...]
    wan: Wan | None
    """What the CE counted of the circuit this way; None where none could tell."""
    restored_ns: int
    """By the sender's clock."""
    due_ns: int
    """Until when an outage that the cut makes has begun at the latest, by the sender's clock."""

    @property
    def excused_ns(self) -> float:
        """The time that the hosts' own losses may make up of one flow's outages."""
        return ledger.host_loss(self.rows)[1] * self.stream.interval_ns + self.stream.clock_ns

    def bounds(self, phase: str) -> list[Bounds]:
        """How long each flow was cut off in it."""
        found = []
        for flow, outages in zip(self.stream.flows, self.found, strict=True):
            unseen = outage.unseen_ns(flow.t_ns, flow.lost, self.least_run, self.stream.interval_ns)
            each = outage.total(outages[phase], unseen, self.excused_ns)
            found.append(replace(each, hi=each.hi + self.stream.clock_ns))
        return found

    def all(self, phase: str) -> list[Outage]:
        return [each for outages in self.found for each in outages[phase]]

    def began(self, flow: int) -> list[int]:
        """When each outage of this flow by the cut began, by the sender's clock of the day."""
        return [utc(self.stream.flows[flow], each.begin_ns[1]) for each in self.found[flow][CUT]]

    @property
    def outlasted(self) -> bool:
        """A flow was still cut off when the circuit was given back: nobody knows for how long it would have been."""
        return any(
            math.isinf(each.end_ns[1]) or utc(flow, each.end_ns[1]) >= self.restored_ns
            for flow, outages in zip(self.stream.flows, self.found, strict=True)
            for each in outages[CUT]
        )

    @property
    def in_time(self) -> bool:
        """Some flow was cut off no later after the cut than its slowest detection and rerouting explain."""
        return any(began <= self.due_ns for flow in range(len(self.found)) for began in self.began(flow))

    @property
    def shown(self) -> bool:
        """That the circuit was cut this way is known, and that some flow took it; the way back may be another's."""
        if self.wan is None:
            return self.in_time
        return self.wan.fell or (self.wan.gone and self.wan.carried and bool(self.all(CUT)))

    @property
    def at_least(self) -> bool:
        """What was seen of the cut is true as far as it goes: it may be too long, and is never known to be short."""
        hit = bool(self.all(CUT))
        if self.wan is None:
            return self.outlasted and self.in_time
        return self.outlasted or (self.wan.gone and hit and not self.wan.carried)


def utc(flow: Flow, t_ns: float) -> int:
    """The sender's clock of the day at the probe that left then."""
    return int(flow.utc_ns[int(np.searchsorted(flow.t_ns, t_ns))])
