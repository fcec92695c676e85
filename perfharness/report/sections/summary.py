"""The result in plain words: counts, the headline figures, and what stands against a pass."""

from __future__ import annotations

from perfharness.model import Direction, Finding, Verdict
from perfharness.report import text, words
from perfharness.report.blocks import Block, Cell, Para, Points, Row, Section, Sub, Table, Tally, absent
from perfharness.report.dossier import Dossier
from perfharness.report.words import VERDICTS

HEADLINES = (
    ("throughput.udp", None),
    ("throughput.tcp", None),
    ("delay.rtt", "p99"),
    ("variation.pdv", "p99"),
    ("loss", None),
    ("pmtu", "largest"),
)
"""Metric and statistic (None = the first one of the metric)."""
WAYS = (Direction.A_Z, Direction.Z_A, Direction.ROUND_TRIP)
AGAINST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_RUN, Verdict.WARN, Verdict.WAIVED)
COUNTED = (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN, Verdict.NOT_RUN, Verdict.WAIVED)


def build(dossier: Dossier) -> Section:
    if not dossier.run.findings:
        return Section("summary", "Summary", absent("The run left no findings: nothing was judged."))
    blocks: list[Block] = [Tally(tuple(_count(dossier, verdict) for verdict in COUNTED))]
    rows = tuple(row for line in HEADLINES for row in _headlines(dossier, *line))
    if rows:
        columns = ("", *(f">{words.direction(way)}" for way in WAYS), ">Required")
        blocks.append(Table(columns, rows, widths=(28, 20, 20, 14, 18)))
    against = tuple(row for verdict in AGAINST for row in dossier.with_verdict(verdict))
    if against:
        blocks += [Sub("What needs attention"), Points(_attention(dossier, against))]
    unfit = sorted({row.host for row in dossier.run.fitness if not row.fit})
    if unfit:
        blocks.append(
            Para(
                f"Not every host was fit for what it measured ({', '.join(unfit)}): "
                "figures that rest on it are inconclusive, never the circuit's fault.",
                "note",
            )
        )
    return Section("summary", "Summary", tuple(blocks))


def _count(dossier: Dossier, verdict: Verdict) -> tuple[Verdict, int, str]:
    return verdict, len(dossier.with_verdict(verdict)), VERDICTS[verdict].counted


def _headlines(dossier: Dossier, metric: str, statistic: str | None) -> list[Row]:
    """A row for each pair, load and class of this metric for which something was required."""
    found: dict[tuple[str, str, str, str], list[Finding]] = {}
    for row in dossier.required:
        if row.task in dossier.stepped:
            continue
        if row.metric == metric and row.value is not None and statistic in (None, row.statistic):
            found.setdefault((row.scope.pair, row.scope.load, row.statistic, row.scope.service), []).append(row)
    return [_headline(dossier, rows) for rows in found.values()]


def _headline(dossier: Dossier, rows: list[Finding]) -> Row:
    first, more = rows[0], []
    if first.statistic.startswith("p"):
        more.append(first.statistic)
    if (first.scope.load != "idle" and not first.metric.startswith("throughput.")) or "both" in first.scope.load:
        more.append(words.load(first.scope.load))
    if first.scope.service:
        more.append(words.direction(None, first.scope.service))
    if dossier.several_pairs:
        more.append(words.between(first.scope))
    limits = dict.fromkeys(text.threshold_text(row) for row in rows)
    return Row(
        (
            Cell(words.metric(first.metric, first.statistic), ", ".join(more), "head"),
            *(_figure([row for row in rows if row.scope.direction is way]) for way in WAYS),
            Cell(", ".join(limits), kind="num"),
        )
    )


def _figure(rows: list[Finding]) -> Cell:
    if not rows:
        return Cell("", kind="num")
    row = rows[0]
    proven = text.interval_text(row) if row.unit == "1" else ""
    return Cell(f"{VERDICTS[row.verdict].symbol} {text.finding_value(row)}", proven, "num")


def _attention(dossier: Dossier, rows: tuple[Finding, ...]) -> tuple[tuple[str, str], ...]:
    """What stands against a pass, the worst first; rows of one verdict and one reason are one point."""
    alike: dict[tuple[Verdict, str], list[str]] = {}
    for row in rows:
        identifiers = f" ({', '.join(row.checklist)})" if row.checklist else ""
        reason = row.reason or text.finding_value(row)
        alike.setdefault((row.verdict, reason), []).append(f"{dossier.name(row)}{identifiers}")
    return tuple(
        (f"{VERDICTS[verdict].symbol} {VERDICTS[verdict].word}", f"{'; '.join(dict.fromkeys(names))}: {reason}")
        for (verdict, reason), names in alike.items()
    )
