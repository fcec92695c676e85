"""The report's section on failover: a picture on one UTC axis, each flow with its bounds, and what happened when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfharness.model import Measurement, Run, Verdict
from perfharness.order.scenario import load_scenario
from perfharness.report.blocks import Chart, Para, Section, Table
from perfharness.report.dossier import Dossier
from perfharness.report.sections import failover
from tests.unit.job_files import CIRCUIT
from tests.unit.test_failover import CUT_NS, START_UNIX_NS, WITH_CE, between, measured, of_link


def section(*done: Measurement) -> Section:
    times = ("2026-11-22T00:00:00.000Z", "2026-11-22T00:01:00.000Z")
    run = Run("r", "c", "s", *times, "0", Verdict.PASS, (), (), done, ())
    return failover.build(Dossier(run, CIRCUIT, load_scenario("failover")))


def test_outages_acts_and_routers_stand_on_one_axis(tmp_path: Path) -> None:
    """The flow that was cut off comes first, the router's change is a mark and a row; bounds stand by each length."""
    row: dict[str, Any] = {"mono_ns": 1, "what": "bfd", "of": of_link(WITH_CE.circuit)}
    timers = {"mono_ns": 1, "what": "timers", "of": of_link(WITH_CE.circuit), "t_ns": START_UNIX_NS}
    set_to = {**timers, "state": {"bfd_ns": 600_000_000, "hold_ns": None}}
    down_ns = CUT_NS + 4 * 10**8
    edge = [
        set_to,
        {**row, "t_ns": START_UNIX_NS, "state": "up"},
        {**row, "t_ns": down_ns, "since_ns": down_ns - 10**8, "state": "down"},
    ]
    blocks = section(measured(tmp_path, between(3.0, 3.8, 1), context=WITH_CE, edge=edge)).blocks
    (chart,) = (block for block in blocks if isinstance(block, Chart))
    assert "on-prem → cloud: 1 of 2 flows cut off, the longest for 800.0 ms" in chart.caption
    drawn = str(chart.svg)
    assert drawn.index("on-prem → cloud 61001") < drawn.index("on-prem → cloud 61000") and "ce-1 bfd" in drawn
    flows, noticed, events = (block for block in blocks if isinstance(block, Table))
    assert [cell.text for cell in flows.rows[1].cells[3:5]] == ["800.0 ms", "799.0 ms to 801.0 ms"]
    (row_of_bfd,) = noticed.rows
    assert row_of_bfd.group == "The cut, counted from the first loss"
    assert [cell.text for cell in row_of_bfd.cells if cell.text.startswith("within")] == ["within 600.0 ms"]
    told = [[cell.text for cell in row.cells] for row in events.rows]
    assert ["19:18:01.400", "–", "ce-1", "bfd", "172.16.100.1", "up → down"] in told


def test_without_a_cut_the_section_says_so() -> None:
    """One line, and no picture."""
    (block,) = section().blocks
    assert isinstance(block, Para) and block.text == "No circuit was cut in this run."


@pytest.mark.parametrize(
    ("carried", "said"),
    [
        (
            (1000, 1),
            "one circuit carried and the other stood by: on-prem → cloud ce-1 99.9 % and ce-2 0.100 %",
        ),
        ((600, 400), "both circuits carried: on-prem → cloud ce-1 60.0 % and ce-2 40.0 %"),
    ],
)
def test_who_carried_before_the_cut_is_told(tmp_path: Path, carried: tuple[int, int], said: str) -> None:
    """Active and standby, or both active."""
    seen = measured(tmp_path, between(3.0, 3.8), context=WITH_CE)
    routers = {host: {"a-z": bytes_, "z-a": 0} for host, bytes_ in zip(("ce-1", "ce-2"), carried, strict=True)}
    facts = {**seen.facts["failover"], "carried": routers}
    first = next(block for block in section(replace(seen, facts={"failover": facts})).blocks if isinstance(block, Para))
    assert f"Before it {said}" in first.text
