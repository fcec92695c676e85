"""What each circuit is to play now: what was asked for when the lab came up, changed by the faults that are on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from perfharness.lab import faults
from perfharness.lab.faults import Wish
from perfharness.lab.linespec import LineSpec
from perfharness.lab.spec import LabSpec
from perfharness.lab.state import State
from perfharness.model import Direction

MODES = ("veth", "wire", "metered-wire")
"""The kernel meters and nothing else; the wire does all; the kernel meters, and behind it the wire does the rest."""
Lines = Mapping[Direction, LineSpec]


@dataclass(frozen=True, slots=True)
class Score:
    """Of one circuit."""

    mode: str
    spec: LabSpec
    ordered: Lines
    """For a wire: without faults."""
    lines: Lines
    apart: bool
    """TCP crosses packet by packet: something counts or drops packets one by one."""


def recipe(spec: LabSpec, mode: str, lines: Lines) -> dict[str, Any]:
    """What was asked for, in a form that can be compared and stored; ``lines`` are of the first circuit."""
    told: dict[str, Any] = {"spec": spec.to_json(), "mode": mode}
    if mode != "veth":
        every = {letter: circuit.lines(metered=mode == "wire") for letter, circuit in spec.circuits.items()}
        told["lines"] = {letter: to_json(each) for letter, each in {**every, **({"a": lines} if lines else {})}.items()}
    return dict(json.loads(json.dumps(told)))


def spec_of(current: State) -> LabSpec:
    """As asked for."""
    return LabSpec.from_json(current.recipe["spec"])


def wishes_of(current: State) -> list[Wish]:
    return [Wish.from_json(wish) for wish in current.faults]


def played(current: State) -> LabSpec:
    """With the faults that are on."""
    return faults.circuit_with(wishes_of(current), spec_of(current))


def scores(current: State) -> dict[str, Score]:
    """By the circuit's letter."""
    wishes, asked, mode = wishes_of(current), spec_of(current).circuits, current.recipe["mode"]
    return {
        letter: _score(current, letter, circuit, asked[letter], wishes, mode)
        for letter, circuit in played(current).circuits.items()
    }


def _score(current: State, letter: str, circuit: LabSpec, asked: LabSpec, wishes: list[Wish], mode: str) -> Score:
    if mode == "veth":
        mode = "metered-wire" if faults.need_wire(wishes, letter) else "veth"
        ordered = circuit.lines(metered=False)
    else:
        ordered = from_json(current.recipe["lines"][letter])
    if mode == "wire" and circuit != asked:  # there the wire meters
        ordered = {way: replace(ordered[way], rate=line.rate) for way, line in circuit.lines().items()}
    lines = faults.lines_with(wishes, circuit, letter, ordered)
    return Score(mode, circuit, ordered, lines, faults.packetwise(wishes))


def to_json(lines: Lines) -> dict[str, Any]:
    return {str(direction): line.to_json() for direction, line in lines.items()}


def from_json(lines: Mapping[str, Any]) -> dict[Direction, LineSpec]:
    return {Direction(name): LineSpec.from_json(line) for name, line in lines.items()}
