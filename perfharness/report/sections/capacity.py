"""What the circuit carries at most: the search, the figures in every layer, what set the limit, and the meter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from perfharness.judge.background import busy
from perfharness.judge.ceiling import limited
from perfharness.model import Direction, Fitness, Layer, Measurement, Series, Verdict
from perfharness.report import charts, drawing, text, trains, words
from perfharness.report.blocks import Block, Cell, Chart, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier

NAME = "Capacity"
LEGEND = (
    "A search climbs until less arrives than is sent; then up to a quarter more than it found is offered for seconds. "
    "The sustained rate is what arrives once every token bucket is empty, and it is judged; the best second still "
    "contains the bucket. A rate has an upper bound only where clearly more left the sending host than the receiving "
    "one took in or dropped itself: else a host was the limit, and the circuit may carry more. L1 counts preamble and "
    "gap, L2 the frame with its VLAN tag, L4 the payload alone."
)
METER_LEGEND = (
    "From rest a token bucket is full: of a train that is sent faster than the rate everything passes until it is "
    "empty, then exactly the rate. The line through that part begins at the size of the bucket. The layer at which the "
    "rate is counted comes from the ratio of two packet sizes that pass."
)
LIMITS = {
    "circuit": "circuit",
    "port": "speed of the port",
    "sender-cpu": "CPU of the sender",
    "receiver-cpu": "receiving host",
    "nic": "interface of the sender",
    "most": "what was tried",
    "unknown": "unknown",
}
HOW = {"policer": ", policed", "policer-burst": ", policed with a very small bucket", "shaper": ", shaped"}
FITTED = trains.FITTED


def build(dossier: Dossier) -> Section:
    found = [item for item in dossier.measured("capacity") if item.facts.get("capacity")]
    meters = [item for item in dossier.measured("policing") if item.facts]
    if not found and not meters:
        return Section("capacity", NAME, absent("The capacity was not measured in this run."))
    blocks: list[Block] = [block for item in found for block in _capacity(dossier, item)]
    if found:
        blocks.append(Para(LEGEND, "note"))
    if meters:
        blocks.append(Sub("Policer or shaper"))
        blocks += [block for item in meters for block in _meter(dossier, item)]
        blocks.append(Para(METER_LEGEND, "note"))
    return Section("capacity", NAME, tuple(blocks))


def _capacity(dossier: Dossier, item: Measurement) -> Iterator[Block]:
    for way, facts in item.facts["capacity"].items():
        drawn = [one for one in item.series if one.kind.startswith("capacity") and one.direction == way and one.x.size]
        if drawn:
            yield _picture(dossier, item, way, drawn, facts)
    ways: Mapping[str, Any] = item.facts["capacity"]
    rows = [row for way, facts in ways.items() for row in _rows(words.DIRECTIONS[_way(way)], facts)]
    columns = ("", *(f">{layer.value}" for layer in Layer))
    yield Table(columns, tuple(rows), (25, 15, 15, 15, 15, 15), caption=_caption(dossier, item))
    yield Table(
        ("Direction", "Limited by", "Why"),
        tuple(_limit(words.DIRECTIONS[_way(way)], facts, _excuses(dossier, item, way)) for way, facts in ways.items()),
        (18, 24, 58),
    )


def _way(name: str) -> Any:
    return next(way for way in words.DIRECTIONS if way.value == name)


def _caption(dossier: Dossier, item: Measurement) -> str:
    size = next(iter(item.facts["capacity"].values()))["packet_bytes"]
    return f"Step {item.task.step}{_beside(dossier, item)}: {size} B of UDP payload"


def _beside(dossier: Dossier, item: Measurement) -> str:
    """What tells this task from others of its direction."""
    both = ", both ways at once" if item.task.scope.direction is Direction.BOTH else ""
    return both + (f", {item.task.scope.pair.replace(':', ' ↔ ')}" if dossier.several_pairs else "")


def _picture(dossier: Dossier, item: Measurement, way: str, drawn: list[Series], facts: Mapping[str, Any]) -> Chart:
    names = tuple(item.task.scope.pair.split(":"))
    committed = dossier.circuit.committed_bps((names[0], names[1])) if names in dossier.circuit.pairs else None
    ordered = f"ordered {text.rate(committed)}" if committed else ""
    lines = [drawing.Line(replace(one, direction=None), one.label) for one in drawn]
    sustained = facts.get("sustained")
    found = f"{text.rate(sustained[facts['layer']])} sustained" if sustained else facts.get("reason", "")
    return Chart(
        charts.rates(lines, committed, ordered, facts["layer"], salt=f"capacity-{item.task.id}-{way}"),
        f"Search, overload and confirmation, {words.DIRECTIONS[_way(way)]}{_beside(dossier, item)}",
        f"{found}{f'; {ordered}' if ordered else ''}.",
    )


def _rows(direction: str, facts: Mapping[str, Any]) -> Iterator[Row]:
    for name, key in (("Sustained", "sustained"), ("Best second", "best_second")):
        layers = facts.get(key)
        if layers:
            figures = (Cell(text.rate(layers[layer.value]), kind="num") for layer in Layer)
            yield Row((Cell(name, kind="head"), *figures), group=direction)


def _excuses(dossier: Dossier, item: Measurement, way: str) -> list[tuple[str, str]]:
    """What else may have set the limit, by what the verdict was left open for: (what, why), once each."""
    found = []
    about = (item.task.id, "capacity.sustained", _way(way), Verdict.INCONCLUSIVE)
    for row in dossier.run.findings:
        if (row.task, row.metric, row.scope.direction, row.verdict) == about:
            hosts = limited(row, row.threshold, item, dossier.run.measurements)
            found += [(each.host, f"{each.host}: {_said(each)}") for each in hosts]
            found += [("others' traffic", _said(each)) for each in busy(row, row.threshold, item)]
    return list(dict.fromkeys(found))


def _said(by: Fitness) -> str:
    return ", ".join(by.reasons)


def _limit(direction: str, facts: Mapping[str, Any], excuses: Sequence[tuple[str, str]]) -> Row:
    limit = facts.get("limited_by")
    if limit is None:
        return Row((Cell(direction, kind="head"), Cell(text.NONE), Cell(facts.get("reason", ""))))
    what = LIMITS.get(limit["what"], limit["what"]) + HOW.get(limit["how"] or "", "")
    host = f" ({limit['host']})" if limit["host"] else ""
    if excuses:  # what the hosts counted cannot tell these apart
        what = f"not told: {LIMITS.get(limit['what'], limit['what'])}{host} or {' or '.join(who for who, _ in excuses)}"
        host = ""
    why = [*(said for _, said in excuses), *limit["reasons"]]
    if facts.get("queue_ns") is not None and limit["what"] == "circuit":
        why.append(f"packets waited {text.delay(facts['queue_ns'])} under the overload")
    confirm = facts.get("confirm")
    if confirm and confirm["sent"]:
        lost = f"{text.count(confirm['lost'])} of {text.count(confirm['sent'])} packets lost"
        why.append(f"{lost} at {text.rate(confirm['rate_bps'])}")
    return Row((Cell(direction, kind="head"), Cell(what + host), Cell("; ".join(why) + ".")))


def _meter(dossier: Dossier, item: Measurement) -> Iterator[Block]:
    if "no_meter" in item.facts:
        yield Para(f"{words.direction(item.task.scope.direction)}: {item.facts['no_meter']}")
        return
    for way, facts in item.facts.get("policing", {}).items():
        said = f"It {facts['sentence']}." if facts["sentence"] else facts["open"]
        yield Para(f"{words.DIRECTIONS[_way(way)]}: {said}", "lead")
        drawn = [one for one in item.series if one.kind == "policing" and one.x.size]
        if drawn:
            svg = trains.train(drawn, salt=f"policing-{item.task.id}-{way}")
            fitted = any(one.label == FITTED for one in drawn)
            line = "; the line is the rate, its height at the first packet the bucket" if fitted else ""
            yield Chart(svg, f"A train from rest, {words.DIRECTIONS[_way(way)]}", f"What arrived of it{line}.")
