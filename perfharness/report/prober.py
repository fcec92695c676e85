"""The tester's own error: how well each probe stream kept its schedule, and who took its time stamps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfharness.model import Measurement
from perfharness.report import text
from perfharness.report.blocks import Block, Cell, Para, Row, Table, absent
from perfharness.report.dossier import Dossier

LEGEND = (
    "What the sender missed was never offered to the circuit: it is neither lost nor late. The timer error is how late "
    "packets left against their schedule, by the kernel's stamp; it is in no delay, since the stamp is taken where the "
    "packet leaves. Stamps are of sender and reflector: hardware is the card's, kernel the "
    "driver's, user the program's own, which contains the wait for a CPU."
)


def build(dossier: Dossier) -> tuple[Block, ...]:
    told = [item for item in dossier.measurements if item.facts.get("prober")]
    if not told:
        return absent("No probe stream told how exact it was.")
    return (
        Table(
            columns=(
                "Task",
                ">Sent, of its schedule",
                ">Timer error p50",
                ">p99",
                ">p99.9",
                "Time stamps (sender/reflector)",
                "Evidence",
            ),
            widths=(13, 21, 12, 10, 10, 24, 10),
            rows=tuple(_row(dossier, item, item.facts["prober"]) for item in told),
        ),
        Para(LEGEND, "note"),
    )


def _row(dossier: Dossier, item: Measurement, known: Mapping[str, Any]) -> Row:
    due = known["sent"] + known["missed"] + known["send_errors"]
    kept = f"{text.count(known['sent'])} of {text.count(due)}"
    refused = f"{text.count(known['send_errors'])} refused by the kernel" if known["send_errors"] else ""
    late = known["timer_error_ns"]
    return Row(
        (
            Cell(item.task.id, kind="head"),
            Cell(kept, refused, "num"),
            *(Cell(text.delay(late[name]) if name in late else "not known", kind="num") for name in _TIMER),
            Cell(_stamps(known["stamps"], known["replied"])),
            Cell("", refs=dossier.samples(item)),
        )
    )


_TIMER = ("p50", "p99", "p99.9")


def _stamps(sources: Mapping[str, int], replied: int) -> str:
    if not replied:
        return "no reply came"
    return ", ".join(
        name if count == replied else f"{name}: {text.count(count)} of {text.count(replied)}"
        for name, count in sources.items()
    )
