"""Delay and its variation, from samples. Lost = ``inf`` (RFC 7679), not measured = ``nan``, all in ns.

Stamps are integers of about 1.8e18: they are subtracted as integers, only differences become floats.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from perfagent.records import ABSENT, HARDWARE, KERNEL, USER
from perfharness.analysis import clock
from perfharness.analysis.samples import Samples, Sources, like
from perfharness.analysis.statistics import Blocks, Bools, Floats, Ints, block_starts
from perfharness.model import Direction

UNLIKE = "unlike sources"
"""Round trips whose stamps cannot be subtracted from one another, or are of other kinds than most."""
_NAMES = ("absent", "user", "kernel", "hardware", "remote")


def rtt_ns(samples: Samples, disturbed: Bools | None = None) -> Floats:
    """(n,) round trips less the reflector's turnaround: (T4-T1)-(T3-T2), RFC 8762.

    ``nan`` where two of the stamps to be subtracted come from different sources, where they are of other kinds than
    most (``Samples.mixed``), and for packets under way while a clock stepped: ``rtt_sources`` counts them. Where the
    reflector gave no stamps its turnaround is in it. ``disturbed``: what :func:`stepped` says of them, where known.
    """
    s = samples
    rtt = ((s.t4 - s.t1) - (s.t3 - s.t2)).astype(np.float64)
    rtt[~_comparable(s) | _known(disturbed, s)] = np.nan
    rtt[s.lost] = np.inf
    return rtt


def believed(samples: Samples) -> Samples:
    """Without the stamps of a reflector that nobody vouches for, wherever they cannot be: one of the two is missing, or
    they are less than no time or more than the round trip apart."""
    s = samples
    turned = s.t3 - s.t2
    good = like(s.s2, s.s3) & (turned >= 0) & (turned <= s.t4 - s.t1)
    if good.all():
        return s
    return replace(s, t2=s.t2 * good, t3=s.t3 * good, s2=s.s2 * good, s3=s.s3 * good)


def rtt_sources(samples: Samples, disturbed: Bools | None = None) -> dict[str, int]:
    """How many round trips rest on which stamps, "sender/reflector"; and how many could not be had."""
    s = samples
    amid = s.replied & _known(disturbed, s)
    unlike = s.replied & ~amid & ~_comparable(s)
    counts = np.bincount((s.s1 << 4 | s.s2)[s.replied & ~amid & ~unlike])
    found = {f"{_NAMES[pair >> 4]}/{_NAMES[pair & 15]}": int(counts[pair]) for pair in np.flatnonzero(counts)}
    missing = {UNLIKE: int(np.count_nonzero(unlike)), "clock step": int(np.count_nonzero(amid))}
    return found | {reason: count for reason, count in missing.items() if count}


def one_way_raw_ns(samples: Samples, direction: Direction, disturbed: Bools | None = None) -> Floats:
    """(n,) T2-T1 or T4-T3 as the two clocks have it: delay plus an unknown, slowly changing offset.

    Good for ``ipdv``, where the offset falls out (RFC 3393 section 2.6), so all packets must have their
    stamps from the same two sources: those of another pair than the most frequent one are ``nan``.
    Raises ValueError for a direction that is not one way.
    """
    s = samples
    if direction is Direction.A_Z:
        raw, arrived, lost, pair = s.t2 - s.t1, s.seen, s.lost_forward, _pair(s.s1, s.s2)
    elif direction is Direction.Z_A:
        raw, arrived, lost, pair = s.t4 - s.t3, s.replied, s.lost_backward, _pair(s.s3, s.s4)
    else:
        raise ValueError(f"{direction} is not one way")
    usable = arrived & (pair > 0)
    usual = np.bincount(pair[usable], minlength=1).argmax()
    delay = raw.astype(np.float64)
    delay[~usable | (pair != usual) | _known(disturbed, s)] = np.nan
    delay[lost] = np.inf
    return delay


def pdv(delay: Floats, window: Blocks) -> Floats:
    """(n,) delay above the smallest of its window (RFC 5481 section 4.2); lost stay ``inf``.

    ``window`` is a non-decreasing index: short enough that a reroute is a step in delay and not jitter.
    """
    return above_least(delay, block_starts(window))


def above_least(delay: Floats, starts: Ints) -> Floats:
    """As :func:`pdv`, with the first packet of each window."""
    if not len(starts):
        return delay.copy()
    least = np.fmin.reduceat(delay, starts)
    smallest = np.repeat(np.where(np.isinf(least), 0.0, least), np.diff(starts, append=len(delay)))
    above: Floats = np.subtract(delay, smallest, out=smallest)
    return above


def ipdv(delay: Floats) -> Floats:
    """(n,) signed D(i) - D(i-1) where both arrived, else ``nan`` (RFC 3393): a lost packet has no variation."""
    arrived = np.where(np.isfinite(delay), delay, np.nan)
    return np.diff(arrived, prepend=np.nan)


def ccdf(delay: Floats, points: int = 400) -> tuple[Floats, Floats]:
    """(x, y): the share y of packets later than x or lost, at up to ``points`` ranks, dense in the tail.

    The last point is the latest packet that arrived: its y is the share that was lost.
    """
    ordered = np.sort(delay[~np.isnan(delay)])
    n = len(ordered)
    if not n:
        return np.empty(0), np.empty(0)
    later = tail_ranks(n, points, n - int(np.searchsorted(ordered, np.inf)))
    x, y = ordered[n - 1 - later], later / n
    return x[np.isfinite(x)], y[np.isfinite(x)]


def tail_ranks(n: int, points: int, lost: int) -> Ints:
    """Up to ``points`` numbers of packets that may be later than a delay, of ``n``; dense where they are few.
    Among them is the number of the ``lost``, which are later than any."""
    if not n:
        return np.empty(0, np.int64)
    ranks = np.unique(np.concatenate(([0, min(lost, n - 1)], np.geomspace(1, n, points).astype(np.int64) - 1)))
    return ranks[::-1]


def timer_error_ns(samples: Samples, disturbed: Bools | None = None) -> Floats:
    """(n,) how late each packet left by the kernel's (or card's) transmit stamp; ``nan`` where unknown.

    The stamp is Unix time, the schedule CLOCK_MONOTONIC: the paired readings lead from one to the other.
    """
    s = samples
    error = np.full(len(s.seq), np.nan)
    if s.schedule_ns is None or not len(s.clock) or not len(s.seq):
        return error
    mono, offset = s.clock[:, 0], s.clock[:, 1] - s.clock[:, 0]
    drift = np.interp((s.schedule_ns - mono[0]).astype(np.float64), mono - mono[0], offset - offset[0])
    error[:] = (s.t1 - offset[0] - s.schedule_ns) - drift
    stamped = (s.s1 == KERNEL) | (s.s1 == HARDWARE)
    error[~stamped | _known(disturbed, s)] = np.nan
    return error


def _comparable(s: Samples) -> Bools:
    own = like(s.s1, s.s4) & (s.s1 >= USER) & (s.s1 <= HARDWARE)
    his: Bools = like(s.s2, s.s3) | ((s.s2 == ABSENT) & (s.s3 == ABSENT))
    return own & his & ~s.mixed


def stepped(samples: Samples) -> Bools:
    """(n,) which packets were under way while the sender's clock stepped; or the turnaround took less than no time, or
    more than all of the round trip, which only a step of the reflector's clock does (or one of the sender's that no
    reading shows)."""
    s = samples
    turned = s.t3 - s.t2
    impossible: Bools = s.replied & ((turned < 0) | (s.t4 - s.t1 < turned))
    if impossible.any():
        impossible &= _comparable(s)
    return impossible if s.schedule_ns is None else impossible | clock.disturbed(s.schedule_ns, s.clock)


def _known(disturbed: Bools | None, samples: Samples) -> Bools:
    return stepped(samples) if disturbed is None else disturbed


def _pair(one: Sources, other: Sources) -> Sources:
    """Both sources as one number; 0 if one is absent."""
    return np.where((one > 0) & (other > 0), one << 4 | other, 0).astype(np.uint8)
