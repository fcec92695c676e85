"""What recurs, what jumps, what was marked: patterns in loss and delay over time."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perfharness.analysis.statistics import Blocks, Bools, Floats, Ints

SEVERE = 0.5
"""A second that lost more than this share is severely errored (ITU-T Y.1563)."""
TURN_S = 10
"""So many severely errored seconds in a row begin unavailable time, so many others end it (ITU-T Y.1563)."""
SURE = 1e-3
"""Random losses are called periodic at most this often."""
MOST_EVENTS = 1000
STEP_WINDOW_S = 5
LEAST_STEP_NS = 20_000
"""A smaller change of the least delay is a host's."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Of the seconds in which packets were offered."""

    seconds: int
    severely_errored: int
    unavailable: Bools
    """(seconds,)"""


def availability(offered: Ints, lost: Ints) -> Availability:
    """ITU-T Y.1563 from the packets of each second (n,): unavailable from the first of ten severely errored seconds
    in a row on, available from the first of ten others in a row on. Before anything else is known: available.
    Seconds without a packet are left out beforehand: nobody knows what they were like."""
    severe = lost > SEVERE * offered
    starts = np.flatnonzero(np.diff(severe.astype(np.int8), prepend=-1))
    lengths = np.diff(starts, append=len(severe))
    turns = lengths >= TURN_S
    last = np.maximum.accumulate(np.where(turns, np.arange(len(starts)), -1))
    state = np.where(last >= 0, severe[starts[np.maximum(last, 0)]], False) if len(starts) else np.zeros(0, np.bool_)
    return Availability(len(severe), int(severe.sum()), np.repeat(state, lengths).astype(np.bool_))


@dataclass(frozen=True, slots=True)
class Step:
    """The least delay changed by ``size_ns`` in second ``block`` and stayed: a reroute, most often."""

    block: int
    size_ns: float
    before_ns: float
    """The usual least delay until then."""


def steps(block: Blocks, least_ns: Floats) -> tuple[Step, ...]:
    """Steps in the least delay of each second (n,), ``nan`` or ``inf`` where none was measured.

    The median of STEP_WINDOW_S seconds after differs from that of those before by more than LEAST_STEP_NS and six
    times the usual difference from one second to the next: so spikes of one or two seconds are none, and none is found
    nearer than that to either end, or to another one.
    """
    there = np.isfinite(least_ns)
    block, least = block[there], least_ns[there]
    w = STEP_WINDOW_S
    if len(least) < 2 * w:
        return ()
    medians = np.median(np.lib.stride_tricks.sliding_window_view(least, w), axis=1)
    change = medians[w:] - medians[:-w]  # of [i, i + w) against [i - w, i), for i from w on
    jumps = np.abs(np.diff(least))
    large = np.abs(change) > max(LEAST_STEP_NS, 6 * float(np.median(jumps)))
    groups = np.sign(change) * large
    begins = np.flatnonzero(np.diff(groups, prepend=0))
    found = []
    for begin, end in zip(begins, np.append(begins, len(groups))[1:], strict=True):
        if groups[begin]:
            at = begin + int(jumps[begin + w - 1 : end + w - 1].argmax())
            found.append(Step(int(block[at + w]), float(change[at]), float(medians[at])))
    return tuple(found)


def sides(step: Step, block: Blocks, forward: Floats, backward: Floats) -> tuple[float, float] | None:
    """How much of a step in the round trip lies forward and how much backward; None where the clocks hide it.

    ``forward`` and ``backward`` (n,): the least of each second by the two hosts' own clocks. Half of their difference
    holds that of the clocks, which moves in a line, seen on both sides of the step; what it jumps by besides is the
    path's. A part that goes against the step and is no small one of it means that a clock jumped too.
    """
    w = STEP_WINDOW_S
    half = (forward - backward) / 2
    at = int(np.searchsorted(block, step.block))
    before, after = half[max(0, at - w) : at], half[at + 1 : at + 1 + w]
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if min(len(before), len(after)) < 3:
        return None
    drift = float(np.median(np.concatenate((np.diff(before), np.diff(after)))))
    apart = (len(before) + len(after)) / 2 + 1  # seconds between the middles
    jump = float(np.median(after) - np.median(before)) - drift * apart
    parts = step.size_ns / 2 + jump, step.size_ns / 2 - jump
    against = min(part * np.sign(step.size_ns) for part in parts)
    return None if against < -0.2 * abs(step.size_ns) else parts


@dataclass(frozen=True, slots=True)
class Period:
    """Events recur every ``length``, in the unit of their times."""

    length: float
    chance: float
    """At most this likely for events at random times."""
    events: int
    """Those that keep to it."""


def periodicity(times: npt.NDArray[np.floating[Any]], span: float) -> Period | None:
    """The period of events (n,), such as beginnings of loss periods, within ``span``; None if they are not periodic.

    The power of a frequency f is |Σ exp(2πi f t)|²/n (Rayleigh), for random times exponentially distributed with mean
    1, so the largest of m frequencies exceeds P with a chance of at most m·exp(-P) (Bonferroni). Tested are those from
    4/span to 2n/span, four to each 1/span. Losses come in clusters, which have power by themselves: so of events
    within a quarter of the period found only the first counts for its chance, and at least half of the periods must
    have an event. Of more than MOST_EVENTS the first ones are looked at. Takes about 12 events or more.
    """
    times = np.sort(times)
    if len(times) > MOST_EVENTS:
        times, span = times[:MOST_EVENTS], float(times[MOST_EVENTS] - times[0])
    if len(times) < 5 or span <= 0:
        return None
    times = times - times[0]
    frequencies = np.arange(16, 8 * len(times) + 1) / (4 * span)
    power = np.concatenate([_power(times, part) for part in np.array_split(frequencies, len(frequencies) // 512 + 1)])
    lowest = int(np.flatnonzero(power > 0.7 * power.max())[0])  # harmonics are as strong as the frequency itself
    nearby = frequencies[lowest : lowest + 4]
    period = 1 / float(nearby[power[lowest : lowest + 4].argmax()])
    times = times[np.diff(times, prepend=-period) > period / 4]
    chance = len(frequencies) * math.exp(-float(_power(times, nearby).max()))
    if chance > SURE:
        return None
    offset, on = 0.0, np.ones(len(times), np.bool_)
    for _ in range(4):  # each event's number in the sequence, then the straight line through those that are near it
        number = np.rint((times - offset) / period)
        period, offset = map(float, np.polyfit(number[on], times[on], 1))
        near = np.abs(times - (offset + period * number)) <= period / 8
        on = near if near.sum() >= len(times) / 2 else on
    number = number[on]
    if len(np.unique(number)) < 0.5 * (number[-1] - number[0] + 1):
        return None
    return Period(period, chance, len(number))


def _power(times: npt.NDArray[np.floating[Any]], frequencies: Floats) -> Floats:
    waves = np.exp(2j * np.pi * np.multiply.outer(frequencies, times)).sum(axis=1)
    power: Floats = np.square(np.abs(waves)) / len(times)
    return power


@dataclass(frozen=True, slots=True)
class Marks:
    """How the packets of one direction were marked on arrival, against what was sent."""

    packets: int
    remarked: int
    """With a DSCP that none was sent with."""
    congestion: int
    """With ECN's congestion experienced (RFC 3168)."""
    dscps: Mapping[int, int]
    """DSCP → packets."""


def marks(tos_seen: Mapping[str, int], sent: Collection[int]) -> Marks:
    """From the counts of the IP header's TOS or traffic class (DSCP << 2 | ECN), as an agent notes them, of packets
    that were sent with one of these DSCPs."""
    seen = {int(tos): int(count) for tos, count in tos_seen.items()}
    dscps = dict.fromkeys(sorted(tos >> 2 for tos in seen), 0)
    for tos, count in seen.items():
        dscps[tos >> 2] += count
    return Marks(
        packets=sum(seen.values()),
        remarked=sum(count for dscp, count in dscps.items() if dscp not in sent),
        congestion=sum(count for tos, count in seen.items() if tos & 3 == 3),
        dscps=dscps,
    )


@dataclass(frozen=True, slots=True)
class Runs:
    """Whether losses come one by one or in a row: periods of loss (RFC 3357) against Gilbert's model (1960).

    In that model a path is good or bad: each packet turns good to bad with one chance, bad to good with another, and
    every packet is lost while it is bad. Losses that know nothing of one another have ``ends`` = 1 - ratio.
    """

    packets: int
    lost: int
    periods: int
    longest: int
    begins: float
    """Chance that a packet after one that arrived is lost."""
    ends: float
    """Chance that a packet after a lost one arrives: one over the mean length of a period."""
    chance_length: float
    """Mean length of a period if losses knew nothing of one another."""
    apart: int | None
    """Median distance between periods, packets (RFC 3357 section 6.4); None of fewer than two."""


def runs(packets: int, lengths: Ints, distances: Ints) -> Runs | None:
    """From the periods of :func:`loss.periods`; None where nothing was lost."""
    lost = int(lengths.sum())
    if not lost:
        return None
    return Runs(
        packets=packets,
        lost=lost,
        periods=len(lengths),
        longest=int(lengths.max()),
        begins=len(lengths) / max(packets - lost, 1),
        ends=len(lengths) / lost,
        chance_length=packets / max(packets - lost, 1),
        apart=int(np.median(distances)) if len(distances) else None,
    )
