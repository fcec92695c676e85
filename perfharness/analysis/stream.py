"""The figures of one probe stream by itself, for a person who measures by hand: no order, no verdict.

Delays in ns; lost packets are infinitely late, and what is not measured is ``None``, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfharness.analysis import delay
from perfharness.analysis.loss import reordered
from perfharness.analysis.samples import Samples
from perfharness.analysis.statistics import Floats, quantile
from perfharness.model import Direction, Interval


@dataclass(frozen=True, slots=True)
class Quantile:
    """A value that a share of the packets does not exceed, and where the true one lies."""

    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Spread:
    """Of n packets: the smallest delay, the median and the 99th percentile."""

    n: int
    least: float
    p50: Quantile
    p99: Quantile


@dataclass(frozen=True, slots=True)
class Loss:
    """Packets lost out of those offered."""

    lost: int
    offered: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What one stream told."""

    rtt: Spread | None
    rtt_sources: Mapping[str, int]
    pdv: Spread | None
    ipdv_there: Spread | None
    """Of the absolute values, one way: no common clock is needed (RFC 3393)."""
    ipdv_back: Spread | None
    loss: Loss
    loss_there: Loss | None
    loss_back: Loss | None
    undirected: str
    """Why loss has no direction; empty where it has."""
    reordered: Loss
    """Replies that were overtaken, out of all: there and back cannot be told apart."""
    timer_error: Spread | None
    ttl_back: Mapping[int, int]


def figures(samples: Samples, ttl: Mapping[int, int], reflector: Mapping[str, Any]) -> Figures:
    """``ttl``: of the replies, as counted; ``reflector``: of the sender's result, what the replies said."""
    rtt = delay.rtt_ns(samples)
    there, back, why = by_count(samples, reflector)
    order = samples.seq[samples.replied][np.argsort(samples.t4[samples.replied], kind="stable")]
    return Figures(
        rtt=spread(rtt, samples),
        rtt_sources=delay.rtt_sources(samples),
        pdv=spread(delay.pdv(rtt, np.zeros_like(samples.block)), samples),
        ipdv_there=_ipdv(samples, Direction.A_Z),
        ipdv_back=_ipdv(samples, Direction.Z_A),
        loss=Loss(int(samples.lost.sum()), len(samples.seq)),
        loss_there=there,
        loss_back=back,
        undirected=why,
        reordered=Loss(int(reordered(order).sum()), len(order)),
        timer_error=spread(delay.timer_error_ns(samples), samples),
        ttl_back=ttl,
    )


def by_count(samples: Samples, reflector: Mapping[str, Any]) -> tuple[Loss | None, Loss | None, str]:
    """Loss there and back from a stateful reflector's own numbers, between its first and its last reply seen.

    As long as every number is the sender's again nobody can tell a reflector that returns them from one that
    counts and has missed nothing.
    """
    if not samples.lost.any():
        n = len(samples.seq)
        return Loss(0, n), Loss(0, n), ""
    if not reflector["own_numbers"] or reflector["first"] is None:
        return None, None, "the reflector's numbers are the sender's again"
    (first_seq, first), (last_seq, last) = reflector["first"], reflector["last"]
    inside = (samples.seq > first_seq) & (samples.seq <= last_seq)
    sent, answered = int(inside.sum()), last - first
    back = int((inside & samples.seen).sum())
    if not back <= answered <= sent:
        return None, None, "the reflector's numbers do not fit: it saw duplicates, other senders, or packets overtaken"
    return Loss(sent - answered, sent), Loss(answered - back, answered), ""


def spread(values: Floats, samples: Samples) -> Spread | None:
    """Of the per-packet values that were measured, lost ones included; None if there are none."""
    measured = ~np.isnan(values)
    if not np.isfinite(values[measured]).any():
        return None
    p50, p99 = (Quantile(*quantile(values, samples.block, q)) for q in (0.5, 0.99))
    return Spread(int(measured.sum()), float(np.nanmin(values)), p50, p99)


def _ipdv(samples: Samples, direction: Direction) -> Spread | None:
    """Placed at the later packet of each pair, so that its blocks are known."""
    one_way = delay.one_way_raw_ns(samples, direction)
    steps = np.full(len(one_way), np.nan)
    if len(one_way) > 1:
        both = np.isfinite(one_way[1:]) & np.isfinite(one_way[:-1])
        steps[1:][both] = np.abs(one_way[1:][both] - one_way[:-1][both])
    return spread(steps, samples)
