"""Intervals hold what they claim where the truth is known: coverage and width by seeded simulation.

95 % on independent packets, 91 % on dependent ones, at most 1.3 times as wide as an oracle's (``interval_truth``).
``tests/bench/bench_intervals.py`` asks the same of more settings with more runs.
"""

from __future__ import annotations

import pytest

from tests.unit import interval_truth as it


def holds(setting: it.Setting) -> it.Score:
    found = it.score(setting, runs=300, seed=1)
    assert found.holds(setting.least), found
    return found


@pytest.mark.parametrize("q", [0.5, 0.99, 0.999])
def test_quantiles_of_independent_delay(q: float) -> None:
    """30 s at 1 kHz: each bound covers 95 %, hardly wider than if independence were known, and none is missing."""
    found = holds(it.delay("independent", 30_000, 1000, q, 0.0))
    assert found.open == (0, 0)


@pytest.mark.parametrize(("q", "n", "per_s"), [(0.5, 30_000, 1000), (0.99, 30_000, 1000), (0.5, 3000, 100)])
def test_quantiles_of_correlated_delay(q: float, n: int, per_s: int) -> None:
    """AR(1) with φ = 0.99, whose memory is 0.1 s or, at 100 packets/s, as long as a block: each bound covers 91 %."""
    found = holds(it.delay("AR(1) 0.99", n, per_s, q, 0.99))
    assert found.open[0] <= 0.05


def test_a_tail_of_few_clusters_has_no_upper_bound() -> None:
    """p99.9 at φ = 0.99 in 30 s: some three clusters, so mostly no bound, as an oracle has none, rather than a wrong
    one."""
    found = holds(it.delay("AR(1) 0.99", 30_000, 1000, 0.999, 0.99))
    assert found.open[0] >= 0.8 and found.open[1] == 1


@pytest.mark.parametrize(
    ("enter", "leave", "loss"), [(1e-3, 0.1, 0.5), (3e-4, 0.1, 0.5), (2e-4, 0.01, 0.5), (1e-4, 0.01, 0.5)]
)
def test_bursty_loss(enter: float, leave: float, loss: float) -> None:
    """Gilbert-Elliott from thirty bursts in 30 s down to three: where any is seen, each bound covers 91 %."""
    holds(it.bursts("Gilbert-Elliott", 30_000, 1000, enter, leave, loss))


@pytest.mark.parametrize("share", [1e-3, 1e-2])
def test_independent_loss(share: float) -> None:
    """Each bound covers 95 % and is hardly wider than Clopper and Pearson's."""
    holds(it.scattered("independent", 30_000, 1000, share))


@pytest.mark.parametrize(
    ("phi", "n"), [(0.0, 10), (0.0, 40), (0.5, 15), (0.8, 40), (0.9, 40), (0.95, 200), (0.99, 200)]
)
def test_mean_rates(phi: float, n: int) -> None:
    """Few or correlated intervals of a rate make a wide interval, not a wrong one."""
    holds(it.rates("AR(1)", n, phi))


def test_variation_between_neighbours() -> None:
    """IPDV of independent delay, whose neighbours share a packet: each bound of p99 covers 95 %."""
    holds(it.variation("IPDV, independent", 30_000, 1000, 0.99, 0.0))
