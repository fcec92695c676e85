"""Service activation: each service's steps as a table with their verdicts, its rate over time, and all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from perfharness.model import Direction, Finding, Layer, Measurement, Series, Verdict
from perfharness.report import drawing, steps, text, words
from perfharness.report.blocks import Block, Cell, Chart, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier

NAME = "Service activation, based on Y.1564"
CONFIGURATION, PERFORMANCE = "service-configuration", "service-performance"
BOTH = " both ways"
WORST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_RUN, Verdict.WARN, Verdict.WAIVED, Verdict.PASS)
METHOD = (
    "Based on ITU-T Y.1564, with one difference: the load's frames count rate (IR) and loss (FLR), while delay (FTD) "
    "and its variation (FDV) come from a STAMP stream beside the load, in the same class of service and a part of its "
    "rate. FTD is the p99 of the round trip; one way it is told where both clocks allow it. FDV is the p99 of what the "
    "round trip takes longer than the least one of its ten seconds. Rates are counted at the receiver, at the layer of "
    "the order; where a step overloads the circuit, over its second half, when a bucket of tokens is empty. At or "
    "below the CIR a service must meet all of its criteria; at CIR+EIR its CIR must still arrive, the rest is "
    "reported; when policed, no less than CIR·(1−FLR) and no more than CIR+EIR may arrive, each by the margin "
    "that is part of the requirement. A step that a host did not offer, or did not receive, is inconclusive."
)
SHORT_NAMES = {
    "throughput.udp": "IR",
    "loss": "FLR",
    "delay.loaded": "FTD",
    "delay.oneway": "FTD one way",
    "variation.pdv": "FDV",
}
Step = Mapping[str, Any]


def build(dossier: Dossier) -> Section:
    done = [item for kind in (CONFIGURATION, PERFORMANCE) for item in dossier.measured(kind)]
    if not done:
        return Section("service", NAME, absent("No service was activated step by step in this run."))
    blocks: list[Block] = [_overview(dossier, done)]
    for item in done:
        blocks += _of_task(dossier, item)
    return Section("service", NAME, (*blocks, Para(METHOD, "note")))


def _overview(dossier: Dossier, done: Sequence[Measurement]) -> Table:
    rows = []
    for item in done:
        for (name, way), own in _by_service(item).items():
            found = [row for step in own for row in _rows(dossier, item, step)]
            kind = "configuration" if item.task.measurement == CONFIGURATION else "performance"
            cells = (
                Cell(name, _class(own[0]), "head"),
                Cell(kind, "both ways at once" if item.task.scope.direction is Direction.BOTH else ""),
                Cell(words.direction(way), item.task.scope.pair.replace(":", " ↔ ") if dossier.several_pairs else ""),
                Cell(f"{len(own)} steps" if kind == "configuration" else text.duration(own[0]["seconds"])),
                Cell("", verdict=_worst(found)),
            )
            rows.append(Row(cells))
    columns = ("Service", "Test", "Direction", "Extent", "Verdict")
    return Table(columns, tuple(rows), (22, 22, 24, 14, 18))


def _of_task(dossier: Dossier, item: Measurement) -> Iterator[Block]:
    services = _by_service(item)
    both = ", both ways at once" if item.task.scope.direction is Direction.BOTH else ""
    if item.task.measurement == CONFIGURATION:
        for (name, way), own in services.items():
            yield Sub(f"{name}{_bracketed(own[0])}, {words.direction(way)}{both}")
            yield _table(dossier, item, own)
            yield _chart(dossier, item, way, {name: own})
            if not any(step["load"].startswith("policing") for step in own):
                yield Para(_unpoliced(dossier, item), "note")
        return
    for way in dict.fromkeys(way for _, way in services):
        mine = {name: own for (name, each), own in services.items() if each is way}
        yield Sub(f"All services at their CIR, {words.direction(way)}{both}")
        yield _table(dossier, item, [step for own in mine.values() for step in own], performance=True)
        yield _chart(dossier, item, way, mine)


def _unpoliced(dossier: Dossier, item: Measurement) -> str:
    asked = next((step.params for step in dossier.scenario.steps if step.id == item.task.step), {})
    if asked.get("policing") == "false":
        return "Policing was left out by the scenario."
    port = text.rate(dossier.circuit.port.speed_bps)
    return f"Policing is not applicable: CIR and EIR fill the port of {port}, so nothing more can be offered."


# --- the table --------------------------------------------------------------------------------


def _table(dossier: Dossier, item: Measurement, own: Sequence[Step], performance: bool = False) -> Table:
    layer = (dossier.circuit.rate_layer or Layer.L2).value
    columns = ("Service" if performance else "Step", f">Offered, {layer}", f">IR, {layer}", ">FLR", ">FTD", ">FDV")
    rows = tuple(_row(dossier, item, step, performance) for step in own)
    if performance:
        return Table((*columns, ">Availability", "Verdict"), rows, (14, 12, 14, 15, 11, 11, 11, 12))
    return Table((*columns, "Verdict"), rows, (14, 13, 17, 17, 12, 12, 15))


def _row(dossier: Dossier, item: Measurement, step: Step, performance: bool) -> Row:
    found = _rows(dossier, item, step)
    head = Cell(step["service"], _class(step), "head") if performance else Cell(_load(step), kind="head")
    offered = "" if step["offered_bps"] >= 0.999 * step["intended_bps"] else f"of {text.rate(step['intended_bps'])}"
    oneway = [row for row in found if row.metric == "delay.oneway" and row.value is not None]
    cells = [
        head,
        Cell(text.rate(step["offered_bps"]), offered, "num"),
        _figure(found, "throughput.udp", "mean"),
        _figure(found, "loss", "ratio"),
        _figure(found, "delay.loaded", "p99", f"one way {text.value(oneway[0].value, 'ns')}" if oneway else ""),
        _figure(found, "variation.pdv", "p99"),
    ]
    if performance:
        cells.append(_figure(found, "availability", "ratio"))
    verdict = _worst(found)
    return Row((*cells, Cell("", verdict=verdict)), note=_against(found))


def _against(found: Sequence[Finding]) -> str:
    """What keeps a step from passing, a sentence for each figure."""
    open_ones = [row for row in found if row.operator and row.verdict not in (Verdict.PASS, Verdict.NOT_APPLICABLE)]
    said = (f"{SHORT_NAMES.get(row.metric, row.metric)}: {row.reason.split('. ')[0].rstrip('.')}." for row in open_ones)
    return " ".join(dict.fromkeys(said))


def _figure(found: Sequence[Finding], metric: str, statistic: str, more: str = "") -> Cell:
    """The figure, and below it what was required of it."""
    rows = [row for row in found if (row.metric, row.statistic) == (metric, statistic)]
    if not rows:
        return Cell(text.NONE, kind="num")
    limits = [text.threshold_text(replace(row, layer=None)) for row in rows if row.operator]
    share = metric in ("loss", "availability")
    shown = text.finding_value(rows[0]) if share else text.value(rows[0].value, rows[0].unit)
    return Cell(shown, ", ".join(filter(None, (*dict.fromkeys(limits), more))), "num")


def _rows(dossier: Dossier, item: Measurement, step: Step) -> list[Finding]:
    """The findings of a step, or of a service: its own direction's and the round trip's."""
    ways = (Direction(step["direction"]), Direction.ROUND_TRIP)
    return [
        row
        for row in dossier.run.findings
        if row.task == item.task.id
        and (row.scope.load, row.scope.service) == (step["load"], step["class"])
        and row.scope.direction in ways
    ]


def _worst(found: Sequence[Finding]) -> Verdict:
    required = {row.verdict for row in found if row.operator}
    return next((verdict for verdict in WORST if verdict in required), Verdict.NOT_APPLICABLE)


# --- the picture ------------------------------------------------------------------------------


def _chart(dossier: Dossier, item: Measurement, way: Direction, services: Mapping[str, Sequence[Step]]) -> Chart:
    names = {own[0]["class"]: f"{name}{_bracketed(own[0])}" for name, own in services.items()}
    lines, lost = (_lines(item, way, kind, names) for kind in ("service.rate", "service.loss"))
    only = next(iter(services.values())) if len(services) == 1 else ()
    limits = _limits(only)
    layer = (dossier.circuit.rate_layer or Layer.L2).value
    spans = _spans(only) if item.task.measurement == CONFIGURATION else []
    salt = f"{item.task.id}-{way.value}-{'-'.join(services)}"
    return Chart(
        svg=steps.rates(lines, lost, spans, limits, layer, salt),
        title=f"Rate and loss over time, {words.direction(way)}",
        caption="; ".join([*map(_in_words, lines), *(f"{one.name} is {text.rate(one.bps)}" for one in limits)]) + ".",
    )


def _lines(item: Measurement, way: Direction, kind: str, names: Mapping[str, str]) -> list[drawing.Line]:
    own = [one for one in item.series if one.kind == kind and one.direction is way and one.service in names]
    return [drawing.Line(one, names[one.service]) for one in own]


def _limits(own: Sequence[Step]) -> list[steps.Limit]:
    """CIR, and CIR+EIR where it was offered."""
    loads = {_load(step): float(step["intended_bps"]) for step in own}
    found = [steps.Limit("CIR", bps * 100 / int(load[:-5])) for load, bps in loads.items() if load.endswith("% CIR")]
    if "CIR" in loads:
        found.append(steps.Limit("CIR", loads["CIR"]))
    excess = [steps.Limit("CIR+EIR", loads["CIR+EIR"])] if "CIR+EIR" in loads else []
    return [*found[-1:], *excess]


def _spans(own: Sequence[Step]) -> list[steps.Span]:
    return [
        steps.Span(_load(step).removesuffix(" CIR"), step["seen_s"][0], step["seen_s"][1])
        for step in own
        if None not in step["seen_s"] and step["seconds"] >= 1
    ]


def _in_words(line: drawing.Line) -> str:
    series: Series = line.series
    return f"{line.name}: {text.rate(float(series.y.min()))} to {text.rate(float(series.y.max()))}"


# --- names ------------------------------------------------------------------------------------


def _by_service(item: Measurement) -> dict[tuple[str, Direction], list[Step]]:
    found: dict[tuple[str, Direction], list[Step]] = {}
    for step in item.facts.get("steps", ()):
        found.setdefault((step["service"], Direction(step["direction"])), []).append(step)
    return found


def _load(step: Step) -> str:
    return str(step["load"]).removesuffix(BOTH)


def _class(step: Step) -> str:
    return f"class {step['class']}" if step["class"] else ""


def _bracketed(step: Step) -> str:
    return f" ({_class(step)})" if step["class"] else ""
