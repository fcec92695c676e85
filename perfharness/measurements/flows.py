"""flows: a probe stream spread over many source ports, to find a bad or slow member of a link group.

What is true of a flow is true of its addresses and ports in one direction: the replies have them the other way round
and may take another member, so there and back are judged apart. The ports are the same in every run, so that a carrier
can look them up and a second run finds the same flows.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field

from perfagent.schedule import flow_order
from perfharness.analysis import delay, loss
from perfharness.analysis import flows as spread
from perfharness.analysis.ledger import host_loss
from perfharness.analysis.samples import Samples
from perfharness.analysis.statistics import Floats, Ints
from perfharness.evidence import TaskFiles
from perfharness.measurements import probe, probe_ledger
from perfharness.measurements.base import (
    SETUP_S,
    Context,
    Params,
    counters,
    failed,
    not_completed,
    probe_port_use,
    window_of,
)
from perfharness.model import Direction, Interval, Job, LedgerRow, Measurement, Observation, Scope, Status, Task
from perfharness.order.dscp import Dscp
from perfharness.order.units import Duration
from perfharness.order.wrong import wrong

FIRST_PORT = 61_000
"""Above the ports that Linux hands out by itself (``ip_local_port_range`` ends at 60999)."""
MOST_PACKETS_PER_S = 10_000
"""Of all flows together: what the prober keeps up with on a small host, and no load for any circuit."""
WAYS = (Direction.A_Z, Direction.Z_A)
STATISTICS = ("hit_share", "slow_share", "worst_loss")
LEAST_KEPT = 0.9
"""Share of its schedule that the sender must have kept: a packet that it missed is of any flow, by chance."""


class FlowsParams(Params):
    flows: int = Field(default=64, ge=8, le=512)
    interval_ns: Duration = Field(default=10_000_000, alias="interval", ge=1_000_000, le=1_000_000_000)
    duration_ns: Duration = Field(default=8_000_000_000, alias="duration", ge=1_000_000_000, le=60_000_000_000)
    authenticated: bool = False
    """Sign each packet and reply with a random key of this step alone (STAMP's authenticated mode)."""
    packet_bytes: probe.PacketBytes = Field(default_factory=probe.small_packet, alias="packet", ge=44, le=8972)
    dscp: Dscp = 0


class Flows:
    name = "flows"
    parameters = FlowsParams
    statistics: Mapping[str, Collection[str]] = {"flows": STATISTICS}

    def tasks(self, params: FlowsParams, step: str, context: Context) -> tuple[Task, ...]:
        context.must_fit(params.packet_bytes)
        must_keep_up(params.flows, params.interval_ns)
        rounds = params.duration_ns // params.interval_ns
        stream = probe.Stream(
            params.interval_ns // params.flows,
            rounds * params.flows,
            (params.packet_bytes,),
            (params.dscp,),
            authenticated=params.authenticated,
        )
        duration = stream.duration_s + probe.WAIT_NS / 1e9
        deadline = duration + 15.0
        use = probe_port_use(context)
        ports = f"{params.flows} source ports from {FIRST_PORT} on"
        return (
            Task(
                id=step,
                step=step,
                measurement=self.name,
                scope=context.scope(Direction.ROUND_TRIP, frame_bytes=params.packet_bytes + 42),
                jobs=counters(context, deadline + SETUP_S) + _jobs(context, step, stream, params.flows, deadline),
                duration_s=duration,
                load_bps=stream.rate_bps(context.layer, context.tagged),
                load_bytes=round(stream.rate_bps(context.layer, context.tagged) / 8 * stream.duration_s) * 2,
                ports=(replace(use, purpose=f"the same in the flow sweep, {ports}"),),
                privileges=(probe.PRIVILEGE,),
                yields={"flows": WAYS},
            ),
        )

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        found = probe.read(task, files, context)
        if isinstance(found, str):
            return failed(task, files, found)
        args = next(job.args for job in task.jobs if job.id == probe.SENDER)
        flows, rounds, seed = int(args["flows"]), int(args["rounds"]), int(args["seed"])
        order = np.fromiter(flow_order(flows, rounds, seed), np.int64, flows * rounds)
        counted = probe_ledger.counters(files, context)
        rows = {way: probe_ledger.book(context, task.scope, way, counted, found)[0] for way in WAYS}
        random = np.random.default_rng(seed)
        samples = found.pieces.whole()
        sides = [side for way in WAYS if (side := _side(way, samples, order, flows, rows[way], random))]
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=tuple(_observations(task, context, found, sides)),
            ledger=tuple(row for way in WAYS for row in rows[way]),
            fitness=probe_ledger.fitness_of(context, task, found, rows, LEAST_KEPT),
            facts=_facts(context, found, samples, sides, order, flows),
        )


def must_keep_up(flows: int, interval_ns: int) -> None:
    """Raises ``wrong`` for more packets of all flows together than a prober keeps up with."""
    if flows * 1e9 / interval_ns > MOST_PACKETS_PER_S:
        said = f"{flows} flows at this interval are more than {MOST_PACKETS_PER_S:,} packets/s each way."
        longer_ms, fewer = -(-flows * 1000 // MOST_PACKETS_PER_S), MOST_PACKETS_PER_S * interval_ns // 10**9
        raise wrong(said, f"Write `interval: {longer_ms}ms` or more, or `flows: {fewer}` or fewer.", at=("flows",))


def of_many_flows(sender: Job, flows: int, **more: Any) -> Job:
    """The sender of a single stream with its packets spread over so many source ports, and with these arguments."""
    args = {name: value for name, value in sender.args.items() if name not in ("count", "pattern")}
    own = {"first_port": FIRST_PORT, "flows": flows, "rounds": sender.args["count"] // flows}
    return replace(sender, method="flows.send", args={**args, **own, **more})


def _jobs(context: Context, step: str, stream: probe.Stream, flows: int, deadline_s: float) -> tuple[Job, Job]:
    """The reflector of a single stream, which answers any port of its session, and a sender of many."""
    reflector, sender = probe.jobs(context, step, stream, deadline_s)
    # With counts of its own for each port the reflector's numbers would not be unique.
    reflector = replace(reflector, args={**reflector.args, "stateless": True})
    # One seed for every run: the order of the flows is random, but the same each time.
    return reflector, of_many_flows(sender, flows, seed=zlib.crc32(step.encode()))


# --- one direction --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Side:
    """What one direction did to each of n flows."""

    way: Direction
    lost: Ints
    sent: Ints
    """(n,) packets that entered this direction."""
    by_loss: spread.Split
    hosts: tuple[int, int]
    """(least, most) packets of this direction that the hosts lost."""
    would_find: bool
    """A bad member would have been found."""
    offsets: spread.Offsets
    by_delay: spread.Split


def _side(
    way: Direction,
    samples: Samples,
    order: Ints,
    flows: int,
    rows: tuple[LedgerRow, ...],
    random: np.random.Generator,
) -> Side | None:
    """None where nothing entered this direction, or nobody can tell what did."""
    losses = loss.by_direction(samples)
    stream = losses.forward if way is Direction.A_Z else losses.backward
    if stream is None or not stream.offered:
        return None
    flow = order[stream.seq]
    sent = np.bincount(flow, minlength=flows)
    lost = np.bincount(flow[stream.lost], minlength=flows)
    seq = samples.seq
    offsets = spread.offsets(delay.one_way_raw_ns(samples, way), seq // flows, order[seq], flows)
    by_loss = spread.split_by_loss(lost, sent, random)
    return Side(
        way,
        lost,
        sent,
        by_loss,
        host_loss(rows),
        by_loss.found or spread.would_find(lost, sent, random),
        offsets,
        spread.split_by_delay(offsets),
    )


# --- figures --------------------------------------------------------------------------------------


def _observations(task: Task, context: Context, found: probe.Probe, sides: list[Side]) -> Iterator[Observation]:
    for way in WAYS:
        scope = context.scope(way, frame_bytes=task.scope.frame_bytes)
        side = next((side for side in sides if side.way is way), None)
        if side is None:
            why = "Nobody can tell which packets entered this direction."
            for statistic in STATISTICS:
                yield Observation("flows", statistic, scope, "1", None, 0, reason=why)
            continue
        yield _figure("hit_share", scope, context, found, side.by_loss.share[0], _hit_interval(side), _about_loss(side))
        yield _slow(scope, context, found, side)
        worst = int(np.argmax(side.lost / np.maximum(side.sent, 1)))
        bounds = spread.loss_bounds(side.lost, side.sent, side.hosts[1])
        value = float(side.lost[worst] / side.sent[worst])
        said = f"{side.lost[worst]:,} of {side.sent[worst]:,} packets of the worst flow were lost."
        yield _figure("worst_loss", scope, context, found, value, bounds, said)


def _figure(
    statistic: str,
    scope: Scope,
    context: Context,
    found: probe.Probe,
    value: float | None,
    interval: Interval | None,
    reason: str,
) -> Observation:
    return Observation(
        metric="flows",
        statistic=statistic,
        scope=scope,
        unit="1",
        value=value,
        n=found.summary.sent,
        interval=interval,
        evidence=found.evidence,
        reason=reason,
        hosts=context.hosts,
    )


def _hit_interval(side: Side) -> Interval:
    """Where the share of flows that are hit lies. Silence is 0 only if a bad member would have spoken."""
    _, lo, hi = side.by_loss.share
    if not side.by_loss.found:
        method = "likelihood ratio of two rates of loss, permuted over the flows"
        return Interval(0, 0, 1 - spread.ALPHA, "one", method) if side.would_find else _open(method)
    if spread.explained(side.lost, side.sent, side.by_loss, side.hosts[1]):
        return Interval(0, hi, 0.95, "one", "Clopper–Pearson over the flows; the hosts may explain all of it")
    return Interval(lo, hi, 0.95, "one", "Clopper–Pearson over the flows")


def _open(method: str) -> Interval:
    return Interval(0, 1, 1.0, "exact", f"{method}: not enough packets")


def _about_loss(side: Side) -> str:
    lost, sent, split = side.lost, side.sent, side.by_loss
    n, hit = int(split.counted.sum()), int(split.worse.sum())
    if not hit:
        able = "would" if side.would_find else "need not"
        able = f"A member that loses {spread.MEMBER_LOSS * 100:g} % more {able} have been"
        if not lost.any():
            return f"None of {sent.sum():,} packets on {n} flows was lost. {able} found."
        return f"The {lost.sum():,} lost of {sent.sum():,} packets are spread evenly over {n} flows. {able} found."
    others = split.counted & ~split.worse
    hosts = "; as many may have been lost outside the circuit" if _hosts_explain(side) else ""
    return (
        f"{hit} of {n} flows lost {lost[split.worse].sum():,} of {sent[split.worse].sum():,} packets, "
        f"the others {lost[others].sum():,} of {sent[others].sum():,}{hosts}.{_group(split)}"
    )


def _hosts_explain(side: Side) -> bool:
    return spread.explained(side.lost, side.sent, side.by_loss, side.hosts[1])


def _group(split: spread.Split) -> str:
    fits = spread.members(*split.share[1:])
    if fits is None:
        return ""
    count = f"{fits[0]}" if fits[0] == fits[1] else f"{fits[0]} to {fits[1]}"
    return f" That fits one member of a group of {count}."


def _slow(scope: Scope, context: Context, found: probe.Probe, side: Side) -> Observation:
    split = side.by_delay
    n, slow = int(split.counted.sum()), int(split.worse.sum())
    if n < 2:
        why = f"Only {n} of the flows had {spread.LEAST_PACKETS} packets whose delay can be compared."
        return _figure("slow_share", scope, context, found, None, None, why)
    step = f"{spread.MEMBER_SLOW_NS // 1000} µs"
    method = "gaps between the flows' median delays"
    if not slow:
        able = spread.would_find_slow(side.offsets)
        said = f"All {n} flows are alike. A member {step} slower {'would' if able else 'need not'} have been found."
        interval = Interval(0, 0, 1 - spread.ALPHA, "one", method) if able else _open(method)
        return _figure("slow_share", scope, context, found, 0.0, interval, said)
    offset = side.offsets.offset
    later = np.median(offset[split.worse]) - np.median(offset[split.counted & ~split.worse])
    share, lo, hi = split.share
    said = f"{slow} of {n} flows are {later / 1e3:,.0f} µs later than the others.{_group(split)}"
    interval = Interval(lo, hi, 0.95, "one", f"{method}; Clopper–Pearson over the flows")
    return _figure("slow_share", scope, context, found, share, interval, said)


# --- the flows one by one, for report and diagnosis -------------------------------------------------


def _facts(
    context: Context, found: probe.Probe, samples: Samples, sides: list[Side], order: Ints, flows: int
) -> dict[str, Any]:
    """``flows``: one entry each, with its source port and what befell it in each direction."""
    rtt = delay.rtt_ns(samples)
    there = np.isfinite(rtt)
    of = order[samples.seq]
    ports = found.sent["source_ports"]
    each = [
        {
            "source_port": int(ports[i]),
            "rtt_ns": _rtt(rtt[there & (of == i)]),
            **{side.way.value: _fate(side, i) for side in sides},
        }
        for i in range(flows)
    ]
    ends = {"source": str(context.a.address), "target": str(context.z.address), "port": context.probe_port()}
    tests = {side.way.value: side.by_loss.p_value for side in sides}
    explained = {side.way.value: side.by_loss.found and _hosts_explain(side) for side in sides}
    return {
        "prober": probe.prober(found),
        **probe.authenticity(found),
        "ends": ends,
        "p_value": tests,
        "hosts_explain": explained,
        "flows": each,
    }


def _rtt(values: Floats) -> dict[str, float] | None:
    return {"min": float(values.min()), "p50": float(np.median(values))} if len(values) else None


def _fate(side: Side, flow: int) -> dict[str, Any]:
    offset = float(side.offsets.offset[flow])
    return {
        "sent": int(side.sent[flow]),
        "lost": int(side.lost[flow]),
        "hit": bool(side.by_loss.worse[flow]),
        "doubtful": bool(side.by_loss.doubtful[flow]),
        "later_ns": None if np.isnan(offset) else offset,
        "slow": bool(side.by_delay.worse[flow]),
    }
