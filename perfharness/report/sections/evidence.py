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
                "The headings are the folders within the run's folder, one for each task; below it a file stands in "
                "the folder of the host and the job that it came from. Times are UTC."
            ),
            Table(
                columns=("No.", "File", "SHA-256", ">Size", ">Written"),
                widths=(6, 30, 48, 8, 8),
                rows=tuple(_row(dossier, number, entry) for number, entry in enumerate(entries, 1)),
                small=True,
            ),
        ),
    )


def _row(dossier: Dossier, number: int, entry: Evidence) -> Row:
    """One line a file: an index of some hundred files has to stay short on paper."""
    folder, name = _split(entry.path)
    day, _, clock = text.stamp(entry.written).removesuffix(" UTC").partition(" ")
    return Row(
        (
            Cell(f"E{number}", kind="id", anchor=f"e-{number}"),
            Cell(name, file=dossier.root + entry.path),
            Cell(entry.sha256, kind="hash"),
            Cell(text.file_size(entry.size_bytes), kind="num"),
            Cell(clock or day, kind="num"),
        ),
        group=f"{folder}, {day}" if clock else folder,
    )


def _split(path: str) -> tuple[str, str]:
    """The folder of a task, and what is below it: ``raw/02-path/`` and ``ecs-a.ping-z-a/result.json``."""
    parts = path.split("/")
    depth = min(2, len(parts) - 1)
    return "".join(f"{part}/" for part in parts[:depth]) or "the run's folder", "/".join(parts[depth:])
