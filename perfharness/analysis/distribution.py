"""Values of very many packets: as they are where they fit, else counted in bins, with the same questions to both.

A bin is 1/4096 of an octave's lower end wide, in ns above one: a value is known to within 0.025 % (and an interval's
bounds are the outer ends of their bins). Lost = ``inf`` has a bin of its own, ``nan`` is not measured and not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from perfharness.analysis.blocks import Blocked
from perfharness.analysis.delay import ccdf, tail_ranks
from perfharness.analysis.statistics import (
    CONFIDENCE,
    Blocks,
    Floats,
    Ints,
    effective_n,
    latest_bounds,
    quantile,
    rank_bounds,
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


@dataclass(frozen=True, slots=True)
class Binned:
    """How many values fell into each bin from ``low`` on, and per block how many packets there were and were lost."""

    low: int
    counts: Ints
    block: Ints
    """Index of each block that has packets."""
    packets: Ints
    lost_in: Ints
    """Packets, and those of them that were lost, in each such block."""
    smallest: float
    largest: float
    later: Mapping[int, Ints]
    """Bin → per block the packets in that bin or a later one, or lost; of the bins at which a quantile may lie."""

    @property
    def n(self) -> int:
        return int(self.counts.sum()) + self.lost

    @property
    def lost(self) -> int:
        return int(self.lost_in.sum())

    def bins_at(self, q: float) -> tuple[int, ...]:
        """Where :attr:`later` must be counted for this quantile."""
        found = self._bin(self._rank(q))
        return () if found is None else (found, found + 1)

    def quantile(self, q: float, confidence: float = CONFIDENCE) -> tuple[float, Interval]:
        """As :func:`statistics.quantile`, but for bounds that only the few latest packets can tell: here it is the
        latest of all. Raises KeyError when :attr:`later` was not counted for it."""
        n = self.n
        if not n:
            raise ValueError("a quantile of no values does not exist")
        at = self._bin(self._rank(q))
        sides = [self.lost_in] if at is None else [self.later[at], self.later[at + 1]]
        n_eff = min(effective_n(side, self.packets, confidence) for side in sides)
        lo_rank, hi_rank = rank_bounds(n, n_eff, q, confidence)
        lo = -math.inf if lo_rank < 0 else self._edges(self._bin(lo_rank))[0]
        if hi_rank < n:
            hi = self._edges(self._bin(hi_rank))[1]
        else:
            hi = self.largest if latest_bounds(sides[-1], self.lost_in, self.packets, 1 - q) else math.inf
        return self.percentile(q), Interval(lo, hi, confidence, "one", METHOD, n_eff)

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

    def __init__(self, hold: bool) -> None:
        """``hold`` all values, or only count them."""
        self._hold = hold
        self._values: list[Floats] = []
        self._blocks: list[Blocks] = []
        self._low, self._counts = 0, np.zeros(0, np.int64)
        self._packets, self._lost = Blocked(), Blocked()
        self._ends = (math.inf, -math.inf)

    def add(self, values: Floats, block: Blocks, starts: Ints) -> None:
        """``starts``: where each block of ``block`` begins."""
        if self._hold:
            self._values.append(values)
            self._blocks.append(block)
            return
        which = block[starts]
        self._packets.add(which, np.add.reduceat(~np.isnan(values), starts, dtype=np.int64))
        self._lost.add(which, np.add.reduceat(np.isinf(values), starts, dtype=np.int64))
        self.count(values)

    def count(self, values: Floats) -> None:
        """Without blocks: no intervals are asked for."""
        if self._hold:
            self._values.append(values)
            return
        values = values[np.isfinite(values)]
        if not len(values):
            return
        bins = bins_of(values)
        low = int(bins.min())
        self._merge(low, np.bincount(bins - low))
        self._ends = min(self._ends[0], float(values.min())), max(self._ends[1], float(values.max()))

    def result(self) -> Distribution:
        if self._hold:
            block = np.concatenate(self._blocks) if self._blocks else np.empty(0, np.int64)
            return Held(np.concatenate(self._values) if self._values else np.empty(0), block)
        block, packets, lost = self._packets.blocks(), self._packets.of(self._packets), self._lost.of(self._packets)
        return Binned(self._low, self._counts, block, packets, lost, *self._ends, {})

    def _merge(self, low: int, counts: Ints) -> None:
        if not len(self._counts):
            self._low = low
        before, after = max(0, self._low - low), max(0, low + len(counts) - self._low - len(self._counts))
        if before or after:
            self._counts = np.pad(self._counts, (before, after))
            self._low -= before
        self._counts[low - self._low : low - self._low + len(counts)] += counts


class Later:
    """Gathers, in a second pass over the same values, what a distribution needs to be asked for intervals."""

    def __init__(self, found: Binned, quantiles: Iterable[float], excused: Excused) -> None:
        """At these quantiles, also without the excused packets."""
        self._found = found
        levels = {level for q in quantiles for level in (q, excused.level(found, q))}
        self._counts = {at: Blocked() for level in levels for at in found.bins_at(level)}

    def add(self, values: Floats, block: Blocks, starts: Ints) -> None:
        """As for :class:`Counter`."""
        for at, blocked in self._counts.items():
            blocked.add(block[starts], np.add.reduceat(values >= edge(at), starts, dtype=np.int64))

    def result(self) -> Binned:
        return replace(self._found, later={at: each.at(self._found.block) for at, each in self._counts.items()})


def bins_of(values: Floats) -> Ints:
    """Bins of finite values of either sign; a larger value has no smaller bin."""
    bins = ((np.abs(values) + 1.0).view(np.int64) >> _SHIFT) - _ORIGIN
    negative = values < 0
    return np.where(negative, -1 - bins, bins) if negative.any() else bins


def edge(at: int) -> float:
    """The smallest value of a bin (of a negative one, its lower bound)."""
    bits = (at if at >= 0 else -at) + _ORIGIN
    size = float(np.array([bits << _SHIFT], np.int64).view(np.float64)[0]) - 1.0
    return size if at >= 0 else -size
