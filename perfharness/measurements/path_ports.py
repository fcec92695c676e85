"""The ports of a path: those that must be open, those that nobody declared, and connections that are forbidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from perfharness.measurements.base import MOST_PORTS, Context, address_of
from perfharness.model import Direction, Interval, Observation, PortUse, Scope
from perfharness.order.circuit import Endpoint, Forbidden

ANSWERED = ("open", "refused")
"""States that only a packet which came back can tell."""
UNSURE = "unsure"
"""It did not connect, which without a listener of ours proves nothing."""


@dataclass(frozen=True, slots=True)
class Closed:
    """What is tried in one direction and must not connect, at one address."""

    address: str
    ports: Mapping[str, tuple[int, ...]]
    """By protocol."""


def tried(target: Endpoint) -> list[int]:
    """The agreed ports of this host, as many as the matrix has room for."""
    return list(target.ports)[:MOST_PORTS]


def undeclared(target: Endpoint) -> list[int]:
    """TCP ports of this host that must be closed to the other side."""
    return [port for port in target.undeclared if port not in target.ports]


def forbidden(context: Context, way: Direction, family: str) -> tuple[Closed, ...]:
    """The forbidden connections that this pair tries in this direction: the far host's first. An address is tried over
    its own family, a host over each that the pair has."""
    source, target = context.ends(way)
    own = [each for each in context.circuit.forbidden if each.source == source.name]
    places: dict[str, list[Forbidden]] = {}
    for each in own:
        if each.to == target.name:
            places.setdefault(address_of(target, family), []).append(each)
        elif each.address is not None and f"ipv{each.address.version}" == family and _first_pair_of(source, context):
            places.setdefault(str(each.address), []).append(each)
    return tuple(Closed(address, _by_protocol(found)) for address, found in places.items())


def to_target(closed: tuple[Closed, ...], far: str) -> Mapping[str, tuple[int, ...]]:
    """The ports of the pair's own far host: there our agent can listen."""
    return next((each.ports for each in closed if each.address == far), {"tcp": (), "udp": ()})


def announced(context: Context, way: Direction, family: str) -> Iterator[PortUse]:
    """What is tried and must not get through, for the plan."""
    source, target = context.ends(way)
    for port in undeclared(target):
        yield PortUse(source.name, target.name, "tcp", port, "undeclared")
    for place in forbidden(context, way, family):
        name = target.name if place.address == address_of(target, family) else place.address
        for protocol, ports in place.ports.items():
            for port in ports:
                yield PortUse(source.name, name, protocol, port, "forbidden")


def _first_pair_of(source: Endpoint, context: Context) -> bool:
    """An address is tried once, however many pairs a host is in."""
    hosts = {host.name for host in context.circuit.hosts}
    pairs = [pair for pair in context.circuit.pairs if source.name in pair and hosts.issuperset(pair)]
    return pairs[0] == (context.a.name, context.z.name)


def _by_protocol(found: list[Forbidden]) -> dict[str, tuple[int, ...]]:
    return {name: tuple({each.port: None for each in found if each.protocol == name}) for name in ("tcp", "udp")}


# --- after the run ---------------------------------------------------------------------------------


def states(ports: Mapping[str, Any]) -> dict[str, str]:
    """``{"tcp/5201": "open", …}``"""
    return {f"{protocol}/{port}": state for protocol in ("tcp", "udp") for port, state in ports[protocol].items()}


def verdicts(ports: Mapping[str, Any], listened: Mapping[str, Any] | None) -> dict[str, str]:
    """The states of forbidden connections. A datagram that our listener saw had got through, whatever came back. A
    refusal where no listener of ours was says no more than that nothing listened: such a port is unsure.

    ``listened``: what the far host's listener left, None where it was somebody else's address.
    """
    found = states(ports)
    for name, state in found.items():
        protocol, port = name.split("/")
        seen = (listened or {}).get("seen", {}).get(protocol, {}).get(port)
        if seen:
            found[name] = "open"
        elif state == "unsent" or (state == "refused" and seen is None):
            found[name] = UNSURE
    return found


def blocked(
    scope: Scope, ports: Mapping[str, Any], errors: Mapping[str, Any], target: Endpoint, evidence: str
) -> Observation:
    """How many of the agreed ports are not open; those that the matrix had no room for may be any."""
    found = states(ports)
    closed = {name: state for name, state in found.items() if state != "open"}
    told = ", ".join(f"{name} {state}{by(errors.get(name))}" for name, state in closed.items())
    agreed, few = len(list(target.ports)), len(tried(target))
    if agreed > few:
        told = f"Of {agreed:,} agreed ports only {few:,} were tried: name fewer. {told}".strip()
    most = len(closed) + 2 * (agreed - few)
    return _counted("blocked", scope, len(closed), most, len(found), told, evidence)


def by(error: Mapping[str, Any] | None) -> str:
    """Who said what, for a sentence."""
    if not error:
        return ""
    return f" by {error['from']} ({error['said']})" if error.get("from") else f" ({error['said']})"


def open_undeclared(scope: Scope, ports: Mapping[str, Any] | None, alive: bool, evidence: str) -> Observation:
    """How many ports that nobody declared are open."""
    if ports is None or not states(ports):
        return _nothing_asked("open_undeclared", scope, "The order leaves no undeclared port to try.")
    found = states(ports)
    if not alive or all(state == "unsent" for state in found.values()):
        return _silence("open_undeclared", scope, evidence)
    wide = [name for name, state in found.items() if state == "open"]
    return _counted("open_undeclared", scope, len(wide), len(wide), len(found), _open(wide), evidence)


def forbidden_open(scope: Scope, found: Mapping[str, str], alive: bool, evidence: tuple[str, ...]) -> Observation:
    """How many forbidden connections came about. ``found``: state by ``<host> <protocol>/<port>``; ``evidence``: of
    what tried them."""
    if not evidence:
        return _nothing_asked(
            "forbidden_open", scope, "The order forbids no connection of this pair in this direction (`forbidden:`)."
        )
    wide = [name for name, state in found.items() if state == "open"]
    unsure = [name for name, state in found.items() if state == UNSURE]
    if not alive and not wide:
        return _silence("forbidden_open", scope, *evidence)
    told = _open(wide) + (f" {', '.join(unsure)} refused, maybe only since nothing listens there." if unsure else "")
    return _counted("forbidden_open", scope, len(wide), len(wide) + len(unsure), len(found), told.strip(), *evidence)


def _open(names: list[str]) -> str:
    return f"Open: {', '.join(names)}." if names else ""


def _counted(statistic: str, scope: Scope, lo: int, hi: int, n: int, reason: str, *evidence: str) -> Observation:
    return Observation(
        metric="port",
        statistic=statistic,
        scope=scope,
        unit="",
        value=lo,
        n=n,
        interval=Interval(lo, hi, 1.0, "exact", "each port tried"),
        evidence=evidence,
        reason=reason,
    )


def _silence(statistic: str, scope: Scope, *evidence: str) -> Observation:
    said = "The far host did not answer at all: that these ports did not answer either proves nothing."
    return Observation("port", statistic, scope, "", None, 0, evidence=evidence, reason=said)


def _nothing_asked(statistic: str, scope: Scope, why: str) -> Observation:
    evidence = ("order/circuit.yaml",)
    return Observation("port", statistic, scope, "", None, 0, evidence=evidence, reason=why, applicable=False)
