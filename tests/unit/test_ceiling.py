"""What hosts can do without the circuit: what is tried, what it shows, and what it excuses."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticCustomError
from rich.console import Console

from perfharness import dryrun, evidence
from perfharness.judge.ceiling import asked_bps, ceiling, limited
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.judge import judge
from perfharness.judge.rate import UNSEEN_LIMIT
from perfharness.measurements import REGISTRY, Context
from perfharness.measurements.ceiling import CeilingParams
from perfharness.model import (
    Direction,
    Finding,
    Fitness,
    Interval,
    Layer,
    Measurement,
    Observation,
    Role,
    Scope,
    Segment,
    Status,
    Task,
    Verdict,
)
from perfharness.order.circuit import Circuit
from perfharness.order.scenario import Scenario, load_scenario
from perfharness.plan import hosts, make_plan, spare
from perfharness.report.blocks import Table
from perfharness.report.dossier import Dossier
from perfharness.report.sections import capacity
from tests.unit import run_builder
from tests.unit.job_files import CIRCUIT
from tests.unit.test_judge import TODAY
from tests.unit.test_together import TWO, report, scenario

A_Z, Z_A = Direction.A_Z, Direction.Z_A
GBIT = 1_000_000_000
ONE = CIRCUIT
CE = {"name": "ce-1", "ssh": {"host": "ce-1"}, "lan": "lan", "wan": "wan"}
WITH_CE = {**CE, "address": "10.10.0.1", "iperf3": "iperf3"}


def tasks(order: Circuit, **params: Any) -> tuple[Task, ...]:
    context = Context(order, *(order.endpoint(name) for name in order.pairs[0]))
    return REGISTRY["ceiling"].tasks(CeilingParams.model_validate(params), "ceiling", context)


def lab(**changes: Any) -> Circuit:
    found = Circuit.model_validate({**ONE.source.data, **changes})
    found._source = ONE.source
    return found


# --- what is tried ----------------------------------------------------------------------------------


def test_every_host_is_tried_against_what_the_order_has() -> None:
    """A host alone always; another of its site and the CE where the order names them."""
    tried = {(task.scope.host, task.scope.bracket) for task in tasks(ONE)}
    assert tried == {("onprem-a", "onprem-a"), ("ecs-a", "ecs-a")}
    tried = {(task.scope.host, task.scope.bracket) for task in tasks(TWO, against="neighbour")}
    assert tried == {("onprem-a", "onprem-b"), ("onprem-b", "onprem-a"), ("ecs-a", "ecs-b"), ("ecs-b", "ecs-a")}
    tried = {(task.scope.host, task.scope.bracket) for task in tasks(lab(ce=WITH_CE), against="ce")}
    assert tried == {("onprem-a", "ce-1"), ("ce-1", "onprem-a")}
    with pytest.raises(PydanticCustomError, match="nothing to measure a host against ce"):
        tasks(lab(ce=CE), against="ce")


def test_more_than_the_order_is_offered_and_none_of_it_to_the_circuit() -> None:
    """UDP at 1.2 times the order between two hosts and at 1.5 times alone; the circuit in service takes none of it."""
    for task in tasks(TWO, protocol="udp"):
        loads = [job.args for job in task.jobs if job.role is Role.DRIVE]
        offered = sum(load["rate_bps"] / load["length"] * (load["length"] + 46) for load in loads)
        factor = 1.5 if task.scope.bracket == task.scope.host else 1.2
        assert offered == pytest.approx(factor * GBIT, rel=1e-6)
        assert (task.load_bps, task.load_bytes) == (0, 0)
        assert len({(job.endpoint, job.id) for job in task.jobs}) == len(task.jobs)


def test_a_ce_that_is_tried_stays_a_spare_host() -> None:
    """The run goes on without the CE, also where it is to be an end of a load."""
    found = tasks(lab(ce=WITH_CE))
    assert "ce-1" in hosts(found) and spare(found) == {"ce-1"}


def test_a_ce_with_half_an_end_is_refused() -> None:
    """An address without iperf3, or the other way round, would be left out in silence."""
    with pytest.raises(Exception, match="needs `address` and `iperf3`"):
        lab(ce={**CE, "address": "10.10.0.1"})


def test_the_plan_says_what_is_loaded_and_which_ports_within_a_site(tmp_path: Path) -> None:
    """A change board reads that the circuit is left alone, a firewall team which rules are within one site."""
    order, steps = tmp_path / "circuit.yaml", tmp_path / "scenario.yaml"
    order.write_text(json.dumps(_as_written(TWO)))
    step = {"id": "ceiling", "measure": "ceiling"}
    steps.write_text(json.dumps({"format_version": 1, "id": "s", "title": "S", "steps": [step]}))
    said = {}
    for firewall in (False, True):
        console = Console(record=True, width=200, file=(tmp_path / "said").open("w"))
        dryrun.show_plan(order, str(steps), (), firewall, console)
        said[firewall] = console.export_text()
    assert "loads the hosts" in said[False] and "TCP is not paced" not in said[False]
    assert "# within the cloud" in said[True] and "from 192.168.10.10 to 192.168.10.20 port" in said[True]


def _as_written(order: Circuit) -> dict[str, Any]:
    ends = {
        host.name: {
            "site": host.site,
            "ssh": {"host": host.name},
            "interface": host.interface,
            "address": str(host.address),
            "ports": "862, 5201-5216",
        }
        for host in order.hosts
    }
    return {**ONE.source.data, "endpoints": ends, "pairs": [list(pair) for pair in order.pairs]}


# --- what it shows ----------------------------------------------------------------------------------


def store(tmp_path: Path, task: Task, order: Circuit, lost: int = 0, drops: int = 0) -> Measurement:
    """What one bracket leaves that offers 20 Mbit/s of payload, of which these packets are lost in each 0.2 s."""
    folder = evidence.create(tmp_path, "c", "r", {})
    for job in task.jobs:
        data = {"argv": ["iperf3"], "sockets": [{"kind": "udp", "drops": drops}]}
        where = f"raw/{task.id}/{job.endpoint}.{job.id}"
        folder.write_json(f"{where}/result.json", {"format_version": 1, "status": "completed", "data": data})
        folder.write(f"{where}/iperf3.json", report("client" if job.role is Role.DRIVE else "server", lost))
    folder.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    context = Context(order, *(order.endpoint(name) for name in order.pairs[0]))
    return REGISTRY["ceiling"].analyse(task, folder.files(task.id), context)


def bracket(sender: str, against: str, rate_bps: int = 20_000_000) -> Task:
    """A bracket of one process, which is to offer so much of payload."""
    kind = "loopback" if against == sender else "neighbour"
    (task,) = (
        task
        for task in tasks(TWO, against=kind, protocol="udp")
        if (task.scope.host, task.scope.bracket) == (sender, against)
    )
    jobs = [job for job in task.jobs if not job.id.endswith(("-1", "-2", "-3"))]
    return replace(
        task,
        jobs=tuple(
            replace(job, args={**job.args, "rate_bps": rate_bps}) if job.role is Role.DRIVE else job for job in jobs
        ),
    )


def bounds(found: Measurement) -> dict[tuple[str, Direction | None], tuple[float, bool]]:
    """By host and part of which direction: least Mbit/s, and whether there is a most."""
    assert found.status is Status.COMPLETED, found.reason
    return {
        (row.scope.host, row.scope.direction): (round(row.interval.lo / 1e6), row.interval.hi < math.inf)
        for row in found.observations
        if row.interval is not None
    }


def test_what_arrived_is_the_least_that_both_can_do(tmp_path: Path) -> None:
    """All of 20 Mbit/s arrived: one sends, the other takes at least that much, and nobody knows how much more."""
    found = store(tmp_path, bracket("ecs-a", "ecs-b"), TWO)
    assert bounds(found) == {("ecs-a", Z_A): (21, False), ("ecs-b", A_Z): (21, False)}


def test_what_is_lost_without_a_counter_bounds_both(tmp_path: Path) -> None:
    """Half is lost and no socket dropped it: either of the two may be at its limit."""
    found = store(tmp_path, bracket("ecs-a", "ecs-b"), TWO, lost=178)
    assert bounds(found) == {("ecs-a", Z_A): (10, True), ("ecs-b", A_Z): (10, True)}


def test_what_the_receivers_socket_dropped_bounds_the_receiver_alone(tmp_path: Path) -> None:
    """The sender sent all of it, and is not at its limit."""
    found = store(tmp_path, bracket("ecs-a", "ecs-b"), TWO, lost=178, drops=178 * 20)
    assert bounds(found) == {("ecs-a", Z_A): (10, False), ("ecs-b", A_Z): (10, True)}


def test_what_was_not_offered_bounds_the_sender_alone(tmp_path: Path) -> None:
    """Of 40 Mbit/s that were asked of it it sent 20, and all of them arrived."""
    found = store(tmp_path, bracket("ecs-a", "ecs-b", 40_000_000), TWO)
    assert bounds(found) == {("ecs-a", Z_A): (21, True), ("ecs-b", A_Z): (21, False)}


def test_a_loopback_bounds_nothing_from_above(tmp_path: Path) -> None:
    """One host did the work of two: by itself it may do more."""
    found = store(tmp_path, bracket("ecs-a", "ecs-a"), TWO, lost=178)
    assert bounds(found) == {("ecs-a", A_Z): (10, False), ("ecs-a", Z_A): (10, False)}


# --- what it excuses --------------------------------------------------------------------------------


def known(host: str, way: Direction, least: float, most: float, against: str = "ecs-b") -> Measurement:
    scope = Scope(CIRCUIT.id, "onprem-a:ecs-a", way, load="udp", host=host, bracket=against)
    task = Task(f"c-{host}-{against}", "ceiling", "ceiling", replace(scope, direction=None), (), 2.0)
    row = Observation("ceiling", "udp", scope, "bit/s", least, 7, Interval(least, most, 0.95, "one", "x"), Layer.L2)
    return Measurement(task, Status.COMPLETED, observations=(row,))


def slow(tmp_path: Path) -> tuple[Measurement, Any]:
    """A UDP load towards the cloud that carries 0.6 of 1 Gbit/s, by hosts that know of nothing."""
    rate = {"metric": "throughput.udp", "statistic": "mean", "at_least": "99.5% of order.bandwidth"}
    steps = scenario(tmp_path, pairs="each", judge=[rate])
    (task,) = make_plan(ONE, steps).tasks
    row = Observation(
        "throughput.udp", "mean", replace(task.scope, direction=A_Z), "bit/s", 0.6 * GBIT, 40,
        Interval(0.59 * GBIT, 0.61 * GBIT, 0.95, "one", "x", 40), Layer.L2, hosts=("onprem-a", "ecs-a"),
    )  # fmt: skip
    fit = tuple(Fitness(host, task.id, True, ()) for host in ("onprem-a", "ecs-a"))
    return Measurement(task, Status.COMPLETED, observations=(row,), fitness=fit), steps


def judged(tmp_path: Path, *brackets: Measurement) -> tuple[Finding, dict[str, Any]]:
    load, steps = slow(tmp_path)
    run = (*brackets, load)
    findings = judge(ONE, steps, run, (), TODAY, {}, ONE)
    (finding,) = (row for row in findings if row.metric == "throughput.udp")
    return finding, {cause.cause: cause for cause in diagnose(findings, run)}


@pytest.mark.parametrize(
    ("host", "cause", "segment", "owner"),
    [
        ("ecs-a", "ecs-instance-limit", Segment.HOST_Z, "cloud"),
        ("onprem-a", "host-cpu", Segment.HOST_A, "own"),
    ],
)
def test_a_host_that_can_do_no_more_makes_a_shortfall_undecided(
    tmp_path: Path, host: str, cause: str, segment: Segment, owner: str
) -> None:
    """The circuit may be healthy: one of its hosts cannot do what was ordered, and is named with whose it is."""
    finding, causes = judged(tmp_path, known(host, A_Z, 0.6 * GBIT, 0.62 * GBIT))
    assert finding.verdict is Verdict.INCONCLUSIVE and "does no more than 620" in finding.reason
    assert list(causes) == [cause]
    assert (causes[cause].segment, causes[cause].owner, causes[cause].findings) == (segment, owner, (finding.id,))


def test_hosts_that_can_do_more_leave_the_shortfall_to_the_circuit(tmp_path: Path) -> None:
    """The circuit is slow and both ends are proven: FAIL stays, and nothing is said of limits without a counter."""
    both = known("ecs-a", A_Z, 1.2 * GBIT, math.inf), known("onprem-a", A_Z, 1.2 * GBIT, math.inf, "onprem-b")
    finding, causes = judged(tmp_path, *both)
    assert finding.verdict is Verdict.FAIL
    assert UNSEEN_LIMIT not in causes["policed-below-order"].against


@pytest.mark.parametrize(
    "brackets",
    [
        (),
        (known("ecs-a", A_Z, 0.6 * GBIT, math.inf, "ecs-a"),),
        (known("ecs-a", Z_A, 0.6 * GBIT, 0.62 * GBIT),),
        (known("ecs-a", A_Z, 0.6 * GBIT, math.inf),),
        (known("ecs-a", A_Z, 0.6 * GBIT, 0.62 * GBIT), known("ecs-a", A_Z, 1.2 * GBIT, math.inf, "ecs-c")),
    ],
    ids=["none", "a loopback", "the other part", "no most", "another neighbour does better"],
)
def test_what_is_not_known_excuses_nothing(tmp_path: Path, brackets: tuple[Measurement, ...]) -> None:
    """FAIL stays, and the diagnosis says what may lie hidden."""
    finding, causes = judged(tmp_path, *brackets)
    assert finding.verdict is Verdict.FAIL
    assert UNSEEN_LIMIT in causes["policed-below-order"].against


def test_a_bound_that_the_load_itself_went_beyond_excuses_nothing(tmp_path: Path) -> None:
    """Against a weak CE it came to 0.31, and the load brought at least 0.59 of 1 Gbit/s through the same host: the
    circuit is slow, and no host is blamed. Neither for the loss, which is told of the same packets."""
    weak = known("onprem-a", A_Z, 0.3 * GBIT, 0.31 * GBIT, "ce-1")
    finding, causes = judged(tmp_path, weak)
    assert finding.verdict is Verdict.FAIL
    assert "policed-below-order" in causes and "host-cpu" not in causes
    load, _ = slow(tmp_path)
    lost = Observation("loss", "ratio", load.observations[0].scope, "1", 0.4, 1000)
    assert not limited(lost, 1e-3, load, (weak,))
    assert limited(lost, 1e-3, load, (known("onprem-a", A_Z, 0.6 * GBIT, 0.6 * GBIT, "ce-1"),))


def test_of_pairs_together_one_may_have_carried_what_another_did_not() -> None:
    """Two pairs share 1 Gbit/s and bring 0.6: of the one whose cloud host did 0.2 in its bracket run at least 0.1
    arrived, which is no proof that it can do more; 0.8 would be."""
    scope = Scope(CIRCUIT.id, "onprem-a+onprem-a:ecs-a+ecs-b", A_Z, load="udp")
    task = Task("udp", "udp", "throughput", scope, (), 30.0, load_bps=GBIT)
    for rate, unfit in ((0.6, ["ecs-a"]), (0.8, [])):
        exact = Interval(rate * GBIT, rate * GBIT, 0.95, "one", "x")
        seen = Observation("throughput.udp", "mean", scope, "bit/s", rate * GBIT, 9, exact, Layer.L2)
        item = Measurement(task, Status.COMPLETED, observations=(seen,))
        told = limited(seen, 0.995 * GBIT, item, (known("ecs-a", A_Z, 0.2 * GBIT, 0.2 * GBIT),))
        assert [each.host for each in told] == unfit


@pytest.mark.parametrize(
    ("most", "verdict", "cause"),
    [
        (0.8, Verdict.INCONCLUSIVE, "ecs-instance-limit"),  # an instance drops what is beyond without a counter in it
        (1.05, Verdict.FAIL, "policed-below-order"),  # the search offered more than that, but no more is required
        (math.inf, Verdict.FAIL, "policed-below-order"),
    ],
)
def test_a_capacity_that_a_host_cannot_show_is_undecided(most: float, verdict: Verdict, cause: str) -> None:
    """All left the sender and 0.78 of the order arrived: by its counters that is an overload of the circuit, but an
    instance that does no more than 0.8 without the circuit looks the same. The report says so wherever it says why."""
    steps = load_scenario("capacity")
    task = next(task for task in make_plan(ONE, steps).tasks if task.id.endswith("capacity-a-z"))
    row = Observation(
        "capacity.sustained", "mean", replace(task.scope, direction=A_Z), "bit/s", 0.78 * GBIT, 20,
        Interval(0.779 * GBIT, 0.781 * GBIT, 0.95, "one", "x", 20), Layer.L2, hosts=("onprem-a", "ecs-a"),
    )  # fmt: skip
    fit = tuple(Fitness(host, task.id, True, ()) for host in row.hosts)
    limit = {"what": "circuit", "how": "policer", "host": "", "reasons": ["0.98 were offered"]}
    facts = {"capacity": {"a-z": {"limited_by": limit, "packet_bytes": 1400, "layer": "L2"}}}
    found = Measurement(task, Status.COMPLETED, observations=(row,), fitness=fit, facts=facts)
    run = (known("ecs-a", A_Z, min(most, 1.2) * GBIT, most * GBIT), found)
    findings = judge(ONE, steps, run, (), TODAY, {}, ONE)
    (finding,) = (each for each in findings if each.task == task.id)
    assert finding.verdict is verdict
    by, why = limited_by(findings, run, steps)
    left_open = verdict is Verdict.INCONCLUSIVE
    assert (by, "ecs-a: a bracket run" in why) == (
        ("not told: circuit or ecs-a", True) if left_open else ("circuit, policed", False)
    )
    (said,) = diagnose(findings, run)
    assert said.cause == cause
    assert verdict is Verdict.INCONCLUSIVE or UNSEEN_LIMIT in said.against  # the other host was not tried


def limited_by(findings: tuple[Finding, ...], run: tuple[Measurement, ...], steps: Scenario) -> tuple[str, str]:
    """What the report's section says of it, and why."""
    told = replace(run_builder.passing(), findings=findings, measurements=run)
    tables = [block for block in capacity.build(Dossier(told, ONE, steps)).blocks if isinstance(block, Table)]
    (row,) = tables[-1].rows
    return row.cells[1].text, row.cells[2].text


def test_the_services_of_a_step_ask_for_their_sum() -> None:
    """Two services at 0.3 and 0.5 of the order at once: a host that does 0.6 cannot show them, in this direction."""
    scope = Scope(ONE.id, "onprem-a:ecs-a", Direction.BOTH, load="CIR both ways")
    steps = [
        {"direction": way, "load": load, "intended_bps": share * GBIT}
        for way, load, share in (("a-z", scope.load, 0.3), ("a-z", scope.load, 0.5), ("z-a", scope.load, 0.1))
    ]
    task = Task("performance", "performance", "service-performance", scope, (), 30.0, load_bps=GBIT)
    item = Measurement(task, Status.COMPLETED, facts={"steps": steps})
    run = (known("ecs-a", A_Z, 0.6 * GBIT, 0.6 * GBIT), known("ecs-a", Z_A, 0.6 * GBIT, 0.6 * GBIT))
    for way, unfit in ((A_Z, ["ecs-a"]), (Z_A, [])):
        lost = Observation("loss", "ratio", replace(scope, direction=way, service="EF"), "1", 0.25, 1000)
        assert [told.host for told in limited(lost, 1e-3, item, run)] == unfit


def test_a_pair_among_several_is_asked_for_its_share() -> None:
    """Of 1 Gbit/s that two pairs share each cloud host takes half, an on-prem host of both sends all."""
    scope = Scope(CIRCUIT.id, "onprem-a+onprem-a:ecs-a+ecs-b", A_Z, load="udp")
    assert [asked_bps(host, scope, GBIT) for host in ("ecs-a", "ecs-b", "onprem-a")] == [GBIT / 2, GBIT / 2, GBIT]
    assert ceiling("ecs-a", A_Z, ()) is None


def test_packets_that_would_be_fragmented_are_refused() -> None:
    """As of any other load: 1,500 bytes of payload do not fit the order's packets."""
    with pytest.raises(PydanticCustomError, match="do not fit the ordered MTU"):
        tasks(ONE, packet="1500B")
