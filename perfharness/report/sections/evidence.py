"""Every stored file with its hash: what the figures rest on."""

from __future__ import annotations

from perfharness.model import Evidence
from perfharness.report import text
from perfharness.report.blocks import Cell, Para, Row, Section, Table, absent
from perfharness.report.dossier import Dossier

NAME = "Evidence index"


def build(dossier: Dossier) -> Section:
    entries = dossier.run.evidence
    if not entries:
        return Section("evidence", NAME, absent("The run left no evidence: no figure in this report can be traced."))
    total = text.file_size(sum(entry.size_bytes for entry in entries))
    return Section(
        "evidence",
        NAME,
        (
            Para(
                f"{len(entries)} files, {total}, each written once and hashed as it was written (SHA-256). "
                "Paths are relative to the run's folder."
            ),
            Table(
                columns=("No.", "File and SHA-256", "Host", ">Size", ">Written, UTC"),
                widths=(7, 60, 12, 10, 11),
                rows=tuple(_row(dossier, number, entry) for number, entry in enumerate(entries, 1)),
                small=True,
            ),
        ),
    )


def _row(dossier: Dossier, number: int, entry: Evidence) -> Row:
    written = text.stamp(entry.written).removesuffix(" UTC")
    day, _, clock = written.partition(" ")
    return Row(
        (
            Cell(f"E{number}", kind="id", anchor=f"e-{number}"),
            Cell(entry.path, entry.sha256, "file", file=dossier.root + entry.path),
            Cell(entry.host or "coordinator"),
            Cell(text.file_size(entry.size_bytes), kind="num"),
            Cell(clock or day, day if clock else "", "num"),
        )
    )
