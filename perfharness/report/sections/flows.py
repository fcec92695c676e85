"""Flow by flow: which addresses and ports fare worse than others between the same hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from perfharness.model import Direction, Measurement
from perfharness.report import shares, text, words
from perfharness.report.blocks import Block, Cell, Chart, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier

NAME = "Flow by flow"
WAYS = (Direction.A_Z, Direction.Z_A)
LEGEND = (
    "A link group (LAG, ECMP) sends each flow over one of its members, by a hash of addresses and ports. Replies have "
    "them the other way round and may take another member, so each direction is judged by itself. Flows are hit when "
    "they lose more than the rest beyond chance, and slow when their median delay stands apart; delays are compared "
    "between flows, so the clocks of the hosts do not matter."
)
Flow = Mapping[str, Any]


def build(dossier: Dossier) -> Section:
    swept = [item for item in dossier.measured("flows") if item.facts.get("flows")]
    if not swept:
        return Section("flows", NAME, absent("No sweep over many flows was made in this run."))
    blocks = [block for item in swept for block in _blocks(dossier, item)]
    return Section("flows", NAME, (*blocks, Para(LEGEND, "note")))


def _blocks(dossier: Dossier, item: Measurement) -> Iterator[Block]:
    flows: list[Flow] = item.facts["flows"]
    if dossier.several_pairs:
        yield Sub(item.task.scope.pair.replace(":", " ↔ "))
    yield from _charts(item, flows)
    rows = tuple(_row(item.facts["ends"], flow, way) for way in WAYS for flow in flows if _stands_out(flow, way))
    if rows:
        columns = ("From", "To (UDP)", ">Packets lost", ">Later than the median flow", "What")
        yield Table(columns, rows, (24, 24, 18, 20, 14), caption="Flows that stand out, as the carrier sees them")
    else:
        yield Para(f"None of the {len(flows)} flows stands out.")


def _charts(item: Measurement, flows: list[Flow]) -> Iterator[Chart]:
    lost = [
        shares.Flows(
            words.direction(way),
            np.array([100 * flow[way]["lost"] / flow[way]["sent"] for flow in there]),
            np.array([flow[way]["hit"] for flow in there]),
        )
        for way in WAYS
        if (there := [flow for flow in flows if way in flow and flow[way]["sent"]])
    ]
    if any(group.y.any() for group in lost):
        svg = shares.flows(lost, "% lost", salt=f"{item.task.id}-lost")
        yield Chart(svg, "Packets lost by each flow", _caption(lost))
    later = [
        shares.Flows(
            words.direction(way),
            np.array([flow[way]["later_ns"] / 1e3 for flow in there]),
            np.array([flow[way]["slow"] for flow in there]),
            "slow",
        )
        for way in WAYS
        if (there := [flow for flow in flows if way in flow and flow[way]["later_ns"] is not None])
    ]
    if later:
        svg = shares.flows(later, "µs later than the median flow", salt=f"{item.task.id}-later")
        yield Chart(svg, "Median one-way delay of each flow, against the other flows", _caption(later))


def _caption(groups: list[shares.Flows]) -> str:
    return (
        "; ".join(f"{group.name}: {int(group.hit.sum())} of {len(group.hit)} flows {group.word}" for group in groups)
        + "."
    )


def _stands_out(flow: Flow, way: Direction) -> bool:
    return way in flow and bool(flow[way]["hit"] or flow[way]["slow"])


def _row(ends: Mapping[str, Any], flow: Flow, way: Direction) -> Row:
    fate = flow[way]
    here, there = f"{ends['source']}:{flow['source_port']}", f"{ends['target']}:{ends['port']}"
    source, target = (here, there) if way is Direction.A_Z else (there, here)
    what = [name for name, mark in (("hit", fate["hit"]), ("slow", fate["slow"])) if mark]
    later = fate["later_ns"]
    return Row(
        (
            Cell(source, kind="code"),
            Cell(target, kind="code"),
            Cell(f"{text.count(fate['lost'])} of {text.count(fate['sent'])}", kind="num"),
            Cell(text.NONE if later is None else f"{later / 1e3:,.0f} µs", kind="num"),
            Cell(", ".join(what) + (" (in doubt)" if fate["hit"] and fate["doubtful"] else "")),
        ),
        group=words.direction(way),
    )
