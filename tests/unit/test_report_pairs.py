"""What the report shows of several pairs together, and of what the hosts can do by themselves."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from perfharness.model import Direction, Measurement, Verdict
from perfharness.order.circuit import Circuit
from perfharness.report.blocks import Chart, Para, Section, Table
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


def test_what_limited_a_load_stands_in_a_table(tmp_path: Path) -> None:
    """Of UDP too, with the reason, and how evenly the streams of TCP fared."""
    found = store(tmp_path, TWO, lost=(0, 71))
    assert "| the circuit | 1,065 to 1,065 of" in words(throughput.build(dossier(TWO, found)))
    limited = [{"limit": "window", "way": "a-z", "reasons": ["It was small."]}]
    tcp = replace(found, facts={**found.facts, "limited_by": limited, "fairness": {"a-z": 0.97}})
    assert "| the TCP window | It was small. | 0.970" in words(throughput.build(dossier(TWO, tcp)))


def test_losses_and_round_trips_lie_under_the_rate() -> None:
    """Of a UDP load its own losses, beside TCP those of the probes, on the time of the rate; each in words too."""
    order, run = run_builder.circuit(), run_builder.half_rate()
    udp, tcp = (next(item for item in run.measurements if item.task.id == f"{kind}-a-z") for kind in ("udp", "tcp"))
    rate = udp.series[0]
    share = replace(rate, y=np.linspace(0, 0.5, len(rate.x)), unit="1", kind="load.loss")
    for item, lost in (
        (replace(udp, series=(*udp.series, share)), "on-prem → cloud, lost at most 50 % in an interval"),
        (tcp, "on-prem → cloud, probes, lost at most 3.0e-3 in an interval"),
    ):
        blocks = throughput.build(Dossier(replace(run, measurements=(item,)), order, run_builder.scenario())).blocks
        (chart,) = (block for block in blocks if isinstance(block, Chart))
        assert lost in chart.caption and "round trips 5" in chart.caption
        assert "% lost" in chart.svg and "ms, round trip of the probes" in chart.svg


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
