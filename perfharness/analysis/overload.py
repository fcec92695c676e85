"""What a circuit carries while it is offered more: the steady rate, and how sure of it one can be.

All sequences are cumulative, as batches arrived: the time of a batch's last packet by the receiver's clock, the bytes
that had arrived by then, and the bytes that had been *offered* by then, that is the highest sequence number seen times
the size of a packet. So both are told by one clock, at one place, and no clock of the sender matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from perfharness.analysis import special
from perfharness.analysis.statistics import CONFIDENCE, Floats, Ints, mean_rate
from perfharness.model import Interval

BLOCKS = 20
"""Longer blocks gain little and fewer leave the intervals too wide; enough for neighbours that resemble one another."""
LEAST_BLOCK_NS = 100_000_000
LEAST_BLOCKS = 4
WINDOW_NS = 5_000_000
"""Where less than what the circuit carries was offered for as long as this, it may have had to idle."""
SETTLE_NS = 100_000_000
"""After the knee: a queue that has just filled, a bucket that was emptied by a burst."""
BEND = 0.02
"""Share of all losses by which their curve must sag for a knee to be there at all."""
ROUNDS = 6
"""Idle for a fifth of the time, it is known to 0.01 % after so many."""
FLAT = 0.25
"""Before the knee at most so much is lost in a time, of what is lost in it afterwards."""
TOUCH_NS = 20_000_000
"""In each such stretch what arrived touches the line of its meter once, from below."""
STEP_PACKETS, STEP_DEVIATIONS = 2.0, 4.0
"""Of a step down between two touches: at least so many packets, and so many times what neighbours usually differ by."""
MOST_STEPS = 0.5
"""Share of all touches: with more there is no line between the steps."""
DEVIATION = 1.4826
"""Of a normal distribution, in median absolute ones."""
PARTS = 10
"""Of all touches, each left out in turn: how far the slope depends on any."""
OVERLOADED = 1.02
"""Who was offered this much more than arrived, was given more than it carries."""


@dataclass(frozen=True, slots=True)
class Batches:
    """(n,) each, one size of packets; counts are cumulative from anywhere."""

    t_ns: Ints
    arrived: Ints
    """Bytes."""
    offered: Ints
    """Bytes."""

    def after(self, index: int) -> Batches:
        return Batches(self.t_ns[index:], self.arrived[index:], self.offered[index:])

    def between(self, start_ns: int, end_ns: int) -> Batches:
        within = (self.t_ns >= start_ns) & (self.t_ns <= end_ns)
        return Batches(self.t_ns[within], self.arrived[within], self.offered[within])

    @property
    def seconds(self) -> float:
        return float(self.t_ns[-1] - self.t_ns[0]) / 1e9 if len(self.t_ns) else 0.0

    @property
    def bits_per_second(self) -> float:
        return float(self.arrived[-1] - self.arrived[0]) * 8 / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Steady:
    """The part of an overload in which no bucket is left, bit/s at whatever layer the bytes were counted."""

    rate_bps: float
    interval: Interval
    """Of what arrived: neither what hosts lost nor what they did not offer is in it."""
    offered_bps: float
    start_ns: int
    end_ns: int
    blocks: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def overloaded(self) -> bool:
        return self.offered_bps >= OVERLOADED * self.rate_bps


def knee(batches: Batches) -> int:
    """The index of the batch from which on it loses steadily: where a token bucket is empty.

    Losses add up to a curve that is flat until then and straight afterwards, so the knee is where it sags most below
    its chord, if little was lost before. If much was, the curve sags for another reason (a stall of the sender, a rate
    that wanders) and the knee is sought before that. A curve that hardly sags has none: it lost from the start.
    """
    lost = (batches.offered - batches.arrived).astype(np.float64)
    t = (batches.t_ns - batches.t_ns[:1]).astype(np.float64)
    lost -= lost[:1]
    end = len(lost) - 1
    while end > 1 and lost[end] > 0 and t[end] > 0:
        sag = t[: end + 1] / t[end] * lost[end] - lost[: end + 1]
        at = int(np.argmax(sag))
        if sag[at] <= BEND * lost[end]:
            return 0
        if lost[at] * (t[end] - t[at]) <= FLAT * (lost[end] - lost[at]) * t[at]:
            return at
        end = at
    return 0


def steady(batches: Batches, settle_ns: int = SETTLE_NS) -> Steady | None:
    """The steady rate after the knee, from blocks of at least LEAST_BLOCK_NS; None when that is too short.

    The interval is that of the mean of the blocks' rates (:func:`perfharness.analysis.statistics.mean_rate`), laid
    around the rate of the whole. A meter that keeps its rate makes blocks differ by a packet only, so it is narrow.
    """
    if len(batches.t_ns) < 2:
        return None
    start_ns = batches.t_ns[knee(batches)] + settle_ns
    kept = batches.after(int(np.searchsorted(batches.t_ns, start_ns)))
    span_ns = int(kept.t_ns[-1] - kept.t_ns[0]) if len(kept.t_ns) else 0
    count = min(BLOCKS, span_ns // LEAST_BLOCK_NS)
    if count < LEAST_BLOCKS:
        return None
    rates = rates_of(kept, edges(kept.t_ns, count))
    value = kept.bits_per_second
    mean, interval = mean_rate(rates)
    if interval is None:
        return None
    return Steady(
        rate_bps=value,
        interval=replace(interval, lo=interval.lo - mean + value, hi=interval.hi - mean + value),
        offered_bps=_slope(kept.t_ns, kept.offered),
        start_ns=int(kept.t_ns[0]),
        end_ns=int(kept.t_ns[-1]),
        blocks=len(rates),
    )


def edges(t_ns: Ints, count: int) -> Ints:
    """Indices of the batches that end ``count`` blocks of equal length, the first batch before them; a stall that
    swallows a whole block leaves fewer."""
    wanted = np.linspace(float(t_ns[0]), float(t_ns[-1]), count + 1)
    return np.unique(np.clip(np.searchsorted(t_ns, wanted.astype(np.int64)), 0, len(t_ns) - 1))


def rates_of(batches: Batches, at: Ints) -> Floats:
    """Bit/s that arrived in each block between these batches."""
    span = np.maximum(np.diff(batches.t_ns[at]), 1)
    return np.asarray(np.diff(batches.arrived[at]) * 8e9 / span, np.float64)


def idle_bps(batches: Batches, rate_bps: float, memory_bytes: float = 0.0) -> float:
    """The most that a circuit of this rate would have carried on top, had it been offered enough at every moment.

    ``memory_bytes``: what is surely saved up while less is offered, and used afterwards: a bucket's tokens, or what
    waits in a queue. What fits into a gap depends on the rate itself, which may be the higher for it.
    """
    idle = 0.0
    for _ in range(ROUNDS):
        if memory_bytes > 0:
            idle = _overflow_bps(batches, rate_bps + idle, memory_bytes)
        else:
            idle = _missing_bps(batches, rate_bps + idle)
    return idle


def _missing_bps(batches: Batches, rate_bps: float) -> float:
    """What was offered too little from batch to batch, as if nothing was saved up meanwhile: in each WINDOW_NS in
    which less came than the rate, and in its neighbours. What came late beside it made up for nothing."""
    if not batches.seconds:
        return 0.0
    at = edges(batches.t_ns, max(1, int(batches.t_ns[-1] - batches.t_ns[0]) // WINDOW_NS))
    missing = np.maximum(rate_bps / 8e9 * np.diff(batches.t_ns) - np.diff(batches.offered), 0.0)
    short = np.diff(batches.offered[at]) < rate_bps / 8e9 * np.diff(batches.t_ns[at])
    beside = np.convolve(short, (1, 1, 1), "same") > 0
    return float(np.add.reduceat(missing, at[:-1])[beside].sum()) * 8 / batches.seconds


def _overflow_bps(batches: Batches, rate_bps: float, memory_bytes: float) -> float:
    """What was offered too little and did not fit into what is saved up."""
    saved = overflow = 0.0
    for short in (rate_bps / 8e9 * np.diff(batches.t_ns) - np.diff(batches.offered)).tolist():
        saved = max(0.0, saved + short)
        if saved > memory_bytes:
            overflow, saved = overflow + saved - memory_bytes, memory_bytes
    return overflow * 8 / batches.seconds if batches.seconds else 0.0


def kept_rate(batches: Batches, packet_bytes: int) -> tuple[float, float]:
    """(rate of a meter that keeps it, how far off that may be), bit/s, from at least three batches.

    As long as it has neither tokens nor room left, what arrived lies on a line; whatever it saves up while less is
    offered lies below, and moves no rate for good. So the line touches from above what arrived in the first third and
    what arrived in the last; how far the second third stays below it, and a packet at each end, is what is not known.
    """
    t, arrived = (batches.t_ns - batches.t_ns[0]) / 1e9, (batches.arrived - batches.arrived[0]) * 8.0
    thirds = [part for part in np.array_split(np.arange(len(t)), 3) if len(part)]
    rate = float(arrived[-1] / t[-1])
    for _ in range(ROUNDS):
        first, last = (int(part[np.argmax((arrived - rate * t)[part])]) for part in (thirds[0], thirds[-1]))
        if t[last] <= t[first]:
            break
        rate = float((arrived[last] - arrived[first]) / (t[last] - t[first]))
    above = arrived - rate * t
    strays = abs(float(above[thirds[1]].max() - above[first])) if len(thirds) > 2 else math.inf
    span = float(t[last] - t[first])
    return rate, (strays + 16.0 * packet_bytes) / span if span > 0 else math.inf


def shaped_rate(batches: Batches, packet_bytes: int) -> tuple[float, float]:
    """(rate of a shaper that keeps it, how far off that may be), bit/s; infinitely far where there are too few touches,
    or a step in most of them.

    A shaper in software is late now and then, or has nothing to send for a moment, and what its burst does not make up
    for is lost for good: the line of what arrived steps down. So its rate is the slope that the lines between steps
    have in common, each at its own height (least squares through their touches from above); how far that may be off
    is told by the jackknife of its parts and a packet at each end.
    """
    rate = batches.bits_per_second
    for _ in range(ROUNDS):
        t, bits = _touches(batches, rate)
        if len(t) < 2 * PARTS:
            return rate, math.inf
        rate += float(np.median(np.diff(bits) / np.diff(t) - rate))
    steps = np.diff(bits) - rate * np.diff(t)
    usual = DEVIATION * float(np.median(np.abs(steps - np.median(steps))))
    down = np.flatnonzero(steps < -max(STEP_PACKETS * 8 * packet_bytes, STEP_DEVIATIONS * usual))
    lines = np.split(np.arange(len(t)), down + 1)
    since = np.concatenate([t[line] - t[line].mean() for line in lines])
    came = np.concatenate([bits[line] - bits[line].mean() for line in lines])
    along, across = since * came, since * since
    parts = np.array_split(np.arange(len(since)), PARTS)
    if len(down) > MOST_STEPS * len(t) or any(across.sum() <= across[part].sum() for part in parts):
        return rate, math.inf
    others = np.array([(along.sum() - along[part].sum()) / (across.sum() - across[part].sum()) for part in parts])
    error = float(np.sqrt((PARTS - 1) * np.mean((others - others.mean()) ** 2)))
    surely = float(special.stdtrit(PARTS - 1, (1 + CONFIDENCE) / 2))
    return float(along.sum() / across.sum()), surely * error + 16.0 * packet_bytes / batches.seconds


def _touches(batches: Batches, rate_bps: float) -> tuple[Floats, Floats]:
    """(seconds, bits) at which what arrived is highest above a line of this slope, once in each TOUCH_NS."""
    since_ns = batches.t_ns - batches.t_ns[0]
    bits = (batches.arrived - batches.arrived[0]) * 8.0
    above = bits - rate_bps / 1e9 * since_ns
    stretches = np.split(np.arange(len(bits)), np.flatnonzero(np.diff(since_ns // TOUCH_NS)) + 1)
    at = np.array([int(stretch[np.argmax(above[stretch])]) for stretch in stretches])
    return since_ns[at] / 1e9, bits[at]


def most_in(batches: Batches, seconds: float = 1.0) -> float | None:
    """The highest rate over any stretch of so many seconds that begins at a batch, bit/s; None where it is shorter."""
    span = round(seconds * 1e9)
    if not len(batches.t_ns) or batches.t_ns[-1] - batches.t_ns[0] < span:
        return None
    ends = np.searchsorted(batches.t_ns, batches.t_ns + span, side="right") - 1
    whole = batches.t_ns + span <= batches.t_ns[-1]
    return float((batches.arrived[ends] - batches.arrived)[whole].max()) * 8 / seconds


def _slope(t_ns: Ints, counts: Ints) -> float:
    return float(counts[-1] - counts[0]) * 8e9 / float(t_ns[-1] - t_ns[0])
