"""Patterns over time, against plain Python and against chance."""

from __future__ import annotations

import numpy as np
import pytest

from perfharness.analysis.loss import periods
from perfharness.analysis.patterns import Step, availability, marks, periodicity, runs, sides, steps

NAN = float("nan")


def plainly_unavailable(severe: list[bool]) -> list[bool]:
    """Y.1563 second by second."""
    state, states = False, [False] * len(severe)
    for at in range(len(severe)):
        ten = severe[at : at + 10]
        if len(ten) == 10 and all(one != state for one in ten):
            state = not state
        states[at] = state
    return states


@pytest.mark.parametrize("seed", range(20))
def test_availability_is_that_of_the_recommendation(seed: int) -> None:
    """Unavailable time begins with ten severely errored seconds in a row, and ends with ten others."""
    random = np.random.default_rng(seed)
    runs = random.integers(1, 20, 40)
    severe = np.repeat(np.arange(40) % 2 == seed % 2, runs)
    offered = np.full(len(severe), 100)
    found = availability(offered, np.where(severe, 51, 50))
    assert found.unavailable.tolist() == plainly_unavailable(severe.tolist())
    assert (found.seconds, found.severely_errored) == (len(severe), int(severe.sum()))


def test_nothing_offered_is_no_availability() -> None:
    """No second was seen."""
    found = availability(np.empty(0, np.int64), np.empty(0, np.int64))
    assert (found.seconds, found.severely_errored, found.unavailable.tolist()) == (0, 0, [])


def test_a_reroute_is_a_step_with_time_and_size() -> None:
    """A step up and one down are found to the second and to the microsecond; spikes, noise and gaps are none."""
    random = np.random.default_rng(1)
    least = 20e6 + random.exponential(2_000, 200)
    least[60:120] += 750_000
    least[150] += 5e6
    least[[30, 90]] = NAN, np.inf
    first, second = steps(np.arange(200), least)
    assert (first.block, second.block) == (60, 120)
    assert (first.size_ns, second.size_ns) == pytest.approx((750_000, -750_000), abs=10_000)


@pytest.mark.parametrize("seed", range(10))
def test_noise_has_no_steps(seed: int) -> None:
    """Independent seconds and short series have none."""
    least = 20e6 + np.random.default_rng(seed).exponential(50_000, 500)
    assert steps(np.arange(500), least) == ()
    assert steps(np.arange(9), least[:9]) == ()


def test_regular_losses_name_their_period() -> None:
    """Losses every 7.3 s, some of them missing and all of them jittered, are periodic; the period is exact to 0.1 %."""
    random = np.random.default_rng(2)
    times = 1.9 + 7.3 * np.arange(40) + random.normal(0, 0.2, 40)
    found = periodicity(times[random.random(40) > 0.2], 300.0)
    assert found is not None
    assert found.length == pytest.approx(7.3, rel=1e-3)
    assert found.chance < 1e-3


def test_chance_is_hardly_ever_called_periodic() -> None:
    """Of 300 streams with random losses, and 300 with random clusters of them, at most 3 each are called periodic."""
    random = np.random.default_rng(3)
    alone = [random.uniform(0, 300, int(random.integers(5, 80))) for _ in range(300)]
    clusters = [
        (random.uniform(0, 300, 6)[:, None] + random.exponential(0.5, (6, 8)).cumsum(axis=1)).ravel()
        for _ in range(300)
    ]
    for streams in (alone, clusters):
        assert sum(periodicity(times, 310.0) is not None for times in streams) <= 3


def test_too_few_losses_have_no_period() -> None:
    """Four events prove nothing, however regular; more than are looked at still have their period."""
    assert periodicity(np.arange(4.0), 4.0) is None
    many = periodicity(np.arange(5_000) * 0.25, 1250.0)
    assert many is not None and many.length == pytest.approx(0.25)


def test_marks_are_counted_against_what_was_sent() -> None:
    """Another DSCP is a remark, ECN 11 is congestion, and each may come with the other."""
    found = marks({"184": 90, "187": 5, "0": 3, "3": 2}, {46})
    assert (found.packets, found.remarked, found.congestion, found.dscps) == (100, 5, 7, {0: 5, 46: 95})


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_step_lies_where_it_was_although_the_clocks_drift(share: float) -> None:
    """50 ppm between the clocks move the least of each second by more than the step: its parts are still told."""
    drift = 50_000.0 * np.arange(60)
    rose = 400_000.0 * (np.arange(60) >= 30)
    found = sides(
        Step(30, 400_000.0, 20e6), np.arange(60), 1e7 + drift + share * rose, 1e7 - drift + (1 - share) * rose
    )
    assert found == pytest.approx((share * 400_000, (1 - share) * 400_000), abs=1)


def test_a_clock_that_was_set_hides_where_a_step_lies() -> None:
    """5 ms more one way and 4.6 ms less the other is no reroute of 0.4 ms."""
    rose = 1.0 * (np.arange(60) >= 30)
    assert sides(Step(30, 400_000.0, 20e6), np.arange(60), 1e7 + 5e6 * rose, 1e7 - 4.6e6 * rose) is None
    assert sides(Step(1, 400_000.0, 20e6), np.arange(60), np.full(60, 1e7), np.full(60, 1e7)) is None


def test_losses_without_memory_look_so() -> None:
    """Of random losses the chance after a loss is that after an arrival; of bursts of ten it is 90 %."""
    random = np.random.default_rng(4).random(200_000) < 0.05
    found = runs(len(random), *periods(random))
    assert found is not None
    assert found.begins == pytest.approx(0.05, rel=0.05)
    assert 1 - found.ends == pytest.approx(0.05, rel=0.1)
    assert found.lost / found.periods == pytest.approx(found.chance_length, rel=0.01)
    bursts = np.repeat(np.arange(2_000) % 50 == 7, 10)
    burst = runs(len(bursts), *periods(bursts))
    assert burst is not None and (burst.longest, burst.ends, burst.apart) == (10, pytest.approx(0.1), 491)
    assert runs(10, *periods(np.zeros(10, np.bool_))) is None
