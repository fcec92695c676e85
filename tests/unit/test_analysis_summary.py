"""A stream in pieces has the figures of the stream as a whole; a long one, to within a bin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from perfharness.analysis import delay, loss, summary, timeline
from perfharness.analysis.blocks import Spans
from perfharness.analysis.distribution import Binned, Counter, Excused, bins_of, edge
from perfharness.analysis.samples import Samples, join, samples_in_turn
from perfharness.analysis.statistics import block_counts, counts_interval, quantile
from perfharness.analysis.summary import PDV_WINDOW_BLOCKS, Summary, piece, summarise
from perfharness.analysis.turns import Turn
from perfharness.model import Direction
from tests.unit.probe_stream import INTERVAL_NS, Packet, files

QUANTILES = (0.5, 0.95, 0.99, 0.999)
WAIT_NS = 2_000_000_000


@pytest.fixture(scope="module")
def whole() -> Samples:
    """25 s with jitter, a reroute, bursts of loss that cross any border, and packets that overtake each other."""
    random = np.random.default_rng(1)
    packets = [
        Packet(
            seq,
            forward_ns=None if seq % 997 < 6 else int(1e7 + 2e6 * (seq > 13_000) + random.exponential(4e5)),
            backward_ns=None if seq % 2_111 == 3 else int(1e7 + random.exponential(4e5)),
            late_by_ns=int(random.exponential(20_000)),
        )
        for seq in range(25_000)
    ]
    return join(*files(packets))


def parts(samples: Samples, size: int) -> Iterator[Samples]:
    """The samples in pieces, the arrivals cut elsewhere."""
    for at in range(0, len(samples.seq), size):
        cut = {
            name: getattr(samples, name)[at : at + size]
            for name in samples.__slots__
            if name not in ("duplicates", "clock")
        }
        yield Samples(**cut, duplicates=samples.duplicates, clock=samples.clock)


def summed(samples: Samples, size: int, hold: bool) -> Summary:
    pieces = (piece(each, 1 if hold else 3, WAIT_NS) for each in parts(samples, size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "MOST_HELD", len(samples.seq) if hold else 0)
        return summarise(pieces, len(samples.seq), INTERVAL_NS)


@pytest.mark.parametrize("size", [25_000, 4_096, 777])
def test_a_stream_in_pieces_is_the_stream(whole: Samples, size: int) -> None:
    """Delay, PDV, IPDV, loss, its periods and reordering do not depend on where the pieces are cut."""
    found = summed(whole, size, hold=True)
    rtt = delay.rtt_ns(whole)
    pdv = delay.pdv(rtt, whole.block // PDV_WINDOW_BLOCKS)
    for q in QUANTILES:
        assert found.rtt.quantile(q) == quantile(rtt, whole.block, q)
        assert found.pdv.quantile(q) == quantile(pdv, whole.block, q)
    losses = loss.by_direction(whole)
    for way, expected in ((Direction.A_Z, losses.forward), (Direction.Z_A, losses.backward)):
        account = found.ways[way]
        assert account is not None and expected is not None
        lengths, distances = loss.periods(expected.lost)
        assert (account.lengths.tolist(), account.distances.tolist()) == (lengths.tolist(), distances.tolist())
        hits, packets = block_counts(expected.lost, expected.block)
        assert (account.lost.tolist(), account.offered.tolist()) == (hits.tolist(), packets.tolist())
        values = delay.ipdv(delay.one_way_raw_ns(whole, way))
        values = np.sort(values[np.isfinite(values)])
        ipdv = found.ipdv[way]
        assert np.array_equal(np.sort(ipdv.values), values)  # type: ignore[union-attr]  # there are some
    late = loss.reordered(whole.arrivals)
    assert (int(found.reordering[Direction.A_Z][0].sum()), len(late)) == (int(late.sum()), len(late))
    assert int(found.reordering[Direction.A_Z][1].sum()) == len(late)
    back = loss.returns(whole)
    assert int(found.reordering[Direction.Z_A][0].sum()) == int(loss.reordered(back).sum()) > 0
    assert (found.sent, found.replied, found.kernel_share) == (25_000, int(whole.replied.sum()), whole.kernel_share)
    assert found.stamps == dict(sorted(delay.rtt_sources(whole).items()))
    for way in Direction.A_Z, Direction.Z_A:
        left, at_once = found.departures[way], timeline.departures(whole, way, WAIT_NS)
        assert left is not None and at_once is not None and len(left.t_ns)
        assert (left.t_ns.tolist(), left.held.tolist()) == (at_once.t_ns.tolist(), at_once.held.tolist())
        assert left.passage_ns == at_once.passage_ns == found.passage_ns[way]


@pytest.mark.parametrize("host", [0, 20])
def test_a_long_stream_is_known_to_within_a_bin(whole: Samples, host: int) -> None:
    """Counted in bins, quantiles and both bounds are those of the held stream within 0.1 %; no bound is tighter."""
    exact, binned = summed(whole, 4_096, True), summed(whole, 4_096, False)
    for name in ("rtt", "pdv"):
        held, counted = getattr(exact, name), getattr(binned, name)
        assert isinstance(counted, Binned)
        assert (counted.n, counted.lost, counted.ends()) == (held.n, held.lost, held.ends())
        for level in {each for q in QUANTILES for each in (q, Excused(host).level(held, q))}:
            (value, interval), (about, bounds) = held.quantile(level), counted.quantile(level)
            assert about == pytest.approx(value, rel=1e-3, abs=1)
            assert bounds.hi == pytest.approx(interval.hi, rel=2e-2, abs=1)
            assert bounds.lo == pytest.approx(interval.lo, rel=2e-2, abs=1)


def test_a_bin_is_a_fortieth_of_a_percent_wide() -> None:
    """Every value lies in its bin, larger ones in no smaller bin, and no bin is wider than 0.025 % of its values."""
    size = np.random.default_rng(2).lognormal(12, 6, 20_000)
    values = np.sort(np.concatenate((size, -size, [0.0, -0.5, 1e12])))
    bins = bins_of(values)
    assert (np.diff(bins) >= 0).all()
    for value, at in zip(values.tolist(), bins.tolist(), strict=True):
        low, high = edge(at), edge(at + 1)
        assert low <= value <= high
        assert high - low <= 2.5e-4 * (abs(value) + 1)


def test_counts_of_pieces_add_up() -> None:
    """Values in any pieces make the same bins; only the lost are in none of them."""
    random = np.random.default_rng(3)
    values = random.lognormal(16, 1, 5_000)
    values[::100], values[::77] = np.inf, np.nan
    since_ns = np.arange(5_000) * 10_000_000
    one, many = Counter(False, 7), Counter(False, 7)
    one.add(values, Spans.of(since_ns))
    for at in range(0, 5_000, 333):
        many.add(values[at : at + 333], Spans.of(since_ns[at : at + 333]))
    a, b = one.result(), many.result()
    assert isinstance(a, Binned) and isinstance(b, Binned)
    assert (a.low, a.counts.tolist(), a.packets.tolist()) == (b.low, b.counts.tolist(), b.packets.tolist())
    assert [group.counts.sum() for group in a.groups] == [group.counts.sum() for group in b.groups]
    assert len(a.groups) == 8
    assert a.n == int((~np.isnan(values)).sum()) and a.lost == int(np.isinf(values).sum())


def test_what_is_drawn_of_a_long_stream_has_its_extremes(whole: Samples) -> None:
    """A picture of a long stream keeps least and most, and its median."""
    rtt = delay.rtt_ns(whole)
    x, y = summed(whole, 4_096, hold=False).drawn
    assert len(x) == len(y) < len(rtt) / 10
    arrived = rtt[np.isfinite(rtt)]
    assert (y[np.isfinite(y)].min(), y[np.isfinite(y)].max()) == (arrived.min(), arrived.max())
    assert np.median(y) == pytest.approx(np.median(rtt), rel=0.01)


def test_duplicates_and_latecomers_are_told_apart_across_pieces() -> None:
    """A packet below one that arrived is reordered the first time, and a duplicate every time after."""
    random = np.random.default_rng(4)
    arrivals = np.argsort(np.arange(3_000) + random.exponential(3, 3_000))
    arrivals = np.insert(arrivals, random.integers(0, 3_000, 200), random.integers(0, 3_000, 200))
    expected = loss.reordered(arrivals)
    for size in (3_200, 500, 17, 1):
        found = loss.Reordering(INTERVAL_NS)
        for at in range(0, len(arrivals), size):
            found.add(arrivals[at : at + size])
        late, packets = found.result()
        assert (int(late.sum()), int(packets.sum())) == (int(expected.sum()), len(expected))
        assert counts_interval(late, packets).hi > 0


@pytest.mark.parametrize("hold", [True, False])
def test_a_piece_without_packets_adds_nothing(hold: bool) -> None:
    """The last piece of a class may have none: there are fewer packets left than classes."""
    sender, log, result = files([Packet(seq) for seq in range(100)])
    samples = samples_in_turn(join(sender, log, result), Turn(0, (0, 1, 2)))
    none = samples_in_turn(samples, Turn(1, (0, 1, 2)))
    assert len(none.seq) == 0
    alone, both = (
        summarise(
            [piece(each, 1 if hold else 3, 10**9) for each in pieces], 10**7 if not hold else 100, 3 * INTERVAL_NS
        )
        for pieces in ([samples], [samples, none])
    )
    assert (alone.sent, alone.rtt.ends()) == (both.sent, both.rtt.ends()) == (34, alone.rtt.ends())
