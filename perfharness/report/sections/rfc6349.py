"""TCP by RFC 6349: what the path is, what TCP made of it, and what limited it, direction by direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from perfharness.model import Direction, Measurement
from perfharness.report import text, words
from perfharness.report.blocks import Block, Cell, Para, Points, Row, Section, Table, absent
from perfharness.report.dossier import Dossier

NAME = "TCP by RFC 6349"
LEGEND = (
    "First the path MTU is looked for, then the least round trip of the idle path (baseline RTT), then what UDP of "
    "our own, sent evenly at the ordered rate, brings (bottleneck bandwidth, no more than was ordered). Their product "
    "(BDP) is what a full path holds: the streams together get that much window and a quarter, and each of them 64 "
    "KiB at least. Efficiency is the share of bytes that were not sent again; buffer delay is the rise of the mean "
    "round trip of the probes beside the load, in baselines; the transfer time ratio is ideal by actual goodput, the "
    "ideal being full packets at the bottleneck bandwidth with the live MSS. Fairness is Jain's index over the "
    "streams: 1 where all have the same. TCP is no part of the order: these figures warn, and fail no circuit."
)
LIMITS = {
    "circuit": "the circuit",
    "policer-burst": "the burst that a policer lets through",
    "window": "the TCP window",
    "congestion-control": "congestion control",
    "sender-cpu": "the sender's CPU",
    "receiver-cpu": "the receiver's CPU",
    "nic": "a network interface",
    "instance": "the machine itself",
    "offered": "what was offered",
    "sender": "the sending host",
    "hosts": "losses at the hosts",
    "unknown": "not known",
}
_AT_ONCE = 4
"""Columns that fit beside one another."""
_JUDGED = ("tcp.efficiency", "tcp.buffer_delay", "tcp.transfer_time_ratio")
Table6349 = Mapping[str, Any]
Figure = tuple[str, Callable[[Table6349], str]]


def build(dossier: Dossier) -> Section:
    told = list(_told(dossier))
    if not told:
        return Section("rfc6349", NAME, absent("No TCP test by RFC 6349 was made in this run."))
    blocks: list[Block] = [_table(dossier, told[at : at + _AT_ONCE]) for at in range(0, len(told), _AT_ONCE)]
    blocks += [Points(tuple(_why(dossier, item, facts))) for item, _, facts in told]
    return Section("rfc6349", NAME, (*blocks, Para(LEGEND, "note")))


def limited(facts: Sequence[Mapping[str, Any]]) -> str:
    """``the TCP window, the sender's CPU``"""
    return ", ".join(dict.fromkeys(LIMITS.get(each["limit"], each["limit"]) for each in facts)) or text.NONE


def _told(dossier: Dossier) -> Iterator[tuple[Measurement, Direction, Table6349]]:
    for item in dossier.measured("rfc6349"):
        for way, facts in item.facts.get("rfc6349", {}).items():
            yield item, Direction(way), facts


def _table(dossier: Dossier, told: Sequence[tuple[Measurement, Direction, Table6349]]) -> Table:
    heads = [_head(dossier, item, way) for item, way, _ in told]
    rows = [
        Row((Cell(name, kind="head"), *(Cell(say(facts), kind="num") for _, _, facts in told))) for name, say in FIGURES
    ]
    for metric in _JUDGED:
        cells = [_finding(dossier, metric, item) for item, _, _ in told]
        rows.append(Row((Cell(words.metric(metric), kind="head"), *cells)))
    by = [Cell(limited(item.facts.get("limited_by", ())), kind="num") for item, _, _ in told]
    rows.append(Row((Cell("Limited by", kind="head"), *by)))
    return Table(columns=("", *(f">{head}" for head in heads)), rows=tuple(rows), caption="What TCP made of the path")


def _head(dossier: Dossier, item: Measurement, way: Direction) -> str:
    pair = f", {item.task.scope.pair.replace(':', ' ↔ ')}" if dossier.several_pairs else ""
    return f"{words.direction(way)}{pair}"


def _finding(dossier: Dossier, metric: str, item: Measurement) -> Cell:
    """The figure with its interval, and a link to its files."""
    for row in dossier.of_metric(metric):
        if row.task == item.task.id:
            return Cell(
                text.finding_value(row), sub=text.interval_text(row), kind="num", refs=dossier.refs(row.evidence)
            )
    return Cell(text.NONE, kind="num")


def _why(dossier: Dossier, item: Measurement, facts: Table6349) -> Iterator[tuple[str, str]]:
    """The reasons of the limits, what could not be measured, and the single stream."""
    way = item.task.scope.direction
    name = words.direction(way)
    for each in item.facts.get("limited_by", ()):
        yield f"{name}, limited by {LIMITS.get(each['limit'], each['limit'])}:", " ".join(each["reasons"])
    for said in facts["about"]:
        yield f"{name}:", said
    if facts["window"]["clamped"]:
        yield f"{name}:", f"The window was cut down: it is {facts['window']['clamped']}. {_consent(facts)}"
    for host, settings in facts["tuned"].items():
        yield f"{host}:", _tuned(settings)
    if facts["single"] is not None:
        yield f"{name}, a single stream:", _single(facts["single"])


def _consent(facts: Table6349) -> str:
    if any(row["new"] is not None for settings in facts["tuned"].values() for row in settings):
        return ""
    return "`tune: {socket_buffers: …}` of an endpoint in the circuit file would let a test raise it and put it back."


def _tuned(settings: Sequence[Mapping[str, Any]]) -> str:
    said = []
    for row in settings:
        if row["new"] is None:
            said.append(f"{row['name']} was left: {row['why']}.")
        else:
            back = "and put back" if row.get("put_back") else "and was not seen to be put back"
            said.append(f"{row['name']} was raised from {row['old']} to {row['new']} by consent {back}.")
    return " ".join(said)


def _single(single: Mapping[str, Any]) -> str:
    limits = " and ".join(text.rate(bps) for bps in single["per_flow_bps"])
    known = f"known limits of a flow are {limits} ({single['origin']})"
    if len(single["per_flow_bps"]) == 1:
        known = f"a flow may have {limits} ({single['origin']})"
    if single["actual_bps"] is None:
        return f"not measured: {single['reason']} For comparison, {known}."
    window = "" if single["window_bytes"] is None else f" with a window of {text.file_size(single['window_bytes'])}"
    reasons = " ".join(reason for each in single["limited_by"] for reason in each["reasons"])
    said = f"{text.rate(single['actual_bps'])} of payload{window}; {known}. "
    return f"{said}Limited by {limited(single['limited_by'])}: {reasons}"


def _optional(value: Any, say: Callable[[Any], str]) -> str:
    return text.NONE if value is None else say(value)


def _window(facts: Table6349) -> str:
    window = facts["window"]
    if window["by"] == "auto":
        return "left to the hosts"
    asked, got = (_optional(window[name], text.file_size) for name in ("asked_bytes", "got_bytes"))
    return f"{asked} / {got}"


def _bandwidth(facts: Table6349) -> str:
    rate = f"{text.rate(facts['bandwidth_bps'])} ({facts['layer']})"
    return rate if facts["bandwidth_measured"] else f"{rate}, as ordered"


def _congestion(facts: Table6349) -> str:
    pacing = facts["pacing"]
    return (facts["congestion"] or text.NONE) + (f", paced at {text.rate(pacing['asked_bps'])}" if pacing else "")


FIGURES: tuple[Figure, ...] = (
    ("Path MTU", lambda facts: text.size(facts["mtu"]) + ("" if facts["mtu_confirmed"] else ", as ordered")),
    ("Baseline RTT", lambda facts: _optional(facts["baseline_ns"], text.delay)),
    ("Bottleneck bandwidth", _bandwidth),
    ("Bandwidth × delay (BDP)", lambda facts: _optional(facts["bdp_bytes"], text.size)),
    ("Window of a stream, asked / got", _window),
    ("Streams / processes", lambda facts: f"{facts['streams']} / {facts['processes']}"),
    ("Congestion control", _congestion),
    ("Live MSS", lambda facts: _optional(facts["mss"], text.size)),
    ("Ideal goodput (L4)", lambda facts: _optional(facts["ideal_bps"], text.rate)),
    ("Actual goodput (L4)", lambda facts: text.rate(facts["actual_bps"])),
    ("Median RTT under load", lambda facts: _optional(facts["loaded_ns"], text.delay)),
    ("TCP's own smoothed RTT", lambda facts: _optional(facts["tcp_rtt_ns"], text.delay)),
    ("Fairness of the streams", lambda facts: _optional(facts["fairness"], lambda index: f"{index:.3f}")),
)
