"""What the report shows of several pairs together, and of what the hosts can do by themselves."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from perfharness.model import Direction, Measurement, Verdict
from perfharness.order.circuit import Circuit
from perfharness.report.blocks import Para, Section, Table
from perfharness.report.dossier import Dossier
from perfharness.report.sections import hosts, ledger, throughput
from tests.unit import run_builder
from tests.unit.test_ceiling import GBIT, known
from tests.unit.test_together import TWO, store


def dossier(order: Circuit, *found: Measurement) -> Dossier:
    run = replace(run_builder.empty(), measurements=found, verdict=Verdict.PASS)
    return Dossier(run, order, run_builder.scenario())


def words(section: Section) -> str:
    """All text of its tables and paragraphs."""
    said: list[Any] = []
    for block in section.blocks:
        if isinstance(block, Table):
            said += [block.caption, *(cell.text for row in block.rows for cell in row.cells)]
        elif isinstance(block, Para):
            said.append(block.text)
    return " | ".join(said)


def test_the_sum_is_drawn_and_each_pair_stands_in_a_table(tmp_path: Path) -> None:
    """One picture of all pairs together, and a row for each of them; what each lost is booked once."""
    found = store(tmp_path, TWO, lost=(0, 7))
    told = words(throughput.build(dossier(TWO, found)))
    assert "onprem-a ↔ ecs-a | 21.09 Mbit/s | 0 | onprem-b ↔ ecs-b" in told
    assert "All of them were sending for 2.9 s" in told
    assert told.count("| 20 Mbit/s | 1 packet |") == 2  # how each was sent
    assert words(ledger.build(dossier(TWO, found))).count("| 105 |") == 1


def test_a_low_ceiling_is_a_warning_beside_what_was_asked() -> None:
    """Below 1.2 times what a test asks of the host it may be the limit itself; a loopback says no such thing."""
    low, alone = (
        known("ecs-a", Direction.A_Z, 1.1 * GBIT, 1.1 * GBIT),
        known("ecs-a", Direction.A_Z, 1.0, math.inf, "ecs-a"),
    )
    told = words(hosts.build(dossier(TWO, low)))
    assert "! ecs-a takes at most 1.1 Gbit/s against ecs-b, less than 1.2 × the 1 Gbit/s" in told
    assert "it may be the limit itself" not in words(hosts.build(dossier(TWO, alone)))
    assert "sends and takes, loopback" in words(hosts.build(dossier(TWO, alone)))
