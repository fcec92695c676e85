"""What was not measured stands in the report once for each reason."""

from __future__ import annotations

from perfharness.model import Finding, Verdict
from perfharness.report.blocks import Table
from perfharness.report.dossier import Dossier
from perfharness.report.sections import deviations
from tests.unit import run_builder
from tests.unit.diagnosis_builder import A_Z, Z_A, finding

NO_METER, SILENT = "The order is the port's own rate.", "ce-a does not tell its BGP sessions."


def not_measured(*findings: Finding) -> list[list[str]]:
    """The words of each row: checklist, figures, where, why."""
    run = run_builder.passing(findings=findings)
    section = deviations.build(Dossier(run, run_builder.circuit(), run_builder.scenario()))
    tables = [block for block in section.blocks if isinstance(block, Table) and block.columns[1] == "What"]
    cells = [row.cells for table in tables for row in table.rows]
    return [[row.text, what.text, what.sub, why.text] for row, what, _, why in cells]


def silent(metric: str, statistic: str, verdict: Verdict = Verdict.NOT_RUN, reason: str = SILENT) -> Finding:
    return finding(metric, verdict, None, statistic=statistic, value=None, reason=reason, checklist=("EC-018",))


def test_a_measurement_that_does_not_apply_is_one_row() -> None:
    """Four figures each way, one reason: all are named, and both directions."""
    figures = (("policing", "kind"), ("policing", "layer"), ("policing.rate", "mean"), ("policing.queue", "median"))
    rows = (
        finding(metric, Verdict.NOT_APPLICABLE, way, statistic=statistic, value=None, reason=NO_METER)
        for way in (A_Z, Z_A)
        for metric, statistic in figures
    )
    named = "Policer or shaper: kind, layer; Metered rate; Queue of the shaper"
    assert not_measured(*rows) == [["", named, "on-prem → cloud; cloud → on-prem", NO_METER]]


def test_figures_of_another_kind_reason_or_verdict_stand_apart() -> None:
    """A requirement that was not met is never hidden in a row of what was not asked for."""
    rows = (
        silent("bgp", "established"),
        silent("bgp", "as_agree"),
        silent("bgp", "flaps", Verdict.NOT_APPLICABLE),
        silent("bgp", "bfd", reason="No timers."),
        silent("route", "changed"),
    )
    assert [[what, why] for _, what, _, why in not_measured(*rows)] == [
        ["BGP: established, as agree", SILENT],
        ["BGP: bfd", "No timers."],
        ["Route: changed", SILENT],
        ["BGP: flaps", SILENT],
    ]
