"""Whether packets took one path all the time: steps in delay, TTLs on arrival, and marks that were changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from perfharness.model import Direction, Measurement
from perfharness.report import text, words
from perfharness.report.blocks import Block, Cell, Para, Points, Row, Section, Table, absent
from perfharness.report.charts import Jump
from perfharness.report.dossier import Dossier

NAME = "Changes of path"
LEGEND = (
    "A step is a lasting change of the least round trip: packets took another way from then on. Its parts each way "
    "need no clocks that agree, only clocks that were not set at that moment. TTL (IPv6: hop limit) is what was left "
    "of the {sent} with which probes and replies leave: it falls by one at each router, so another number is another "
    "path. A reply leaves with the DSCP that its probe brought."
)
PROBE_TTL = 255
"""As ``perfagent.sockets`` sets it."""
MOST = 30
"""Steps and changes of TTL that are printed."""
_WAYS = {way.value: way for way in (Direction.A_Z, Direction.Z_A)}


def build(dossier: Dossier) -> Section:
    told = [item for item in dossier.by_class if {"ttl", "marks", "delay_steps"} & item.facts.keys()]
    if not told:
        return Section("reroutes", NAME, absent("No probe stream was watched for changes of its path in this run."))
    blocks = [block for item in told for block in _blocks(dossier, item)]
    return Section("reroutes", NAME, (*blocks, Para(LEGEND.format(sent=PROBE_TTL), "note")))


def jumps(facts: Mapping[str, Any], start_ns: int) -> tuple[Jump, ...]:
    """The steps to mark in a picture of a stream with these facts, numbered as in the table."""
    return tuple(
        Jump((step["at_ns"] - start_ns) / 1e9, number) for number, step in enumerate(facts.get("delay_steps", ()), 1)
    )


def _blocks(dossier: Dossier, item: Measurement) -> Iterator[Block]:
    found = item.facts.get("delay_steps", ())
    changed = any(seen["changes"] for seen in item.facts.get("ttl", {}).values())
    said = [_in_words(len(found), changed, bool(item.facts.get("ttl"))), *_remarked(item)]
    yield Points(((f"Step {item.task.step}:", " ".join(said)),))
    files = Cell("", refs=dossier.samples(item))
    if found:
        yield Table(
            columns=(
                "Step",
                "When (UTC)",
                ">Before",
                ">After",
                ">Change",
                ">on-prem → cloud",
                ">cloud → on-prem",
                "Evidence",
            ),
            widths=(6, 21, 11, 11, 11, 15, 15, 10),
            rows=tuple(_step(number, step, files) for number, step in enumerate(found[:MOST], 1)),
            caption="Steps in the least round trip"
            + (f", the first {MOST} of {len(found)}" if len(found) > MOST else ""),
        )
    if item.facts.get("ttl") or item.facts.get("marks"):
        ways = [way for way in _WAYS if way in item.facts.get("ttl", {}) or way in item.facts.get("marks", {})]
        yield Table(
            columns=(
                "Direction",
                "TTL on arrival",
                ">Changes",
                "DSCP sent",
                "DSCP on arrival",
                ">Congestion (ECN)",
                "Evidence",
            ),
            widths=(17, 25, 9, 9, 18, 12, 10),
            rows=tuple(_seen(item, way, files) for way in ways),
            caption="How packets arrived",
        )
    runs = tuple(row for way in _WAYS for row in _runs(item, way))
    if runs:
        yield Table(
            columns=("Direction", "From (UTC)", ">TTL", ">Packets in a row"),
            widths=(27, 33, 20, 20),
            rows=runs,
            caption="Changes of TTL",
        )


def _in_words(steps: int, changed: bool, told: bool) -> str:
    if not steps and not changed:
        return "No step in delay" + (
            ", and every packet of a direction arrived with the same TTL: one path all the time, as far as this shows."
            if told
            else " was found; no TTL was told."
        )
    parts = []
    if steps:
        often = {1: "once", 2: "twice"}.get(steps, f"{steps} times")
        parts.append(f"the least delay changed {often} and stayed so")
    if changed:
        parts.append("the TTL on arrival changed")
    said = "; ".join(parts)
    said = said[0].upper() + said[1:]
    if changed:
        return f"{said}: packets took another path."
    return f"{said}{', with the same TTL throughout' if told else ''}: a reroute below IP is the usual cause."


def _remarked(item: Measurement) -> Iterator[str]:
    for way, marks in item.facts.get("marks", {}).items():
        name = words.direction(_WAYS[way])
        name = name[0].upper() + name[1:]
        if marks["remarked"]:
            others = " or ".join(dscp for dscp in marks["dscps"] if int(dscp) not in marks["sent"])
            sent = " or ".join(map(str, marks["sent"]))
            count = f"{text.count(marks['remarked'])} of {text.count(marks['packets'])}"
            yield f"{name}: {count} packets came with DSCP {others} instead of {sent}."
        if marks["congestion"]:
            count = f"{text.count(marks['congestion'])} of {text.count(marks['packets'])}"
            yield f"{name}: {count} packets were marked for congestion (ECN)."


def _step(number: int, step: Mapping[str, Any], files: Cell) -> Row:
    parts = step["parts_ns"] or {}
    return Row(
        (
            Cell(str(number), kind="head"),
            Cell(text.moment(step["at_ns"], "%Y-%m-%d %H:%M:%S")),
            Cell(text.delay(step["before_ns"]), kind="num"),
            Cell(text.delay(step["before_ns"] + step["size_ns"]), kind="num"),
            Cell(_signed(step["size_ns"]), kind="num"),
            *(Cell(_part(parts.get(way), step["size_ns"]), kind="num") for way in _WAYS),
            files,
        )
    )


def _part(ns: float | None, size_ns: float) -> str:
    if ns is None:
        return "not known"
    return "unchanged" if abs(ns) < 0.05 * abs(size_ns) else _signed(ns)


def _signed(ns: float) -> str:
    return ("+" if ns > 0 else "") + text.delay(ns)


def _seen(item: Measurement, way: str, files: Cell) -> Row:
    ttl, marks = item.facts.get("ttl", {}).get(way), item.facts.get("marks", {}).get(way)
    ttls = _shares({f"{value}, {_routers(int(value))}": n for value, n in ttl["seen"].items()}) if ttl else ""
    return Row(
        (
            Cell(words.direction(_WAYS[way]), kind="head"),
            Cell(ttls or "not told"),
            Cell(text.count(ttl["changes"]) if ttl else text.NONE, kind="num"),
            Cell(", ".join(map(str, marks["sent"])) if marks else "not told"),
            Cell(_shares(marks["dscps"]) if marks else "not told"),
            Cell(text.count(marks["congestion"]) if marks else text.NONE, kind="num"),
            files,
        )
    )


def _routers(ttl: int) -> str:
    count = PROBE_TTL - ttl
    return f"{count} router{'' if count == 1 else 's'}" if count else "no router"


def _shares(counts: Mapping[str, int]) -> str:
    """A single value by itself, several with the packets of each, the most frequent first."""
    if len(counts) == 1:
        return next(iter(counts))
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return "; ".join(f"{value} ({text.count(n)} packets)" for value, n in ordered)


def _runs(item: Measurement, way: str) -> Iterator[Row]:
    """When the TTL changed, where that was seldom enough to tell."""
    ttl = item.facts.get("ttl", {}).get(way)
    start = next((series.start_ns for series in item.series if series.kind == "delay"), 0)
    if not ttl or not 0 < ttl["changes"] <= MOST or not start:
        return
    for since_ns, value, packets in ttl["runs"]:
        yield Row(
            (
                Cell(words.direction(_WAYS[way]), kind="head"),
                Cell(text.moment(start + since_ns, "%Y-%m-%d %H:%M:%S")),
                Cell(str(value), kind="num"),
                Cell(text.count(packets), kind="num"),
            )
        )
