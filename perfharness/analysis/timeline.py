"""When packets were lost: the moments to hold a host's counters against, and the events to tell a reader.

A lost packet has no arrival. It would have come between the shortest and the longest time that others took, by the
two hosts' own clocks: how far these are apart is contained in that, and need not be known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perfagent.records import ABSENT, HARDWARE, KERNEL
from perfharness.analysis.counters import Moments
from perfharness.analysis.samples import Samples
from perfharness.analysis.statistics import Bools, Ints
from perfharness.model import Direction

SLACK_NS = 500_000_000
"""Before and after the moment of a loss in which a counter may have told of it."""
APART_NS = 1_000_000_000
"""Losses closer together than this are one event."""
MOST_EVENTS = 40
"""Of a direction that are told one by one: those that lost the most."""


@dataclass(frozen=True, slots=True)
class Departures:
    """The n lost packets of one direction in the order of leaving."""

    t_ns: Ints
    """When each left its sender, by that host's clock."""
    passage_ns: tuple[int, int] | None
    """(shortest, longest) time of the packets that arrived, the difference of the clocks included."""
    untransmitted: Bools
    """No transmit stamp of a kernel proves that it left its sender."""
    held: Bools
    """Its sender kept it for longer than a packet may take."""

    def moments(self, chosen: slice = slice(None)) -> tuple[Moments | None, Moments | None]:
        """Of these packets at the sender's and at the receiver's host; None where that cannot be told."""
        left = self.t_ns[chosen]
        ones = np.ones(len(left), np.int64)
        here = Moments(left - SLACK_NS, left + SLACK_NS, ones)
        if self.passage_ns is None:
            return here, None
        shortest, longest = self.passage_ns
        return here, Moments(left + shortest - SLACK_NS, left + longest + SLACK_NS, ones)


@dataclass(frozen=True, slots=True)
class Part:
    """What a piece of the stream adds to the departures of one direction."""

    lost: Departures | None
    """None when the times of its lost packets are not known."""
    passage_ns: tuple[int, int] | None


def part(samples: Samples, way: Direction, wait_ns: int) -> Part:
    """``wait_ns``: a packet without an answer for this long is lost."""
    s = samples
    passage = _passage_ns(s, way)
    there = way is Direction.A_Z
    lost, left, source = (s.lost_forward, s.t1, s.s1) if there else (s.lost_backward, s.t3, s.s3)
    if (source[lost] == ABSENT).any():
        return Part(None, passage)
    at = np.flatnonzero(lost)
    held = np.zeros(len(at), np.bool_) if there else _held(s, at, wait_ns)
    kernel = (source[at] == KERNEL) | (source[at] == HARDWARE)
    return Part(Departures(left[at], passage, ~kernel, held), passage)


def joined(parts: Sequence[Part]) -> tuple[Departures | None, tuple[int, int] | None]:
    """The departures of the whole stream, None when some of their times are not known; and
    the shortest and the longest passage."""
    known = [part.passage_ns for part in parts if part.passage_ns is not None]
    passage = (min(least for least, _ in known), max(most for _, most in known)) if known else None
    told = [part.lost for part in parts if part.lost is not None]
    if len(told) < len(parts) or not parts:
        return None, passage
    left = np.concatenate([lost.t_ns for lost in told])
    order = np.argsort(left, kind="stable")
    untransmitted = np.concatenate([lost.untransmitted for lost in told])
    held = np.concatenate([lost.held for lost in told])
    return Departures(left[order], passage, untransmitted[order], held[order]), passage


def departures(samples: Samples, way: Direction, wait_ns: int) -> Departures | None:
    """Of the packets lost in this direction; None when their times are not known. See :func:`part`."""
    return joined([part(samples, way, wait_ns)])[0]


def _passage_ns(samples: Samples, way: Direction) -> tuple[int, int] | None:
    """(shortest, longest) time from the one host's stamp to the other's; None when no packet has both."""
    s = samples
    if way is Direction.A_Z:
        arrived, took = s.seen & (s.s1 != ABSENT) & (s.s2 != ABSENT), s.t2 - s.t1
    else:
        arrived, took = s.reflected & (s.s3 != ABSENT) & (s.s4 != ABSENT), s.t4 - s.t3
    if not arrived.all():
        took = took[arrived]
    return (int(took.min()), int(took.max())) if len(took) else None


def _held(s: Samples, at: Ints, wait_ns: int) -> Bools:
    """Which of these packets the reflector's host answered so late that no path could have brought them in time, or
    whose answers came, late by no more than the time they were kept."""
    known = (s.s2[at] != ABSENT) & (s.s3[at] != ABSENT)
    kept = np.where(known, s.t3[at] - s.t2[at], 0)
    came_late = ~s.replied[at] & (s.s4[at] != ABSENT) & (s.t4[at] - s.t1[at] - kept <= wait_ns)
    held: Bools = s.reflected[at] & ((kept > wait_ns) | (came_late & (kept > 0)))
    return held


def events(lost: Departures) -> list[slice]:
    """The lost packets that belong together."""
    return merged(lost.t_ns, lost.t_ns, lambda each: each.stop - each.start)


def merged(start_ns: Ints, end_ns: Ints, weight: Callable[[slice], int] = lambda _: 0) -> list[slice]:
    """Brackets, in order of their start, that are no more than APART_NS from one another; in order of time, at most
    MOST_EVENTS of them: those that weigh the most."""
    if not len(start_ns):
        return []
    cuts = np.flatnonzero(start_ns[1:] - np.maximum.accumulate(end_ns)[:-1] > APART_NS) + 1
    edges = [0, *map(int, cuts), len(start_ns)]
    found = [slice(first, after) for first, after in pairwise(edges)]
    heaviest = sorted(found, key=weight, reverse=True)[:MOST_EVENTS]
    return sorted(heaviest, key=lambda each: each.start)
