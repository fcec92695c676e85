"""What watches a circuit in service while a task loads it: probes of its own, and the counters of others' traffic.

Added to any task with jobs that carry load (``Job.load``), whatever the measurement. The guard's probes are a stream of
their own: it begins before the servers do and outlasts the load, which the stream of a measurement must not, since the
time without load would be in its figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from perfagent.stamp.packet import OPEN
from perfharness.analysis.capacity import overhead_bytes
from perfharness.errors import BadInput
from perfharness.measurements import probe
from perfharness.measurements.base import COUNTERS, COUNTERS_ROW_BYTES, FINE_MS, SETUP_S, WAN_COUNTERS, Context, Ends
from perfharness.model import Guard, Job, Layer, PortUse, Role, Task
from perfharness.order.circuit import Circuit

GUARD, REFLECTOR = "guard", "guard-reflector"
INTERVAL_NS = 5_000_000
BASELINE_NS = 1_000_000_000
WINDOW_NS = 500_000_000
"""Long enough for a hundred probes, short enough to be over when half of the second is left that a load may do harm."""
OUTLAST_S = 30.0
"""Than the last job that carries load: it must never be the guard that ends first."""


def guarded(task: Task, context: Ends) -> Task:
    """The task with what watches it, where it loads a circuit in service; one of several pairs is watched once, between
    this pair's hosts. Raises BadInput without a port for that."""
    if not context.circuit.in_service or not isinstance(context, Context) or not any(job.load for job in task.jobs):
        return task
    deadline_s = max(job.deadline_s for job in task.jobs) + OUTLAST_S
    stream, port, load_bps = _stream(deadline_s), _port(task, context), task.load_bps
    own_bps = rate_bps(context)
    if paced := task.scope.load.startswith("udp"):
        load_bps += own_bps
    use = PortUse(context.a.name, context.z.name, "udp", port, "probes that guard the circuit's users")
    return replace(
        task,
        # The guard comes last: what is found as a task's first stream is that of its measurement.
        jobs=(*_told(task, context), *_watch(task, context, stream, port, deadline_s)),
        duration_s=task.duration_s + BASELINE_NS / 1e9,
        load_bps=load_bps,
        load_bytes=task.load_bytes + round(own_bps / 8 * task.duration_s) * 2,
        ports=(*task.ports, use),
        guard=_guard(context, load_bps if paced else None),
    )


def rate_bps(context: Context) -> int:
    """Of the guard's probes, each way at the ordered layer: a load at the ordered rate leaves it out."""
    return _stream(1.0).rate_bps(context.layer, context.tagged)


def _stream(seconds: float) -> probe.Stream:
    return probe.Stream(INTERVAL_NS, math.ceil(seconds * 1e9 / INTERVAL_NS), (OPEN.base_bytes,))


def _guard(context: Context, offered_bps: int | None) -> Guard:
    """The limits of the guard's probes, and the share of others' traffic that the load may displace. Rates are at the
    ordered layer, which counts ``frame_bytes`` of a packet beyond what an interface does; an unpaced load has no
    ``offered_bps``, and without a ``wan`` (the CE) whose counters can be read others' traffic is not watched."""
    limits, ce = context.circuit.guard, context.circuit.ce_host
    return Guard(
        loss=limits.loss,
        delay_ns=limits.delay_ns,
        background=limits.background,
        ordered_bps=context.committed_bps,
        offered_bps=offered_bps,
        frame_bytes=overhead_bytes(context.layer, tagged=context.tagged) - overhead_bytes(Layer.L2, tagged=False),
        wan=ce.name if ce is not None else "",
    )


def _port(task: Task, context: Context) -> int:
    """The last one that the cloud end allows and the task leaves free."""
    used = {use.port for use in task.ports if use.target == context.z.name}
    free = [port for port in context.z.ports if port not in used]
    if not free:
        said = f"{context.z.name} allows no port for the probes that guard the circuit's users under {task.id}."
        where = ("endpoints", context.z.name, "ports")
        raise BadInput([context.circuit.source.problem(where, said, "List one more.", "EC-002")])
    return free[-1]


def _told(task: Task, context: Context) -> Iterator[Job]:
    """Where the CE's counters can be read, all traffic and our own are told ten times a second."""
    ce = context.circuit.ce_host
    telling = {(a, COUNTERS) for a, _ in task.scope.pairs} | {(ce.name, WAN_COUNTERS)} if ce is not None else ()
    for job in task.jobs:
        if (job.endpoint, job.id) in telling:
            rows = math.ceil(job.deadline_s * 1000 / FINE_MS)
            args = {**job.args, "period_ms": FINE_MS, "tell": True}
            job = replace(job, args=args, writes_bytes=rows * COUNTERS_ROW_BYTES)
        yield job


def _watch(task: Task, context: Context, stream: probe.Stream, port: int, deadline_s: float) -> tuple[Job, Job]:
    limits = context.circuit.guard
    guard = {
        "loss": limits.loss,
        "delay_ns": limits.delay_ns,
        "baseline_ns": BASELINE_NS,
        "window_ns": WINDOW_NS,
    }
    sender = probe.sender_job(context, f"{task.id} guard", stream, deadline_s, context.a, context.z, port, guard=guard)
    ends = {"address": str(context.z.address), "peer": str(context.a.address), "port": port}
    reflector = Job(
        id=REFLECTOR,
        endpoint=context.z.name,
        method="stamp.reflect",
        args={**ends, "ssid": sender.args["ssid"], "record": False},
        role=Role.WATCH,
        deadline_s=deadline_s + SETUP_S,
    )
    return reflector, replace(sender, id=GUARD, role=Role.WATCH)


# --- in words ---------------------------------------------------------------------------------------


def watched(tasks: Sequence[Task]) -> Iterator[str]:
    """What ends a load of these tasks at once; a clause each."""
    for guard in dict.fromkeys(replace(task.guard, offered_bps=None) for task in tasks if task.guard):
        yield (
            f"within {WINDOW_NS / 1e9:g} s more than {_percent(guard.loss)} of the guard's probes are lost, one each "
            f"{INTERVAL_NS / 1e6:g} ms, or their median takes {guard.delay_ns / 1e6:g} ms longer"
        )
        if guard.wan:
            yield (
                f"others' traffic through {guard.wan} falls by more than {_percent(guard.background)}, or with a load "
                "that is paced is more than was ordered (seen by the coordinator, as long as it is there)"
            )


def unwatched(tasks: Sequence[Task], circuit: Circuit) -> Iterator[str]:
    """What nobody will see; a sentence each."""
    loads = [task for task in tasks if task.guard]
    if loads and circuit.ce_host is None:
        yield "Others' traffic is not watched: `ce:` does not say how the counters of the customer's router are read."
    if circuit.ce_host is not None and any(task.guard and task.guard.offered_bps is None for task in loads):
        yield "Whether others' traffic fits beside a load by TCP nobody can tell before: it takes what it can get."


def _percent(share: float) -> str:
    return f"{share * 100:g} %"
