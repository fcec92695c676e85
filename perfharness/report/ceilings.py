"""What each host can do by itself, beside what was asked of it."""

from __future__ import annotations

import math

from perfharness.judge.ceiling import asked_bps
from perfharness.model import Direction, Measurement, Observation
from perfharness.order.consistency import CEILING_FACTOR
from perfharness.report import text, words
from perfharness.report.blocks import Block, Cell, Para, Row, Sub, Table
from perfharness.report.dossier import Dossier

LEGEND = (
    "Measured without the circuit. What was carried is the least that a host can do; it is also the most where one of "
    "the two ends was at its limit. A loopback is one host that does the work of two, and tells nothing of what a "
    "cloud instance is allowed. No ceiling speaks for longer than it was tried: instances may have credits for bursts."
)
ROLES = {("onprem", Direction.A_Z): "sends", ("onprem", Direction.Z_A): "takes"} | {
    ("cloud", Direction.A_Z): "takes",
    ("cloud", Direction.Z_A): "sends",
}


def build(dossier: Dossier) -> tuple[Block, ...]:
    """Nothing where the run did not try."""
    seen = [(item, row) for item in dossier.measured("ceiling") for row in item.observations]
    if not seen:
        return ()
    low = [said for _, row in seen if (said := _warning(dossier, row))]
    return (
        Sub("What can the hosts do by themselves?"),
        Table(
            columns=("Host", "Tried", ">Carried", ">At most", ">Asked of it", "Evidence"),
            widths=(16, 30, 14, 14, 16, 10),
            rows=tuple(_row(dossier, item, row) for item, row in seen),
        ),
        *(Para(f"! {said}") for said in dict.fromkeys(low)),
        Para(LEGEND, "note"),
    )


def _row(dossier: Dossier, item: Measurement, row: Observation) -> Row:
    scope, most = row.scope, row.interval.hi if row.interval else math.inf
    role = "sends and takes" if scope.bracket == scope.host else _role(dossier, row)
    asked = _asked(dossier, row)
    return Row(
        (
            Cell(scope.host, kind="head"),
            Cell(f"{scope.load.upper()}, {role}, {words.bracket(scope)}"),
            Cell(text.rate(float(row.value)) if isinstance(row.value, int | float) else text.NONE, kind="num"),
            Cell("more was not tried" if math.isinf(most) else text.rate(most), kind="num"),
            Cell(text.rate(asked) if asked else text.NONE, kind="num"),
            Cell("", refs=dossier.refs(row.evidence)),
        ),
        tone="open" if _warning(dossier, row) else "",
    )


def _role(dossier: Dossier, row: Observation) -> str:
    sites = {host.name: host.site for host in dossier.circuit.hosts}
    return ROLES.get((sites.get(row.scope.host, ""), row.scope.direction or Direction.BOTH), "")


def _asked(dossier: Dossier, row: Observation) -> float:
    """The most that any paced load of this run asked of this host in this part, bit/s at the ordered layer."""
    loads = [
        item.task
        for item in dossier.run.measurements
        if item.task.measurement == "throughput" and item.task.scope.load.startswith("udp")
    ]
    ways = (row.scope.direction, Direction.BOTH)
    asked = [asked_bps(row.scope.host, task.scope, task.load_bps) for task in loads if task.scope.direction in ways]
    return max(asked, default=0.0)


def _warning(dossier: Dossier, row: Observation) -> str:
    """That it can do too little to prove anything of a circuit; a TCP that took what it got proves no limit."""
    most, scope = row.interval.hi if row.interval else math.inf, row.scope
    asked = _asked(dossier, row) or (dossier.circuit.committed_bps(scope.pairs[0]) if scope.pairs else 0)
    if scope.load != "udp" or most >= CEILING_FACTOR * asked:
        return ""
    return (
        f"{scope.host} {_role(dossier, row)} at most {text.rate(most)} {words.bracket(scope)}, less than "
        f"{CEILING_FACTOR} × the {text.rate(asked)} that a test of this order asks of it: it may be the limit itself. "
        "Use a larger host, or several pairs together."
    )
