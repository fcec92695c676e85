"""What came of a load: the rate that arrived, what was lost of it, and whether the hosts could have done more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfharness.analysis import delay, limits
from perfharness.analysis.distribution import Held
from perfharness.analysis.ledger import host_loss, loss_interval, remaining, who
from perfharness.analysis.samples import BLOCK_NS, Samples
from perfharness.analysis.statistics import FEW_RATES, Bools, effective_n, mean_rate
from perfharness.analysis.summary import PDV_WINDOW_BLOCKS
from perfharness.errors import ToolFailed
from perfharness.evidence import TaskFiles
from perfharness.measurements import (
    guarding,
    latency_oneway,
    load_figures,
    load_fitness,
    load_ledger,
    load_limits,
    load_others,
    load_why,
    probe,
    probe_ledger,
)
from perfharness.measurements.base import Context, failed, window_of
from perfharness.measurements.latency_classes import OfClass
from perfharness.measurements.load_flow import SHORT, Carried, at_layer, carried, ip_bytes, loss_blocks
from perfharness.model import (
    Direction,
    Interval,
    LedgerRow,
    Measurement,
    Observation,
    Scope,
    Series,
    Status,
    Task,
    Window,
)

LOADED_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
VARIED_QUANTILES = {"p50": 0.5, "p95": 0.95}
WAYS = (Direction.A_Z, Direction.Z_A)
EDGE_S = 0.01
"""The two ends of iperf3 begin to count within this of one another, and the last packets are still on their way."""
NOTHING_ELSE: Mapping[Direction, float] = {}


@dataclass(frozen=True, slots=True)
class Load:
    """What the two ends of a pair left of a load, before anything is concluded from it."""

    task: Task
    files: TaskFiles
    context: Context
    found: probe.Probe
    flows: tuple[Carried, ...]

    @property
    def probes_bps(self) -> int:
        """What the probes took beside it, those of a guard included, at the ordered layer."""
        own_bps = self.found.stream.rate_bps(self.context.layer, self.context.tagged)
        return own_bps + (guarding.rate_bps(self.context) if self.task.guard else 0)


@dataclass(frozen=True, slots=True)
class Beside:
    """What a figure of one direction rests on besides its load; of several pairs together, of all of them."""

    scope: Scope
    rows: Sequence[LedgerRow]
    probes_bps: int
    longest_rtt_s: float
    hosts: tuple[str, ...]
    short: str
    """What senders did of their parts, where that is less than a trifle short of it."""
    short_by: tuple[limits.Limit, ...]
    """Why they did, as far as that shows."""
    held_back: str
    """What in the hosts may have kept TCP from carrying more."""


def measured(task: Task, files: TaskFiles, context: Context) -> Measurement:
    """All figures of a load task; failed with one sentence when an end left nothing that can be used."""
    load = read(task, files, context)
    return failed(task, files, load) if isinstance(load, str) else concluded(load)


def read(task: Task, files: TaskFiles, context: Context) -> Load | str:
    """What both ends left, or one sentence why that cannot be used. Raises EvidenceBroken."""
    found = probe.read(task, files, context)
    if isinstance(found, str):
        return found
    ways = WAYS if task.scope.direction is Direction.BOTH else (task.scope.direction,)
    try:
        flows = tuple(carried(way, task, files, context) for way in ways if way is not None)
    except ToolFailed as error:
        return str(error)
    return Load(task, files, context, found, flows)


def concluded(load: Load, others_bps: Mapping[Direction, float] = NOTHING_ELSE) -> Measurement:
    """All figures of one pair's load. ``others_bps``: what each direction's sender had to send at L2 for others."""
    task, files, context, found = load.task, load.files, load.context, load.found
    counted = probe_ledger.counters(files, context)
    booked = {
        flow.way: load_ledger.book(flow, task, files, context, found, counted, others_bps.get(flow.way, 0.0))
        for flow in load.flows
    }
    ledgers = {way: rows for way, (rows, _) in booked.items()}
    round_trip = replace(task.scope, direction=Direction.ROUND_TRIP)
    probes = {way: probe_ledger.book(context, task.scope, way, counted, found)[0] for way in probe_ledger.WAYS}
    hosts = {way: host_loss(rows) for way, rows in probes.items()}
    excused = probe.excused(found, hosts, counted.late)
    rtt = found.summary.rtt
    observations = [*probe.quantiles("delay.loaded", rtt, LOADED_QUANTILES, round_trip, context, found, excused)]
    observations += _varied_each_way(task, context, found)
    where = {way: who(rows) for way, rows in probes.items()}
    one_way = _one_way(load, OfClass(round_trip, 0, found, hosts, where, counted.late))
    observations += one_way.observations
    about = {flow.way: beside(load, flow, ledgers[flow.way]) for flow in load.flows}
    for flow in load.flows:
        observations.append(rate(flow, about[flow.way], context))
        if flow.udp:
            observations.append(loss(flow, about[flow.way], context))
    return Measurement(
        task,
        Status.COMPLETED,
        window=window_of(files.outcome()),
        observations=tuple(observations),
        ledger=tuple(row for rows in ledgers.values() for row in rows),
        fitness=load_fitness.fitness(load.flows, ledgers, probes, task, files, context, found),
        series=(
            *(one for flow in load.flows for one in all_series(flow, context)),
            *probe.series(found),
            *one_way.series,
        ),
        facts={
            **load_figures.facts(task, files),
            "udp": {flow.way.value: _sent(flow, load) for flow in load.flows if flow.udp},
            **probe.authenticity(found),
            "prober": probe.prober(found),
            **({"oneway": one_way.facts} if one_way.facts else {}),
            **_why(load, about),
            "others": load_others.others_bps(files, context),
            "loss_events": [event for _, told in booked.values() for event in told],
        },
    )


def _sent(flow: Carried, load: Load) -> dict[str, Any]:
    """For the report, of a paced load."""
    tail = None if flow.loss_problem else load_ledger.tail(flow, load_ledger.longest_s(load.found))
    return load_figures.udp(flow, tail)


def _why(load: Load, about: Mapping[Direction, Beside]) -> dict[str, Any]:
    """Facts: what limited each way and, of TCP, how evenly its streams fared."""
    limited: list[dict[str, Any]] = []
    for flow in load.flows:
        if flow.udp:
            limited += why_paced(flow, about[flow.way])
        else:
            limited += load_why.tcp(flow, load.task, load.files, load.context, load.found)
    return {"limited_by": limited, "fairness": load_why.fairness([load])}


def why_paced(flow: Carried, about: Beside) -> list[dict[str, Any]]:
    missing, total, _ = (0, 0, 0.0) if flow.loss_problem else _lost(flow, about)
    return load_why.paced(flow, about.short, about.short_by, about.rows, missing, total)


def beside(load: Load, flow: Carried, rows: Sequence[LedgerRow]) -> Beside:
    lacking = short(flow, load.context)
    why = load_limits.of_sender(flow, load.task, load.files, load.context, load.found) if lacking else None
    return Beside(
        scope=replace(load.task.scope, direction=flow.way),
        rows=rows,
        probes_bps=load.probes_bps,
        longest_rtt_s=load_ledger.longest_s(load.found),
        hosts=load.context.hosts,
        short=lacking,
        short_by=(why,) if why is not None else (),
        held_back=""
        if flow.udp
        else load_fitness.held_back(load_why.known(flow, load.task, load.files, load.context, load.found)),
    )


# --- figures ----------------------------------------------------------------------------------------


def rate(flow: Carried, about: Beside, context: Context) -> Observation:
    """The rate that arrived, at the ordered layer, the probes beside it included; and for UDP at most what the
    receiving host lost of it on top, since that had crossed the circuit, and what the sender did not offer. How much
    more TCP had carried if the hosts had not held it back, nobody knows."""
    value, interval = _carried_all(flow, about) or mean_rate(flow.rates_bps)
    said, lacking = "There are too few intervals for a statement.", ""
    beside = about.probes_bps
    scale = at_layer(1.0, flow, context)
    if interval is not None:
        unoffered = flow.unoffered_bps > interval.hi - value
        drifting = (interval.n_eff or 0.0) < min(FEW_RATES, len(flow.rates_bps))
        told = (_offered_text(flow) if unoffered else "", _drifting(len(flow.rates_bps)) if drifting else "")
        said, lacking = " ".join(filter(None, told)), about.short if unoffered else ""
        lost_bps = host_loss(about.rows)[1] * flow.args["length"] * 8 / flow.received[0].seconds if flow.udp else 0.0
        hi = (interval.hi + lost_bps + flow.unoffered_bps) * scale + beside
        n_eff = None if unoffered or drifting else interval.n_eff  # nobody can say how much longer would decide
        interval = replace(interval, lo=max(interval.lo, 0.0) * scale + beside, hi=hi, n_eff=n_eff)
        if about.held_back:
            interval = replace(interval, hi=math.inf, n_eff=None)
            said, lacking = f"The hosts may have held it back: {about.held_back}.", about.held_back
    return Observation(
        metric="throughput.udp" if flow.udp else "throughput.tcp",
        statistic="mean",
        scope=replace(about.scope, frame_bytes=ip_bytes(flow, context) + 14),
        unit="bit/s",
        layer=context.layer,
        value=value * scale + beside,
        n=len(flow.rates_bps),
        interval=interval,
        evidence=flow.evidence,
        reason=said,
        hosts=about.hosts,
        short=lacking,
    )


def loaded(
    found: probe.Probe, samples: Samples, window: Window, task: Task, context: Context
) -> tuple[Observation, ...]:
    """Round trips beside a load that ran in this time, and each way's variation, which needs no clocks that agree."""
    these, when = within(samples, window), (samples.t1 - window.start_ns) // BLOCK_NS
    block = np.maximum.accumulate(when[these])
    rtt = Held(delay.rtt_ns(samples)[these], block)
    both = replace(task.scope, direction=Direction.ROUND_TRIP)
    told = [*probe.quantiles("delay.loaded", rtt, LOADED_QUANTILES, both, context, found)]
    for way in WAYS:
        raw = delay.one_way_raw_ns(samples, way)[these]
        told += _varied(Held(delay.pdv(raw, block // PDV_WINDOW_BLOCKS), block), way, task, context, found)
    return tuple(told)


def within(samples: Samples, window: Window) -> Bools:
    """(n,) which packets left in this time of the on-prem host's clock."""
    return (samples.t1 >= window.start_ns) & (samples.t1 <= window.end_ns)


def _one_way(load: Load, probes: OfClass) -> latency_oneway.OneWay:
    """Of the probes beside it, where the clocks were watched meanwhile; IPDV is told of an idle path alone."""
    watched = any(job.id == latency_oneway.CLOCK for job in load.task.jobs)
    if not watched or load.found.summary.sampled is None:
        return latency_oneway.OneWay((), (), {})
    told = latency_oneway.observe(load.files, load.context, load.found, [probes])
    return replace(told, observations=tuple(seen for seen in told.observations if seen.metric == "delay.oneway"))


def _varied(values: Held, way: Direction, task: Task, context: Context, found: probe.Probe) -> tuple[Observation, ...]:
    scope = replace(task.scope, direction=way)
    return probe.quantiles("variation.pdv", values, VARIED_QUANTILES, scope, context, found)


def _varied_each_way(task: Task, context: Context, found: probe.Probe) -> list[Observation]:
    """Of a stream that ran beside a load all the time; of a very long one from a part of its packets."""
    told, block = found.summary.sampled, found.summary.sampled_block
    if told is None:
        return []
    return [
        observation
        for way, raw in zip(WAYS, (told.forward, told.backward), strict=True)
        for observation in _varied(Held(delay.pdv(raw, block // PDV_WINDOW_BLOCKS), block), way, task, context, found)
    ]


def _carried_all(flow: Carried, about: Beside) -> tuple[float, Interval] | None:
    """The mean rate of a paced load that arrived, and where it lies; None unless (nearly) all of it did.

    Then its rate from interval to interval is the sender's doing, and no sample of what the circuit carries: that was
    all it was given. How much less another test had brought only the losses can tell.
    """
    if not flow.udp or flow.loss_problem:
        return None
    if flow.carried_bps < (SHORT - EDGE_S / flow.received[0].seconds) * flow.offered_bps:
        return None  # it was held up on the way
    missing, total, n_eff = _lost(flow, about)
    if not total or missing < 0:
        return None
    lost = loss_interval(missing, total, (0, 0), n_eff)
    mean = float(flow.rates_bps.mean())
    given = mean * total / (total - missing)
    return mean, replace(lost, lo=given * (1 - lost.hi), hi=max(given, flow.offered_bps) * (1 - lost.lo))


def _drifting(intervals: int) -> str:
    return f"It changed so slowly that {intervals} intervals say little more than one: test longer to be sure of it."


def loss(flow: Carried, about: Beside, context: Context) -> Observation:
    """The share of a paced load that was lost between the hosts."""
    scope = replace(about.scope, frame_bytes=ip_bytes(flow, context) + 14)
    of: dict[str, Any] = {"metric": "loss", "statistic": "ratio", "scope": scope, "unit": "1"}
    if flow.loss_problem:
        said = f"{flow.loss_problem[0].upper()}{flow.loss_problem[1:]}."
        return Observation(**of, value=None, n=0, reason=said, evidence=flow.evidence)
    missing, total, n_eff = _lost(flow, about)
    host = host_loss(about.rows)
    said = f"{missing:,} of {total:,} packets did not arrive"
    if host[1]:
        said += f"; {who(about.rows)} lost {min(host[0], missing):,} to {min(host[1], missing):,} of them"
    interval = loss_interval(missing, total, host, n_eff)
    withheld = flow.withheld_bps / flow.intended_bps
    if withheld:
        interval = replace(interval, hi=withheld + (1 - withheld) * interval.hi, n_eff=None)
    return Observation(
        **of,
        value=remaining(missing, host)[1] / total,
        n=total,
        interval=interval,
        evidence=flow.evidence,
        reason=f"{said}. {_offered_text(flow) if withheld else ''}".strip(),
        hosts=about.hosts,
        short=about.short if withheld else "",
    )


def _lost(flow: Carried, about: Beside) -> tuple[int, int, float]:
    """(packets that did not arrive, all, as how many independent ones they count)."""
    lost, packets = loss_blocks(flow)
    tail = load_ledger.tail(flow, about.longest_rtt_s)
    n_eff = effective_n(np.append(lost, tail), np.append(packets, tail))  # the tail is one burst
    return int(lost.sum()) + tail, int(packets.sum()) + tail, n_eff


def _offered_text(flow: Carried) -> str:
    """Empty where it lacks a trifle."""
    if flow.offered_bps >= SHORT * flow.intended_bps:
        return ""
    return f"The sender offered only {flow.offered_bps / flow.intended_bps:.1%} of the intended load."


def short(flow: Carried, context: Context) -> str:
    """What the sender did of its part; empty where it lacks a trifle, which it would every time."""
    if flow.offered_bps >= SHORT * flow.intended_bps:
        return ""
    sender, _ = context.ends(flow.way)
    return f"{sender.name} offered {flow.offered_bps / flow.intended_bps:.2%} of the load ({flow.way.value})"


def series(flow: Carried, context: Context) -> Series:
    label = f"{'UDP' if flow.udp else 'TCP'} {flow.way.value}"
    scale = at_layer(1.0, flow, context)
    return load_figures.rate_series(flow.received, scale, label, flow.way, flow.began_ns)


def all_series(flow: Carried, context: Context) -> tuple[Series, ...]:
    """Its rate and, where packets were counted, the share of them that was lost."""
    rate = series(flow, context)
    if not flow.udp or flow.loss_problem:
        return (rate,)
    return rate, load_figures.loss_series(flow.received, rate.label, flow.way, rate.start_ns)
