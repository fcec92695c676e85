"""The verbs that touch nothing but their files: `validate`, `plan`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from perfharness.errors import BadInput, Problem, Refused
from perfharness.measurements import TO_ROUTERS, guarding
from perfharness.measurements.base import TUNE
from perfharness.model import Task
from perfharness.order.circuit import Appliance, Ce, Circuit, Endpoint, Router, load_circuit
from perfharness.order.scenario import load_scenario
from perfharness.order.schema import json_schema
from perfharness.order.sense import must_make_sense
from perfharness.order.units import duration_text, rate_text, size_text
from perfharness.plan import (
    chosen,
    disk_bytes,
    duration_s,
    flows,
    hosts,
    iperf3_hosts,
    make_plan,
    needs_window,
    refuse_harm,
    step_parameters,
    with_attempts,
)
from perfharness.report.words import between, bracket

FIRST_FREE_PORT = 1024
"""Below it a listener needs a privilege, by the kernel's default (ip_unprivileged_port_start)."""


def schemas() -> str:
    """The formats of both files as one JSON text."""
    return json.dumps({kind: json_schema(kind) for kind in ("circuit", "scenario")}, indent=2)


def validate(circuit_file: Path, scenario_name: str | None) -> Iterator[str]:
    """What is right and what should be better. Raises BadInput with all that is wrong in both files."""
    problems: list[Problem] = []
    circuit = scenario = None
    try:
        circuit = load_circuit(circuit_file)
        for warning in must_make_sense(circuit, datetime.now(UTC).date()):
            yield f"warning: {warning}"
        yield f"{circuit_file}: {circuit.id} is well formed and makes sense."
    except BadInput as error:
        problems += error.problems
    try:
        if scenario_name is not None:
            scenario = load_scenario(scenario_name)
            step_parameters(scenario)
            if circuit is not None and not problems:
                make_plan(circuit, scenario)
            yield f"{scenario.source}: {scenario.id}, {len(scenario.steps)} steps, is well formed."
    except BadInput as error:
        problems += error.problems
    if problems:
        raise BadInput(problems)


def show_plan(circuit_file: Path, scenario_name: str, only: Sequence[str], firewall: bool, console: Console) -> None:
    """The dry run on standard output. Raises BadInput; a plan that would be refused says so at its end."""
    scenario = load_scenario(scenario_name)
    circuit = load_circuit(circuit_file)
    now = datetime.now(UTC)
    must_make_sense(circuit, now.date())
    tasks = chosen(make_plan(circuit, scenario), only)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    if firewall:
        _show_firewall(tasks, circuit, say)
        return
    say(f"{scenario.id} on {circuit.id}\n")
    _show_tasks(tasks, circuit, say)
    _show_acts(tasks, say)
    _show_hosts(tasks, circuit, say)
    _show_closed(tasks, say)
    _show_guard(tasks, circuit, say)
    try:
        refuse_harm(tasks, circuit, now)
    except Refused as refusal:
        say(f"\nIf it were run now it would be refused: {refusal}")


def _show_tasks(tasks: Sequence[Task], circuit: Circuit, say: Callable[[str], None]) -> None:
    head = ("task", "hosts", "direction", "duration", "bytes", "peak rate")
    rows = [
        (
            task.id,
            _hosts_text(task),
            task.scope.direction.value if task.scope.direction else "",
            duration_text(task.duration_s * 1e9) + (f", up to {task.attempts} times" if task.attempts > 1 else ""),
            size_text(task.load_bytes) if task.load_bytes else "none",
            rate_text(task.load_bps) if task.load_bps else "none",
        )
        for task in tasks
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    total = size_text(sum(task.load_bytes for task in tasks))
    peak = max(task.load_bps for task in tasks)
    say(
        f"\nabout {duration_text(duration_s(tasks) * 1e9)}, {total} in all, "
        f"at most {rate_text(peak)} in one direction (rates and bytes at {circuit.rate_layer or 'L2'})"
    )
    if any(task.attempts > 1 for task in tasks):
        most = with_attempts(tasks)
        say(
            f"at most {duration_text(duration_s(most) * 1e9)} and {size_text(sum(task.load_bytes for task in most))}, "
            "should a host fall short of its part in tasks that may be done again"
        )
    alone = {task.step: None for task in tasks if task.scope.host}
    if alone:
        say(f"{', '.join(alone)}: loads the hosts, and what lies between those of one site, but not the circuit.")
    if any(task.scope.load.startswith("tcp") and not task.scope.host for task in tasks):
        say(
            "TCP is not paced: its peak is the port's speed, its bytes are reckoned at the ordered rate. "
            "It competes with all other traffic on the port."
        )


def _show_acts(tasks: Sequence[Task], say: Callable[[str], None]) -> None:
    """What is done to the circuit, by whom and when; put back however a task ends."""
    for task in tasks:
        if task.acts:
            say(f"\n{task.id} does to the circuit, and puts back however it ends:")
        for act in task.acts:
            what = f"you are asked: {act.ask}" if act.ask else f"here is run: {shlex.join(act.command)}"
            later = duration_text(act.after_s * 1e9)
            around = "after all else" if act.undoes else f"before all else, {later} to settle"
            say(f"  {act.id}, {around if act.around else f'{later} later'}: {what}")


def _show_hosts(tasks: Sequence[Task], circuit: Circuit, say: Callable[[str], None]) -> None:
    privileges = dict.fromkeys(privilege for task in tasks for privilege in task.privileges)
    loaded = iperf3_hosts(tasks)
    say("")
    for name in hosts(tasks):
        end = circuit.asked(name)
        if isinstance(end, Appliance):
            say(f"{name} (CE, {end.platform}): ssh {end.ssh.host}; show commands only, if it answers")
            continue
        if isinstance(end, Ce):
            also = f" and {end.iperf3}" if name in loaded else ""
            watched = f"counters of {end.lan} and {end.wan}"
            say(f"{name} (CE): ssh {end.ssh.host}, {end.python}{also}; {watched}, if it answers")
            continue
        used = sorted({use.port for task in tasks for use in task.ports if use.target == name and use.port})
        say(
            f"{name}: ssh {end.ssh.host}, {end.python}{f' and {end.iperf3}' if name in loaded else ''}, "
            f"{end.interface} {end.address}"
            + (f"; listens during tasks on {_ranges(used)}" if used else "")
            + f"; writes up to {size_text(disk_bytes(tasks, name))} to its temporary folder, gone after each task"
        )
        reserved = [port for port in used if port < FIRST_FREE_PORT]
        if reserved:
            wanted = f"root or CAP_NET_BIND_SERVICE on {name} to listen on {_ranges(reserved)} (nothing without it)"
            privileges[wanted] = None
    for name in dict.fromkeys(use.target for task in tasks for use in task.ports):
        if isinstance(target := circuit.end(name), Router):
            say(f"{target.name}: {target.address}, {target.told}; all that is measured to it: {', '.join(TO_ROUTERS)}")
    for note in dict.fromkeys(note for task in tasks for note in task.notes):
        say(f"note: {note}")
    say("\nprivileged: " + ("; ".join(privileges) or "nothing"))
    changed = dict.fromkeys(job.endpoint for task in tasks for job in task.jobs if job.id == TUNE)
    if changed:
        say(f"Nothing is installed. Limits of socket buffers are raised on {' and '.join(changed)}, and put back.")
    else:
        say("Nothing is installed and no setting of a host is changed.")


def _show_closed(tasks: Sequence[Task], say: Callable[[str], None]) -> None:
    """What is tried although it must not get through: somebody may see it in a log."""
    for (source, target, protocol), (ports, purposes) in flows(tasks, lambda task: task.closed).items():
        say(f"tried, and to stay closed: {protocol} {_ranges(ports)} from {source} to {target} ({', '.join(purposes)})")


def _show_guard(tasks: Sequence[Task], circuit: Circuit, say: Callable[[str], None]) -> None:
    """What ends a load on a circuit in service while it runs, and what nobody would see."""
    clauses = list(guarding.watched(tasks))
    if any(needs_window(task, circuit) for task in tasks) and circuit.change and circuit.change.window_end:
        end = circuit.change.window_end.isoformat()
        clauses.append(f"the change window ends, {end}: the agents see to that by themselves")
    if clauses:
        say("\nA load is ended at once, and no other is begun, when")
    for clause in clauses:
        say(f"  {clause}")
    for sentence in guarding.unwatched(tasks, circuit):
        say(sentence)


def _show_firewall(tasks: Sequence[Task], circuit: Circuit, say: Callable[[str], None]) -> None:
    """The rules by the side on which the traffic begins; stateful firewalls let the answers through by themselves."""
    asked: dict[tuple[str, str], list[str]] = {("onprem", "cloud"): [], ("cloud", "onprem"): []}
    for (source, target, protocol), (ports, purposes) in flows(tasks).items():
        (begin, site), (end, other) = _address(circuit, source), _address(circuit, target)
        to_ports = f" port {_ranges(ports)}" if ports else ""
        rule = f"allow {protocol} from {begin} to {end}{to_ports}    # {', '.join(purposes)}"
        asked.setdefault((site, other), []).append(rule)
    for sides, rules in asked.items():
        say(f"# {DIRECTIONS[sides]}")
        for rule in rules:
            say(rule)
    for (source, target, protocol), (ports, purposes) in flows(tasks, lambda task: task.closed).items():
        say(f"# keep closed: {protocol} from {source} to {target} port {_ranges(ports)} ({', '.join(purposes)})")
    for a, z in ((circuit.end(one), circuit.end(other)) for one, other in circuit.pairs):
        if isinstance(a, Endpoint) and isinstance(z, Endpoint) and a.address6 and z.address6:
            say(f"# port matrix, ping (ICMPv6) and path MTU between {a.address6} and {z.address6} as well")
    say("# and the answers to each of these; ICMP types 3 and 11 to both hosts from the routers on the way")
    say(f"# SSH from the coordinator to {', '.join(circuit.host(name).ssh.host for name in hosts(tasks))}")


DIRECTIONS = {
    ("onprem", "cloud"): "from on-prem to the cloud: on-prem firewall outbound, security group inbound",
    ("cloud", "onprem"): "from the cloud to on-prem: security group outbound, on-prem firewall inbound",
    ("onprem", "onprem"): "within on-prem, not over the circuit",
    ("cloud", "cloud"): "within the cloud, not over the circuit: security group inbound and outbound",
}
"""By the sites of both ends, who must let it through."""


def _address(circuit: Circuit, name: str) -> tuple[str, str]:
    """(address, site) of an end, or of the CE."""
    ce = circuit.ce_host
    if ce is not None and ce.name == name:
        return str(ce.address), "onprem"
    return str(circuit.end(name).address), circuit.end(name).site


def _ranges(ports: list[int]) -> str:
    """``[1, 2, 3, 7]`` → ``1-3,7``"""
    parts: list[list[int]] = []
    for port in ports:
        if parts and port == parts[-1][1] + 1:
            parts[-1][1] = port
        else:
            parts.append([port, port])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def _hosts_text(task: Task) -> str:
    """Between which hosts it is, or what a single host is tried against."""
    return f"{task.scope.host}, {bracket(task.scope)}" if task.scope.host else between(task.scope)
