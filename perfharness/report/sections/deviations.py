"""What did not go to plan, what was waived, and what was not measured and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from perfharness.model import Finding, Measurement, Status, Verdict
from perfharness.report import words
from perfharness.report.blocks import Block, Cell, Points, Row, Section, Sub, Table, absent
from perfharness.report.checklist import is_declared
from perfharness.report.dossier import OF_MANY, Dossier
from perfharness.report.words import VERDICTS


def build(dossier: Dossier) -> Section:
    return Section(
        "deviations",
        "Deviations, waivers, and what was not measured",
        (
            Sub("Deviations from the plan"),
            *_deviations(dossier),
            Sub("Waivers"),
            *_waivers(dossier),
            Sub("Not measured"),
            *_not_measured(dossier),
        ),
    )


def _deviations(dossier: Dossier) -> tuple[Block, ...]:
    cut = [
        (item.task.id, f"{item.status.value}. {item.reason}".strip())
        for item in dossier.run.measurements
        if item.status is not Status.COMPLETED
    ]
    cut += [(item.task.id, clamp) for item in dossier.measurements for clamp in _clamps(item)]
    if not cut and not dossier.run.notes:
        told = "None: every task ran to its end as planned." if dossier.run.measurements else "No task was begun."
        return absent(told)
    return (Points((*dossier.run.notes, *cut)),)


def _clamps(item: Measurement) -> list[str]:
    """Settings that a host did not grant as asked."""
    clamps = item.facts.get("clamps")
    return [
        f"{clamp.get('job', '')}: {clamp.get('what')} {clamp.get('asked')} was asked for, {clamp.get('got')} granted "
        f"({clamp.get('why')})."
        for clamp in (clamps if isinstance(clamps, list | tuple) else ())
        if isinstance(clamp, Mapping)
    ]


def _waivers(dossier: Dossier) -> tuple[Block, ...]:
    if not dossier.circuit.waivers:
        return absent("None.")
    return (
        Table(
            columns=("Row", "Decided by", "Why", "Until"),
            widths=(12, 24, 46, 18),
            rows=tuple(
                Row((Cell(waiver.row, kind="id"), Cell(waiver.who), Cell(waiver.why), Cell(waiver.until.isoformat())))
                for waiver in dossier.circuit.waivers
            ),
        ),
    )


def _not_measured(dossier: Dossier) -> tuple[Block, ...]:
    rows = dossier.with_verdict(Verdict.NOT_RUN)
    # A figure that was measured and not judged is not applicable too: that one stands with the others.
    rows += tuple(row for row in dossier.with_verdict(Verdict.NOT_APPLICABLE) if row.value is None)
    if not dossier.run.findings:
        return absent("Nothing was measured.")
    if not rows:
        return absent("Everything that the scenario asked for was measured.")
    widths = (12, 32, 17, 39)
    return (Table(("Row", "What", "Verdict", "Why"), tuple(_row(dossier, same) for same in _alike(rows)), widths),)


def _alike(rows: Iterable[Finding]) -> Iterable[list[Finding]]:
    """Figures of one kind that were not measured for one reason: they share a row."""
    groups: dict[tuple[Verdict, str, str], list[Finding]] = {}
    for row in rows:
        groups.setdefault((row.verdict, row.metric.partition(".")[0], row.reason), []).append(row)
    return groups.values()


def _row(dossier: Dossier, alike: Sequence[Finding]) -> Row:
    first = alike[0]
    checklist = dict.fromkeys(name for row in alike for name in row.checklist)
    where = dict.fromkeys(filter(None, map(dossier.where, alike)))
    return Row(
        (
            Cell(" ".join(checklist), kind="id"),
            Cell(_figures(alike), "; ".join(where), "head"),
            Cell("", verdict=first.verdict),
            Cell(first.reason or "no reason was recorded"),
        ),
        tone=VERDICTS[first.verdict].tone,
    )


def _figures(alike: Sequence[Finding]) -> str:
    """``Policer or shaper: kind, layer; Metered rate``: the statistics where the metric alone does not say what."""
    told: dict[str, dict[str, None]] = {}
    for row in alike:
        told.setdefault(words.metric(row.metric, row.statistic), {})[row.statistic.replace("_", " ")] = None
    own = alike[0].metric in OF_MANY and not is_declared(alike[0])
    return "; ".join(
        f"{name}: {', '.join(statistics)}" if own or len(statistics) > 1 else name for name, statistics in told.items()
    )
