"""Circuit × scenario → exclusive tasks, with what each costs the circuit: the dry run for a change board."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from perfharness.errors import BadInput, EvidenceBroken, Problem, Refused
from perfharness.measurements import REGISTRY, Context, Ends, Params, measurable
from perfharness.measurements.guarding import guarded
from perfharness.model import Plan, PortUse, Task
from perfharness.order.circuit import Circuit
from perfharness.order.hook import Without
from perfharness.order.scenario import Reference, Scenario, Step
from perfharness.order.validation import nearest
from perfharness.order.wrong import wrong

DEFAULT_SHARE = 0.1
"""Of the ordered rate, that a circuit in service may carry of ours without a change record (EC-002)."""
BETWEEN_TASKS_S = 1.0
"""Start, stop and fetch around each task, as seen on ordinary SSH paths."""
REACH_AGAIN_S = 60.0
"""Beyond a cut, for the coordinator to find its hosts again."""
FORMAT_VERSION = 1
_ADAPTER = TypeAdapter(Plan)


def make_plan(circuit: Circuit, scenario: Scenario) -> Plan:
    """All tasks in the order in which they run, one pair of hosts after the other.

    Raises BadInput for steps that name no measurement, have wrong parameters, or do not fit this circuit.
    """
    parameters = step_parameters(scenario)
    scenario = with_own_criteria(scenario, circuit)
    tasks: list[Task] = []
    problems: list[Problem] = []
    first = next((pair for pair in circuit.pairs if measurable(circuit, pair)[1] is REGISTRY), None)
    for pair in circuit.pairs:
        context, kinds = measurable(circuit, pair)
        for i, step in enumerate(scenario.steps):
            try:
                _must_have_bounds(step, context)
                if step.measure not in kinds or (parameters[step.id].of_all_pairs and pair != first):
                    continue
                own = kinds[step.measure].tasks(parameters[step.id], step.id, context)
                if isinstance(context, Context):  # of a router the judge says what nobody can tell
                    _must_be_answered(step, own)
                own = tuple(replace(guarded(task, context), attempts=step.attempts) for task in own)
                tasks += (_without(task, step.without) for task in own) if step.without else own
            except PydanticCustomError as error:
                problems.append(scenario.problem(i, error))
            except BadInput as error:
                problems += error.problems
    if not tasks and not problems:
        said = f"Nothing of {scenario.id} can be measured to a router that takes no agent."
        problems = [circuit.source.problem(("endpoints",), said, "Add a host on its side, or a step `latency`.")]
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))
    numbered = tuple(
        replace(task, id=f"{i:02d}-{task.id}{_of_pair(task) if len(circuit.pairs) > 1 else ''}")
        for i, task in enumerate(tasks, 1)
    )
    silence_s = max(task.silence_s for task in numbered)
    return Plan(circuit.id, scenario.id, numbered, max(scenario.lease_ns / 1e9, silence_s))


def _without(task: Task, without: Without) -> Task:
    """With the circuit cut around it."""
    if task.acts:
        said = f"{task.step} cuts the circuit itself."
        raise wrong(said, "Leave out `without:`.", at=("without",))
    settle_s, hooks_s = without.settle_ns / 1e9, without.cut.within_s + without.restore.within_s
    return replace(
        task,
        acts=without.acts,
        duration_s=task.duration_s + settle_s,
        silence_s=hooks_s + settle_s + task.duration_s + REACH_AGAIN_S,
    )


def _of_pair(task: Task) -> str:
    """What tells its folder from those of other pairs; of a single host or of all pairs its id says enough."""
    single = not task.scope.host and len(task.scope.pairs) == 1
    return f"-{task.scope.pair.replace(':', '-')}" if single else ""


def _must_have_bounds(step: Step, context: Ends) -> None:
    """Raises ``wrong`` for a criterion that nothing gives a threshold: it would vanish from the verdict."""
    for i, spec in enumerate(step.judge):
        bound, pair = spec.threshold, (context.a.name, context.z.name)
        says = context.circuit.ordered(bound.of, pair) if isinstance(bound, Reference) else bound
        if says is None and spec.fallback is None:
            said = f"The order says nothing of what {spec.metric} is held against, and this criterion has no default."
            raise wrong(said, "Write one of the two.", at=("judge", i))


def _must_be_answered(step: Step, tasks: Sequence[Task]) -> None:
    """Raises ``wrong`` for a criterion that no task of the step answers: it would vanish from the verdict."""
    measured = dict.fromkeys(metric for task in tasks for metric in task.yields)
    for i, spec in enumerate(step.judge):
        if spec.metric not in measured:
            said = f"The step {step.id} does not measure {spec.metric}."
            raise wrong(said, f"It measures {', '.join(measured)}.", at=("judge", i, "metric"))
        given = REGISTRY[step.measure].statistics[spec.metric]
        if spec.statistic not in given:
            said = f"{step.measure} gives no {spec.statistic!r} of {spec.metric}{nearest(spec.statistic, given)}"
            raise wrong(said, f"It gives {', '.join(given)}.", at=("judge", i, "statistic"))
        if not any(spec.directions(task) for task in tasks):
            asked = ", ".join(
                (
                    spec.direction,
                    *((f"load {spec.load}",) if spec.load else ()),
                    *((f"class {spec.service}",) if spec.service else ()),
                )
            )
            found = dict.fromkeys(
                (f"{way}, " if way else "") + f"load {load}" + (f", class {service}" if service else "")
                for task in tasks
                for way in task.yields.get(spec.metric, ()) or (None,)
                for load in task.under
                for service in task.services
            )
            said = f"The step {step.id} gives no {spec.metric} for {asked}."
            raise wrong(said, f"It gives it for {'; '.join(found)}.", at=("judge", i))


def chosen(plan: Plan, only: Sequence[str]) -> tuple[Task, ...]:
    """The tasks of these steps, or all where none is named. Raises BadInput for a step that the plan does not have."""
    steps = dict.fromkeys(task.step for task in plan.tasks)
    known = f"Its steps are: {', '.join(steps)}."
    if unknown := [step for step in only if step not in steps]:
        raise BadInput([Problem("--only", 0, f"{plan.scenario} has no step {step!r}.", known) for step in unknown])
    return tuple(task for task in plan.tasks if not only or task.step in only)


def step_parameters(scenario: Scenario) -> dict[str, Params]:
    """The validated parameters of each step. Raises BadInput with every problem of every step."""
    return scenario.parameters({name: kind.parameters for name, kind in REGISTRY.items()})


def with_own_criteria(scenario: Scenario, circuit: Circuit) -> Scenario:
    """Each step without `judge` is held against what its own parameters require, such as those of a service."""
    parameters = step_parameters(scenario)
    steps = tuple(
        step if step.judge else step.model_copy(update={"judge": parameters[step.id].criteria(circuit)})
        for step in scenario.steps
    )
    return scenario.model_copy(update={"steps": steps})


def attempt(task: Task, number: int) -> Task:
    """The task as it is filed when it is done for the ``number``th time."""
    return task if number == 1 else replace(task, id=f"{task.id}.{number}")


def duration_s(tasks: Sequence[Task]) -> float:
    return sum(task.duration_s + BETWEEN_TASKS_S for task in tasks)


def with_attempts(tasks: Sequence[Task]) -> list[Task]:
    """Each as often as it may be done: what they cost at most."""
    return [attempt(task, number) for task in tasks for number in range(1, task.attempts + 1)]


def refuse_harm(tasks: Sequence[Task], circuit: Circuit, now: datetime) -> None:
    """Raises Refused when these tasks would cut a circuit in service, or load it beyond what its owner agreed to
    (EC-002)."""
    if not circuit.in_service:
        return
    change, share = circuit.change, _share(circuit)
    heavy = [task for task in tasks if needs_window(task, circuit)]
    if not heavy:
        return
    names = ", ".join(task.id for task in heavy)
    said = f"{circuit.id} is in service and these tasks load it above {share:.0%} of its rate, or cut it: {names}."
    if change is None or not change.ticket:
        raise Refused(
            said,
            "Name a change ticket and its window under `change:` in the circuit file, or run other steps with --only.",
        )
    if change.window_start is None or change.window_end is None:
        raise Refused(said, f"Ticket {change.ticket} has no window: write window_start and window_end under `change:`.")
    if not change.window_start <= now <= change.window_end:
        raise Refused(
            said,
            f"Ticket {change.ticket} allows that from {change.window_start.isoformat()} "
            f"to {change.window_end.isoformat()}; it is {now.isoformat(timespec='seconds')}.",
        )
    left = (change.window_end - now).total_seconds()
    longest = duration_s(with_attempts(tasks))
    if longest > left:
        raise Refused(said, f"They need up to {longest:.0f} s; the window ends in {left:.0f} s.")


def needs_window(task: Task, circuit: Circuit) -> bool:
    """It cuts a circuit in service, or loads it beyond what may be without a change record."""
    heavy = task.load_bps > _share(circuit) * circuit.committed_bps(_pair(task))
    return circuit.in_service and (heavy or bool(task.acts))


def _share(circuit: Circuit) -> float:
    return circuit.change.allowed_share if circuit.change else DEFAULT_SHARE


def disk_bytes(tasks: Sequence[Task], host: str) -> int:
    """What a host must have room for: the most that one task writes there, since each is fetched before the next."""
    return max(sum(job.writes_bytes for job in task.jobs if job.endpoint == host) for task in tasks)


def iperf3_hosts(tasks: Sequence[Task]) -> set[str]:
    """Those on which a task starts iperf3."""
    return {job.endpoint for task in tasks for job in task.jobs if job.method.startswith("iperf3.")}


def hosts(tasks: Sequence[Task]) -> list[str]:
    """Endpoint names in the order in which the tasks need them."""
    return list(dict.fromkeys(job.endpoint for task in tasks for job in task.jobs))


def spare(tasks: Sequence[Task]) -> frozenset[str]:
    """Of :func:`hosts`, those that only watch and may be missing: without them less is explained, but all measured."""
    needed = {job.endpoint for task in tasks for job in task.jobs if not job.optional}
    return frozenset(hosts(tasks)) - needed


def flows(
    tasks: Sequence[Task], uses: Callable[[Task], Sequence[PortUse]] = lambda task: task.ports
) -> dict[tuple[str, str, str], tuple[list[int], list[str]]]:
    """(source, target, protocol) → ports and purposes: what a firewall must let through, or other ``uses``."""
    ports: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    purposes: dict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)
    for use in (use for task in tasks for use in uses(task)):
        key = (use.source, use.target, use.protocol)
        ports[key] |= {use.port} if use.port is not None else set()
        purposes[key][use.purpose] = None
    return {key: (sorted(ports[key]), list(purposes[key])) for key in purposes}


def to_json(plan: Plan) -> dict[str, Any]:
    return {"format_version": FORMAT_VERSION, **_ADAPTER.dump_python(plan, mode="json")}


def from_json(value: Any, where: str) -> Plan:
    """The plan as it was stored. Raises EvidenceBroken for one that this version cannot read."""
    if not isinstance(value, dict) or value.get("format_version") != FORMAT_VERSION:
        raise EvidenceBroken(f"{where} is missing or of a format that this version does not read.")
    try:
        return _ADAPTER.validate_python({key: item for key, item in value.items() if key != "format_version"})
    except ValidationError as error:
        raise EvidenceBroken(f"{where} is damaged: {error.errors()[0]['msg']}.") from None


def _pair(task: Task) -> tuple[str, str]:
    a, z = task.scope.pair.split(":")
    return a, z
