"""Loss by direction, its pattern, reordering. A sequence number without its packet is lost; the sender's own
count is the total, so losses at the tail count too (RFC 7680)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perfharness.analysis.blocks import Blocked, Spans
from perfharness.analysis.samples import BLOCK_NS, Samples
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


@dataclass(frozen=True, slots=True)
class Account:
    """What entered one direction of a whole run and was lost there."""

    offered: Ints
    lost: Ints
    """Packets and lost packets of each 1 s block in which any were offered."""
    block: Ints
    """Its index, s since the first packet."""
    lengths: Ints
    distances: Ints
    """Of the loss periods, see :func:`periods`."""
    begins_ns: Ints
    """When the first packet of each period was due, ns since the first packet of all."""

    @property
    def packets(self) -> int:
        return int(self.offered.sum())

    @property
    def count(self) -> int:
        return int(self.lost.sum())


class Accountant:
    """Makes an account out of pieces, in the order of sending."""

    def __init__(self) -> None:
        self._offered, self._lost = Blocked(), Blocked()
        self._first: list[Ints] = []
        self._after: list[Ints] = []
        self._begins_ns: list[Ints] = []
        self._count = 0

    def add(self, entered: Bools, lost: Bools, since_ns: Ints, spans: Spans) -> None:
        """(n,) packets: which of them entered and, of those, were lost; when they were due since the first of all."""
        left_out, at = np.flatnonzero(~entered), np.flatnonzero(lost)
        self._offered.add(spans.block, spans.sizes - spans.counts(left_out))
        if len(at):
            self._lost.add(spans.block, spans.counts(at))
            place = at - np.searchsorted(left_out, at) + self._count
            apart = np.diff(place) != 1
            begins = np.append(True, apart)
            self._first.append(place[begins])
            self._after.append(place[np.append(apart, True)] + 1)
            self._begins_ns.append(since_ns[at[begins]])
        self._count += len(entered) - len(left_out)

    def result(self) -> Account:
        first, after, begins_ns = (
            np.concatenate(each) if each else np.empty(0, np.int64)
            for each in (self._first, self._after, self._begins_ns)
        )
        apart = first[1:] != after[:-1]  # a period that goes on in the next piece is one
        begin = np.append(True, apart)[: len(first)]
        first, begins_ns, after = first[begin], begins_ns[begin], after[np.append(apart, True)[: len(after)]]
        lost = self._lost.of(self._offered)
        distances = first[1:] - (after[:-1] - 1)
        offered, block = self._offered.of(self._offered), self._offered.blocks()
        return Account(offered, lost, block, after - first, distances, begins_ns)


def periods(lost: Bools) -> tuple[Ints, Ints]:
    """(lengths, distances) of loss periods, RFC 3357, from (n,) packets in the order of sending.

    A period is a run of losses (section 5.4.2). Its distance is from the last loss of the period before to
    its first one, in packets (section 6.4): a single packet received between two periods makes it 2.
    """
    first, after = _runs(lost)
    return after - first, first[1:] - (after[:-1] - 1)


def _runs(lost: Bools) -> tuple[Ints, Ints]:
    """Where each run of losses begins, and where the first packet after it is."""
    edges = np.diff(lost.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def returns(samples: Samples) -> Ints:
    """(m,) the replies in the order of arrival, numbered by the reflector's log; without those it does not name.

    The sender's numbers will not do: what was overtaken on the way there entered the way back in that order.
    """
    came = samples.replied & (samples.log_row >= 0)
    return samples.log_row[came][np.argsort(samples.t4[came], kind="stable")]


def reordered(arrivals: Ints) -> Bools:
    """(n,) which of the packets, given as sequence numbers in the order of arrival, are reordered.

    Type-P-Reordered, RFC 4737 section 3: numbered below one that arrived before it. Duplicates beyond the
    first copy are left out, so that n is the number of distinct packets.
    """
    _, first = np.unique(arrivals, return_index=True)
    once = arrivals[np.sort(first)]
    return once < np.maximum.accumulate(once)


class Reordering:
    """:func:`reordered` for arrivals that come piece by piece, counted per second of arrivals at their mean rate."""

    _PAGE = 1 << 16

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._highest = -1
        self._count = 0
        self._pages: dict[int, Bools | None] = {}
        """Which sequence numbers have arrived; None: all of that page."""
        self._late, self._all = Blocked(), Blocked()

    def add(self, seq: Ints) -> None:
        """The next arrivals, duplicates included."""
        if not len(seq):
            return
        once, late = seq, None
        if seq[0] <= self._highest or (seq[1:] <= seq[:-1]).any():
            _, begins = np.unique(seq, return_index=True)
            once = seq[np.sort(begins)]
            once = once[~self._seen(once)]
            late = np.flatnonzero(once < np.maximum.accumulate(once).clip(min=self._highest))
        if not len(once):
            return
        ordered = once if late is None else np.sort(once)
        self._mark(ordered)
        self._highest = max(self._highest, int(ordered[-1]))
        first, last = (at * self._interval_ns // BLOCK_NS for at in (self._count, self._count + len(once) - 1))
        block = np.arange(first, last + 1)
        starts = -(-block[1:] * BLOCK_NS // self._interval_ns) - self._count
        self._all.add(block, np.diff(starts, prepend=0, append=len(once)))
        if late is not None:
            its = (self._count + late) * self._interval_ns // BLOCK_NS
            self._late.add(block, np.bincount(its - first, minlength=len(block)))
        self._count += len(once)

    def result(self) -> tuple[Ints, Ints]:
        """(reordered, packets) of each block."""
        return self._late.of(self._all), self._all.of(self._all)

    def _seen(self, seq: Ints) -> Bools:
        seen = np.zeros(len(seq), np.bool_)
        for number in np.unique(seq // self._PAGE).tolist():
            if number in self._pages:
                at = seq // self._PAGE == number
                page = self._pages[number]
                seen[at] = True if page is None else page[seq[at] % self._PAGE]
        return seen

    def _mark(self, seq: Ints) -> None:
        """These, in ascending order."""
        start = 0
        while start < len(seq):
            number = int(seq[start]) // self._PAGE
            end = int(np.searchsorted(seq, (number + 1) * self._PAGE))
            page = self._pages.setdefault(number, np.zeros(self._PAGE, np.bool_))
            if page is not None:
                page[seq[start:end] - number * self._PAGE] = True
                if page.all():
                    self._pages[number] = None
            start = end
