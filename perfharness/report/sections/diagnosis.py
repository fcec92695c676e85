"""Causes: what speaks for each, what against, whose it is, what to do next."""

from __future__ import annotations

from perfharness.judge.weighing import KINDS, UNKNOWN
from perfharness.model import Diagnosis, Verdict
from perfharness.report import words
from perfharness.report.blocks import Card, Section, absent
from perfharness.report.dossier import Dossier


def build(dossier: Dossier) -> Section:
    if dossier.run.diagnosis:
        return Section("diagnosis", "Diagnosis", tuple(_card(dossier, row) for row in dossier.run.diagnosis))
    if not dossier.run.findings:
        return Section("diagnosis", "Diagnosis", absent("Nothing was judged, so there is nothing to diagnose."))
    troubled = dossier.with_verdict(Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN)
    told = (
        "No rule recognises a cause for what failed or stayed open; the evidence is complete for a reader who does."
        if troubled
        else "Nothing calls for a diagnosis."
    )
    return Section("diagnosis", "Diagnosis", absent(told))


def _card(dossier: Dossier, row: Diagnosis) -> Card:
    known = "Known" if row.cause == UNKNOWN else "For it"
    lists = ((known, row.because), ("Against it", row.against), ("May lie behind it", _hidden(row)))
    return Card(
        title=words.cause(row.cause),
        tag=row.certainty,
        pairs=tuple(
            (name, value)
            for name, value in (
                ("Cause", row.cause),
                ("Where", words.SEGMENTS[row.segment]),
                ("Whose", words.OWNERS.get(row.owner, row.owner)),
                ("Rows", ", ".join(row.checklist)),
                ("Next", row.next),
            )
            if value
        ),
        lists=tuple((name, items) for name, items in lists if items),
        links=tuple(dossier.link(each) for each in dossier.run.findings if each.id in row.findings),
    )


def _hidden(row: Diagnosis) -> tuple[str, ...]:
    """Causes that cannot be seen while this one holds, by kind: ``BGP: bgp-as-mismatch, bgp-prefix-missing``."""
    kinds = ((name, [cause for cause in kind.causes if cause in row.hides]) for name, kind in KINDS.items())
    return tuple(f"{name}: {', '.join(causes)}" for name, causes in kinds if causes)
