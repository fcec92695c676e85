"""The figures of RFC 6349 (TCP throughput testing), from rates, counts and round trips.

    BDP                  = bottleneck bandwidth x baseline RTT                                   section 3.3.1
    ideal goodput        = packets/s of full size at the bottleneck x live MSS                   section 3.3
    transfer time ratio  = actual / ideal transfer time = ideal / actual goodput                 section 4.1
    efficiency           = (sent - retransmitted) / sent bytes, the resent ones are sent too     section 4.2
    buffer delay         = (mean RTT under load - baseline RTT) / baseline RTT                   section 4.3

All ratios, not percent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from perfharness.analysis.capacity import counted_bytes, headers_bytes
from perfharness.analysis.statistics import (
    CONFIDENCE,
    Blocks,
    Floats,
    Ints,
    block_starts,
    counts_interval,
    mean_rate,
)
from perfharness.model import Interval, Layer

HALF = 1 - (1 - CONFIDENCE) / 2
"""Confidence of each of two bounds that must hold together."""


def live_mss(mtu: int, family: str = "ipv4") -> int:
    """Payload bytes of a full packet with the timestamp option, where no connection told its own."""
    return mtu - headers_bytes(family, "tcp")


def ideal_goodput_bps(rate_bps: float, layer: Layer, mtu: int, mss: int, *, tagged: bool) -> float:
    """Payload bit/s of a TCP whose packets of ``mtu`` bytes carry ``mss``, where ``layer`` counts ``rate_bps``."""
    if layer is Layer.L4:
        return rate_bps
    return rate_bps / counted_bytes(mtu, layer, tagged=tagged, protocol="tcp") * mss


def bdp_bytes(rate_bps: float, rtt_ns: float) -> float:
    """What is under way on a full path without a queue."""
    return rate_bps * rtt_ns / 8e9


def transfer_time_ratio(rates_bps: Floats, ideal_bps: float, bottleneck: Interval | None) -> tuple[float, Interval]:
    """By how much longer a transfer takes than at the ideal goodput, from the goodput of each interval (n,).

    ``bottleneck``: the interval of the bandwidth from which the ideal was worked out, as shares of it; its bounds and
    those of the goodput hold with half the doubt each. Raises ValueError if empty.
    """
    mean, actual = mean_rate(rates_bps, HALF)
    if mean <= 0:
        return math.inf, Interval(0.0, math.inf, CONFIDENCE, "one", "nothing was transferred")
    least, most = (bottleneck.lo, bottleneck.hi) if bottleneck is not None else (1.0, 1.0)
    method = "Student's t, autocorrelation; of goodput and bandwidth"
    if actual is None:
        return ideal_bps / mean, Interval(0.0, math.inf, CONFIDENCE, "one", method)
    hi = ideal_bps * most / actual.lo if actual.lo > 0 else math.inf
    return ideal_bps / mean, Interval(max(0.0, ideal_bps * least / actual.hi), hi, CONFIDENCE, "one", method)


def efficiency(
    sent_bytes: int, resent_bytes: int, sent: Ints, resent: Ints, confidence: float = CONFIDENCE
) -> tuple[float, Interval]:
    """The share of what was sent that was not sent again; ``sent`` and ``resent`` are segments of each block (k,),
    which tell how far it may be off. Raises ValueError where nothing was sent."""
    if sent_bytes <= 0 or not int(sent.sum()):
        raise ValueError("nothing was sent")
    value = min(1.0, max(0.0, 1 - resent_bytes / sent_bytes))
    share = counts_interval(np.minimum(resent, sent), sent, confidence)
    # Bytes and segments are read one after the other, so they may differ by a segment.
    return value, replace(share, lo=min(value, 1 - share.hi), hi=max(value, 1 - share.lo))


def buffer_delay(loaded_ns: Floats, block: Blocks, baseline_ns: float) -> tuple[float, Interval | None]:
    """By how many baselines the mean round trip under load exceeds the baseline; (n,) round trips with their blocks.

    What was lost or not measured has no round trip and is left out. The interval is that of the mean of the blocks.
    Raises ValueError without any round trip or baseline.
    """
    there = np.isfinite(loaded_ns)
    if not there.any() or baseline_ns <= 0:
        raise ValueError("there is no round trip to compare")
    values, starts = loaded_ns[there], block_starts(block[there])
    means = np.add.reduceat(values, starts) / np.diff(starts, append=len(values))
    _, reach = mean_rate(means)
    mean = float(values.mean())
    value = mean / baseline_ns - 1
    if reach is None:
        return value, None
    middle = float(means.mean())  # blocks may differ in size
    lo, hi = (mean + bound - middle for bound in (reach.lo, reach.hi))
    return value, replace(reach, lo=lo / baseline_ns - 1, hi=hi / baseline_ns - 1)


def fairness(shares: Sequence[float]) -> float | None:
    """Jain's index (Jain, Chiu, Hawe 1984): 1 where all have the same, 1/n where one has all; None of fewer than two or
    of nothing."""
    squares = math.fsum(share * share for share in shares)
    if len(shares) < 2 or squares <= 0:
        return None
    return math.fsum(shares) ** 2 / (len(shares) * squares)
