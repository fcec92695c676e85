"""Who lost what: every stage that has a counter, and whose it is."""

from __future__ import annotations

from perfharness.model import Direction, LedgerRow, Measurement
from perfharness.report import loss_events, text, words
from perfharness.report.blocks import Block, Cell, Para, Row, Section, Table, absent
from perfharness.report.dossier import Dossier

NAME = "Who lost what"


def build(dossier: Dossier) -> Section:
    booked = [(item, row) for item in dossier.run.measurements for row in item.ledger]
    if not booked:
        return Section("ledger", NAME, absent("No losses were booked: no measurement of this run counts packets."))
    moved = [(item, row) for item, row in booked if row.packets_hi > 0]
    blocks: list[Block] = []
    if moved:
        blocks.append(
            Table(
                columns=("Stage", "Where", ">Packets lost", "Counter", "Evidence"),
                widths=(28, 19, 16, 27, 10),
                rows=tuple(_row(dossier, item, row) for item, row in moved),
            )
        )
    else:
        blocks.append(Para("No packet was lost at any stage that has a counter."))
    blocks += loss_events.build(dossier.measurements)
    blocks += [Para(said) for item in dossier.run.measurements for said in _at_the_ce(item)]
    still = [row for _, row in booked if row.packets_hi == 0]
    if still:
        names = ", ".join(dict.fromkeys(f"{row.stage} ({row.counter})" if row.counter else row.stage for row in still))
        blocks.append(Para(f"{len(still)} bookings of zero are left out: {names}.", "note"))
    blocks.append(
        Para(
            "Packets that a host's own counters explain are the host's; what the CE router's explain, where it can be "
            "read, is the customer's. A counter that is shared with other traffic gives a range: what it rose by when "
            "packets were lost. What is left lies between the hosts: the LAN, the CE router, the circuit and the "
            "cloud's edge, as long as nothing narrows it down. Not seen: what a host "
            "drops before its IP layer by XDP or a netfilter rule of the netdev family, and what a hypervisor drops "
            "outside its guest.",
            "note",
        )
    )
    return Section("ledger", NAME, tuple(blocks))


def _at_the_ce(item: Measurement) -> list[str]:
    return [
        f"{item.task.id}, {words.direction(Direction(way))}: {text.count(told['crossed'])} packets crossed "
        f"{told['interface']}, the CE's side of the circuit, while {text.count(told['packets'])} probes were sent this "
        f"way, {text.count(told['missing'])} of them in vain. Nothing else used it then, as far as before and after."
        for way, told in item.facts.get("ce", {}).items()
    ]


def _row(dossier: Dossier, item: Measurement, row: LedgerRow) -> Row:
    where = words.scope(row.scope, pair=dossier.several_pairs)
    low, high = text.count(row.packets_lo), text.count(row.packets_hi)
    return Row(
        (
            Cell(row.stage, kind="head"),
            Cell(words.SEGMENTS[row.segment]),
            Cell(low if low == high else f"{low} to {high}", _about(row), "num"),
            Cell(row.counter or text.NONE),
            Cell("", refs=dossier.refs(row.evidence)),
        ),
        group=", ".join(part for part in (item.task.id, where) if part),
    )


def _about(row: LedgerRow) -> str:
    if not row.missing:
        return "never sent"
    return "shared counter" if row.shared else ""
