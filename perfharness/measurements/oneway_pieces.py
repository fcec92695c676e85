"""One-way delay and IPDV of a probe stream of any length: a pass that finds the clocks' offset, one that adds up what
each packet took, and, of a run too long to hold, one that counts what its intervals need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perfharness.analysis import clock, delay, oneway
from perfharness.analysis.distribution import NOTHING, Binned, Counter, Distribution, Excused, Later
from perfharness.analysis.samples import Samples, near
from perfharness.analysis.statistics import Floats, Ints, block_starts
from perfharness.analysis.summary import MOST_HELD, Seconds
from perfharness.measurements.pieces import Pieces
from perfharness.model import Direction

WAYS = (Direction.A_Z, Direction.Z_A)
DELAY, IPDV = "delay", "ipdv"
Kind = tuple[str, Direction]


@dataclass(frozen=True, slots=True)
class Telling:
    """The packets from which the offset of the clocks is found; in a run that can be held, all."""

    due_ns: Ints
    t2_ns: Ints
    """When each reached the reflector, 0 if it did not."""
    forward: Floats
    backward: Floats
    """As :func:`delay.one_way_raw_ns`, of packets with stamps of one kind from both hosts."""


def telling(pieces: Pieces) -> Telling:
    hold = pieces.packets <= MOST_HELD

    def chosen(samples: Samples) -> tuple[Ints, Ints, Floats, Floats]:
        due, (forward, backward) = _due(samples), _alike(samples, _raw(samples))
        t2 = np.where(samples.seen, samples.t2, 0)
        which = slice(None) if hold else oneway.telling(due, forward, backward)
        return due[which], t2[which], forward[which], backward[which]

    parts = list(pieces.each(chosen))
    return Telling(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def distributions(
    pieces: Pieces,
    clocks: oneway.Clocks | None,
    steps: Sequence[clock.Step],
    quantiles: Mapping[str, Iterable[float]],
    excused: Mapping[Direction, Excused],
) -> dict[Kind, Distribution]:
    """Delay (where the ``clocks`` are known) and IPDV of each direction, ready to be asked for these ``quantiles``,
    also without the ``excused`` packets."""
    hold = pieces.packets <= MOST_HELD
    kinds = [(what, way) for what in ((DELAY, IPDV) if clocks else (IPDV,)) for way in WAYS]
    counters = {kind: Counter(hold) for kind in kinds}
    for values, block, starts in _values(pieces, clocks, steps):
        for kind, counter in counters.items():
            counter.add(values[kind], block, starts)
    made = {kind: counter.result() for kind, counter in counters.items()}
    later = {
        kind: Later(each, quantiles[kind[0]], excused[kind[1]] if kind[0] == DELAY else NOTHING)
        for kind, each in made.items()
        if isinstance(each, Binned)
    }
    if later:
        for values, block, starts in _values(pieces, clocks, steps):
            for kind, gathering in later.items():
                gathering.add(values[kind], block, starts)
    return {**made, **{kind: each.result() for kind, each in later.items()}}


def _values(
    pieces: Pieces, clocks: oneway.Clocks | None, steps: Sequence[clock.Step]
) -> Iterator[tuple[Mapping[Kind, Floats], Ints, Ints]]:
    """What each packet took and by how much that differs from the packet before, piece by piece, with their blocks."""

    def work(samples: Samples) -> tuple[Samples, dict[Kind, Floats]]:
        due = _due(samples)
        segment = clock.segments(due, steps)
        raw = _raw(samples)
        disturbed = segment < 0
        some = bool(disturbed.any())
        values = {(IPDV, way): np.where(disturbed, np.nan, raw[way]) if some else raw[way] for way in WAYS}
        if clocks is not None:
            both = oneway.delays(clocks.apart(due, segment), *_alike(samples, raw))
            values |= {(DELAY, way): each for way, each in zip(WAYS, both, strict=True)}
        return samples, values

    seconds, last = Seconds(), dict.fromkeys(WAYS, np.array([np.nan]))
    for samples, values in pieces.each(work):
        if not len(samples.seq):
            continue
        for way in WAYS:
            raw = values[IPDV, way]
            values[IPDV, way] = delay.ipdv(np.append(last[way], raw))[1:]
            last[way] = raw[-1:]
        block = seconds.of(samples)
        yield values, block, block_starts(block)


def _due(samples: Samples) -> Ints:
    return samples.t1 if samples.schedule_ns is None else samples.schedule_ns


def _raw(samples: Samples) -> dict[Direction, Floats]:
    return {way: delay.one_way_raw_ns(samples, way) for way in WAYS}


def _alike(samples: Samples, raw: Mapping[Direction, Floats]) -> tuple[Floats, Floats]:
    """What each way seems to take by the two hosts' clocks; unknown where the stamps are not of one kind."""
    s = samples
    unlike = s.seen & ~near(s.s1, s.s2), s.replied & ~near(s.s3, s.s4)
    there, here = (
        np.where(other, np.nan, raw[way]) if other.any() else raw[way] for way, other in zip(WAYS, unlike, strict=True)
    )
    return there, here
