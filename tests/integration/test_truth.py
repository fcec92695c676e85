"""The figures of a probe stream against the truth of the wire that it crossed. Needs root.

The jobs are those of a run, and so is the way from their files to the figures.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from perfharness.analysis import delay, loss
from perfharness.analysis.statistics import Floats
from perfharness.lab.linespec import LineSpec, Loss
from perfharness.lab.wire import DIRECTIONS
from perfharness.model import Direction, Segment
from tests.integration.streams import Found, Lines, Streams
from tests.integration.wires import Wired

A_Z, Z_A = DIRECTIONS
MS = 1_000_000
EF, CS1 = 46, 8
CONSTANT_NS = 30_000
"""How far a median may be from the truth, a run without delay subtracted."""
ATTEMPTS = 5
"""One must be that near: in the others the machine itself may have grown slower, which the wire cannot know."""
JITTER = 0.05
PACED = {"interval": "1300us", "duration": "1500ms"}
"""No delay is a multiple of it: a packet that leaves the wire as the next one enters holds that up."""
RANDOM = LineSpec(loss=Loss(good=0.01))
BURSTS = LineSpec(loss=Loss(to_bad=0.02, to_good=0.3))


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streams]:
    """Over one wire for all tests of this file."""
    with Wired({way: LineSpec() for way in DIRECTIONS}, "truth") as wire:
        yield Streams(wire, tmp_path_factory.mktemp("truth"))


def one_way_ns(found: Found, way: Direction) -> Floats:
    """(n,) both ends read the same clock here."""
    raw = delay.one_way_raw_ns(found.samples, way)
    return raw[np.isfinite(raw)]


def added_ns(found: Found, way: Direction) -> float:
    """The median of what the wire added to each packet, the spec's delay and its own lateness."""
    times = found.times(way)
    assert times["nominal_ns"]["min"] == times["nominal_ns"]["max"], "a constant delay"
    return float(times["nominal_ns"]["min"] + times["lateness_ns"]["p50"])


def errors_ns(found: Found, undelayed: Found) -> list[float]:
    """How far each median is from what the wire says it added to it: the round trip, both ways, the IPDV of both."""
    told = {way: added_ns(found, way) - added_ns(undelayed, way) for way in DIRECTIONS}
    grown = found.value("delay.rtt", "p50") - undelayed.value("delay.rtt", "p50")
    errors = [grown - sum(told.values())]
    for way in DIRECTIONS:
        before, after = one_way_ns(undelayed, way), one_way_ns(found, way)
        errors += [float(np.median(after) - np.median(before)) - told[way], float(np.nanmedian(delay.ipdv(after)))]
    return errors


@pytest.mark.parametrize(("there_ms", "back_ms"), [(1, 1), (5, 5), (20, 20), (1, 3)])
def test_a_constant_delay_is_measured(streams: Streams, there_ms: int, back_ms: int) -> None:
    """The median round trip grows by both delays, that of each direction by its own, and packets come as evenly."""
    lines = {way: LineSpec(delay_ns=ms * MS) for way, ms in {A_Z: there_ms, Z_A: back_ms}.items()}
    for _ in range(ATTEMPTS):
        undelayed, found = streams.timed({}, **PACED), streams.timed(lines, **PACED)
        errors = errors_ns(found, undelayed)
        within_ns = CONSTANT_NS + found.blur_ns("p50") + undelayed.blur_ns("p50")
        if max(map(abs, errors)) <= within_ns:
            break
    assert errors == pytest.approx([0.0] * len(errors), abs=within_ns)


@pytest.mark.parametrize(("way", "jitter"), [(A_Z, "uniform"), (Z_A, "exponential"), (A_Z, "normal")])
def test_the_tail_of_jitter_is_measured(streams: Streams, way: Direction, jitter: str) -> None:
    """The 99th percentile of the delay variation is that of what the wire added, whatever its shape."""
    line = LineSpec(delay_ns=2 * MS, jitter_ns=(2 if jitter == "exponential" else 8) * MS, jitter=jitter)
    for _ in range(ATTEMPTS):
        found = streams.timed({way: line}, duration="2s")
        added = found.times(way)["delay_ns"]
        tail = added["p99"] - added["min"]
        expected = pytest.approx(tail, abs=JITTER * tail + found.blur_ns("p99"))
        if found.value("variation.pdv", "p99") == expected:
            break
    assert found.value("variation.pdv", "p99") == expected


@pytest.mark.parametrize("lines", [{A_Z: RANDOM, Z_A: BURSTS}, {A_Z: BURSTS, Z_A: RANDOM}])
def test_loss_is_that_of_the_wire_to_the_packet(streams: Streams, lines: Lines) -> None:
    """Each lost packet is booked in the direction in which the wire dropped it, and each burst has its length."""
    found = streams.send(lines, duration="2s")
    for way in DIRECTIONS:
        dropped, lost = found.befell(way, "dropped"), found.lost(way)
        assert lost.seq[lost.lost].tolist() == dropped
        assert found.value("loss", "ratio", way) == len(dropped) / len(found.entered(way)) > 0
        lengths = Counter(loss.periods(lost.lost)[0].tolist())
        assert {str(length): lengths[length] for length in lengths} == found.flows[way]["loss_runs"]
        assert lines[way] is RANDOM or max(lengths) > 2


def test_a_tail_that_is_lost_is_counted(streams: Streams) -> None:
    """Both directions are cut for good, one after the other, before the stream ends."""

    def cut(wire: Wired, lines: Lines) -> None:
        for way in (Z_A, A_Z):
            time.sleep(0.3)
            wire.tune({way: LineSpec(watch_port=lines[way].watch_port, cut=True)})

    found = streams.send({}, cut, duration="1s")
    for way in DIRECTIONS:
        lost = found.lost(way)
        assert lost.seq[lost.lost].tolist() == found.befell(way, "dropped")
        assert lost.lost[-1] and not lost.lost[0]


def test_packets_that_overtook_others_are_counted(streams: Streams) -> None:
    """As many are reordered as left the wire after a later one, in each direction, and only such as it held back."""
    line = LineSpec(reorder=0.05, reorder_ns=4 * MS)
    found = streams.send(dict.fromkeys(DIRECTIONS, line), duration="1s")
    samples = found.samples
    for way in DIRECTIONS:
        seen = found.figure("reordering", "ratio", way)
        overtaken = found.flows[way]["overtaken"]
        assert seen.value == overtaken / seen.n > 0
    late = samples.arrivals[loss.reordered(samples.arrivals)]
    assert set(late.tolist()) <= set(found.befell(A_Z, "held_back"))


def test_duplicates_are_told_to_the_packet(streams: Streams) -> None:
    """A probe that was doubled on its way there is answered twice, and each answer may be doubled again."""
    found = streams.send(dict.fromkeys(DIRECTIONS, LineSpec(duplicate=0.05)), duration="1s")
    twice = sorted(record.seq for record in found.records("a", "duplicates.rec"))
    doubled = sorted(found.befell(A_Z, "duplicated") + found.befell(Z_A, "duplicated"))
    assert twice == doubled != []
    seen = found.figure("duplication", "ratio", Direction.ROUND_TRIP)
    assert seen.value == len(doubled) / seen.n
    assert [found.value("loss", "ratio", way) for way in DIRECTIONS] == [0, 0]
    assert [found.value("reordering", "ratio", way) for way in DIRECTIONS] == [0, 0]


@pytest.mark.parametrize("size", [64, 1400])
def test_corrupted_packets_are_lost_on_the_way(streams: Streams, size: int) -> None:
    """The receiving kernel throws them away, small ones at once and others at the socket, but no host is to blame."""
    found = streams.send(dict.fromkeys(DIRECTIONS, LineSpec(corrupt=0.02)), duration="1s", packet=size)
    for way in DIRECTIONS:
        lost, corrupted = found.lost(way), found.befell(way, "corrupted")
        assert lost.seq[lost.lost].tolist() == corrupted != []
        assert found.value("loss", "ratio", way) == len(corrupted) / len(found.entered(way))
    missing = [row for row in found.measurement.ledger if row.missing]  # not what a busy sender left out
    assert not any(row.packets_hi for row in missing if row.segment is not Segment.BETWEEN)


@pytest.mark.parametrize("way", DIRECTIONS)
def test_a_changed_class_is_seen_where_it_arrives(streams: Streams, way: Direction) -> None:
    """Sent as EF and remarked: the reflector answers in the class that reached it."""
    found = streams.send({way: LineSpec(dscp=CS1)}, duration="1s", dscp=EF)
    there, back = (each["tos_seen"] for each in (found.probe.reflected, found.probe.sent))
    assert list(there) == [str((CS1 if way is A_Z else EF) << 2)]
    assert list(back) == [str(CS1 << 2)]
