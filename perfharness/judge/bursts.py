"""Loss that a sender's own bursts explain is no shortfall of the rate.

iperf3 keeps a rate on average: it sends what is due once a millisecond, and after a pause of its host all that is late
at once. A policer with a small bucket drops such bursts although it lets pass what was ordered. The load of `capacity`
sends evenly, leaves out what is late, and knows which tokens that wasted, so it can tell: where the whole rate may be
there by what it found, and it lost nothing just below or saw a policer, nobody can say that the rate is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perfharness.model import Fitness, Measurement, Observation
from perfharness.order.units import rate_text

LOSSLESS = 1e-3
"""Share of an even load just below the rate that may be lost."""
NEAR = 0.9
"""Share of a load that an even one must have brought to say anything of it: what was never sent tells nothing."""
POLICER = ("policer", "policer-burst")
"""It drops without a queue; the latter even packets that are sent evenly just below its rate."""


def bursts(observation: Observation, measurement: Measurement, run: Sequence[Measurement]) -> Iterator[Fitness]:
    """Why a UDP load by iperf3 cannot fail this circuit for its rate or its loss; nothing where it can."""
    task, way = measurement.task, observation.scope.direction
    if task.measurement != "throughput" or observation.metric not in ("throughput.udp", "loss") or way is None:
        return
    for other in run:
        facts = other.facts.get("capacity", {}).get(way.value)
        if facts is None or other.task.measurement != "capacity" or other.task.scope.pair != task.scope.pair:
            continue
        found = next((seen for seen in other.observations if _is_sustained(seen, observation)), None)
        if found is None or found.interval is None or found.interval.hi < task.load_bps or not _in_bursts(facts):
            continue
        if not isinstance(found.value, int | float) or found.value < NEAR * task.load_bps:
            continue
        sender = task.scope.pair.split(":")[0 if way == "a-z" else 1]
        said = (
            f"iperf3 sends in bursts, and they may be what is lost: step {other.task.step}, which sends evenly, found "
            f"{rate_text(found.interval.lo)} or more"
        )
        yield Fitness(sender, task.id, False, (said,), found.evidence)


def _is_sustained(seen: Observation, like: Observation) -> bool:
    return seen.metric == "capacity.sustained" and seen.scope.direction is like.scope.direction


def _in_bursts(facts: Mapping[str, Any]) -> bool:
    """Whether evenly sent packets pass just below the rate, or a policer was seen, whose bucket may be small."""
    confirm = facts.get("confirm")
    if (facts.get("limited_by") or {}).get("how") in POLICER:
        return True
    return bool(confirm and confirm["sent"] and confirm["lost"] <= LOSSLESS * confirm["sent"])
