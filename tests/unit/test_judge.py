"""Observations × criteria → findings, and the verdict of a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from perfharness.judge.criteria import resolve
from perfharness.judge.judge import judge, verdict_of
from perfharness.model import (
    Direction,
    Finding,
    Fitness,
    Interval,
    Layer,
    Measurement,
    Observation,
    Role,
    Status,
    Task,
    Verdict,
)
from perfharness.order.circuit import Circuit, load_circuit
from perfharness.order.scenario import METRICS, CriterionSpec, Scenario, find_shipped, load_scenario
from perfharness.plan import make_plan

TODAY = date(2027, 1, 1)


def lab(**changes: object) -> Circuit:
    return Circuit.model_validate({**load_circuit(find_shipped("circuits/lab")).source.data, **changes})


def vbr(**more: object) -> dict[str, object]:
    """The lab's, as one whose MTU the order does not say, or says so."""
    told = load_circuit(find_shipped("circuits/lab")).source.data["vbrs"][0]
    return {key: value for key, value in told.items() if key != "mtu"} | more


def smoke() -> Scenario:
    """Of the path MTU it asks for the largest packet alone."""
    shipped = load_scenario("smoke")
    steps = [
        step.model_copy(update={"judge": tuple(spec for spec in step.judge if spec.statistic == "largest")})
        if step.id == "pmtu"
        else step
        for step in shipped.steps
    ]
    return shipped.model_copy(update={"steps": tuple(steps)})


def tasks(name: str) -> list[Task]:
    """Those of a step; what one task measures of both directions is a task for each here."""
    return [
        replace(task, id=f"{task.id}-{way}", scope=replace(task.scope, direction=way), yields={name: (way,)})
        if task.scope.direction is Direction.BOTH
        else task
        for task in make_plan(lab(), smoke()).tasks
        if task.step == name
        for way in ((Direction.A_Z, Direction.Z_A) if task.scope.direction is Direction.BOTH else (None,))
    ]


def findings(
    *measurements: Measurement, circuit: Circuit | None = None, scenario: Scenario | None = None
) -> tuple[Finding, ...]:
    found = judge(circuit or lab(), scenario or smoke(), measurements, (), TODAY, {}, lab())
    return tuple(finding for finding in found if finding.task)


def pmtu(task: Task, size: int) -> Measurement:
    observation = Observation(
        "pmtu", "largest", task.scope, "B", size, 9, Interval(size, size, 1.0, "exact", "search"), evidence=("x",)
    )
    return Measurement(task, Status.COMPLETED, observations=(observation,))


def test_a_figure_is_judged_against_the_order() -> None:
    """A path MTU below the objective fails, and the finding says whose threshold it was."""
    there, back = tasks("pmtu")
    first, second = findings(pmtu(there, 1500), pmtu(back, 1400))
    assert (first.verdict, second.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert (second.threshold, second.operator, second.checklist) == (1500, ">=", ("EC-029",))
    assert "order" in second.origin


def test_what_did_not_come_is_not_run() -> None:
    """A measurement that broke gives NOT_RUN with its reason for everything that it had promised."""
    (task,) = tasks("latency")
    found = findings(Measurement(task, Status.FAILED, reason="the reflector broke"))
    assert {finding.verdict for finding in found} == {Verdict.NOT_RUN}
    assert all("the reflector broke" in finding.reason for finding in found)
    assert {finding.metric for finding in found} == {
        "delay.rtt", "variation.pdv", "loss", "reordering", "duplication"
    }  # fmt: skip
    assert {f.scope.direction for f in found if f.metric == "loss"} == {Direction.A_Z, Direction.Z_A}


def test_a_completed_measurement_cannot_leave_a_required_figure_out() -> None:
    """A figure that is missing from a completed measurement is NOT_RUN, not silently absent."""
    there, _ = tasks("pmtu")
    (finding,) = findings(Measurement(there, Status.COMPLETED))
    assert (finding.verdict, finding.mandatory) == (Verdict.NOT_RUN, True)


def test_a_default_is_used_where_the_order_says_nothing_and_says_so() -> None:
    """Without an objective the scenario's default judges, with its origin."""
    there, _ = tasks("pmtu")
    (finding,) = findings(pmtu(there, 1500), circuit=lab(objectives={}, vbrs=[vbr()]))
    assert (finding.verdict, finding.threshold) == (Verdict.PASS, 1500)
    assert finding.origin.startswith("default of scenario smoke")


def test_the_ordered_mtu_of_the_vbr_is_the_objective_where_no_other_is_said() -> None:
    """8500 that were ordered are not judged by a default of 1500."""
    there, _ = tasks("pmtu")
    (finding,) = findings(pmtu(there, 1500), circuit=lab(objectives={}, vbrs=[vbr(mtu="8500")]))
    assert (finding.verdict, finding.threshold) == (Verdict.FAIL, 8500)
    assert finding.origin == "order: MTU of vbr-lab-a"


def test_what_a_corrected_order_no_longer_asks_stays_a_row() -> None:
    """An objective that the corrected order drops is NOT_APPLICABLE with what was required, measured or not."""
    there, back = tasks("pmtu")
    steps = tuple(
        step.model_copy(update={"judge": tuple(spec.model_copy(update={"default": None}) for spec in step.judge)})
        for step in smoke().steps
    )
    scenario = smoke().model_copy(update={"steps": steps})
    taken = (pmtu(there, 1400), Measurement(back, Status.FAILED, reason="x"))
    found = findings(*taken, circuit=lab(objectives={}, vbrs=[vbr()]), scenario=scenario)
    assert [(row.verdict, row.value) for row in found] == [
        (Verdict.NOT_APPLICABLE, 1400),
        (Verdict.NOT_APPLICABLE, None),
    ]
    assert all(row.reason.startswith("No longer in the order") for row in found)
    assert {(row.operator, row.threshold, row.checklist) for row in found} == {(">=", 1500, ("EC-029",))}
    assert verdict_of(found) is Verdict.INCONCLUSIVE


def test_figures_without_a_requirement_are_reported_without_a_verdict() -> None:
    """What nobody required is a finding all the same, NOT_APPLICABLE."""
    there, _ = tasks("pmtu")
    extra = Observation("path", "hops", there.scope, "", 4, 1)
    found = findings(replace(pmtu(there, 1500), observations=(*pmtu(there, 1500).observations, extra)))
    assert [finding.verdict for finding in found] == [Verdict.PASS, Verdict.NOT_APPLICABLE]


def test_a_single_stream_answers_its_row_for_information() -> None:
    """Nothing is required of it, so it has no verdict; but the checklist's row of it is not passed over. What was not
    measured answers nothing."""
    task = tasks("tcp")[0]
    for value, rows in ((2e8, ("EC-038",)), (None, ())):
        single = Observation("throughput.tcp", "single", task.scope, "bit/s", value, 1)
        found = findings(Measurement(task, Status.COMPLETED, observations=(single,)))
        (row,) = (finding for finding in found if finding.statistic == "single")
        assert (row.operator, row.checklist) == (None, rows)


def test_a_waiver_speaks_for_its_row_until_its_day() -> None:
    """A failed row with a waiver is WAIVED with who, why and until when; after that day it fails again."""
    there, _ = tasks("pmtu")
    waiver = {"row": "EC-029", "who": "Head of Networks", "why": "ordered for May", "until": "2027-01-01"}
    (finding,) = findings(pmtu(there, 1400), circuit=lab(waivers=[waiver]))
    assert finding.verdict is Verdict.WAIVED
    assert "FAIL, waived by Head of Networks until 2027-01-01: ordered for May" in finding.reason
    (finding,) = findings(pmtu(there, 1400), circuit=lab(waivers=[{**waiver, "until": "2026-12-31"}]))
    assert finding.verdict is Verdict.FAIL


def test_a_rate_is_judged_at_the_layer_of_the_order() -> None:
    """A rate measured at another layer than the ordered one decides nothing."""
    task = tasks("udp")[0]
    rate = Observation(
        "throughput.udp",
        "mean",
        replace(task.scope, direction=Direction.A_Z),
        "bit/s",
        1.0e9,
        10,
        Interval(0.999e9, 1.001e9, 0.95, "one", "bootstrap", 10),
        Layer.L4,
        ("x",),
    )
    verdicts = [
        next(f for f in findings(Measurement(task, Status.COMPLETED, observations=(seen,))) if f.metric == rate.metric)
        for seen in (rate, replace(rate, layer=Layer.L2))
    ]
    assert [finding.verdict for finding in verdicts] == [Verdict.INCONCLUSIVE, Verdict.PASS]


@pytest.mark.parametrize("metric", [metric for metric, unit in METRICS.items() if unit == "bit/s"])
def test_every_rate_is_required_at_the_layer_of_the_order(metric: str) -> None:
    """One that was required at none could never be decided."""
    spec = CriterionSpec(metric=metric, statistic="mean", at_least="1Mbps", mandatory=False)
    criterion = resolve(spec, lab(), lab().pairs[0], "smoke")
    assert criterion is not None and criterion.layer is Layer.L2


@pytest.mark.parametrize(
    ("layer", "rate", "lost", "verdicts"),
    [
        (None, 0.984e9, 0.016, [Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE]),
        ("L2", 0.984e9, 0.016, [Verdict.FAIL, Verdict.FAIL]),
        (None, 0.95e9, 0.05, [Verdict.FAIL, Verdict.FAIL]),
        (None, 1.0e9, 0.0, [Verdict.PASS, Verdict.PASS]),
    ],
)
def test_a_layer_that_the_order_does_not_say_fails_no_circuit(
    layer: str | None, rate: float, lost: float, verdicts: list[Verdict]
) -> None:
    """A port of 1 Gbit/s brings 984 Mbit/s at L2 and loses the rest of what is offered there: if L1 was ordered it is
    well. What falls short by that reading too fails."""
    circuit = lab(rate_layer=layer)
    task = tasks("udp")[0]
    scope = replace(task.scope, direction=Direction.A_Z, frame_bytes=1442)
    exact: dict[str, Any] = {"confidence": 0.95, "sides": "one", "method": "test"}
    seen = (
        Observation("throughput.udp", "mean", scope, "bit/s", rate, 10, Interval(rate, rate, **exact), Layer.L2),
        Observation("loss", "ratio", scope, "1", lost, 10**6, Interval(lost * 0.99, lost * 1.01, **exact)),
    )
    found = judge(circuit, smoke(), [Measurement(task, Status.COMPLETED, observations=seen)], (), TODAY, {}, circuit)
    by_metric = {each.metric: each for each in found if each.task and each.scope.direction is Direction.A_Z}
    assert [by_metric[each.metric].verdict for each in seen] == verdicts
    for each in by_metric.values():
        assert ("does not say which bits" in each.reason) is (each.verdict is Verdict.INCONCLUSIVE)


def test_a_requirement_that_no_task_can_answer_does_not_vanish() -> None:
    """A metric, a direction or a load that its step never measures is NOT_RUN, and the run is no PASS."""
    there, back = tasks("pmtu")
    step = next(step for step in smoke().steps if step.id == "pmtu")
    taken = (pmtu(there, 1500), pmtu(back, 1500))
    for asked in (
        {"metric": "vlan", "statistic": "seen", "equals": "true"},
        {"metric": "pmtu", "statistic": "largest", "at_least": "1500B", "direction": "both"},
        {"metric": "pmtu", "statistic": "largest", "at_least": "1500B", "load": "tcp"},
    ):
        spec = CriterionSpec.model_validate(asked)
        scenario = smoke().model_copy(update={"steps": (step.model_copy(update={"judge": (*step.judge, spec)}),)})
        found = judge(lab(), scenario, taken, (), TODAY, {})
        (missed,) = (finding for finding in found if finding.verdict is Verdict.NOT_RUN)
        assert (missed.metric, missed.mandatory) == (asked["metric"], True)
        assert "No task of step pmtu measures" in missed.reason
        assert verdict_of(found) is Verdict.INCONCLUSIVE


def test_a_slow_interface_explains_a_failed_load_but_no_passed_one() -> None:
    """What a host is was seen in another step: it keeps a rate from failing, and leaves other findings alone."""
    (host,) = tasks("host")
    task, names = tasks("udp")[0], ("onprem-a", "ecs-a")
    slow = Measurement(
        host,
        Status.COMPLETED,
        fitness=(Fitness(names[0], host.id, False, ("its interface is slow",)), Fitness(names[1], host.id, True, ())),
    )
    for value, verdict in ((5e8, Verdict.INCONCLUSIVE), (1e9, Verdict.PASS)):
        rate = Observation(
            "throughput.udp",
            "mean",
            replace(task.scope, direction=Direction.A_Z),
            "bit/s",
            value,
            10,
            Interval(value, value, 0.95, "one", "test", 10),
            Layer.L2,
            hosts=names,
        )
        fit = tuple(Fitness(name, task.id, True, ()) for name in names)
        measured = Measurement(task, Status.COMPLETED, observations=(rate,), fitness=fit)
        found = findings(slow, measured)
        (finding,) = (finding for finding in found if finding.metric == "throughput.udp")
        assert finding.verdict is verdict
        assert ("its interface is slow" in finding.reason) is (verdict is Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("speed", "rate", "lost", "wanted"),
    [
        (10**9, 0.984e9, 0.016, Verdict.INCONCLUSIVE),
        (10**9, 0.9e9, 0.1, Verdict.FAIL),
        (10**10, 0.984e9, 0.016, Verdict.FAIL),
        (None, 0.984e9, 0.016, Verdict.FAIL),
    ],
    ids=["full", "not full", "wide", "not known"],
)
def test_a_receivers_full_interface_is_its_own(speed: int | None, rate: float, lost: float, wanted: Verdict) -> None:
    """1 Gbit/s at L2 arrives, and a host's port of 1 Gbit/s takes 984 Mbit/s of it: its last link is not the circuit;
    what leaves room in that port is."""
    (host,), task, names = tasks("host"), tasks("udp")[0], ("onprem-a", "ecs-a")
    facts = {names[0]: {"nic": {"speed_bps": 10**10}}, names[1]: {"nic": {"speed_bps": speed}}}
    scope = replace(task.scope, direction=Direction.A_Z, frame_bytes=1442)
    exact: dict[str, Any] = {"confidence": 0.95, "sides": "one", "method": "test"}
    seen = (
        Observation(
            "throughput.udp", "mean", scope, "bit/s", rate, 9, Interval(rate, rate, **exact), Layer.L2, hosts=names
        ),
        Observation("loss", "ratio", scope, "1", lost, 9**6, Interval(lost * 0.99, lost * 1.01, **exact), hosts=names),
    )
    fit = tuple(Fitness(name, task.id, True, ()) for name in names)
    load = Measurement(task, Status.COMPLETED, observations=seen, fitness=fit)
    found = findings(Measurement(host, Status.COMPLETED, facts=facts), load)
    told = [each for each in found if each.task == task.id and each.operator and each.value is not None]
    assert [each.verdict for each in told] == [wanted, wanted]


def test_waivers_alone_accept_no_circuit() -> None:
    """A run whose every mandatory row was waived, measured or not, has shown nothing."""
    there, _ = tasks("pmtu")
    waived = replace(findings(pmtu(there, 1400))[0], verdict=Verdict.WAIVED)
    assert verdict_of((waived,)) is Verdict.INCONCLUSIVE
    assert verdict_of((waived, *findings(pmtu(there, 1500)))) is Verdict.PASS


def test_the_verdict_of_a_run() -> None:
    """FAIL dominates, then what is undecided or not run; nothing measured or damaged evidence is no PASS."""
    there, _ = tasks("pmtu")
    good, bad = findings(pmtu(there, 1500)), findings(pmtu(there, 1400))
    undecided = findings(Measurement(there, Status.FAILED, reason="x"))
    assert verdict_of(good) is Verdict.PASS
    assert verdict_of(good + undecided) is Verdict.INCONCLUSIVE
    assert verdict_of(good + undecided + bad) is Verdict.FAIL
    assert verdict_of(()) is Verdict.INCONCLUSIVE
    assert verdict_of(good, intact=False) is Verdict.INCONCLUSIVE
    assert verdict_of(tuple(replace(f, mandatory=False) for f in bad) + good) is Verdict.PASS


def test_every_step_of_the_shipped_scenarios_is_answered() -> None:
    """Each judge line of the shipped scenarios asks for a metric that one of its step's tasks yields."""
    for name in ("smoke", "acceptance", "classes", "capacity"):
        scenario = load_scenario(name)
        plan = make_plan(lab(), scenario)
        for step in scenario.steps:
            yielded = {metric for task in plan.tasks if task.step == step.id for metric in task.yields}
            assert {spec.metric for spec in step.judge} <= yielded, step.id
            assert all(job.role in Role for task in plan.tasks for job in task.jobs)
