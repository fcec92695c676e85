"""What limited a TCP load becomes a cause only where TCP fell short, and never the circuit's failure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfharness.judge.diagnosis import diagnose
from perfharness.model import Diagnosis, Direction, Finding, Measurement, Segment, Verdict
from tests.unit.diagnosis_builder import A_Z, Z_A, finding, measured, scope

PAIR = "onprem-a:ecs-a"


def figure(metric: str, verdict: Verdict, way: Direction = A_Z) -> Finding:
    """Of a load by this protocol; no circuit fails for it."""
    return finding(metric, verdict, way, load=metric.partition(".")[2], pair=PAIR, operator=">=", mandatory=False)


def told(limit: str, *reasons: str, way: Direction = A_Z) -> Measurement:
    limited = [{"limit": limit, "way": way.value, "reasons": list(reasons or ("Because.",))}]
    return measured(of=scope(way, "tcp", PAIR), facts={"limited_by": limited})


def diagnosed(limit: str, *findings: Finding, reasons: tuple[str, ...] = (), way: Direction = A_Z) -> list[Diagnosis]:
    return list(diagnose(findings, [told(limit, *reasons, way=way)]))


def test_a_policers_burst_is_a_cause_where_paced_udp_passes() -> None:
    """TCP falls short, UDP at the order does not: the carrier is asked for the burst size."""
    (said,) = diagnosed("policer-burst", figure("throughput.tcp", Verdict.WARN), figure("throughput.udp", Verdict.PASS))
    assert (said.cause, said.owner, said.segment) == ("policer-burst-too-small", "carrier", Segment.BETWEEN)
    assert said.because[-1] == "Evenly sent UDP passes at the ordered rate in the same direction."


@pytest.mark.parametrize(
    ("measurement", "lost", "way", "certainty"),
    [
        ("throughput", 5e-4, A_Z, "possible"),
        ("throughput", 1e-5, A_Z, "likely"),
        ("throughput", 5e-4, Z_A, "likely"),
        ("rfc6349", 5e-4, A_Z, "likely"),  # it compared what TCP lost with what its own paced packets did
    ],
)
def test_loss_that_is_allowed_may_slow_tcp_without_a_policer(
    measurement: str, lost: float, way: Direction, certainty: str
) -> None:
    """Of a long path 5 packets in 10,000 take most of TCP's rate, and the order allows them."""
    item = told("policer-burst")
    item = replace(item, task=replace(item.task, measurement=measurement))
    short, paced = figure("throughput.tcp", Verdict.WARN), figure("throughput.udp", Verdict.PASS)
    allowed = replace(figure("loss", Verdict.PASS, way), value=lost, statistic="ratio")
    (said,) = diagnose([short, paced, allowed], [item])
    assert (said.cause, said.certainty) == ("policer-burst-too-small", certainty)


@pytest.mark.parametrize("udp", [Verdict.FAIL, Verdict.INCONCLUSIVE, None])
def test_a_policers_burst_is_no_cause_where_udp_does_not_pass(udp: Verdict | None) -> None:
    """Then the rate itself may be missing."""
    others = [] if udp is None else [figure("throughput.udp", udp)]
    found = diagnosed("policer-burst", figure("throughput.tcp", Verdict.WARN), *others)
    assert "policer-burst-too-small" not in {each.cause for each in found}


def test_an_even_load_that_passes_will_do_where_iperf3s_bursts_decide_nothing() -> None:
    """`capacity` sends evenly: behind so small a bucket it may be the only one that passes."""
    even, bursts = figure("capacity.sustained", Verdict.PASS), figure("throughput.udp", Verdict.INCONCLUSIVE)
    (said,) = diagnosed("policer-burst", figure("throughput.tcp", Verdict.WARN), even, bursts)
    assert said.cause == "policer-burst-too-small"


def test_udp_of_the_other_direction_proves_nothing() -> None:
    """Each direction has a policer of its own."""
    others = figure("throughput.udp", Verdict.PASS, Z_A)
    assert diagnosed("policer-burst", figure("throughput.tcp", Verdict.WARN), others) == []


@pytest.mark.parametrize(
    ("limit", "way", "cause", "segment"),
    [
        ("sender-cpu", A_Z, "host-cpu", Segment.HOST_A),
        ("sender-cpu", Z_A, "host-cpu", Segment.HOST_Z),
        ("receiver-cpu", A_Z, "host-cpu", Segment.HOST_Z),
        ("window", A_Z, "tcp-window-too-small", Segment.HOST_Z),
    ],
)
def test_a_hosts_limit_is_its_owners(limit: str, way: Direction, cause: str, segment: Segment) -> None:
    """At the end that it was seen at."""
    (said,) = diagnosed(limit, figure("throughput.tcp", Verdict.WARN, way), way=way)
    assert (said.cause, said.segment, said.owner) == (cause, segment, "own")


@pytest.mark.parametrize(("name", "segment"), [("onprem-a", Segment.HOST_A), ("ecs-a", Segment.HOST_Z)])
def test_an_interface_at_its_end_is_its_owners(name: str, segment: Segment) -> None:
    """A queue that drops, or an interface that is full, at either host."""
    reasons = (f"{name} itself dropped 12 packets on sending.",)
    (said,) = diagnosed("nic", figure("throughput.tcp", Verdict.WARN), reasons=reasons)
    assert (said.cause, said.segment, said.owner) == ("host-nic-limit", segment, "own")


def test_the_machine_that_is_at_its_end_is_named_by_its_reason() -> None:
    """The limit speaks of either host."""
    reasons = ("The hypervisor of onprem-a withheld 25% of its CPU time.",)
    (said,) = diagnosed("instance", figure("throughput.tcp", Verdict.WARN), reasons=reasons)
    assert (said.cause, said.segment) == ("ecs-instance-limit", Segment.HOST_A)


@pytest.mark.parametrize("limit", ["circuit", "congestion-control", "unknown", "offered"])
def test_what_nobody_can_act_upon_is_no_cause(limit: str) -> None:
    """It stands beside the figure."""
    assert diagnosed(limit, figure("throughput.tcp", Verdict.WARN)) == []


@pytest.mark.parametrize(("mean", "certainty"), [(9e7, ["possible"]), (9.6e7, [])])
def test_a_tcp_that_seems_short_has_a_possible_cause(mean: float, certainty: list[str]) -> None:
    """Undecided, with its mean below what was recommended: what limited it may be the reason."""
    row = replace(figure("throughput.tcp", Verdict.INCONCLUSIVE), value=mean, threshold=9.5e7)
    found = diagnosed("window", row)
    assert [(each.cause, each.certainty) for each in found] == [("tcp-window-too-small", each) for each in certainty]
    assert all("not certain" in each.against[-1] for each in found)


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE])
def test_a_tcp_that_is_not_short_needs_no_cause(verdict: Verdict) -> None:
    """Something always limits it."""
    assert diagnosed("window", figure("throughput.tcp", verdict)) == []
