"""Findings and the ledger → causes: which are named, and which stay in the ledger."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from perfharness.judge.diagnosis import diagnose
from perfharness.model import Finding, Fitness, Interval, LedgerRow, Measurement, Segment, Verdict
from tests.unit.diagnosis_builder import TRIP, Z_A, dropped, finding, measured, scope

UDP = scope(load="udp")
SENT = 80_000


def judged(metric: str, value: float, verdict: Verdict, **more: Any) -> Finding:
    """Of a load at the ordered rate; not mandatory, so that nothing that fails needs a cause."""
    usual: dict[str, Any] = {
        "load": "udp",
        "threshold": 1e-3 if metric == "loss" else 0.995e9,
        "n": SENT,
        "mandatory": False,
    }
    return finding(metric, verdict, value=value, **{**usual, **more})


def causes(found: tuple[Finding, ...], *measurements: Measurement) -> set[str]:
    return {diagnosis.cause for diagnosis in diagnose(found, measurements)}


def test_a_few_drops_beside_the_loss_of_a_slow_circuit_are_no_cause() -> None:
    """36 of 40,036 missing packets were the socket's: the circuit carries half, and nothing else is named."""
    found = (
        judged("loss", 40_000 / SENT, Verdict.FAIL),
        judged("throughput.udp", 5e8, Verdict.FAIL),
    )
    assert causes(found, measured(dropped(36, UDP))) == {"policed-below-order"}


def test_a_circuit_that_loses_without_a_load_need_not_be_policed() -> None:
    """No queue, so it looks policed; but that packets are lost at any rate may explain what is missing, and is said."""
    medians = (judged(metric, 1e6, Verdict.PASS, statistic="p50") for metric in ("delay.rtt", "delay.loaded"))
    slow = (judged("throughput.udp", 9.7e8, Verdict.FAIL), *medians)
    idle = judged("loss", 0.03, Verdict.FAIL, task="latency", load="idle")
    for found, certainty, told in ((slow, "likely", False), ((*slow, idle), "possible", True)):
        (said,) = (row for row in diagnose(found, [measured()]) if row.cause == "policed-below-order")
        assert said.certainty == certainty
        assert any("without a load as well" in against for against in said.against) is told


def test_a_median_of_lost_probes_is_no_queue() -> None:
    """Cut to less than half of the load most probes are lost as well: that their median is infinite is no shaper's."""
    idle = judged("delay.rtt", 1e6, Verdict.PASS, task="latency", load="idle", statistic="p50")
    loaded = judged("delay.loaded", math.inf, Verdict.NOT_APPLICABLE, statistic="p50")
    slow = judged("throughput.udp", 4e8, Verdict.FAIL, operator=">=")
    (said,) = diagnose((slow, idle, loaded), [measured()])
    assert (said.cause, said.certainty) == ("policed-below-order", "possible")
    assert "There is no delay figure under load" in said.because[1]


def test_half_of_the_missing_packets_are_a_cause_beside_the_other() -> None:
    """Both the host and the circuit lost 20,000: both are named, with the numbers."""
    found = (
        judged("loss", 20_000 / SENT, Verdict.FAIL),
        judged("throughput.udp", 6e8, Verdict.FAIL),
    )
    assert causes(found, measured(dropped(20_000, UDP))) == {"host-receive-buffer", "policed-below-order"}
    (said,) = (row for row in diagnose(found, [measured(dropped(20_000, UDP))]) if row.cause == "host-receive-buffer")
    assert (said.segment, said.certainty) == (Segment.HOST_Z, "proven")
    assert "20,000 packets of 40,000 that were missing" in said.because[0]


def test_all_of_the_missing_packets_are_the_cause() -> None:
    """The host lost all 40,000: the loss of the circuit passes, its rate is undecided, and the host is named."""
    found = (
        judged("loss", 0.0, Verdict.PASS),
        judged("throughput.udp", 5e8, Verdict.INCONCLUSIVE),
    )
    assert causes(found, measured(dropped(40_000, UDP))) == {"host-receive-buffer"}
    assert causes(found[:1], measured(dropped(40_000, UDP))) == {"host-receive-buffer"}


def test_drops_that_harm_no_finding_stay_in_the_ledger() -> None:
    """5 of 80,000 packets, all the host's, where everything passes: nothing calls for a diagnosis."""
    found = (judged("loss", 0.0, Verdict.PASS), judged("throughput.udp", 1e9, Verdict.PASS))
    assert causes(found, measured(dropped(5, UDP))) == set()


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.FAIL, Verdict.WARN])
def test_drops_are_named_beside_a_round_trip_that_they_spoil(verdict: Verdict) -> None:
    """A probe that the host drops is infinitely late: a delay that does not pass names it, whatever it is short of."""
    found = (judged("loss", 0.0, Verdict.PASS, threshold=None), finding("delay.rtt", verdict, TRIP, mandatory=False))
    assert "host-receive-buffer" in causes(found, measured(dropped(20, UDP)))


@pytest.mark.parametrize(
    ("more", "named"), [("its CPU did not keep up", True), ("its socket took no more 90 times", False)]
)
def test_a_sender_whose_interface_was_full_lacks_no_cpu(more: str, named: bool) -> None:
    """It offered less than it should, which by itself says nothing of its CPU."""
    fitness = Fitness("a", "t", False, ("it offered 900 Mbit/s where 1.25 Gbit/s were aimed at", more))
    assert ("host-cpu" in causes((), replace(measured(), fitness=(fitness,)))) is named
    open_ = (judged("throughput.udp", 1e9, Verdict.INCONCLUSIVE),)
    assert ("host-nic-limit" in causes(open_, replace(measured(), fitness=(fitness,)))) is not named


def test_drops_of_another_task_or_direction_do_not_matter() -> None:
    """A failure elsewhere does not make a few drops a cause."""
    back = scope(Z_A, load="udp")
    found = (judged("loss", 0.0, Verdict.PASS), judged("throughput.udp", 5e8, Verdict.FAIL))
    assert "host-receive-buffer" not in causes(found, measured(dropped(5, back)))
    assert "host-receive-buffer" not in causes(found, measured(), measured(dropped(5, UDP), task="other"))


def test_drops_where_the_loss_was_not_measured_are_named_when_something_did_not_pass() -> None:
    """Without a loss figure nobody can say how material they are: they are named beside what is undecided."""
    found = (judged("throughput.udp", 5e8, Verdict.INCONCLUSIVE),)
    assert causes(found, measured(dropped(5, UDP))) == {"host-receive-buffer"}


def test_clocks_are_a_cause_only_where_one_way_delay_was_asked_for() -> None:
    """An open criterion on one-way delay names the clock that is free; a figure that nobody asked for does not."""
    known = {
        "unsynchronised": ["The clock of z: no daemon."],
        "clocks": {"a": {"error_ns": 1_000}, "z": {"error_ns": None}},
    }
    measurement = measured(facts={"oneway": known})
    asked = finding("delay.oneway", Verdict.INCONCLUSIVE)
    (said,) = diagnose((asked,), (measurement,))
    assert (said.cause, said.segment, said.owner) == ("clock-unsynchronised", Segment.HOST_Z, "own")
    assert said.because == ("The clock of z: no daemon.",)
    assert not diagnose((replace(asked, operator=None),), (measurement,))
    assert not diagnose((replace(asked, verdict=Verdict.PASS),), (measurement,))


def at_the_ce(packets: int) -> LedgerRow:
    return dropped(packets, UDP, stage="CE qdisc", segment=Segment.CE, packets_lo=0, shared=True)


@pytest.mark.parametrize(
    ("verdict", "packets", "named"),
    [
        (Verdict.INCONCLUSIVE, 900, True),
        (Verdict.FAIL, 900, True),
        (Verdict.INCONCLUSIVE, 50, False),
        (Verdict.PASS, 900, False),
    ],
)
def test_a_ce_that_dropped_when_packets_were_lost_is_a_likely_cause(
    verdict: Verdict, packets: int, named: bool
) -> None:
    """A material part of 1,000 missing packets beside a finding that did not pass; its counters are shared."""
    found = (judged("loss", 1_000 / SENT, verdict),)
    told = [row for row in diagnose(found, [measured(at_the_ce(packets))]) if row.cause == "ce-drop"]
    assert bool(told) == named
    for row in told:
        assert (row.segment, row.owner, row.certainty) == (Segment.CE, "own", "likely")
        assert "up to 900 packets of 1,000 that were missing" in row.because[0]


def test_loss_that_the_ce_does_not_explain_says_so() -> None:
    """With its counters read, it is no longer among what this run did not tell apart."""
    lost = judged("loss", 0.01, Verdict.FAIL, load="idle")
    for rows, said in ((), "hosts' own counters"), ((at_the_ce(0),), "of the hosts and of the CE"):
        (told,) = diagnose((lost,), [measured(*rows)])
        assert said in told.because[1]
        assert ("CE" in told.against[0]) == ("CE" in told.next) == (not rows)


def test_lost_packets_are_no_cause_by_their_delay() -> None:
    """Where all is lost the delay has no value: the loss is the cause, and the delay no other."""
    found = (
        finding("path", Verdict.PASS),
        finding("loss"),
        finding("loss", Verdict.PASS, way=Z_A),
        finding("delay.rtt", way=TRIP, value=math.inf),
    )
    (said,) = diagnose(found, [measured()])
    assert (said.cause, said.owner) == ("loss-one-way", "unknown")


def test_a_sender_that_sends_in_bursts_may_be_the_cause_where_a_row_is_open() -> None:
    """What it sent too fast is half of what is missing: likely its CPU, unless it was less or the row is decided."""
    fast = dropped(0, scope(), stage="sender pacing", segment=Segment.HOST_A, packets_hi=20_000)
    loss = finding("loss", Verdict.NOT_APPLICABLE, value=0.5, n=80_000)
    open_ = (loss, finding("throughput.udp", Verdict.INCONCLUSIVE))
    (said,) = diagnose(open_, [measured(fast)])
    assert (said.cause, said.certainty, said.segment) == ("host-cpu", "likely", Segment.HOST_A)
    assert "20,000 packets of 40,000 that were missing" in said.because[0]
    assert "host-cpu" not in causes(open_, measured(replace(fast, packets_hi=19_999)))
    assert "host-cpu" not in causes((loss, finding("throughput.udp")), measured(fast))


@pytest.mark.parametrize(
    ("least", "cause"), [(math.inf, "unattributed-loss"), (6e7, "delay-above-objective")], ids=["lost", "late too"]
)
def test_a_delay_without_a_value_tells_of_loss(least: float, cause: str) -> None:
    """Where the loss was allowed or not judged: packets are late only where some that arrived were."""
    late = finding("delay.rtt", way=TRIP, value=math.inf, interval=Interval(least, math.inf, 0.95, "one", "test"))
    assert causes((late, finding("loss", Verdict.PASS, value=0.02)), measured()) == {cause}
