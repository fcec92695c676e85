"""Probes that a packet filter swallows say nothing of the circuit.

It takes two tests that know nothing of each other: no probe of a stream came back, and wherever the run tried ports
the probes' own was closed while others of the same end answered. A circuit that is down closes all of them, and one
that goes down later had the probes' port open before: neither is mistaken for a filter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from perfharness.judge.material import NOT_NARROWED, ids, left_open
from perfharness.model import Diagnosis, Direction, Finding, Fitness, Measurement, Observation, Segment

SENDING = ("stamp.send", "flows.send")
ANSWERED = ("open", "refused")
LOADED = ("delay",)
"""How the metrics begin that the probes beside a load tell; what they lack says nothing of the load."""

FIREWALL = "Compare with the firewall rules that `plan --firewall` prints."


def swallowed(measurement: Measurement, run: Sequence[Measurement]) -> tuple[Fitness, ...]:
    """That the end with the reflector could not be probed, and why; empty where that is not shown."""
    port = next((job.args["port"] for job in measurement.task.jobs if job.method in SENDING), None)
    if port is None or measurement.facts.get("prober", {}).get("replied") != 0:
        return ()
    tried = list(_tried(measurement, run))
    if not tried or not all(_closed(states, f"udp/{port}") for states in tried):
        return ()
    host = measurement.task.scope.pair.split(":")[1]
    others = sum(state in ANSWERED for state in tried[-1].values())
    said = f"a packet filter swallows the probes: none came back from UDP {port}, which was {tried[-1][f'udp/{port}']} "
    said += f"to another test too, while {others} other port{' ' if others == 1 else 's '}answered"
    metrics = () if measurement.task.scope.load == "idle" else LOADED
    return (Fitness(host, measurement.task.id, False, (said,), metrics=metrics),)


def nothing_came(observation: Observation) -> bool:
    """It says that all probes were lost. One direction may have been measured although no reply came back."""
    if observation.unit == "ns":
        return observation.value == math.inf
    return observation.value == (0.0 if observation.metric == "availability" else 1.0)


def _tried(measurement: Measurement, run: Sequence[Measurement]) -> Iterator[Mapping[str, str]]:
    """What each try of the far end's ports found, e.g. ``{"tcp/5201": "open", "udp/862": "silent"}``."""
    for other in run:
        told = other.facts.get(Direction.A_Z.value, {})
        ours, its = measurement.task.scope, other.task.scope
        if other.task.measurement == "path" and (its.pair, its.family) == (ours.pair, ours.family) and told:
            yield {f"{kind}/{port}": state for kind, states in told["ports"].items() for port, state in states.items()}


def _closed(states: Mapping[str, str], port: str) -> bool:
    """A listener of ours stood behind each port: what did not answer as such was kept from it."""
    return states.get(port, "open") != "open" and any(state in ANSWERED for state in states.values())


def probes_filtered(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """No probe came back, and a packet filter is why."""
    because: dict[str, list[str]] = {}
    spoiled: list[Finding] = []
    for measurement in measurements:
        for told in swallowed(measurement, measurements):
            because.setdefault(f"{told.host}: {told.reasons[0]}.", []).append(told.measurement)
            spoiled += left_open(told, findings)
    if because:
        yield Diagnosis(
            cause="probes-filtered",
            certainty="likely",
            segment=Segment.BETWEEN,
            owner="own",
            because=tuple(f"{', '.join(tasks)}: {said}" for said, tasks in because.items()),
            against=(NOT_NARROWED,),
            checklist=("EC-025",),
            next=FIREWALL,
            findings=ids(spoiled),
        )
