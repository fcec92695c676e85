"""Throughput over time, each direction, beside the ordered rate."""

from __future__ import annotations

from perfharness.model import Direction, Layer, Measurement, Series
from perfharness.report import charts, drawing, text, words
from perfharness.report.blocks import Block, Chart, Para, Section, absent
from perfharness.report.dossier import Dossier

NAME = "Throughput over time"
LEGEND = (
    "Counted at the receiver, one point for each interval of the tool, at the layer of the ordered rate (L2 where the "
    "order names none). The figures above leave out the warm-up; the curves show it."
)


def build(dossier: Dossier) -> Section:
    measured = dossier.with_series("rate")
    if not measured:
        return Section("throughput", NAME, absent("No rate over time was measured in this run."))
    groups: dict[tuple[str, str, bool], list[tuple[Measurement, Series]]] = {}
    for item, series in measured:
        scope = item.task.scope
        key = (item.task.step, scope.pair, scope.direction is Direction.BOTH)
        groups.setdefault(key, []).extend((item, one) for one in series)
    blocks: list[Block] = [_chart(dossier, *key, members) for key, members in groups.items()]
    blocks.append(Para(LEGEND, "note"))
    return Section("throughput", NAME, tuple(blocks))


def _chart(dossier: Dossier, step: str, pair: str, both: bool, members: list[tuple[Measurement, Series]]) -> Chart:
    committed = _committed(dossier, pair)
    layer = (dossier.circuit.rate_layer or Layer.L2).value
    ordered = f"ordered {text.rate(committed)}" if committed else ""
    lines = [drawing.Line(series, _name(series)) for _, series in members]
    title = f"Step {step}" + (", both directions at once" if both else "")
    if dossier.several_pairs:
        title += f", {pair.replace(':', ' ↔ ')}"
    return Chart(
        svg=charts.rates(lines, committed, ordered, layer, salt=f"rate-{step}-{pair}-{both}"),
        title=title,
        caption="; ".join(_spread(line.name, line.series) for line in lines)
        + (f"; {ordered}" if ordered else "")
        + ".",
    )


def _name(series: Series) -> str:
    where = words.direction(series.direction)
    return where or series.label


def _spread(name: str, series: Series) -> str:
    """The curve in words, for those who do not see it."""
    return f"{name}: {text.rate(float(series.y.min()))} to {text.rate(float(series.y.max()))}"


def _committed(dossier: Dossier, pair: str) -> int | None:
    """The ordered rate of this pair; None for a pair that the order does not know."""
    names = tuple(pair.split(":"))
    if len(names) != 2 or names not in dossier.circuit.pairs:
        return None
    return dossier.circuit.committed_bps((names[0], names[1]))
