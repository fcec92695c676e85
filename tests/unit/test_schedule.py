"""perfagent.schedule: when the packets of a stream are due."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfagent import schedule

patterns = st.sampled_from(schedule.PATTERNS)
seeds = st.integers(0, 2**32 - 1)


@given(patterns, st.integers(1_000, 10**10), st.integers(0, 200), seeds)
def test_a_stream_is_regenerated_from_its_parameters(pattern: str, interval: int, count: int, seed: int) -> None:
    """The same four values give the same due times: as many as asked, in order, none before the start."""
    due = list(schedule.offsets_ns(pattern, interval, count, seed))
    assert due == list(schedule.offsets_ns(pattern, interval, count, seed))
    assert len(due) == count
    assert due == sorted(due)
    assert all(offset >= 0 for offset in due)


@given(st.integers(1_000, 10**10), st.integers(2, 100), seeds)
def test_periodic_gaps_are_the_interval(interval: int, count: int, seed: int) -> None:
    """After a random start within one interval, every gap is exactly the interval."""
    due = list(schedule.offsets_ns("periodic", interval, count, seed))
    assert 0 <= due[0] < interval
    assert {later - earlier for earlier, later in pairwise(due)} == {interval}


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1_000, 10**9), seeds)
def test_each_kind_keeps_its_own_interval(every: list[int], interval: int, seed: int) -> None:
    """Kinds of different intervals are each periodic, begin a slot apart, and are never due at once."""
    kinds = schedule.turns(every)
    due = list(schedule.offsets_ns("periodic", interval, 3 * len(kinds), seed, every))
    assert all(later - earlier >= interval for earlier, later in pairwise(due))
    for kind, step in enumerate(every):
        own = due[0] + interval * kind
        mine = [at for number, at in enumerate(due) if kinds[number % len(kinds)] == kind]
        assert mine == [own + i * step * len(every) * interval for i in range(len(mine))]


def test_kinds_that_use_all_turns_are_as_one_stream() -> None:
    """The plain turns of classes of one interval are those of a stream without any."""
    plain = list(schedule.offsets_ns("periodic", 1_000, 30, 7))
    assert list(schedule.offsets_ns("periodic", 1_000, 30, 7, [1, 1, 1])) == plain
    assert schedule.turns([1, 1, 1]) == (0, 1, 2)


def test_poisson_gaps_are_exponential() -> None:
    """The gaps have the mean, the spread and the share above the mean of an exponential distribution."""
    due = np.array(list(schedule.offsets_ns("poisson", 1_000_000, 100_000, 7)))
    gaps = np.diff(due) / 1e6
    assert gaps.mean() == pytest.approx(1, rel=0.01)
    assert gaps.std() == pytest.approx(1, rel=0.02)
    assert (gaps > 1).mean() == pytest.approx(np.exp(-1), rel=0.02)


def test_numpy_draws_the_same_numbers() -> None:
    """A long stream can be regenerated column-wise: numpy's Mersenne Twister agrees."""
    draws = np.random.RandomState([7]).random_sample(10_000)
    due = np.cumsum((-np.log1p(-draws) * 1_000_000).astype(np.int64))
    ours = np.array(list(schedule.offsets_ns("poisson", 1_000_000, 10_000, 7)))
    assert np.abs(ours - due).max() <= 10_000 * 1e-9 * 1_000_000


def test_an_unknown_pattern_is_refused() -> None:
    """A pattern that is neither periodic nor poisson is named in the error."""
    with pytest.raises(ValueError, match="'burst'"):
        schedule.offsets_ns("burst", 1, 1, 1)


def test_every_flow_is_sent_once_a_round_in_random_order() -> None:
    """No flow is before or behind another by rule, and the same seed gives the same order anywhere."""
    order = np.array(list(schedule.flow_order(64, 200, 7))).reshape(200, 64)
    assert (np.sort(order, 1) == np.arange(64)).all()
    assert len(np.unique(order, axis=0)) == 200
    places = np.argsort(order, 1).mean(0)
    assert np.abs(places - 31.5).max() < 4 * 18.5 / 200**0.5
    assert list(order.flat) == list(schedule.flow_order(64, 200, 7))
