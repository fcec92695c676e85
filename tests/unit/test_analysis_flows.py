"""Flow sweeps, simulated: bad and slow members are found with their flows, and sound paths give no alarm."""

from __future__ import annotations

import numpy as np
import pytest

from perfagent.schedule import flow_order
from perfharness.analysis import flows
from perfharness.analysis.statistics import Bools, Floats, Ints

RUNS = 12


def members_of(n: int, count: int, random: np.random.Generator) -> Ints:
    """Which of ``count`` members each of n flows takes."""
    return random.integers(0, count, n)


def lose(rates: Floats, packets: int, random: np.random.Generator) -> tuple[Ints, Ints]:
    sent = np.full(len(rates), packets)
    return random.binomial(sent, rates), sent


@pytest.mark.parametrize(("n", "packets"), [(64, 800), (256, 250)])
@pytest.mark.parametrize("bad", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("usual", [0.0, 0.001])
def test_a_bad_member_of_four_is_found_with_its_flows(n: int, packets: int, bad: float, usual: float) -> None:
    """Of a group of four one loses 1 % or more: it is always found, and its flows are named.

    Few packets of a flow leave some of them in doubt, and then the split says so."""
    named = wrong = hit = 0
    for seed in range(RUNS * 64 // n):
        random = np.random.default_rng(seed)
        member = members_of(n, 4, random)
        lost, sent = lose(np.where(member == 2, bad, usual), packets, random)
        split = flows.split_by_loss(lost, sent, random)
        assert split.found
        _, lo, hi = split.share
        assert lo < (member == 2).mean() < hi
        hit += int((member == 2).sum())
        named += int((split.worse & (member == 2)).sum())
        wrong += int((split.worse & (member != 2) & ~split.doubtful).sum())
    assert named >= (0.93 if packets * bad >= 8 else 0.6) * hit
    assert wrong <= 0.01 * hit


@pytest.mark.parametrize("rate", [0.0, 1e-4, 1e-3, 0.03, 1.0])
@pytest.mark.parametrize("n", [8, 64])
def test_a_sound_group_gives_no_alarm(rate: float, n: int) -> None:
    """Loss that does not ask for the flow is hardly ever taken for a bad member."""
    alarms = 0
    for seed in range(200):
        random = np.random.default_rng([seed, n])
        alarms += flows.split_by_loss(*lose(np.full(n, rate), 800, random), random).found
    assert alarms <= 2  # 0.2 expected


def test_bursts_that_hit_all_flows_give_no_alarm() -> None:
    """Loss in bursts of some packets or of half a second meets all flows alike, because their order is random."""
    alarms = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        flow = np.fromiter(flow_order(64, 200, seed), np.int64)
        lost = np.zeros(len(flow), np.bool_)
        for start, length in zip(random.integers(0, len(flow), 40), random.geometric(1 / 20, 40), strict=True):
            lost[start : start + length] = True
        lost[4000:7000] |= seed % 2 == 0
        split = flows.split_by_loss(np.bincount(flow[lost], minlength=64), np.bincount(flow), random)
        alarms += split.found
    assert alarms <= 1


@pytest.mark.parametrize("rates", [(0.02, 0.02), (1.0, 0.01)])
def test_two_bad_members_are_both_found(rates: tuple[float, float]) -> None:
    """Also when one is dead and the other only loses some."""
    named = hit = 0
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        member = members_of(64, 8, random)
        lost, sent = lose(np.where(member == 1, rates[0], np.where(member == 5, rates[1], 0.0)), 800, random)
        bad = (member == 1) | (member == 5)
        split = flows.split_by_loss(lost, sent, random)
        assert not (split.worse & ~bad & ~split.doubtful).any()
        named, hit = named + int((split.worse & bad).sum()), hit + int(bad.sum())
    assert named >= 0.98 * hit


def test_silence_counts_only_where_a_bad_member_would_have_been_found() -> None:
    """64 flows of 800 packets would show a member that loses 1 %; 64 of 20, or 4 flows, would not."""
    random = np.random.default_rng(1)
    none = np.zeros(64, np.int64)
    assert flows.would_find(none, np.full(64, 800), random)
    assert flows.would_find(none + 1, np.full(64, 800), random)
    assert not flows.would_find(none, np.full(64, 20), random)
    assert not flows.would_find(none[:4], np.full(4, 800), random)


def test_what_the_hosts_may_have_lost_explains_as_much() -> None:
    """A concentration that a host's drops could be is known as such; one that is larger is not."""
    lost, sent = np.zeros(64, np.int64), np.full(64, 800)
    lost[:16] = 10
    split = flows.split_by_loss(lost, sent, np.random.default_rng(1))
    assert flows.explained(lost, sent, split, 160)
    assert not flows.explained(lost, sent, split, 100)


def delays(slow_ns: Floats, rounds: int, random: np.random.Generator) -> tuple[Floats, Ints, Ints]:
    """Raw one-way delays by two clocks: 30 s apart, drifting by 30 µs/s; a common queue, jitter of 20 µs, spikes."""
    n = len(slow_ns)
    turn, flow = np.divmod(np.arange(rounds * n), n)
    common = 3e10 + turn * 0.01 * 3e4 + 2e5 * np.sin(turn / 40) ** 2
    delay = common + slow_ns[flow] + random.gamma(2.0, 2e4, len(flow))
    delay[random.random(len(flow)) < 0.01] += 5e6
    delay[random.random(len(flow)) < 0.01] = np.inf
    return delay, turn, flow


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("n", [64, 256])
def test_a_slow_member_is_found_with_all_its_flows(count: int, n: int) -> None:
    """200 µs more on one member, and not a flow of another is named; the clocks are never compared."""
    for seed in range(5):
        random = np.random.default_rng(seed)
        slow: Bools = members_of(n, count, random) == 0
        found = flows.offsets(*delays(np.where(slow, 2e5, 0.0), 50_000 // n, random), n)
        split = flows.split_by_delay(found)
        assert (split.worse == slow).all()
        step = found.offset[slow].mean() - found.offset[~slow].mean()
        assert step == pytest.approx(2e5, abs=2e4)
        assert flows.would_find_slow(found)


def test_flows_of_equal_delay_give_no_alarm() -> None:
    """Jitter, drift and common queues make no flow slow, however few packets there are."""
    alarms = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        found = flows.offsets(*delays(np.zeros(64), (40, 200)[seed % 2], random), 64)
        alarms += flows.split_by_delay(found).found
    assert alarms <= 1


def test_flows_without_packets_are_not_judged() -> None:
    """A flow of which nothing came has no delay, and counts for no share."""
    random = np.random.default_rng(1)
    delay, turn, flow = delays(np.zeros(16), 200, random)
    delay[flow == 3] = np.inf
    found = flows.offsets(delay, turn, flow, 16)
    assert np.isnan(found.offset[3])
    assert flows.split_by_delay(found).counted.sum() == 15
    assert not flows.would_find_slow(flows.offsets(delay[:160], turn[:160], flow[:160], 16))


def test_the_share_says_which_groups_it_fits() -> None:
    """16 of 64 flows fit one bad member of four, not of two or eight."""
    lost, sent = np.zeros(64, np.int64), np.full(64, 800)
    lost[:16] = 40
    share, lo, hi = flows.split_by_loss(lost, sent, np.random.default_rng(1)).share
    assert share == 0.25
    fewest, most = flows.members(lo, hi) or (0, 0)
    assert 2 < fewest <= 4 <= most < 8
    assert flows.members(0.6, 0.9) is None
