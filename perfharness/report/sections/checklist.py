"""Every row of the acceptance checklist: measured, declared in the order, or not measured and why."""

from __future__ import annotations

from perfharness.report import text
from perfharness.report.blocks import Cell, Para, Row, Section, Table
from perfharness.report.checklist import CHECKLIST, DECLARED, MEASURED, NOT_MEASURED, Standing, standings
from perfharness.report.dossier import Dossier
from perfharness.report.words import VERDICTS

GROUPS = (
    (MEASURED, "Measured"),
    (DECLARED, "Declared in the order, and seen by nothing in this run"),
    (NOT_MEASURED, "Not measured, and why"),
)
MOST_LINKS = 6
"""Figures of a row that are named one by one, the worst first."""


def build(dossier: Dossier) -> Section:
    rows = standings(dossier.run)
    groups = [(name, [row for row in rows if row.standing == standing]) for standing, name in GROUPS]
    told = ", ".join(f"{len(members)} {standing}" for (standing, _), (_, members) in zip(GROUPS, groups, strict=True))
    table = Table(
        columns=("Row", "Requirement", "Verdict", "What tells of it"),
        widths=(9, 27, 17, 47),
        rows=tuple(_row(dossier, row, f"{name} ({len(members)})") for name, members in groups for row in members),
    )
    lead = f"The {len(CHECKLIST)} rows of the acceptance checklist: {told}. What was not measured is never a pass."
    return Section("checklist", "Checklist", (Para(lead), table))


def _row(dossier: Dossier, row: Standing, group: str) -> Row:
    silent = row.standing == NOT_MEASURED and not row.findings
    several = len({each.metric for each in row.findings}) > 1
    shown = () if row.standing == NOT_MEASURED else row.findings[:MOST_LINKS]
    more = len(row.findings) - len(shown) if shown else 0
    return Row(
        (
            Cell(row.item.id, kind="id", anchor=f"row-{row.item.id}"),
            Cell(row.item.requirement, kind="head"),
            Cell(text.NONE) if silent else Cell("", verdict=row.verdict),
            Cell(
                row.why,
                f"and {more} more" if more else "",
                links=tuple(dossier.link(each, named=several) for each in shown),
            ),
        ),
        tone="plain" if silent else VERDICTS[row.verdict].tone,
        group=group,
    )
