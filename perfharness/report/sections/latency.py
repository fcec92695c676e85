"""Percentiles of delay and variation in figures, and the tester's own error beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from perfharness.report import text
from perfharness.report.blocks import Cell, Para, Row, Section, Table, absent
from perfharness.report.dossier import Dossier

NAME = "Delay percentiles"
LEGEND = (
    "Over all packets sent: a lost packet counts as infinitely late, so a percentile beyond the share that arrived is "
    "“unbounded”. Different kinds of variation are never compared with one another. The timer error is how late the "
    "sender's own packets left against their schedule: the tester's part, not the circuit's."
)
_KNOWN = ("min", "p50", "p90", "p95", "p99", "p99.9", "max")
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
    return Section("latency", NAME, (table, Para(LEGEND, "note"), *_stamps(dossier)))


def _stamps(dossier: Dossier) -> tuple[Para, ...]:
    """Whose stamps the round trips rest on."""
    told = []
    for item in dossier.run.measurements:
        counts = _facts(dossier, item.task.id, "stamps")
        total = sum(counts.values())
        shares = (f"{who} {n / total:.2%}" for who, n in counts.items())
        told += [f"{item.task.id}: {', '.join(shares)}"] if total else []
    legend = (
        "Who took the time stamps of the round trips, sender/reflector; hardware is the network card. Stamps of "
        "different kinds are not subtracted from one another, and the rarer kind of a stream is left out."
    )
    return (Para(f"{legend} {'; '.join(told)}.", "note"),) if told else ()


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
                for name, value in _facts(dossier, row.task, "percentiles").items():
                    figures.setdefault(name, value)
    return rows


def _timer_errors(dossier: Dossier) -> dict[tuple[str, str], Figures]:
    found = {item.task.id: _facts(dossier, item.task.id, "timer_error_ns") for item in dossier.run.measurements}
    return {(task, "Timer error of the sender"): dict(figures) for task, figures in found.items() if figures}


def _facts(dossier: Dossier, task: str, name: str) -> Mapping[str, Any]:
    """A table of figures that a measurement left; empty when it left none."""
    for item in dossier.run.measurements:
        if item.task.id == task and isinstance(item.facts.get(name), Mapping):
            return {key: value for key, value in item.facts[name].items() if isinstance(value, int | float)}
    return {}
