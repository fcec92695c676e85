"""Policer or shaper: its bucket or queue, and the layer at which it counts.

A policer drops what its token bucket cannot pay; a shaper lets it wait first. From rest the bucket is full, so of a
train that comes faster than the rate everything passes until it is empty, and then exactly the rate: a straight line
of arrived bytes over time whose height at the train's first packet is the bucket. Two sizes of packets tell the layer:
what is metered is the same for both, only their headers are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfharness.analysis.capacity import overhead_bytes
from perfharness.analysis.overload import Batches, knee
from perfharness.analysis.statistics import Floats, Ints
from perfharness.model import Interval, Layer

SHAPER_QUEUE_NS = 5_000_000
"""Who delays by less than this before dropping does not shape."""
LEAST_LOST = 0.02
"""Share of a train that must be lost: else its bucket was not emptied."""
LEAST_LEFT = 0.2
"""Share of a train's time that must lie behind the knee, for the line to be a line."""
LEAST_BATCHES = 8
IDLE_QUANTILE = 0.05
OFFERED = 1.05
"""Both sizes must have been offered this much more than was accepted for their ratio to be the meter's."""
TOLERANCE_BYTES = 1.0
WORDS = {Layer.L1: "L1", Layer.L2_FCS: "L2 with FCS", Layer.L2: "L2", Layer.L3: "L3"}


@dataclass(frozen=True, slots=True)
class Train:
    """Batches of one train from rest; counts begin before its first packet, which came at ``start_ns``."""

    batches: Batches
    start_ns: int
    packet_bytes: int
    """As counted in ``batches``."""


def emptied(train: Train, rate_bps: float) -> float | None:
    """The bytes that a full bucket let pass beside the rate; None where the train did not empty it.

    The median height, at the train's first packet, of lines of the given slope through what arrived after the knee.
    Half a packet is added: so much of a token is left on average when a packet does not pass any more.
    """
    batches = train.batches
    if len(batches.t_ns) < LEAST_BATCHES:
        return None
    lost = int((batches.offered[-1] - batches.arrived[-1]) - (batches.offered[0] - batches.arrived[0]))
    at = knee(batches)
    left = float(batches.t_ns[-1] - batches.t_ns[at]) / max(1.0, float(batches.t_ns[-1] - train.start_ns))
    if lost < LEAST_LOST * float(batches.offered[-1]) or left < LEAST_LEFT or len(batches.t_ns) - at < LEAST_BATCHES:
        return None
    since = (batches.t_ns[at:] - train.start_ns) / 1e9
    heights: Floats = batches.arrived[at:] - rate_bps / 8 * since
    return float(np.median(heights)) + train.packet_bytes / 2


def median_of(values: Sequence[float]) -> tuple[float, Interval]:
    """The median of independent values, and where the true one lies: between the least and the most of five it is
    with 96.9 % on each side (a coin that falls alike five times). Raises ValueError if empty."""
    if not values:
        raise ValueError("a median of no values does not exist")
    confidence = 1 - 0.5 ** len(values)
    return float(np.median(values)), Interval(
        min(values), max(values), confidence, "one", "least and most of all trains"
    )


def queue_ns(loaded: Ints, idle: Ints) -> float | None:
    """By how much the median delay under an overload exceeds that of an idle path, ns; None without either.

    Few of the idle ones may have been held up: of them the 5 % that came first are the path. Both must be of one
    stretch of seconds, since the clocks drift apart.
    """
    if not len(loaded) or not len(idle):
        return None
    return float(np.median(loaded) - np.quantile(idle, IDLE_QUANTILE))


@dataclass(frozen=True, slots=True)
class Accepted:
    """Packets/s of one size that passed an overload."""

    payload_bytes: int
    per_s: float
    lo: float
    hi: float
    offered_per_s: float


@dataclass(frozen=True, slots=True)
class Metered:
    """What a meter counts for a packet beside its UDP payload, bytes."""

    value: float
    lo: float
    hi: float

    def layer(self, tagged: bool) -> tuple[Layer, bool] | None:
        """(layer, with the VLAN tag) of the one layer that fits; None where none does, or several do.

        With the tag counted L2 is as large as L2+FCS without: a meter of a tagged circuit is taken to see the tag.
        """
        fits: dict[int, tuple[Layer, bool]] = {}
        for tag in (True, False) if tagged else (False,):
            for layer in WORDS:
                header = overhead_bytes(layer, tagged=tag)
                if self.lo - TOLERANCE_BYTES <= header <= self.hi + TOLERANCE_BYTES:
                    fits.setdefault(header, (layer, tag and layer is not Layer.L3))
        return next(iter(fits.values())) if len(fits) == 1 else None


def metered(large: Accepted, small: Accepted) -> Metered | None:
    """From the rates at which packets of two sizes passed; None unless both were offered clearly more."""
    if any(one.offered_per_s < OFFERED * one.per_s or one.lo <= 0 for one in (large, small)):
        return None
    ends = (_header(large, small, large.hi, small.lo), _header(large, small, large.lo, small.hi))
    value = _header(large, small, large.per_s, small.per_s)
    return Metered(value, min(ends), max(ends)) if all(math.isfinite(end) for end in (*ends, value)) else None


def _header(large: Accepted, small: Accepted, first: float, second: float) -> float:
    if second <= first:
        return math.inf
    return (second * small.payload_bytes - first * large.payload_bytes) / (first - second)
