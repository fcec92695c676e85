"""Rates, times, sizes and shares: one meaning each."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from pydantic_core import PydanticCustomError

from perfharness.order import units


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.rate, "1Gbps", 10**9),
        (units.rate, "10G", 10**10),
        (units.rate, "1 Gbit/s", 10**9),
        (units.rate, "500Mbps", 500 * 10**6),
        (units.rate, "50M", 50 * 10**6),
        (units.rate, "2G", 2 * 10**9),
        (units.rate, "1.5Gb/s", 1_500_000_000),
        (units.rate, "1000000000bps", 10**9),
        (units.rate, "64 kbps", 64_000),
        (units.duration, "250ms", 250 * 10**6),
        (units.duration, "10s", 10**10),
        (units.duration, "5m", 300 * 10**9),
        (units.duration, "1h30m", 5400 * 10**9),
        (units.duration, "1 h 30 min", 5400 * 10**9),
        (units.duration, "2us", 2000),
        (units.duration, "2µs", 2000),
        (units.duration, "1.5ms", 1_500_000),
        (units.duration, "0s", 0),
        (units.size, "1500", 1500),
        (units.size, "1500B", 1500),
        (units.size, "8KiB", 8192),
        (units.size, "1.5MB", 1_500_000),
        (units.size, "16 MiB", 16 << 20),
        (units.ratio, "1e-4", 1e-4),
        (units.ratio, "0.0001", 1e-4),
        (units.ratio, "0.1%", 1e-3),
        (units.ratio, "99.95 %", 0.9995),
        (units.ratio, "1", 1.0),
        (units.ratio, "0", 0.0),
    ],
)
def test_what_people_write_has_one_meaning(parse: Callable[[str], float], text: str, value: float) -> None:
    """Each usual spelling gives bit/s, ns, bytes or a share, exactly."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "texts"),
    [
        (units.rate, ["1GB", "1MB/s", "125MBps", "1GiB/s", "1Gb", "1g", "1gbps", "1Gibps", "-1Gbps", "0bps", "0.1bps"]),
        (units.rate, ["fast", "", "1 000Mbps", "1e9bps", "1,5G", "١Gbps", "inf", "99999999999T", "1000000000"]),
        (
            units.duration,
            ["5", "5 minutes", "30m1h", "1m1m", "1.5.5s", "0.5ns", "-1s", "5M", "", "1h 30", "300000000d"],
        ),
        (units.size, ["8k", "8K", "8KB", "16M", "1Mb", "1Mbit", "0.5B", "-1", "big", ""]),
        (units.ratio, ["1.1", "101%", "-0.1", "1/1000", "1‰", "nan", "few", "", "1e99"]),
        (units.ports, ["", "0", "65536", "5210-5201", "80,80", "5201-5210,5205", "80;81", "all", "1-2-3"]),
    ],
)
def test_ambiguity_and_nonsense_are_refused_with_a_remedy(parse: Callable[[str], object], texts: list[str]) -> None:
    """What could be read in two ways, or in none, is not guessed; the error tells how to write it."""
    for text in texts:
        with pytest.raises(PydanticCustomError) as caught:
            parse(text)
        context = caught.value.context or {}
        assert context["message"].endswith(".")
        assert context["remedy"].endswith(".")


def test_an_int_of_a_program_is_already_in_the_base_unit() -> None:
    """Only text needs a unit: defaults and stored plans are plain integers."""
    assert TypeAdapter(units.Rate).validate_python(10**9) == 10**9
    assert TypeAdapter(units.Duration).validate_python("1s") == 10**9


def test_port_ranges_are_sorted_and_iterate_over_every_port() -> None:
    """A list of ranges behaves like the set of its ports and writes itself back."""
    ports = units.ports("5201-5203, 862")
    assert list(ports) == [862, 5201, 5202, 5203]
    assert 5202 in ports
    assert 5204 not in ports
    assert len(ports) == 4
    assert units.ports(str(ports)) == ports


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (units.rate_text(10**9), "1 Gbit/s"),
        (units.rate_text(939_247_000.4), "939.2 Mbit/s"),
        (units.rate_text(999_999_999), "1 Gbit/s"),
        (units.rate_text(2048 * 10**6), "2.048 Gbit/s"),
        (units.rate_text(0), "0 bit/s"),
        (units.duration_text(5_000_000), "5 ms"),
        (units.duration_text(123.4), "123.4 ns"),
        (units.duration_text(-1500), "-1.5 µs"),
        (units.duration_text(59.9996e9), "1 min"),
        (units.duration_text(5400e9), "1 h 30 min"),
        (units.duration_text(math.inf), "∞"),
        (units.size_text(1500), "1500 B"),
        (units.size_text(16 << 20), "16 MiB"),
        (units.size_text(1_250_000_000), "1.25 GB"),
        (units.ratio_text(1e-4), "0.01 %"),
        (units.ratio_text(3.2e-6), "3.2e-6"),
        (units.ratio_text(0), "0 %"),
        (units.ratio_text(1), "100 %"),
        (units.ratio_text(0.9995), "99.95 %"),
        (units.ratio_text(0.9999999), "99.99999 %"),
    ],
)
def test_values_are_written_for_a_reader(text: str, shown: str) -> None:
    """Four significant digits in the unit that fits; a share is never rounded to all or nothing."""
    assert text == shown


@given(st.integers(1, units.LARGEST))
@settings(deadline=None)
def test_a_rate_survives_being_written_and_read(bps: int) -> None:
    """Reading what was written gives the rate again, within the digits written."""
    assert math.isclose(units.rate(units.rate_text(bps)), bps, rel_tol=5.1e-4)


@given(st.integers(0, 10**18))
@settings(deadline=None)
def test_a_time_survives_being_written_and_read(ns: int) -> None:
    """Reading what was written gives the time again, within four digits, or a second from a minute on."""
    assert math.isclose(units.duration(units.duration_text(ns)), ns, rel_tol=9e-3 if ns > 59e9 else 5.1e-4)


@given(st.integers(0, 2**50))
@settings(deadline=None)
def test_a_size_survives_being_written_and_read(size_bytes: int) -> None:
    """Reading what was written gives the size again, within the digits written."""
    assert math.isclose(units.size(units.size_text(size_bytes)), size_bytes, rel_tol=5.1e-4)


@given(st.floats(1e-90, 1) | st.just(0.0))
@settings(deadline=None)
def test_a_share_survives_being_written_and_read(share: float) -> None:
    """Reading what was written gives the share again, and only 0 and 1 look like nothing and all."""
    shown = units.ratio_text(share)
    assert math.isclose(units.ratio(shown), share, rel_tol=5.1e-3, abs_tol=1e-99)
    assert (shown == "0 %") == (share == 0)
    assert (shown == "100 %") == (share > 1 - 1e-12)


@given(st.text(max_size=30))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes a reader raise anything but its refusal."""
    for parse in (units.rate, units.duration, units.size, units.ratio, units.ports):
        try:
            parse(text)
        except PydanticCustomError as error:
            assert (error.context or {})["message"]
