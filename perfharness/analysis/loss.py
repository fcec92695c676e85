"""Loss by direction, its pattern, reordering. A sequence number without its packet is lost; the sender's own
count is the total, so losses at the tail count too (RFC 7680)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perfharness.analysis.samples import Samples
from perfharness.analysis.statistics import Bools, Ints


@dataclass(frozen=True, slots=True)
class Way:
    """Packets that entered one direction: which of them were lost, their 1 s blocks and numbers, each (n,)."""

    lost: Bools
    block: Ints
    seq: Ints

    @property
    def offered(self) -> int:
        return len(self.lost)

    @property
    def count(self) -> int:
        return int(self.lost.sum())


@dataclass(frozen=True, slots=True)
class Losses:
    """Loss there, back and round trip. Without the reflector's log nobody can tell there from back: None."""

    round_trip: Way
    forward: Way | None
    backward: Way | None
    unknown: int
    """Packets without a reply of which nobody knows whether the reflector saw them."""
    unanswered: int
    """Seen by the reflector, which then failed to answer: its host's failure, not the path's."""


def by_direction(samples: Samples) -> Losses:
    """Forward: sent and not seen by the reflector. Backward: answered by it and no reply arrived."""
    s, block = samples, samples.block

    def way(entered: Bools, lost: Bools) -> Way:
        return Way(lost[entered], block[entered], s.seq[entered])

    told = s.seen | s.logged
    return Losses(
        round_trip=way(np.ones(len(s.seq), np.bool_), s.lost),
        forward=way(told, s.lost_forward) if s.logged.any() else None,
        backward=way(s.reflected, s.lost_backward) if s.logged.any() else None,
        unknown=int((~told).sum()),
        unanswered=int((s.seen & ~s.reflected).sum()),
    )


def periods(lost: Bools) -> tuple[Ints, Ints]:
    """(lengths, distances) of loss periods, RFC 3357, from (n,) packets in the order of sending.

    A period is a run of losses (section 5.4.2). Its distance is from the last loss of the period before to
    its first one, in packets (section 6.4): a single packet received between two periods makes it 2.
    """
    edges = np.diff(lost.astype(np.int8), prepend=0, append=0)
    first, after = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return after - first, first[1:] - (after[:-1] - 1)


def returns(samples: Samples) -> Ints:
    """(n,) the replies in the order of arrival, numbered by the reflector's log; without those it does not name.

    The sender's numbers will not do: what was overtaken on the way there entered the way back in that order.
    """
    arrived = samples.seq[samples.replied][np.argsort(samples.t4[samples.replied], kind="stable")]
    logged, place = np.unique(samples.arrivals, return_index=True)
    return place[np.searchsorted(logged, arrived[np.isin(arrived, logged)])]


def reordered(arrivals: Ints) -> Bools:
    """(n,) which of the packets, given as sequence numbers in the order of arrival, are reordered.

    Type-P-Reordered, RFC 4737 section 3: numbered below one that arrived before it. Duplicates beyond the
    first copy are left out, so that n is the number of distinct packets.
    """
    _, first = np.unique(arrivals, return_index=True)
    once = arrivals[np.sort(first)]
    return once < np.maximum.accumulate(once)
