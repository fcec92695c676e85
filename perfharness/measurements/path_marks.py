"""A few datagrams of each class of service both ways: does each come in the class in which it was sent (EC-045)?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from perfharness.analysis.capacity import counted_bytes
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import SETUP_S, Context, failed, not_completed, window_of
from perfharness.model import Direction, Job, Measurement, Observation, PortUse, Role, Scope, Status, Task
from perfharness.order.dscp import class_name

LISTEN, MARK = "listen", "mark"
WAYS = (Direction.A_Z, Direction.Z_A)
COUNT, INTERVAL_MS = 20, 20
"""Datagrams of each class, and the time between two."""
_IP_BYTES = 64
"""Of one of them, at most."""


def task(dscps: Sequence[int], step: str, context: Context) -> Task:
    seconds = COUNT * INTERVAL_MS / 1000
    packet = counted_bytes(_IP_BYTES, context.layer, tagged=context.tagged)
    return Task(
        id=f"{step}-classes",
        step=step,
        measurement="path",
        scope=context.scope(Direction.BOTH),
        jobs=tuple(job for way in WAYS for job in _jobs(dscps, context, way, seconds + SETUP_S)),
        duration_s=seconds + 1.0,
        load_bps=2 * len(dscps) * packet * 8 * 1000 // INTERVAL_MS,
        load_bytes=4 * len(dscps) * packet * COUNT,
        ports=tuple(
            PortUse(source.name, target.name, "udp", _port(context, way), "classes of service")
            for way in WAYS
            for source, target in (context.ends(way),)
        ),
        yields={"dscp": WAYS},
        services=tuple(map(class_name, dscps)),
    )


def _port(context: Context, way: Direction) -> int:
    return next(iter(context.ends(way)[1].ports))


def _jobs(dscps: Sequence[int], context: Context, way: Direction, deadline: float) -> tuple[Job, Job]:
    source, target = context.ends(way)
    port, ends = _port(context, way), {"peer": str(target.address), "source": str(source.address)}
    listen = {"address": str(target.address), "peer": str(source.address), "tcp": [], "udp": [port]}
    mark = {**ends, "port": port, "dscps": list(dscps), "count": COUNT, "interval_ms": INTERVAL_MS}
    return (
        Job(f"{LISTEN}-{way}", target.name, "path.listen", listen, Role.SERVE, deadline + SETUP_S),
        Job(f"{MARK}-{way}", source.name, "path.mark", mark, Role.DRIVE, deadline),
    )


def analyse(task: Task, files: TaskFiles, context: Context) -> Measurement:
    broken = not_completed(task, files)
    if broken:
        return broken
    observations: list[Observation] = []
    facts: dict[str, Any] = {}
    for way in WAYS:
        source, target = context.ends(way)
        sent, came = files.result(source.name, f"{MARK}-{way}"), files.result(target.name, f"{LISTEN}-{way}")
        if sent is None or came is None:
            return failed(task, files, f"{(source if sent is None else target).name} left no result of its marks.")
        counts, marks = sent["data"]["sent"], came["data"]["marks"]
        facts[way.value] = {"sent": counts, "came": marks}
        evidence = files.path(target.name, f"{LISTEN}-{way}")
        for dscp in map(str, next(job.args["dscps"] for job in task.jobs if job.id == f"{MARK}-{way}")):
            scope = replace(task.scope, direction=way, service=class_name(int(dscp)))
            observations.append(_kept(scope, int(dscp), counts.get(dscp, 0), marks.get(dscp, {}), evidence))
    return Measurement(
        task,
        Status.COMPLETED,
        window=window_of(files.outcome()),
        observations=tuple(observations),
        facts={"classes": facts},
    )


def _kept(scope: Scope, dscp: int, sent: int, came: Mapping[str, int], evidence: str) -> Observation:
    n, wrong = sum(came.values()), {int(mark): count for mark, count in came.items() if int(mark) != dscp}
    kept: bool | None = not wrong
    name = class_name(dscp)
    if not n:
        kept, reason = None, f"None of {sent} datagrams sent with {name} arrived."
    elif wrong:
        others = ", ".join(map(class_name, wrong))
        reason = f"{sum(wrong.values())} of {n} packets {scope.direction} came with {others} instead of {name}."
    else:
        reason = f"All {n} packets came with {name} as sent."
    return Observation("dscp", "preserved", scope, "", kept, n, evidence=(evidence,), reason=reason)
