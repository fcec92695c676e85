"""What was ordered against what was measured, row by row; then what was measured and not required."""

from __future__ import annotations

from collections.abc import Iterable

from perfharness.model import Finding, Verdict
from perfharness.report import text, words
from perfharness.report.blocks import Block, Cell, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier
from perfharness.report.words import FIGURES, GROUPS, METRICS, VERDICTS

NAME = "Ordered against measured"
LEGEND = (
    "Under each required value stands who set it; under each measured value its interval, each end of which holds with "
    "the confidence shown. The margin is the distance from the required value to the nearest end of the interval, "
    "so it is "
    "what is proven and not only what was seen: + lies on the good side, “straddles” means that the required value "
    "lies "
    "inside the interval, “undecided” that a host's own losses or limits leave it open. E numbers lead to the "
    "evidence index."
)
_PLAIN = ("ratio", "value", "present", "reachable", "largest", "blocked", "mean", "")
"""Statistics that add nothing to the name of their metric."""


def build(dossier: Dossier) -> Section:
    blocks: list[Block] = []
    if dossier.required:
        blocks += [_table(dossier), Para(LEGEND, "note")]
    else:
        blocks += absent("Nothing that was required was judged in this run.")
    if dossier.reported:
        blocks += [Sub("Measured beside it, nothing required"), _reported(dossier)]
    return Section("ordered", NAME, tuple(blocks))


def _table(dossier: Dossier) -> Table:
    return Table(
        columns=("Row", "What", "Required", ">Measured", ">Margin", "Verdict", "Evidence"),
        widths=(8, 20, 16, 20, 9, 18, 9),
        rows=tuple(_row(dossier, row) for row in _sorted(dossier.required)),
    )


def _row(dossier: Dossier, row: Finding) -> Row:
    return Row(
        cells=(
            Cell("\n".join(row.checklist) or text.NONE, kind="id", anchor=f"f-{row.id}"),
            Cell(words.metric(row.metric, row.statistic), _what(dossier, row), "head"),
            Cell(text.threshold_text(row), row.origin),
            Cell(text.finding_value(row), text.interval_text(row), "num"),
            Cell(text.margin(row), kind="num"),
            Cell("", "" if row.mandatory else "recommendation", verdict=row.verdict),
            Cell("", refs=dossier.refs(row.evidence)),
        ),
        note=row.reason if row.verdict is not Verdict.PASS else "",
        tone=VERDICTS[row.verdict].tone,
        group=_group(row.metric)[1],
    )


def _reported(dossier: Dossier) -> Table:
    return Table(
        columns=("What", ">Measured", ">Interval", "Evidence"),
        widths=(46, 22, 22, 10),
        rows=tuple(
            Row(
                (
                    Cell(words.metric(row.metric, row.statistic), _what(dossier, row), "head", anchor=f"f-{row.id}"),
                    Cell(text.finding_value(row), kind="num"),
                    Cell(text.interval_text(row) or text.NONE, kind="num"),
                    Cell("", refs=dossier.refs(row.evidence)),
                )
            )
            for row in _sorted(dossier.reported)
        ),
    )


def _what(dossier: Dossier, row: Finding) -> str:
    """Statistic, direction, load."""
    known = row.statistic in _PLAIN or (row.metric, row.statistic) in FIGURES
    statistic = "" if known else row.statistic
    return ", ".join(part for part in (statistic, dossier.where(row)) if part)


def _sorted(rows: Iterable[Finding]) -> list[Finding]:
    """By group and metric; within these as they were measured."""
    place = {metric: number for number, metric in enumerate(METRICS)}
    return sorted(rows, key=lambda row: (_group(row.metric)[0], place.get(row.metric, len(place))))


def _group(metric: str) -> tuple[int, str]:
    first = metric.split(".")[0]
    for number, (name, members) in enumerate(GROUPS):
        if first in members:
            return number, name
    return len(GROUPS), "Other"
