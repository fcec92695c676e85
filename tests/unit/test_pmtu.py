"""What a search for the path MTU says of the path, and which causes follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perfharness import evidence
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.verdict import decide
from perfharness.measurements import REGISTRY
from perfharness.measurements.base import Context
from perfharness.model import Criterion, Diagnosis, Direction, Finding, Measurement, Segment, Verdict
from perfharness.order.circuit import Circuit
from tests.unit.job_files import CIRCUIT, CONTEXT, find

A_Z, Z_A = Direction.A_Z, Direction.Z_A
CE, VBR, CORE, VPC = "10.10.255.254", "172.16.100.1", "10.10.0.1", "192.168.0.1"
PTB = [{"from": "192.0.2.1", "mtu": 1400, "size": 1500}]
SYN = {"advertised": 1460, "reason": ""}


def stops(last: str | None, after: str | None, adjacent: bool = True, size: int = 1401) -> dict[str, Any]:
    return {"size": size, "hops": [{"ttl": 1}], "last": last, "next": after, "adjacent": adjacent}


def searched(
    tmp_path: Path, z_a: dict[str, Any] | None = None, receiver_mtu: int | None = 1500, arrived: int = 1460, **a_z: Any
) -> Measurement:
    """A task of which one direction found this, and the other 1500 or what ``z_a`` says."""
    kind = REGISTRY["pmtu"]
    (task,) = kind.tasks(kind.parameters(), "pmtu", CONTEXT)
    folder = evidence.create(tmp_path, "c", "r", {})
    healthy = {"pmtu": 1500, "tries": 9, "local_mtu": 1500, "ptb": [], "syn": SYN}
    echo = {"local_mtu": 1500, "syn": {"arrived": [1460], "reason": ""}}
    said = {
        "onprem-a.search-a-z": {**healthy, **a_z},
        "ecs-a.search-z-a": {**healthy, **(z_a or {})},
        "ecs-a.echo-a-z": {"local_mtu": receiver_mtu, "syn": {"arrived": [arrived], "reason": ""}},
        "onprem-a.echo-z-a": echo,
    }
    for job, data in said.items():
        result = {"format_version": 1, "status": "completed", "data": data}
        folder.write_json(f"raw/{task.id}/{job}/result.json", result)
    folder.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    return kind.analyse(task, folder.files(task.id), CONTEXT)


def judged(measurement: Measurement) -> list[Finding]:
    """By the criteria of the shipped scenarios."""
    criteria = {
        "largest": Criterion("pmtu", "largest", ">=", 1500, "B", "test"),
        "swallowed": Criterion("pmtu", "swallowed", "<=", 0, "B", "test"),
        "mss_cut": Criterion("pmtu", "mss_cut", "<=", 0, "B", "test", mandatory=False),
        "host_excess": Criterion("pmtu", "host_excess", "<=", 0, "B", "test", mandatory=False),
    }
    found = []
    for seen in measurement.observations:
        verdict, reason = decide(seen, criteria[seen.statistic], ())
        task = measurement.task.id
        found.append(Finding("F", "pmtu", seen.statistic, seen.scope, "B", seen.value, verdict, reason, task=task))
    return found


def verdicts(measurement: Measurement, way: Direction = A_Z) -> dict[str, Verdict]:
    return {each.statistic: each.verdict for each in judged(measurement) if each.scope.direction is way}


def causes(measurement: Measurement) -> dict[str, Diagnosis]:
    return {each.cause: each for each in diagnose(judged(measurement), [measurement])}


@pytest.mark.parametrize(
    ("size", "sender_mtu", "receiver_mtu", "ptb", "verdict"),
    [
        (1400, 1500, 1500, [], Verdict.FAIL),
        (1400, 1400, 1500, [], Verdict.INCONCLUSIVE),
        (1400, 1500, 1400, [], Verdict.INCONCLUSIVE),
        (1400, 1500, 1400, PTB, Verdict.FAIL),
        (1400, 1500, None, [], Verdict.FAIL),
        (1500, 1500, 1500, [], Verdict.PASS),
    ],
)
def test_a_host_s_own_mtu_fails_no_path(
    tmp_path: Path, size: int, sender_mtu: int, receiver_mtu: int | None, ptb: list[object], verdict: Verdict
) -> None:
    """Where an end's interface is the limit the path may carry more, unless a router says that it does not."""
    seen = searched(tmp_path, pmtu=size, local_mtu=sender_mtu, ptb=ptb, receiver_mtu=receiver_mtu)
    assert verdicts(seen)["largest"] is verdict


def test_both_directions_and_both_families_are_searched_at_once() -> None:
    """One task has the two directions, each with a port of its own; with IPv6 at both ends there is one more."""
    kind = REGISTRY["pmtu"]
    data = {**CIRCUIT.source.data}
    ends = {name: {**body} for name, body in data["endpoints"].items()}
    ends["onprem-a"]["address6"], ends["ecs-a"]["address6"] = "fd00:10::10", "fd00:20::10"
    circuit = Circuit.model_validate({**data, "endpoints": ends}, context={"folder": Path()})
    context = Context(circuit, circuit.endpoint("onprem-a"), circuit.endpoint("ecs-a"))
    tasks = kind.tasks(kind.parameters(), "pmtu", context)
    assert [(task.id, task.scope.family, len(task.jobs)) for task in tasks] == [
        ("pmtu", "ipv4", 4),
        ("pmtu-v6", "ipv6", 4),
    ]
    assert {job.args["peer"] for job in tasks[1].jobs} == {"fd00:10::10", "fd00:20::10"}
    assert all(task.yields == {"pmtu": (A_Z, Z_A)} for task in tasks)
    assert {(use.target, use.protocol) for use in tasks[0].ports} == {
        *(("ecs-a", protocol) for protocol in ("udp", "tcp")),
        *(("onprem-a", protocol) for protocol in ("udp", "tcp")),
    }


@pytest.mark.parametrize(
    ("speaker", "owner"), [(CE, "own"), ("172.16.100.2", "own"), (VBR, "cloud"), ("192.0.2.1", "unknown")]
)
def test_whose_router_says_too_big_is_told_by_the_order(tmp_path: Path, speaker: str, owner: str) -> None:
    """The customer's own CE is not the carrier's fault; and what is told is no black hole."""
    seen = searched(tmp_path, pmtu=1400, ptb=[{"from": speaker, "mtu": 1400, "size": 1500}])
    found = causes(seen)["mtu-below-plan"]
    assert (found.owner, found.segment) == (owner, Segment.BETWEEN)
    assert verdicts(seen)["swallowed"] is Verdict.PASS
    assert "mtu-black-hole" not in causes(seen)


@pytest.mark.parametrize(
    ("last", "after", "segment", "owner"),
    [
        (CORE, CE, Segment.LAN, "own"),
        (None, CORE, Segment.LAN, "own"),
        (CE, VBR, Segment.CARRIER, "carrier"),
        (VBR, VPC, Segment.CLOUD_EDGE, "cloud"),
        ("192.0.2.1", VBR, Segment.BETWEEN, "unknown"),
    ],
)
def test_a_black_hole_is_placed_between_two_routers(
    tmp_path: Path, last: str | None, after: str, segment: Segment, owner: str
) -> None:
    """What the last router that has a large packet and the next one are by the order names segment and owner."""
    seen = searched(tmp_path, pmtu=1400, stops=stops(last, after))
    found = causes(seen)["mtu-black-hole"]
    assert (found.segment, found.owner, found.certainty) == (segment, owner, "proven")
    assert verdicts(seen)["swallowed"] is Verdict.FAIL
    assert find(seen, "pmtu", "swallowed", A_Z).value == 100
    assert any(after in said for said in found.because)
    assert any("eats Packet Too Big" in said for said in found.against)
    assert verdicts(seen, Z_A)["swallowed"] is Verdict.PASS


def test_a_place_among_silent_routers_is_not_certain(tmp_path: Path) -> None:
    """Where routers around keep silent no segment is named, and why is said."""
    found = causes(searched(tmp_path, pmtu=1400, stops=stops(CE, VPC, adjacent=False)))["mtu-black-hole"]
    assert found.segment is Segment.BETWEEN
    assert any("silent" in said for said in found.against)


def test_a_router_that_promises_too_much_is_a_black_hole(tmp_path: Path) -> None:
    """It says 1450, and of more than 1400 nothing arrives: the narrower link behind it says nothing."""
    said = [{"from": CE, "mtu": 1450, "size": 1500}]
    seen = searched(tmp_path, pmtu=1400, ptb=said, stops=stops(VBR, VPC))
    assert causes(seen).keys() == {"mtu-black-hole"}
    assert "1450" in find(seen, "pmtu", "largest", A_Z).reason


def test_a_lie_is_told_and_not_believed(tmp_path: Path) -> None:
    """A router says 1300 of packets that arrive: the answer is what arrives, and the lie stands beside it."""
    seen = searched(tmp_path, pmtu=1500, ptb=[{"from": CE, "mtu": 1300, "size": 1500}])
    largest = find(seen, "pmtu", "largest", A_Z)
    assert verdicts(seen)["largest"] is Verdict.PASS
    assert f"{CE} says Packet Too Big, MTU 1300 B, and packets of 1500 B arrive: not believed." in largest.reason
    assert seen.facts["a-z"]["lies"] == [1300]


@pytest.mark.parametrize(
    ("arrived", "back", "said"),
    [(1360, 1500, "costs 100 B"), (1360, 1400, "set to just that"), (1360, 1300, "too high to help")],
)
def test_a_clamped_mss_is_a_warning_that_is_explained(tmp_path: Path, arrived: int, back: int, said: str) -> None:
    """What the SYN advertised less what arrived; and whether the path the other way needs the clamp."""
    seen = searched(tmp_path, arrived=arrived, z_a={"pmtu": back})
    assert verdicts(seen)["mss_cut"] is Verdict.WARN
    assert verdicts(seen, Z_A)["mss_cut"] is Verdict.PASS
    found = causes(seen)["mss-clamped"]
    assert found.checklist == ("EC-031",)
    assert any(said in because for because in found.because)


def test_an_mss_that_nobody_saw_is_not_run(tmp_path: Path) -> None:
    """A refused connection says nothing of clamping."""
    seen = searched(tmp_path, syn={"advertised": None, "reason": "Connection refused"})
    assert verdicts(seen)["mss_cut"] is Verdict.NOT_RUN
    assert "Connection refused" in find(seen, "pmtu", "mss_cut", A_Z).reason


def test_a_host_of_8500_on_a_path_of_1500_is_warned(tmp_path: Path) -> None:
    """The circuit is as ordered, and the interface promises more: a warning and a cause, no failure."""
    seen = searched(tmp_path, z_a={"pmtu": 1500, "local_mtu": 8500, "stops": stops(VPC, VBR, size=1501)})
    assert verdicts(seen, Z_A) == {
        **{"largest": Verdict.PASS, "swallowed": Verdict.PASS, "mss_cut": Verdict.PASS},
        "host_excess": Verdict.WARN,
    }
    found = causes(seen)
    assert found.keys() == {"host-nic-mtu"}
    assert (found["host-nic-mtu"].segment, found["host-nic-mtu"].owner) == (Segment.HOST_Z, "own")
    assert "vanish without a word" in found["host-nic-mtu"].because[1]


def test_a_host_too_small_to_see_the_order_is_named(tmp_path: Path) -> None:
    """With 1400 at its own interface nobody can see whether the path carries 1500."""
    seen = searched(tmp_path, pmtu=1400, local_mtu=1400)
    assert verdicts(seen)["largest"] is verdicts(seen)["swallowed"] is Verdict.INCONCLUSIVE
    assert causes(seen).keys() == {"host-nic-mtu"}
