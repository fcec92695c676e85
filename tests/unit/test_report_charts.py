"""The pictures and what is left out of them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from perfharness.model import Direction, Series
from perfharness.report import charts, drawing, shares
from perfharness.report.downsample import COLUMNS, envelope, percentiles, thin

X = np.arange(30_000) / 1000
Y = 4e6 + np.random.default_rng(5).gamma(2.0, 2e4, 30_000)
RTT = Series("RTT", X, Y, "ns", "delay", Direction.ROUND_TRIP, 1_803_634_205 * 10**9)


def test_the_envelope_keeps_every_extreme() -> None:
    """The one latest and the one earliest packet of 30,000 are in the picture."""
    y = Y.copy()
    y[17_321], y[4_000] = 9e9, 1.0
    band = envelope(X, y)
    assert band.x.size <= COLUMNS
    assert (band.high.max(), band.low.min()) == (9e9, 1.0)


def test_the_envelope_leaves_out_what_never_came() -> None:
    """A lost packet has no place on the axis of delays, and a column of losses only has none either."""
    y = np.where(X < 15, np.inf, Y)
    band = envelope(X, y)
    assert np.isfinite(band.high).all()
    assert band.x.min() >= 15
    assert envelope(X[:5], np.full(5, np.inf)).x.size == 0


def test_percentiles_count_a_lost_packet_as_infinitely_late() -> None:
    """Where 2 % are lost there is a p50 and no p99."""
    y = Y.copy()
    y[::50] = np.inf
    spans = percentiles(X, y)
    assert np.isfinite(spans.p50).all()
    assert np.isnan(spans.p99).all()


def test_a_thinned_distribution_keeps_its_tail() -> None:
    """The largest value, and nearly every step of the last thousandth, stay."""
    x, y = np.sort(Y), 1 - np.arange(1, Y.size + 1) / Y.size
    x, y = x[:-1], y[:-1]
    few_x, few_y = thin(x, y)
    assert few_x.size <= 400
    assert few_x[-1] == x[-1]
    assert (few_y < 1e-3).sum() >= 20


def test_pictures_are_small_well_formed_and_the_same_twice() -> None:
    """30,000 samples make a picture of some KB, and the same samples the same picture."""
    first, second = (str(charts.delays(RTT, [], 5e6, "a")) for _ in range(2))
    assert first == second
    assert len(first) < 30_000
    assert ElementTree.fromstring(first).tag.endswith("svg")


def test_every_colour_has_a_dark_sister() -> None:
    """A dark page overrides colours one by one, so no other colour may be drawn."""
    lines = [drawing.Line(RTT, "one"), drawing.Line(RTT, "two"), drawing.Line(RTT, "three"), drawing.Line(RTT, "four")]
    ccdf = Series("RTT", np.sort(Y), 1 - np.arange(Y.size) / Y.size, "1", "ccdf", x_unit="ns")
    lost = Series("lost", np.array([3.0]), np.array([2.0]), "packets", "loss", Direction.A_Z, RTT.start_ns)
    drawn = (
        charts.delays(RTT, [lost], 5e6, "a")
        + charts.rates(lines, 1e9, "ordered", "L2", "b")
        + shares.distributions([drawing.Line(ccdf, str(n)) for n in range(4)], 5e6, "c")
    )
    hit = np.arange(64) % 4 == 0
    drawn += shares.flows([shares.Flows(way, 10.0 * hit, hit) for way in ("there", "back")], "% lost", "f")
    assert set(re.findall(r"#[0-9a-f]{6}", str(drawn))) <= set(drawing.PALETTE)


def test_lines_differ_without_colour() -> None:
    """The two directions have different dashes."""
    rate = np.full(10, 1e9)
    series = [Series("L2", np.arange(10.0), rate, "bit/s", "rate", way) for way in (Direction.A_Z, Direction.Z_A)]
    forth, back = (str(charts.rates([drawing.Line(one, "name")], None, "", "L2", "d")) for one in series)
    assert "stroke-dasharray" not in forth
    assert "stroke-dasharray" in back


def test_flows_that_are_hit_differ_without_colour() -> None:
    """They are filled where the others are hollow, and named in the legend."""
    hit = np.arange(8) == 3
    drawn = str(shares.flows([shares.Flows("there", 1.0 * hit, hit)], "% lost", "h"))
    assert "there, hit" in drawn
    assert "fill: none" in drawn
    assert f"fill: {drawing.LOST}" in drawn
    assert "there, hit" not in shares.flows([shares.Flows("there", 1.0 * hit, np.zeros(8, np.bool_))], "% lost", "h")


def test_losses_are_marked_and_counted() -> None:
    """Each loss is a cross, and the legend says how many packets."""
    lost = Series("lost", np.array([3.0, 20.0]), np.array([2.0, 1.0]), "packets", "loss", Direction.A_Z, RTT.start_ns)
    drawn = str(charts.delays(RTT, [lost], None, "e"))
    assert "lost on-prem → cloud (3 packets)" in drawn
    assert drawn.count(f"stroke: {drawing.LOST}") >= 2


def test_a_percentile_that_no_span_has_is_not_in_the_legend() -> None:
    """Where 2 % are lost all the time the legend names p50 and no p99; where half of the time, both."""
    for lossy, named in ((X >= 0, False), (X >= 15, True)):
        y = np.where(lossy & (np.arange(Y.size) % 50 == 0), np.inf, Y)
        drawn = str(charts.delays(Series("RTT", X, y, "ns", "delay", Direction.ROUND_TRIP), [], None, "g"))
        assert ">p50<" in drawn
        assert (">p99<" in drawn) is named


def test_a_stream_without_any_answer_can_be_drawn() -> None:
    """All packets lost is a picture too."""
    gone = Series("RTT", X[:50], np.full(50, np.inf), "ns", "delay", Direction.ROUND_TRIP)
    assert "lost (50 packets)" in charts.delays(gone, [], 5e6, "f")


def test_a_name_cannot_become_markup_or_a_formula() -> None:
    """Names are drawn as they are."""
    drawn = str(charts.rates([drawing.Line(RTT, "<script>$x^2$")], None, "", "L2", "g"))
    assert "&lt;script&gt;$x^2$" in drawn
    assert "<script" not in drawn
