"""How each circuit of the lab is played now: by the kernel, by a wire, or by both, and changed while it is up."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import perfharness
from perfharness.errors import LabFault
from perfharness.lab import processes, shaping, state, topology
from perfharness.lab import truth as account
from perfharness.lab.linespec import LineSpec
from perfharness.lab.score import Score
from perfharness.lab.state import FOLDER, State
from perfharness.lab.topology import Crossing, Plan
from perfharness.lab.wire import Config, read_config
from perfharness.model import Direction

SEED = 1
WIRE_START_S = 5.0
GRACE_S = 1.0


def config_of(letter: str) -> Path:
    return FOLDER / ("wire.json" if letter == "a" else f"wire-{letter}.json")


def truth_of(letter: str) -> Path:
    return FOLDER / ("truth.json" if letter == "a" else f"truth-{letter}.json")


def build(current: State, plan: Plan, scores: Mapping[str, Score]) -> None:
    """All circuits for the first time; their ends are there."""
    for way in plan.crossings:
        score = scores[way.letter]
        if score.mode != "wire":
            shaping.meter(way, score.spec, apart=score.apart)
        if score.mode != "veth":
            _start_wire(current, way, score.lines)
        current.built[way.letter] = score.mode
    current.save()


def ready(current: State, plan: Plan, scores: Mapping[str, Score]) -> list[str]:
    """Those that need a wire have one, which plays what was ordered, the others have none; returns those rebuilt."""
    changed = [way for way in plan.crossings if current.built[way.letter] != scores[way.letter].mode]
    for way in changed:
        _rebuild(current, plan, way, scores[way.letter])
    return [way.letter for way in changed]


def play(current: State, plan: Plan, scores: Mapping[str, Score]) -> None:
    """From now on this, on circuits that are ready; what is played already goes on undisturbed. Raises LabFault."""
    for way in plan.crossings:
        score = scores[way.letter]
        if score.mode != "veth":
            tune(current, way.letter, score.lines)
        if score.mode != "wire":
            shaping.meter(way, score.spec, apart=score.apart)
        for end in way.circuit:
            topology.resize(end, score.spec.mtu)


def tune(current: State, letter: str, lines: Mapping[Direction, LineSpec]) -> None:
    """Change what a wire plays while frames are on the way; returns when it does. Raises LabFault."""
    wire = next((process for process in current.processes if process.name == _name(letter)), None)
    if wire is None:
        raise LabFault("The lab plays its circuit without a wire.", "Bring it up with the user-space wire.")
    had = read_config(config_of(letter))
    wanted = {**had.lines, **lines}
    state.write_json(config_of(letter), Config(SEED, had.near, had.far, wanted).to_json())
    if not wire.signal(signal.SIGHUP):
        raise LabFault("The wire has gone.", "Bring the lab up again.")
    account.await_lines(truth_of(letter), wanted)


def _rebuild(current: State, plan: Plan, way: Crossing, score: Score) -> None:
    """Frames on the way are lost, and BGP begins anew."""
    wires = [process for process in current.processes if process.name == _name(way.letter)]
    processes.end(wires, GRACE_S)
    current.processes = [process for process in current.processes if process not in wires]
    current.built[way.letter] = "none"  # whatever comes between: neither is there
    current.save()
    topology.rebuild(plan, way, taps=score.mode != "veth")
    if score.mode != "wire":
        shaping.meter(way, score.spec, apart=score.apart)
    if score.mode != "veth":
        truth_of(way.letter).unlink(missing_ok=True)
        _start_wire(current, way, score.ordered)
    current.built[way.letter] = score.mode
    current.save()


def _start_wire(current: State, way: Crossing, lines: Mapping[Direction, LineSpec]) -> None:
    config, truth, log = config_of(way.letter), truth_of(way.letter), FOLDER / f"{_name(way.letter)}.log"
    state.write_json(config, Config(SEED, way.ce, way.vbr, dict(lines)).to_json())
    argv = [sys.executable, "-m", "perfharness.lab.wire", str(config), str(truth)]
    home = str(Path(perfharness.__file__).parent.parent)
    wire = processes.launch(_name(way.letter), argv, log, current.add_process, {"PYTHONPATH": home})
    deadline = time.monotonic() + WIRE_START_S
    while not truth.exists():
        if not wire.alive or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
            raise LabFault(f"The wire did not start: {said[0] if said else 'it says nothing'}.")
        time.sleep(0.01)


def _name(letter: str) -> str:
    return "wire" if letter == "a" else f"wire-{letter}"
