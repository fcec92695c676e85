"""Percentiles of delay and variation in figures, and the tester's own error beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from perfharness.report import text, words
from perfharness.report.blocks import Block, Cell, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier

NAME = "Delay percentiles"
LEGEND = (
    "Over all packets sent: a lost packet counts as infinitely late, so a percentile beyond the share that arrived is "
    "“unbounded”. Different kinds of variation are never compared with one another. The timer error is how late the "
    "sender's own packets left against their schedule: the tester's part, not the circuit's."
)
SIZES = (
    "Of the packets that came back; lost ones are left out. Sizes take turns in a fixed order. The slope is that of "
    "the least round trips, there and back: each link that a packet crosses whole adds 8 bits over its rate, twice."
)
_KNOWN = ("min", "p1", "p50", "p90", "p95", "p99", "p99.9", "max")
_ROUND_TRIPS = ("delay.rtt", "delay.loaded")
"""What the least and most of all packets, left as facts, belong to."""
Figures = dict[str, Any]


def build(dossier: Dossier) -> Section:
    rows = _delays(dossier) | _timer_errors(dossier)
    if not rows:
        return Section("latency", NAME, absent("No percentiles of delay were measured in this run."))
    seen = {name for figures in rows.values() for name in figures}
    columns = [name for name in _KNOWN if name in seen] + sorted(seen - set(_KNOWN))
    table = Table(
        columns=("Task", "What", *(f">{name}" for name in columns)),
        rows=tuple(
            Row((Cell(task, kind="head"), Cell(what), *(_cell(figures.get(name)) for name in columns)))
            for (task, what), figures in rows.items()
        ),
    )
    return Section("latency", NAME, (table, Para(LEGEND, "note"), *_sizes(dossier)))


def _sizes(dossier: Dossier) -> tuple[Block, ...]:
    """Round trips by size, of the streams that mix sizes."""
    rows = []
    for item in dossier.measured("latency"):
        for service, facts in item.facts.get("classes", {item.task.scope.service: item.facts}).items():
            slope = facts.get("ns_per_byte")
            group = ", ".join(part for part in (item.task.id, words.direction(None, service)) if part)
            group += f": {slope:.3g} ns more for each byte" if slope is not None else ""
            rows += [_size(each, group) for each in facts.get("sizes", ())]
    if not rows:
        return ()
    columns = (">Frame with FCS", ">UDP payload", ">Share of packets", ">Least round trip", ">p50")
    return Sub("Round trips by packet size"), Table(columns=columns, rows=tuple(rows)), Para(SIZES, "note")


def _size(each: Mapping[str, Any], group: str) -> Row:
    trips = each["rtt_ns"] or {}
    cells = (
        text.value(each["frame_bytes"], "B"),
        text.value(each["payload_bytes"], "B"),
        text.value(each["share"], "1"),
        text.value(trips.get("min"), "ns"),
        text.value(trips.get("p50"), "ns"),
    )
    return Row(tuple(Cell(cell, kind="num") for cell in cells), group=group)


def _cell(ns: Any) -> Cell:
    return Cell(text.value(ns, "ns"), kind="num")


def _delays(dossier: Dossier) -> dict[tuple[str, str], Figures]:
    """(task, what) -> percentiles: the findings of every task, for delay with its least and most beside them."""
    rows: dict[tuple[str, str], Figures] = {}
    for row in dossier.run.findings:
        named = row.statistic in _KNOWN or re.fullmatch(r"p\d+(\.\d+)?", row.statistic)
        if row.metric.startswith(("delay.", "variation.")) and row.unit == "ns" and row.value is not None and named:
            figures = rows.setdefault((row.task, dossier.name(row)), {})
            figures[row.statistic] = row.value
            if row.metric in _ROUND_TRIPS:
                for name, value in _facts(dossier, row.task, "percentiles", row.scope.service).items():
                    figures.setdefault(name, value)
    return rows


def _timer_errors(dossier: Dossier) -> dict[tuple[str, str], Figures]:
    found = {item.task.id: item.facts.get("prober", {}).get("timer_error_ns") for item in dossier.run.measurements}
    return {(task, "Timer error of the sender"): dict(figures) for task, figures in found.items() if figures}


def _facts(dossier: Dossier, task: str, name: str, service: str = "") -> Mapping[str, Any]:
    """A table of figures that a measurement left, of this class where it left one of each; empty when it left none."""
    for item in dossier.run.measurements:
        facts = item.facts.get("classes", {}).get(service, item.facts)
        if item.task.id == task and isinstance(facts.get(name), Mapping):
            return {key: value for key, value in facts[name].items() if isinstance(value, int | float)}
    return {}
