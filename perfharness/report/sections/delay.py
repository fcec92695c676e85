"""Delay over time: idle and under load, with every loss marked."""

from __future__ import annotations

import numpy as np

from perfharness.model import Measurement, Series
from perfharness.report import charts, text, words
from perfharness.report.blocks import Block, Chart, Para, Section, absent
from perfharness.report.dossier import Dossier
from perfharness.report.downsample import COLUMNS, SPANS
from perfharness.report.sections import reroutes

NAME = "Delay over time"


def build(dossier: Dossier) -> Section:
    measured = dossier.with_series("delay")
    if not measured:
        return Section("delay", NAME, absent("No delay was measured in this run."))
    blocks: list[Block] = [
        _chart(dossier, item, series, number)
        for item, all_series in measured
        for number, series in enumerate(all_series)
    ]
    blocks.append(
        Para(
            f"Long series are drawn as an envelope: each of up to {COLUMNS} columns shows the least and the most "
            f"delay of all "
            f"packets that fell into it, so no extreme is left out; p50 and p99 are of the packets in each of up "
            f"to {SPANS} "
            "spans of time, a lost packet counted as infinitely late (a gap where the percentile itself is lost).",
            "note",
        )
    )
    return Section("delay", NAME, tuple(blocks))


def _chart(dossier: Dossier, item: Measurement, series: Series, number: int) -> Chart:
    lost = [one for one in item.series if one.kind == "loss" and one.x.size and one.service == series.service]
    steps = reroutes.jumps(item.facts.get("classes", {}).get(series.service, item.facts), series.start_ns)
    where = words.direction(series.direction, series.service) or series.label
    salt = f"delay-{item.task.id}-{number}"
    return Chart(
        svg=charts.delays(series, lost, dossier.circuit.objectives.rtt_ns, salt, steps),
        title=f"Step {item.task.step}: {where}, {dossier.load(item)}",
        caption=_in_words(series, lost) + (f" Steps are told under “{reroutes.NAME}”." if steps else ""),
    )


def _in_words(series: Series, lost: list[Series]) -> str:
    arrived = series.y[np.isfinite(series.y)]
    count = sum(float(one.y.sum()) for one in lost) if lost else float(series.y.size - arrived.size)
    if not arrived.size:
        return f"No packet arrived; {text.count(count)} lost."
    return (
        f"{text.delay(float(arrived.min()))} to {text.delay(float(arrived.max()))}, half of the packets within "
        f"{text.delay(float(np.median(arrived)))}; {text.count(count)} lost."
    )
