"""What limited a TCP load, from the files that its jobs left: connections, hosts, round trips."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from perfharness.analysis import limits, tcpinfo
from perfharness.analysis.rfc6349 import bdp_bytes, fairness, ideal_goodput_bps, live_mss
from perfharness.analysis.statistics import Floats
from perfharness.evidence import TaskFiles
from perfharness.measurements import probe
from perfharness.measurements.base import COUNTERS, Context
from perfharness.measurements.load_flow import TCPINFO, Carried, at_layer
from perfharness.model import Direction, Job, Layer, Role, Task, Window
from perfharness.order.circuit import Endpoint

LEAST_IDLE = 4
"""Probes of the idle path that must have come back for its median to be known."""
THREADED = (3, 16)
"""From this version on iperf3 has a thread for each stream, so that it may take more than one CPU."""
_DROPS = (("qdisc", "drops"), ("nic", "tx_dropped"))
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Path:
    """What is known of the path without the load; None = not known."""

    rate_bps: float
    """That fills it, at the ordered layer."""
    mtu: int
    rtt_ns: float | None = None
    """At its least, idle."""
    idle_ns: float | None = None
    """Median, idle."""


def path(task: Task, files: TaskFiles, context: Context, found: probe.Probe, rate_bps: float) -> Path:
    """As the probes saw it that left before the load began."""
    began = began_ns(task, files)
    idle = np.empty(0) if began is None else during(found, Window(found.window.start_ns, began))
    if len(idle) < LEAST_IDLE:
        return Path(rate_bps, context.mtu)
    return Path(rate_bps, context.mtu, float(idle.min()), float(np.median(idle)))


def began_ns(task: Task, files: TaskFiles) -> int | None:
    """When the first load began, by the on-prem host's clock: until then the path was idle."""
    driven = [job for job in task.jobs if job.load and job.role is Role.DRIVE]
    told = [result for job in driven if (result := files.result(job.endpoint, job.id)) is not None]
    own = [(result.get("data") or {}).get("started_ns", result["started_ns"]) for result in told]
    return min(map(int, own), default=None)


def jobs_of(flow: Carried, task: Task, host: str) -> list[Job]:
    """The iperf3 jobs of this direction on this host."""
    return [
        job
        for job in task.jobs
        if job.method.startswith("iperf3.") and job.endpoint == host and f"-{flow.way.value}-" in job.id
    ]


def connections(
    flow: Carried, task: Task, files: TaskFiles, context: Context, *, receiving: bool = False
) -> tcpinfo.Connections | None:
    """Those of the load at its sending end, or at the other one; of the time after the warm-up."""
    host = context.ends(flow.way)[receiving].name
    rows = [files.rows(host, job.id, TCPINFO) for job in jobs_of(flow, task, host)]
    return tcpinfo.connections(rows, float(flow.args["omit_s"]), float(flow.args["duration_s"]))


def evidence(flow: Carried, task: Task, files: TaskFiles, context: Context) -> tuple[str, ...]:
    """The files of :func:`connections`."""
    host = context.ends(flow.way)[0].name
    return tuple(files.path(host, job.id, TCPINFO) for job in jobs_of(flow, task, host))


def streams(flow: Carried) -> int:
    return int(flow.args["streams"]) * len(flow.sent)


def load(flow: Carried, task: Task, files: TaskFiles, context: Context, found: probe.Probe, path: Path) -> limits.Load:
    """All that tells why this direction carried no more."""
    sender, receiver = context.ends(flow.way)
    told = connections(flow, task, files, context)
    mss = told.mss if told is not None and told.mss else live_mss(path.mtu)
    ideal = ideal_goodput_bps(
        path.rate_bps - found.stream.rate_bps(context.layer, context.tagged),
        context.layer,
        min(path.mtu, mss + path.mtu - live_mss(path.mtu)),
        mss,
        tagged=context.tagged,
    )
    loaded = during(found, flow.window)
    return limits.Load(
        streams=streams(flow),
        goodput_bps=flow.carried_bps,
        wire_bps=at_layer(flow.carried_bps, flow, context, Layer.L1),
        sender=_host(sender, flow, task, files, context, found),
        receiver=_host(receiver, flow, task, files, context, found),
        ideal_bps=ideal,
        connections=told,
        bdp_bytes=None if path.rtt_ns is None else bdp_bytes(path.rate_bps, path.rtt_ns),
        window_bytes=window_of(flow, task, files, context),
        idle_ns=path.idle_ns,
        loaded_ns=float(np.median(loaded)) if len(loaded) else None,
        congestion=str(flow.args.get("congestion") or ""),
    )


def of_sender(flow: Carried, task: Task, files: TaskFiles, context: Context, found: probe.Probe) -> limits.Limit | None:
    """Why the sender of a paced load offered less than it was asked for; None where nothing shows it."""
    sender = _host(context.ends(flow.way)[0], flow, task, files, context, found)
    return limits.of_sender(sender, at_layer(flow.offered_bps, flow, context, Layer.L1))


def facts(way: Direction, found: limits.Load) -> list[dict[str, Any]]:
    """``{"limit", "way", "reasons"}`` of each."""
    return [{**asdict(each), "way": way.value, "reasons": list(each.reasons)} for each in limits.limits(found)]


def during(found: probe.Probe, window: Window) -> Floats:
    """The round trips of the probes that left in this time and came back."""
    since, rtt = found.summary.drawn
    start = (window.start_ns - found.window.start_ns) / 1e9
    within = (since >= start) & (since <= start + (window.end_ns - window.start_ns) / 1e9)
    return rtt[within & np.isfinite(rtt)]


def window_of(flow: Carried, task: Task, files: TaskFiles, context: Context) -> int | None:
    """Bytes that were set for all streams together; None where the hosts chose."""
    for job in jobs_of(flow, task, context.a.name):
        argv = ((files.result(job.endpoint, job.id) or {}).get("data") or {}).get("argv") or ()
        if job.role is Role.DRIVE and "-w" in argv:
            return int(argv[argv.index("-w") + 1]) * streams(flow)
    return None


def fair(flow: Carried, task: Task, files: TaskFiles, context: Context) -> float | None:
    """Jain's index of :func:`shares`."""
    told = shares(flow, task, files, context)
    return fairness(told) if told else None


def shares(flow: Carried, task: Task, files: TaskFiles, context: Context) -> tuple[int, ...]:
    """Bytes that each stream received or, where only the sender tells, got acknowledged; empty where nobody does."""
    for receiving, name in ((True, "received_bytes"), (False, "acked_bytes")):
        told = connections(flow, task, files, context, receiving=receiving)
        if told is not None and len(getattr(told, name)) == streams(flow):
            return tuple(getattr(told, name))
    return ()


# --- the hosts ------------------------------------------------------------------------------------


def _host(
    end: Endpoint, flow: Carried, task: Task, files: TaskFiles, context: Context, found: probe.Probe
) -> limits.Host:
    rows = _rows(end, flow, files, context, found)
    told = limits.Host(
        name=end.name, cpu=cpu(end.name, flow), waited=flow.waited.get(end.name), ceiling_bps=end.ceiling_bps
    )
    if len(rows) < 2:
        return told
    busiest, softirq = _busiest(rows[0], rows[-1])
    queued = [row["qdisc"]["backlog_bytes"] for row in rows if "backlog_bytes" in row.get("qdisc", {})]
    drops = [rise for path in _DROPS if (rise := _rise(rows, path)) is not None]
    return replace(
        told,
        busiest=busiest,
        softirq=softirq,
        stolen=_share(rows[0]["cpu"]["total"], rows[-1]["cpu"]["total"], "steal"),
        backlog_drops=_rise(rows, ("softnet", "dropped")),
        nic_drops=sum(drops) if drops else None,
        queued_bytes=float(np.median(queued)) if queued else None,
        speed_bps=next((int(row["speed_bps"]) for row in rows if row.get("speed_bps")), None),
    )


def _rows(end: Endpoint, flow: Carried, files: TaskFiles, context: Context, found: probe.Probe) -> list[Row]:
    """Its counters while the load ran. The load's time is the on-prem host's; by how much the other clock differs the
    probes tell to within their delay."""
    shift = 0
    if end is context.z:
        passage = found.summary.passage_ns[Direction.A_Z]
        shift = passage[0] if passage is not None else 0
    start, last = flow.window.start_ns + shift, flow.window.end_ns + shift
    rows = files.each_row(end.name, COUNTERS, "counters.jsonl")
    return [row for row in rows if "cpu" in row and start <= int(row.get("t_ns", 0)) <= last]


def cpu(host: str, flow: Carried) -> float | None:
    """Share of a CPU that one thread of iperf3 took, of its busiest process; None where no process tells."""
    found = []
    for report in flow.reports.get(host, ()):
        if report.cpu_percent is not None:
            version = tuple(int(part) for part in re.findall(r"\d+", report.version)[:2])
            found.append(report.cpu_percent / 100 / (max(1, report.streams) if version >= THREADED else 1))
    return max(found, default=None)


def _busiest(first: Row, last: Row) -> tuple[float | None, float | None]:
    """(share of its time in which the busiest CPU worked, part of that for softirqs)."""
    each = list(zip(first["cpu"].get("per_cpu", ()), last["cpu"].get("per_cpu", ()), strict=False))
    idle = [sum(_share(*pair, name) or 0.0 for name in ("idle", "iowait")) for pair in each]
    if not idle:
        return None, None
    busiest = int(np.argmin(idle))
    busy = 1 - idle[busiest]
    softirq = _share(*each[busiest], "softirq")
    return busy, None if softirq is None or busy <= 0 else min(1.0, softirq / busy)


def _share(first: Mapping[str, int], last: Mapping[str, int], name: str) -> float | None:
    total = sum(last[key] - first[key] for key in first)
    return (last[name] - first[name]) / total if total > 0 and name in first else None


def _rise(rows: Sequence[Row], path: tuple[str, str]) -> int | None:
    told = [row[path[0]][path[1]] for row in (rows[0], rows[-1]) if path[1] in row.get(path[0], {})]
    return max(0, int(told[1] - told[0])) if len(told) == 2 else None
