"""The verbs that reach the hosts and measure nothing: `check`, `clean`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from perfharness.errors import AgentError, HostLost, HostUnusable, together
from perfharness.fleet.hosts import MAX_PARALLEL, Asked, Fleet
from perfharness.fleet.hosts import clean as clean_hosts
from perfharness.measurements import load_jobs
from perfharness.measurements.base import COARSE_MS, Context
from perfharness.model import Job, Role, Task
from perfharness.order.circuit import Appliance, Ce, Circuit, Endpoint, Router, load_circuit
from perfharness.order.sense import must_make_sense
from perfharness.order.units import size_text
from perfharness.plan import disk_bytes, hosts

CHECK_LEASE_S = 20.0
FACTS = "facts"
FACTS_S = 20.0
USUAL_BYTES = 1400
"""UDP payload of a load where a step does not say it."""


def check(circuit_file: Path, console: Console) -> None:
    """Reach every host, start the agent, ask what is there, leave. Raises BadInput, HostUnusable, Refused."""
    circuit = load_circuit(circuit_file)
    must_make_sense(circuit, datetime.now(UTC).date())
    for note in few_ports(circuit):
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    paired = [circuit.end(name) for name in dict.fromkeys(name for pair in circuit.pairs for name in pair)]
    ends = [end for end in paired if isinstance(end, Endpoint)]
    for end in paired:
        if isinstance(end, Router):
            said = f"{end.name}: {end.address}, {end.told}; not asked"
            console.print(said, markup=False, highlight=False, soft_wrap=True)
    ce = circuit.ce_router
    everyone = [*ends, *((ce,) if ce else ())]
    with Fleet(everyone, f"check-{secrets.token_hex(3)}", CHECK_LEASE_S) as fleet:
        for name, facts in must_be_usable(fleet, ends, {end.name for end in ends}).items():
            room = f"disk {_room_text(fleet[name].hello['room_bytes'])}"
            console.print(f"{name}: {_facts_text(facts)}, {room}", markup=False, highlight=False, soft_wrap=True)
        if isinstance(ce, Appliance):
            words = f"{ce.name}: {ce.platform}, can be asked by show commands; no agent"
            console.print(words, markup=False, highlight=False, soft_wrap=True)
        elif ce:
            must_be_readable(fleet[ce.name], ce)
            words = f"{ce.name}: the counters of {ce.lan} and {ce.wan} can be read"
            console.print(words, markup=False, highlight=False, soft_wrap=True)


def few_ports(circuit: Circuit) -> list[str]:
    """Where a pair has fewer ports than UDP at its share of the ordered rate should have processes, one way."""
    ends = [(circuit.end(a), circuit.end(z)) for a, z in circuit.pairs]
    hosts = [Context(circuit, a, z) for a, z in ends if isinstance(a, Endpoint) and isinstance(z, Endpoint)]
    loads = [
        load_jobs.paced(each, each.committed_bps // len(hosts), USUAL_BYTES, 1) for each in hosts if each.load_ports(1)
    ]
    return list(dict.fromkeys(note for load in loads for note in load.notes))


def must_be_usable(fleet: Fleet, ends: Sequence[Endpoint], iperf3_on: Collection[str]) -> dict[str, dict[str, Any]]:
    """The facts of each host: its interface has the test address, and iperf3 is there where it is needed.

    Raises HostUnusable with what to do about each host that is not so.
    """
    for end in ends:
        args = {"interface": end.interface, "address": str(end.address), "iperf3": end.iperf3}
        fleet[end.name].start(Job(FACTS, end.name, "host.facts", args, Role.DRIVE, FACTS_S))

    def ask(end: Endpoint) -> dict[str, Any] | HostUnusable:
        try:
            return _facts(fleet[end.name], end, end.name in iperf3_on)
        except HostLost:
            raise
        except HostUnusable as trouble:
            return trouble

    with ThreadPoolExecutor(max_workers=MAX_PARALLEL) as pool:
        answers = dict(zip((end.name for end in ends), pool.map(ask, ends), strict=True))
    troubles = [answer for answer in answers.values() if isinstance(answer, HostUnusable)]
    if troubles:
        raise together(troubles)
    return {name: answer for name, answer in answers.items() if isinstance(answer, dict)}


def _facts(session: Asked, end: Endpoint, iperf3_needed: bool) -> dict[str, Any]:
    """What the job FACTS found, if the host can be used. Raises HostUnusable, HostLost."""
    state = session.wait_done(FACTS, FACTS_S + 5)
    if state["error"]:
        raise HostUnusable(end.name, f"{state['error']['message']}.", "Correct the endpoint in the circuit file.")
    with TemporaryDirectory() as folder:
        session.fetch({FACTS: Path(folder)})
        facts: dict[str, Any] = json.loads((Path(folder) / "result.json").read_bytes())["data"]
    if iperf3_needed and facts["iperf3"] is None:
        remedy = f"Install a usable iperf3 there, or name one as `iperf3:` of {end.name} in the circuit file."
        raise HostUnusable(end.name, f"{facts['iperf3_reason']}.", remedy)
    return facts


def must_have_room(fleet: Fleet, tasks: Sequence[Task]) -> None:
    """Raises HostUnusable for a host whose disk cannot take what the tasks write there."""
    for name in hosts(tasks):
        if name not in fleet:  # a CE that does not answer
            continue
        need, room = disk_bytes(tasks, name), fleet[name].hello["room_bytes"]
        if need > room:
            said = f"its samples may take {size_text(need)} and {fleet[name].hello['dir']} has {_room_text(room)}."
            raise HostUnusable(name, said, "Free some, name another folder by TMPDIR there, or shorten the step.")


def _room_text(room_bytes: int) -> str:
    return f"{size_text(room_bytes)} to spare" if room_bytes > 0 else "nothing to spare"


def must_be_readable(session: Asked, ce: Ce) -> None:
    """Raises HostUnusable where the CE's counters cannot be read. A run would go on without them."""
    for side, interface in (("lan", ce.lan), ("wan", ce.wan)):
        args = {"interface": interface, "period_ms": COARSE_MS}
        session.start(Job(side, ce.name, "host.counters", args, Role.WATCH, FACTS_S))
        try:
            session.wait_ready(side, FACTS_S)
        except AgentError as error:
            said = error.message.removeprefix(f"{ce.name}: ")
            raise HostUnusable(ce.name, f"{said}.", f"Correct `{side}:` of the CE.") from None
        session.stop(side)


def clean(circuit_file: Path, console: Console) -> None:
    """Remove what is ours from every host. Raises the first host's trouble after all others are clean."""
    circuit = load_circuit(circuit_file)
    done = clean_hosts([*circuit.hosts, *((circuit.ce_host,) if circuit.ce_host else ())])
    for host in done:
        said = [f"removed {item['dir']} ({item['was']})" for item in host.removed]
        said += [f"kept {item['dir']}: {item['why']}" for item in host.kept]
        if host.error is None:
            words = "; ".join(said) or "nothing of ours was there"
            console.print(f"{host.host}: {words}", markup=False, highlight=False, soft_wrap=True)
    for host in done:
        if host.error is not None:
            raise host.error


def _facts_text(facts: dict[str, Any]) -> str:
    iperf3 = facts["iperf3"]["version"] if facts["iperf3"] else "missing"
    return (
        f"Python {facts['python']}, iperf3 {iperf3}, Linux {facts['kernel']}, {facts['cpus']['count']} CPUs, "
        f"{facts['nic']['name']} MTU {facts['nic']['mtu']}, clock {facts['clock']['source']}"
    )
