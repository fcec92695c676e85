"""One direction of a load as both ends reported it, all its processes together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfharness.analysis import tcpinfo
from perfharness.analysis.capacity import convert, headers_bytes
from perfharness.analysis.iperf3 import Flow, Iperf3Result, parse
from perfharness.analysis.statistics import Floats, Ints
from perfharness.errors import ToolFailed
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import Context
from perfharness.measurements.load_sockets import Trace, traces
from perfharness.model import Direction, Job, Layer, Role, Task, Window

OUTPUT, TCPINFO = "iperf3.json", "tcpinfo.jsonl"
WIDE = "--udp-counters-64bit"
LEAST_OFFERED = 0.99
"""Share of the intended UDP load that the sender must have offered."""
SHORT = 0.999
"""A flow that carried less than this of what was offered fell short: only then does it matter how busy a CPU was."""
LEAST_LENGTH = 0.9
"""Share of its time that a test must have lasted."""
_TIMESTAMPS = 12
"""Of a TCP segment, for the option that every Linux sends; what is asked for as the largest segment holds it."""


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
    traces: tuple[Trace, ...]
    """The same over time; empty unless all of them were sampled."""
    waited: Mapping[str, float]
    """By endpoint, the share of the test for which iperf3 was ready to run and had no CPU, its threads together."""
    args: Mapping[str, Any]
    """Of the first client."""
    wide_counters: bool
    """UDP packets are numbered with 64 bits; else the loss is wrong from packet 2**32 on."""
    limits_bps: tuple[int | None, ...]
    """Payload bit/s that each process was to offer; None: no limit."""
    window: Window
    """Of what counts: without the warm-up."""
    began_ns: int
    """With it."""
    evidence: tuple[str, ...]
    mss: int | None = None
    """Of TCP: payload of a full segment as its sender's kernel tells it, else by what was asked; None: neither."""

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
        limits = [limit for limit in self.limits_bps if limit is not None]
        return float(sum(limits)) if len(limits) == len(self.limits_bps) else self.offered_bps

    @property
    def unoffered_bps(self) -> float:
        """What the sender was to offer and did not. At best all of it had arrived."""
        return max(0.0, self.intended_bps - self.offered_bps)

    @property
    def withheld_bps(self) -> float:
        """The same, where it is more than a trifle: nobody knows what would have become of it, at worst none had
        arrived."""
        return self.unoffered_bps if self.offered_bps < LEAST_OFFERED * self.intended_bps else 0.0

    @property
    def loss_problem(self) -> str:
        """Why the loss cannot be believed; empty when it can."""
        return next((each.loss_problem for each in self.received if each.loss_problem), "")


def carried(way: Direction, task: Task, files: TaskFiles, context: Context) -> Carried:
    """Both ends' reports of one direction. Raises ToolFailed."""
    reports: dict[str, list[Iperf3Result]] = {context.a.name: [], context.z.name: []}
    sent, received, sockets, evidence = [], [], [], []
    sampled: list[tuple[Trace, ...]] = []
    kernel: list[list[Mapping[str, Any]]] = []
    waited_ns: dict[str, int] = {}
    receiver = context.ends(way)[1].name
    begins, starts, ends, limits = [], [], [], []
    wide_counters = True
    warm_up_s = max(float(job.args.get("omit_s", 0)) for job in task.jobs)
    rate_bps = max(float(job.args.get("rate_bps") or 0) for job in task.jobs)
    for job in task.jobs:
        if not job.method.startswith("iperf3.") or f"-{way.value}-" not in job.id:
            continue
        report, flow = _reported(job, way, files, warm_up_s)
        reports[job.endpoint].append(report)
        evidence.append(files.path(job.endpoint, job.id, OUTPUT))
        result = files.result(job.endpoint, job.id) or {}
        data = result.get("data", {})
        waited_ns[job.endpoint] = waited_ns.get(job.endpoint, 0) + int(data.get("run_delay_ns") or 0)
        if job.endpoint == receiver:
            received.append(flow)
            own = [row for row in data.get("sockets", ()) if row.get("kind") == "udp"]
            sockets += own
            rows = files.rows(job.endpoint, job.id, "sockets.jsonl")
            sampled.append(traces(flow, rows, own, rate_bps))
        else:
            sent.append(flow)
            kernel.append(list(files.rows(job.endpoint, job.id, TCPINFO)))
        if job.role is Role.DRIVE:
            wide_counters &= WIDE in (data.get("argv") or ())
            began = int(data["started_ns"])
            last = max(part.start_s + part.seconds for part in flow.slices)
            begins.append(began)
            starts.append(began + round(flow.kept[0].start_s * 1e9))
            ends.append(began + round(last * 1e9))
            args = job.args
            limits.append(args["rate_bps"])
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
        traces=tuple(trace for each in sampled for trace in each) if all(sampled) else (),
        waited={name: waited / 1e9 / (args["duration_s"] + warm_up_s) for name, waited in waited_ns.items()},
        args=args,
        wide_counters=wide_counters,
        limits_bps=tuple(limits),
        window=Window(min(starts), max(ends)),
        began_ns=min(begins),
        evidence=tuple(evidence),
        mss=_mss(kernel, args),
    )


def _mss(kernel: list[list[Mapping[str, Any]]], args: Mapping[str, Any]) -> int | None:
    """From the rows that each sending process left of its connections."""
    if args["udp"]:
        return None
    told = tcpinfo.connections(kernel, float(args["omit_s"]), float(args["duration_s"]))
    if told is not None and told.mss:
        return told.mss
    return int(args["mss"]) - _TIMESTAMPS if args.get("mss") else None


def _reported(job: Job, way: Direction, files: TaskFiles, warm_up_s: float) -> tuple[Iperf3Result, Flow]:
    """What one process wrote, and of this direction. Raises ToolFailed."""
    try:
        report = parse(files.bytes(job.endpoint, job.id, OUTPUT) or b"", warm_up_s)
    except ToolFailed as error:
        raise ToolFailed(f"{job.endpoint}: {error}") from error
    if report.error is not None:
        raise ToolFailed(f"iperf3 on {job.endpoint}: {report.error}.")
    flow = report.flow(reverse=way is Direction.Z_A)
    if flow is None or not flow.kept:
        raise ToolFailed(f"iperf3 on {job.endpoint} reported nothing of {way.value}.")
    return report, flow


def ip_bytes(flow: Carried, context: Context) -> int:
    """Size of the load's IP packets: as asked for UDP; for TCP a full packet, of the ordered MTU where nobody told."""
    if flow.udp:
        return int(flow.args["length"]) + headers_bytes()
    if flow.mss is None:
        return context.mtu
    full = flow.mss + headers_bytes(protocol="tcp")
    return context.mtu if full - _TIMESTAMPS <= context.mtu < full else full  # hosts that send no time stamps


def at_layer(rate_bps: float, flow: Carried, context: Context, layer: Layer | None = None) -> float:
    """Payload bit/s as the ordered layer counts them."""
    return convert(
        rate_bps,
        Layer.L4,
        layer or context.layer,
        ip_bytes(flow, context),
        tagged=context.tagged,
        protocol="udp" if flow.udp else "tcp",
    )


def loss_blocks(flow: Carried) -> tuple[Ints, Ints]:
    """(lost, packets) by second, all processes together; a late packet may make a second's loss negative."""
    each = [received.loss_blocks for received in flow.received]
    longest = max(len(lost) for lost, _ in each)
    lost, packets = np.zeros(longest, np.int64), np.zeros(longest, np.int64)
    for its_lost, its_packets in each:
        lost[: len(its_lost)] += its_lost
        packets[: len(its_packets)] += its_packets
    return lost, packets
