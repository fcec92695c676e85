"""How the lab is: what was built, what runs, what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

from perfharness.lab import circuits, frr, hosts, namespaces, places, shaping, topology, truth
from perfharness.lab.routing import Router, routers
from perfharness.lab.score import MODES, played, spec_of, wishes_of
from perfharness.lab.spec import LabSpec
from perfharness.lab.state import State


def of(current: State) -> dict[str, Any]:
    """JSON-able; see the keys."""
    spec = played(current)
    said = {
        "up": True,
        "mode": current.recipe["mode"],
        "since": current.since,
        "circuit": _circuit(current, spec, "a"),
        "hosts": {host.alias: host.address for host in places.doors(spec).values()},
        "ssh_config": str(hosts.SSH_CONFIG),
        "namespaces": [name for name in current.namespaces if namespaces.exists(name)],
        "faults": current.faults,
        "processes": {process.name: process.pid for process in current.processes if process.alive},
        "problems": problems(current),
    }
    if spec.second:
        said["second"] = {**_circuit(current, spec.second, "b"), "standby": spec.standby}
    if spec.bgp:
        said["routers"] = {name: {"vtysh": str(frr.vtysh(name))} for name in routed(current)}
    return said


def problems(current: State) -> list[str]:
    """Why the lab is not what was asked for; empty when it is."""
    if not current.ready:
        return ["It was never finished."]
    gone = [f"Namespace {name} is gone." for name in current.namespaces if not namespaces.exists(name)]
    gone += [f"Process {process.name} has ended." for process in current.processes if not process.alive]
    return gone or [f"Fault {wish.name} is on." for wish in wishes_of(current)] or _changes(current)


def routed(current: State) -> dict[str, Router]:
    """The routers that speak BGP."""
    spec = spec_of(current)
    return routers(spec, topology.plan(spec))


def _circuit(current: State, spec: LabSpec, letter: str) -> dict[str, Any]:
    way, mode = places.crossing(letter, spec_of(current)), current.built.get(letter)
    return {
        "vlan": spec.vlan,
        "tagged_by": truth.tagged_by(way, mode) if mode in MODES and namespaces.exists(way.ce) else None,
        "rate_bps": spec.rate_bps,
        "layer": spec.rate_layer,
        "policer_bytes": spec.policer_bytes,
        "queue_ns": spec.queue_ns if spec.policer_bytes is None else None,
        "rtt_ns": spec.rtt_ns,
        "mtu": spec.mtu,
        "customer": spec.customer_link,
        "cloud": spec.cloud_link,
    }


def _changes(current: State) -> list[str]:
    spec, changes = spec_of(current), []
    for way in topology.plan(spec).crossings:
        if current.built[way.letter] != "veth":
            lines = json.loads(circuits.config_of(way.letter).read_text(encoding="utf-8"))["lines"]
            wanted = current.recipe["lines"][way.letter]
            changes += [] if lines == wanted else ["The wire's configuration was changed."]
        if current.built[way.letter] == "wire":
            continue
        rate_bps = spec.circuits[way.letter].rate_bps
        ordered = None if rate_bps is None else rate_bps // 8 * 8  # tc counts in bytes
        for end in way.circuit:
            found = shaping.discipline(end)["rate_bps"]
            if found != ordered:
                changes.append(f"{end.namespace} sends at {found} bit/s instead of {ordered}.")
    return changes + frr.problems(routed(current))
