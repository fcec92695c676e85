"""When packets were lost, and by whom: a line for each loss event of the measurements' facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perfharness.model import Direction, Measurement
from perfharness.report import text, words
from perfharness.report.blocks import Block, Cell, Para, Row, Table

MOST = 30
"""Events that are printed: those that lost the most."""


def build(measurements: Sequence[Measurement]) -> tuple[Block, ...]:
    """A table in order of time; nothing where no packet was lost."""
    every = [(item, event) for item in measurements for event in item.facts.get("loss_events", ())]
    if not every:
        return ()
    largest = sorted(every, key=lambda each: each[1]["packets"], reverse=True)[:MOST]
    shown = sorted(largest, key=lambda each: each[1]["start_ns"])
    table = Table(
        columns=("When (UTC)", "Direction", ">Packets lost", "By whom"),
        widths=(25, 20, 13, 42),
        rows=tuple(_row(item, event) for item, event in shown),
        caption="When packets were lost",
    )
    left = f" Of {len(every)} events these are the {MOST} that lost the most." if len(every) > MOST else ""
    note = (
        "Losses within one second are one event. Probes are timed to the packet, by the sending host's clock; a load "
        "by iperf3's intervals, by the receiving host's. A counter that rose at another time explains nothing, except "
        "what a program's own socket dropped: the ledger books that whenever it was." + left
    )
    return (table, Para(note, "note"))


def _row(item: Measurement, event: Mapping[str, Any]) -> Row:
    return Row(
        (
            Cell(when(event["start_ns"], event["end_ns"]), f"clock of {event['clock']}"),
            Cell(words.direction(Direction(event["direction"]))),
            Cell(text.count(event["packets"]), of_classes(event.get("classes", {})), "num"),
            Cell(by_whom(event)),
        ),
        group=item.task.id,
    )


def when(start_ns: int, end_ns: int) -> str:
    """``2026-11-22 02:14:07–02:14:09``; the day once, where it is the same."""
    start, end = (text.moment(at, "%Y-%m-%d %H:%M:%S") for at in (start_ns, end_ns))
    if start == end:
        return start
    return f"{start}–{end.split()[1] if end.split()[0] == start.split()[0] else end}"


def of_classes(lost: Mapping[str, int]) -> str:
    """``9 of EF, 3 of AF41``; nothing for a stream of no class."""
    if len(lost) == 1:
        return f"all of {next(iter(lost))}"
    return ", ".join(f"{text.count(packets)} of {service}" for service, packets in lost.items())


def by_whom(event: Mapping[str, Any]) -> str:
    """Who lost them, each with its range; "between the hosts" alone when no host can explain any."""
    between, packets = event["between"], event["packets"]
    if between == [packets, packets]:
        return "between the hosts"
    parts = [f"{_range(least, most)} by {stage}" for stage, (least, most) in event["stages"].items()]
    undated = event.get("undated", {}).items()
    parts += [f"up to {text.count(most)} by {stage}, which does not say when" for stage, most in undated]
    if between[1]:
        parts.append(f"{_range(*between)} between the hosts")
    return "; ".join(parts)


def _range(least: int, most: int) -> str:
    return text.count(least) if least == most else f"{text.count(least)} to {text.count(most)}"
