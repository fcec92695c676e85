"""What an rfc6349 task says: its phases by the clock of the on-prem host, and RFC 6349's figures made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfharness.analysis import delay, limits, rfc6349, tcpinfo
from perfharness.analysis.samples import BLOCK_NS, Samples
from perfharness.errors import ToolFailed
from perfharness.evidence import TaskFiles
from perfharness.measurements import (
    load_figures,
    load_fitness,
    load_limits,
    load_result,
    pmtu,
    probe,
    probe_ledger,
    rfc6349_bottleneck,
)
from perfharness.measurements.base import TUNE, Context, failed, window_of
from perfharness.measurements.load_flow import Carried, carried
from perfharness.measurements.rfc6349_bottleneck import Bottleneck
from perfharness.model import Direction, Measurement, Observation, Status, Task, Window

MANY, SINGLE = "tcp-", "single-"
"""How the ids of the jobs of each TCP phase begin."""
FACTS = "facts"
COMMON_PER_FLOW_BPS = (130_000_000, 250_000_000)
"""What paths of this kind are known to allow a flow, where the order does not say."""
BY_ORDER, BY_DEFAULT = "order: per-flow limit", "default, not from the order"


@dataclass(frozen=True, slots=True)
class Phases:
    """What the phases before TCP found."""

    mtu: int
    mtu_confirmed: bool
    baseline_ns: float | None
    idle_ns: float | None
    """Least and median round trip of the idle path."""
    bottleneck: Bottleneck
    about: tuple[str, ...]
    """What could not be measured, in sentences."""

    @property
    def path(self) -> load_limits.Path:
        return load_limits.Path(self.bottleneck.rate_bps, self.mtu, self.baseline_ns, self.idle_ns)


def measured(task: Task, files: TaskFiles, context: Context) -> Measurement:
    """All figures; failed with one sentence when the probes or TCP left nothing that can be used."""
    found = probe.read(task, files, context)
    if isinstance(found, str):
        return failed(task, files, found)
    way = task.scope.direction or Direction.A_Z
    try:
        many = carried(way, phase(task, MANY), files, context)
    except ToolFailed as error:
        return failed(task, files, str(error))
    samples = found.pieces.whole()
    before = _before(task, files, context, found)
    of_many = phase(task, MANY)
    load = load_limits.load(many, of_many, files, context, found, before.path)
    host_facts = _host_facts(files, context)
    load = _with_hosts(replace(load, udp_loss=before.bottleneck.loss), host_facts)
    single = _single(task, files, context, found, before, load, host_facts)
    single_load = single if isinstance(single, str | None) else single[0]
    empty = dict.fromkeys(probe_ledger.WAYS, ())
    counted = probe_ledger.counters(files, context)
    probes = {each: probe_ledger.book(context, task.scope, each, counted, found)[0] for each in probe_ledger.WAYS}
    rate = _rate(many, of_many, files, context, found)
    alone = [] if isinstance(single, str | None) else [_alone(single[1], task, files, context, found)]
    observations = (
        rate,
        *alone,
        replace(_efficiency(load, rate), evidence=load_limits.evidence(many, of_many, files, context)),
        _buffer_delay(found, samples, many.window, before, task, context),
        _ratio(many, load, before, rate),
        *load_result.loaded(found, samples, many.window, task, context),
    )
    return Measurement(
        task,
        Status.COMPLETED,
        window=window_of(files.outcome()),
        observations=observations,
        fitness=load_fitness.fitness([many], empty, probes, of_many, files, context, found),
        series=(load_result.series(many, context), *probe.series(found)),
        facts={
            **load_figures.facts(task, files),
            **probe.authenticity(found),
            "prober": probe.prober(found),
            "limited_by": load_limits.facts(way, load),
            "rfc6349": {way.value: _table(many, load, before, single_load, task, files, context)},
        },
    )


def phase(task: Task, name: str) -> Task:
    """The task as if it had only the iperf3 jobs of this phase."""
    kept = (job for job in task.jobs if not job.method.startswith("iperf3.") or job.id.startswith(name))
    return replace(task, jobs=tuple(kept))


# --- before TCP -----------------------------------------------------------------------------------


def _before(task: Task, files: TaskFiles, context: Context, found: probe.Probe) -> Phases:
    mtu, confirmed = _mtu(task, files, context)
    about = [] if confirmed else ["The path MTU was not found: the ordered one is taken."]
    idle = load_limits.during(
        found, Window(found.window.start_ns, load_limits.began_ns(task, files) or found.window.end_ns)
    )
    if not len(idle):
        about.append("No probe crossed the idle path and came back.")
    beside_bps = found.stream.rate_bps(context.layer, context.tagged)
    bottleneck = rfc6349_bottleneck.measured(task, files, context, beside_bps)
    return Phases(
        mtu=mtu,
        mtu_confirmed=confirmed,
        baseline_ns=float(idle.min()) if len(idle) else None,
        idle_ns=float(np.median(idle)) if len(idle) else None,
        bottleneck=bottleneck,
        about=(*about, *filter(None, [bottleneck.about])),
    )


def _mtu(task: Task, files: TaskFiles, context: Context) -> tuple[int, bool]:
    """(bytes of an IP packet, whether such packets were seen to arrive)."""
    for job in task.jobs:
        result = files.result(job.endpoint, job.id) if job.method == pmtu.SEARCH else None
        if result is not None and result["status"] == "completed":
            return int(result["data"]["pmtu"]), True
    return context.mtu, False


# --- TCP ------------------------------------------------------------------------------------------


def _efficiency(load: limits.Load, rate: Observation) -> Observation:
    about = replace(rate, metric="tcp.efficiency", statistic="ratio", unit="1", layer=None, short="", interval=None)
    told = load.connections
    if told is None or not told.sent_bytes or not int(told.sent.sum()):
        return replace(about, value=None, n=0, reason="The sender's kernel told nothing of its connections.")
    value, interval = rfc6349.efficiency(told.sent_bytes, told.resent_bytes, told.sent, told.resent)
    n, resent = int(told.sent.sum()), int(told.resent.sum())
    return replace(about, value=value, n=n, interval=interval, reason=f"{resent:,} of {n:,} segments were sent again.")


def _buffer_delay(
    found: probe.Probe, samples: Samples, window: Window, before: Phases, task: Task, context: Context
) -> Observation:
    """From the probes beside the load: what every packet of this path waits, not only those of TCP."""
    about = Observation(
        metric="tcp.buffer_delay",
        statistic="ratio",
        scope=task.scope,
        unit="",
        value=None,
        n=0,
        evidence=found.evidence,
        hosts=context.hosts,
    )
    rtt = delay.rtt_ns(samples)
    within = load_result.within(samples, window)
    loaded, block = rtt[within], (samples.t1[within] - window.start_ns) // BLOCK_NS
    if before.baseline_ns is None or not np.isfinite(loaded).any():
        return replace(about, reason="There is no baseline, or no round trip under the load.")
    value, interval = rfc6349.buffer_delay(loaded, np.maximum.accumulate(block), before.baseline_ns)
    mean = (value + 1) * before.baseline_ns
    said = f"The mean round trip under load is {mean / 1e6:.3f} ms, the baseline {before.baseline_ns / 1e6:.3f} ms."
    return replace(about, value=value, n=int(np.isfinite(loaded).sum()), interval=interval, reason=said)


def _ratio(many: Carried, load: limits.Load, before: Phases, rate: Observation) -> Observation:
    about = replace(rate, metric="tcp.transfer_time_ratio", statistic="ratio", unit="", layer=None, interval=None)
    if load.ideal_bps is None or not len(many.rates_bps):
        return replace(about, value=None, reason="There is no ideal rate to compare with.")
    value, interval = rfc6349.transfer_time_ratio(many.rates_bps, load.ideal_bps, before.bottleneck.shares)
    if rate.interval is not None and math.isinf(rate.interval.hi):  # the hosts held it back: nobody knows how far
        interval = replace(interval, lo=0.0)
    return replace(about, value=value, interval=interval, reason=rate.reason)


def _single(
    task: Task,
    files: TaskFiles,
    context: Context,
    found: probe.Probe,
    before: Phases,
    several: limits.Load,
    hosts: Mapping[str, Mapping[str, Any]],
) -> tuple[limits.Load, Carried] | str | None:
    """The single stream, one sentence why there is none, or None where none was asked for."""
    if not any(job.id.startswith(SINGLE) for job in task.jobs):
        return None
    only = phase(task, SINGLE)
    try:
        flow = carried(task.scope.direction or Direction.A_Z, only, files, context)
    except ToolFailed as error:
        return str(error)
    load = load_limits.load(flow, only, files, context, found, before.path)
    return _with_hosts(replace(load, udp_loss=before.bottleneck.loss, several_bps=several.goodput_bps), hosts), flow


def _alone(flow: Carried, task: Task, files: TaskFiles, context: Context, found: probe.Probe) -> Observation:
    """The rate of the single stream, for whoever knows what a flow may have."""
    return replace(_rate(flow, phase(task, SINGLE), files, context, found), statistic="single")


def _rate(flow: Carried, task: Task, files: TaskFiles, context: Context, found: probe.Probe) -> Observation:
    load = load_result.Load(task, files, context, found, (flow,))
    return load_result.rate(flow, load_result.beside(load, flow, ()), context)


# --- facts ----------------------------------------------------------------------------------------


def _host_facts(files: TaskFiles, context: Context) -> dict[str, Mapping[str, Any]]:
    found = {end.name: (files.result(end.name, FACTS) or {}).get("data") or {} for end in context.agents}
    return {name: data for name, data in found.items() if data}


def _with_hosts(load: limits.Load, hosts: Mapping[str, Mapping[str, Any]]) -> limits.Load:
    """With what the hosts say of themselves: the speed of their interfaces, the sender's usual algorithm."""
    sender, receiver = (
        replace(host, speed_bps=(hosts.get(host.name, {}).get("nic") or {}).get("speed_bps") or host.speed_bps)
        for host in (load.sender, load.receiver)
    )
    usual = (hosts.get(load.sender.name, {}).get("congestion") or {}).get("current") or ""
    return replace(load, congestion=load.congestion or str(usual), sender=sender, receiver=receiver)


def _table(
    many: Carried,
    load: limits.Load,
    before: Phases,
    single: limits.Load | str | None,
    task: Task,
    files: TaskFiles,
    context: Context,
) -> dict[str, Any]:
    """For the report, plain JSON types; None = not known."""
    of_many = phase(task, MANY)
    told = load.connections
    return {
        "mtu": before.mtu,
        "mtu_confirmed": before.mtu_confirmed,
        "baseline_ns": before.baseline_ns,
        "loaded_ns": load.loaded_ns,
        "tcp_rtt_ns": told.rtt_ns if told else None,
        "bandwidth_bps": before.bottleneck.rate_bps,
        "bandwidth_measured": before.bottleneck.rate_bps != context.committed_bps,
        "layer": context.layer.value,
        "bdp_bytes": load.bdp_bytes,
        "window": _window(of_many, files, context, load),
        "streams": load.streams,
        "processes": len(many.sent),
        "congestion": load.congestion,
        "mss": told.mss if told else None,
        "pacing": _pacing(many, told),
        "ideal_bps": load.ideal_bps,
        "actual_bps": load.goodput_bps,
        "fairness": load_limits.fair(many, of_many, files, context),
        "single": _single_facts(single, task, context),
        "tuned": _tuned(files, context),
        "about": list(before.about),
    }


def _window(task: Task, files: TaskFiles, context: Context, load: limits.Load) -> dict[str, Any]:
    """What each stream was to have and what it was given; ``clamped``: the reason why it got less."""
    client = next(job for job in task.jobs if job.method == "iperf3.drive")
    data = (files.result(client.endpoint, client.id) or {}).get("data") or {}
    worked_out = data.get("window") or {}
    clamps = [clamp for clamp in data.get("clamps") or () if clamp["what"] == "window_bytes"]
    got = None if load.window_bytes is None else load.window_bytes // load.streams
    return {
        "by": "bdp" if "bdp" in client.args else "auto" if client.args["window_bytes"] is None else "size",
        "asked_bytes": worked_out.get("asked_bytes") or client.args["window_bytes"],
        "got_bytes": got,
        "rtt_ns": worked_out.get("rtt_ns"),
        "rtt_by": worked_out.get("rtt_by", ""),
        "clamped": clamps[0]["why"] if clamps else "",
    }


def _pacing(many: Carried, told: tcpinfo.Connections | None) -> dict[str, Any] | None:
    """What was asked of the kernel, and what its sockets say they are held to."""
    asked = many.args.get("pacing_bps")
    if asked is None:
        return None
    return {"asked_bps": asked * len(many.sent), "kept_bps": told.pacing_bps if told else None}


def _single_facts(single: limits.Load | str | None, task: Task, context: Context) -> dict[str, Any] | None:
    """The single stream beside the limits of a flow that are known; it informs, and no verdict hangs on it (EC-038)."""
    if single is None:
        return None
    ordered = context.circuit.per_flow_limit_bps
    known: dict[str, Any] = {
        "per_flow_bps": list(COMMON_PER_FLOW_BPS) if ordered is None else [ordered],
        "origin": BY_DEFAULT if ordered is None else BY_ORDER,
    }
    if isinstance(single, str):
        return {**known, "actual_bps": None, "reason": single, "limited_by": []}
    way = task.scope.direction or Direction.A_Z
    return {
        **known,
        "actual_bps": single.goodput_bps,
        "window_bytes": single.window_bytes,
        "reason": "",
        "limited_by": load_limits.facts(way, single),
    }


def _tuned(files: TaskFiles, context: Context) -> dict[str, Sequence[Mapping[str, Any]]]:
    """By host, the limits that were raised meanwhile by consent."""
    found = {end.name: (files.result(end.name, TUNE) or {}).get("data") or {} for end in context.agents}
    return {host: data["settings"] for host, data in found.items() if "settings" in data}
