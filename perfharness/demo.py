"""The verb `demo`: the whole job on the built-in lab."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from perfharness import interrupt
from perfharness.lab import control
from perfharness.lab.spec import LabSpec
from perfharness.model import Run
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import find_shipped
from perfharness.run import run

CIRCUIT = "circuits/lab"


def demo(results: Path, console: Console) -> Run:
    """Lab up, `run smoke --circuit scenarios/circuits/lab.yaml`, lab down unless it was up. Raises LabFault."""
    circuit = find_shipped(CIRCUIT)
    was_up = control.status()["up"]
    console.print("Bringing up the lab: on-prem host, LAN, CE, circuit, VBR, VPC router, ECS instance.")
    try:
        control.up(LabSpec.from_circuit(load_circuit(circuit)))
        return run("smoke", circuit, results, (), console)
    finally:
        if not was_up:
            with interrupt.held("The lab is taken down first."):
                control.down()
            console.print("The lab is down again.")
