"""Probes that a packet filter swallows say nothing of the circuit, and an outage is never taken for a filter."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date

import pytest

from perfharness.judge.diagnosis import diagnose
from perfharness.judge.judge import judge
from perfharness.model import Direction, Finding, Fitness, Interval, Measurement, Observation, Status, Task, Verdict
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import find_shipped, load_scenario
from perfharness.plan import make_plan

CIRCUIT = load_circuit(find_shipped("circuits/lab"))
SMOKE = load_scenario("smoke")
PLAN = make_plan(CIRCUIT, SMOKE)
HOSTS = ("onprem-a", "ecs-a")
A_Z, Z_A = Direction.A_Z, Direction.Z_A
FILTERED = {"tcp": {"5201": "open"}, "udp": {"862": "silent", "5201": "silent"}}
REJECTED = {"tcp": {"5201": "silent"}, "udp": {"862": "rejected", "5201": "open"}}
REFUSED = {"tcp": {"5201": "open"}, "udp": {"862": "refused", "5201": "open"}}
OPEN = {"tcp": {"5201": "open"}, "udp": {"862": "open", "5201": "open"}}
DOWN = {"tcp": {"5201": "silent"}, "udp": {"862": "silent", "5201": "silent"}}


def task(name: str) -> Task:
    return next(task for task in PLAN.tasks if task.id[3:] == name)


def path(ports: dict[str, dict[str, str]]) -> Measurement:
    return Measurement(task("path"), Status.COMPLETED, facts={"a-z": {"ports": ports}})


def seen(name: str, replied: int, *observations: Observation) -> Measurement:
    fit = tuple(Fitness(host, task(name).id, True, ()) for host in HOSTS)
    facts = {"prober": {"replied": replied}}
    return Measurement(task(name), Status.COMPLETED, observations=observations, fitness=fit, facts=facts)


def lost(share: float, way: Direction = A_Z) -> Observation:
    interval = Interval(share, share, 0.95, "one", "test", 100)
    scope = replace(task("latency").scope, direction=way)
    return Observation("loss", "ratio", scope, "1", share, 31_000, interval, hosts=HOSTS)


def late(metric: str, name: str, value: float = math.inf, statistic: str = "p99") -> Observation:
    scope = replace(task(name).scope, direction=Direction.ROUND_TRIP)
    interval = Interval(value, math.inf, 0.95, "one", "test", 100)
    return Observation(metric, statistic, scope, "ns", value, 31_000, interval, hosts=HOSTS)


def judged(*taken: Measurement) -> dict[tuple[str, Direction | None], Finding]:
    found = judge(CIRCUIT, SMOKE, taken, (), date(2027, 1, 1), {})
    return {(row.metric, row.scope.direction): row for row in found if row.value is not None and row.operator}


@pytest.mark.parametrize("ports", [FILTERED, REJECTED, REFUSED])
def test_probes_that_a_filter_swallows_say_nothing_of_the_circuit(ports: dict[str, dict[str, str]]) -> None:
    """Where the probes' port is closed and another answers, what lacks all probes is undecided, and says why."""
    taken = path(ports), seen("latency", 0, lost(1.0), late("delay.rtt", "latency"))
    found = judged(*taken)
    rows = found["loss", A_Z], found["delay.rtt", Direction.ROUND_TRIP]
    for row in rows:
        assert row.verdict is Verdict.INCONCLUSIVE
        assert "ecs-a: a packet filter swallows the probes: none came back from UDP 862, which was" in row.reason
    (said,) = diagnose(tuple(found.values()), taken)
    assert (said.cause, said.owner) == ("probes-filtered", "own")
    assert set(said.findings) == {row.id for row in rows}
    assert said.because[0].startswith("06-latency: ecs-a: a packet filter")


def test_a_filter_is_named_beside_an_unfit_host() -> None:
    """A prober that missed some of its schedule leaves the row open by itself; that none came back is said too."""
    taken = seen("latency", 0, lost(1.0))
    unfit = replace(taken.fitness[0], fit=False, reasons=("it offered 1,979 of the 2,000 packets of its schedule",))
    row = judged(path(FILTERED), replace(taken, fitness=(unfit, taken.fitness[1])))["loss", A_Z]
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "1,979 of the 2,000" in row.reason and "a packet filter swallows the probes" in row.reason


@pytest.mark.parametrize(
    ("ports", "replied", "share"),
    [
        pytest.param((DOWN,), 0, 1.0, id="down before"),
        pytest.param((OPEN,), 0, 1.0, id="down later"),
        pytest.param((FILTERED, OPEN), 0, 1.0, id="open at another time"),
        pytest.param((), 0, 1.0, id="no port tried"),
        pytest.param((FILTERED,), 1, 0.9999, id="a probe came back"),
        pytest.param((FILTERED,), 0, 0.5, id="the answers alone filtered, and half lost on the way there"),
    ],
)
def test_an_outage_is_no_filter(ports: tuple[dict[str, dict[str, str]], ...], replied: int, share: float) -> None:
    """Where no other port answered, or the probes' own did, or a part of them arrived, what is lost is lost."""
    taken = *(path(each) for each in ports), seen("latency", replied, lost(share))
    assert judged(*taken)["loss", A_Z].verdict is Verdict.FAIL


def test_what_came_is_judged_although_its_answers_were_filtered() -> None:
    """A filter of the answers leaves the way there measured: it passes, and only the way back stays open."""
    found = judged(path(FILTERED), seen("latency", 0, lost(0.0), lost(1.0, Z_A)))
    assert (found["loss", A_Z].verdict, found["loss", Z_A].verdict) == (Verdict.PASS, Verdict.INCONCLUSIVE)


def test_a_load_is_judged_although_the_probes_beside_it_were_filtered() -> None:
    """Beside a load the filter explains the delay that has no value, and never a load of which nothing arrived."""
    scope = replace(task("udp-a-z").scope, direction=A_Z)
    load = replace(lost(1.0), scope=scope)
    found = judged(path(FILTERED), seen("udp-a-z", 0, load, late("delay.loaded", "udp-a-z", statistic="p95")))
    assert found["loss", A_Z].verdict is Verdict.FAIL
    assert found["delay.loaded", Direction.ROUND_TRIP].verdict is Verdict.INCONCLUSIVE
