"""Where in the lab a fault is made, by the name that a person says."""

from __future__ import annotations

from perfharness.errors import LabFault
from perfharness.lab import topology
from perfharness.lab.routing import name_of
from perfharness.lab.spec import Host, LabSpec
from perfharness.lab.topology import Crossing, End


def hosts(spec: LabSpec) -> dict[str, End]:
    """The end hosts by alias."""
    declared = {
        topology.ONPREM: spec.onprem,
        topology.ECS: spec.ecs,
        topology.ONPREM_B: spec.onprem_b,
        topology.ECS_B: spec.ecs_b,
    }
    return {host.alias: end for end in topology.plan(spec).hosts if (host := declared[end.namespace])}


def host(name: str, spec: LabSpec) -> End:
    """Raises LabFault."""
    ends = hosts(spec)
    if name not in ends:
        raise LabFault(f"The lab has no host {name}.", f"It has {', '.join(ends)}.")
    return ends[name]


def doors(spec: LabSpec) -> dict[str, Host]:
    """Who has an sshd, by namespace: the end hosts and the CEs."""
    plan = topology.plan(spec)
    ces = {
        way.ce: Host(spec.circuits[way.letter].ce_alias, str(way.north[1].address.ip), way.north[1].interface)
        for way in plan.crossings
    }
    pair = {topology.ONPREM: spec.onprem, **ces, topology.ECS: spec.ecs}
    second = {topology.ONPREM_B: spec.onprem_b, topology.ECS_B: spec.ecs_b}
    return pair | {name: host for name, host in second.items() if host is not None}


def routers(spec: LabSpec) -> dict[str, str]:
    """Namespaces by the router's name; a CE has the order's alias as well."""
    plan = topology.plan(spec)
    found = {"core": topology.CORE, "vpc": topology.VPC}
    for way in plan.crossings:
        found |= {name_of(way.ce): way.ce, name_of(way.vbr): way.vbr, spec.circuits[way.letter].ce_alias: way.ce}
    return found


def crossing(letter: str, spec: LabSpec) -> Crossing:
    """Raises LabFault."""
    for way in topology.plan(spec).crossings:
        if way.letter == letter:
            return way
    raise LabFault(
        f"The lab has no circuit {letter}.", "Build it for an order with a companion: lab up --circuit FILE."
    )


def router(name: str, spec: LabSpec, among: tuple[str, ...] | None = None) -> str:
    """Its namespace; one of these namespaces. Raises LabFault."""
    known = {key: space for key, space in routers(spec).items() if among is None or space in among}
    if name not in known:
        raise LabFault(f"This cannot be made at {name}.", f"It can at {', '.join(known)}.")
    return known[name]


def anywhere(name: str, spec: LabSpec) -> tuple[str, bool]:
    """The namespace of a host or a router, and whether it is a router. Raises LabFault."""
    ends = hosts(spec)
    if name in ends:
        return ends[name].namespace, False
    return router(name, spec, None if name in routers(spec) else ()), True
