"""How a reader makes this report again, and checks that nothing was changed."""

from __future__ import annotations

import shlex

from perfharness.report.blocks import Code, Para, Section
from perfharness.report.dossier import Dossier


def build(dossier: Dossier) -> Section:
    run = dossier.run
    folder = shlex.quote(f"results/{run.circuit}/{run.run_id}")
    return Section(
        "rebuild",
        "How to rebuild this report",
        (
            Para(
                f"This report is a pure function of the evidence above: perfharness {run.version} makes the same page "
                "again from the run's folder, offline, and a later version the same findings. It first checks every "
                "file against its hash; a file that was changed is named here and leaves the run without a verdict."
            ),
            Code((f"perfharness report {folder}",)),
            Para(
                "Without perfharness: compare the sha256sum of each file with the index above or with manifest.jsonl "
                "in the folder. The findings as data for other programs are in findings.json.",
                "note",
            ),
        ),
    )
