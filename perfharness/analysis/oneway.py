"""One-way delay and what can be known of it (RFC 7679); variation from packet to packet (RFC 3393). Times in ns.

Both directions carry the difference θ of the two clocks: seen forward = delay + θ, seen backward = delay - θ. Two
things bound θ. Delay is never negative: θ lies between -(least seen backward) and the least seen forward, which
with the same packet fastest both ways is RFC 5905's θ̂ ± RTTmin/2, and by itself says no more than 0 <= one-way
<= RTT. And both hosts' clocks claim to be near UTC: |θ| is at most the sum of their root distances.

The first needs a θ that stays: between two steps it is a line whose slope is the skew. Lower convex hulls (Moon,
Skelly and Towsley 1999) of both directions find it, and by what their slopes disagree, and by what θ leaves the
line, the bound is wider. Over an hour no clock runs in a line: where windows of WINDOW_NS with a line each leave less
open than one line, they are taken. The second needs none of that, and nothing but the clocks' word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perfharness.analysis.statistics import Floats, Ints, block_starts

LEAST_PACKETS = 100
"""Fewer in one stretch between steps tell no least delay."""
WINDOW_NS = 60_000_000_000
_SPANS = 64
_PER_SPAN = 50
"""Packets, at least, of which the least delay of a span is taken."""
_HULL_POINTS = 512
_PASSES = 3
"""A hull over the least of each of many short spans is exact once the skew within a span is gone."""
_SIEVES = 5
"""What lies above the line between its neighbours is on no lower hull: of noise each look leaves half."""


@dataclass(frozen=True, slots=True)
class Offset:
    """What θ, the second clock less the first, may be in one stretch between steps."""

    packets: int
    offset_ns: float
    """In the middle of the stretch."""
    skew: float
    """How much faster the second clock runs; 50e-6 = 50 ppm."""
    error_ns: float
    """By causality alone, before any claim."""


@dataclass(frozen=True, slots=True)
class OneWay:
    """Delay each way: ``inf`` = lost, ``nan`` = not measured; every other value within ± ``error_ns``.

    Forward and backward of a packet sum to its round trip.
    """

    forward: Floats
    backward: Floats
    error_ns: float
    by_claim: bool
    """The clocks' claim made the bound narrower than causality alone."""
    offsets: tuple[Offset, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """What θ may be from ``start_ns`` on, until the next line or step."""

    start_ns: int
    segment: int
    origin_ns: int
    offset: Offset | None
    """At ``origin_ns``; None of too few packets: then there is a claim."""
    claim_ns: float
    error_ns: float

    @property
    def by_claim(self) -> bool:
        return self.offset is None or (np.isfinite(self.claim_ns) and self.error_ns < self.offset.error_ns)

    def middle(self, when_ns: Ints) -> Floats:
        low, high = _bounds((when_ns - self.origin_ns).astype(np.float64), self.offset, self.claim_ns)
        middle: Floats = (low + high) / 2
        return middle


@dataclass(frozen=True, slots=True)
class Clocks:
    """θ over a whole stream, in lines that follow one another, within ± ``error_ns``."""

    lines: tuple[Line, ...]

    @property
    def error_ns(self) -> float:
        return max(line.error_ns for line in self.lines)

    @property
    def by_claim(self) -> bool:
        return any(line.by_claim for line in self.lines)

    @property
    def offsets(self) -> tuple[Offset, ...]:
        return tuple(line.offset for line in self.lines if line.offset is not None)

    def apart(self, when_ns: Ints, segment: Ints) -> Floats:
        """(n,) the middle of what θ may be at each packet; ``nan`` where nobody knows."""
        middle = np.full(len(when_ns), np.nan)
        which = np.searchsorted([line.start_ns for line in self.lines], when_ns, side="right") - 1
        order = np.argsort(which, kind="stable")
        edges = np.searchsorted(which[order], np.arange(len(self.lines) + 1))
        for line, (start, end) in zip(self.lines, pairwise(edges), strict=True):
            its = order[start:end]
            its = its[segment[its] == line.segment]
            middle[its] = line.middle(when_ns[its])
        return middle


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no one-way delay; one sentence why."""

    reason: str
    clocks: bool = False
    """The clocks are the reason: what they claim cannot be."""


def one_way(
    when_ns: Ints, forward: Floats, backward: Floats, segment: Ints, claim_ns: float | None
) -> OneWay | Unknown:
    """One-way delays, or why there are none.

    All (n,), in the order of sending: ``when_ns`` (any steady clock), what each direction seems to take by the two
    clocks (``inf`` lost, ``nan`` unknown), and the stretch between steps (-1: disturbed by one). ``claim_ns``: the
    clocks differ by no more than this; None when they claim nothing.
    """
    known = clocks(when_ns, forward, backward, segment, claim_ns)
    if isinstance(known, Unknown):
        return known
    there, here = delays(known.apart(when_ns, segment), forward, backward)
    return OneWay(there, here, known.error_ns, known.by_claim, known.offsets)


def clocks(when_ns: Ints, forward: Floats, backward: Floats, segment: Ints, claim_ns: float | None) -> Clocks | Unknown:
    """How far the clocks are apart. As for :func:`one_way`."""
    lines: list[Line] = []
    for part in _stretches(segment):
        ahead, back = forward[part], backward[part]
        if claim_ns is not None and (wrong := _disproved(ahead, back, claim_ns)):
            return Unknown(wrong, clocks=True)
        # What came before the first packet here belongs to another stretch, or was not chosen.
        start_ns = int(when_ns[part.start - 1]) + 1 if part.start else -(1 << 62)
        lines += _lines(start_ns, int(segment[part.start]), when_ns[part], ahead, back, claim_ns)
    if not lines:
        return Unknown(f"No stretch between two steps has {LEAST_PACKETS} packets with stamps of the same kind.")
    found = Clocks(tuple(lines))
    there, here = delays(found.apart(when_ns, segment), forward, backward)
    if not (np.isfinite(there).any() or np.isfinite(here).any()):
        return Unknown("No packet has stamps of the same kind from both hosts.")
    return found


def delays(apart: Floats, forward: Floats, backward: Floats) -> tuple[Floats, Floats]:
    """Delay each way, of what it seems to be. A lost packet is lost whatever the clocks were doing."""
    there, here = (np.where(np.isinf(way), np.inf, way + by) for way, by in ((forward, -apart), (backward, apart)))
    return there, here


def skew(when: Floats, delay: Floats) -> float | None:
    """Slope of the lower convex hull's edge over the mean of ``when``: the line under all delays that is nearest to
    them in sum (Moon, Skelly and Towsley 1999, section 4). (n,) finite delays; None of fewer than two times."""
    if len(when) < 2 or when[-1] <= when[0]:
        return None
    slope = 0.0
    for _ in range(_PASSES):
        at = _least(delay - slope * when, _HULL_POINTS)
        more = _hull_slope(when[at], (delay - slope * when)[at], float(when.mean()))
        slope += more
        if not more:
            break
    return slope


# --- one stretch ------------------------------------------------------------------------------


def _stretches(segment: Ints) -> Iterator[slice]:
    """The runs of packets between steps."""
    edges = np.flatnonzero(np.diff(segment)) + 1
    for start, end in zip([0, *edges], [*edges, len(segment)], strict=True):
        if end > start and segment[start] >= 0:
            yield slice(int(start), int(end))


def _disproved(forward: Floats, backward: Floats, claim_ns: float) -> str:
    seen = [float(way[np.isfinite(way)].min(initial=np.inf)) for way in (forward, backward)]
    if min(seen) >= -claim_ns:
        return ""
    early = f"packets seem to arrive {-min(seen) / 1e6:.3f} ms before they were sent"
    return f"The clocks are farther apart than the {claim_ns / 1e6:.3f} ms that they claim: {early}."


def _offset(when: Floats, forward: Floats, backward: Floats) -> Offset | None:
    """θ by causality; None of too few packets."""
    there, here = np.isfinite(forward), np.isfinite(backward)
    both = there & here
    if both.sum() < LEAST_PACKETS:
        return None
    ahead, behind = skew(when[there], forward[there]), skew(when[here], backward[here])
    if ahead is None or behind is None:
        return None
    slope, disagreement = (ahead - behind) / 2, abs(ahead + behind)
    least_there, least_here = forward - slope * when, backward + slope * when
    low, high = -float(least_here[here].min()), float(least_there[there].min())
    loose = disagreement * (when[-1] - when[0]) + _wander(least_there[both], least_here[both])
    return Offset(int(both.sum()), (low + high) / 2, slope, max(high - low, 0.0) / 2 + float(loose))


def _wander(forward: Floats, backward: Floats) -> float:
    """How far θ strays from its line: it moves the least delays of both directions, one up and the other down.

    What moves one alone is the path (a queue, another route). Within a span it may stray as far as to the next one.
    """
    spans = int(np.clip(len(forward) // _PER_SPAN, 1, _SPANS))
    there, here = (_moved(way[_least(way, spans)]) for way in (forward, backward))
    strays = np.where(there * here < 0, np.sign(there) * np.minimum(np.abs(there), np.abs(here)), 0.0)
    return float(np.ptp(strays)) + float(np.abs(np.diff(strays)).max(initial=0.0))


def _moved(least: Floats) -> Floats:
    return least - np.median(least)


def _lines(
    start_ns: int, segment: int, when_ns: Ints, forward: Floats, backward: Floats, claim_ns: float | None
) -> list[Line]:
    """One line for a whole stretch, or one for each window, whichever leaves less open; none where nothing is known."""
    whole = _line(start_ns, segment, when_ns, forward, backward, claim_ns)
    window = (when_ns - when_ns[0]) // WINDOW_NS
    if window[-1] < 2:
        return [] if whole is None else [whole]
    window = np.minimum(window, window[-1] - 1)  # the last one is longer, not shorter
    parts = [slice(int(at), int(end)) for at, end in pairwise([*block_starts(window), len(window)])]
    each = [
        _line(
            int(when_ns[part.start]) if part.start else start_ns,
            segment,
            when_ns[part],
            forward[part],
            backward[part],
            claim_ns,
        )
        for part in parts
    ]
    found = [line for line in each if line is not None and line.offset is not None]
    if len(found) == len(parts) and (whole is None or max(line.error_ns for line in found) < whole.error_ns):
        return found
    return [] if whole is None else [whole]


def _line(
    start_ns: int, segment: int, when_ns: Ints, forward: Floats, backward: Floats, claim_ns: float | None
) -> Line | None:
    origin_ns = int(when_ns[0]) + int(when_ns[-1] - when_ns[0]) // 2
    when = (when_ns - origin_ns).astype(np.float64)
    offset = _offset(when, forward, backward)
    if offset is None and claim_ns is None:
        return None
    claim = np.inf if claim_ns is None else claim_ns
    return Line(start_ns, segment, origin_ns, offset, claim, _widest(when[[0, -1]], offset, claim))


def _widest(ends: Floats, offset: Offset | None, claim_ns: float) -> float:
    """Half of the most that the bounds of θ are apart: at either end, or where a line meets the claim."""
    meets: list[float] = []
    if offset is not None and offset.skew and np.isfinite(claim_ns):
        sides = [(claim, error) for claim in (claim_ns, -claim_ns) for error in (offset.error_ns, -offset.error_ns)]
        meets = [(claim - error - offset.offset_ns) / offset.skew for claim, error in sides]
    when = np.array([*ends, *(at for at in meets if ends[0] < at < ends[-1])])
    low, high = _bounds(when, offset, claim_ns)
    return float((high - low).max()) / 2


def _bounds(when: Floats, offset: Offset | None, claim_ns: float) -> tuple[Floats, Floats]:
    """Between which values θ lies at these times."""
    if offset is None:
        return np.full(len(when), -claim_ns), np.full(len(when), claim_ns)
    line = offset.offset_ns + offset.skew * when
    low, high = np.maximum(line - offset.error_ns, -claim_ns), np.minimum(line + offset.error_ns, claim_ns)
    contrary = low > high  # the line is an estimate; the claim was not disproved
    low[contrary], high[contrary] = -claim_ns, claim_ns
    return low, high


# --- hulls ------------------------------------------------------------------------------------


def _least(values: Floats, spans: int) -> Ints:
    """Where the least value of each of so many equal runs lies."""
    if spans >= len(values):
        return np.arange(len(values))
    starts = np.linspace(0, len(values), spans + 1).astype(np.int64)[:-1]
    least = np.repeat(np.minimum.reduceat(values, starts), np.diff(starts, append=len(values)))
    lowest = np.flatnonzero(values == least)
    return lowest[np.searchsorted(lowest, starts)]


def _hull_slope(x: Floats, y: Floats, mean: float) -> float:
    """Slope of the lower hull of these few points, in the order of x, where it passes the mean."""
    for _ in range(_SIEVES):
        above = (y[1:-1] - y[:-2]) * (x[2:] - x[:-2]) > (y[2:] - y[:-2]) * (x[1:-1] - x[:-2])
        x, y = (np.concatenate((each[:1], each[1:-1][~above], each[1:][-1:])) for each in (x, y))
    hull: list[tuple[float, float]] = []
    for point in zip(x.tolist(), y.tolist(), strict=True):  # plain numbers: ten times as fast as those of an array
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    if len(hull) < 2:
        return 0.0
    right = min(max(int(np.searchsorted([at for at, _ in hull], mean)), 1), len(hull) - 1)
    (x1, y1), (x2, y2) = hull[right - 1 : right + 1]
    return (y2 - y1) / (x2 - x1)


def _turns_down(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])
