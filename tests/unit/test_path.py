"""What the path measurement makes of the files of its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from perfharness import evidence
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.verdict import decide
from perfharness.measurements import REGISTRY, path_ports
from perfharness.model import Criterion, Diagnosis, Direction, Finding, Measurement, Segment, Task, Verdict
from perfharness.order.circuit import Forbidden
from tests.unit.job_files import CONTEXT

A_Z, Z_A = Direction.A_Z, Direction.Z_A
ENDS = {A_Z: ("onprem-a", "ecs-a"), Z_A: ("ecs-a", "onprem-a")}
ECS = "192.168.10.10"
FORBIDDEN = (
    Forbidden.model_validate({"from": "onprem-a", "to": "ecs-a", "port": 3306}),
    Forbidden.model_validate({"from": "onprem-a", "to": "ecs-a", "protocol": "udp", "port": 53}),
    Forbidden.model_validate({"from": "onprem-a", "to": "192.168.9.9", "port": 22}),
)
CIRCUIT = CONTEXT.circuit.model_copy(update={"forbidden": FORBIDDEN})
HERE = replace(CONTEXT, circuit=CIRCUIT)
REQUIRED: dict[tuple[str, str], tuple[str, Any, bool]] = {
    ("path", "reachable"): ("==", True, True),
    ("path", "this_circuit"): ("==", True, True),
    ("path", "internet"): ("==", False, True),
    ("path", "symmetric"): ("==", True, False),
    ("port", "blocked"): ("<=", 0, True),
    ("port", "open_undeclared"): ("<=", 0, False),
    ("port", "forbidden_open"): ("<=", 0, True),
    ("dscp", "preserved"): ("==", True, False),
}


def states(tcp: str, udp: str) -> dict[str, Any]:
    return {"tcp": {"862": tcp, "5201": "open"}, "udp": {"862": udp, "5201": "open"}, "errors": {}}


def dead(first: str = "10.10.0.1", **more: Any) -> dict[str, Any]:
    """What a sender finds when nothing comes back but from its first hop."""
    silent = {"tcp": {"862": "silent"}, "udp": {"862": "silent"}, "errors": {}}
    hop = {"address": first, "rtt_ns": 1, "icmp": "time exceeded"}
    trace = {"hops": [{"ttl": 1, "answers": [hop]}], "reached": False, "others": []}
    nothing = {"sent": 100, "received": 0, "reason": ""}
    return {"ping": nothing, "ports": silent, "hops": trace, "undeclared": _one("tcp/23", "silent"), **more}


def alive(ports: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "ping": {"sent": 100, "received": 100, "reason": ""},
        "ports": ports or states("open", "open"),
        "undeclared": _one("tcp/23", "refused"),
        **more,
    }


def _one(name: str, state: str) -> dict[str, Any]:
    protocol, port = name.split("/")
    return {"tcp": {}, "udp": {}, "errors": {}, protocol: {port: state}}


def measured(
    tmp_path: Path,
    there: Mapping[str, Any],
    back: Mapping[str, Any],
    heard: Mapping[Direction, Any] = MappingProxyType({}),
    companion: str = "",
) -> Measurement:
    """``there`` and ``back``: what the jobs of each direction left, by the first word of their ids."""
    task = REGISTRY["path"].tasks(REGISTRY["path"].parameters(), "path", HERE)[0]
    folder = evidence.create(tmp_path, "c", "r", {})
    if companion:
        folder.write("order/companion.yaml", companion.encode())
    for way, said in ((A_Z, there), (Z_A, back)):
        source, target = ENDS[way]
        listened = {"seen": {"tcp": {}, "udp": {}, "foreign": 0}, "marks": {}, "translated": {}, "closed": {}}
        _write(folder, task, target, f"listen-{way}", {**listened, **heard.get(way, {})})
        for job, data in said.items():
            _write(folder, task, source, f"{job}-{way}", data)
    folder.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    return REGISTRY["path"].analyse(task, folder.files(task.id), HERE)


def _write(folder: evidence.RunFolder, task: Task, host: str, job: str, data: Mapping[str, Any]) -> None:
    result = {"format_version": 1, "status": "completed", "data": data}
    folder.write_json(f"raw/{task.id}/{host}.{job}/result.json", result)


def judged(found: Measurement) -> list[Finding]:
    rows = []
    for seen in found.observations:
        operator, threshold, mandatory = REQUIRED[seen.metric, seen.statistic]
        criterion = Criterion(seen.metric, seen.statistic, operator, threshold, "", "test", mandatory)
        verdict, reason = decide(seen, criterion, ())
        name, task = f"{seen.statistic} {seen.scope.direction}", found.task.id
        rows.append(Finding(name, seen.metric, seen.statistic, seen.scope, "", seen.value, verdict, reason, task=task))
    return rows


def verdict(found: Measurement, statistic: str, way: Direction) -> Verdict:
    return next(row for row in judged(found) if (row.statistic, row.scope.direction) == (statistic, way)).verdict


def causes(found: Measurement) -> dict[str, Diagnosis]:
    return {row.cause: row for row in diagnose(judged(found), [found])}


FORBIDDEN_SHUT = {"forbidden-0": _one("tcp/3306", "silent"), "forbidden-1": _one("tcp/22", "silent")}


def test_a_direction_whose_packets_arrive_is_reached_though_nothing_comes_back(tmp_path: Path) -> None:
    """The far host saw them: the other direction is broken, and the route back is possibly what it lacks."""
    found = measured(tmp_path, dead(**FORBIDDEN_SHUT), dead(), {A_Z: {"seen": {"tcp": {}, "udp": {"862": 4}}}})
    assert [verdict(found, "reachable", way) for way in (A_Z, Z_A)] == [Verdict.PASS, Verdict.FAIL]
    said = causes(found)
    assert set(said) == {"far-host-unreachable", "missing-return-route"}
    assert "security group" not in " ".join(said["far-host-unreachable"].against)
    assert said["missing-return-route"].certainty == "possible"
    assert said["missing-return-route"].findings == ("reachable a-z", "reachable z-a")  # what it is told by
    assert said["far-host-unreachable"].findings == ("reachable z-a",)
    assert "what was sent a-z arrived" in said["far-host-unreachable"].because[0]
    assert "The last hop that answered is 10.10.0.1" in said["far-host-unreachable"].because[2]


def test_a_router_that_says_it_has_no_route_makes_that_likely(tmp_path: Path) -> None:
    """By its words, and in its segment."""
    said = {"address": "172.16.100.2", "rtt_ns": 1, "icmp": "net unreachable"}
    refused = dead(hops={"hops": [{"ttl": 3, "answers": [said]}], "reached": False, "others": []})
    found = measured(tmp_path, dead(**FORBIDDEN_SHUT), refused)
    (route,) = (row for cause, row in causes(found).items() if cause == "missing-return-route")
    assert (route.certainty, route.segment, route.owner) == ("likely", Segment.CE, "own")
    assert "missing-forward-route" not in causes(found)


def test_a_host_without_a_route_proves_that_it_lacks_one(tmp_path: Path) -> None:
    """Its own kernel says so, and sends nothing."""
    none = {"route": None, "reason": "the kernel has no route to 192.168.10.10: Network is unreachable"}
    unsent = {"sent": 100, "received": 0, "reason": "this host cannot send to the peer: Network is unreachable"}
    found = measured(tmp_path, dead(route=none, ping=unsent, **FORBIDDEN_SHUT), dead())
    route = causes(found)["missing-forward-route"]
    assert (route.certainty, route.segment, route.owner) == ("proven", Segment.HOST_A, "own")
    assert "cannot send to the peer" in causes(found)["far-host-unreachable"].because[1]


@pytest.mark.parametrize(
    ("there", "back", "owner"),
    [
        (("10.10.0.1", "172.16.100.1", "192.168.255.253"), ("192.168.10.1", "172.16.100.2", "10.10.0.1"), "own"),
        (("10.10.0.1", "172.16.100.1"), (), "own"),
        ((), ("192.168.10.1", "172.16.100.2"), "own"),
        (("10.10.0.1", "172.16.100.2"), ("192.168.10.1", "172.16.100.1"), "unknown"),
        ((), (), "unknown"),
    ],
    ids=["both", "VBR", "CE", "near ends only", "silent routers"],
)
def test_a_circuit_that_is_crossed_is_not_what_keeps_the_far_host_away(
    tmp_path: Path, there: tuple[str, ...], back: tuple[str, ...], owner: str
) -> None:
    """Whoever answers behind it got the packet and sent his own back; where nobody does nothing is narrowed."""

    def trace(hops: tuple[str, ...]) -> dict[str, Any]:
        told = [{"ttl": n, "answers": [{"address": hop, "rtt_ns": 1}]} for n, hop in enumerate(hops, 1)]
        return {"hops": told, "reached": False, "others": []}

    found = measured(tmp_path, dead(hops=trace(there), **FORBIDDEN_SHUT), dead(hops=trace(back)))
    said = causes(found)["far-host-unreachable"]
    assert said.owner == owner
    assert ("security group" in said.next) is (owner == "own")
    assert any("get there and back" in each for each in said.because) is (owner == "own")


def test_a_link_that_stands_speaks_against_the_circuit(tmp_path: Path) -> None:
    """What the router got from the VBR crossed it."""
    found = measured(tmp_path, dead(**FORBIDDEN_SHUT), dead("192.168.10.1"))
    scope = replace(found.task.scope, direction=None)
    for answered, wanted in ((Verdict.PASS, True), (Verdict.NOT_RUN, False)):
        vlan = Finding("vlan", "vlan", "answers", scope, "", True, answered, "", task="edge")
        (said,) = diagnose([*judged(found), vlan], [found])
        assert any("by ARP" in each for each in said.against) is wanted
        assert said.owner == "unknown"


def test_a_host_that_is_there_no_more_has_no_route_to_blame(tmp_path: Path) -> None:
    """The last router says so when nobody answers its ARP: the route is there."""
    said = {"address": "192.168.255.253", "rtt_ns": 1, "icmp": "host unreachable"}
    refused = dead(hops={"hops": [{"ttl": 3, "answers": [said]}], "reached": False, "others": []}, **FORBIDDEN_SHUT)
    found = measured(tmp_path, refused, dead())
    assert set(causes(found)) == {"far-host-unreachable"}
    assert causes(found)["far-host-unreachable"].owner == "cloud"


@pytest.mark.parametrize(
    ("last", "state", "wanted"),
    [(5216, "open", Verdict.PASS), (5300, "open", Verdict.INCONCLUSIVE), (5300, "silent", Verdict.FAIL)],
)
def test_agreed_ports_that_were_not_tried_pass_nothing(last: int, state: str, wanted: Verdict) -> None:
    """The matrix has room for 64: of a hundred that were agreed the others may be closed."""
    host = CIRCUIT.endpoint("ecs-a").model_copy(update={"ports": [862, *range(5201, last + 1)]})
    seen = path_ports.blocked(HERE.scope(A_Z), states(state, "open"), {}, host, "x")
    found, why = decide(seen, Criterion("port", "blocked", "<=", 0, "", "test"), ())
    assert found is wanted
    assert ("Of 101 agreed ports only 64 were tried" in why) is (last == 5300)


def test_silence_of_a_dead_host_closes_no_port(tmp_path: Path) -> None:
    """That ports do not answer is no proof of a filter where nothing answers; the agreed ones fail all the same."""
    found = measured(tmp_path, dead(**FORBIDDEN_SHUT), dead("192.168.10.1"))
    assert verdict(found, "open_undeclared", A_Z) is Verdict.NOT_RUN
    assert verdict(found, "forbidden_open", A_Z) is Verdict.NOT_RUN
    assert verdict(found, "forbidden_open", Z_A) is Verdict.NOT_APPLICABLE
    assert all(seen.evidence for seen in found.observations)
    assert verdict(found, "blocked", A_Z) is Verdict.FAIL
    assert set(causes(found)) == {"far-host-unreachable"}
    assert "security group" in causes(found)["far-host-unreachable"].against[-1]  # which nobody saw, nor its absence
    assert "unreachable" in found.facts


def test_resets_alone_reach_nobody(tmp_path: Path) -> None:
    """A listener of ours stood there, so that a firewall sent them: of the far host they tell nothing."""
    reset = {"tcp": {"862": "refused"}, "udp": {"862": "silent"}, "errors": {}}
    found = measured(tmp_path, dead(ports=reset, **FORBIDDEN_SHUT), dead(ports=reset))
    assert verdict(found, "reachable", A_Z) is Verdict.NOT_RUN
    assert set(causes(found)) == {"port-blocked"}
    assert "unreachable" not in found.facts


@pytest.mark.parametrize(
    ("tcp", "udp", "elsewhere", "seen", "expected"),
    [
        ("silent", "silent", "silent", {"tcp": {"3306": 0}, "udp": {"53": 0}}, Verdict.PASS),
        ("open", "silent", "silent", {"tcp": {"3306": 1}, "udp": {"53": 0}}, Verdict.FAIL),
        ("silent", "silent", "silent", {"tcp": {"3306": 0}, "udp": {"53": 2}}, Verdict.FAIL),
        ("refused", "rejected", "silent", {"tcp": {"3306": 0}, "udp": {"53": 0}}, Verdict.PASS),
        ("refused", "rejected", "silent", {"tcp": {}, "udp": {"53": 0}}, Verdict.INCONCLUSIVE),
        ("silent", "silent", "refused", {"tcp": {"3306": 0}, "udp": {"53": 0}}, Verdict.INCONCLUSIVE),
        ("silent", "silent", "open", {"tcp": {"3306": 0}, "udp": {"53": 0}}, Verdict.FAIL),
    ],
)
def test_a_forbidden_connection_fails_when_it_comes_about(
    tmp_path: Path, tcp: str, udp: str, elsewhere: str, seen: dict[str, dict[str, int]], expected: Verdict
) -> None:
    """A datagram that arrived did, whatever came back; a refusal says nothing unless our own listener was there."""
    tried = {**_one("tcp/3306", tcp), "udp": {"53": udp}}
    there = alive(**{"forbidden-0": tried, "forbidden-1": _one("tcp/22", elsewhere)})
    found = measured(tmp_path, there, alive(), {A_Z: {"seen": seen}})
    assert verdict(found, "forbidden_open", A_Z) is expected


def test_an_open_port_that_nobody_declared_is_a_warning(tmp_path: Path) -> None:
    """It says which, and diagnoses nothing."""
    found = measured(tmp_path, alive(undeclared=_one("tcp/3389", "open"), **FORBIDDEN_SHUT), alive())
    assert verdict(found, "open_undeclared", A_Z) is Verdict.WARN
    assert verdict(found, "open_undeclared", Z_A) is Verdict.PASS
    assert any("tcp/3389" in row.reason for row in judged(found))
    assert causes(found) == {}


@pytest.mark.parametrize(
    ("speaker", "segment", "owner"),
    [
        ("172.16.100.1", Segment.CLOUD_EDGE, "cloud"),
        ("172.16.100.2", Segment.CE, "own"),
        ("10.10.0.1", Segment.LAN, "own"),
        (ECS, Segment.HOST_Z, "own"),
        ("192.0.2.1", Segment.BETWEEN, "own"),
    ],
)
def test_whose_firewall_rejects_is_told_by_its_address(
    tmp_path: Path, speaker: str, segment: Segment, owner: str
) -> None:
    """The order knows its own routers."""
    ports = {**states("rejected", "open"), "errors": {"tcp/862": {"from": speaker, "said": "admin prohibited"}}}
    found = measured(tmp_path, alive(ports, **FORBIDDEN_SHUT), alive())
    blocked = causes(found)["port-blocked"]
    assert (blocked.segment, blocked.owner) == (segment, owner)
    assert f"tcp/862 rejected by {speaker} (admin prohibited)" in blocked.because[0]
    ports["udp"] = {"862": "silent"}
    (tmp_path / "more").mkdir()
    more = causes(measured(tmp_path / "more", alive(ports, **FORBIDDEN_SHUT), alive()))["port-blocked"]
    assert more.segment is Segment.BETWEEN


def test_the_companions_link_is_known(tmp_path: Path) -> None:
    """A way back over the second circuit is asymmetric, and named by its VBR."""

    def trace(*hops: str) -> dict[str, Any]:
        told = [{"ttl": n, "answers": [{"address": hop, "rtt_ns": 1}]} for n, hop in enumerate(hops, 1)]
        return {"hops": told, "reached": True, "others": []}

    text = Path(CONTEXT.circuit.source.file).read_text(encoding="utf-8")
    companion = text.replace("172.16.100.", "172.16.101.").replace("vbr-lab-a", "vbr-lab-b")
    there = alive(hops=trace("10.10.0.1", "172.16.100.1", ECS), **FORBIDDEN_SHUT)
    back = alive(hops=trace("192.168.10.1", "172.16.101.2", "10.10.0.10"))
    found = measured(tmp_path, there, back, companion=companion)
    assert verdict(found, "symmetric", A_Z) is Verdict.WARN
    assert any("vbr-lab-b" in row.reason for row in judged(found))
    assert verdict(found, "internet", Z_A) is Verdict.PASS


@pytest.mark.parametrize(
    ("over", "others", "wanted"),
    [
        ("100", (), Verdict.PASS),
        ("101", (), Verdict.NOT_RUN),
        ("101", ("100",), Verdict.NOT_APPLICABLE),
        ("77", (), Verdict.NOT_APPLICABLE),
    ],
    ids=["this one", "the other one", "shared", "not seen"],
)
def test_a_run_over_the_other_circuit_is_none_of_this_one(
    tmp_path: Path, over: str, others: tuple[str, ...], wanted: Verdict
) -> None:
    """It stays open, and is told; a pair that shares its flows is well."""

    def trace(there: bool, net: str) -> dict[str, Any]:
        hops = ("10.10.0.1", f"172.16.{net}.1", ECS) if there else ("192.168.10.1", f"172.16.{net}.2", "10.10.0.10")
        told = [{"ttl": n, "answers": [{"address": hop, "rtt_ns": 1}]} for n, hop in enumerate(hops, 1)]
        return {"hops": told, "reached": True, "others": [trace(there, other) for other in others if net == over]}

    text = Path(CONTEXT.circuit.source.file).read_text(encoding="utf-8")
    companion = text.replace("172.16.100.", "172.16.101.").replace("vbr-lab-a", "vbr-lab-b")
    there, back = alive(hops=trace(True, over), **FORBIDDEN_SHUT), alive(hops=trace(False, over))
    found = measured(tmp_path, there, back, companion=companion)
    assert [verdict(found, "this_circuit", way) for way in (A_Z, Z_A)] == [wanted, wanted]
    assert ("other-circuit" in causes(found)) is (wanted is Verdict.NOT_RUN)


def test_few_answers_are_worth_a_word(tmp_path: Path) -> None:
    """One echo of a hundred reaches; that most were lost is said beside it."""
    few = alive(ping={"sent": 100, "received": 1, "reason": ""}, **FORBIDDEN_SHUT)
    rows = {row.id: row for row in judged(measured(tmp_path, few, alive()))}
    assert "Few of the echo requests" in rows["reachable a-z"].reason
    assert "Few of" not in rows["reachable z-a"].reason


@pytest.mark.parametrize(
    ("came", "expected"),
    [({"46": 20}, Verdict.PASS), ({"0": 19, "46": 1}, Verdict.WARN), ({}, Verdict.NOT_RUN)],
)
def test_a_class_is_kept_when_all_that_came_has_its_mark(
    tmp_path: Path, came: dict[str, int], expected: Verdict
) -> None:
    """By direction; what did not come tells nothing."""
    kind = REGISTRY["path"]
    task = kind.tasks(kind.parameters.model_validate({"classes": ["EF"]}), "path", HERE)[1]
    folder = evidence.create(tmp_path, "c", "r", {})
    for way, marks in ((A_Z, came), (Z_A, {"46": 20})):
        source, target = ENDS[way]
        _write(folder, task, source, f"mark-{way}", {"sent": {"46": 20}})
        _write(folder, task, target, f"listen-{way}", {"marks": {"46": marks} if marks else {}})
    folder.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    found = kind.analyse(task, folder.files(task.id), HERE)
    assert [verdict(found, "preserved", way) for way in (A_Z, Z_A)] == [expected, Verdict.PASS]
    assert set(causes(found)) == ({"dscp-remarked"} if expected is Verdict.WARN else set())


def test_the_plan_announces_what_must_stay_closed() -> None:
    """Forbidden and undeclared, and no firewall is asked to let them through."""
    task = REGISTRY["path"].tasks(REGISTRY["path"].parameters(), "path", HERE)[0]
    announced = {(use.source, use.target, use.protocol, use.port) for use in task.closed}
    assert {("onprem-a", "ecs-a", "udp", 53), ("onprem-a", "192.168.9.9", "tcp", 22)} <= announced
    assert ("ecs-a", "onprem-a", "tcp", 3389) in announced
    assert not announced & {(use.source, use.target, use.protocol, use.port) for use in task.ports}
