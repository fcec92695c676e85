"""Loads through a simulated meter, as the receiver's batches would show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfharness.analysis.overload import Batches
from perfharness.analysis.statistics import Ints

OFFSET_NS = 1_700_000_000_123_456_789
"""Of the receiver's clock to the sender's."""


@dataclass(frozen=True, slots=True)
class Meter:
    """A policer with this bucket, or with ``queue_ns`` a shaper with this burst and queue."""

    rate_bps: float
    bucket_bytes: float = 1_500_000
    queue_ns: float | None = None
    header_bytes: int = 42
    """What it counts beside the payload."""
    loses: float = 0.0
    """Share of the packets that the circuit loses at any rate."""
    late: Sequence[tuple[float, float]] = ()
    """(when, how long) a shaper let nothing out, seconds: what its burst does not make up for is gone for good."""


@dataclass(frozen=True, slots=True)
class Load:
    """Equal packets at ``rate_bps`` of what the meter counts; every ``burst`` of them leave at once."""

    rate_bps: float
    payload_bytes: int = 1400
    seconds: float = 5.0
    burst: int = 8
    jitter_ns: float = 50_000
    stalls: Sequence[tuple[float, float]] = ()
    """(when, how long) the sender sent nothing, seconds; what was due meanwhile is shed."""
    reorder: float = 0.0
    """Share of packets that come a little later than they should."""
    keeps: float = 1.0
    """Share of the packets that leave the sending host."""
    drop_batches: float = 0.0
    """Share of the receiver's rows that are missing: a stalled receiver reads several batches at once."""


@dataclass(frozen=True, slots=True)
class Seen:
    batches: Batches
    """Counted as UDP payload plus ``header_bytes`` of the meter."""
    delay_ns: Ints
    sent: int
    arrived: int


def through(meter: Meter, load: Load, random: np.random.Generator) -> Seen:
    counted = load.payload_bytes + meter.header_bytes
    gap = counted * 8e9 / load.rate_bps
    count = int(load.seconds * 1e9 / gap)
    due = np.arange(count) // load.burst * load.burst * gap
    for at, length in load.stalls:
        due = due[(due < at * 1e9) | (due >= (at + length) * 1e9)]
    left = random.random(len(due)) < load.keeps
    out = np.full(len(due), np.nan)
    out[left] = _pass(meter, due[left], counted)
    if meter.loses:
        out[random.random(len(due)) < meter.loses] = np.nan
    passed = np.flatnonzero(~np.isnan(out))
    came = out[passed] + 1_000_000 + random.exponential(load.jitter_ns, len(passed))
    came[random.random(len(came)) < load.reorder] += 500_000
    order = np.argsort(came, kind="stable")
    came, number = came[order], passed[order]
    last = np.flatnonzero(np.diff(came // 400_000, append=np.inf))
    last = last[random.random(len(last)) >= load.drop_batches]
    t_ns = came[last].astype(np.int64) + OFFSET_NS
    highest = np.maximum.accumulate(number)[last] + 1
    batches = Batches(t_ns, (last + 1) * counted, highest * counted)
    return Seen(batches, t_ns - due[number[last]].astype(np.int64), len(due), len(passed))


def _pass(meter: Meter, due: np.ndarray, counted: int) -> np.ndarray:
    """When each packet leaves the meter; nan: dropped."""
    out = np.full(len(due), np.nan)
    tokens, at, rate = float(meter.bucket_bytes), 0.0, meter.rate_bps / 8e9
    most = meter.bucket_bytes
    if meter.queue_ns is not None:
        return _shape(meter, due, counted)
    for i, now in enumerate(due.tolist()):
        tokens, at = min(most, tokens + (now - at) * rate), now
        if tokens >= counted:
            tokens -= counted
            out[i] = now
    return out


def _shape(meter: Meter, due: np.ndarray, counted: int) -> np.ndarray:
    """A packet is due when those before it have been paid for; after a pause as much as the burst pays goes at once."""
    out = np.full(len(due), np.nan)
    each, burst, paid = counted * 8e9 / meter.rate_bps, meter.bucket_bytes * 8e9 / meter.rate_bps, -np.inf
    late = [(at * 1e9, (at + length) * 1e9) for at, length in meter.late]
    for i, now in enumerate(due.tolist()):
        paid = max(paid, now - burst)
        if paid - now > (meter.queue_ns or 0):
            continue
        leaves = max(now, paid + each)
        while late and late[0][1] <= leaves:
            late.pop(0)
        if late and late[0][0] <= leaves:
            leaves = late[0][1]
        paid = max(paid + each, leaves - burst)
        out[i] = leaves
    return out
