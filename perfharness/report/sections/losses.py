"""How losses come: one by one or in a row, at random or again and again after the same time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from perfharness.analysis.ledger import host_loss
from perfharness.model import Direction, Measurement, Series
from perfharness.report import charts, text, words
from perfharness.report.blocks import Block, Cell, Chart, Para, Points, Row, Section, Table, absent
from perfharness.report.dossier import Dossier

NAME = "How packets were lost"
LEGEND = (
    "A period of loss is a run of packets lost one after another (RFC 3357). “If by chance” is the mean length of such "
    "a run when no loss depends on another: a longer mean says that losses come in bursts. After an arrival and after "
    "a loss are the two chances of Gilbert's model: that the next packet is lost, and that it is lost again. All lost "
    "packets count here, also those that a host lost: who lost them is in the ledger."
)
BURSTY = 2.0
"""Mean periods longer than this many times those of chance are called bursts."""
_WAYS = {way.value: way for way in (Direction.A_Z, Direction.Z_A)}


def build(dossier: Dossier) -> Section:
    told = [item for item in dossier.by_class if item.facts.get("loss_runs")]
    if not told:
        probed = any("prober" in item.facts for item in dossier.measured("latency"))
        why = "No probe of a stream by itself was lost." if probed else "No probe stream was measured by itself."
        return Section("losses", NAME, absent(why))
    blocks = [block for item in told for block in _blocks(dossier, item)]
    return Section("losses", NAME, (Points(tuple(_told(item) for item in told)), *blocks, Para(LEGEND, "note")))


def _told(item: Measurement) -> tuple[str, str]:
    """A measurement in plain words."""
    said = [sentence for way, runs in item.facts["loss_runs"].items() for sentence in _sentences(item, way, runs)]
    return f"Step {item.task.step}:", " ".join(said)


def _sentences(item: Measurement, way: str, runs: Mapping[str, Any]) -> Iterator[str]:
    name = words.direction(_WAYS[way])
    mean = runs["lost"] / runs["periods"]
    if runs["lost"] == 1:
        how = "a single packet was lost"
    elif runs["periods"] == 1:
        how = f"all losses are one run of {runs['longest']:,} packets"
    elif runs["longest"] == 1:
        how = "losses come one by one"
    elif mean > BURSTY * runs["chance_length"]:
        how = f"losses come in bursts, {text.digits(mean, 2)} packets in a row on average, {runs['longest']:,} at most"
    else:
        how = f"losses come one by one or nearly so, {runs['longest']:,} in a row at most"
    yield f"{name[0].upper()}{name[1:]}: {how} ({text.count(runs['lost'])} of {text.count(runs['packets'])})."
    low, high = host_loss([row for row in item.ledger if row.scope.direction is _WAYS[way]])
    if high:
        most = min(high, runs["lost"])
        some = text.count(most) if low >= most else f"{text.count(low)} to {text.count(most)}"
        yield f"The hosts themselves lost {some} of these."
    period = item.facts.get("periodic_loss", {}).get(way)
    if period:
        yield (
            f"They recur every {period['length']:.4g} s, {period['events']:,} times; losses at random moments would "
            f"look so with a chance of {text.ratio(max(period['chance'], 1e-12))} at most."
        )


def _blocks(dossier: Dossier, item: Measurement) -> Iterator[Block]:
    series = tuple(one for one in item.series if one.kind == "loss.periods" and one.x.size)
    stream = tuple(one for one in item.series if one.kind == "delay" and one.x.size)
    where = f", {item.task.scope.pair.replace(':', ' ↔ ')}" if dossier.several_pairs else ""
    if series:
        yield Chart(
            charts.losses(series, stream, salt=f"losses-{item.task.id}"),
            f"Step {item.task.step}{where}: when packets were lost, and how many in a row",
            "; ".join(_caption(one) for one in series) + ".",
        )
    for way, period in item.facts.get("periodic_loss", {}).items():
        its = tuple(one for one in series if one.direction is _WAYS[way])
        if its:
            yield Chart(
                charts.phases(its, stream, period["length"], salt=f"phases-{item.task.id}-{way}"),
                f"Step {item.task.step}{where}: where in a period of {period['length']:.4g} s losses began, "
                f"{words.direction(_WAYS[way])}",
                "Losses that recur with this period lie on one level; others are spread over the whole height.",
            )
    yield Table(
        columns=(
            "Direction",
            ">Lost",
            ">Periods",
            ">Longest",
            ">Mean",
            ">If by chance",
            ">Between two, typically",
            ">Lost after an arrival",
            ">Lost after a loss",
            "Evidence",
        ),
        widths=(16, 8, 8, 8, 7, 9, 13, 12, 10, 9),
        rows=tuple(_row(dossier, item, way, runs) for way, runs in item.facts["loss_runs"].items()),
        caption=f"Step {item.task.step}{where}: periods of loss, in packets",
    )


def _row(dossier: Dossier, item: Measurement, way: str, runs: Mapping[str, Any]) -> Row:
    figures = (
        text.count(runs["lost"]),
        text.count(runs["periods"]),
        text.count(runs["longest"]),
        text.digits(runs["lost"] / runs["periods"], 3),
        text.digits(runs["chance_length"], 3),
        text.NONE if runs["apart"] is None else text.count(runs["apart"]),
        text.ratio(runs["begins"]),
        text.ratio(1 - runs["ends"]),
    )
    name = Cell(words.direction(_WAYS[way]), kind="head")
    return Row((name, *(Cell(each, kind="num") for each in figures), Cell("", refs=dossier.samples(item))))


def _caption(series: Series) -> str:
    return (
        f"{words.direction(series.direction)}: {text.count(series.x.size)} "
        f"period{'' if series.x.size == 1 else 's'} of {_range(float(series.y.min()), float(series.y.max()))}"
    )


def _range(least: float, most: float) -> str:
    if least == most:
        return f"{text.count(most)} packet{'' if most == 1 else 's'}"
    return f"{text.count(least)} to {text.count(most)} packets"
