"""One-way delay in both directions with its bound, and the clocks that the bound rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfharness.model import Finding, Measurement, Series
from perfharness.report import drawing, shares, text, words
from perfharness.report.blocks import Block, Cell, Chart, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier

NAME = "One-way delay"
METRIC = "delay.oneway"
LEGEND = (
    "Each direction by itself needs two clocks that agree. The bound is what they leave open: about half of the least "
    "round trip, since no delay is negative, and less where both clocks state their root distance (RFC 5905). It "
    "widens every interval on both sides. Both directions of a packet sum to its round trip, whatever the bound."
)
_THROUGH = {
    "yes": "yes: its asymmetry is in the clock",
    "perhaps": "perhaps: reached over the tested interface",
    "no": "no",
    "unknown": "unknown",
}


def build(dossier: Dossier) -> Section:
    told = [item for item in dossier.run.measurements if isinstance(item.facts.get("oneway"), Mapping)]
    findings = dossier.of_metric(METRIC)
    if not told and not findings:
        return Section("oneway", NAME, absent("No one-way delay was measured in this run."))
    blocks: list[Block] = [block for item in told for block in _chart(dossier, item)]
    blocks.append(_figures(dossier, findings, {item.task.id: item.facts["oneway"] for item in told}))
    if told:
        blocks += [Sub("The clocks meanwhile"), _clocks(told)]
    return Section("oneway", NAME, (*blocks, Para(LEGEND, "note")))


def _chart(dossier: Dossier, item: Measurement) -> tuple[Block, ...]:
    every = [series for series in item.series if series.kind == "ccdf.oneway" and series.x.size]
    services = dict.fromkeys(series.service for series in every)
    return tuple(_of_class(dossier, item, [one for one in every if one.service == each], each) for each in services)


def _of_class(dossier: Dossier, item: Measurement, curves: list[Series], service: str) -> Chart:
    lines = [drawing.Line(series, words.direction(series.direction, service)) for series in curves]
    error_ns, limit_ns = item.facts["oneway"]["error_ns"], dossier.circuit.objectives.oneway_ns
    return Chart(
        svg=shares.distributions(lines, limit_ns, f"oneway-{item.task.id}{service}", error_ns),
        title=f"Step {item.task.step}: one-way delay, share of packets later than a value",
        caption=f"Both curves may lie up to {text.delay(error_ns)} farther left or right, as the bars across them "
        "show: one as far left as the other right, for both sum to the round trip.",
    )


def _figures(dossier: Dossier, findings: tuple[Finding, ...], facts: Mapping[str, Mapping[str, Any]]) -> Table:
    return Table(
        columns=("Task", "Direction", "Statistic", ">Delay", ">Bound", "Known from", "Evidence"),
        widths=(12, 18, 9, 12, 12, 27, 10),
        rows=tuple(_figure(dossier, row, facts.get(row.task, {})) for row in findings),
    )


def _figure(dossier: Dossier, row: Finding, known: Mapping[str, Any]) -> Row:
    if row.value is None:
        delay, bound, source = text.NONE, text.NONE, row.reason
    else:
        delay, bound = text.value(row.value, "ns"), f"± {text.delay(known['error_ns'])}"
        source = "the clocks' root distances" if known["by_clocks"] else "the round trip alone"
    return Row(
        (
            Cell(row.task, kind="head"),
            Cell(words.direction(row.scope.direction, row.scope.service), _load(row)),
            Cell(row.statistic),
            Cell(delay, kind="num"),
            Cell(bound, kind="num"),
            Cell(source),
            Cell("", refs=dossier.refs(row.evidence)),
        )
    )


def _load(row: Finding) -> str:
    return "" if row.scope.load == "idle" else words.load(row.scope.load)


def _clocks(told: list[Measurement]) -> Table:
    return Table(
        columns=("Task", "Host", "Kept by", "Reference", "Behind the circuit?", "What it claims", "Set meanwhile"),
        widths=(11, 11, 10, 14, 14, 28, 12),
        rows=tuple(
            _clock(item.task.id, host, clock)
            for item in told
            for host, clock in item.facts["oneway"].get("clocks", {}).items()
        ),
    )


def _clock(task: str, host: str, clock: Mapping[str, Any]) -> Row:
    moved = ", ".join(f"{size / 1e6:+.3f} ms" for size in clock["steps_ns"]) or "no"
    return Row(
        (
            Cell(task, kind="head"),
            Cell(host),
            Cell(clock["source"] or "not recorded"),
            Cell(clock["reference"] or text.NONE),
            Cell(_THROUGH[clock["through_circuit"]]),
            Cell(clock["reason"]),
            Cell(moved),
        )
    )
