"""Puts the derived files beside the evidence; they can be made again at any time."""

from __future__ import annotations

import hashlib
from pathlib import Path

from perfharness.evidence import RunFolder, json_bytes
from perfharness.model import Run
from perfharness.order.circuit import Circuit
from perfharness.order.scenario import Scenario
from perfharness.report import html, pdf
from perfharness.report.findings import to_json


def write_reports(
    run: Run,
    circuit: Circuit,
    scenario: Scenario,
    folder: RunFolder,
    corrected: Path | None = None,
    *,
    as_pdf: bool = True,
) -> tuple[Path, ...]:
    """Write findings.json, report.html and (``as_pdf``) report.pdf; returns the paths of the reports.

    Without the PDF an earlier one is removed: it may say something else than the page.
    With another order than the run's the first verdict is kept: the files, and that order, go to a folder
    ``rejudged-<hash of the order>``.
    """
    target = folder.path
    if corrected is not None:
        order = corrected.read_bytes()
        target = folder.path / f"rejudged-{hashlib.sha256(order).hexdigest()[:8]}"
        target.mkdir(exist_ok=True)
        (target / "circuit.yaml").write_bytes(order)
    page = html.render(run, circuit, scenario, root="../" if corrected is not None else "")
    _put(target / "findings.json", json_bytes(to_json(run)))
    _put(target / "report.html", page.encode())
    if not as_pdf:
        (target / "report.pdf").unlink(missing_ok=True)
        return (target / "report.html",)
    _put(target / "report.pdf", pdf.render(page))
    return (target / "report.html", target / "report.pdf")


def _put(path: Path, data: bytes) -> None:
    """The whole file or, where the disk is full, the one that was there before."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
