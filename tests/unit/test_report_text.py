"""How figures are written."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from perfharness.model import Finding, Interval, Layer, Scope, Verdict
from perfharness.report import text

ROW = Finding("F1", "throughput.udp", "mean", Scope("c"), "bit/s", 0.9973e9, Verdict.PASS, "", layer=Layer.L2)


def _interval(low: float, high: float, sides: str = "one") -> Interval:
    return Interval(low, high, 0.95, sides, "test")


@pytest.mark.parametrize(
    ("value", "unit", "layer", "written"),
    [
        (997_300_000, "bit/s", Layer.L2, "997.3 Mbit/s (L2)"),
        (1_000_000_000, "bit/s", None, "1 Gbit/s"),
        (62_000, "ns", None, "0.062 ms"),
        (12_340_000, "ns", None, "12.34 ms"),
        (900, "ns", None, "0.90 µs"),
        (math.inf, "ns", None, "unbounded"),
        (0.0, "1", None, "0"),
        (1e-4, "1", None, "1.0e-4"),
        (0.125, "1", None, "12.5 %"),
        (1.0, "1", None, "100 %"),
        (1500, "B", None, "1,500 B"),
        (30_000, "packets", None, "30,000"),
        (3, "ports", None, "3 ports"),
        (True, "", None, "yes"),
        ("Established", "", None, "Established"),
        (None, "ns", None, "–"),
    ],
)
def test_a_value_has_sensible_digits_and_its_unit(
    value: text.Value, unit: str, layer: Layer | None, written: str
) -> None:
    """Every kind of figure is written with its unit, and an absent one as a dash, never as 0."""
    assert text.value(value, unit, layer) == written


def test_a_share_of_packets_is_shown_as_the_count_that_it_is() -> None:
    """No loss reads ``0 of 30,000`` and some loss names both the share and the packets."""
    none = replace(ROW, metric="loss", statistic="ratio", unit="1", value=0.0, n=30_000, layer=None)
    assert text.finding_value(none) == "0 of 30,000"
    assert text.finding_value(replace(none, value=3 / 30_000)) == "1.0e-4 (3 of 30,000)"


def test_the_threshold_is_written_as_it_was_ordered() -> None:
    """A threshold has no more digits than the order gave it."""
    row = replace(ROW, unit="ns", operator="<=", threshold=5_000_000, layer=None)
    assert text.threshold_text(row) == "≤ 5 ms"
    assert text.threshold_text(replace(row, operator=">=", unit="B", threshold=1500)) == "≥ 1,500 B"
    assert text.threshold_text(replace(row, operator=None)) == "–"


@pytest.mark.parametrize(
    ("interval", "unit", "written"),
    [
        (_interval(4.13e6, 4.34e6), "ns", "4.130 to 4.340 ms · 95 %"),
        (_interval(6.1e6, math.inf), "ns", "6.100 ms to unbounded · 95 %"),
        (_interval(0.0, 9.985e-5), "1", "≤ 1.0e-4 · 95 %"),
        (_interval(999e6, 1001e6), "bit/s", "999 Mbit/s to 1.001 Gbit/s · 95 %"),
        (_interval(1500, 1500, "exact"), "B", "exact"),
        (None, "ns", ""),
    ],
)
def test_an_interval_says_how_far_it_can_be_trusted(interval: Interval | None, unit: str, written: str) -> None:
    """Bounds share their unit where they can, and infinity is a word."""
    assert text.interval_text(replace(ROW, unit=unit, interval=interval)) == written


@pytest.mark.parametrize(
    ("operator", "threshold", "interval", "written"),
    [
        (">=", 0.995e9, _interval(0.9965e9, 0.998e9), "+0.15 %"),
        (">=", 0.995e9, _interval(0.498e9, 0.499e9), "−49.8 %"),
        (">=", 0.995e9, _interval(0.990e9, 0.999e9), "straddles"),
        ("<=", 2e9, _interval(0.990e9, 0.999e9), "+50.0 %"),
        (">=", 0.9973e9, None, "±0 %"),
        ("<=", 0.5e9, _interval(0.6e9, math.inf), "−20.0 %"),
        ("==", 0.9973e9, None, "–"),
        (None, None, None, "–"),
    ],
)
def test_the_margin_is_what_is_proven(
    operator: str | None, threshold: float | None, interval: Interval | None, written: str
) -> None:
    """The margin is measured to the nearest end of the interval, + on the good side, whatever the operator."""
    assert text.margin(replace(ROW, operator=operator, threshold=threshold, interval=interval)) == written


def test_the_margin_of_a_size_is_absolute() -> None:
    """A path MTU 28 bytes too small says so in bytes."""
    assert text.margin(replace(ROW, unit="B", value=1472, operator=">=", threshold=1500)) == "−28 B"


def test_what_a_host_leaves_open_has_no_margin() -> None:
    """An interval on the bad side proves nothing when the verdict is INCONCLUSIVE."""
    row = replace(ROW, operator=">=", threshold=2e9, interval=_interval(1e9, 1.1e9), verdict=Verdict.INCONCLUSIVE)
    assert text.margin(row) == "undecided"


def test_dates_are_utc_whatever_zone_they_came_in() -> None:
    """A date with an offset is shown in UTC, and one without a zone says that it has none."""
    assert text.stamp("2027-02-25T17:30:05+08:00") == "2027-02-25 09:30:05 UTC"
    assert text.stamp("2027-02-25T17:30:05") == "2027-02-25T17:30:05 (no zone)"
    assert text.stamp("") == ""


@pytest.mark.parametrize(
    ("seconds", "written"), [(2.5, "2.50 s"), (30, "30 s"), (60, "1 min"), (598, "9 min 58 s"), (7500, "2 h 5 min")]
)
def test_a_duration_is_said_as_people_say_it(seconds: float, written: str) -> None:
    """Seconds, minutes and hours, without empty parts."""
    assert text.duration(seconds) == written
