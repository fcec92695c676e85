"""What came of a load: the rate that arrived, what was lost of it, and whether the hosts could have done more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfharness.analysis import delay, pacing
from perfharness.analysis.capacity import convert, headers_bytes
from perfharness.analysis.iperf3 import Flow, Iperf3Result, parse
from perfharness.analysis.ledger import RECEIVER_SOCKET, host_loss, loss_interval, remaining
from perfharness.analysis.statistics import Floats, Ints, effective_n, mean_rate
from perfharness.errors import ToolFailed
from perfharness.evidence import TaskFiles
from perfharness.measurements import load_figures, probe
from perfharness.measurements.base import COUNTERS, Context, failed, segment_of, window_of
from perfharness.model import (
    Direction,
    Fitness,
    Layer,
    LedgerRow,
    Measurement,
    Observation,
    Role,
    Series,
    Status,
    Task,
    Window,
)

OUTPUT = "iperf3.json"
LOADED_QUANTILES = {"p50": 0.5, "p99": 0.99}
LEAST_OFFERED = 0.99
"""Share of the intended UDP load that the sender must have offered."""
SHORT = 0.999
"""A flow that carried less than this of what was offered fell short: only then does it matter how busy a CPU was."""
BUSY_PERCENT = 95.0
LEAST_LENGTH = 0.9
"""Share of its time that a test must have lasted."""
END_S = 0.1
"""iperf3's ends stop within this of one another, the control connection's way not counted."""
BURSTS = "sender pacing"


@dataclass(frozen=True, slots=True)
class Carried:
    """One direction of a load, all its processes together."""

    way: Direction
    sent: tuple[Flow, ...]
    received: tuple[Flow, ...]
    reports: Mapping[str, tuple[Iperf3Result, ...]]
    """By endpoint."""
    sockets: tuple[Mapping[str, Any], ...]
    """Of the receiving processes."""
    args: Mapping[str, Any]
    """Of the first client."""
    window: Window
    evidence: tuple[str, ...]

    @property
    def udp(self) -> bool:
        return bool(self.args["udp"])

    @property
    def rates_bps(self) -> Floats:
        """Payload bit/s of each full interval at the receiver."""
        each = [flow.rates_bps for flow in self.received]
        shortest = min(len(rates) for rates in each)
        summed: Floats = np.sum([rates[:shortest] for rates in each], axis=0)
        return summed

    @property
    def offered_bps(self) -> float:
        return sum(flow.rate_bps or 0.0 for flow in self.sent)

    @property
    def carried_bps(self) -> float:
        return sum(flow.rate_bps or 0.0 for flow in self.received)

    @property
    def intended_bps(self) -> float:
        """What all its processes were to offer; without a limit, what they did offer."""
        limit = self.args["rate_bps"]
        return self.offered_bps if limit is None else float(limit * len(self.sent))

    @property
    def withheld_bps(self) -> float:
        """What the sender was to offer and did not, where that is more than a trifle.

        Nobody knows what would have become of it: at best all of it had arrived, at worst none.
        """
        enough = self.offered_bps >= LEAST_OFFERED * self.intended_bps
        return 0.0 if enough else self.intended_bps - self.offered_bps

    @property
    def loss_problem(self) -> str:
        """Why the loss cannot be believed; empty when it can."""
        return next((each.loss_problem for each in self.received if each.loss_problem), "")

    @property
    def short(self) -> bool:
        return self.carried_bps < SHORT * max(self.intended_bps, self.offered_bps)


def measured(task: Task, files: TaskFiles, context: Context) -> Measurement:
    """All figures of a load task; failed with one sentence when an end left nothing that can be used."""
    found = probe.read(task, files, context)
    if isinstance(found, str):
        return failed(task, files, found)
    ways = (Direction.A_Z, Direction.Z_A) if task.scope.direction is Direction.BOTH else (task.scope.direction,)
    try:
        flows = [_carried(way, task, files, context) for way in ways if way is not None]
    except ToolFailed as error:
        return failed(task, files, str(error))
    rtt = delay.rtt_ns(found.samples)
    ledgers = {flow.way: _ledger(flow, task, files, context, found) for flow in flows}
    round_trip = replace(task.scope, direction=Direction.ROUND_TRIP)
    probes = {way: probe.book(context, task.scope, way, files, found) for way in (Direction.A_Z, Direction.Z_A)}
    host = probe.host_lost(found, probes)
    observations = [*probe.quantiles("delay.loaded", rtt, LOADED_QUANTILES, round_trip, context, found, host)]
    for flow in flows:
        observations.append(_rate(flow, task, context, ledgers[flow.way], found))
        if flow.udp:
            observations.append(_loss(flow, task, context, ledgers[flow.way], found))
    return Measurement(
        task,
        Status.COMPLETED,
        window=window_of(files.outcome()),
        observations=tuple(observations),
        ledger=tuple(row for rows in ledgers.values() for row in rows),
        fitness=_fitness(flows, task, files, context, found),
        series=(*(_series(flow, context) for flow in flows), *probe.series(rtt, found)),
        facts=load_figures.facts(task, files),
    )


# --- reading ----------------------------------------------------------------------------------------


def _carried(way: Direction, task: Task, files: TaskFiles, context: Context) -> Carried:
    """Both ends' reports of one direction. Raises ToolFailed."""
    reports: dict[str, list[Iperf3Result]] = {context.a.name: [], context.z.name: []}
    sent, received, sockets, evidence = [], [], [], []
    receiver = context.ends(way)[1].name
    starts, ends = [], []
    warm_up_s = max(float(job.args.get("omit_s", 0)) for job in task.jobs)
    for job in task.jobs:
        if not job.method.startswith("iperf3.") or f"-{way.value}-" not in job.id:
            continue
        report = parse(files.bytes(job.endpoint, job.id, OUTPUT) or b"", warm_up_s)
        if report.error is not None:
            raise ToolFailed(f"iperf3 on {job.endpoint}: {report.error}.")
        flow = report.flow(reverse=way is Direction.Z_A)
        if flow is None or not flow.kept:
            raise ToolFailed(f"iperf3 on {job.endpoint} reported nothing of {way.value}.")
        reports[job.endpoint].append(report)
        evidence.append(files.path(job.endpoint, job.id, OUTPUT))
        result = files.result(job.endpoint, job.id) or {}
        if job.endpoint == receiver:
            received.append(flow)
            sockets += [row for row in result.get("data", {}).get("sockets", ()) if row.get("kind") == "udp"]
        else:
            sent.append(flow)
        if job.role is Role.DRIVE:
            began = int(result["data"]["started_ns"])
            last = max(part.start_s + part.seconds for part in flow.slices)
            starts.append(began + round(flow.kept[0].start_s * 1e9))
            ends.append(began + round(last * 1e9))
            args = job.args
    if not sent or not received:
        raise ToolFailed(f"iperf3 left no report of both ends for {way.value}.")
    ended = min(flow.slices[-1].start_s + flow.slices[-1].seconds for flow in (*sent, *received))
    if ended < LEAST_LENGTH * args["duration_s"]:
        raise ToolFailed(f"iperf3's test {way.value} ended after {ended:.1f} of {args['duration_s']} s.")
    return Carried(
        way=way,
        sent=tuple(sent),
        received=tuple(received),
        reports={name: tuple(each) for name, each in reports.items()},
        sockets=tuple(sockets),
        args=args,
        window=Window(min(starts), max(ends)),
        evidence=tuple(evidence),
    )


def _ip_bytes(flow: Carried, context: Context) -> int:
    """Size of the load's IP packets: as asked for UDP; for TCP a full packet of the ordered MTU."""
    return flow.args["length"] + headers_bytes() if flow.udp else context.mtu


def _at_layer(rate_bps: float, flow: Carried, context: Context, layer: Layer | None = None) -> float:
    """Payload bit/s as the ordered layer counts them."""
    return convert(
        rate_bps,
        Layer.L4,
        layer or context.layer,
        _ip_bytes(flow, context),
        tagged=context.tagged,
        protocol="udp" if flow.udp else "tcp",
    )


# --- figures ----------------------------------------------------------------------------------------


def _rate(flow: Carried, task: Task, context: Context, rows: Sequence[LedgerRow], found: probe.Probe) -> Observation:
    """The rate that arrived, at the ordered layer, the probes beside it included; and for UDP at most what the
    receiving host lost of it on top, since that had crossed the circuit, and what the sender withheld."""
    value, interval = mean_rate(flow.rates_bps)
    beside = _probe_stream(found).rate_bps(context.layer, context.tagged)
    scale = _at_layer(1.0, flow, context)
    if interval is not None:
        lost_bps = host_loss(rows)[1] * flow.args["length"] * 8 / flow.received[0].seconds if flow.udp else 0.0
        hi = (interval.hi + lost_bps + flow.withheld_bps) * scale + beside
        interval = replace(interval, lo=interval.lo * scale + beside, hi=hi)
        if flow.withheld_bps:
            interval = replace(interval, n_eff=None)  # more of the same would not decide
    return Observation(
        metric="throughput.udp" if flow.udp else "throughput.tcp",
        statistic="mean",
        scope=replace(task.scope, direction=flow.way, frame_bytes=_ip_bytes(flow, context) + 14),
        unit="bit/s",
        layer=context.layer,
        value=value * scale + beside,
        n=len(flow.rates_bps),
        interval=interval,
        evidence=flow.evidence,
        reason=_withheld_text(flow) if len(flow.rates_bps) > 1 else "There are too few intervals for a statement.",
        hosts=context.hosts,
    )


def _loss(flow: Carried, task: Task, context: Context, rows: Sequence[LedgerRow], found: probe.Probe) -> Observation:
    scope = replace(task.scope, direction=flow.way, frame_bytes=_ip_bytes(flow, context) + 14)
    about: dict[str, Any] = {"metric": "loss", "statistic": "ratio", "scope": scope, "unit": "1"}
    if flow.loss_problem:
        said = f"{flow.loss_problem[0].upper()}{flow.loss_problem[1:]}."
        return Observation(**about, value=None, n=0, reason=said, evidence=flow.evidence)
    lost, packets = _blocks(flow)
    tail = _tail(flow, found)
    missing, total = int(lost.sum()) + tail, int(packets.sum()) + tail
    host = host_loss(rows)
    said = f"{missing:,} of {total:,} packets did not arrive"
    if host[1]:
        said += f"; the hosts lost {min(host[0], missing):,} to {min(host[1], missing):,} of them"
    n_eff = effective_n(np.append(lost, tail), np.append(packets, tail))  # the tail is one burst
    interval = loss_interval(missing, total, host, n_eff)
    withheld = flow.withheld_bps / flow.intended_bps
    if withheld:
        interval = replace(interval, hi=withheld + (1 - withheld) * interval.hi, n_eff=None)
    return Observation(
        **about,
        value=remaining(missing, host)[1] / total,
        n=total,
        interval=interval,
        evidence=flow.evidence,
        reason=f"{said}. {_withheld_text(flow)}".strip(),
        hosts=context.hosts,
    )


def _withheld_text(flow: Carried) -> str:
    share = flow.withheld_bps / flow.intended_bps
    return f"The sender offered only {1 - share:.1%} of the intended load." if share else ""


def _blocks(flow: Carried) -> tuple[Ints, Ints]:
    """(lost, packets) by second, all processes together; a late packet may make a second's loss negative."""
    each = [received.loss_blocks for received in flow.received]
    longest = max(len(lost) for lost, _ in each)
    lost, packets = np.zeros(longest, np.int64), np.zeros(longest, np.int64)
    for its_lost, its_packets in each:
        lost[: len(its_lost)] += its_lost
        packets[: len(its_packets)] += its_packets
    return lost, packets


def _unreceived(flow: Carried) -> int:
    """Packets that were offered and did not arrive, from the two rates, where the receiver's own count is no use."""
    missing_bps = max(0.0, flow.offered_bps - flow.carried_bps)
    return math.ceil(missing_bps / 8 / int(flow.args["length"]) * flow.received[0].seconds)


def _uncounted(flow: Carried) -> int:
    """Packets that were sent and are in no count of the receiver's: iperf3 cannot see a gap at the end."""
    sent, counted = (
        sum(part.packets or 0 for each in flows for part in each.slices) for flows in (flow.sent, flow.received)
    )
    unread = sum(int(socket.get("unread") or 0) for socket in flow.sockets)
    return max(0, sent - counted - unread)


def _tail(flow: Carried, found: probe.Probe) -> int:
    """Packets lost after the last one that arrived.

    The two ends do not stop at the same instant, and what was on its way then is not lost: as much as END_S and
    the longest round trip of the probes hold. So the loss is that up to the last packet that arrived, unless
    nothing arrived for longer than that.
    """
    rtt = delay.rtt_ns(found.samples)
    arrived = rtt[np.isfinite(rtt)]
    longest_s = END_S + (float(arrived.max()) / 1e9 if len(arrived) else 0.0)
    return max(0, _uncounted(flow) - math.ceil(flow.offered_bps / 8 / int(flow.args["length"]) * longest_s))


def _within_the_test(rows: tuple[LedgerRow, ...], flow: Carried) -> tuple[LedgerRow, ...]:
    """A socket counts its drops from its first packet to its last; the loss leaves out the warm-up and what came
    after the end. As many of the drops as were lost there need not be among the losses that are judged."""
    omitted = (part for received in flow.received for part in received.slices if part.omitted)
    elsewhere = sum(max(0, part.lost or 0) for part in omitted) + _uncounted(flow)
    return tuple(
        replace(row, packets_lo=max(0, row.packets_lo - elsewhere)) if row.stage == RECEIVER_SOCKET else row
        for row in rows
    )


def _ledger(flow: Carried, task: Task, files: TaskFiles, context: Context, found: probe.Probe) -> tuple[LedgerRow, ...]:
    """UDP only: what TCP loses it sends again, and its rate is no contract."""
    if not flow.udp:
        return ()
    scope = replace(task.scope, direction=flow.way)
    lost = _unreceived(flow) if flow.loss_problem else int(_blocks(flow)[0].sum()) + _tail(flow, found)
    rows = probe.book_stream(context, scope, files, flow.window, lost=lost, sockets=flow.sockets)
    sender = context.ends(flow.way)[0].name
    rate = _at_layer(flow.args["rate_bps"] * len(flow.sent), flow, context, Layer.L2)
    rate += _probe_stream(found).rate_bps(Layer.L2, context.tagged)
    above = pacing.excess_packets(files.rows(sender, COUNTERS, "counters.jsonl"), rate, _ip_bytes(flow, context) + 14)
    evidence = (files.path(sender, COUNTERS, "counters.jsonl"),)
    counter = (
        "unknown: no interface counters of the sender" if above is None else "tx_bytes above the rate, each 100 ms"
    )
    most = lost if above is None else min(above, lost)
    return (
        LedgerRow(scope, BURSTS, segment_of(context, sender), 0, most, counter, False, evidence),
        *_within_the_test(rows, flow),
    )


def _probe_stream(found: probe.Probe) -> probe.Stream:
    return probe.Stream(found.interval_ns, 1, found.packet_bytes)


# --- could the hosts have done more? ----------------------------------------------------------------


def _fitness(
    flows: Sequence[Carried], task: Task, files: TaskFiles, context: Context, found: probe.Probe
) -> tuple[Fitness, ...]:
    rows = []
    for base in probe.fitness_of(context, task, found):
        reasons = list(base.reasons)
        for flow in flows:
            reasons += _unfit(base.host, flow, context)
        if any(flow.short for flow in flows):
            reasons += _stolen(base.host, files)
        evidence = (*base.evidence, *(path for flow in flows for path in flow.evidence))
        rows.append(replace(base, fit=not reasons, reasons=tuple(reasons), evidence=evidence))
    return tuple(rows)


def _unfit(host: str, flow: Carried, context: Context) -> list[str]:
    """Why this host and not the circuit may be what limited the flow.

    What a sender withheld is inside the intervals; it is unfit when that may be all that is missing.
    """
    reasons = []
    sender = context.ends(flow.way)[0].name
    at_best = flow.carried_bps + flow.withheld_bps
    if host == sender and flow.withheld_bps and at_best >= LEAST_OFFERED * flow.intended_bps:
        share = flow.offered_bps / flow.intended_bps
        reasons.append(f"it offered only {share:.1%} of the intended load ({flow.way.value})")
    busiest = max((report.cpu_percent or 0.0 for report in flow.reports[host]), default=0.0)
    if flow.short and busiest >= BUSY_PERCENT:
        reasons.append(f"iperf3 kept a CPU {busiest:.0f} % busy while the flow {flow.way.value} fell short")
    return reasons


def _stolen(host: str, files: TaskFiles) -> list[str]:
    """CPU time that a hypervisor gave to others, when a flow fell short."""
    rows = files.rows(host, COUNTERS, "counters.jsonl")
    ticks = [row["cpu"]["total"] for row in rows if "cpu" in row]
    if len(ticks) < 2:
        return []
    spent = {key: ticks[-1][key] - ticks[0][key] for key in ticks[0]}
    total = sum(spent.values())
    share = spent.get("steal", 0) / total if total else 0.0
    return [f"its hypervisor withheld {share:.0%} of its CPU time while a flow fell short"] if share > 0.1 else []


def _series(flow: Carried, context: Context) -> Series:
    label = f"{'UDP' if flow.udp else 'TCP'} {flow.way.value}"
    scale = _at_layer(1.0, flow, context)
    return load_figures.rate_series(flow.received, scale, label, flow.way, flow.window.start_ns)
