"""Outages of one flow in one direction, from numbered probes: when it was cut off, how long, how often.

Each probe says whether the path was there when it left. A run of lost ones that ordinary loss does not explain is an
outage; it lasted at least from its first lost probe to its last, and at most from the last that arrived before it to
the first that arrived after it. In a periodic stream the middle of both is the number of lost probes times the interval
and the bounds are one interval away (loss-derived method, RFC 6412, section 3.5.2). Since they are made of the times
at which the probes really left, what a sender was late is inside of them.

A probe is told by its number, so a new path on which later probes overtake earlier ones makes no outage; and each flow
is looked at by itself, since where a router shares flows among circuits some of them may lose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from perfharness.analysis.statistics import Bools, Floats, Ints

LEAST_RUN = 3
"""Fewer lost probes in a row are no outage, however seldom a path loses any."""
MUCH_RUN = 10
"""Where even more than this in a row are no outage, because a path loses so much, outages that matter are hidden."""
IDLE_SHARE = 0.01
"""Of a pair's bytes: a circuit that carries less carries nobody's traffic, only what its routers say to one another."""
BY_CHANCE = 1e-3
"""With which independent loss would make a run in a whole stream that is taken for an outage."""


@dataclass(frozen=True, slots=True)
class Outage:
    """One outage; edges lie between two probes, ns. Where it began before the stream or outlasted it they are infinite.

    A return for fewer probes than an outage has at least is none: it is one outage, and the time in between is not in
    its length.
    """

    begin_ns: tuple[float, float]
    """(the last probe before it that arrived, its first lost one)"""
    end_ns: tuple[float, float]
    """(its last lost probe, the first one that arrived again)"""
    lost: int
    least_ns: float
    most_ns: float
    returns: int = 0
    """How often some probe came through meanwhile."""

    @property
    def length_ns(self) -> float:
        """Lost probes times their interval; at least this where its end was not seen."""
        return (self.least_ns + self.most_ns) / 2 if math.isfinite(self.most_ns) else self.least_ns


@dataclass(frozen=True, slots=True)
class Bounds:
    """A time and where it lies, ns."""

    value: float
    lo: float
    hi: float


def ordinary_run(steady: Sequence[Bools], packets: int) -> int:
    """How many lost probes in a row make an outage in flows of so many packets each, after what was lost of each flow
    while nothing was done: more than chance would put together, and twice the longest run that was seen."""
    sent, lost = sum(map(len, steady)), sum(int(flow.sum()) for flow in steady)
    longest = max((_runs(flow)[1].max(initial=0) for flow in steady), default=0)
    share = min((lost + 1) / (sent + 1), 0.5)
    flows = max(1, len(steady))
    by_chance = math.ceil(math.log(BY_CHANCE / max(1, packets * flows)) / math.log(share))
    return int(max(LEAST_RUN, by_chance, 2 * longest + 1))


def find(t_ns: Ints, lost: Bools, least: int) -> tuple[Outage, ...]:
    """The outages among (n,) probes in the order of sending, of ``least`` lost ones in a row or more."""
    first, length = _runs(lost)
    groups: list[list[int]] = []
    for run in range(len(first)):
        arrived = first[run] - (first[run - 1] + length[run - 1]) if run else least
        if groups and arrived < least:
            groups[-1].append(run)
        else:
            groups.append([run])
    edges = np.concatenate(([-np.inf], t_ns.astype(np.float64), [np.inf]))  # edges[i + 1] is probe i
    return tuple(
        _outage(edges, first[runs], length[runs]) for runs in map(np.array, groups) if length[runs].max() >= least
    )


def _outage(edges: Floats, first: Ints, length: Ints) -> Outage:
    after = first + length
    least = (edges[after] - edges[first + 1]).sum()
    most = (edges[after + 1] - edges[first]).sum()
    return Outage(
        begin_ns=(float(edges[first[0]]), float(edges[first[0] + 1])),
        end_ns=(float(edges[after[-1]]), float(edges[after[-1] + 1])),
        lost=int(length.sum()),
        least_ns=float(least),
        most_ns=float(most),
        returns=len(first) - 1,
    )


def unseen_ns(t_ns: Ints, lost: Bools, least: int, interval_ns: int) -> int:
    """The longest that this flow may have been cut off without an :class:`Outage` to tell: as long as one that is too
    short to be told from loss, or as long as its sender sent nothing between two probes that arrived."""
    arrived = t_ns[~lost]
    waited = np.diff(t_ns)[~lost[1:] & ~lost[:-1]] if len(arrived) > 1 else np.empty(0, np.int64)
    return int(max(least * interval_ns, waited.max(initial=0)))


def total(found: Iterable[Outage], unseen_ns: float, excused_ns: float = 0.0) -> Bounds:
    """The time that one flow was cut off in all; without any outage it may still have been so for ``unseen_ns``.
    Probes of ``excused_ns`` may have been lost by the hosts."""
    outages = tuple(found)
    if not outages:
        return Bounds(0.0, 0.0, float(unseen_ns))
    lo = sum(outage.least_ns for outage in outages)
    return Bounds(
        sum(outage.length_ns for outage in outages),
        max(0.0, lo - excused_ns),
        sum(outage.most_ns for outage in outages),
    )


def worst(flows: Sequence[Bounds]) -> Bounds:
    """Of several flows the longest time: no flow was cut off for longer, and one for at least as long."""
    return Bounds(max(each.value for each in flows), max(each.lo for each in flows), max(each.hi for each in flows))


def sent_ns(t1_ns: Ints, due_ns: Ints, clock: Ints) -> tuple[Ints, int]:
    """When (n,) packets left by the sender's CLOCK_MONOTONIC, from their stamps in Unix time, and what these may be
    wrong by because somebody set the clock meanwhile.

    ``clock``: (k, 2) readings of both clocks. Between two readings the difference is taken for a line.
    """
    if not len(clock):
        return t1_ns - (t1_ns[0] - due_ns[0]) if len(t1_ns) else t1_ns, 0
    ahead = clock[:, 1] - clock[:, 0]
    left = t1_ns - np.interp(due_ns, clock[:, 0], ahead - ahead[0]).astype(np.int64) - ahead[0]
    jumps = np.abs(np.diff(ahead))
    return left, int(jumps.max(initial=0)) if jumps.max(initial=0) > STEP_NS else 0


STEP_NS = 1_000_000
"""Slewing (500 ppm at most) changes the difference of two clocks by less in a second."""


def _runs(lost: Bools) -> tuple[Ints, Ints]:
    """Where each run of losses begins, and how long it is."""
    edges = np.diff(lost.astype(np.int8), prepend=0, append=0)
    first = np.flatnonzero(edges == 1)
    return first, np.flatnonzero(edges == -1) - first
