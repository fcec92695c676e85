"""Intervals: exact values, and what dependence does to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import binom

from perfharness.analysis import statistics as st
from tests.unit.interval_truth import ar1

RATE = 1000
BLOCK = np.arange(30 * RATE) // RATE


# --- exact values


def test_zero_losses_prove_one_in_ten_thousand_after_29956_packets():
    """The upper bound at zero hits is 1 - 0.05^(1/n): 29,956 clean packets suffice, one less does not."""
    assert st.clopper_pearson(0.0, 29_956) == (0.0, pytest.approx(1 - 0.05 ** (1 / 29_956), rel=1e-12))
    assert st.clopper_pearson(0.0, 29_956)[1] < 1e-4 < st.clopper_pearson(0.0, 29_955)[1]
    clean = np.zeros(29_956, bool)
    interval = st.share_interval(clean, np.arange(29_956) // RATE)
    assert (interval.lo, interval.n_eff, interval.sides) == (0.0, 29_956.0, "one")
    assert interval.hi < 1e-4


def test_the_bounds_are_clopper_and_pearson_s():
    """At the bounds the binomial tail probability is exactly what the confidence leaves."""
    lo, hi = st.clopper_pearson(7 / 500, 500)
    assert binom.sf(6, 500, lo) == pytest.approx(0.05)
    assert binom.cdf(7, 500, hi) == pytest.approx(0.05)


def test_nothing_seen_leaves_everything_open():
    """No packets: from 0 to 1. All lost: the upper bound is 1."""
    nothing = st.share_interval(np.empty(0, bool), np.empty(0, int))
    assert (nothing.lo, nothing.hi, nothing.n_eff) == (0.0, 1.0, 0.0)
    everything = st.share_interval(np.ones(100, bool), np.zeros(100, int))
    assert (everything.lo, everything.hi) == (pytest.approx(0.05 ** (1 / 100)), 1.0)


def test_bursts_count_as_fewer_packets_than_scattered_losses():
    """The same 300 losses in one second or spread over 30: the design effect tells them apart."""
    burst, scattered = np.zeros(30_000, bool), np.zeros(30_000, bool)
    burst[5_000:5_300] = True
    scattered[::100] = True
    wide, narrow = st.share_interval(burst, BLOCK), st.share_interval(scattered, BLOCK)
    assert wide.n_eff < 30_000 / 100 and wide.hi > 4 * narrow.hi
    # Regular losses never count as more than independent ones.
    assert narrow.n_eff == 30_000


def test_one_block_tells_no_spread():
    """Some losses within one second: nobody knows how they hang together, so nothing is concluded."""
    interval = st.share_interval(np.arange(1000) % 10 == 0, np.zeros(1000, int))
    assert (interval.lo, interval.hi, interval.n_eff) == (0.0, 1.0, 0.0)


def test_blocks_must_be_in_order():
    """A block index that decreases is an error of the caller, not a result."""
    with pytest.raises(ValueError, match="must not decrease"):
        st.share_interval(np.zeros(3, bool), np.array([0, 1, 0]))


def test_a_quantile_of_independent_values_is_bounded_by_order_statistics():
    """1..1000, p50: the bounds are the textbook ranks of the binomial."""
    values = np.random.default_rng(2).permutation(np.arange(1, 1001, dtype=float))
    estimate, interval = st.quantile(values, np.arange(1000) // 100, 0.5)
    upper = int(binom.ppf(0.95, 1000, 0.5)) + 1
    assert (estimate, interval.hi, interval.lo) == (500.0, upper, 1001 - upper)


def test_lost_packets_are_the_latest_of_all():
    """2 % lost: p50 is finite, p99 infinite; 0.9 % lost of 1,000: the bound of p99 is infinite, not the estimate."""
    rng = np.random.default_rng(1)
    values = rng.normal(100, 1, 1000)
    values[rng.choice(1000, 9, replace=False)] = np.inf
    block = np.arange(1000) // 50
    estimate, interval = st.quantile(values, block, 0.99)
    assert math.isfinite(estimate) and math.isinf(interval.hi) and math.isfinite(interval.lo)
    values[::50] = np.inf
    estimate, interval = st.quantile(values, block, 0.99)
    assert math.isinf(estimate) and math.isinf(interval.hi)
    assert math.isfinite(st.quantile(values, block, 0.5)[1].hi)


def test_too_few_packets_have_no_upper_bound():
    """p99.9 of 1,000 packets: even the latest of them proves no bound; with 3,000 it does."""
    for n, bounded in ((1000, False), (3000, True)):
        values = np.random.default_rng(3).permutation(np.arange(n, dtype=float))
        assert math.isfinite(st.quantile(values, np.arange(n) // 100, 0.999)[1].hi) is bounded


def test_what_was_not_measured_is_left_out_of_a_quantile():
    """nan is neither early nor late; of nothing there is no quantile."""
    values = np.array([np.nan, 1.0, 2.0, 3.0, np.nan])
    assert st.quantile(values, np.arange(5), 0.5)[0] == 2.0
    with pytest.raises(ValueError, match="no values"):
        st.quantile(np.array([np.nan]), np.array([0]), 0.5)


def test_one_rate_has_no_interval():
    """A single interval of a test says nothing of its spread; none at all is an error."""
    assert st.mean_rate(np.array([1e9])) == (1e9, None)
    with pytest.raises(ValueError, match="no values"):
        st.mean_rate(np.empty(0))


def test_equal_rates_have_an_interval_of_no_width():
    """A shaper's constant rate is known exactly."""
    mean, interval = st.mean_rate(np.full(8, 5e8))
    assert interval is not None and mean == interval.lo == interval.hi == 5e8


@pytest.mark.parametrize(
    ("share", "threshold", "effect", "packets"),
    [(0.0, 1e-4, 1.0, 29_956), (0.0, 1e-4, 2.0, 59_912), (1e-4, 1e-4, 1.0, None), (0.0, 0.0, 1.0, None)],
)
def test_packets_to_decide(share: float, threshold: float, effect: float, packets: int | None):
    """Zero loss against 1e-4 needs 29,956 packets, twice that at a design effect of 2; on the threshold, never."""
    assert st.packets_to_decide(share, threshold, effect) == packets


@pytest.mark.parametrize(("share", "side"), [(0.5e-3, 1), (2e-3, 0)])
def test_so_many_packets_do_decide(share: float, side: int):
    """With the forecast number the bound clears the threshold, from either side."""
    n = st.packets_to_decide(share, 1e-3)
    assert n is not None
    bound = st.clopper_pearson(share, n)[side]
    assert bound < 1e-3 if side else bound > 1e-3


# --- dependence


def test_one_late_burst_bounds_no_percentile():
    """400 packets late in one burst: nobody knows how late the next one is, so p99 has no upper bound."""
    values = np.random.default_rng(47).normal(20, 1, 30_000)
    values[9_000:9_400] += np.linspace(400, 1, 400)
    estimate, interval = st.quantile(values, BLOCK, 0.99)
    assert math.isfinite(estimate) and math.isfinite(interval.lo) and interval.hi == math.inf


def test_the_latest_packet_bounds_what_came_often():
    """Ten clusters of late packets say that the latest is a bound, one says nothing, a lost one forbids it."""
    packets, often, once = np.full(30, 1000), np.zeros(30, int), np.zeros(30, int)
    often[::3], once[9] = 40, 400
    none = np.zeros(30, int)
    assert st.latest_bounds(often, none, packets, 0.01)
    assert not st.latest_bounds(once, none, packets, 0.01)
    assert not st.latest_bounds(often, once, packets, 0.01)


def test_a_noisy_second_and_one_short_stall_leave_a_bound_between_them():
    """A second of noise holds most of the latest 1 %, so the estimate alone bounds nothing; but only six packets of one
    stall were later than that noise, and these are too few to move p99 as far as they came."""
    values = np.random.default_rng(48).normal(20, 1, 30_000)
    values[7_000:7_280] += np.random.default_rng(49).exponential(20, 280)
    values[20_000:20_006] = np.linspace(5_000, 4_000, 6)
    estimate, interval = st.quantile(values, BLOCK, 0.99)
    assert estimate < interval.hi < 1_000


def test_blocks_that_resemble_their_neighbours_count_for_less():
    """The same late seconds say less in a row than one here and one there."""
    hits, packets = np.full(30, 10), np.full(30, 1000)
    hits[10:16] = 60
    scattered = hits[np.random.default_rng(5).permutation(30)]
    assert st.effective_n(hits, packets) < st.effective_n(scattered, packets) / 1.5


def test_a_long_recording_can_show_a_long_memory():
    """Minutes that differ are seen through seconds that do not: an hour of 3,600 blocks is judged by longer ones."""
    rng = np.random.default_rng(6)
    busy = np.repeat(rng.random(60) < 0.3, 60)
    hits = rng.binomial(1000, np.where(busy, 0.02, 0.001))
    assert st.effective_n(hits, np.full(3600, 1000)) < 3_600_000 / 200


def test_a_rate_that_drifts_stands_for_hardly_more_than_one():
    """What changes as slowly as the test is long may change more: few independent values, for the finding to say."""
    _, interval = st.mean_rate(np.linspace(4e8, 5e8, 30))
    assert interval is not None and interval.n_eff is not None and interval.n_eff < st.FEW_RATES
    assert interval.lo < 4e8 and interval.hi > 5e8


def test_mean_rates_cover_what_no_single_lag_shows():
    """A slow drift under independent noise, where the first lag looks harmless: each bound covers >= 90 %."""
    rng = np.random.default_rng(48)
    runs, covered = 800, np.zeros(2)
    for _ in range(runs):
        _, interval = st.mean_rate(ar1(rng, 200, 0.8) + rng.normal(size=200))
        assert interval is not None
        covered += (interval.lo <= 0, interval.hi >= 0)
    assert (covered / runs >= 0.90).all(), covered / runs


def test_independent_mean_rates_stay_narrow():
    """40 independent intervals cost a tenth of width against Student's t in the median, a quarter in the mean."""
    rng = np.random.default_rng(49)
    widths = []
    for _ in range(500):
        values = rng.normal(size=40)
        _, interval = st.mean_rate(values)
        assert interval is not None
        widths.append((interval.hi - interval.lo) / (2 * stdtrit(39, 0.95) * values.std(ddof=1) / math.sqrt(40)))
    assert np.median(widths) <= 1.1 and np.mean(widths) <= 1.25
