"""Whether the circuit really was gone in a failover test: what the CE counted on it, each way, before the cut and at
its end.

A hook that cuts nothing and a few probes that get lost meanwhile look like a quick failover. Each direction is looked
at by itself, since a failure in one direction that nobody notices leaves the other one where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfharness.evidence import TaskFiles
from perfharness.measurements import failover_timeline as timeline
from perfharness.measurements.base import WAN_COUNTERS, Context
from perfharness.measurements.failover_streams import Flow, Stream
from perfharness.model import Direction

FLOW_LEFT = 0.5
"""Of one flow's bytes: a circuit that carries as much carries that flow. Shares of all of them hide one among many."""
ROUTERS_BYTES_S = 2000
"""That routers may say to one another on a circuit that carries nothing: BFD every 50 ms, BGP, ARP."""
NEAR = 0.1
"""By which counters, read ten times a second, and what our flows should be may differ."""
BEFORE_NS = 2 * 10**9
"""Of the undisturbed time: its end, when all flows are on their way."""
SLOWEST_NS = 180 * 10**9
"""BGP's default hold time, where the order has nothing that is quicker."""
WORD = "That the circuit was gone is the word of who cut it: no CE was read that could tell."
LAST = 0.25
"""Of the cut: its end, since a failure is noticed, and a hook has its effect, some time after its begin."""
BYTES = {"a-z": "tx_bytes", "z-a": "rx_bytes"}
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wan:
    """What crossed the CE's port towards the circuit one way, in bytes each second."""

    router: str
    interface: str
    before: float
    after: float
    """At the end of the cut; without what was sent into it and never arrived."""
    flow: float
    """Of one flow of probes."""
    flows: int
    beside: float | None
    """What crossed the other circuit's CE before the cut; None where it was not read."""

    @property
    def gone(self) -> bool:
        return self.after < FLOW_LEFT * self.flow

    @property
    def carried(self) -> bool:
        return self.before >= FLOW_LEFT * self.flow

    @property
    def fell(self) -> bool:
        """Some of our flows took it for certain until it was cut, and it is empty since: those that lost nothing took
        another way in time. Others' traffic falls too, so that the other circuit must have had too little for all of
        ours; where nobody read it, this one had just ours."""
        ours = self.flows * self.flow
        if self.beside is None:
            some = abs(self.before - ours) <= NEAR * ours
        else:
            some = ours - self.beside >= (1 - NEAR) * self.flow
        return self.gone and self.carried and some

    def __str__(self) -> str:
        return (
            f"The circuit was not gone: {self.after:,.0f} bytes a second crossed {self.interface} of {self.router} "
            f"this way at the end of the cut; one flow has {self.flow:,.0f}. Look whether the hook cut this circuit."
        )


def counted(
    files: TaskFiles, context: Context, stream: Stream, by: timeline.Clock, done: Mapping[str, Row], frame_bytes: int
) -> Wan | None:
    """One direction, by the counters of this circuit's CE; None where none was read, or where the flows are so thin
    that routers' own words look like one. ``by``: the clock of its sender."""
    ce, flow = context.circuit.ce_host, frame_bytes * 1e9 / stream.interval_ns
    if ce is None or FLOW_LEFT * flow < ROUTERS_BYTES_S:
        return None
    cut_ns, gone_ns, back_ns = (
        int(done[act][edge]) for act, edge in (("cut", "started_ns"), ("cut", "ended_ns"), ("restore", "started_ns"))
    )
    name = BYTES[stream.way.value]
    rows = _rows(files, ce.name, name, gone_ns, back_ns)
    late = [row for row in rows if row[0] >= back_ns - LAST * (back_ns - gone_ns)]
    last = late if len(late) > 1 else rows[-2:]
    before, after = _rate(_rows(files, ce.name, name, cut_ns - BEFORE_NS, cut_ns)), _rate(last)
    if before is None or after is None:
        return None
    if (
        stream.way is Direction.A_Z
    ):  # what left into a circuit that is cut never arrived; what comes has arrived already
        lost = sum(_lost(each, last[0][0] + by.ahead_ns, last[-1][0] + by.ahead_ns) for each in stream.flows)
        after = max(0.0, after - lost * frame_bytes * 1e9 / (last[-1][0] - last[0][0]))
    beside = next((each.name for each in context.circuit.ces if each != ce), None)
    other = _rate(_rows(files, beside, name, cut_ns - BEFORE_NS, cut_ns)) if beside else None
    return Wan(ce.name, ce.wan, before, after, flow, len(stream.flows), other)


def _rows(files: TaskFiles, host: str, name: str, begin_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """(when by our clock, bytes) for certain between two moments of ours."""
    of = timeline.clock(files, host, WAN_COUNTERS)
    rows = (
        (of.ours(row["t_ns"]), int(row["nic"][name]))
        for row in files.each_row(host, WAN_COUNTERS, "counters.jsonl")
        if name in row.get("nic", {})
    )
    return [row for row in rows if begin_ns + of.open_ns <= row[0] <= end_ns - of.open_ns]


def _rate(rows: Sequence[tuple[int, int]]) -> float | None:
    if len(rows) < 2 or rows[-1][0] <= rows[0][0]:
        return None
    return (rows[-1][1] - rows[0][1]) * 1e9 / (rows[-1][0] - rows[0][0])


def _lost(flow: Flow, begin_ns: int, end_ns: int) -> int:
    """Between two moments of the sender's clock of the day."""
    return int(flow.lost[(flow.utc_ns >= begin_ns) & (flow.utc_ns < end_ns)].sum())
