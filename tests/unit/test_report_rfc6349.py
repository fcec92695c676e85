"""The report's section on TCP by RFC 6349."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from perfharness.model import Measurement
from perfharness.report.blocks import Points, Section, Table
from perfharness.report.dossier import Dossier
from perfharness.report.sections import rfc6349
from tests.unit import run_builder
from tests.unit.test_rfc6349 import measured


def section(item: Measurement | None) -> Section:
    run = run_builder.passing()
    run = replace(run, measurements=() if item is None else (item,))
    return rfc6349.build(Dossier(run, run_builder.circuit(), run_builder.scenario()))


def words(found: Section) -> str:
    """All that is said in lists."""
    return " ".join(
        f"{name} {said}" for block in found.blocks if isinstance(block, Points) for name, said in block.items
    )


def facts(item: Measurement, **more: Any) -> Measurement:
    table = {**item.facts["rfc6349"]["a-z"], **more}
    return replace(item, facts={**item.facts, "rfc6349": {"a-z": table}})


def test_each_direction_is_a_column(tmp_path: Path) -> None:
    """MTU, baseline, window asked and got, and what limited it."""
    (table,) = (block for block in section(measured(tmp_path)).blocks if isinstance(block, Table))
    rows = {row.cells[0].text: row.cells[1].text for row in table.rows}
    assert table.columns == ("", ">on-prem → cloud")
    assert rows["Path MTU"] == "1,500 B"
    assert rows["Baseline RTT"] == "22.00 ms"
    assert rows["Window of a stream, asked / got"] == "1.00 MiB / 64.0 KiB"
    assert rows["Streams / processes"] == "4 / 1"
    assert rows["Limited by"] != "–"


def test_the_single_stream_stands_beside_known_limits_and_where_they_come_from(tmp_path: Path) -> None:
    """A default is said to be one."""
    said = words(section(measured(tmp_path)))
    assert "known limits of a flow are 130 Mbit/s and 250 Mbit/s (default, not from the order)" in said


def test_a_window_that_was_cut_says_what_consent_would_do(tmp_path: Path) -> None:
    """And where the limits were raised it says from what to what."""
    item = measured(tmp_path)
    assert "`tune: {socket_buffers: …}`" in words(section(item))
    row = {"name": "net.core.rmem_max", "old": "212992", "new": "67108864", "why": "", "put_back": True}
    said = words(section(facts(item, tuned={"ecs-a": [row]})))
    assert "net.core.rmem_max was raised from 212992 to 67108864 by consent and put back." in said
    assert "`tune:" not in said


def test_what_is_not_known_is_a_dash(tmp_path: Path) -> None:
    """An old kernel and a window left to the hosts."""
    window = {"by": "auto", "asked_bytes": None, "got_bytes": None, "clamped": ""}
    found = section(facts(measured(tmp_path), mss=None, fairness=None, bdp_bytes=None, window=window, single=None))
    (table,) = (block for block in found.blocks if isinstance(block, Table))
    rows = {row.cells[0].text: row.cells[1].text for row in table.rows}
    assert (rows["Live MSS"], rows["Fairness of the streams"]) == ("–", "–")
    assert rows["Window of a stream, asked / got"] == "left to the hosts"


def test_a_run_without_it_says_so() -> None:
    """In one line."""
    (block,) = section(None).blocks
    assert "No TCP test by RFC 6349" in str(block)
