"""Failover: how long each flow was cut off, when, and what routers did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perfharness.analysis.outage import IDLE_SHARE
from perfharness.model import Direction, Measurement
from perfharness.report import outages, text, words
from perfharness.report.blocks import Block, Cell, Chart, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier

NAME = "Failover"
WAYS = (Direction.A_Z, Direction.Z_A)
MOST_FLOWS, MOST_ROWS = 12, 80
"""Flows of a direction that are drawn, and rows of the timeline that are printed."""
LEGEND = (
    "Each flow is a probe stream with a source port of its own; routers that share flows among circuits put some on "
    "each. An outage is a run of lost probes that ordinary loss does not explain: its length is their number times the "
    "interval, and lies within an interval and the prober's own timing of that. Times are by the coordinator's clock; "
    "± is how well a host's clock is tied to it, and for an outage the interval of its probes. Grey is from an act's "
    "begin to its end. A router's daemon is asked five times a second, so what it says may be older than the row."
)
_EVENTS = {"cut": "a cut", "shutdown": "a BGP session shut down", "silent": "a failure that no carrier shows"}


def build(dossier: Dossier) -> Section:
    done = [item for item in dossier.measured("failover") if "failover" in item.facts]
    if not done:
        return Section("failover", NAME, absent("No circuit was cut in this run."))
    blocks = [block for item in done for block in _blocks(dossier, item)]
    return Section("failover", NAME, (*blocks, Para(LEGEND, "note")))


def _blocks(dossier: Dossier, item: Measurement) -> Iterator[Block]:
    facts = item.facts["failover"]
    yield Sub(item.task.step + (f", {item.task.scope.pair.replace(':', ' ↔ ')}" if dossier.several_pairs else ""))
    yield Para(" ".join((_in_words(facts), *_shares(facts))))
    yield _chart(item, facts)
    yield Table(
        ("Source port", ">Probes", ">Lost", ">Outage", ">Bounds", ">On return", ">Bounds"),
        tuple(_flow(way, flow) for way in WAYS for flow in facts["flows"][way.value]),
        (13, 10, 9, 13, 22, 13, 20),
        caption="Each flow, with the bounds of its outages",
    )
    if facts["noticed"]:
        yield Table(
            ("Router", "What", "Of", "Said", ">After", ">Bounds", "Its timer"),
            tuple(_noticed(row, facts["expected"]) for row in facts["noticed"]),
            (11, 9, 14, 26, 11, 17, 12),
            caption="How soon routers noticed",
            small=True,
        )
    rows = facts["timeline"]
    yield Table(
        ("When (UTC)", ">±", "Who", "What", "Of", "Said"),
        tuple(_event(row) for row in rows[:MOST_ROWS]),
        (17, 9, 13, 15, 18, 28),
        caption="What happened" + (f", the first {MOST_ROWS} of {len(rows)}" if len(rows) > MOST_ROWS else ""),
        small=True,
    )


def _in_words(facts: Mapping[str, Any]) -> str:
    expected = facts["expected"]
    said = f"{_EVENTS.get(facts['event'], 'An event')} was played, and put back.".capitalize()
    if expected["detection_ns"] is None:
        said += " The order has no BFD and no health check that would say how soon a failure is noticed."
    else:
        noticed, rerouted = (text.delay(expected[key]) for key in ("detection_ns", "reroute_ns"))
        by = "The health check" if expected.get("by") == "health check" else "BFD"
        said += f" {by} as ordered notices a failure within {noticed}; {rerouted} are allowed to reroute."
    for who, timers in expected["timers"].items():
        bfd = f"BFD notices within {text.delay(timers['bfd_ns'])}" if timers["bfd_ns"] else "no BFD was up"
        hold = f" and BGP's hold time is {text.delay(timers['hold_ns'])}" if timers["hold_ns"] else ""
        said += f" As {who} was set, {bfd}{hold}."
    return said


def _shares(facts: Mapping[str, Any]) -> Iterator[str]:
    """How two routers shared all traffic before the cut; once for both directions where these agree."""
    routers: Mapping[str, Mapping[str, int]] = facts["carried"]
    kinds: dict[str, list[str]] = {}
    for way in WAYS if len(routers) > 1 else ():
        total = sum(told[way.value] for told in routers.values())
        shares = {host: told[way.value] / total for host, told in routers.items()} if total else {}
        if shares:
            idle = max(shares.values()) > 1 - IDLE_SHARE
            kind = "one circuit carried and the other stood by" if idle else "both circuits carried"
            each = " and ".join(f"{host} {text.percent(share)}" for host, share in shares.items())
            kinds.setdefault(kind, []).append(f"{words.direction(way)} {each}")
    for kind, ways in kinds.items():
        yield f"Before it {kind}: {'; '.join(ways)} of all bytes."


def _chart(item: Measurement, facts: Mapping[str, Any]) -> Chart:
    sides = facts["sides"]
    start_ns = min(side["start_ns"] for side in sides.values())
    length_s: float = (max(side["end_ns"] for side in sides.values()) - start_ns) / 1e9

    def at(t_ns: int | None) -> float:
        return length_s if t_ns is None else float(min(max((t_ns - start_ns) / 1e9, 0.0), length_s))

    bars = [
        outages.Bar(
            f"{words.direction(way)} {flow['source_port']}",
            way,
            tuple(
                (at(row["begin_ns"]), at(row["end_ns"]))
                for row in facts["outages"]
                if (row["direction"], row["source_port"]) == (way.value, flow["source_port"])
            ),
        )
        for way in WAYS
        for flow in sorted(facts["flows"][way.value], key=lambda flow: -flow["lost"])[:MOST_FLOWS]
    ]
    doers = {"coordinator", *(row["clock"] for row in facts["outages"])}
    marks = [
        outages.Mark(f"{row['who']} {row['what']}", at(row["t_ns"]))
        for row in facts["timeline"]
        if row["who"] not in doers
    ]
    acts = [(act["id"], at(act["started_ns"]), at(act["ended_ns"])) for act in facts["acts"]]
    svg = outages.timeline(bars, marks, acts, (start_ns, length_s), f"{item.task.id}-failover")
    return Chart(svg, "When flows were cut off", _caption(facts))


def _caption(facts: Mapping[str, Any]) -> str:
    said = []
    for way in WAYS:
        flows = facts["flows"][way.value]
        hit = [flow for flow in flows if flow["outage_ns"][0] > 0]
        longest = max((flow["outage_ns"][0] for flow in hit), default=0)
        length = f", the longest for {text.delay(longest)}" if hit else ""
        said.append(f"{words.direction(way)}: {len(hit)} of {len(flows)} flows cut off{length}")
    return "; ".join(said) + "."


def _flow(way: Direction, flow: Mapping[str, Any]) -> Row:
    return Row(
        (
            Cell(str(flow["source_port"]), kind="code"),
            Cell(text.count(flow["sent"]), kind="num"),
            Cell(text.count(flow["lost"]), kind="num"),
            *_time(flow["outage_ns"]),
            *_time(flow["failback_ns"]),
        ),
        group=words.direction(way),
    )


def _time(bounds: Sequence[float | None]) -> tuple[Cell, Cell]:
    value, lo, hi = bounds
    most = "no end seen" if hi is None else f"to {text.delay(hi)}"
    within = f"at most {text.delay(hi)}" if not value and hi is not None else f"{text.delay(lo or 0)} {most}"
    return Cell(text.delay(value) if value else "none", kind="num"), Cell(within, kind="num")


def _noticed(row: Mapping[str, Any], expected: Mapping[str, Any]) -> Row:
    since = "the first loss" if row["since"] == "loss" else "its begin"
    return Row(
        (
            Cell(row["who"]),
            Cell(row["what"], kind="head"),
            Cell(row["of"]),
            Cell(row["said"]),
            Cell(text.delay(row["after_ns"]), kind="num"),
            Cell(f"{text.delay(row['least_ns'])} to {text.delay(row['most_ns'])}", kind="num"),
            Cell(_held(row, expected)),
        ),
        group=f"The {row['act']}, counted from {since}",
    )


def _held(row: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Beside what the timer of this session allows."""
    timers = expected["timers"].get(row["who"], {})
    limit_ns = timers.get({"bfd": "bfd_ns", "bgp": "hold_ns"}.get(row["what"], ""))
    if (row["act"], row["of"]) != ("cut", expected["peer"]) or not limit_ns:
        return text.NONE
    kept = "later than" if row["least_ns"] > limit_ns else "within" if row["most_ns"] <= limit_ns else "about"
    return f"{kept} {text.delay(limit_ns)}"


def _event(row: Mapping[str, Any]) -> Row:
    return Row(
        (
            Cell(text.moment(row["t_ns"], "%H:%M:%S") + f".{row['t_ns'] // 10**6 % 1000:03}"),
            Cell(text.delay(row["open_ns"]) if row["open_ns"] else text.NONE, kind="num"),
            Cell(row["who"]),
            Cell(row["what"], kind="head"),
            Cell(words.direction(Direction(row["of"])) if row["of"] in [way.value for way in WAYS] else row["of"]),
            Cell(row["said"]),
        )
    )
