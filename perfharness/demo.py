"""The verb `demo`: the whole job on the built-in lab."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from perfharness import lab
from perfharness.model import Run
from perfharness.order.scenario import find_shipped
from perfharness.run import run


def demo(results: Path, console: Console) -> Run:
    """Lab up, `run smoke --circuit scenarios/circuits/lab.yaml`, lab down. Raises LabFault."""
    console.print("Bringing up the lab: on-prem host, CE, circuit, VBR, VPC router, ECS instance.")
    circuit = find_shipped("circuits/lab")
    was_up = lab.is_up()
    lab.up_for(circuit)
    try:
        return run("smoke", circuit, results, None, console)
    finally:
        if not was_up:
            lab.down()
            console.print("The lab is down again.")
