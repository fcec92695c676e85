"""Observations × criteria → findings, and the verdict of the run.

For every criterion, task and direction that the plan promised there is exactly one finding: what did not come is
NOT_RUN with its reason. Figures without a criterion are findings too, without a verdict of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import product

from perfharness.judge.background import busy
from perfharness.judge.bursts import bursts
from perfharness.judge.ceiling import limited
from perfharness.judge.criteria import resolve
from perfharness.judge.filtered import nothing_came, swallowed
from perfharness.judge.interface import full
from perfharness.judge.unsaid import read_kindly
from perfharness.judge.verdict import decide
from perfharness.model import (
    Criterion,
    Finding,
    Fitness,
    Measurement,
    Observation,
    Scope,
    Status,
    Verdict,
)
from perfharness.order.check import Check
from perfharness.order.circuit import Circuit, Pair
from perfharness.order.scenario import METRICS, CriterionSpec, Scenario

REPORTED = "Reported; nothing was required of it."
INFORMS = {("throughput.tcp", "single"): ("EC-038",)}
"""Rows of the checklist that a figure answers for information, though nothing is required of it."""
NO_AGENT = "{} is a router that answers probes by itself and takes no agent: this cannot be measured to it."
NO_LONGER = "No longer in the order: the run was measured by an order that required this, the present one does not."
UNDECIDED = (Verdict.INCONCLUSIVE, Verdict.NOT_RUN)


def judge(
    circuit: Circuit,
    scenario: Scenario,
    measurements: Sequence[Measurement],
    declared: Iterable[Check],
    today: date,
    left_behind: Mapping[str, str] | None,
    first: Circuit | None = None,
) -> tuple[Finding, ...]:
    """All findings: what was declared, then step by step what was required, then what was only reported.

    ``left_behind``: hosts on which it could not be seen that our agent has gone, and why; None = nobody knows.
    ``first``: the order by which the run was measured, where ``circuit`` is another one.
    """
    found = [_declared(check, circuit) for check in declared]
    for step in scenario.steps:
        taken = [measurement for measurement in measurements if measurement.task.step == step.id]
        for spec in step.judge:
            if any(spec.directions(measurement.task) for measurement in taken):
                found += _beyond_routers(spec, taken, circuit, scenario)
            else:
                found += _unanswered(spec, step.id, circuit, scenario)
        for measurement in taken:
            judged: set[int] = set()
            for spec in step.judge:
                found += _judged(spec, measurement, measurements, (circuit, first or circuit), scenario, judged)
            found += [
                _finding(observation, measurement, Verdict.NOT_APPLICABLE, observation.reason or REPORTED)
                for observation in measurement.observations
                if id(observation) not in judged
            ]
    found.append(_footprint(circuit, left_behind))
    return tuple(
        _waived(replace(finding, id=f"F{number:03d}"), circuit, today) for number, finding in enumerate(found, 1)
    )


def verdict_of(findings: Sequence[Finding], intact: bool = True) -> Verdict:
    """FAIL if a mandatory finding failed, else INCONCLUSIVE if one is undecided or not run, else PASS.

    Evidence that is no longer intact decides nothing. A run in which nothing that was measured passed did not pass:
    waivers alone accept no circuit.
    """
    mandatory = [finding.verdict for finding in findings if finding.mandatory]
    measured = [finding.verdict for finding in findings if finding.mandatory and finding.task]
    if not intact:
        return Verdict.INCONCLUSIVE
    if Verdict.FAIL in mandatory:
        return Verdict.FAIL
    if Verdict.PASS not in measured or any(verdict in UNDECIDED for verdict in mandatory):
        return Verdict.INCONCLUSIVE
    return Verdict.PASS


def _judged(
    spec: CriterionSpec,
    measurement: Measurement,
    run: Sequence[Measurement],
    orders: tuple[Circuit, Circuit],
    scenario: Scenario,
    judged: set[int],
) -> Iterator[Finding]:
    """``orders``: the one to judge by, and the one by which was measured."""
    a, z = measurement.task.scope.pair.split(":")
    by, first = (resolve(spec, order, (a, z), scenario.id) for order in orders)
    criterion = by or first
    if criterion is None:
        return
    task = measurement.task
    for load, direction, service in product(spec.loads(task), spec.directions(task), spec.services(task)):
        asked = replace(task.scope, direction=direction, service=service, load=load)
        observation = _observed(spec, asked, measurement)
        if observation is None:
            missing = _missing(criterion, asked, measurement)
            yield missing if by else replace(missing, verdict=Verdict.NOT_APPLICABLE, reason=NO_LONGER)
            continue
        judged.add(id(observation))
        if by is None:
            yield _finding(observation, measurement, Verdict.NOT_APPLICABLE, NO_LONGER, criterion)
            continue
        observation = read_kindly(observation, criterion, measurement, orders[0])
        verdict, reason = decide(observation, criterion, measurement.fitness)
        if verdict in (Verdict.FAIL, Verdict.WARN) or (verdict is Verdict.INCONCLUSIVE and nothing_came(observation)):
            excuses = _excuses(observation, criterion, measurement, run, orders[0])
            verdict, reason = decide(observation, criterion, (*measurement.fitness, *excuses))
        yield _finding(observation, measurement, verdict, reason, criterion)


def _excuses(
    observation: Observation,
    criterion: Criterion,
    measurement: Measurement,
    run: Sequence[Measurement],
    circuit: Circuit,
) -> list[Fitness]:
    """What other measurements of the run tell that may explain why a figure failed, and never why one passed: for a
    load what the hosts are and can do, e.g. a slow interface, and what an even load found; for probes of which none
    came a packet filter."""
    found = list(swallowed(measurement, run)) if nothing_came(observation) else []
    found += limited(observation, criterion.threshold, measurement, run)
    found += bursts(observation, measurement, run)
    found += full(observation, measurement, run, circuit)
    found += busy(observation, criterion.threshold, measurement)
    if observation.scope.load != "idle":
        pairs = measurement.task.scope.pairs
        hosts = (other for other in run if other.task.measurement == "host" and other.task.scope.pairs[0] in pairs)
        found += [fitness for other in hosts for fitness in other.fitness]
    return found


def _unanswered(spec: CriterionSpec, step: str, circuit: Circuit, scenario: Scenario) -> Iterator[Finding]:
    """A requirement that no task of its step can answer is NOT_RUN: it must not vanish."""
    criterion = resolve(spec, circuit, circuit.pairs[0], scenario.id)
    if criterion is not None:
        asked = " ".join(
            filter(None, (spec.metric, spec.statistic, "" if spec.direction == "each" else spec.direction))
        )
        load = f" under load {spec.load}" if spec.load else ""
        load += f" in class {spec.service}" if spec.service else ""
        scope = Scope(circuit=circuit.id, load=spec.load or "idle")
        routers = "".join(f" {NO_AGENT.format(name)}" for name in dict.fromkeys(_router_pairs(circuit).values()))
        yield _not_run(criterion, scope, f"No task of step {step} measures {asked}{load}.{routers}", "")


def _beyond_routers(
    spec: CriterionSpec, taken: Sequence[Measurement], circuit: Circuit, scenario: Scenario
) -> Iterator[Finding]:
    """What other pairs answer and a pair with a router cannot is NOT_APPLICABLE to it: said, not passed over."""
    for pair, router in _router_pairs(circuit).items():
        name = ":".join(pair)
        criterion = resolve(spec, circuit, pair, scenario.id)
        answered = any(spec.directions(each.task) for each in taken if each.task.scope.pair == name)
        if criterion is not None and not answered:
            scope = Scope(circuit=circuit.id, pair=name, load=spec.load or "idle")
            missing = _not_run(criterion, scope, NO_AGENT.format(router), "")
            yield replace(missing, verdict=Verdict.NOT_APPLICABLE, mandatory=False)


def _router_pairs(circuit: Circuit) -> dict[Pair, str]:
    """Pairs of which one end takes no agent, and that end's name."""
    agents = {host.name for host in circuit.hosts}
    return {pair: name for pair in circuit.pairs for name in pair if name not in agents}


def _observed(spec: CriterionSpec, asked: Scope, measurement: Measurement) -> Observation | None:
    wanted = (spec.metric, spec.statistic, asked.pair, asked.direction, asked.service, asked.load)
    for seen in measurement.observations:
        scope = seen.scope
        if (seen.metric, seen.statistic, scope.pair, scope.direction, scope.service, scope.load) == wanted:
            return seen
    return None


def _finding(
    observation: Observation,
    measurement: Measurement,
    verdict: Verdict,
    reason: str,
    criterion: Criterion | None = None,
) -> Finding:
    return Finding(
        id="",
        metric=observation.metric,
        statistic=observation.statistic,
        scope=replace(observation.scope, window=observation.scope.window or measurement.window),
        unit=observation.unit,
        value=observation.value,
        verdict=verdict,
        reason=reason,
        checklist=criterion.checklist if criterion else _informs(observation),
        layer=observation.layer,
        interval=observation.interval,
        n=observation.n,
        operator=criterion.operator if criterion else None,
        threshold=criterion.threshold if criterion else None,
        origin=criterion.origin if criterion else "",
        mandatory=criterion.mandatory if criterion else False,
        evidence=observation.evidence,
        task=measurement.task.id,
    )


def _informs(observation: Observation) -> tuple[str, ...]:
    return () if observation.value is None else INFORMS.get((observation.metric, observation.statistic), ())


def _missing(criterion: Criterion, asked: Scope, measurement: Measurement) -> Finding:
    if measurement.status is Status.COMPLETED:
        reason = f"{measurement.task.measurement} gave no {criterion.metric} {criterion.statistic}."
    else:
        was = "" if measurement.status is Status.FAILED else "was "
        reason = f"The measurement {was}{measurement.status.value}: {measurement.reason}"
    return _not_run(criterion, replace(asked, window=measurement.window), reason, measurement.task.id)


def _not_run(criterion: Criterion, scope: Scope, reason: str, task: str) -> Finding:
    return Finding(
        id="",
        metric=criterion.metric,
        statistic=criterion.statistic,
        scope=scope,
        unit=criterion.unit,
        value=None,
        verdict=Verdict.NOT_RUN,
        reason=reason,
        checklist=criterion.checklist,
        layer=criterion.layer,
        operator=criterion.operator,
        threshold=criterion.threshold,
        origin=criterion.origin,
        mandatory=criterion.mandatory,
        task=task,
    )


def _declared(check: Check, circuit: Circuit) -> Finding:
    """A row of the checklist that the circuit file itself answers."""
    return Finding(
        id="",
        metric="portspec",
        statistic="declared",
        scope=Scope(circuit=circuit.id),
        unit=METRICS["portspec"],
        value=None,
        verdict=check.verdict,
        reason=check.message,
        checklist=(check.row,),
        origin="circuit file",
        mandatory=check.mandatory or check.verdict is Verdict.FAIL,
        evidence=("order/circuit.yaml",),
    )


def _footprint(circuit: Circuit, left_behind: Mapping[str, str] | None) -> Finding:
    """EC-066: after the run nothing of ours is on any host. It says nothing of the circuit."""
    if left_behind is None:
        verdict, reason = Verdict.NOT_RUN, "The run was cut short: the agents leave when their lease ends."
    elif left_behind:
        verdict = Verdict.WARN
        reason = "; ".join(f"{host}: {why}" for host, why in left_behind.items()) + " Use `perfharness clean`."
    else:
        verdict, reason = Verdict.PASS, "Each agent was seen to leave: no process and no folder of ours remains."
    return Finding(
        id="",
        metric="footprint",
        statistic="left",
        scope=Scope(circuit=circuit.id),
        unit="",
        value=None if left_behind is None else len(left_behind),
        operator="==",
        threshold=0,
        origin="perfharness itself",
        verdict=verdict,
        reason=reason,
        checklist=("EC-066",),
        evidence=() if left_behind is None else ("end.json",),
    )


def _waived(finding: Finding, circuit: Circuit, today: date) -> Finding:
    """A row that did not pass and that somebody decided not to hold, for now, says who, why and until when."""
    if finding.verdict not in (Verdict.FAIL, Verdict.WARN, *UNDECIDED):
        return finding
    rows = {waiver.row: waiver for waiver in circuit.waivers if today <= waiver.until}
    waived = [rows[row] for row in finding.checklist if row in rows]
    if not waived or len(waived) < len(finding.checklist):
        return finding
    words = "; ".join(f"waived by {w.who} until {w.until}: {w.why}" for w in waived)
    return replace(finding, verdict=Verdict.WAIVED, reason=f"{finding.reason} {finding.verdict.value}, {words}.")
