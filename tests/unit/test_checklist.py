"""How each row of the checklist stands after a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from perfharness.measurements import REGISTRY
from perfharness.model import Diagnosis, Finding, Run, Scope, Segment, Status, Verdict
from perfharness.report.checklist import CHECKLIST, Standing, standings
from perfharness.report.findings import to_json
from tests.unit import run_builder


def finding(row: str, verdict: Verdict, metric: str = "loss", **more: Any) -> Finding:
    given: dict[str, Any] = {"value": 0.0, "operator": "<=", "task": "t", "reason": "Because.", **more}
    value = given.pop("value")
    statistic = given.pop("statistic", "ratio")
    rows = (row,) if row else ()
    return Finding("F1", metric, statistic, Scope("ec-1"), "1", value, verdict, checklist=rows, **given)


def row(name: str, *findings: Finding, **run: Any) -> Standing:
    made: Run = replace(run_builder.empty(), findings=findings, **run)
    return next(each for each in standings(made) if each.item.id == name)


def test_every_row_stands_once() -> None:
    """In the order of the checklist, whatever was measured, also as data."""
    for run in (run_builder.passing(), run_builder.empty()):
        assert [each.item.id for each in standings(run)] == [item.id for item in CHECKLIST]
        assert [each["id"] for each in to_json(run)["checklist"]] == [item.id for item in CHECKLIST]


def test_the_measurements_that_answer_a_row_exist() -> None:
    """What is said to be needed can be written into a scenario."""
    assert {name for item in CHECKLIST for name in item.steps} <= set(REGISTRY)


def test_a_row_is_as_good_as_the_worst_of_its_findings() -> None:
    """What failed one way failed, and what was not measured one way is no pass, though it is measured."""
    for worse in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN):
        stood = row("EC-042", finding("EC-042", Verdict.PASS), finding("EC-042", worse))
        assert (stood.standing, stood.verdict) == ("measured", worse)
        assert stood.findings[0].verdict is worse
    absent = finding("EC-042", Verdict.NOT_RUN, value=None)
    stood = row("EC-042", finding("EC-042", Verdict.PASS), absent)
    assert (stood.standing, stood.verdict) == ("measured", Verdict.NOT_RUN)


def test_a_pass_that_a_diagnosis_speaks_against_is_open() -> None:
    """Both cannot be so; a cause that is only possible opens nothing."""
    cause = Diagnosis("missing-return-route", "likely", Segment.BETWEEN, "own", (), checklist=("EC-015",))
    passed = finding("EC-015", Verdict.PASS, "route", value=True)
    stood = row("EC-015", passed, diagnosis=(cause,))
    assert (stood.verdict, stood.why) == (Verdict.INCONCLUSIVE, "Open: see the diagnosis missing-return-route.")
    assert row("EC-015", passed, diagnosis=(replace(cause, certainty="possible"),)).verdict is Verdict.PASS


def test_what_was_planned_and_did_not_run_says_why() -> None:
    """A requirement without a figure is not measured, with its reason."""
    stood = row("EC-042", finding("EC-042", Verdict.NOT_RUN, value=None, reason="The sender died."))
    assert (stood.standing, stood.verdict, stood.why) == ("not measured", Verdict.NOT_RUN, "The sender died.")


def test_what_only_the_order_says_is_declared() -> None:
    """It was seen by nothing; a figure beside it makes it measured."""
    said = finding("EC-004", Verdict.PASS, "portspec", statistic="declared", value=None, operator=None, task="")
    assert row("EC-004", said).standing == "declared"
    assert row("EC-004", said, finding("EC-004", Verdict.PASS, "vlan", value=True)).standing == "measured"


def test_a_figure_of_which_nothing_was_required_is_measured_without_a_verdict() -> None:
    """The availability of ten minutes stands there, and passes nothing."""
    stood = row("EC-047", finding("", Verdict.NOT_APPLICABLE, "availability", value=1.0, operator=None))
    assert (stood.standing, stood.verdict, stood.why) == (
        "measured", Verdict.NOT_APPLICABLE, "The scenario requires nothing of it.",
    )  # fmt: skip


def test_a_row_that_nothing_speaks_of_says_what_would_see_it() -> None:
    """A step to add, a router to ask, or what this version cannot do."""
    ask = "Needs a step `edge` (and a router that it can ask under `ce:` of the order)"
    assert row("EC-017").why == f"{ask} or the cloud API, which this version does not ask."
    assert "the later one with `stable: true`" in row("EC-048").why
    assert row("EC-052").why == "Needs a step `failover`."
    assert row("EC-005").why == "Needs the cloud API, which this version does not ask."
    assert row("EC-007").why.startswith("No measurement sees it: look up the instance's public IP")
    assert "scenario `failover`" in row("EC-056").why


def test_a_figure_tells_of_its_own_row_alone() -> None:
    """Where nothing is required of it: what is known of BFD says nothing of the prefixes."""
    bfd = finding("", Verdict.NOT_APPLICABLE, "bgp", statistic="bfd", value=True, operator=None)
    assert row("EC-051", bfd).standing == "measured"
    assert row("EC-020", bfd).standing == "not measured"
    assert row("EC-036").why == "Needs a step `policing` or `service-configuration`."
    taken = run_builder.passing().measurements
    assert row("EC-043", measurements=taken).why.startswith("Step latency ran, and neither")
    assert row("EC-052", measurements=taken).why.startswith("Step failover was skipped: The lab has no second")
    broken = tuple(replace(each, status=Status.FAILED, reason="No sender.") for each in taken)
    assert row("EC-043", measurements=broken).why == "Step latency failed: No sender."
