"""All faults by name, and what a lab is to play while some of them are on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from perfharness.errors import LabFault, Refused
from perfharness.lab.circuit_faults import CIRCUIT_FAULTS
from perfharness.lab.fault_parts import counter_of
from perfharness.lab.filters import counted
from perfharness.lab.host_faults import HOST_FAULTS
from perfharness.lab.linespec import LineSpec
from perfharness.lab.router_faults import ROUTER_FAULTS
from perfharness.lab.spec import LabSpec
from perfharness.lab.trouble import NOTHING, Trouble
from perfharness.lab.wish import Fault as Fault
from perfharness.lab.wish import Wish as Wish
from perfharness.model import Direction

FAULTS = {**HOST_FAULTS, **CIRCUIT_FAULTS, **ROUTER_FAULTS}


def check(wish: Wish, spec: LabSpec) -> Fault:
    """Raises Refused for what this lab cannot play, with what it could."""
    fault = FAULTS.get(wish.name)
    if fault is None:
        raise Refused(f"The lab knows no fault {wish.name}.", f"It knows {', '.join(FAULTS)}.")
    given = set(wish.to_json()) - {"name"}
    if senseless := sorted(given - set(fault.takes)):
        raise Refused(f"{wish.name} takes no {option(senseless[0])}.", f"It takes {options(fault)}.")
    if wish.letter not in spec.circuits:
        raise Refused(f"This lab has no circuit {wish.letter}.", "Build it for an order that names a companion.")
    if fault.needs_bgp and spec.bgp is None:
        raise Refused(f"{wish.name} needs BGP, and this lab has static routes.", "Bring it up with --bgp.")
    circuit = spec.circuits[wish.letter]
    if circuit.rate_bps is None and fault.needs_rate:
        raise Refused(f"{wish.name} needs a rate, and this circuit has none.", "Bring the lab up with --rate.")
    try:
        troubled(wish, spec)
        lines_with([wish], circuit_with([wish], spec).circuits[wish.letter], wish.letter, circuit.lines())
    except (LabFault, ValueError) as error:
        raise Refused(getattr(error, "message", f"{error}."), getattr(error, "remedy", "")) from None
    return fault


def troubled(wish: Wish, spec: LabSpec) -> Trouble:
    """What begins and undoes it in hosts and routers: nothing, where the circuit is played otherwise instead. Raises
    LabFault for what cannot be made, or not there."""
    trouble = FAULTS[wish.name].trouble
    return trouble(spec, _directed(wish)) if trouble else NOTHING


def circuit_with(wishes: Iterable[Wish], spec: LabSpec) -> LabSpec:
    """What is played of an order while these faults are on; most change nothing of it."""
    for wish in wishes:
        if change := FAULTS[wish.name].on_circuit:
            circuits = spec.circuits
            spec = spec.with_circuits({**circuits, wish.letter: change(circuits[wish.letter], wish)})
    return spec


def lines_with(
    wishes: Iterable[Wish], spec: LabSpec, letter: str, lines: Mapping[Direction, LineSpec]
) -> dict[Direction, LineSpec]:
    """What the wire of a circuit plays while these faults are on; ``spec`` is of that circuit."""
    played = dict(lines)
    for wish in wishes:
        fault = FAULTS[wish.name]
        if fault.on_line and wish.letter == letter:
            for way in _directed(wish).ways():
                played[way] = fault.on_line(played[way], spec, wish, way)
    return played


def need_wire(wishes: Iterable[Wish], letter: str) -> bool:
    return any(FAULTS[wish.name].on_line and wish.letter == letter for wish in wishes)


def packetwise(wishes: Iterable[Wish]) -> bool:
    return any(FAULTS[wish.name].packetwise for wish in wishes)


def counts(wish: Wish, spec: LabSpec) -> dict[str, int]:
    """Packets that the filters of this fault counted, by counter; directions as ``a-z`` and ``z-a``."""
    names = {counter_of(way): way.value for way in (Direction.A_Z, Direction.Z_A)}
    return {names.get(name, name): packets for name, packets in counted(troubled(wish, spec).filters).items()}


def _directed(wish: Wish) -> Wish:
    """With the usual direction of this fault, unless another is asked for."""
    return replace(wish, direction=wish.direction or FAULTS[wish.name].usual)


def option(field: str) -> str:
    """What a person types for this field of a wish."""
    return f"--{field.split('_')[0]}"


def options(fault: Fault) -> str:
    return ", ".join(option(field) for field in fault.takes)
