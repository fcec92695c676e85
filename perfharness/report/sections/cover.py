"""The head of the report: the verdict, why, and what was tested. Not a numbered section."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perfharness.model import Finding, Verdict
from perfharness.order.circuit import Circuit
from perfharness.report import text
from perfharness.report.blocks import Cell
from perfharness.report.dossier import Dossier
from perfharness.report.words import VERDICTS, VerdictWord


@dataclass(frozen=True, slots=True)
class Cover:
    verdict: VerdictWord
    why: str
    next: str
    """What the verdict means for the circuit, and what is to be done."""
    pairs: tuple[tuple[str, Cell], ...]


def build(dossier: Dossier) -> Cover:
    return Cover(VERDICTS[dossier.run.verdict], why(dossier), _next(dossier), _pairs(dossier))


def why(dossier: Dossier) -> str:
    """One sentence, or two: what decided the verdict."""
    rows = [row for row in dossier.run.findings if row.mandatory]
    failed = [row for row in rows if row.verdict is Verdict.FAIL]
    undecided = [row for row in rows if row.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_RUN)]
    if failed:
        which = "The mandatory row" if len(failed) == 1 else f"{len(failed)} mandatory rows"
        # A delay without end comes of lost packets, and the loss has a row of its own.
        telling = next((row for row in failed if row.value != math.inf), failed[0])
        return f"{which} {_named(failed)} failed. {_first(dossier, telling)}"
    if undecided:
        return (
            f"No mandatory row failed, but {_count(undecided, 'mandatory row')} could not be decided. "
            f"{_first(dossier, undecided[0])}"
        )
    if dossier.run.verdict is not Verdict.PASS:
        return " ".join(dossier.run.notes) or "The run left nothing from which a verdict could be drawn."
    passed = [row for row in rows if row.verdict is Verdict.PASS]
    waived = [row for row in rows if row.verdict is Verdict.WAIVED]
    less = f", with {_count(waived, 'row')} waived" if waived else ""
    return f"{'The' if len(passed) == 1 else 'All'} {_count(passed, 'mandatory row')} passed{less}."


def _next(dossier: Dossier) -> str:
    """Accepted or not, and the next step: that of the first diagnosis of a row that decided, where there is one.

    What is undecided may also be so for what went wrong in our own network, whatever row that is booked to.
    """
    verdict = dossier.run.verdict
    if verdict is Verdict.PASS:
        return (
            "Accepted for what this run measured. What it says nothing of is told in “Checklist” and "
            "“Deviations, waivers, and what was not measured”."
        )
    deciding = (Verdict.FAIL,) if verdict is Verdict.FAIL else (Verdict.INCONCLUSIVE, Verdict.NOT_RUN)
    rows = {name for row in dossier.with_verdict(*deciding) if row.mandatory for name in row.checklist}
    found = [row for row in dossier.run.diagnosis if row.next and rows.intersection(row.checklist)]
    if verdict is not Verdict.FAIL:
        found += [row for row in dossier.run.diagnosis if row.next and row.owner == "own"]
    todo = found[0].next if found else ""
    if verdict is Verdict.FAIL:
        return f"Not accepted. {todo or 'See “What needs attention” and the diagnosis below.'}"
    return f"Not accepted yet: neither proven good nor proven bad. {todo or 'Measure again what is open.'}"


def _named(rows: list[Finding]) -> str:
    names = dict.fromkeys(identifier for row in rows for identifier in row.checklist)
    return f"({', '.join(names)})" if names else ""


def _first(dossier: Dossier, row: Finding) -> str:
    name = dossier.name(row)
    if row.verdict is Verdict.FAIL and row.value is not None and row.threshold is not None:
        return f"{name}: {text.finding_value(row)}, where {text.threshold_text(row)} was required."
    return f"{name}: {row.reason}" if row.reason else f"{name}."


def _count(rows: list[Finding], noun: str) -> str:
    return f"{len(rows)} {noun}{'' if len(rows) == 1 else 's'}"


def _pairs(dossier: Dossier) -> tuple[tuple[str, Cell], ...]:
    run, circuit = dossier.run, dossier.circuit
    seconds = text.seconds_between(run.started, run.ended)
    lasted = (
        f"{text.stamp(run.ended)}, {text.duration(seconds)}" if seconds is not None else "The end was not recorded."
    )
    return (
        (
            "Place",
            Cell(
                f"{circuit.region}, {circuit.access_point}",
                f"{circuit.environment}, {'in service' if circuit.in_service else 'not in service'}",
            ),
        ),
        (
            "Carrier",
            Cell(
                circuit.carrier.name,
                f"circuit {circuit.carrier.circuit}" + (f", LOA {circuit.carrier.loa}" if circuit.carrier.loa else ""),
            ),
        ),
        ("Ordered", Cell(_rate(dossier), _ports(circuit))),
        ("Scenario", Cell(dossier.scenario.title or run.scenario, f"scenario {run.scenario}")),
        ("Measured", Cell(text.stamp(run.started), f"to {lasted}" if seconds is not None else lasted)),
        ("Run", Cell(run.run_id, f"perfharness {run.version}", "code")),
    )


def _rate(dossier: Dossier) -> str:
    layer = dossier.circuit.rate_layer
    rates = [text.rate(vbr.bandwidth_bps, layer) for vbr in dossier.circuit.vbrs]
    unnamed = "" if layer else " (layer not stated in the order)"
    return " + ".join(rates) + unnamed if rates else "no rate"


def _ports(circuit: Circuit) -> str:
    vlans = ", ".join(f"VLAN {vbr.vlan}" if vbr.vlan else "untagged" for vbr in circuit.vbrs)
    mtus = ", ".join(str(mtu) for mtu in dict.fromkeys(vbr.mtu for vbr in circuit.vbrs))
    return f"on port {circuit.port.type} {text.rate(circuit.port.speed_bps)}, {vlans}, MTU {mtus}"
