"""Routes as they are looked up at the on-prem host, the router and the cloud host, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from perfharness.evidence import TaskFiles
from perfharness.measurements.base import V4, Context
from perfharness.measurements.edge_bgp import IN_VRF, NO_SESSION, plan_of, within
from perfharness.measurements.edge_reading import Reading, figure
from perfharness.model import Direction, Observation
from perfharness.routers.state import BgpSession, Hop, RouterState

ROUTE = "route"
ANNOUNCED, RECEIVED = "announced", "received"
PREFERS = "It has the prefix from the VBR too and prefers the other way."

Said = tuple[bool | None, str]
"""Whether the route is as it should be, None where nobody tells; and why."""


def route_figures(
    context: Context, now: Reading, before: Reading | None, files: TaskFiles
) -> tuple[tuple[Observation, ...], dict[str, Any]]:
    """The figures of ``route``, and the look-ups themselves."""
    there, back = Direction.A_Z, Direction.Z_A
    hosts: dict[Direction, Mapping[str, Any]] = {
        way: (files.result(context.ends(way)[0].name, f"{ROUTE}-{way.value}") or {}).get("data", {})
        for way in (there, back)
    }
    to_cloud = _looked_up(context, now, there, hosts[there], lambda ways: _to_cloud(context, now.state, ways))
    to_onprem = _looked_up(context, now, back, hosts[back], lambda ways: _to_onprem(context, now.state, ways, files))
    evidence = tuple(files.path(context.ends(way)[0].name, f"{ROUTE}-{way.value}") for way in hosts)
    changed, leaked, changes = _changed(context, now, before)
    facts = {
        "onprem": hosts[there],
        "cloud": hosts[back],
        "router": {
            "to_cloud": _words(now.state.ways_to(str(context.z.address))),
            "to_onprem": _words(now.state.ways_to(str(context.a.address))),
        },
        "preferred_elsewhere": to_cloud[0] is False and PREFERS in to_cloud[1],
        "to_cloud": to_cloud,
        "to_onprem": to_onprem,
        "changes": changes,
    }
    return (
        figure(context, "route", "to_cloud", *to_cloud, evidence + now.evidence),
        figure(context, "route", "to_onprem", *to_onprem, evidence + now.evidence),
        leaked,
        changed,
    ), facts


def _looked_up(
    context: Context, now: Reading, way: Direction, host: Mapping[str, Any], right: Callable[[tuple[Hop, ...]], Said]
) -> Said:
    """On the host: some route to the other end; on the router: ways there, of which ``right`` says whether they are."""
    source, target = context.ends(way)
    if host.get("route") is None:
        return False, f"{source.name}: {host.get('reason') or f'it has no route to {target.address}'}."
    ways = now.state.ways_to(str(target.address))
    if ways is None:
        why = now.reason or "The router does not tell its routes."
        return None, f"{source.name} has a route to {target.address}. {why}"
    said = right(ways) if ways else (False, f"{context.circuit.ce_name} has no route to {target.address}.")
    if said[0] is False and now.state.in_vrf(plan_of(context).own):
        return None, f"{said[1].rstrip('.')} in its default table. {IN_VRF}"
    return said


def _to_cloud(context: Context, state: RouterState, ways: tuple[Hop, ...]) -> Said:
    """By way of the VBR."""
    ce, peer = context.circuit.ce_name, plan_of(context).peer
    if peer not in [way.gateway for way in ways]:
        said = f"{ce} sends to {context.z.address} by {_said(ways)}, not by the VBR {peer}."
        if _learned(state.session(peer), context):  # beside a second circuit this one may be meant to stand by
            return None if context.circuit.companion else False, f"{said} {PREFERS}"
        return False, said
    return True, f"{context.a.name} and {ce} have it, the router by {_said(ways)}."


def _learned(session: BgpSession | None, context: Context) -> bool:
    """The VBR's session gave the router a prefix with the cloud host, and the router accepted it."""
    prefixes = (session.learned if session else None) or ()
    return any(ip_address(str(context.z.address)) in ip_network(prefix) for prefix in prefixes)


def _to_onprem(context: Context, state: RouterState, ways: tuple[Hop, ...], files: TaskFiles) -> Said:
    """Away from the circuit; and the VBR was told of it, where that is told by BGP."""
    ce, peer, target = context.circuit.ce_name, plan_of(context).peer, context.a.address
    if all(way.gateway == peer for way in ways):
        return False, f"{ce} sends packets for {target} back over the circuit."
    session = state.session(peer)
    if session is not None and session.state == "Established" and session.sent is not None:
        if not any(ip_address(str(target)) in ip_network(prefix) for prefix in session.sent):
            return False, f"{ce} announces no prefix with {target}: the VBR has no way back."
        return True, f"The VBR is told of it by BGP, and {ce} has it by {_said(ways)}."
    said = f"{context.z.name} and {ce} have it, the router by {_said(ways)}; "
    if _delivered(context, files):
        return True, said + "packets of the cloud host arrived."
    return None, said + "the tables of VBR and VPC router are not seen, and no step `path` saw its packets arrive."


def _delivered(context: Context, files: TaskFiles) -> bool:
    """An echo request of either host was answered in a step `path` of this run, which takes the way back too."""
    plan = files.folder.read_json("plan.json") or {"tasks": []}
    mine = next((each["scope"]["pair"] for each in plan["tasks"] if files.task.startswith(str(each["id"]))), None)
    for each in plan["tasks"]:
        if each["measurement"] != "path" or each["scope"]["pair"] != mine or each.get("acts"):
            continue
        done = files.folder.files(str(each["id"]))
        for way in (Direction.A_Z, Direction.Z_A):
            result = done.result(context.ends(way)[0].name, f"ping-{way.value}") or {}
            if each["scope"]["family"] == V4 and (result.get("data") or {}).get("received"):
                return True
    return False


def _changed(
    context: Context, now: Reading, before: Reading | None
) -> tuple[Observation, Observation, dict[str, list[str]]]:
    """Prefixes that came and went since the first step of this kind, in the routes and in the BGP session; and those
    that came on the session without being in the plan."""
    came: list[str] = []
    went: list[str] = []
    plan = plan_of(context)
    here = _snapshot(now.state, plan.peer)
    there = _snapshot(before.state if before else RouterState(), plan.peer)
    both = here.keys() & there.keys()
    for kind in sorted(both):
        came += [f"{prefix} {kind}" for prefix in sorted(here[kind] - there[kind])]
        went += [f"{prefix} {kind}" for prefix in sorted(there[kind] - here[kind])]
    planned = {ANNOUNCED: plan.announced, RECEIVED: plan.received}
    leaked = [
        f"{prefix} {way}"
        for way, nets in planned.items()
        for prefix in sorted(here[way] - there[way] if way in both else ())
        if not any(within(ip_network(prefix), net) for net in nets)
    ]
    changes = {"came": came, "went": went}

    def told(statistic: str, count: int | None, said: str) -> Observation:
        return figure(context, "route", statistic, count, said, now.evidence)

    def leaks(count: int | None, said: str) -> Observation:
        if plan.bgp is None:
            return replace(told("leaked", None, NO_SESSION), applicable=False)
        return told("leaked", count, said)

    unsaid = "The router does not tell its routes." if before else "This is the first step that reads them."
    if not both:
        return told("changed", None, now.reason or unsaid), leaks(None, now.reason or unsaid), changes
    said = "; ".join(f"{word}: {', '.join(which[:10])}" for word, which in (("new", came), ("gone", went)) if which)
    changed = told("changed", len(came) + len(went), said)
    if not planned.keys() <= both:
        return changed, leaks(None, "The router does not tell the prefixes of the session both ways."), changes
    new = f"{', '.join(leaked[:10])}: new and not in the plan." if leaked else ""
    return changed, leaks(len(leaked), new), changes


def _snapshot(state: RouterState, peer: str) -> dict[str, frozenset[str]]:
    """Prefixes by where they are, as far as that is told."""
    session = state.session(peer)
    known: dict[str, Iterable[str] | None] = {
        "in the table": None if state.routes is None else (route.prefix for route in state.routes),
        ANNOUNCED: session.sent if session else None,
        RECEIVED: session.learned if session else None,
    }
    return {place: frozenset(prefixes) for place, prefixes in known.items() if prefixes is not None}


def _said(ways: tuple[Hop, ...]) -> str:
    return " and ".join(way.gateway or str(way.interface) for way in ways)


def _words(ways: tuple[Hop, ...] | None) -> list[str] | None:
    return None if ways is None else [way.gateway or str(way.interface) for way in ways]
