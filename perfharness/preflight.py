"""The verbs that measure nothing: `validate`, `plan`, `check`, `clean`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from perfharness.errors import AgentError, BadInput, HostUnusable, Problem, Refused
from perfharness.fleet.hosts import Fleet
from perfharness.fleet.hosts import clean as clean_hosts
from perfharness.fleet.session import Session
from perfharness.measurements.base import COARSE_MS
from perfharness.model import Job, Role, Task
from perfharness.order.circuit import Ce, Circuit, Endpoint, load_circuit
from perfharness.order.scenario import load_scenario
from perfharness.order.schema import json_schema
from perfharness.order.sense import must_make_sense
from perfharness.order.units import duration_text, rate_text, size_text
from perfharness.plan import chosen, duration_s, flows, hosts, make_plan, refuse_harm, step_parameters

CHECK_LEASE_S = 20.0
FACTS = "facts"
FACTS_S = 20.0
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


def show_plan(circuit_file: Path, scenario_name: str, only: str | None, firewall: bool, console: Console) -> None:
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
    _show_hosts(tasks, circuit, say)
    try:
        refuse_harm(tasks, circuit, now)
    except Refused as refusal:
        say(f"\nIf it were run now it would be refused: {refusal}")


def check(circuit_file: Path, console: Console) -> None:
    """Reach every host, start the agent, ask what is there, leave. Raises BadInput, HostUnusable, Refused."""
    circuit = load_circuit(circuit_file)
    must_make_sense(circuit, datetime.now(UTC).date())
    ends = [circuit.endpoint(name) for name in dict.fromkeys(name for pair in circuit.pairs for name in pair)]
    router = circuit.ce_host
    everyone = [*ends, *((router,) if router else ())]
    with Fleet(everyone, f"check-{secrets.token_hex(3)}", CHECK_LEASE_S) as fleet:
        for name, facts in must_be_usable(fleet, ends, {end.name for end in ends}).items():
            console.print(f"{name}: {_facts_text(facts)}", markup=False, highlight=False, soft_wrap=True)
        if router:
            must_be_readable(fleet[router.name], router)
            words = f"{router.name}: the counters of {router.lan} and {router.wan} can be read"
            console.print(words, markup=False, highlight=False, soft_wrap=True)


def must_be_usable(fleet: Fleet, ends: Sequence[Endpoint], iperf3_on: Collection[str]) -> dict[str, dict[str, Any]]:
    """The facts of each host: its interface has the test address, and iperf3 is there where it is needed.

    Raises HostUnusable with what to do about the first host that is not so.
    """
    for end in ends:
        args = {"interface": end.interface, "address": str(end.address), "iperf3": end.iperf3}
        fleet[end.name].start(Job(FACTS, end.name, "host.facts", args, Role.DRIVE, FACTS_S))
    found = {}
    for end in ends:
        state = fleet[end.name].wait_done(FACTS, FACTS_S + 5)
        if state["error"]:
            raise HostUnusable(end.name, f"{state['error']['message']}.", "Correct the endpoint in the circuit file.")
        with TemporaryDirectory() as folder:
            fleet[end.name].fetch(FACTS, Path(folder))
            facts = json.loads((Path(folder) / "result.json").read_bytes())["data"]
        if end.name in iperf3_on and facts["iperf3"] is None:
            remedy = f"Install iperf3 there, or name it as `iperf3:` of {end.name} in the circuit file."
            raise HostUnusable(end.name, f"{facts['iperf3_reason']}.", remedy)
        found[end.name] = facts
    return found


def must_be_readable(session: Session, router: Ce) -> None:
    """Raises HostUnusable where the CE's counters cannot be read. A run would go on without them."""
    for side, interface in (("lan", router.lan), ("wan", router.wan)):
        args = {"interface": interface, "period_ms": COARSE_MS}
        session.start(Job(side, router.name, "host.counters", args, Role.WATCH, FACTS_S))
        try:
            session.wait_ready(side, FACTS_S)
        except AgentError as error:
            said = error.message.removeprefix(f"{router.name}: ")
            raise HostUnusable(router.name, f"{said}.", f"Correct `{side}:` of the CE.") from None
        session.stop(side)


def clean(circuit_file: Path, console: Console) -> None:
    """Remove what is ours from every host. Raises the first host's trouble after all others are clean."""
    circuit = load_circuit(circuit_file)
    done = clean_hosts([*circuit.endpoints, *((circuit.ce_host,) if circuit.ce_host else ())])
    for host in done:
        said = [f"removed {item['dir']} ({item['was']})" for item in host.removed]
        said += [f"kept {item['dir']}: {item['why']}" for item in host.kept]
        if host.error is None:
            words = "; ".join(said) or "nothing of ours was there"
            console.print(f"{host.host}: {words}", markup=False, highlight=False, soft_wrap=True)
    for host in done:
        if host.error is not None:
            raise host.error


def _show_tasks(tasks: Sequence[Task], circuit: Circuit, say: Callable[[str], None]) -> None:
    head = ("task", "hosts", "direction", "duration", "bytes", "peak rate")
    rows = [
        (
            task.id,
            task.scope.pair.replace(":", " ↔ "),
            task.scope.direction.value if task.scope.direction else "",
            duration_text(task.duration_s * 1e9),
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
    if any(task.scope.load.startswith("tcp") for task in tasks):
        say(
            "TCP is not paced: its peak is the port's speed, its bytes are reckoned at the ordered rate. "
            "It competes with all other traffic on the port."
        )


def _show_hosts(tasks: Sequence[Task], circuit: Circuit, say: Callable[[str], None]) -> None:
    privileges = dict.fromkeys(privilege for task in tasks for privilege in task.privileges)
    say("")
    for name in hosts(tasks):
        end = circuit.host(name)
        if isinstance(end, Ce):
            say(f"{name} (CE): ssh {end.ssh.host}, {end.python}; counters of {end.lan} and {end.wan}, if it answers")
            continue
        used = sorted({use.port for task in tasks for use in task.ports if use.target == name and use.port})
        say(
            f"{name}: ssh {end.ssh.host}, {end.python} and {end.iperf3}, {end.interface} {end.address}"
            + (f"; listens during tasks on {_ranges(used)}" if used else "")
        )
        reserved = [port for port in used if port < FIRST_FREE_PORT]
        if reserved:
            wanted = f"root or CAP_NET_BIND_SERVICE on {name} to listen on {_ranges(reserved)} (nothing without it)"
            privileges[wanted] = None
    say("\nprivileged: " + ("; ".join(privileges) or "nothing"))
    say("Nothing is installed and no setting of a host is changed.")


def _show_firewall(tasks: Sequence[Task], circuit: Circuit, say: Callable[[str], None]) -> None:
    """The rules by the side on which the traffic begins; stateful firewalls let the answers through by themselves."""
    for site, where in (
        ("onprem", "from on-prem to the cloud: on-prem firewall outbound, security group inbound"),
        ("cloud", "from the cloud to on-prem: security group outbound, on-prem firewall inbound"),
    ):
        say(f"# {where}")
        for (source, target, protocol), (ports, purposes) in flows(tasks).items():
            begin, end = circuit.endpoint(source), circuit.endpoint(target)
            if begin.site == site:
                to_ports = f" port {_ranges(ports)}" if ports else ""
                say(f"allow {protocol} from {begin.address} to {end.address}{to_ports}    # {', '.join(purposes)}")
    say("# and the answers to each of these; ICMP types 3 and 11 to both hosts from the routers on the way")
    say(f"# SSH from the coordinator to {', '.join(circuit.host(name).ssh.host for name in hosts(tasks))}")


def _ranges(ports: list[int]) -> str:
    """``[1, 2, 3, 7]`` → ``1-3,7``"""
    parts: list[list[int]] = []
    for port in ports:
        if parts and port == parts[-1][1] + 1:
            parts[-1][1] = port
        else:
            parts.append([port, port])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def _facts_text(facts: dict[str, Any]) -> str:
    iperf3 = facts["iperf3"]["version"] if facts["iperf3"] else "missing"
    return (
        f"Python {facts['python']}, iperf3 {iperf3}, Linux {facts['kernel']}, {facts['cpus']['count']} CPUs, "
        f"{facts['nic']['name']} MTU {facts['nic']['mtu']}, clock {facts['clock']['source']}"
    )
