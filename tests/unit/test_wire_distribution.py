"""Durations in bounded memory."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfharness.lab.distribution import Distribution


def test_a_distribution_tells_count_mean_extremes_and_quantiles() -> None:
    """Small values are exact, and so are the least and the most."""
    delays = Distribution()
    for value in range(1, 201):
        delays.add(value)
    assert delays.to_json() == {
        "count": 200,
        "mean": 100.5,
        "min": 1,
        "p50": 100,
        "p90": 180,
        "p99": 198,
        "p99.9": 200,
        "max": 200,
    }


def test_a_distribution_of_nothing_has_no_quantile() -> None:
    """Absent is not zero."""
    told = Distribution().to_json()
    assert told.pop("count") == 0
    assert set(told.values()) == {None}


@given(st.lists(st.integers(0, 10**13), min_size=1), st.floats(0.001, 1))
def test_a_quantile_is_true_to_half_a_per_cent(values: list[int], share: float) -> None:
    """Against the sorted values themselves, from nanoseconds to hours."""
    delays = Distribution()
    for value in values:
        delays.add(value)
    (told,) = delays.quantiles(share)
    assert told == pytest.approx(sorted(values)[ceil(share * len(values)) - 1], rel=0.004)


def test_its_memory_is_bounded() -> None:
    """A million different delays up to a second need no more than 128 buckets for each power of two."""
    delays = Distribution()
    for value in range(0, 10**9, 9973):
        delays.add(value)
    assert len(delays.buckets) < 30 * 128
