"""Several classes of service, and sizes, in one stream: each is judged by its own packets."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfharness.analysis.capacity import counted_bytes
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.judge import judge
from perfharness.model import Direction, Layer, Measurement, Observation, Task, Verdict
from perfharness.order.scenario import Scenario, load_scenario
from perfharness.report import words
from perfharness.report.html import render
from tests.unit import run_builder
from tests.unit.job_files import CIRCUIT, store, task_of
from tests.unit.probe_stream import Packet

A_Z, Z_A, BOTH = Direction.A_Z, Direction.Z_A, Direction.ROUND_TRIP
CLASSES = ["EF", "AF41", "BE"]
EF, AF41 = 46 << 2, 34 << 2
COUNT = 9000
SENDER: dict[str, Any] = {
    "duplicates": 5,
    "duplicates_by_class": [0, 5, 0],
    "tos_by_class": [{str(EF): 3000}, {"0": 3000}, {"0": 3000}],
}
REFLECTOR: dict[str, Any] = {"tos_by_class": [{str(EF): 3000}, {"0": 3000}, {"0": 3000}]}


def stream(**params: Any) -> Task:
    return task_of("latency", **{"classes": CLASSES, "interval": "3ms", "duration": "9s", **params})


def analysed(tmp_path: Path, packets: list[Packet], task: Task | None = None, **more: Any) -> Measurement:
    return store(tmp_path, task or stream(), packets, said=SENDER, reflected=REFLECTOR, **more)


def figure(found: Measurement, metric: str, statistic: str, way: Direction, service: str) -> Observation:
    (seen,) = (
        each
        for each in found.observations
        if (each.metric, each.statistic, each.scope.direction, each.scope.service) == (metric, statistic, way, service)
    )
    return seen


def value(found: Measurement, metric: str, statistic: str, way: Direction, service: str) -> float:
    said = figure(found, metric, statistic, way, service).value
    assert isinstance(said, int | float)
    return float(said)


def test_classes_take_turns_and_so_do_their_sizes() -> None:
    """Each class has a packet every interval and each size in turn; the load is that of all of them."""
    task = stream(packet=["100B", "1400B"])
    sender, reflector = (
        next(job.args for job in task.jobs if job.method == each) for each in ("stamp.send", "stamp.reflect")
    )
    assert (sender["dscp"], sender["interval_ns"], sender["count"]) == ([46, 34, 0], 1_000_000, COUNT)
    assert sender["packet_bytes"] == [100] * 3 + [1400] * 3
    assert (reflector["classes"], reflector["stateless"]) == (3, True)
    mean = sum(counted_bytes(size + 28, Layer.L2, tagged=True) for size in (100, 1400)) / 2
    assert task.load_bps == pytest.approx(mean * 8 * 1000)
    assert task.services == ("EF", "AF41", "BE") and task.scope.frame_bytes is None


def test_a_stream_of_one_class_is_as_before() -> None:
    """One size and one DSCP are plain numbers; best effort alone has no name, another class has."""
    plain, marked = task_of("latency"), task_of("latency", dscp="EF")
    args = next(job.args for job in plain.jobs if job.method == "stamp.send")
    assert (args["dscp"], args["packet_bytes"], plain.services, plain.scope.service) == (0, 64, ("",), "")
    assert (marked.services, marked.scope.service, marked.scope.frame_bytes) == (("EF",), "EF", 106)


def test_each_class_has_its_own_loss_delay_and_marks(tmp_path: Path) -> None:
    """EF loses 2 % there, AF41 comes 5 ms later and remarked, BE is clean: nothing is said of the wrong one."""
    packets = [
        Packet(
            seq,
            forward_ns=None if seq % 3 == 0 and seq // 3 % 50 == 7 else 15_000_000 if seq % 3 == 1 else 10_000_000,
        )
        for seq in range(COUNT)
    ]
    found = analysed(tmp_path, packets)
    losses = {service: value(found, "loss", "ratio", A_Z, service) for service in CLASSES}
    assert losses == {"EF": pytest.approx(0.02), "AF41": 0, "BE": 0}
    assert figure(found, "loss", "ratio", A_Z, "EF").n == 3000
    trips = {service: value(found, "delay.rtt", "p50", BOTH, service) for service in CLASSES}
    assert trips["AF41"] - trips["BE"] == pytest.approx(5e6, abs=2)
    later = [value(found, "delay.oneway", "p50", A_Z, service) for service in ("AF41", "BE")]
    assert later[0] - later[1] == pytest.approx(5e6, abs=2)
    assert value(found, "variation.pdv", "p99", BOTH, "AF41") < 1e6
    kept = {service: figure(found, "dscp", "preserved", A_Z, service).value for service in CLASSES}
    assert kept == {"EF": True, "AF41": False, "BE": True}
    assert (
        "3,000 of 3,000 packets a-z came with BE instead of AF41"
        in figure(found, "dscp", "preserved", A_Z, "AF41").reason
    )
    back = {service: figure(found, "dscp", "preserved", Z_A, service).value for service in CLASSES}
    assert back == {"EF": True, "AF41": True, "BE": True}, "the way back carried what it was given"
    twice = [value(found, "duplication", "ratio", BOTH, service) for service in CLASSES]
    assert twice == [0, pytest.approx(5 / 3000), 0]
    remarked = {service: found.facts["classes"][service]["marks"]["a-z"]["remarked"] for service in CLASSES}
    assert remarked == {"EF": 0, "AF41": 3000, "BE": 0}


def test_what_overtakes_in_another_class_reorders_nothing(tmp_path: Path) -> None:
    """EF packets pass those of BE that left before them: no class is reordered in itself."""
    packets = [Packet(seq, forward_ns=10_000_000 + (seq % 3) * 2_500_000) for seq in range(COUNT)]
    found = analysed(tmp_path, packets)
    for way in (A_Z, Z_A):
        assert [value(found, "reordering", "ratio", way, service) for service in CLASSES] == [0, 0, 0]


def test_a_host_excuses_each_loss_once(tmp_path: Path) -> None:
    """EF lost 60 and BE 30, and the socket dropped 40: neither class can have lost all 40 there for certain."""
    lost = {0: 50, 2: 100}
    packets = [
        Packet(seq, forward_ns=None if seq % 3 in lost and seq // 3 % lost[seq % 3] == 7 else 10_000_000)
        for seq in range(COUNT)
    ]
    found = analysed(tmp_path, packets, drops=40)
    ranges = {service: figure(found, "loss", "ratio", A_Z, service).reason for service in CLASSES}
    assert ranges["EF"].endswith("the hosts lost 10 to 40 of them.")
    assert ranges["BE"].endswith("the hosts lost 0 to 30 of them.")
    assert ranges["AF41"] == "None of 3,000 packets was lost."


VOICE: list[Any] = [{"dscp": "EF", "interval": "20ms", "packet": "200B"}, "BE"]
"""Beside bulk: EF has every 21st packet, a slot before one of BE."""


def test_a_class_may_have_an_interval_and_sizes_of_its_own() -> None:
    """Voice beside bulk in one stream: both are periodic and never due at once, and the load is that of both."""
    task = stream(classes=VOICE, interval="1ms", packet=["100B", "1400B"])
    sender, reflector = (
        next(job.args for job in task.jobs if job.method == each) for each in ("stamp.send", "stamp.reflect")
    )
    assert (sender["dscp"], sender["every"], sender["interval_ns"]) == ([46, 0], [20, 1], 500_000)
    assert (sender["count"], sender["packet_bytes"]) == (450 + 9000, [200] + [100, 1400] * 10)
    assert (reflector["classes"], reflector["every"], reflector["stateless"]) == (2, [20, 1], True)
    bits = {size: 8 * counted_bytes(size + 28, Layer.L2, tagged=True) for size in (100, 200, 1400)}
    assert task.load_bps == pytest.approx(50 * bits[200] + 500 * bits[100] + 500 * bits[1400])
    assert task.duration_s == pytest.approx(9 + 2, abs=1e-3)


def test_a_class_of_its_own_interval_has_its_own_figures(tmp_path: Path) -> None:
    """EF loses three in a row each second, one of them beside a loss of BE's, and is slower; its packets come in
    order, whatever overtakes them, and one came twice."""
    task = stream(classes=VOICE, interval="1ms")
    packets = [Packet(seq, forward_ns=10_000_000 + 5_000_000 * (seq % 21 == 0)) for seq in range(9450)]
    for second in range(9):
        for number in range(3):
            packets[21 * (50 * second + 7 + number)].forward_ns = None
    packets[21 * 7 + 1].forward_ns = None
    said = {"duplicates": 1, "duplicates_by_class": [1, 0]}
    found = store(tmp_path, task, packets, said=said, interval_ns=500_000, every=(20, 1))
    ef, be = (figure(found, "loss", "ratio", A_Z, service) for service in ("EF", "BE"))
    assert (ef.value, ef.n, ef.scope.frame_bytes) == (pytest.approx(27 / 450), 450, 242)
    assert (be.value, be.n, be.scope.frame_bytes) == (pytest.approx(1 / 9000), 9000, 106)
    assert "27 of 450 packets were lost in 9 periods of up to 3" in ef.reason
    assert value(found, "delay.rtt", "p50", BOTH, "EF") - value(found, "delay.rtt", "p50", BOTH, "BE") == 5_000_000
    for service in ("EF", "BE"):
        assert [value(found, "reordering", "ratio", way, service) for way in (A_Z, Z_A)] == [0, 0]
        assert "; 9 s were measured" in figure(found, "availability", "ratio", A_Z, service).reason
    assert value(found, "duplication", "ratio", BOTH, "EF") == pytest.approx(1 / (450 - 27))
    assert [event["classes"] for event in found.facts["loss_events"]] == [{"EF": 27, "BE": 1}]
    begins = next(each.x for each in found.series if (each.kind, each.service) == ("loss.periods", "EF"))
    assert begins == pytest.approx([0.14 + second for second in range(9)])


def test_sizes_of_a_class_go_round_in_its_own_packets(tmp_path: Path) -> None:
    """Three sizes of EF, of which 2 fit into a cycle of the classes: each has a third of the packets, none of BE's."""
    classes = [{"dscp": "EF", "interval": "2ms", "packet": ["100B", "200B", "300B"]}, {"dscp": "BE", "interval": "4ms"}]
    task = stream(classes=classes, packet="1000B", duration="6s")
    args = next(job.args for job in task.jobs if job.method == "stamp.send")
    assert (args["every"], args["count"]) == ([1, 2], 4500)
    assert args["packet_bytes"] == [100, 1000, 200, 300, 1000, 100, 200, 1000, 300]
    packets = [Packet(seq, forward_ns=10_000_000 + args["packet_bytes"][seq % 9] * 80) for seq in range(4500)]
    found = store(tmp_path, task, packets, interval_ns=1_000_000, every=(1, 2), said={"duplicates_by_class": [0, 0]})
    told = found.facts["classes"]["EF"]
    assert [(each["payload_bytes"], each["share"]) for each in told["sizes"]] == [
        (size, pytest.approx(1 / 3)) for size in (100, 200, 300)
    ]
    assert told["ns_per_byte"] == pytest.approx(80)
    assert "sizes" not in found.facts["classes"]["BE"]


def test_a_loss_event_names_its_classes(tmp_path: Path) -> None:
    """EF alone loses at first and with AF41 five seconds later, and BE on the way back: each event has its classes."""
    packets = [Packet(seq) for seq in range(COUNT)]
    for seq in (300, 303, 6000, 6001, 6003):
        packets[seq].forward_ns = None
    packets[6002].backward_ns = None
    found = analysed(tmp_path, packets)
    told = [(event["direction"], event["packets"], event["classes"]) for event in found.facts["loss_events"]]
    assert told == [("a-z", 2, {"EF": 2}), ("a-z", 3, {"EF": 2, "AF41": 1}), ("z-a", 1, {"BE": 1})]


def test_an_event_of_one_stream_has_the_class_of_its_step(tmp_path: Path) -> None:
    """A marked stream says which it is; plain best effort has no name to say."""
    packets = [Packet(seq, forward_ns=None if seq == 7 else 10_000_000) for seq in range(1000)]
    for params, classes in (({"dscp": "EF"}, {"EF": 1}), ({}, None)):
        found = store(tmp_path / str(classes), task_of("latency", duration="1s", **params), packets)
        (event,) = found.facts["loss_events"]
        assert event.get("classes") == classes


def test_a_criterion_is_judged_for_each_class_or_for_one(tmp_path: Path) -> None:
    """The lossy class fails and the others pass; the diagnosis says that these were sent at the same time."""
    scenario = Scenario.model_validate(
        {
            "format_version": "1",
            "id": "s",
            "title": "S",
            "steps": [
                {
                    "id": "step",
                    "measure": "latency",
                    "judge": [
                        {"metric": "loss", "statistic": "ratio", "at_most": "5e-3"},
                        {"metric": "delay.rtt", "statistic": "p50", "at_most": "1ms", "class": "af41"},
                        {"metric": "dscp", "statistic": "preserved", "equals": "true", "mandatory": "false"},
                    ],
                }
            ],
        }
    )
    packets = [Packet(seq, forward_ns=None if seq % 30 == 0 else 10_000_000) for seq in range(COUNT)]
    found = analysed(tmp_path, packets)
    rows = judge(CIRCUIT, scenario, [found], (), date(2027, 1, 1), {})
    findings = [each for each in rows if each.operator]
    verdicts = {(each.metric, each.scope.service, each.scope.direction): each.verdict for each in findings}
    assert [verdicts["loss", service, A_Z] for service in CLASSES] == [Verdict.FAIL, Verdict.PASS, Verdict.PASS]
    assert [key[1] for key in verdicts if key[0] == "delay.rtt"] == ["AF41"]
    assert verdicts["dscp", "AF41", A_Z] is Verdict.WARN and verdicts["dscp", "EF", A_Z] is Verdict.PASS
    causes = {each.cause: each for each in diagnose(rows, [found])}
    assert causes.keys() >= {"loss-one-way", "dscp-remarked", "delay-above-objective"}
    assert causes["loss-one-way"].because[0].startswith("a-z, class EF: ")
    assert "befell AF41, BE" in causes["loss-one-way"].because[-1]
    assert words.scope(findings[0].scope, pair=False) == "on-prem → cloud, class EF"


def test_the_report_tells_the_classes_apart(tmp_path: Path) -> None:
    """Rows, pictures and sizes name the class that they are of."""
    sizes = [100, 1400]
    packets = [Packet(seq, forward_ns=10_000_000 + sizes[seq // 3 % 2] * 80 + seq % 3 * 1000) for seq in range(COUNT)]
    found = analysed(tmp_path, packets, task=stream(packet=["100B", "1400B"]), root_distances_ns=(10**6, 10**6))
    findings = judge(CIRCUIT, load_scenario("classes"), [found], (), date(2027, 1, 1), {})
    every = judge(CIRCUIT, _reported(), [found], (), date(2027, 1, 1), {})
    run = replace(run_builder.passing(), measurements=(found,), findings=(*findings, *every), diagnosis=())
    page = render(run, CIRCUIT, load_scenario("classes")).replace("\xa0", " ")
    for service in CLASSES:
        assert f"on-prem → cloud, class {service}" in page
        assert f"Step step: round trip, class {service}, idle path" in page
        assert f"step, class {service}: 80 ns more for each byte" in page
    assert "idle path, class AF41" in page


def _reported() -> Scenario:
    """Judges nothing: all is reported."""
    steps = [{"id": "step", "measure": "latency"}]
    return Scenario.model_validate({"format_version": "1", "id": "s", "title": "S", "steps": steps})


def test_a_slope_over_sizes_is_the_links_rate(tmp_path: Path) -> None:
    """100 Mbit/s each way are 160 ns a byte; each size has its share of the packets, in every class."""
    sizes = [100] * 2 + [1400]
    packets = [Packet(seq, forward_ns=10_000_000 + sizes[seq // 3 % 3] * 160) for seq in range(COUNT)]
    found = analysed(tmp_path, packets, task=stream(packet=[f"{size}B" for size in sizes]))
    for service in CLASSES:
        facts = found.facts["classes"][service]
        assert facts["ns_per_byte"] == pytest.approx(160, rel=1e-3)
        assert [(each["frame_bytes"], each["share"]) for each in facts["sizes"]] == [
            (146, pytest.approx(2 / 3)),
            (1446, pytest.approx(1 / 3)),
        ]
    assert np.isfinite([each["rtt_ns"]["p50"] for each in facts["sizes"]]).all()


@pytest.mark.parametrize(
    ("there", "back", "kept"),
    [
        ({str(EF): 9}, {str(EF): 9}, (True, True)),
        ({"0": 9}, {"0": 9}, (False, True)),  # answered in the class that came
        ({str(EF): 9}, {"0": 9}, (True, False)),
        ({str(EF): 5, "0": 4}, {str(EF): 9}, (False, None)),  # of which replies were sent as what nobody knows
        ({str(EF): 5, "0": 4}, {str(AF41): 9}, (False, False)),
        ({}, {str(EF): 9}, (None, None)),
        ({str(EF | 3): 9}, {str(EF): 9}, (True, True)),  # congestion is no other class
    ],
)
def test_a_remarked_class_is_charged_to_its_way(
    tmp_path: Path, there: dict[str, int], back: dict[str, int], kept: tuple[bool | None, bool | None]
) -> None:
    """A reply is compared to the class in which its request came; what nobody can tell is no verdict."""
    packets = [Packet(seq) for seq in range(1000)]
    told = {"said": {"tos_seen": back}, "reflected": {"tos_seen": there}}
    found = store(tmp_path, task_of("latency", dscp="EF", duration="1s"), packets, **told)  # type: ignore[arg-type]  # told by name
    assert tuple(figure(found, "dscp", "preserved", way, "EF").value for way in (A_Z, Z_A)) == kept
