"""Outages against simulated truth: a path that is there or not, probes that leave late, ordinary loss beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from perfharness.analysis import outage
from perfharness.analysis.statistics import Bools, Ints

INTERVAL_NS = 1_000_000
SECOND_NS = 1_000_000_000
RUNS = 300


@dataclass
class Played:
    t_ns: Ints
    lost: Bools


def play(
    down: Sequence[tuple[int, int]],
    random: np.random.Generator,
    seconds: float = 6.0,
    late_ns: float = 30_000.0,
    loss: float = 0.0,
) -> Played:
    """Probes at 1 kHz with a random start and lateness, over a path that is down in these spans."""
    count = round(seconds * SECOND_NS / INTERVAL_NS)
    due = np.arange(count) * INTERVAL_NS + int(random.integers(INTERVAL_NS))
    t_ns = np.maximum.accumulate(due + random.exponential(late_ns, count).astype(np.int64))
    cut = np.zeros(count, np.bool_)
    for begin, end in down:
        cut |= (t_ns >= begin) & (t_ns < end)
    return Played(t_ns, cut | (random.random(count) < loss))


def test_an_outage_agrees_with_the_truth_within_an_interval_and_the_timer_error() -> None:
    """The truth always lies within the bounds, which are two intervals and the lateness apart; both edges are dated."""
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        begin = SECOND_NS + int(random.integers(SECOND_NS))
        length = int(random.integers(4 * INTERVAL_NS, 3 * SECOND_NS))
        seen = play([(begin, begin + length)], random)
        (found,) = outage.find(seen.t_ns, seen.lost, outage.LEAST_RUN)
        assert found.least_ns <= length <= found.most_ns
        assert found.most_ns - found.least_ns < 2 * INTERVAL_NS + 1_000_000
        assert found.begin_ns[0] < begin <= found.begin_ns[1]
        assert found.end_ns[0] < begin + length <= found.end_ns[1]
        assert found.length_ns == pytest.approx(found.lost * INTERVAL_NS, abs=500_000)


def test_ordinary_loss_makes_no_outage_and_hardly_changes_one() -> None:
    """Up to 3 % of independent loss gives no false outage in 300 streams, and hardly lengthens a true one."""
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        share = float(random.choice([0.001, 0.01, 0.03]))
        steady = play([], random, 2.0, loss=share)
        least = outage.ordinary_run([steady.lost], 6000)
        assert outage.find(*_both(play([], random, loss=share)), least) == ()
        seen = play([(2 * SECOND_NS, 2 * SECOND_NS + 300_000_000)], random, loss=share)
        (found,) = outage.find(seen.t_ns, seen.lost, least)
        assert abs(found.length_ns - 300_000_000) <= (2 + 2 * least) * INTERVAL_NS


def _both(played: Played) -> tuple[Ints, Bools]:
    return played.t_ns, played.lost


def test_bursts_before_the_event_are_ordinary_loss() -> None:
    """A path that loses up to ten in a row anyway is not cut off when it does so again."""
    steady = np.zeros(2000, np.bool_)
    steady[500:510] = True
    least = outage.ordinary_run([steady], 6000)
    assert least == 21
    again = np.zeros(6000, np.bool_)
    again[3000:3018] = True
    assert outage.find(np.arange(6000) * INTERVAL_NS, again, least) == ()


def test_a_flap_is_several_outages_and_a_single_probe_ends_none() -> None:
    """Down, up for a while and down again are two; an outage in which now and then a probe comes through is one, and
    the time that it was there is not in its length."""
    seen = play([(10**9, 2 * 10**9), (25 * 10**8, 3 * 10**9)], np.random.default_rng(1))
    first, second = outage.find(seen.t_ns, seen.lost, 3)
    assert first.least_ns <= 10**9 <= first.most_ns and second.least_ns <= 5 * 10**8 <= second.most_ns
    total = outage.total((first, second), 0)
    assert total.lo <= 15 * 10**8 <= total.hi
    lost = np.zeros(100, np.bool_)
    lost[20:80] = True
    lost[[40, 60, 61]] = False
    (one,) = outage.find(np.arange(100) * INTERVAL_NS, lost, 3)
    assert (one.lost, one.returns, one.length_ns) == (57, 2, 57 * INTERVAL_NS)


def test_what_has_no_end_has_no_upper_bound() -> None:
    """A stream that ends in an outage says how long it was at least, one that begins in it does too."""
    lost = np.zeros(100, np.bool_)
    lost[60:] = True
    for each in (lost, lost[::-1]):
        (found,) = outage.find(np.arange(100) * INTERVAL_NS, each, 3)
        assert (found.least_ns, found.most_ns) == (39 * INTERVAL_NS, math.inf)
        assert found.length_ns == found.least_ns


def test_no_outage_is_none_longer_than_could_be_seen() -> None:
    """Where nothing was lost the time is bounded by what ordinary loss hides, and by what the sender left out."""
    t_ns, lost = np.arange(100) * INTERVAL_NS, np.zeros(100, np.bool_)
    assert outage.total((), outage.unseen_ns(t_ns, lost, 3, INTERVAL_NS)) == outage.Bounds(0, 0, 3 * INTERVAL_NS)
    paused = np.append(t_ns[:50], t_ns[50:] + 40 * INTERVAL_NS)
    assert outage.unseen_ns(paused, lost, 3, INTERVAL_NS) == 41 * INTERVAL_NS


def test_what_hosts_may_have_lost_is_no_outage_for_certain() -> None:
    """Their probes are taken off the lower bound, and the upper one stays."""
    seen = play([(10**9, 11 * 10**8)], np.random.default_rng(2))
    found = outage.find(seen.t_ns, seen.lost, 3)
    with_hosts = outage.total(found, 0, 60 * INTERVAL_NS)
    assert with_hosts.lo == pytest.approx(40 * INTERVAL_NS, abs=2 * INTERVAL_NS)
    assert with_hosts.hi == outage.total(found, 0).hi
    assert outage.total(found, 0, 10**9).lo == 0


def test_the_worst_of_several_flows() -> None:
    """Where some flows were cut off and others not, the direction was as badly off as the worst of them."""
    flows = [outage.Bounds(0, 0, 3), outage.Bounds(10, 8, 12), outage.Bounds(9, 5, 13)]
    assert outage.worst(flows) == outage.Bounds(10, 8, 13)


def test_the_clock_may_be_slewed_and_set() -> None:
    """Times are told by the monotonic clock: slewing changes nothing, and what a step leaves open is said."""
    due = np.arange(5000) * INTERVAL_NS + 10**12
    late = np.random.default_rng(3).exponential(20_000, 5000).astype(np.int64)
    unix = 17 * 10**17 - 10**12
    slewed = ((due - due[0]) * 4e-4).astype(np.int64)
    clock = np.stack([due[::1000], due[::1000] + unix + slewed[::1000]], axis=1)
    left, open_ns = outage.sent_ns(due + late + unix + slewed, due, clock)
    assert np.abs(left - due - late).max() < 400_000 and open_ns == 0
    clock[3:, 1] += 50_000_000
    assert outage.sent_ns(due + unix, due, clock)[1] == pytest.approx(50_000_000, rel=0.02)
