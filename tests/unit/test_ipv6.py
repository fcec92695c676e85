"""IPv6 in an order: what measures it, and that what nothing measures never passes in silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from perfharness import evidence
from perfharness.errors import BadInput
from perfharness.judge.judge import judge, verdict_of
from perfharness.judge.reach import far_host_unreachable
from perfharness.judge.weighing import explains
from perfharness.measurements import REGISTRY, Context
from perfharness.model import Direction, Finding, Measurement, Status, Verdict
from perfharness.order.circuit import Circuit, load_circuit
from perfharness.order.scenario import find_shipped, load_scenario
from perfharness.order.sense import checks, must_make_sense
from perfharness.severed import Severed

TODAY = date(2027, 1, 1)
LAB = find_shipped("circuits/lab").read_text(encoding="utf-8")
PREFIXES = {"onprem: [10.10.0.0/16]": "onprem: [10.10.0.0/16, fd00:10::/48]"}
ADDRESSES = {
    "    address: 10.10.0.10\n": "    address: 10.10.0.10\n    address6: fd00:10::10\n",
    "    address: 192.168.10.10\n": "    address: 192.168.10.10\n    address6: fd00:20::10\n",
}


def order(folder: Path, more: str = "", **changed: str) -> Circuit:
    text = LAB + more
    for old, new in changed.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "circuit.yaml").write_text(text, encoding="utf-8")
    return load_circuit(folder / "circuit.yaml")


def untested(circuit: Circuit) -> dict[str, bool]:
    """Rows that the order leaves unmeasured, and whether the run cannot pass without them."""
    return {each.row: each.mandatory for each in checks(circuit, TODAY) if each.verdict is Verdict.NOT_RUN}


def test_an_order_without_ipv6_says_nothing_of_it(tmp_path: Path) -> None:
    """No row is opened by what was not ordered."""
    assert untested(order(tmp_path)) == {}


def test_ipv6_prefixes_leave_the_run_undecided(tmp_path: Path) -> None:
    """Routes, BGP and reachability are open and mandatory; rates, delay and loss are said to be of IPv4."""
    circuit = order(tmp_path, **PREFIXES)
    rows = untested(circuit)
    assert {row for row, mandatory in rows.items() if mandatory} == {"EC-015", "EC-016", "EC-020", "EC-024"}
    assert {row for row, mandatory in rows.items() if not mandatory} == {"EC-033", "EC-039", "EC-042"}
    findings = judge(circuit, load_scenario("smoke"), (), checks(circuit, TODAY), TODAY, {})
    declared = [row for row in findings if row.statistic == "declared" and row.mandatory]
    assert verdict_of(declared) is Verdict.INCONCLUSIVE
    said = "\n".join(map(str, must_make_sense(circuit, TODAY)))
    assert "whether fd00:10::/48 is exchanged is not measured. [EC-020]" in said


def test_it_can_be_waived(tmp_path: Path) -> None:
    """By who tests it by hand; the row says so."""
    waivers = "".join(
        f"  - {{row: {row}, who: A, why: tested by hand, until: 2027-06-01}}\n"
        for row in ("EC-015", "EC-016", "EC-020", "EC-024")
    )
    circuit = order(tmp_path, f"\nwaivers:\n{waivers}", **PREFIXES)
    assert set(untested(circuit)) == {"EC-033", "EC-039", "EC-042"}


def test_addresses_at_both_ends_answer_for_reachability(tmp_path: Path) -> None:
    """Then it is measured; what is still of IPv4 alone is said, and without IPv6 prefixes nothing of it must be."""
    assert "EC-024" not in untested(order(tmp_path, **PREFIXES, **ADDRESSES))
    rows = untested(order(tmp_path, **ADDRESSES))
    assert "EC-024" not in rows and "EC-020" not in rows and not any(rows.values())


def test_the_path_is_looked_at_over_ipv6_as_well(tmp_path: Path) -> None:
    """A task of its own with the same ports, forbidden connections too; ARP is IPv4's."""
    forbidden = (
        "\nforbidden:\n  - {from: onprem-a, to: ecs-a, port: 3306}\n  - {from: onprem-a, to: 'fd00:99::1', port: 22}\n"
    )
    circuit = order(tmp_path, forbidden, **ADDRESSES)
    context = Context(circuit, circuit.endpoint("onprem-a"), circuit.endpoint("ecs-a"))
    v4, v6 = REGISTRY["path"].tasks(REGISTRY["path"].parameters(), "path", context)
    assert (v4.id, v4.scope.family, v6.id, v6.scope.family) == ("path", "ipv4", "path-v6", "ipv6")
    assert {job.args["peer"] for job in v6.jobs} == {"fd00:10::10", "fd00:20::10", "fd00:99::1"}
    assert "fd00:99::1" not in {job.args["peer"] for job in v4.jobs}
    assert not any(job.method == "link.next_hop" for job in v6.jobs)
    assert {use.port for use in v6.closed} >= {22, 3306}
    assert v6.yields == v4.yields


def test_a_forbidden_address_that_nobody_can_try_is_refused(tmp_path: Path) -> None:
    """An IPv6 address needs hosts with one; the sentence says so."""
    circuit = order(tmp_path, "\nforbidden:\n  - {from: onprem-a, to: 'fd00:99::1', port: 22}\n")
    with pytest.raises(BadInput, match="Over IPv6 both hosts of a pair need `address6:`"):
        must_make_sense(circuit, TODAY)


def test_silence_over_ipv6_stops_no_load(tmp_path: Path) -> None:
    """All loads run over IPv4: what does not get through beside it is no reason to leave them out."""
    circuit = order(tmp_path, **ADDRESSES)
    context = Context(circuit, circuit.endpoint("onprem-a"), circuit.endpoint("ecs-a"))
    _, v6 = REGISTRY["path"].tasks(REGISTRY["path"].parameters(), "path", context)
    kind = REGISTRY["latency"]
    load = kind.tasks(kind.parameters(), "latency", context)[0]
    severed = Severed(lambda _: "The far host did not answer.")
    severed.learn(v6)
    assert severed.refuses(load) == ""


def looked(folder: Path, circuit: Circuit) -> Measurement:
    """What a healthy path over IPv6 leaves: each end answers, by hops of the circuit's link."""
    context = Context(circuit, circuit.endpoint("onprem-a"), circuit.endpoint("ecs-a"))
    task = REGISTRY["path"].tasks(REGISTRY["path"].parameters(), "path", context)[1]
    run = evidence.create(folder, "c", "r", {})
    crossing = {"a-z": ("fd00:10::1", "fd00:16::1", "fd00:20::10"), "z-a": ("fd00:20::1", "fd00:16::2", "fd00:10::10")}
    for job in task.jobs:
        kind, _, way = job.id.partition("-")
        hops = [{"ttl": n, "answers": [{"address": hop}]} for n, hop in enumerate(crossing[way], 1)]
        data = {
            "ping": {"sent": 100, "received": 100, "reason": ""},
            "ports": {"tcp": {"5201": "open"}, "udp": {"5201": "open"}, "errors": {}},
            "undeclared": {"tcp": {"23": "refused"}, "udp": {}, "errors": {}},
            "hops": {"hops": hops, "reached": True, "others": []},
            "listen": {"seen": {"tcp": {}, "udp": {}}, "translated": {}},
            "route": {"route": None, "reason": "not asked"},
        }[kind]
        result = {"format_version": 1, "status": "completed", "data": data}
        run.write_json(f"raw/{task.id}/{job.endpoint}.{job.id}/result.json", result)
    run.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    return REGISTRY["path"].analyse(task, run.files(task.id), context)


def test_ipv6_hops_prove_a_way_only_by_the_ipv6_link(tmp_path: Path) -> None:
    """Reached is reached; symmetric, and not the Internet, it is known to be by the link that the order has."""
    link6 = {"    mtu: 1500\n": '    mtu: 1500\n    link6: {customer: "fd00:16::2/126", cloud: "fd00:16::1/126"}\n'}
    for name, more, known in (("without", {}, False), ("with", link6, True)):
        (tmp_path / name).mkdir()
        found = looked(tmp_path / name, order(tmp_path / name, **ADDRESSES, **more))
        told = {(row.statistic, row.scope.direction): row for row in found.observations if row.metric == "path"}
        assert all(row.scope.family == "ipv6" for row in told.values())
        assert told["reachable", Direction.A_Z].value is True
        assert told["symmetric", Direction.Z_A].value is (True if known else None)
        assert told["internet", Direction.Z_A].value is (False if known else None)
        assert known or "write `link6:` of the VBR" in told["internet", Direction.Z_A].reason


def test_two_ends_of_an_ipv6_link_are_of_one_subnet(tmp_path: Path) -> None:
    """One sentence for a slip."""
    slip = {"    mtu: 1500\n": '    mtu: 1500\n    link6: {customer: "fd00:16::2/126", cloud: "fd00:17::1/126"}\n'}
    with pytest.raises(BadInput, match="two IPv6 link addresses are not of one link"):
        order(tmp_path, **slip)


def test_what_is_cut_over_ipv6_explains_nothing_of_ipv4(tmp_path: Path) -> None:
    """The cause rests on its own rows, and a loss over IPv4 keeps a cause of its own."""
    circuit = order(tmp_path, **ADDRESSES)
    context = Context(circuit, circuit.endpoint("onprem-a"), circuit.endpoint("ecs-a"))
    _, v6 = REGISTRY["path"].tasks(REGISTRY["path"].parameters(), "path", context)
    scope = context.scope(Direction.A_Z, family="ipv6")
    silent = Finding("F1", "path", "reachable", scope, "", False, Verdict.FAIL, "Nothing came back.", task=v6.id)
    loss = Finding(
        "F2", "loss", "ratio", replace(scope, family="ipv4"), "1", 0.1, Verdict.FAIL, "Much.", task="latency"
    )
    item = Measurement(
        v6, Status.COMPLETED, facts={"unreachable": "The far host did not answer.", "a-z": {}, "z-a": {}}
    )
    (cause, *_) = far_host_unreachable([silent, loss], [item])
    assert cause.findings == ("F1",) and "a-z, IPv6: Nothing came back." in cause.because
    assert not explains(cause, loss, [silent, loss])
    assert explains(cause, silent, [silent, loss])
