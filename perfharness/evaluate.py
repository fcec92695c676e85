"""Run folder → judged run: a pure function of the evidence, the same years later and offline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from perfharness.errors import BadInput, EvidenceBroken
from perfharness.evidence import RunFolder
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.judge import judge, verdict_of
from perfharness.measurements import measurable
from perfharness.measurements.without import held
from perfharness.model import Finding, Measurement, Observation, Plan, Run, Status, Task, Verdict
from perfharness.order.circuit import Circuit, load_circuit
from perfharness.order.scenario import Scenario, load_scenario
from perfharness.order.sense import checks
from perfharness.plan import attempt, from_json, with_own_criteria

FAILED = (Verdict.FAIL, Verdict.WARN)
"""What no other attempt at a task makes good."""


def evaluate(
    folder: RunFolder, about: Mapping[str, Any], corrected: Circuit | None = None
) -> tuple[Run, Circuit, Scenario]:
    """Analyse, judge and diagnose a run; ``corrected`` is an order that replaces the one of the run.

    Raises EvidenceBroken for files that are missing or damaged, BadInput for an order that cannot be read.
    """
    first = load_circuit(folder.path / "order/circuit.yaml")
    circuit = corrected or first
    scenario = with_own_criteria(load_scenario(str(folder.path / "order/scenario.yaml")), circuit)
    plan = from_json(folder.read_json("plan.json"), str(folder.path / "plan.json"))
    _must_name_the_hosts(circuit, plan)
    end = folder.read_json("end.json")
    damaged = tuple(folder.verify())
    measurements = tuple(_measured(task, folder, circuit, scenario) for task in plan.tasks)
    started = str(about["started"])
    day = date.fromisoformat(started[:10])
    declared = checks(circuit, day, _companion(folder))
    findings = judge(circuit, scenario, measurements, declared, day, end["left_behind"] if end else None, first)
    notes = tuple(end["notes"]) if end else ("The run was cut short: it left no end.json.",)
    run = Run(
        run_id=str(about["run_id"]),
        circuit=circuit.id,
        scenario=scenario.id,
        started=started,
        ended=str(end["ended"]) if end else "",
        version=str(about["version"]),
        verdict=verdict_of(findings, intact=not damaged),
        findings=findings,
        diagnosis=diagnose(findings, measurements),
        measurements=measurements,
        evidence=folder.manifest(),
        notes=notes + damaged,
    )
    return run, circuit, scenario


def why_again(task: Task, folder: RunFolder, circuit: Circuit, scenario: Scenario) -> str:
    """What the hosts of a task that was just completed fell short of, where that left a row open; else empty.

    A row that failed stands, and so does one that is open for another reason, however little the hosts did beside it:
    else what the circuit did would have a say in whether it is asked again.
    """
    measurement = _analysed(task, folder, circuit)
    findings = _judged_alone(measurement, circuit, with_own_criteria(scenario, circuit))
    if any(finding.verdict in FAILED for finding in findings):
        return ""
    left_open = (finding for finding in findings if finding.verdict is Verdict.INCONCLUSIVE)
    return "; ".join(dict.fromkeys(why for finding in left_open for why in _left_undone(finding, measurement)))


def unreachable(task: Task, folder: RunFolder, circuit: Circuit) -> str:
    """Why nothing that was just completed passes between its pair of hosts; empty where something does."""
    return str(_analysed(task, folder, circuit).facts.get("unreachable", ""))


def _judged_alone(measurement: Measurement, circuit: Circuit, scenario: Scenario) -> list[Finding]:
    """Its findings without what other tasks might excuse, and without waivers."""
    findings = judge(circuit, scenario, (measurement,), (), date.max, None)
    return [finding for finding in findings if finding.task == measurement.task.id]


def _left_undone(finding: Finding, measurement: Measurement) -> Iterator[str]:
    """What a host did not do of its part that this row needs."""
    for seen in measurement.observations:
        if _row_of(seen) != _row_of(finding):
            continue
        if seen.short:
            yield seen.short
        for each in measurement.fitness:
            if not each.fit and not seen.short and each.host in seen.hosts and each.concerns(seen.metric):
                yield f"{each.host}: {', '.join(each.reasons)}"


def _row_of(figure: Finding | Observation) -> tuple[object, ...]:
    scope = figure.scope
    return figure.metric, figure.statistic, scope.pair, scope.direction, scope.service, scope.load


def _measured(task: Task, folder: RunFolder, circuit: Circuit, scenario: Scenario) -> Measurement:
    """Of its attempts the last one that was completed; the last one at all where none was.

    An earlier one in which a row fails stands: that can only be by an order that was corrected since.
    """
    attempts = [attempt(task, number) for number in range(1, task.attempts + 1)]
    made = [(each, outcome) for each in attempts if (outcome := folder.files(each.id).outcome())]
    completed = [each for each, outcome in made if outcome.get("status") == Status.COMPLETED.value]
    *earlier, last = completed or [each for each, _ in made][-1:] or [task]
    for each in earlier:
        measurement = _analysed(each, folder, circuit)
        if any(finding.verdict in FAILED for finding in _judged_alone(measurement, circuit, scenario)):
            return measurement
    return _analysed(last, folder, circuit)


def _must_name_the_hosts(circuit: Circuit, plan: Plan) -> None:
    """A corrected order may change everything but the names by which the evidence is filed. Raises BadInput."""
    measured = dict.fromkeys(name for task in plan.tasks for pair in task.scope.pairs for name in pair)
    unknown = [name for name in measured if name not in {endpoint.name for endpoint in circuit.endpoints}]
    if unknown:
        said = f"The run was measured from {', '.join(unknown)}, which this order does not name."
        raise BadInput([circuit.source.problem(("endpoints",), said, "Give its endpoints the names that they had.")])


def _companion(folder: RunFolder) -> Circuit | None:
    """The order of the second circuit as it was when the run began."""
    path = folder.path / "order/companion.yaml"
    return load_circuit(path) if path.exists() else None


def _analysed(task: Task, folder: RunFolder, circuit: Circuit) -> Measurement:
    context, kinds = measurable(circuit, task.scope.pairs[0])
    kind = kinds.get(task.measurement)
    if kind is None:
        said = f"This version knows no measurement {task.measurement!r} of such a pair."
        return Measurement(task, Status.SKIPPED, reason=said)
    files = folder.files(task.id)
    try:
        measurement = kind.analyse(task, files, context)
        return held(measurement, files, context) if any(act.around for act in task.acts) else measurement
    except EvidenceBroken as error:
        return Measurement(task, Status.FAILED, reason=error.message)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Files of a crashed or foreign agent: their task is not run, the others are judged all the same.
        return Measurement(task, Status.FAILED, reason=f"Its files do not hold what they should: {error!r}.")
