"""Values of very many packets: as they are where they fit, else counted in bins, with the same questions to both.

A bin is 1/4096 of an octave's lower end wide, in ns above one: a value is known to within 0.025 % (and an interval's
bounds are the outer ends of their bins). Lost = ``inf`` has a bin of its own, ``nan`` is not measured and not counted.
"""

from __future__ import annotations

import math
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perfharness.analysis.blocks import Spans
from perfharness.analysis.delay import ccdf, tail_ranks
from perfharness.analysis.statistics import (
    CONFIDENCE,
    MOST_BLOCKS,
    Blocks,
    Floats,
    Ints,
    effective_n,
    first_true,
    latest_bounds,
    quantile,
    rank_bounds,
    surely_few,
)
from perfharness.model import Interval

_BITS = 12
_SHIFT = 52 - _BITS
_ORIGIN = 1023 << _BITS
METHOD = "order statistics of bins, design effect from blocks"


@dataclass(frozen=True, slots=True)
class Held:
    """All values, with their non-decreasing blocks (empty where nobody asks for intervals)."""

    values: Floats
    block: Blocks

    @property
    def n(self) -> int:
        return int((~np.isnan(self.values)).sum())

    @property
    def lost(self) -> int:
        return int(np.isinf(self.values).sum())

    def quantile(self, q: float, confidence: float = CONFIDENCE) -> tuple[float, Interval]:
        return quantile(self.values, self.block, q, confidence)

    def percentile(self, q: float) -> float:
        """As a plain figure, without an interval. Raises IndexError if empty."""
        return float(np.quantile(self.values[~np.isnan(self.values)], q, method="higher"))

    def ends(self) -> tuple[float, float] | None:
        """The smallest and the largest of the values that are not lost."""
        arrived = self.values[np.isfinite(self.values)]
        return (float(arrived.min()), float(arrived.max())) if len(arrived) else None

    def ccdf(self, points: int = 400) -> tuple[Floats, Floats]:
        """As :func:`delay.ccdf`."""
        return ccdf(self.values, points)


class Bins:
    """How many finite values fell into each bin from ``low`` on."""

    def __init__(self) -> None:
        self.low, self.counts = 0, np.zeros(0, np.int64)

    def add(self, low: int, counts: Ints) -> None:
        """``counts`` are this one's to keep."""
        if not len(self.counts):
            self.low, self.counts = low, counts
            return
        before, after = max(0, self.low - low), max(0, low + len(counts) - self.low - len(self.counts))
        if before or after:
            self.counts = np.pad(self.counts, (before, after))
            self.low -= before
        self.counts[low - self.low : low - self.low + len(counts)] += counts

    def later(self, at: int) -> int:
        """How many lie in this bin or a later one."""
        return int(self.counts[max(0, at - self.low) :].sum())


@dataclass(frozen=True, slots=True)
class Binned:
    """How many values fell into each bin from ``low`` on; in each of k long blocks too, with what was lost there."""

    low: int
    counts: Ints
    groups: tuple[Bins, ...]
    """Of each long block; none where no intervals are asked for."""
    packets: Ints
    lost_in: Ints
    """(k,) packets, and those of them that were lost, in each long block."""
    smallest: float
    largest: float

    @property
    def n(self) -> int:
        return int(self.counts.sum()) + self.lost

    @property
    def lost(self) -> int:
        return int(self.lost_in.sum())

    def quantile(self, q: float, confidence: float = CONFIDENCE) -> tuple[float, Interval]:
        """As :func:`statistics.quantile`. Raises ValueError if empty."""
        n = self.n
        if not n:
            raise ValueError("a quantile of no values does not exist")
        at = self._bin(self._rank(q))
        sides = [self.lost_in] if at is None else [self._later(at), self._later(at + 1)]
        n_eff = min(effective_n(side, self.packets, confidence) for side in sides)
        lo_rank, hi_rank = rank_bounds(n, n_eff, q, confidence)
        lo = -math.inf if lo_rank < 0 else self._edges(self._bin(lo_rank))[0]
        if hi_rank < n:
            hi = self._edges(self._bin(hi_rank))[1]
        else:
            bounded = at is not None and latest_bounds(sides[-1], self.lost_in, self.packets, 1 - q)
            hi = self._exceeded_by_few(at, 1 - q, confidence) if at is not None and bounded else math.inf
        return self.percentile(q), Interval(lo, hi, confidence, "one", METHOD, n_eff)

    def _exceeded_by_few(self, least: int, share: float, confidence: float) -> float:
        """As :func:`statistics.exceeded_by_few`: the outer end of the first bin from ``least`` on that does."""
        later = least + np.flatnonzero(self.counts[least - self.low :])
        found = first_true(
            len(later), lambda at: surely_few(self._later(later[at] + 1), self.packets, share, confidence)
        )
        return self._edges(int(later[min(found, len(later) - 1)]))[1]

    def _later(self, at: int) -> Ints:
        """Per long block the packets in that bin or a later one, or lost."""
        return np.array([group.later(at) for group in self.groups], np.int64) + self.lost_in

    def percentile(self, q: float) -> float:
        return sum(self._edges(self._bin(self._rank(q)))) / 2

    def ends(self) -> tuple[float, float] | None:
        return (self.smallest, self.largest) if self.counts.any() else None

    def ccdf(self, points: int = 400) -> tuple[Floats, Floats]:
        later = tail_ranks(self.n, points, self.lost)
        x = np.array([self._edges(self._bin(self.n - 1 - int(rank)))[1] for rank in later])
        there = np.isfinite(x)
        return x[there], (later / max(self.n, 1))[there]

    def _rank(self, q: float) -> int:
        return max(math.ceil(q * self.n - 1e-9), 1) - 1

    def _bin(self, rank: int) -> int | None:
        """The bin of the value of this rank; None if it is lost."""
        up_to = np.cumsum(self.counts)
        return self.low + int(np.searchsorted(up_to, rank, side="right")) if len(up_to) and rank < up_to[-1] else None

    def _edges(self, at: int | None) -> tuple[float, float]:
        if at is None:
            return math.inf, math.inf
        return max(edge(at), self.smallest), min(edge(at + 1), self.largest)


Distribution = Held | Binned


@dataclass(frozen=True, slots=True)
class Excused:
    """What the hosts may have done to the packets of a stream: nobody knows to which, so it were the latest ones."""

    lost: int = 0
    """At most so many did they lose."""
    late: float = 0.0
    """At most this share of all did they delay."""

    def packets(self, of: Distribution) -> int:
        """At most, of these."""
        return min(of.n, min(self.lost, of.lost) + math.ceil(self.late * of.n))

    def level(self, of: Distribution, q: float) -> float:
        """Where the packet stands, among all of these, that is the quantile ``q`` without the excused ones."""
        return q * (1 - self.packets(of) / of.n) if of.n else q


NOTHING = Excused()


class Counter:
    """Makes a distribution out of pieces."""

    def __init__(self, hold: bool, long_block: int = 1) -> None:
        """``hold`` all values, or only count them: in long blocks of so many blocks, for their intervals."""
        self._hold = hold
        self._long_block = long_block
        self._values: list[Floats] = []
        self._spans: list[Spans] = []
        self._groups: defaultdict[int, Bins] = defaultdict(Bins)
        self._packets: Tally[int] = Tally()
        self._lost: Tally[int] = Tally()
        self._ends = (math.inf, -math.inf)

    def add(self, values: Floats, spans: Spans) -> None:
        """Packets with their blocks."""
        if self._hold:
            self._values.append(values)
            self._spans.append(spans)
            return
        for group, part in self._parts(spans, len(values)):
            its = values[part]
            self._packets[group] += len(its) - int(np.count_nonzero(np.isnan(its)))
            self._lost[group] += int(np.count_nonzero(np.isinf(its)))
            self._count(its, group)

    def count(self, values: Floats) -> None:
        """Without blocks: no intervals are asked for."""
        if self._hold:
            self._values.append(values)
        else:
            self._count(values, 0)

    @classmethod
    def of(cls, values: Floats, hold: bool) -> Counter:
        """Of these alone, to be merged."""
        found = cls(hold)
        found.count(values)
        return found

    def merge(self, other: Counter) -> None:
        """What the other one was told by :func:`count` comes after this."""
        self._values += other._values
        for group, bins in other._groups.items():
            self._groups[group].add(bins.low, bins.counts)
        self._ends = min(self._ends[0], other._ends[0]), max(self._ends[1], other._ends[1])

    def result(self) -> Distribution:
        if self._hold:
            block = np.concatenate([np.empty(0, np.int64), *(each.of_each for each in self._spans)])
            return Held(np.concatenate(self._values) if self._values else np.empty(0), block)
        every = Bins()
        for group in self._groups.values():
            every.add(group.low, group.counts.copy())
        known = sorted(group for group, packets in self._packets.items() if packets)
        packets, lost = (np.array([each[at] for at in known], np.int64) for each in (self._packets, self._lost))
        return Binned(every.low, every.counts, tuple(self._groups[at] for at in known), packets, lost, *self._ends)

    def _parts(self, spans: Spans, packets: int) -> Iterator[tuple[int, slice]]:
        """The long blocks of these packets, of which the last one has all that comes later than foreseen."""
        first, last = (min(int(spans.block[at]) // self._long_block, MOST_BLOCKS - 1) for at in (0, -1))
        inner = spans.starts[np.searchsorted(spans.block, np.arange(first + 1, last + 1) * self._long_block)].tolist()
        for at, (start, end) in enumerate(pairwise([0, *inner, packets])):
            if end > start:
                yield first + at, slice(start, end)

    def _count(self, values: Floats, group: int) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            values = values[finite]
        if not len(values):
            return
        ends = np.array([values.min(), values.max()])
        low, bins = int(bins_of(ends[:1])[0]), bins_of(values)
        bins -= low
        self._groups[group].add(low, np.bincount(bins))
        self._ends = min(self._ends[0], float(ends[0])), max(self._ends[1], float(ends[1]))


def bins_of(values: Floats) -> Ints:
    """Bins of finite values of either sign; a larger value has no smaller bin."""
    size = np.abs(values)
    size += 1.0
    bins: Ints = size.view(np.int64)
    bins >>= _SHIFT
    bins -= _ORIGIN
    if (values < 0).any():
        bins ^= values.view(np.int64) >> 63  # of a negative one -1 - bin
    return bins


def edge(at: int) -> float:
    """The smallest value of a bin (of a negative one, its lower bound)."""
    bits = (at if at >= 0 else -at) + _ORIGIN
    size = float(np.array([bits << _SHIFT], np.int64).view(np.float64)[0]) - 1.0
    return size if at >= 0 else -size
