"""A whole probe stream in figures, from pieces that fit into memory, however long it was.

One pass reads the pieces in the order of sending and gathers everything. A run of up to ``MOST_HELD`` packets is held,
and its figures are exact; of a longer one quantiles are known to within a bin (``distribution``), and their intervals
from the bins of each of MOST_BLOCKS parts.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perfharness.analysis import delay, timeline, ttl
from perfharness.analysis.blocks import Spans
from perfharness.analysis.distribution import Counter, Distribution
from perfharness.analysis.loss import Account, Accountant, Reordering
from perfharness.analysis.sampled import Sampled, joined, sampled
from perfharness.analysis.samples import BLOCK_NS, Samples
from perfharness.analysis.statistics import MOST_BLOCKS, Blocks, Floats, Ints, block_starts
from perfharness.model import Direction

MOST_HELD = 4_000_000
"""Packets whose values are all held: 150 MB; an hour at 1 kHz."""
PDV_WINDOW_BLOCKS = 10
"""The minimum is taken over 10 s: a reroute is a step in delay, not variation (RFC 5481 section 6)."""
DRAWN = 200
"""Round trips of a piece of a long run that are drawn."""
Array = npt.NDArray[Any]
WAYS = (Direction.A_Z, Direction.Z_A)


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive packets with what can be said of each by itself; ``nan`` = not measured, ``inf`` = lost, in ns."""

    samples: Samples
    rtt: Floats
    stamps: Mapping[str, int]
    timer_error: Counter
    ways: Mapping[Direction, tuple[Floats, Counter]]
    """What each way seems to take by the two hosts' clocks, and its variation from packet to packet."""
    losses: Mapping[Direction, timeline.Part]
    drawn: Ints
    """Which round trips stand for all in a picture."""
    sampled: tuple[Sampled, Ints]
    """Of which one-way figures are made, and which these packets are."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A probe stream as a whole."""

    sent: int
    span_ns: int
    """From the first packet to the last, by the sender's schedule."""
    replied: int
    kernel_stamped: int
    """Of them, with all four stamps from the kernel or the card."""
    duplicates: int
    stamps: Mapping[str, int]
    """See :func:`delay.rtt_sources`."""
    round_trip: Account
    ways: Mapping[Direction, Account | None]
    """None: without the reflector's log nobody can tell there from back."""
    unknown: int
    """Packets without a reply of which nobody knows whether the reflector saw them."""
    unanswered: int
    """Seen by the reflector, which then failed to answer: its host's failure, not the path's."""
    untransmitted: Mapping[Direction, int]
    departures: Mapping[Direction, timeline.Departures | None]
    """Of the lost packets; None where their times are not known."""
    passage_ns: Mapping[Direction, tuple[int, int] | None]
    """(shortest, longest) from the one host's stamp to the other's, the difference of their clocks included."""
    rtt: Distribution
    pdv: Distribution
    ipdv: Mapping[Direction, Distribution]
    timer_error: Distribution
    reordering: Mapping[Direction, tuple[Ints, Ints]]
    """(reordered, arrived) of each second of arrivals."""
    least: tuple[Ints, Floats]
    """(blocks, the least round trip in each, ns)."""
    least_raw: Mapping[Direction, Floats]
    """The least in the same blocks of each way by the two hosts' own clocks."""
    ttl: Mapping[Direction, ttl.Ttls]
    sampled: Sampled | None
    """The packets of which one-way figures are made, with the block of each; None where nothing was sent."""
    sampled_block: Blocks
    drawn: tuple[Floats, Floats]
    """(s since the first packet, round trip in ns) for pictures."""
    drawn_losses: Mapping[Direction, tuple[Floats, Floats]]
    """(s since the first packet, lost packets there) of each way; as round trips those of which nobody knows it."""

    @property
    def kernel_share(self) -> float | None:
        return self.kernel_stamped / self.replied if self.replied else None


def one_in(packets: int) -> int:
    """Of a run of so many packets one in this many can be held: 1 = all."""
    return max(1, -(-packets // MOST_HELD))


def piece(samples: Samples, every: int, wait_ns: int) -> Piece:
    """What can be said of these packets by themselves. ``every``: see :func:`one_in`; ``wait_ns``: a packet without an
    answer for this long is lost."""
    hold, stepped = every == 1, delay.stepped(samples)
    rtt = delay.rtt_ns(samples, stepped)
    error = delay.timer_error_ns(samples, stepped)
    raw = {way: delay.one_way_raw_ns(samples, way, stepped) for way in WAYS}
    return Piece(
        samples=samples,
        rtt=rtt,
        stamps=delay.rtt_sources(samples, stepped),
        timer_error=Counter.of(error[~np.isnan(error)], hold),
        ways={way: (each, Counter.of(_varied(each), hold)) for way, each in raw.items()},
        losses={way: timeline.part(samples, way, wait_ns) for way in WAYS},
        drawn=np.arange(len(rtt)) if hold else _drawn(rtt),
        sampled=sampled(samples, raw, every),
    )


def _varied(raw: Floats) -> Floats:
    """The differences that :func:`delay.ipdv` finds, those that exist."""
    with np.errstate(invalid="ignore"):  # one lost packet less another
        varied = np.diff(raw)
    return varied[np.isfinite(varied)]


def _drawn(rtt: Floats) -> Ints:
    """DRAWN of these, at equal ranks of every 16th, so that their percentiles are those of all; and both extremes."""
    if not len(rtt):
        return np.arange(0)
    some = np.arange(0, len(rtt), 16)
    at_ranks = some[np.argsort(rtt[some])[np.linspace(0, len(some) - 1, min(DRAWN, len(some))).astype(np.int64)]]
    arrived = np.isfinite(rtt)
    ends = [int(np.where(arrived, rtt, np.inf).argmin()), int(np.where(arrived, rtt, -np.inf).argmax())]
    return np.unique(np.append(at_ranks, ends))


def summarise(pieces: Iterable[Piece], packets: int, interval_ns: int) -> Summary:
    """The stream of about ``packets`` packets, from its pieces in order."""
    seconds = (packets - 1) * interval_ns // BLOCK_NS + 1
    gathering = _Gathering(packets <= MOST_HELD, interval_ns, -(-seconds // MOST_BLOCKS))
    for each in pieces:
        if len(each.samples.seq) or len(each.samples.arrivals):
            gathering.add(each)
    return gathering.result()


class _Since:
    """The time of each packet since the first of all, piece by piece."""

    def __init__(self) -> None:
        self.first_ns: int | None = None
        self.last_ns = 0

    def of(self, samples: Samples) -> Ints:
        """ns since the first packet of all."""
        when = samples.when_ns
        if self.first_ns is None:
            self.first_ns = int(when[0])
        elif when[0] < self.last_ns:  # without a schedule, beside a clock that was set back
            when = np.maximum(when, self.last_ns)
        self.last_ns = int(when[-1])
        return when - self.first_ns


class _Windows:
    """PDV: delays above the least of their window, which is known when the next window begins."""

    def __init__(self, hold: bool, long_block: int) -> None:
        self.above = Counter(hold, long_block)
        self._waiting: list[tuple[Floats, Ints, Ints]] = []

    def add(self, values: Floats, spans: Spans) -> None:
        window = spans.block // PDV_WINDOW_BLOCKS
        whole = int(np.searchsorted(window, window[-1]))
        cut = int(spans.starts[whole])
        if whole or (self._waiting and self._waiting[-1][1][-1] // PDV_WINDOW_BLOCKS != window[0]):
            self._waiting.append((values[:cut], spans.block[:whole], spans.sizes[:whole]))
            self.finish()
        self._waiting.append((values[cut:], spans.block[whole:], spans.sizes[whole:]))

    def finish(self) -> None:
        """No more packets will come in the windows so far."""
        values, block, sizes = (np.concatenate(each) for each in zip(*self._waiting, strict=True))
        self._waiting = []
        spans = Spans(block, np.cumsum(sizes) - sizes, sizes)
        windows = spans.starts[block_starts(block // PDV_WINDOW_BLOCKS)]
        self.above.add(delay.above_least(values, windows), spans)


class _Replies:
    """Replies as they arrived, by their rows in the reflector's log (:func:`loss.returns`): the last ones of a piece
    may come after the next one's first."""

    def __init__(self) -> None:
        self._seq, self._t4 = np.empty(0, np.int64), np.empty(0, np.int64)

    def add(self, samples: Samples) -> Ints:
        """Those that came before any packet that is still to be sent."""
        came = samples.replied & (samples.log_row >= 0)
        seq, t4 = np.append(self._seq, samples.log_row[came]), np.append(self._t4, samples.t4[came])
        if (t4[1:] < t4[:-1]).any():
            order = np.argsort(t4, kind="stable")
            seq, t4 = seq[order], t4[order]
        done = int(np.searchsorted(t4, samples.t1[-1], side="right")) if len(samples.t1) else 0
        self._seq, self._t4 = seq[done:], t4[done:]
        return seq[:done]

    def rest(self) -> Ints:
        return self._seq


class _Gathering:
    """The summary in the making."""

    def __init__(self, hold: bool, interval_ns: int, long_block: int) -> None:
        self._hold = hold
        self._since = _Since()
        self._sums: Tally[str] = Tally()
        self._stamps: Tally[str] = Tally()
        self._untransmitted: Tally[Direction] = Tally()
        self._round_trip = Accountant()
        self._ways = {way: Accountant() for way in WAYS}
        self._rtt, self._windows = Counter(hold, long_block), _Windows(hold, long_block)
        self._timer_error = Counter(hold)
        self._ipdv = {way: Counter(hold) for way in WAYS}
        self._last_delay: dict[Direction, Floats] = {}
        self._reordering = {way: Reordering(interval_ns) for way in WAYS}
        self._replies = _Replies()
        self._least: list[tuple[Ints, Floats]] = []
        self._least_raw: dict[Direction, list[Floats]] = {way: [] for way in WAYS}
        self._ttl = {way: ttl.Gathering() for way in WAYS}
        self._drawn: list[tuple[Floats, Floats]] = []
        self._lost_at: dict[Direction, list[Floats]] = {way: [] for way in (*WAYS, Direction.ROUND_TRIP)}
        self._losses: list[Mapping[Direction, timeline.Part]] = []
        self._sampled: list[tuple[Sampled, Ints]] = []

    def add(self, piece: Piece) -> None:
        s = piece.samples
        self._reordering[Direction.A_Z].add(s.arrivals)
        if not len(s.seq):
            return
        since_ns = self._since.of(s)
        spans = Spans.of(since_ns)
        self._count(s)
        self._stamps.update(piece.stamps)
        self._account(s, since_ns, spans)
        self._losses.append(piece.losses)
        self._rtt.add(piece.rtt, spans)
        self._windows.add(piece.rtt, spans)
        self._least.append((spans.block, np.fmin.reduceat(piece.rtt, spans.starts)))
        self._timer_error.merge(piece.timer_error)
        for way, (raw, varied) in piece.ways.items():
            if (before := self._last_delay.get(way)) is not None:
                self._ipdv[way].count(_varied(np.append(before, raw[:1])))
            self._ipdv[way].merge(varied)
            self._last_delay[way] = raw[-1:]
            self._least_raw[way].append(np.fmin.reduceat(raw, spans.starts))
            self._ttl[way].add(since_ns, s.ttl_there if way is Direction.A_Z else s.ttl_back)
        self._reordering[Direction.Z_A].add(self._replies.add(s))
        some, which = piece.sampled
        self._sampled.append((some, since_ns[which] // BLOCK_NS))
        self._drawn.append((since_ns[piece.drawn] / 1e9, piece.rtt[piece.drawn]))
        if self._hold:
            there, back = s.lost_forward, s.lost_backward
            for way, lost in zip(self._lost_at, (there, back, s.lost & ~(there | back)), strict=True):
                self._lost_at[way].append(since_ns[lost] / 1e9)

    def _count(self, s: Samples) -> None:
        self._sums["sent"] += len(s.seq)
        self._sums["replied"] += int(np.count_nonzero(s.replied))
        self._sums["kernel"] += s.kernel_stamped
        self._sums["duplicates"] = s.duplicates
        self._sums["logged"] += int(np.count_nonzero(s.logged))
        self._sums["unknown"] += int(np.count_nonzero(~(s.seen | s.logged)))
        self._sums["unanswered"] += int(np.count_nonzero(s.seen & ~s.reflected))
        for way in WAYS:
            self._untransmitted[way] += s.untransmitted(way)

    def _account(self, s: Samples, since_ns: Ints, spans: Spans) -> None:
        self._round_trip.add(np.ones(len(s.seq), np.bool_), s.lost, since_ns, spans)
        self._ways[Direction.A_Z].add(s.seen | s.logged, s.lost_forward, since_ns, spans)
        self._ways[Direction.Z_A].add(s.reflected, s.lost_backward, since_ns, spans)

    def result(self) -> Summary:
        if self._sums["sent"]:
            self._windows.finish()
        self._reordering[Direction.Z_A].add(self._replies.rest())
        round_trip = self._round_trip.result()
        least_in, least = _joined(self._least)
        seconds, at = np.unique(least_in, return_index=True)
        ways = {way: each.result() if self._sums["logged"] else None for way, each in self._ways.items()}
        left = {way: timeline.joined([each[way] for each in self._losses]) for way in WAYS}
        return Summary(
            sent=self._sums["sent"],
            span_ns=self._since.last_ns - (self._since.first_ns or 0) if self._sums["sent"] else 0,
            replied=self._sums["replied"],
            kernel_stamped=self._sums["kernel"],
            duplicates=self._sums["duplicates"],
            stamps=dict(sorted(self._stamps.items())),
            round_trip=round_trip,
            ways=ways,
            unknown=self._sums["unknown"],
            unanswered=self._sums["unanswered"],
            untransmitted={way: self._untransmitted[way] for way in WAYS},
            departures={way: departures for way, (departures, _) in left.items()},
            passage_ns={way: passage for way, (_, passage) in left.items()},
            rtt=self._rtt.result(),
            pdv=self._windows.above.result(),
            ipdv={way: each.result() for way, each in self._ipdv.items()},
            timer_error=self._timer_error.result(),
            reordering={way: each.result() for way, each in self._reordering.items()},
            least=(seconds, _least(least, at)),
            least_raw={way: _least(np.concatenate(each or [least]), at) for way, each in self._least_raw.items()},
            ttl={way: each.result() for way, each in self._ttl.items()},
            sampled=joined([some for some, _ in self._sampled]) if self._sampled else None,
            sampled_block=np.concatenate([np.empty(0, np.int64), *(block for _, block in self._sampled)]),
            drawn=_joined(self._drawn),
            drawn_losses=self._drawn_losses(round_trip, ways),
        )

    def _drawn_losses(
        self, round_trip: Account, ways: Mapping[Direction, Account | None]
    ) -> dict[Direction, tuple[Floats, Floats]]:
        """Each by itself or, in a long run, per second."""
        if self._hold:
            at = {way: np.concatenate(each or [np.empty(0)]) for way, each in self._lost_at.items()}
            return {way: (x, np.ones(len(x))) for way, x in at.items()}
        told = {way: account for way, account in ways.items() if account is not None}
        return {
            way: (account.block[some].astype(np.float64), account.lost[some].astype(np.float64))
            for way, account in (told or {Direction.ROUND_TRIP: round_trip}).items()
            for some in (account.lost > 0,)
        }


def _least(values: Floats, starts: Ints) -> Floats:
    return np.fmin.reduceat(values, starts) if len(starts) else values


def _joined(parts: list[tuple[Array, Floats]]) -> tuple[Array, Floats]:
    if not parts:
        return np.empty(0), np.empty(0)
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)
