"""Findings and the ledger → causes: which are named, and which stay in the ledger."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from perfharness.judge.diagnosis import diagnose
from perfharness.model import (
    Direction,
    Finding,
    Fitness,
    Interval,
    LedgerRow,
    Measurement,
    Scope,
    Segment,
    Status,
    Task,
    Verdict,
)

SCOPE = Scope("ec-1", "a:z", Direction.A_Z, load="udp")
SENT = 80_000


def drops(packets: int, scope: Scope = SCOPE) -> LedgerRow:
    """As the ledger books what the receiving socket counted."""
    return LedgerRow(scope, "receiver socket", Segment.HOST_Z, packets, packets, "drops", False)


def measured(*rows: LedgerRow, task: str = "udp") -> Measurement:
    return Measurement(Task(task, task, "throughput", SCOPE, (), 8.0), Status.COMPLETED, ledger=rows)


def finding(metric: str, value: float, verdict: Verdict, task: str = "udp", **more: object) -> Finding:
    given: dict[str, object] = {"threshold": 1e-3 if metric == "loss" else 0.995e9, "n": SENT, **more}
    return Finding("F", metric, "-", SCOPE, "", value, verdict, "because", operator="<=", task=task, **given)


def causes(found: tuple[Finding, ...], *measurements: Measurement) -> set[str]:
    return {diagnosis.cause for diagnosis in diagnose(found, measurements)}


def test_a_few_drops_beside_the_loss_of_a_slow_circuit_are_no_cause() -> None:
    """36 of 40,036 missing packets were the socket's: the circuit carries half, and nothing else is named."""
    found = (
        finding("loss", 40_000 / SENT, Verdict.FAIL),
        finding("throughput.udp", 5e8, Verdict.FAIL),
    )
    assert causes(found, measured(drops(36))) == {"policed-below-order"}


def test_a_circuit_that_loses_without_a_load_need_not_be_policed() -> None:
    """No queue, so it looks policed; but that packets are lost at any rate may explain what is missing, and is said."""
    medians = tuple(
        replace(finding(metric, 1e6, Verdict.PASS), statistic="p50") for metric in ("delay.rtt", "delay.loaded")
    )
    slow = (finding("throughput.udp", 9.7e8, Verdict.FAIL), *medians)
    idle = replace(finding("loss", 0.03, Verdict.FAIL, task="latency"), scope=replace(SCOPE, load="idle"))
    for found, certainty, told in ((slow, "likely", False), ((*slow, idle), "possible", True)):
        (said,) = (row for row in diagnose(found, [measured()]) if row.cause == "policed-below-order")
        assert said.certainty == certainty
        assert any("without a load as well" in against for against in said.against) is told


def test_a_median_of_lost_probes_is_no_queue() -> None:
    """Cut to less than half of the load most probes are lost as well: that their median is infinite is no shaper's."""
    idle = replace(finding("delay.rtt", 1e6, Verdict.PASS, task="latency"), scope=replace(SCOPE, load="idle"))
    loaded = finding("delay.loaded", math.inf, Verdict.NOT_APPLICABLE)
    medians = tuple(replace(each, statistic="p50") for each in (idle, loaded))
    slow = replace(finding("throughput.udp", 4e8, Verdict.FAIL), operator=">=")
    (said,) = diagnose((slow, *medians), [measured()])
    assert (said.cause, said.certainty) == ("policed-below-order", "possible")
    assert "There is no delay figure under load" in said.because[1]


def test_half_of_the_missing_packets_are_a_cause_beside_the_other() -> None:
    """Both the host and the circuit lost 20,000: both are named, with the numbers."""
    found = (
        finding("loss", 20_000 / SENT, Verdict.FAIL),
        finding("throughput.udp", 6e8, Verdict.FAIL),
    )
    assert causes(found, measured(drops(20_000))) == {"host-receive-buffer", "policed-below-order"}
    (said,) = (row for row in diagnose(found, [measured(drops(20_000))]) if row.cause == "host-receive-buffer")
    assert (said.segment, said.certainty) == (Segment.HOST_Z, "proven")
    assert "20,000 packets of 40,000 that were missing" in said.because[0]


def test_all_of_the_missing_packets_are_the_cause() -> None:
    """The host lost all 40,000: the loss of the circuit passes, its rate is undecided, and the host is named."""
    found = (
        finding("loss", 0.0, Verdict.PASS),
        finding("throughput.udp", 5e8, Verdict.INCONCLUSIVE),
    )
    assert causes(found, measured(drops(40_000))) == {"host-receive-buffer"}
    assert causes(found[:1], measured(drops(40_000))) == {"host-receive-buffer"}


def test_drops_that_harm_no_finding_stay_in_the_ledger() -> None:
    """5 of 80,000 packets, all the host's, where everything passes: nothing calls for a diagnosis."""
    found = (finding("loss", 0.0, Verdict.PASS), finding("throughput.udp", 1e9, Verdict.PASS))
    assert causes(found, measured(drops(5))) == set()


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.FAIL, Verdict.WARN])
def test_drops_are_named_beside_a_round_trip_that_they_spoil(verdict: Verdict) -> None:
    """A probe that the host drops is infinitely late: a delay that does not pass names it, whatever it is short of."""
    trip = Scope("ec-1", "a:z", Direction.ROUND_TRIP)
    late = Finding("F", "delay.rtt", "p99", trip, "ns", 1.0, verdict, "late", operator="<=", threshold=2, task="udp")
    found = (finding("loss", 0.0, Verdict.PASS, threshold=None), late)
    assert "host-receive-buffer" in causes(found, measured(drops(20)))


@pytest.mark.parametrize(
    ("more", "named"), [("its CPU did not keep up", True), ("its socket took no more 90 times", False)]
)
def test_a_sender_whose_interface_was_full_lacks_no_cpu(more: str, named: bool) -> None:
    """It offered less than it should, which by itself says nothing of its CPU."""
    fitness = Fitness("a", "udp", False, ("it offered 900 Mbit/s where 1.25 Gbit/s were aimed at", more))
    assert ("host-cpu" in causes((), replace(measured(), fitness=(fitness,)))) is named


def test_drops_of_another_task_or_direction_do_not_matter() -> None:
    """A failure elsewhere does not make a few drops a cause."""
    back = Scope("ec-1", "a:z", Direction.Z_A, load="udp")
    found = (finding("loss", 0.0, Verdict.PASS), finding("throughput.udp", 5e8, Verdict.FAIL))
    assert "host-receive-buffer" not in causes(found, measured(drops(5, back)))
    assert "host-receive-buffer" not in causes(found, measured(), measured(drops(5), task="other"))


def test_drops_where_the_loss_was_not_measured_are_named_when_something_did_not_pass() -> None:
    """Without a loss figure nobody can say how material they are: they are named beside what is undecided."""
    found = (finding("throughput.udp", 5e8, Verdict.INCONCLUSIVE),)
    assert causes(found, measured(drops(5))) == {"host-receive-buffer"}


def test_clocks_are_a_cause_only_where_one_way_delay_was_asked_for() -> None:
    """An open criterion on one-way delay names the clock that is free; a figure that nobody asked for does not."""
    known = {
        "unsynchronised": ["The clock of z: no daemon."],
        "clocks": {"a": {"error_ns": 1_000}, "z": {"error_ns": None}},
    }
    task = Task("latency", "latency", "latency", SCOPE, (), 8.0)
    measurement = Measurement(task, Status.COMPLETED, facts={"oneway": known})
    asked = finding("delay.oneway", 5e6, Verdict.INCONCLUSIVE, "latency")
    (said,) = diagnose((asked,), (measurement,))
    assert (said.cause, said.segment, said.owner) == ("clock-unsynchronised", Segment.HOST_Z, "own")
    assert said.because == ("The clock of z: no daemon.",)
    assert not diagnose((replace(asked, operator=None),), (measurement,))
    assert not diagnose((replace(asked, verdict=Verdict.PASS),), (measurement,))


def at_the_ce(packets: int) -> LedgerRow:
    return LedgerRow(SCOPE, "CE qdisc", Segment.CE, 0, packets, "qdisc drops", True)


@pytest.mark.parametrize(
    ("verdict", "dropped", "named"),
    [
        (Verdict.INCONCLUSIVE, 900, True),
        (Verdict.FAIL, 900, True),
        (Verdict.INCONCLUSIVE, 50, False),
        (Verdict.PASS, 900, False),
    ],
)
def test_a_ce_that_dropped_when_packets_were_lost_is_a_likely_cause(
    verdict: Verdict, dropped: int, named: bool
) -> None:
    """A material part of 1,000 missing packets beside a finding that did not pass; its counters are shared."""
    found = (finding("loss", 1_000 / SENT, verdict),)
    told = [row for row in diagnose(found, [measured(at_the_ce(dropped))]) if row.cause == "ce-drop"]
    assert bool(told) == named
    for row in told:
        assert (row.segment, row.owner, row.certainty) == (Segment.CE, "own", "likely")
        assert "up to 900 packets of 1,000 that were missing" in row.because[0]


def test_loss_that_the_ce_does_not_explain_says_so() -> None:
    """With its counters read, it is no longer among what this run did not tell apart."""
    idle = replace(SCOPE, load="idle")
    lost = replace(finding("loss", 0.01, Verdict.FAIL), scope=idle)
    for rows, said in ((), "hosts' own counters"), ((at_the_ce(0),), "of the hosts and of the CE"):
        (told,) = diagnose((lost,), [measured(*rows)])
        assert said in told.because[1]
        assert ("CE" in told.against[0]) == ("CE" in told.next) == (not rows)


def test_lost_packets_are_no_cause_by_their_delay() -> None:
    """Where all is lost the delay has no value: the loss is the cause, and the delay no other."""
    idle = replace(SCOPE, load="idle")
    found = (
        replace(finding("path", True, Verdict.PASS, task="path"), scope=idle),
        replace(finding("loss", 1.0, Verdict.FAIL), scope=idle),
        replace(finding("loss", 0.0, Verdict.PASS), scope=replace(idle, direction=Direction.Z_A)),
        replace(finding("delay.rtt", math.inf, Verdict.FAIL), scope=replace(idle, direction=Direction.ROUND_TRIP)),
    )
    (said,) = diagnose(found, [measured()])
    assert (said.cause, said.owner) == ("loss-one-way", "carrier")


@pytest.mark.parametrize(
    ("least", "cause"), [(math.inf, "unattributed-loss"), (6e7, "delay-above-objective")], ids=["lost", "late too"]
)
def test_a_delay_without_a_value_tells_of_loss(least: float, cause: str) -> None:
    """Where the loss was allowed or not judged: packets are late only where some that arrived were."""
    trip = replace(SCOPE, load="idle", direction=Direction.ROUND_TRIP)
    late = finding("delay.rtt", math.inf, Verdict.FAIL, interval=Interval(least, math.inf, 0.95, "one", "test"))
    found = (replace(late, scope=trip), replace(finding("loss", 0.02, Verdict.PASS), scope=replace(SCOPE, load="idle")))
    assert causes(found, measured()) == {cause}
