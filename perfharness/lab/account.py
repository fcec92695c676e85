"""The truth of all circuits together, with what faults made in routers dropped or changed, while they are on and after.

Such a fault drops in the VBR: its packets are booked as the circuit's, so that ``in`` = ``out`` + all ``dropped``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfharness.lab import faults, truth
from perfharness.lab.circuits import truth_of
from perfharness.lab.faults import Wish
from perfharness.lab.score import Score, spec_of, wishes_of
from perfharness.lab.spec import LabSpec
from perfharness.lab.state import State
from perfharness.lab.topology import Crossing, Plan
from perfharness.model import Direction


def of(current: State, plan: Plan, scores: Mapping[str, Score]) -> dict[str, Any]:
    """Of the first circuit at the top; where there is a second one, that is ``second``. ``faults``: what those that
    are on counted. Raises LabFault."""
    told = {way.letter: _circuit(current, way, scores[way.letter]) for way in plan.crossings}
    spec, on = spec_of(current), []
    for wish in wishes_of(current):
        counted = faults.counts(wish, spec)
        on.append({**wish.to_json(), **({"packets": counted} if counted else {})})
        if faults.FAULTS[wish.name].drops:
            _book(told[wish.letter], wish.name, counted)
    for key, packets in current.cleared.items():
        letter, way, name = key.split("/")
        _book(told[letter], name, {way: packets})
    second = {"second": told["b"]} if "b" in told else {}
    return {**told["a"], **second, "faults": on}


def note(current: State, wish: Wish, spec: LabSpec) -> None:
    """A fault is about to end, and its counters with it: what it dropped on the circuit stays true."""
    if faults.FAULTS[wish.name].drops:
        for way, packets in faults.counts(wish, spec).items():
            if packets:
                key = f"{wish.letter}/{way}/{wish.name}"
                current.cleared[key] = current.cleared.get(key, 0) + packets


def forget(current: State, letter: str, spec: LabSpec) -> None:
    """A circuit was built anew and counts from zero: so what was dropped before is none of its truth."""
    current.cleared = {key: packets for key, packets in current.cleared.items() if not key.startswith(f"{letter}/")}
    for wish in wishes_of(current):
        if wish.letter == letter and faults.FAULTS[wish.name].drops:
            for way, packets in faults.counts(wish, spec).items():
                current.cleared[f"{letter}/{way}/{wish.name}"] = -packets
    current.save()


def _book(told: dict[str, Any], cause: str, packets: Mapping[str, int]) -> None:
    """Dropped in the VBR: towards the cloud after the circuit's counter there, towards on-prem before it."""
    for way, count in packets.items():
        here = told["directions"][way]
        here["dropped"][cause] = here["dropped"].get(cause, 0) + count
        if way == Direction.A_Z:
            here["out"]["packets"] -= count
        else:
            here["in"]["packets"] += count


def _circuit(current: State, way: Crossing, score: Score) -> dict[str, Any]:
    mode = current.built[way.letter]
    if mode == "veth":
        return truth.of_veth(way, score.spec)
    return truth.of_wire(way, truth_of(way.letter), score.spec, mode)
