"""The model of one direction of the circuit: frames in, frames and their times out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfharness.lab.frames import MAC_BYTES, packet_bytes, popped, pushed, vlan_of
from perfharness.lab.line import Line
from perfharness.lab.linespec import JITTERS, LineSpec, LinkSpec, Loss, Rate
from perfharness.lab.wire import Config
from perfharness.model import Direction

MAC = bytes(range(12))
SEED = 7


def frame(ip_bytes: int = 1500, number: int = 0) -> bytes:
    return MAC + b"\x08\x00" + number.to_bytes(4, "big") + bytes(ip_bytes - 4)


def number_of(sent: bytes) -> int:
    return int.from_bytes(sent[14:18], "big")


def play(
    spec: LineSpec, count: int, interval_ns: int = 1_000_000, seed: int = SEED
) -> tuple[Line, list[tuple[int, bytes]]]:
    """Numbered full-size frames, one each ``interval_ns``; what leaves, in the order of offering."""
    line = Line(spec, seed)
    out = [entry for n in range(count) for entry in offer(line, n * interval_ns, frame(number=n))]
    return line, out


def offer(line: Line, now_ns: int, sent: bytes) -> list[tuple[int, bytes]]:
    return [(passage.release_ns, passage.frame) for passage in line.offer(now_ns, sent)]


def survivors(out: Iterable[tuple[int, bytes]]) -> list[int]:
    return [number_of(sent) for _, sent in out]


def test_a_line_without_impairments_passes_a_frame_untouched_and_at_once() -> None:
    """The default changes nothing."""
    assert offer(Line(LineSpec(), SEED), 5, frame()) == [(5, frame())]


def test_delay_is_added_to_the_time_of_entry() -> None:
    """A constant delay is exactly that."""
    ((release_ns, _),) = offer(Line(LineSpec(delay_ns=2_000_000), SEED), 1_000, frame())
    assert release_ns == 2_001_000


def test_a_shaper_spaces_frames_by_their_tagged_size() -> None:
    """1518 tagged bytes take 12,144 ns at 1 Gbit/s."""
    _, out = play(LineSpec(rate=Rate(10**9), vlan_push=100, vlan_expect=100), 3, interval_ns=0)
    assert [release_ns for release_ns, _ in out] == [12_144, 24_288, 36_432]


def test_the_layer_of_the_meter_counts() -> None:
    """With preamble, gap and FCS the same frame takes 24 bytes longer."""
    _, out = play(LineSpec(rate=Rate(10**9, overhead_bytes=24), vlan_push=100), 1)
    assert out[0][0] == (1518 + 24) * 8


def test_a_shaper_drops_what_would_wait_longer_than_its_queue() -> None:
    """Frames of 12 µs and a queue of 100 µs: the first and those that wait up to 100 µs pass."""
    spec = LineSpec(rate=Rate(8 * 1514 * 10**5, queue_ns=100_000))  # 10 µs a frame
    line, out = play(spec, 20, interval_ns=0)
    assert survivors(out) == list(range(11))
    assert line.dropped["queue"] == 9


def test_a_shaper_loses_nothing_at_exactly_its_rate() -> None:
    """The healthy circuit at 100 % is without loss and without a growing delay."""
    line, out = play(LineSpec(rate=Rate(8 * 1514 * 1000)), 500)
    assert sum(line.dropped.values()) == 0
    assert out[-1][0] - 499 * 1_000_000 == 1_000_000


def test_a_policer_passes_its_bucket_at_once_and_drops_the_rest() -> None:
    """A policer delays nothing: ten frames' worth of tokens are ten frames."""
    line, out = play(LineSpec(rate=Rate(10**6, bucket_bytes=10 * 1514)), 25, interval_ns=0)
    assert out == [(0, frame(number=n)) for n in range(10)]
    assert line.dropped["policer"] == 15


def test_a_policer_earns_tokens_at_its_rate() -> None:
    """Offered twice the rate, every second frame passes."""
    spec = LineSpec(rate=Rate(8 * 1514 * 500, bucket_bytes=1514))
    _, out = play(spec, 1000)
    assert survivors(out) == list(range(0, 1000, 2))


def test_random_loss_has_its_ratio_and_no_memory() -> None:
    """1 % of 100,000 frames, within five standard deviations, and hardly two in a row."""
    line, out = play(LineSpec(loss=Loss(good=0.01)), 100_000)
    assert abs(line.dropped["loss"] - 1000) < 5 * 32
    assert line.dropped["loss"] + len(out) == 100_000
    assert max(burst_lengths(out, 100_000)) <= 4


def test_bursts_have_their_ratio_and_their_mean_length() -> None:
    """Bad state entered with 0.2 % and left with 20 %: bursts of 5, about 1 % lost."""
    spec = LineSpec(loss=Loss(to_bad=0.002, to_good=0.2))
    line, out = play(spec, 200_000)
    lengths = burst_lengths(out, 200_000)
    assert line.dropped["loss"] / 200_000 == pytest.approx(Loss(to_bad=0.002, to_good=0.2).ratio, rel=0.25)
    assert sum(lengths) / len(lengths) == pytest.approx(5, rel=0.25)


def burst_lengths(out: list[tuple[int, bytes]], count: int) -> list[int]:
    arrived = set(survivors(out))
    return [len(list(run)) for lost, run in groupby(range(count), lambda n: n not in arrived) if lost]


def test_the_long_run_ratio_is_told_before() -> None:
    """Random: the good state's; bursts: the share of time in the bad state."""
    assert Loss(good=0.01).ratio == 0.01
    assert Loss(to_bad=0.01, to_good=0.3).ratio == pytest.approx(0.01 / 0.31)
    assert Loss(to_bad=0, to_good=0).ratio == 0


def test_the_same_seed_plays_the_same_again() -> None:
    """And another seed plays something else."""
    spec = LineSpec(loss=Loss(good=0.1), jitter_ns=1_000_000, duplicate=0.1, reorder=0.1)
    assert play(spec, 500)[1] == play(spec, 500)[1]
    assert play(spec, 500)[1] != play(spec, 500, seed=SEED + 1)[1]


@pytest.mark.parametrize("shape", JITTERS)
def test_jitter_keeps_the_order(shape: str) -> None:
    """Frames of 0.1 ms apart under 1 ms of jitter leave in the order they came, never before the delay."""
    _, out = play(LineSpec(delay_ns=10**6, jitter_ns=10**6, jitter=shape), 2000, interval_ns=100_000)
    times = [release_ns for release_ns, _ in out]
    assert times == sorted(times)
    assert all(release_ns >= n * 100_000 + 10**6 for n, release_ns in enumerate(times))


def test_uniform_jitter_stays_within_its_bound() -> None:
    """No frame waits longer than the delay and all of the jitter."""
    _, out = play(LineSpec(jitter_ns=500_000), 2000)
    waits = [release_ns - n * 1_000_000 for n, (release_ns, _) in enumerate(out)]
    assert 0 <= min(waits) < 50_000 < 450_000 < max(waits) <= 500_000


def test_a_frame_held_back_is_overtaken() -> None:
    """Held back 2.5 ms at one frame a millisecond, it leaves after two later ones."""
    spec = LineSpec(reorder=0.02, reorder_ns=2_500_000)
    line, out = play(spec, 1000)
    order = [number_of(sent) for _, sent in sorted(out, key=lambda entry: entry[0])]
    late = {n for i, n in enumerate(order) if any(before > n for before in order[:i])}
    assert 0 < line.held_back == len(late) + sum(n >= 998 for n in held(out))
    assert sorted(order) == list(range(1000))


def held(out: list[tuple[int, bytes]]) -> list[int]:
    return [number_of(sent) for release_ns, sent in out if release_ns > number_of(sent) * 1_000_000]


def test_a_duplicate_leaves_twice() -> None:
    """Both copies are whole, and counted as one that was doubled."""
    line, out = play(LineSpec(duplicate=1.0), 3)
    assert survivors(out) == [0, 0, 1, 1, 2, 2]
    assert line.duplicated == 3


@pytest.mark.parametrize("vlan", [None, 100])
def test_the_mtu_speaks_of_the_ip_packet(vlan: int | None) -> None:
    """1400 bytes pass, 1401 vanish, with or without a tag around them."""
    line = Line(LineSpec(mtu=1400, vlan_push=vlan, vlan_expect=vlan), SEED)
    assert offer(line, 0, frame(1400)) == [(0, frame(1400))]
    assert offer(line, 0, frame(1401)) == []
    assert line.dropped["mtu"] == 1


@pytest.mark.parametrize("vlan", [None, 100])
def test_a_line_that_only_delays_does_as_any_other(vlan: int | None) -> None:
    """Its short cut passes the same frames at the same times with the same counts: untagged, well tagged and badly."""
    plain = LineSpec(delay_ns=5_000, vlan_push=vlan, vlan_expect=vlan)
    longer = replace(plain, mtu=9_000)  # the same, in the long way
    assert plain.only_delays and not longer.only_delays
    lines = [Line(spec, 1) for spec in (plain, longer)]
    sent = [frame(number=0), pushed(frame(number=1), 100), pushed(frame(number=2), 101), frame(number=3)]
    short, long = ([offer(line, 1_000 * i, one) for i, one in enumerate(sent)] for line in lines)
    assert short == long
    told = [line.to_json() | {"line": None, "dropped": line.dropped, "bytes": line.bytes} for line in lines]
    assert told[0] == told[1]


def test_a_tag_that_the_far_end_does_not_expect_goes_nowhere() -> None:
    """Ordered 100, configured 101."""
    line, out = play(LineSpec(vlan_push=101, vlan_expect=100), 10)
    assert out == []
    assert line.dropped["vlan"] == 10


def test_a_frame_keeps_the_tag_it_came_with() -> None:
    """A prober that tags for itself finds out which tag passes."""
    line = Line(LineSpec(vlan_push=101, vlan_expect=100), SEED)
    assert offer(line, 0, pushed(frame(), 100)) == [(0, frame())]
    assert offer(line, 0, pushed(frame(), 99)) == []


def test_a_tag_is_pushed_read_and_popped() -> None:
    """Four bytes more, the packet as long as before; priority bits are not part of the VLAN id."""
    tagged = pushed(frame(), 100)
    assert (len(tagged), vlan_of(tagged), packet_bytes(tagged)) == (MAC_BYTES + 4 + 1500, 100, 1500)
    assert popped(tagged) == frame()
    assert vlan_of(pushed(frame(), 0xE000 | 100)) == 100
    assert vlan_of(frame()) is None


def test_a_fault_ends_when_it_is_taken_away() -> None:
    """A line in a burst of loss passes everything once its loss is gone."""
    line = Line(LineSpec(loss=Loss(to_bad=1.0, to_good=0.0)), SEED)
    assert offer(line, 0, frame()) == []
    line.play(LineSpec(loss=Loss(good=0.0)))
    assert offer(line, 1, frame()) == [(1, frame())]


LINKS = {
    "delay_ns": st.integers(0, 10**7),
    "jitter_ns": st.integers(0, 10**6),
    "jitter": st.sampled_from(JITTERS),
    "loss": st.none() | st.builds(Loss, *[st.floats(0, 1)] * 4),
    "mtu": st.none() | st.integers(68, 1500),
    "cut": st.booleans(),
}
SPECS = st.builds(
    LineSpec,
    **LINKS,
    rate=st.none()
    | st.builds(
        Rate,
        bps=st.integers(10**5, 10**10),
        queue_ns=st.integers(0, 10**8),
        bucket_bytes=st.none() | st.integers(0, 10**5),
    ),
    duplicate=st.floats(0, 1),
    reorder=st.floats(0, 1),
    corrupt=st.floats(0, 1),
    dscp=st.none() | st.integers(0, 63),
    members=st.lists(st.builds(LinkSpec, **LINKS), max_size=3).map(tuple),
    watch_port=st.none() | st.integers(1, 65535),
    vlan_push=st.none() | st.integers(1, 4094),
    vlan_expect=st.none() | st.integers(1, 4094),
)
TRAFFIC = st.lists(st.tuples(st.integers(0, 10**7), st.integers(46, 1500)), max_size=60)


@given(SPECS, TRAFFIC)
def test_every_frame_is_accounted_for(spec: LineSpec, traffic: list[tuple[int, int]]) -> None:
    """What came in and what was doubled left or was dropped by a named cause, and nothing left early."""
    line, now_ns, left = Line(spec, SEED), 0, 0
    for gap_ns, size in traffic:
        now_ns += gap_ns
        out = offer(line, now_ns, frame(size))
        assert all(release_ns >= now_ns + spec.delay_ns for release_ns, _ in out)
        left += len(out)
    assert line.packets == len(traffic)
    assert line.packets + line.duplicated == left + sum(line.dropped.values())


@pytest.mark.parametrize("shape", JITTERS)
def test_jitter_has_the_quantiles_that_it_promises(shape: str) -> None:
    """Of frames far apart, the share within the promised p10, p50 and p99 is that, within five standard deviations."""
    spec = LineSpec(jitter_ns=1_000_000, jitter=shape)
    _, out = play(spec, 20_000, interval_ns=10**9)
    waits = [release_ns % 10**9 for release_ns, _ in out]
    for share in (0.1, 0.5, 0.99):
        within = sum(wait <= spec.jitter_quantile(share) for wait in waits) / len(waits)
        assert abs(within - share) < 5 * (share * (1 - share) / len(waits)) ** 0.5


def test_normal_jitter_is_symmetric_and_bounded() -> None:
    """From nothing to all of it, half of it in the middle."""
    spec = LineSpec(jitter_ns=1_000_000, jitter="normal")
    quantiles = [spec.jitter_quantile(share) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert quantiles == pytest.approx([0, 10**6 - quantiles[3], 500_000, quantiles[3], 10**6], abs=1)


def test_a_line_that_is_cut_passes_nothing() -> None:
    """Told apart from loss."""
    line, out = play(LineSpec(cut=True), 5)
    assert out == []
    assert line.dropped["cut"] == 5


@given(SPECS, SPECS)
def test_the_configuration_survives_its_file(there: LineSpec, back: LineSpec) -> None:
    """What is written for the wire is what it reads."""
    config = Config(1, "ph-a", "ph-z", {Direction.A_Z: there, Direction.Z_A: back})
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"dleay_ns": 1}, TypeError),
        ({"rate": {"bps": 0}}, ValueError),
        ({"loss": {"good": 1.5}}, ValueError),
        ({"duplicate": -0.1}, ValueError),
        ({"delay_ns": -1}, ValueError),
        ({"jitter": "gaussian"}, ValueError),
        ({"dscp": 64}, ValueError),
        ({"corrupt": 1.5}, ValueError),
        ({"members": [{"rate": {"bps": 1}}]}, TypeError),
        ({"members": [{"delay_ns": -1}]}, ValueError),
    ],
)
def test_what_cannot_be_played_is_refused(change: dict[str, Any], error: type[Exception]) -> None:
    """An unknown word or a value out of range never becomes a silent default."""
    with pytest.raises(error):
        LineSpec.from_json({**LineSpec().to_json(), **change})


def test_another_format_version_is_refused() -> None:
    """A configuration of a later wire is not guessed at."""
    config = Config(1, "ph-a", "ph-z", dict.fromkeys(Direction, replace(LineSpec()))).to_json()
    with pytest.raises(ValueError, match="format version 2"):
        Config.from_json({**config, "format_version": 2})
