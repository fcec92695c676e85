"""How the delay is distributed: the share of packets later than each value."""

from __future__ import annotations

import numpy as np

from perfharness.model import Measurement, Series
from perfharness.report import drawing, shares, text, words
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
    pictures = [_chart(dossier, number, curves) for number, curves in enumerate(_pictures(measured))]
    variations = _pictures(dossier.with_series("ccdf.pdv"))
    pictures += [_chart(dossier, number, curves, variation=True) for number, curves in enumerate(variations)]
    return Section(
        "distribution",
        NAME,
        (
            *pictures,
            Para(
                "Where a curve crosses 1 % lies its 99th percentile: an objective for the p99 is met when the "
                "curve crosses 1 % to the "
                "left of the objective. A packet that never came is later than any delay: a curve with losses goes on "
                "level, dotted, at the share that was lost. Delay variation (PDV) is what a packet took longer than "
                "the fastest one of its ten seconds (RFC 5481).",
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


def _chart(dossier: Dossier, number: int, curves: list[Curve], variation: bool = False) -> Chart:
    lines = [drawing.Line(series, _name(dossier, item, series)) for item, series in curves]
    objectives, kind = dossier.circuit.objectives, "pdv" if variation else "ccdf"
    limit_ns = objectives.pdv_ns if variation else objectives.rtt_ns
    what = "Delay variation (PDV)" if variation else "Round-trip delay"
    return Chart(
        svg=shares.distributions(lines, limit_ns, salt=f"{kind}-{number}"),
        title=f"{what}: share of packets {'that took longer by more' if variation else 'later'} than a value",
        caption="; ".join(_in_words(line) for line in lines) + ".",
    )


def _name(dossier: Dossier, item: Measurement, series: Series) -> str:
    return ", ".join(part for part in (dossier.load(item), words.direction(None, series.service)) if part)


def _in_words(line: drawing.Line) -> str:
    arrived = np.isfinite(line.series.x)
    x, y = line.series.x[arrived], line.series.y[arrived]
    if not x.size:
        return f"{line.name}: no packet arrived"
    lost = float(y.min())
    if lost > 0.01:
        return f"{line.name}: {100 * lost:.3g} % lost, so there is no 99th percentile"
    p99 = text.delay(float(x[y <= 0.01][0]))
    return f"{line.name}: 99 % within {p99}, {f'{100 * lost:.3g} % lost' if lost else 'none lost'}"
