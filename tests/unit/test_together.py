"""Several pairs of hosts as one load: how it is planned, and what comes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perfharness import evidence
from perfharness.errors import BadInput
from perfharness.judge.verdict import decide
from perfharness.measurements import Context, guarding
from perfharness.measurements.base import COUNTERS, WAN_COUNTERS
from perfharness.measurements.load_together import Common, Span, common_time, within
from perfharness.measurements.throughput import Throughput
from perfharness.model import Criterion, Direction, Layer, Measurement, Role, Status, Task, Verdict
from perfharness.order.circuit import Circuit
from perfharness.order.scenario import Scenario, load_scenario
from perfharness.plan import flows, make_plan, to_json
from perfharness.plan import from_json as plan_from_json
from tests.unit.job_files import CIRCUIT, GOLDEN, counters
from tests.unit.probe_stream import START_UNIX_NS, Packet, files

PACKET, TICKS, TICK_S = 1400, 20, 0.2
PAYLOAD_BPS = 20_000_000
"""Of each pair."""
SECOND = 1_000_000_000


def host(name: str, site: str, address: str, **more: Any) -> dict[str, Any]:
    body = {"site": site, "ssh": {"host": name}, "interface": "eth0", "address": address, "ports": "862, 5201-5216"}
    return {name: {**body, **more}}


def circuit(*pairs: tuple[str, str], **more: Any) -> Circuit:
    """The lab's order with two hosts on each side."""
    ends = {
        **host("onprem-a", "onprem", "10.10.0.10"),
        **host("onprem-b", "onprem", "10.10.0.20"),
        **host("ecs-a", "cloud", "192.168.10.10", **more.pop("ecs_a", {})),
        **host("ecs-b", "cloud", "192.168.10.20", **more.pop("ecs_b", {})),
    }
    found = Circuit.model_validate({**CIRCUIT.source.data, "endpoints": ends, "pairs": list(pairs), **more})
    found._source = CIRCUIT.source
    return found


TWO = circuit(("onprem-a", "ecs-a"), ("onprem-b", "ecs-b"))
ONE_TO_TWO = circuit(("onprem-a", "ecs-a"), ("onprem-a", "ecs-b"))


def scenario(tmp_path: Path, **params: Any) -> Scenario:
    step = {"id": "udp", "measure": "throughput", "protocol": "udp", "direction": "a-z", "pairs": "together", **params}
    file = tmp_path / "scenario.yaml"
    file.write_text(json.dumps({"format_version": 1, "id": "s", "title": "S", "steps": [step]}))
    return load_scenario(file)


def planned(tmp_path: Path, order: Circuit, **params: Any) -> Task:
    (task,) = make_plan(order, scenario(tmp_path, **params)).tasks
    return task


# --- the plan ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [TWO, ONE_TO_TWO])
def test_all_pairs_together_offer_what_was_ordered(tmp_path: Path, order: Circuit) -> None:
    """One task offers the ordered rate, shared by the pairs, with its probes; every job has a name of its own."""
    task = planned(tmp_path, order)
    assert task.load_bps == pytest.approx(order.committed_bps(order.pairs[0]), rel=1e-6)
    clients = [job for job in task.jobs if job.method == "iperf3.drive"]
    assert {job.args["peer"] for job in clients} == {"192.168.10.10", "192.168.10.20"}
    assert len({(job.endpoint, job.id) for job in task.jobs}) == len(task.jobs)
    watched = [job.endpoint for job in task.jobs if job.role is Role.WATCH]
    assert sorted(watched) == sorted({name for pair in order.pairs for name in pair})
    assert {(source, target) for source, target, _ in flows([task])} == set(order.pairs)
    assert task.id == "01-udp-a-z" and task.scope.pairs == order.pairs


def test_several_pairs_in_service_are_guarded_once(tmp_path: Path) -> None:
    """One guard, between the first pair's hosts, whose probes are part of the order; both on-prem hosts tell what they
    send, since it is their sum that others' traffic is told from."""
    ce = {"name": "ce-1", "ssh": {"host": "ce-ssh"}, "lan": "eth0", "wan": "eth1"}
    order = circuit(*TWO.pairs, ce=ce, in_service=True)
    task = planned(tmp_path, order)
    (guard,) = (job for job in task.jobs if job.id == guarding.GUARD)
    assert (guard.endpoint, guard.args["peer"]) == ("onprem-a", "192.168.10.10")
    assert task.guard is not None and all(part.guard is None for part in task.parts)
    assert order.committed_bps(order.pairs[0]) - 2 <= task.load_bps <= order.committed_bps(order.pairs[0])
    telling = {(job.endpoint, job.id) for job in task.jobs if job.args.get("tell")}
    assert telling == {("onprem-a", COUNTERS), ("onprem-b", COUNTERS), ("ce-1", WAN_COUNTERS)}
    assert {job.method for job in task.jobs if job.load} == {"iperf3.serve", "iperf3.drive"}


def test_a_client_hears_the_server_of_its_own_pair(tmp_path: Path) -> None:
    """What window a host grants is told by the server's name, which each pair has for itself."""
    task = planned(tmp_path, TWO, protocol="tcp", window="bdp")
    servers = {job.id: job.args["address"] for job in task.jobs if job.role is Role.SERVE and "server" in job.id}
    clients = [job for job in task.jobs if job.method == "iperf3.drive"]
    assert clients and all(servers[job.hears["peer_window_bytes"][0]] == job.args["peer"] for job in clients)


def test_tcp_has_the_port_for_its_peak_however_many_pairs_there_are(tmp_path: Path) -> None:
    """TCP is not paced: two pairs cannot make more of it than the port."""
    task = planned(tmp_path, TWO, protocol="tcp")
    assert task.load_bps == TWO.port.speed_bps


def test_a_single_pair_together_is_that_pair(tmp_path: Path) -> None:
    """A scenario for big ports is no other than the usual one where the order names one pair."""
    one = circuit(("onprem-a", "ecs-a"))
    assert planned(tmp_path, one).jobs == planned(tmp_path, one, pairs="each").jobs


def test_a_plan_with_parts_survives_its_file(tmp_path: Path) -> None:
    """What each pair does is read back from plan.json as it was planned."""
    plan = make_plan(TWO, scenario(tmp_path))
    assert plan_from_json(json.loads(json.dumps(to_json(plan))), "plan.json") == plan


def test_pairs_that_cannot_be_one_load_are_refused_with_their_line(tmp_path: Path) -> None:
    """Pairs of two VBRs have two rates; a cloud host in two pairs has one set of ports."""
    first = dict(CIRCUIT.source.data["vbrs"][0])
    second = {**first, "id": "vbr-2", "vlan": "200"}
    apart = {"vbrs": [first, second], "ecs_a": {"vbr": first["id"]}, "ecs_b": {"vbr": "vbr-2"}}
    for order, words in (
        (circuit(*TWO.pairs, **apart), "go through vbr-lab-a and vbr-2"),
        (circuit(("onprem-a", "ecs-a"), ("onprem-b", "ecs-a")), "ecs-a is in several pairs"),
    ):
        with pytest.raises(BadInput, match=words) as refused:
            make_plan(order, scenario(tmp_path))
        assert refused.value.problems[0].line > 0


# --- the common time --------------------------------------------------------------------------------


def test_only_what_surely_lies_in_the_common_time_is_added_up() -> None:
    """The second test began between 1 and 1.5 s after the first: the first one's first intervals are left out, the
    second one's last."""
    early, late = Span(0.0, 0.1, 2.0, 10.0), Span(1.0, 1.5, 2.0, 10.0)
    common = common_time([early, late])
    assert common == Common(3.5, 10.0)
    flow = flow_of(lost=0, ticks=50)
    kept = [round(part.start_s, 1) for part in within(flow, early, common, 0.0).kept]
    assert (kept[0], kept[-1]) == (3.6, 9.6)
    kept = [round(part.start_s, 1) for part in within(flow, late, common, 0.0).kept]
    assert (kept[0], kept[-1]) == (2.6, 8.2)


def test_without_a_common_time_nothing_is_measured(tmp_path: Path) -> None:
    """Two loads one after the other are no load of two pairs."""
    found = store(tmp_path, TWO, starts_s=(0.0, 10.0))
    assert found.status is Status.FAILED and "no time in which all pairs were sending" in found.reason


# --- the figures ------------------------------------------------------------------------------------


def flow_of(lost: int, ticks: int = TICKS) -> Any:
    from perfharness.analysis.iperf3 import parse

    flow = parse(report("server", lost, ticks)).flow(reverse=False)
    assert flow is not None
    return flow


def report(role: str, lost: int, ticks: int = TICKS, end: int = TICKS, protocol: str = "udp") -> bytes:
    """iperf3's output with intervals of 0.2 s at the pair's rate, of which so many packets were lost in each until
    ``end``."""
    recorded = json.loads((GOLDEN / f"3.12-{protocol}-{role}.json").read_bytes())
    packets = round(PAYLOAD_BPS * TICK_S / 8 / PACKET)
    intervals = []
    for tick in range(ticks):
        gone = lost if role == "server" and tick < end else 0
        figures = {"packets": packets, "lost_packets": gone, "bytes": (packets - gone) * PACKET, "seconds": TICK_S}
        each = {**figures, "start": tick * TICK_S, "end": (tick + 1) * TICK_S, "sender": role == "client"}
        intervals.append({"streams": [], "sum": {**each, "omitted": False}})
    return json.dumps({**recorded, "intervals": intervals}).encode()


def store(
    tmp_path: Path,
    order: Circuit,
    lost: tuple[int, int] = (0, 0),
    starts_s: tuple[float, float] = (0.0, 0.1),
    counts: bytes | None = None,
    drops: tuple[int, int] = (0, 0),
    protocol: str = "udp",
) -> Measurement:
    """What two pairs leave that offer 20 Mbit/s each for 4 s, of which these packets are lost in each interval."""
    wanted = 2 * (PAYLOAD_BPS * (PACKET + 46) / PACKET + 110 * 8 * 500)
    rate = {"rate": f"{wanted:.0f}bps"} if protocol == "udp" else {"protocol": protocol}
    task = planned(tmp_path, order, duration="3s", omit="1s", probe={"interval": "2ms"}, **rate)
    folder = evidence.create(tmp_path, "c", "r", {})
    rec, log, sent = files([Packet(seq) for seq in range(2100)], 2_000_000)
    probe = {**sent, "sent": 2100, "missed": 0, "send_errors": 0, "rxq_dropped": 0, "start_unix_ns": START_UNIX_NS}
    drove = {}
    for job in task.jobs:
        pair = int(job.id.rpartition("-pair")[2]) - 1 if job.role is not Role.WATCH else 0
        iperf3 = {"started_ns": START_UNIX_NS, "sockets": [{"kind": "udp", "drops": drops[pair], "unread": 0}]}
        role = "client" if job.role is Role.DRIVE else "server"
        data, name, content = {
            "host.counters": ({}, "counters.jsonl", counts or counters()),
            "stamp.send": (probe, "sender.rec", rec),
            "stamp.reflect": ({"rxq_dropped": 0, "clock": sent["clock"]}, "reflector.rec", log),
        }.get(job.method, (iperf3, "iperf3.json", report(role, lost[pair], protocol=protocol)))
        where = f"raw/{task.id}/{job.endpoint}.{job.id}"
        done = {"format_version": 1, "status": "completed", "args": dict(job.args), "data": data}
        times = {"started_ns": START_UNIX_NS, "ended_ns": START_UNIX_NS + 4 * SECOND}
        folder.write_json(f"{where}/result.json", {**done, **times})
        folder.write(f"{where}/{name}", content)
        if job.role is Role.DRIVE:
            start = starts_s[pair] + 100
            drove[f"{job.endpoint}.{job.id}"] = [round(start * SECOND), round((start + 4.05) * SECOND)]
    noted = {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2, "drove": drove}
    folder.write_json(f"raw/{task.id}/task.json", noted)
    context = Context(order, order.endpoint("onprem-a"), order.endpoint("ecs-a"))
    return Throughput().analyse(task, folder.files(task.id), context)


def required(metric: str, operator: str, bound: float, unit: str) -> Criterion:
    layer = Layer.L2 if unit == "bit/s" else None
    return Criterion(metric, "mean", operator, bound, unit, "test", layer=layer)


RATE = required("throughput.udp", ">=", 2 * PAYLOAD_BPS * 1446 / 1400 * 0.995, "bit/s")
LOSS = required("loss", "<=", 1e-3, "1")


def verdicts(found: Measurement) -> tuple[Verdict, Verdict]:
    """Of the rate and of the loss of all pairs together."""
    assert found.status is Status.COMPLETED, found.reason
    rate, loss = (
        next(seen for seen in found.observations if seen.metric == metric and seen.scope.pair == found.task.scope.pair)
        for metric in ("throughput.udp", "loss")
    )
    return decide(rate, RATE, found.fitness)[0], decide(loss, LOSS, found.fitness)[0]


@pytest.mark.parametrize("order", [TWO, ONE_TO_TWO])
def test_the_sum_is_judged_and_each_pair_is_told(tmp_path: Path, order: Circuit) -> None:
    """Two loads of 20 Mbit/s that all arrive are 40 Mbit/s and the probes; each pair's 20 stand beside it."""
    found = store(tmp_path, order)
    assert verdicts(found) == (Verdict.PASS, Verdict.PASS)
    rates = {seen.scope.pair: seen.value for seen in found.observations if seen.metric == "throughput.udp"}
    one = PAYLOAD_BPS * 1446 / 1400 + 110 * 8 * 500
    assert list(rates) == [found.task.scope.pair, *(":".join(pair) for pair in order.pairs)]
    assert list(rates.values()) == pytest.approx([2 * one, one, one], rel=2e-3)
    assert [part.task.scope.pair for part in found.parts] == [":".join(pair) for pair in order.pairs]
    worst = [seen for seen in found.observations if seen.metric in ("delay.loaded", "variation.pdv")]
    ways = [seen.scope.direction for seen in worst]
    assert ways == [Direction.ROUND_TRIP] * 3 + [Direction.A_Z] * 2 + [Direction.Z_A] * 2
    assert all(seen.scope.pair == found.task.scope.pair and seen.interval is not None for seen in worst)


def test_the_guards_probes_are_in_the_sum_once(tmp_path: Path) -> None:
    """On a circuit in service they are a part of what arrived, whichever pair's hosts they run between."""
    (tmp_path / "live").mkdir()
    plain, live = store(tmp_path, TWO), store(tmp_path / "live", circuit(*TWO.pairs, in_service=True))
    assert live.task.guard is not None
    rates = [
        [float(seen.value or 0) for seen in found.observations if seen.metric == "throughput.udp"]
        for found in (plain, live)
    ]
    guard_bps = guarding.rate_bps(Context(TWO, TWO.endpoint("onprem-a"), TWO.endpoint("ecs-a")))
    more = [with_guard - without for without, with_guard in zip(*rates, strict=True)]
    assert more == pytest.approx([guard_bps, guard_bps, 0], abs=1)


@pytest.mark.parametrize("order", [TWO, ONE_TO_TWO])
def test_what_one_pair_loses_fails_the_sum(tmp_path: Path, order: Circuit) -> None:
    """The second pair loses a fifth between the hosts: rate and loss of all fail, also where one host sends both."""
    assert verdicts(store(tmp_path, order, lost=(0, 71))) == (Verdict.FAIL, Verdict.FAIL)


def test_what_a_host_of_one_pair_dropped_fails_no_circuit(tmp_path: Path) -> None:
    """The same packets, dropped by the second pair's receiving socket: undecided, and the host is named."""
    found = store(tmp_path, TWO, lost=(0, 71), drops=(0, 71 * TICKS), counts=counters(rcvbuf=71 * TICKS))
    assert verdicts(found) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert {row.host for row in found.fitness if not row.fit} == {"ecs-b"}


@pytest.mark.parametrize(("ordered", "limits"), [("42Mbps", {"circuit"}), ("200Mbps", {"unknown"})])
def test_a_circuit_that_all_pairs_fill_limits_each_of_them(tmp_path: Path, ordered: str, limits: set[str]) -> None:
    """Whether TCP filled the circuit tells the sum of 40 Mbit/s, and not how evenly the pairs shared it; where it did
    not, what held each pair back is told with its name."""
    order = circuit(*TWO.pairs, objectives={**CIRCUIT.source.data["objectives"], "rate": ordered})
    told = store(tmp_path, order, protocol="tcp").facts["limited_by"]
    assert {each["limit"] for each in told} == limits
    assert len(told) == (1 if limits == {"circuit"} else 2)
    assert limits == {"circuit"} or told[1]["reasons"][0].startswith("onprem-b:ecs-b: ")


def test_an_interface_that_all_pairs_share_carries_their_sum(tmp_path: Path) -> None:
    """40 Mbit/s fill 42, though neither pair's 20 do; a host of one pair alone carries its own."""
    head, *rows = counters().splitlines()
    counts = b"\n".join([head, *(row[:-1] + b', "speed_bps": 42000000}' for row in rows)]) + b"\n"
    for name, order, limits in (("shared", ONE_TO_TWO, {"nic", "unknown"}), ("own", TWO, {"unknown"})):
        (tmp_path / name).mkdir()
        told = store(tmp_path / name, order, protocol="tcp", counts=counts).facts["limited_by"]
        assert {each["limit"] for each in told} == limits
        assert limits == {"unknown"} or "The interface of onprem-a runs at 42 Mbit/s" in told[0]["reasons"][0]


def test_a_paced_load_of_all_pairs_says_what_became_of_it(tmp_path: Path) -> None:
    """All of it arrived, or the second pair's was lost between the hosts."""
    for name, lost, limit in (("clean", (0, 0), "offered"), ("lossy", (0, 71), "circuit")):
        (tmp_path / name).mkdir()
        assert [each["limit"] for each in store(tmp_path / name, TWO, lost=lost).facts["limited_by"]] == [limit]


def test_loss_outside_the_common_time_does_not_hide(tmp_path: Path) -> None:
    """What was sent before and after the common time dilutes no upper bound of the loss."""
    found = store(tmp_path, TWO, lost=(1, 1), starts_s=(0.0, 1.0))
    loss = next(seen for seen in found.observations if seen.metric == "loss")
    alone = next(part for part in found.parts[0].observations if part.metric == "loss")
    assert loss.interval is not None and alone.interval is not None
    assert loss.interval.hi > 1.3 * loss.interval.lo and loss.scope.direction is Direction.A_Z


def test_no_picture_shows_what_one_pair_had_to_itself(tmp_path: Path) -> None:
    """The second began a second later: of both curves, each by its own time, the last second is not added up."""
    rate, lost = store(tmp_path, TWO, starts_s=(0.0, 1.0)).series
    assert (rate.kind, lost.kind) == ("rate", "load.loss")
    assert all(2.5 < drawn.x.max() < 3.0 for drawn in (rate, lost))
