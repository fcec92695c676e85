"""A UDP load in bursts fails no circuit that an even load found whole; whatever else it finds stands."""

from __future__ import annotations

import math
from typing import Any

import pytest

from perfharness.judge.bursts import bursts
from perfharness.model import Direction, Fitness, Interval, Measurement, Observation, Scope, Status, Task

A_Z, Z_A = Direction.A_Z, Direction.Z_A
PAIR = "onprem-a:ecs-a"
ORDER = 100_000_000


def load(kind: str, way: Direction, **more: Any) -> Task:
    return Task(kind, kind, kind, Scope("ec-1", PAIR, way, load="udp"), (), 8.0, load_bps=ORDER, **more)


def short(metric: str = "throughput.udp", way: Direction = A_Z) -> Observation:
    return Observation(metric, "mean", Scope("ec-1", PAIR, way, load="udp"), "bit/s", 97e6, 50)


def even(lo: float, hi: float, lost: int, how: str | None = None, way: Direction = A_Z) -> Measurement:
    """What `capacity` found: between these, and so many of 50,000 packets just below it were lost."""
    sustained = Observation(
        "capacity.sustained",
        "mean",
        Scope("ec-1", PAIR, way, load="udp"),
        "bit/s",
        lo,
        20,
        interval=Interval(lo, hi, 0.95, "one", ""),
        evidence=("raw/capacity",),
    )
    facts = {"confirm": {"rate_bps": lo, "sent": 50_000, "lost": lost}, "limited_by": {"how": how}}
    task = load("capacity", way)
    return Measurement(task, Status.COMPLETED, observations=(sustained,), facts={"capacity": {way.value: facts}})


def excuses(seen: Observation, *run: Measurement) -> list[Fitness]:
    udp = Measurement(load("throughput", A_Z), Status.COMPLETED)
    return list(bursts(seen, udp, [udp, *run]))


@pytest.mark.parametrize("metric", ["throughput.udp", "loss"])
def test_an_even_load_that_carried_all_makes_room_for_bursts(metric: str) -> None:
    """It found 100.9 to 101 Mbit/s and lost nothing: the sender's bursts are named, with the evidence."""
    (excuse,) = excuses(short(metric), even(100.9e6, 101e6, 0))
    assert (excuse.host, excuse.fit, excuse.evidence) == ("onprem-a", False, ("raw/capacity",))
    assert "step capacity, which sends evenly, found 100.9 Mbit/s or more" in excuse.reasons[0]


def test_a_bucket_too_small_for_an_even_load_leaves_it_open() -> None:
    """Its own packets were lost below a rate that may be the ordered one: nobody can tell."""
    for how in ("policer", "policer-burst"):
        assert excuses(short(), even(93e6, 104e6, 900, how))


@pytest.mark.parametrize(
    "found",
    [
        even(90e6, 97e6, 0),
        even(90e6, 97e6, 900, "policer-burst"),
        even(100.9e6, math.inf, 900),
        even(100.9e6, 101e6, 0, way=Z_A),
        even(20e6, math.inf, 0),
    ],
    ids=[
        "less than was offered",
        "less than was offered, in bursts",
        "lost evenly sent packets",
        "the other way",
        "its host sent a fifth",
    ],
)
def test_what_bursts_do_not_explain_fails(found: Measurement) -> None:
    """A rate that is missing, loss that even packets suffer, another direction, and an even load that came nowhere near
    excuse nothing: else no circuit could fail that is faster than that load."""
    assert excuses(short(), found) == []


def test_other_figures_are_not_touched() -> None:
    """Bursts are iperf3's UDP; delays are told by probes."""
    assert excuses(short("delay.loaded"), even(100.9e6, 101e6, 0)) == []
