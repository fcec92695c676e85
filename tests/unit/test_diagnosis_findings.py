"""Each cause names the findings that it rests on, so that a reader of one finds the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from perfharness.analysis.ledger import LAN
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.weighing import weigh
from perfharness.model import Diagnosis, Finding, Fitness, LedgerRow, Segment, Verdict
from tests.unit.diagnosis_builder import TRIP, Z_A, dropped, finding, measured, scope

PASS, OPEN = Verdict.PASS, Verdict.INCONCLUSIVE
LOST: dict[str, Any] = {"value": 0.01, "n": 10_000, "mandatory": False}
LOAD = scope(load="udp")


def figure(metric: str, verdict: Verdict, **more: Any) -> Finding:
    return finding(metric, verdict, load="udp", **{**LOST, **more})


def named(cause: str, *rows: LedgerRow, among: tuple[Finding, ...]) -> tuple[str, ...]:
    (said,) = (each for each in diagnose(among, [measured(*rows, of=LOAD)]) if each.cause == cause)
    return said.findings


AT_THE_CE = dropped(90, LOAD, stage="CE qdisc", segment=Segment.CE, packets_lo=0)
IN_THE_LAN = dropped(90, LOAD, stage=LAN, segment=Segment.LAN)


@pytest.mark.parametrize(
    ("cause", "row"),
    [("host-receive-buffer", dropped(90, LOAD)), ("lan-loss", IN_THE_LAN)],
)
def test_what_was_dropped_names_what_is_the_worse_for_it(cause: str, row: LedgerRow) -> None:
    """What did not pass of its task and direction; else the loss that says how much was missing."""
    lost, rate = figure("loss", PASS, value=0.0, threshold=1e-3), figure("throughput.udp", OPEN)
    back = figure("loss", OPEN, way=Z_A)
    assert named(cause, row, among=(lost, rate, back)) == (rate.id,)
    assert named(cause, row, among=(lost, back)) == (lost.id,)


def test_a_ce_that_drops_names_the_losses_it_may_explain() -> None:
    """Those that did not pass."""
    lost, rate = figure("loss", OPEN), figure("throughput.udp", OPEN)
    assert named("ce-drop", AT_THE_CE, among=(lost, rate)) == (lost.id,)


def test_an_unfit_host_names_what_it_left_open() -> None:
    """Of the metrics that it was unfit for; a row that passed or failed did so whatever the host did."""
    found = (figure("throughput.udp", OPEN), figure("delay.loaded", OPEN), figure("loss", PASS))
    unfit = Fitness("a", "t", False, ("it offered half of what was asked",), metrics=("throughput",))
    (said,) = diagnose(found, [measured(of=LOAD, fitness=(unfit,))])
    assert (said.cause, said.findings) == ("host-cpu", (found[0].id,))


def test_clocks_name_each_row_that_they_leave_open() -> None:
    """Both directions, and not what passed."""
    found = (finding("delay.oneway", OPEN), finding("delay.oneway", OPEN, Z_A), finding("delay.rtt", PASS, TRIP))
    known = {"unsynchronised": ["No daemon."], "clocks": {}}
    (said,) = diagnose(found, [measured(facts={"oneway": known})])
    assert (said.cause, said.findings) == ("clock-unsynchronised", tuple(each.id for each in found[:2]))


def told(cause: str, *of: Finding, segment: Segment = Segment.HOST_Z) -> Diagnosis:
    return Diagnosis(cause, "likely", segment, "own", (f"{len(of)} figures.",), findings=tuple(each.id for each in of))


def test_what_is_broken_is_one_thing_whatever_figures_tell_of_it() -> None:
    """A host that is short of CPU in two steps is said once, with the findings of both; its neighbour is another."""
    there, back = finding("throughput.udp", OPEN), finding("throughput.udp", OPEN, Z_A)
    (said,) = weigh((told("host-cpu", there), told("host-cpu", back, there)), (there, back))
    assert said.findings == (there.id, back.id)
    assert said.because == ("1 figures.", "2 figures.")
    other = told("host-cpu", there, segment=Segment.HOST_A)
    assert len(weigh((said, other), (there, back))) == 2


def test_a_failover_and_its_failback_are_two_causes() -> None:
    """Each is a figure of its own, and has a remedy of its own."""
    slow, back = finding("outage", statistic="duration"), replace(finding("outage", statistic="failback"), id="back")
    causes = (told("failover-slow", slow), told("failover-slow", back))
    assert [each.findings for each in weigh(causes, (slow, back))] == [(slow.id,), ("back",)]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, OPEN])
def test_a_host_explains_nothing_though_it_names_it(verdict: Verdict) -> None:
    """What failed did so with the host's part taken off, and another cause of the same row is as sure as it was."""
    lost = finding("loss", verdict)
    host = replace(told("host-receive-buffer", lost), certainty="proven")
    ce = told("ce-drop", lost, segment=Segment.CE)
    assert {each.cause: each.certainty for each in weigh((host, ce), (lost,))} == {
        "host-receive-buffer": "proven",
        "ce-drop": "likely",
    }
    assert ("unknown" in {each.cause for each in weigh((host,), (lost,))}) is (verdict is Verdict.FAIL)
