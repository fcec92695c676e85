"""The sections on how packets were lost and on changes of the path, and the prober's own error."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perfharness.analysis import sampled, summary
from perfharness.model import Direction, Measurement, Observation, Series
from perfharness.report import charts, drawing, shares
from perfharness.report.html import render
from tests.unit import run_builder
from tests.unit.job_files import find, store, task_of
from tests.unit.measurement_builder import measurements
from tests.unit.probe_stream import START_UNIX_NS, Packet

START_NS = START_UNIX_NS
INTERVAL_NS = 20_000_000
WAYS = (Direction.A_Z, Direction.Z_A)


def page(*found: Measurement) -> str:
    """The report of these measurements, as plain text."""
    made = replace(run_builder.passing(), measurements=found)
    html = render(made, run_builder.circuit(), run_builder.scenario())
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("\u00a0", " ")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Measurement:
    """A minute with a reroute on the way there and, every 2 s, three packets in a row lost on the way back."""
    packets = [
        Packet(seq, forward_ns=10_000_000 + 2_000_000 * (seq >= 1_500), ttls=(250 - 2 * (seq >= 1_500), 252))
        for seq in range(3_000)
    ]
    for packet in packets:
        if packet.seq % 100 in (40, 41, 42):
            packet.backward_ns = None
    task = task_of("latency", duration="60s", interval="20ms", dscp=46)
    seen = ({"184": 2_000, "0": 1_000}, {"184": 2_000, "0": 910})
    return store(
        tmp_path_factory.mktemp("run"),
        task,
        packets,
        interval_ns=INTERVAL_NS,
        said={"tos_seen": seen[1]},
        reflected={"tos_seen": seen[0]},
    )


def test_how_losses_come_is_told_in_words_and_figures(told: Measurement) -> None:
    """Bursts, their mean against chance, the period, and that the other direction lost nothing."""
    text = page(told)
    assert "Cloud → on-prem: losses come in bursts, 3.0 packets in a row on average, 3 at most (90 of 3,000)" in text
    assert "They recur every 2 s, 30 times" in text
    runs = told.facts["loss_runs"]["z-a"]
    assert (runs["periods"], runs["apart"], runs["begins"]) == (30, 98, pytest.approx(30 / 2_910))
    assert runs["ends"] == pytest.approx(1 / 3)
    assert "a-z" not in told.facts["loss_runs"]


def test_a_reroute_has_its_time_its_size_its_direction_and_its_ttl(told: Measurement) -> None:
    """The moment in UTC, what each way gained, and the two TTLs with their packets."""
    (step,) = told.facts["delay_steps"]
    assert step["at_ns"] == START_NS + 30 * 10**9
    assert step["parts_ns"] == {"a-z": pytest.approx(2e6), "z-a": pytest.approx(0, abs=1)}
    assert told.facts["ttl"]["a-z"] == {
        "seen": {"248": 1_500, "250": 1_500},
        "changes": 1,
        "runs": [[0, 250, 1_500], [30 * 10**9, 248, 1_500]],
    }
    text = page(told)
    assert "The least delay changed once and stayed so; the TTL on arrival changed: packets took another path." in text
    assert "+2.000 ms +2.000 ms unchanged" in text
    assert "2026-11-22 19:18:28 248 1,500" in text


def test_a_mark_changed_on_the_way_there_is_not_charged_to_the_way_back(told: Measurement) -> None:
    """A reply leaves with what its probe brought."""
    marks = told.facts["marks"]
    assert (marks["a-z"]["remarked"], marks["z-a"]["remarked"]) == (1_000, 0)
    assert "On-prem → cloud: 1,000 of 3,000 packets came with DSCP 0 instead of 46." in page(told)


def test_the_prober_s_own_error_is_told(told: Measurement) -> None:
    """Schedule kept, timer error, who took the stamps."""
    assert "3,000 of 3,000 0.020 ms 0.020 ms 0.020 ms kernel/kernel" in page(told)


def test_a_run_without_a_stream_says_what_it_lacks() -> None:
    """Absent is said, in each of the three places."""
    text = page()
    for words in ("No probe stream was measured by itself.", "watched for changes of its path", "how exact it was"):
        assert words in text, words


def test_a_run_too_long_to_hold_has_one_way_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made of runs of its packets, they are about those of all, and say of how many."""
    random = np.random.default_rng(1)
    packets = [
        Packet(
            seq,
            forward_ns=None if seq % 500 == 7 else int(1e7 + random.exponential(4e5)),
            backward_ns=int(1.2e7 + random.exponential(4e5)),
            offset_ns=100_000 + seq // 4,
        )
        for seq in range(6_000)
    ]
    task = task_of("latency", duration="6s")
    held = store(tmp_path / "held", task, packets, root_distances_ns=(200_000, 200_000))
    monkeypatch.setattr(summary, "MOST_HELD", 2_000)
    monkeypatch.setattr(sampled, "SPARSER", 1)
    some = store(tmp_path / "some", task, packets, root_distances_ns=(200_000, 200_000))
    assert some.facts["oneway"]["error_ns"] == pytest.approx(held.facts["oneway"]["error_ns"], rel=0.1)
    for metric, statistic in (("delay.oneway", "p50"), ("delay.oneway", "p99"), ("variation.ipdv", "p99")):
        for way in WAYS:
            one, other = (find(found, metric, statistic, way) for found in (held, some))
            assert isinstance(one.value, float) and other.interval
            assert 0.3 * one.n < other.n < 0.4 * one.n
            assert other.value == pytest.approx(one.value, rel=0.25)
            assert other.interval.lo <= one.value <= other.interval.hi
    assert "of the 6,000 packets." in find(some, "delay.oneway", "p50", WAYS[0]).reason


def test_a_distribution_says_what_was_lost() -> None:
    """The level line at the share that never came is labelled, to the digit; without loss there is none."""
    x, y = np.linspace(1e6, 2e6, 50), np.linspace(1, 0.00118, 50)
    lossy, whole = (Series("RTT", x, share, "1", "ccdf", x_unit="ns") for share in (y, y - y[-1]))
    assert "0.118 % lost" in shares.distributions([drawing.Line(lossy, "idle path")], 5e6, "a")
    assert "% lost" not in shares.distributions([drawing.Line(whole, "idle path")], 5e6, "b")


def test_numbers_that_are_read_are_not_shortened() -> None:
    """Coordinates lose digits, an objective of 0.125 ms does not."""
    x, y = np.linspace(1e5, 2e5, 50), np.linspace(1, 0.01, 50)
    line = drawing.Line(Series("RTT", x, y, "1", "ccdf", x_unit="ns"), "idle path")
    assert "objective 0.125 ms (p99)" in shares.distributions([line], 125_000.0, "c")


def test_pictures_over_time_are_in_utc() -> None:
    """Ticks are whole steps of the clock on the wall, with the day."""
    x = np.linspace(0, 60, 500)
    drawn = charts.delays(Series("RTT", x, 1e6 + x, "ns", "delay", Direction.ROUND_TRIP, START_NS), [], None, "d")
    assert "19:18:00" in drawn and "UTC, 2026-11-22" in drawn


def test_marks_take_their_colour_from_where_they_are_used() -> None:
    """A colour inside a shared mark could not be overridden on a dark page."""
    lost = Series("lost", np.array([3.0]), np.array([2.0]), "packets", "loss", Direction.Z_A, START_NS)
    drawn = str(charts.delays(replace(lost, y=lost.y * 1e6, unit="ns", kind="delay"), [lost], None, "e"))
    shared = re.findall(r'<path id="m[^>]*>', drawn)
    assert shared and not [mark for mark in shared if "style" in mark]
    assert f"stroke: {drawing.LOST}" in drawn


def test_what_the_hosts_lost_is_said_where_losses_are_told(tmp_path: Path) -> None:
    """A pattern of losses that a host made is not left to be read as the circuit's."""
    packets = [Packet(seq, forward_ns=None if seq % 100 < 5 else 10_000_000) for seq in range(2_000)]
    found = store(tmp_path, task_of("latency", duration="2s"), packets, drops=100)
    assert "The hosts themselves lost 100 of these." in page(found)


def test_curves_that_lost_the_same_share_one_label() -> None:
    """Two lines upon one another have one label; two apart have two."""
    x = np.linspace(1e6, 2e6, 50)
    lines = [
        drawing.Line(Series("RTT", x, np.linspace(1, lost, 50), "1", "ccdf", x_unit="ns"), str(lost))
        for lost in (4e-4, 4e-4, 0.02)
    ]
    drawn = str(shares.distributions(lines, None, "f"))
    assert (drawn.count("0.04 % lost"), drawn.count("2 % lost")) == (1, 1)


def test_the_path_says_who_rejects_what_is_open_and_which_way_it_goes() -> None:
    """Ports by who said no, undeclared and forbidden ones, flows that part, classes as they came, both ways' link."""
    (plain,) = (each for each in measurements(1.0) if each.task.id == "path-a-z")
    told = plain.facts["a-z"]
    rejected = {"tcp/5203": {"from": "172.16.100.1", "said": "admin prohibited", "segment": "cloud-edge"}}
    another = [{"ttl": 1, "answers": [{"address": "10.10.0.2", "rtt_ns": 1}]}]
    facts = {
        **told,
        "ports": {"tcp": {"5201": "open", "5203": "rejected"}, "udp": {}},
        "errors": rejected,
        "undeclared": {"tcp": {"23": "refused", "3389": "open"}, "udp": {}},
        "forbidden": {"ecs-a tcp/3306": "silent"},
        "hops": {**told["hops"], "others": [{"hops": another, "reached": False}]},
        "arrived": {"tcp": {}, "udp": {"862": 4}},
    }
    classes = {"a-z": {"sent": {"46": 20}, "came": {"46": {"0": 19}}}}
    same = Observation("path", "symmetric", plain.task.scope, "", True, 1, reason="Both directions cross link A.")
    said = {"a-z": facts, "classes": classes, "unreachable": "The far host did not answer."}
    text = page(replace(plain, facts=said, observations=(same,)))
    assert "1 open; rejected by 172.16.100.1, admin prohibited: tcp/5203" in text
    assert "open: tcp/3389; 1 refused" in text
    assert "ecs-a tcp/3306 silent" in text
    assert "2 flows: hop 1 also 10.10.0.2" in text
    assert "4 packets seen by the far host" in text
    assert "19 came with BE, of 20" in text
    assert "Both directions cross link A." in text
