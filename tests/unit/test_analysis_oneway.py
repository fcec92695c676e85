"""One-way delay against simulated clocks: the true delay always lies within the bound that is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfharness.analysis import clock, delay, oneway
from perfharness.analysis.statistics import Floats, Ints

MS = 1e6
PPM = 1e-6


@dataclass
class Path:
    """n packets, one each millisecond; queues are exponential, with calm moments as on any idle circuit."""

    forward_ns: float = 2.0 * MS
    backward_ns: float = 2.0 * MS
    jitter_ns: float = 0.05 * MS
    n: int = 20_000
    seed: int = 1

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        self.when: Ints = 10**15 + np.arange(self.n) * 1_000_000
        self.t: Floats = (self.when - self.when[0]).astype(float)
        self.forward, self.backward = (
            least + random.exponential(self.jitter_ns, self.n) for least in (self.forward_ns, self.backward_ns)
        )
        self.segment: Ints = np.zeros(self.n, np.int64)

    def seen(self, offset: Floats | float, claim_ns: float | None = None) -> oneway.OneWay:
        """What is made of it when the second clock is ``offset`` ahead."""
        found = oneway.one_way(self.when, self.forward + offset, self.backward - offset, self.segment, claim_ns)
        assert isinstance(found, oneway.OneWay), found
        return found

    def holds(self, found: oneway.OneWay) -> None:
        """Every packet's true delay is within the bound, and both ways make the round trip."""
        measured = np.isfinite(found.forward) & np.isfinite(found.backward)
        assert measured.any()
        slack = found.error_ns + 1.0  # a float of 1e15 ns holds an eighth of one
        pairs = ((found.forward, self.forward), (found.backward, self.backward))
        there, here = (said[measured] - true[measured] for said, true in pairs)
        assert np.abs(there).max() <= slack
        assert np.abs(here).max() <= slack
        assert np.abs(there + here).max() < 1.0


@pytest.mark.parametrize("skew", [-50 * PPM, -1 * PPM, 0.0, 50 * PPM])
@pytest.mark.parametrize("offset", [0.0, 3e9, -4e12])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_free_clocks_leave_half_of_the_least_round_trip(share: float, offset: float, skew: float) -> None:
    """Offset, skew and asymmetry as they may be: the bound holds, and is RTTmin/2 within a twentieth."""
    path = Path(forward_ns=share * 4 * MS, backward_ns=(1 - share) * 4 * MS)
    found = path.seen(offset + skew * path.t)
    path.holds(found)
    assert found.error_ns == pytest.approx(2 * MS, rel=0.05)
    assert found.offsets[0].skew == pytest.approx(skew, abs=0.5 * PPM)
    assert not found.by_claim


def test_synchronised_clocks_leave_their_claim() -> None:
    """Clocks within 100 µs show an asymmetry of 3 ms as it is, skewed or not."""
    path = Path(forward_ns=4 * MS, backward_ns=1 * MS)
    found = path.seen(50_000 * np.sin(path.t / 3e9), claim_ns=100_000)
    path.holds(found)
    assert found.error_ns <= 100_000
    assert found.by_claim
    assert np.median(found.forward) - np.median(found.backward) == pytest.approx(3 * MS, abs=0.2 * MS)


def test_a_claim_wider_than_the_round_trip_says_nothing() -> None:
    """Root distances of 50 ms beside a round trip of 4 ms: the bound is that of causality."""
    path = Path()
    found = path.seen(20 * MS, claim_ns=50 * MS)
    path.holds(found)
    assert found.error_ns == pytest.approx(2 * MS, rel=0.05)
    assert not found.by_claim


def test_a_packet_before_its_time_disproves_the_claim() -> None:
    """More negative than the clocks claim to differ: no figure, and the sentence says both numbers."""
    path = Path()
    said = oneway.one_way(path.when, path.forward - 5 * MS, path.backward + 5 * MS, path.segment, 1 * MS)
    assert isinstance(said, oneway.Unknown) and said.clocks
    assert "1.000 ms that they claim" in said.reason and "before they were sent" in said.reason


DRIFTS: dict[str, Callable[[Floats], Floats]] = {
    "kink": lambda t: np.where(t < 1e10, 20 * PPM * t, 20 * PPM * 1e10 - 30 * PPM * (t - 1e10)),
    "slewed": lambda t: np.clip(500 * PPM * (t - 5e9), 0, 2 * MS),
    "warming up": lambda t: 5 * PPM * t * t / t[-1],
    "wave": lambda t: 0.3 * MS * np.sin(t / 2e9),
}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("drift", DRIFTS)
def test_a_drift_that_changes_widens_the_bound(drift: str, share: float) -> None:
    """A clock that is no straight line in one stretch: the bound grows by what it strays, and holds."""
    path = Path(forward_ns=share * 4 * MS, backward_ns=(1 - share) * 4 * MS)
    path.holds(path.seen(DRIFTS[drift](path.t)))


def test_a_queue_in_one_direction_is_no_drift() -> None:
    """20 ms of queue forward for a quarter of the time is seen as forward delay, although no clock is trusted."""
    path = Path()
    path.forward[5_000:10_000] += 20 * MS
    found = path.seen(7e9 + 10 * PPM * path.t)
    path.holds(found)
    assert found.forward[7_000] - found.error_ns > 15 * MS


@pytest.mark.parametrize("size", [-3.6e12, -5 * MS, 0.5 * MS, 2e9])
def test_a_step_parts_the_stream(size: float) -> None:
    """Before and after a step the offset is another one; packets under way meanwhile have no one-way delay."""
    path = Path()
    path.segment[8_000:] = 1
    path.segment[7_000:8_000] = -1
    found = path.seen(np.where(path.t < 7.5e9, 1e9, 1e9 + size))
    path.holds(found)
    assert np.isnan(found.forward[7_000:8_000]).all()
    assert np.diff([offset.offset_ns for offset in found.offsets]) == pytest.approx(size, abs=0.1 * MS)


def test_lost_stays_lost_and_few_packets_tell_nothing() -> None:
    """A lost packet is infinitely late even while a clock steps; 99 packets without a claim give a sentence."""
    path = Path()
    path.forward[[3, 7_500]] = np.inf
    path.backward[[3, 7_500]] = np.nan
    path.segment[7_000:8_000] = -1
    path.segment[8_000:] = 1
    found = path.seen(0.0)
    assert np.isinf(found.forward[[3, 7_500]]).all()
    assert np.isnan(found.backward[[3, 7_500]]).all()
    few = Path(n=99)
    assert "100 packets" in str(oneway.one_way(few.when, few.forward, few.backward, few.segment, None))
    claimed = few.seen(0.0, claim_ns=0.1 * MS)
    few.holds(claimed)
    assert claimed.error_ns == 0.1 * MS


@settings(max_examples=60, deadline=None)
@given(
    share=st.floats(0, 1),
    skew=st.floats(-100, 100),
    offset=st.floats(-1e12, 1e12),
    kink=st.floats(-20, 20),
    loss=st.floats(0, 0.3),
    claim=st.none() | st.floats(0.01, 3),
    seed=st.integers(0, 1000),
)
def test_the_bound_holds_whatever_the_clocks_do(
    share: float, skew: float, offset: float, kink: float, loss: float, claim: float | None, seed: int
) -> None:
    """Any asymmetry, skew, change of skew and loss; a true claim is never disproved, and never makes it wrong."""
    path = Path(forward_ns=share * 4 * MS, backward_ns=(1 - share) * 4 * MS, n=4_000, seed=seed)
    theta = offset + skew * PPM * path.t + kink * PPM * np.maximum(path.t - path.t[-1] / 2, 0)
    if claim is not None:
        theta = np.clip(theta, -claim * MS, claim * MS)
    lost = np.random.default_rng(seed).random(path.n) < loss
    path.forward[lost], path.backward[lost] = np.inf, np.nan
    found = path.seen(theta, None if claim is None else claim * MS)
    path.holds(found)


def test_skew_is_the_line_under_all_packets() -> None:
    """Moon's line: from a hull of many packets, exact although only its least packets lie on it."""
    path = Path(n=50_000, jitter_ns=0.5 * MS)
    assert oneway.skew(path.t, path.forward + 37 * PPM * path.t) == pytest.approx(37 * PPM, abs=0.05 * PPM)
    assert oneway.skew(path.t[:1], path.forward[:1]) is None


@pytest.mark.parametrize("shape", ["noise", "valley", "hill", "line", "steps"])
def test_the_hull_is_that_of_all_points(shape: str) -> None:
    """No line through two points that is under all of them is higher at their mean time, whatever they look like."""
    x = np.arange(300) * 1e6
    bent = (x / 1e8 - 1.5) ** 2
    noise = np.random.default_rng(5).exponential(1e4, 300)
    y = {"noise": noise, "valley": bent, "hill": -bent, "line": 3 * x, "steps": np.arange(300) // 7 % 3 * 1.0}[shape]
    slope = oneway.skew(x, y)
    assert slope is not None
    mean = float(x.mean())
    lines = ((y[b] - y[a]) / (x[b] - x[a]) for a in range(150) for b in range(150, 300))
    heights = [float((y - line * (x - mean)).min()) for line in {slope, *lines}]
    assert float((y - slope * (x - mean)).min()) >= max(heights) - 1e-9 * float(np.ptp(y))


def test_ipdv_is_signed_and_needs_two_neighbours() -> None:
    """No variation of the first packet, of a lost one, nor of the one after it."""
    found = delay.ipdv(np.array([5.0, 7.0, np.inf, 4.0, 1.0, np.nan, 2.0]))
    np.testing.assert_array_equal(found, [np.nan, 2.0, np.nan, np.nan, -3.0, np.nan, np.nan])


def readings(*moved: tuple[int, int], ahead: int = 0, seconds: int = 60) -> Ints:
    """(k, 2) of a clock read each second of its own CLOCK_MONOTONIC; ``moved``: (at which second, by ns)."""
    mono = np.arange(seconds) * 10**9 + ahead
    unix = mono + 1_795_375_000 * 10**9
    for second, size in moved:
        unix[second:] += size
    return np.stack((mono, unix), axis=1)


@pytest.mark.parametrize("size", [-20 * 10**9, -(10**9), -(10**6), 10**6, 3_600 * 10**9])
@pytest.mark.parametrize("second", [12, 30, 48])
def test_a_step_of_the_reflector_is_found_in_the_senders_time(second: int, size: int) -> None:
    """The two hosts' CLOCK_MONOTONIC have nothing to do with one another: arrivals lead from one to the other."""
    ahead = 77_000_000_000_000
    due = 10**9 * 5 + np.arange(50_000) * 1_000_000
    z = readings((second, size), ahead=ahead)
    t2 = due + 2_000_000 + 1_795_375_000 * 10**9 + ahead
    t2[due >= second * 10**9 - 500_000_000] += size
    (step,) = clock.steps_abroad(z, t2, due)
    assert step.size_ns == size
    assert step.after_ns == pytest.approx((second - 1) * 10**9, abs=3_000_000)
    parted = clock.segments(due, [step])
    assert (parted[due < (second - 4) * 10**9] == 0).all()
    assert (parted[due > (second + 1) * 10**9] == 1).all()
    assert (parted[(due > (second - 1) * 10**9) & (due < second * 10**9 - 3_000_000)] == -1).all()


GOOD = {"source": "chrony", "synchronised": True, "root_distance_ns": 400_000, "reference": "192.0.2.1"}


def test_a_claim_is_the_worst_state_and_what_may_happen_between_two() -> None:
    """The largest root distance, and 15 ppm of the longest time in which nobody asked."""
    states = [(0, GOOD), (10**10, {**GOOD, "root_distance_ns": 500_000}), (2 * 10**10, GOOD)]
    assert clock.claim(states, readings(seconds=20)).error_ns == 500_000 + 150_000


@pytest.mark.parametrize(
    ("last", "read", "words"),
    [
        (GOOD, readings(seconds=12), "from before the packets to after them"),
        (GOOD, readings(ahead=-1), "from before the packets to after them"),
        (GOOD, readings(seconds=0), "from before the packets to after them"),
        ({**GOOD, "root_distance_ns": None, "reason": "no bound"}, readings(seconds=10), "no bound"),
        ({**GOOD, "synchronised": False}, readings(seconds=10), "not synchronised"),
        ({**GOOD, "source": "ntpd"}, readings(seconds=10), "another daemon"),
        (GOOD, readings((5, -2_000_000), seconds=10), "was set by 2.000 ms"),
    ],
)
def test_a_claim_that_is_not_whole_is_none(last: dict[str, object], read: Ints, words: str) -> None:
    """Once unsynchronised, without a bound, by another daemon, not all the time, or set by more than it claimed."""
    found = clock.claim([(0, GOOD), (10**10, last)], read)
    assert found.error_ns is None
    assert words in found.reason


@pytest.mark.parametrize(
    ("address", "interface", "word"),
    [
        ("192.168.10.10", "eth0", "yes"),
        ("10.10.0.1", "eth0", "no"),
        ("100.100.5.1", "eth0", "perhaps"),
        ("100.100.5.1", "eth1", "no"),
        ("2001:db8::1", "eth0", "perhaps"),
        ("10.10.99.7", "eth0", "yes"),
        (None, "", "no"),
    ],
)
def test_a_reference_behind_the_circuit_is_seen(address: str | None, interface: str, word: str) -> None:
    """By the longest prefix of either side that holds its address, else by the interface that leads to it."""
    state = {**GOOD, "address": address, "route": {"interface": interface}}
    near, far = ["10.10.0.0/16"], ["192.168.0.0/16", "10.10.99.0/24"]
    assert clock.through([state], "eth0", near, far) == word
    assert clock.through([{**state, "route": None, "address": "8.8.8.8"}], "eth0", near, far) == "unknown"
    assert clock.through([], "eth0", near, far) == "unknown"


def test_over_minutes_each_has_a_line_of_its_own() -> None:
    """Clocks that wander by milliseconds in ten minutes leave no more open than half of the least round trip."""
    path = Path(n=60_000)
    path.when = 10**15 + np.arange(path.n) * 10_000_000
    path.t = (path.when - path.when[0]).astype(float)
    found = path.seen(3 * MS * np.sin(path.t / 200e9))
    path.holds(found)
    assert len(found.offsets) > 5
    assert found.error_ns < 2.6 * MS
