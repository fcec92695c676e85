"""How the delay is distributed: the share of packets later than each value."""

from __future__ import annotations

from perfharness.model import Measurement, Series
from perfharness.report import charts, words
from perfharness.report.blocks import Chart, Para, Section, absent
from perfharness.report.dossier import Dossier

NAME = "Delay distribution"
MOST_LINES = 4
"""More curves in one picture cannot be told apart."""
Curve = tuple[Measurement, Series]


def build(dossier: Dossier) -> Section:
    measured = dossier.with_series("ccdf")
    if not measured:
        return Section("distribution", NAME, absent("No delay distribution was measured in this run."))
    pictures = tuple(_chart(dossier, number, curves) for number, curves in enumerate(_pictures(measured)))
    return Section(
        "distribution",
        NAME,
        (
            *pictures,
            Para(
                "Where a curve crosses 1 % lies its 99th percentile: an objective for the p99 is met when the "
                "curve crosses 1 % to the "
                "left of the objective. A curve that ends flat above the bottom shows packets that never came.",
                "note",
            ),
        ),
    )


def _pictures(measured: tuple[tuple[Measurement, tuple[Series, ...]], ...]) -> list[list[Curve]]:
    """The curves of each kind of load in one picture, the idle path beside them."""
    groups: dict[str, list[Curve]] = {}
    for item, all_series in measured:
        kind = item.task.scope.load.split()[0]
        groups.setdefault(kind, []).extend((item, series) for series in all_series)
    unloaded = groups.pop("idle", [])
    idle = unloaded[:1]
    pictures = [idle + curves for curves in groups.values()] or [idle]
    classes = [(item, series) for item, series in unloaded if item.facts.get("classes")]
    pictures += [classes] if classes else []
    return [one[start : start + MOST_LINES] for one in pictures for start in range(0, len(one), MOST_LINES)]


def _chart(dossier: Dossier, number: int, curves: list[Curve]) -> Chart:
    lines = [charts.Line(series, _name(dossier, item, series)) for item, series in curves]
    return Chart(
        svg=charts.distributions(lines, dossier.circuit.objectives.rtt_ns, salt=f"ccdf-{number}"),
        title="Round-trip delay: share of packets later than a value",
        caption="Curves: " + "; ".join(line.name for line in lines) + ".",
    )


def _name(dossier: Dossier, item: Measurement, series: Series) -> str:
    return ", ".join(part for part in (dossier.load(item), words.direction(None, series.service)) if part)
