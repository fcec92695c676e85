"""The figures of a stream measured by hand, as rows of text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from perfagent.stamp.times import ErrorEstimate
from perfharness.analysis.stream import Figures, Loss, Spread
from perfharness.report.text import NONE, count, delay, digits

FORMAT_VERSION = 1
Row = tuple[str, str]


def sender_rows(found: Figures, data: Mapping[str, Any]) -> Iterator[Row]:
    """What a person at the terminal wants to know, in this order."""
    yield "sent", _sent(data)
    yield "RTT", _spread(found.rtt)
    yield "PDV", _spread(found.pdv, least=False)
    yield "IPDV there", _spread(found.ipdv_there, least=False)
    yield "IPDV back", _spread(found.ipdv_back, least=False)
    yield "lost", _loss(found.loss) + (f", {data['late']:,} of them late" if data["late"] else "")
    if found.undirected:
        yield "lost there, back", f"{NONE} ({found.undirected})"
    else:
        yield "lost there", _loss(found.loss_there)
        yield "lost back", _loss(found.loss_back)
    yield "reordered", _loss(found.reordered)
    yield "duplicates", count(data["duplicates"])
    if data["refused"]:
        yield "not replies", ", ".join(f"{n:,} {reason}" for reason, n in data["refused"].items())
    yield "TTL there", _ttl(data["reflector"]["ttl_seen"])
    yield "TTL back", _ttl({str(ttl): n for ttl, n in found.ttl_back.items()})
    yield "DSCP there", _told(data["extensions"], "dscp")
    yield "DSCP back", _seen(_dscp(data["tos_seen"]))
    rest = {what: n for what, n in data["extensions"].items() if not what.startswith(("dscp ", "ecn "))}
    if rest:
        yield "extensions", ", ".join(f"{what} {n:,}" for what, n in rest.items())
    yield "RTT's stamps", ", ".join(f"{who} {n:,}" for who, n in found.rtt_sources.items()) or NONE
    yield "timer error", _spread(found.timer_error)
    yield "our clock", clock(data["error_word"])
    yield "peer's clock", clock(data["reflector"]["error_word"])
    if data["rxq_dropped"]:
        yield "dropped here", f"{data['rxq_dropped']:,} packets by our own receive buffer: they are among the lost"


def reflector_rows(data: Mapping[str, Any]) -> Iterator[Row]:
    yield "answered", f"{data['sent']:,} of {data['received']:,} packets"
    if data["send_errors"]:
        yield "not sent", ", ".join(f"{n:,} {name}" for name, n in data["send_error_names"].items())
    yield "dropped", ", ".join(f"{n:,} {reason}" for reason, n in data["refused"].items()) or "0"
    yield "TTL there", _ttl(data["ttl_seen"])
    yield "DSCP there", _seen(_dscp(data["tos_seen"]))
    stamps = data["stamps"]
    yield "stamps", ", ".join(f"{name.upper()} {who} {n:,}" for name in stamps for who, n in stamps[name].items() if n)
    yield "our clock", clock(data["error_word"])
    if data["rxq_dropped"]:
        yield "dropped here", f"{data['rxq_dropped']:,} packets by our own receive buffer"


def table(title: str, rows: Iterator[Row]) -> str:
    lines = list(rows)
    width = max(len(name) for name, _ in lines)
    return "\n".join([title, *(f"  {name:<{width}}  {text}" for name, text in lines)]) + "\n"


def as_json(target: str, data: Mapping[str, Any], found: Figures | None = None) -> dict[str, Any]:
    """The figures in ns and packets, and all that the agent counted. Infinite is ``"unbounded"``, as in findings."""
    body = {"format_version": FORMAT_VERSION, "target": target, "counted": dict(data)}
    return body | ({"figures": _plain(asdict(found))} if found else {})


def clock(word: int | None) -> str:
    """An error estimate in words: ``synchronised, ± 1.2 ms, NTP``."""
    if word is None:
        return NONE
    said = ErrorEstimate.of_word(word)
    error = "no error estimate" if said.error_ns is None else f"± {delay(said.error_ns)}"
    return f"{'' if said.synchronised else 'not '}synchronised, {error}, {'PTP' if said.ptp else 'NTP'} format"


def _sent(data: Mapping[str, Any]) -> str:
    text = f"{data['sent']:,} of {data['attempted']:,} packets due"
    for what, n in (("too late to be sent", data["missed"]), ("refused by the kernel", data["send_errors"])):
        text += f", {n:,} {what}" if n else ""
    return text


def _spread(spread: Spread | None, least: bool = True) -> str:
    if spread is None:
        return NONE
    start = f"min {_delay(spread.least)}   " if least else ""
    high = spread.p99.interval.hi
    bound = f" (at most {_delay(high)})" if math.isfinite(high) else ""
    return f"{start}median {_delay(spread.p50.value)}   p99 {_delay(spread.p99.value)}{bound}"


def _delay(ns: float) -> str:
    return delay(ns) if math.isfinite(ns) else "lost"


def _loss(loss: Loss | None) -> str:
    if loss is None or not loss.offered:
        return NONE
    share = f" ({digits(100 * loss.lost / loss.offered, 3)} %)" if loss.lost else ""
    return f"{loss.lost:,} of {loss.offered:,}{share}"


def _seen(counts: Mapping[str, int]) -> str:
    """``61 (100), 60 (3)``"""
    return ", ".join(f"{value} ({n:,})" for value, n in counts.items()) or NONE


def _ttl(counts: Mapping[str, int]) -> str:
    """A TTL of 0 is one that was not told."""
    return _seen({"not told" if ttl == "0" else ttl: n for ttl, n in counts.items()})


def _dscp(tos_seen: Mapping[str, int]) -> dict[str, int]:
    out: dict[str, int] = {}
    for tos, n in tos_seen.items():
        name = str(int(tos) >> 2) + (f" ECN {int(tos) & 3}" if int(tos) & 3 else "")
        out[name] = out.get(name, 0) + n
    return out


def _told(extensions: Mapping[str, int], what: str) -> str:
    told = {name.split()[1]: n for name, n in extensions.items() if name.startswith(f"{what} ")}
    return _seen(told) if told else f"{NONE} (--tlv cos asks for it)"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "unbounded"
    return value
