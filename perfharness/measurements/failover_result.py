"""What came of a failover test: how long flows were cut off by the cut and by the return, and what happened then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from perfharness.analysis import ledger, outage
from perfharness.analysis.outage import Bounds, Outage
from perfharness.analysis.statistics import CONFIDENCE, clopper_pearson
from perfharness.evidence import TaskFiles
from perfharness.measurements import failover_gone as gone
from perfharness.measurements import failover_noticed, probe, probe_ledger
from perfharness.measurements import failover_streams as streams
from perfharness.measurements import failover_timeline as timeline
from perfharness.measurements.base import COUNTERS, Context, failed, fitness, window_of
from perfharness.measurements.failover_side import BACK, BEFORE, CUT, Side, utc
from perfharness.measurements.failover_streams import WAYS, Stream
from perfharness.model import Fitness, Interval, LedgerRow, Measurement, Observation, Scope, Status, Task
from perfharness.order.circuit import REROUTE_NS

METHOD = "lost probes × interval, ± one interval and the timer error (RFC 6412, loss-derived)"
MOST_OUTAGES = 500
MORE = "Send more flows, or cut the circuit that carries."
UNSEEN = "No flow of this direction was cut off: none may have taken this circuit, or it was not cut."


def measured(task: Task, files: TaskFiles, context: Context) -> Measurement:
    """Raises EvidenceBroken."""
    done = timeline.acts(files)
    if not {"cut", "restore"} <= done.keys():
        return failed(task, files, "Nobody noted when the circuit was cut and when it was back.")
    counted = replace(probe_ledger.counters(files, context), ce=None)
    sides: list[Side] = []
    for way in WAYS:
        read = streams.read(files, context, way)
        if isinstance(read, str):
            return failed(task, files, read)
        by = timeline.clock(files, read.sender, COUNTERS)
        rows = streams.booked(read, context, counted, replace(task.scope, direction=way))
        wan = gone.counted(files, context, read, by, done, task.scope.frame_bytes or 0)
        due_ns = by.theirs(int(done["cut"]["ended_ns"])) + 2 * by.open_ns + _slowest_ns(context)
        side = _side(
            read, by, [by.theirs(int(done[act]["started_ns"])) for act in ("cut", "restore")], rows, wan, due_ns
        )
        if side is None:
            said = (
                f"{read.sender} had sent fewer than {streams.LEAST_STEADY} probes of a flow when the circuit was cut."
            )
            return failed(task, files, said)
        sides.append(side)
    outages = [row for side in sides for row in _told(side)]
    events = timeline.told(task, files, outages)
    carried = timeline.carried(task, files, int(done["cut"]["started_ns"]))
    unseen = ["" if side.shown or side.at_least else _unseen(side, carried, context) for side in sides]
    return Measurement(
        task,
        Status.COMPLETED,
        window=window_of(files.outcome()),
        observations=tuple(
            seen for side, why in zip(sides, unseen, strict=True) for seen in _observations(side, task, context, why)
        ),
        ledger=tuple(row for side in sides for row in side.rows),
        fitness=_fitness(task, context, sides),
        facts={
            "failover": {
                "event": next((act.kind for act in task.acts if act.kind), ""),
                "acts": [dict(act) for act in (files.outcome() or {})["acts"]],
                "outages": outages[:MOST_OUTAGES],
                "flows": {side.stream.way.value: _flows(side) for side in sides},
                "sides": {side.stream.way.value: _facts(side) for side in sides},
                "timeline": events,
                "noticed": failover_noticed.noticed(events, outages, done),
                "expected": _expected(task, files, context),
                "carried": carried,
            },
            "prober": _prober(sides),
        },
    )


def _slowest_ns(context: Context) -> int:
    """How long after the cut a flow may be cut off first, by the order: where one direction fails the other does when
    the far end's own timer has run out as well."""
    by = context.circuit.vbr_of((context.a.name, context.z.name)).noticed_by
    return 2 * (by[1] if by else gone.SLOWEST_NS) + REROUTE_NS


def _side(
    stream: Stream,
    by: timeline.Clock,
    edges_ns: Sequence[int],
    rows: tuple[LedgerRow, ...],
    wan: gone.Wan | None,
    due_ns: int,
) -> Side | None:
    """``edges_ns``: when it was cut and when it was given back, by the sender's clock. None without a steady time."""
    steady = stream.steady(edges_ns[0])
    if min(map(len, steady)) < streams.LEAST_STEADY:
        return None
    least = outage.ordinary_run(steady, max(len(flow.t_ns) for flow in stream.flows))
    found = []
    for flow in stream.flows:
        phases: dict[str, list[Outage]] = {BEFORE: [], CUT: [], BACK: []}
        for each in outage.find(flow.t_ns, flow.lost, least):
            began, ended = utc(flow, each.begin_ns[1]), utc(flow, min(each.end_ns[0], flow.t_ns[-1]))
            # One that goes on when the circuit is cut is the cut's: the clocks may be farther apart than we know.
            place = 1 if began < edges_ns[0] <= ended else int(np.searchsorted(edges_ns, began, "right"))
            phases[(BEFORE, CUT, BACK)[place]].append(each)
        found.append({phase: tuple(outages) for phase, outages in phases.items()})
    return Side(stream, by, least, tuple(found), rows, wan, edges_ns[1], due_ns)


# --- figures ----------------------------------------------------------------------------------------


def _observations(side: Side, task: Task, context: Context, unseen: str) -> list[Observation]:
    """``unseen``: why no flow of this direction is known to take this circuit; empty where some was cut off."""
    scope = replace(task.scope, direction=side.stream.way)
    if unseen:
        units = {"duration": "ns", "failback": "ns", "flaps": "", "split": "1"}
        none = {name: Observation("outage", name, scope, unit, None, 0, reason=unseen) for name, unit in units.items()}
        if side.all(BACK) and (side.wan is None or side.wan.gone):
            none["failback"] = _time("failback", side, BACK, scope, context)
            if flaps := _flaps(side):
                none["flaps"] = _flapped(flaps, side, scope, context)
        return list(none.values())
    return [
        _time("duration", side, CUT, scope, context),
        _time("failback", side, BACK, scope, context),
        _flapped(_flaps(side), side, scope, context),
        _split(side, scope, context),
    ]


def _flaps(side: Side) -> int:
    return max(max(0, len(outages[BACK]) - 1) + max(0, len(outages[CUT]) - 1) for outages in side.found)


def _flapped(flaps: int, side: Side, scope: Scope, context: Context) -> Observation:
    """None where there were none, of a circuit that may not have been cut."""
    said = "It went and came once at most." if not flaps else f"A flow was cut off {flaps} times more than once."
    return Observation(
        metric="outage",
        statistic="flaps",
        scope=scope,
        unit="",
        value=flaps if flaps or side.shown else None,
        n=len(side.stream.flows),
        interval=Interval(flaps, flaps, 1.0, "exact", "counted") if flaps or side.shown else None,
        evidence=side.stream.evidence,
        reason=said,
        hosts=context.hosts,
    )


def _unseen(side: Side, carried: Mapping[str, Mapping[str, int]], context: Context) -> str:
    """Why nothing is known of the cut in this direction."""
    if side.wan is not None and not side.wan.gone:
        return str(side.wan)
    if side.all(CUT):
        return f"No flow was cut off as soon after the cut as it should show. {gone.WORD} {MORE}"
    least, interval_ns = side.least_run, side.stream.interval_ns
    if least > outage.MUCH_RUN:
        return (
            f"What was lost before the cut would hide an outage of fewer than {least} probes in a row "
            f"({least * interval_ns / 1e6:g} ms), and no flow lost as many. Look why the path loses packets first."
        )
    ce = context.circuit.ce_host
    total = sum(sum(told.values()) for told in carried.values())
    if ce is not None and len(carried) > 1 and sum(carried.get(ce.name, {}).values()) < outage.IDLE_SHARE * total:
        return f"No flow of this direction was cut off: {ce.name} carried none of them before it was cut. {MORE}"
    return f"{UNSEEN} Look whether the hook cut this circuit. {MORE}"


def _split(side: Side, scope: Scope, context: Context) -> Observation:
    """The share of flows on the circuit that took fewer of them: those that the cut hit, or the others.

    Where it hit none of this direction nobody knows: the other direction alone may have been cut.
    """
    flows, hit = len(side.found), sum(bool(outages[CUT]) for outages in side.found)
    least, most = clopper_pearson(hit / flows, flows)
    lo, hi = min(least, 1 - most), most if most < 0.5 else 1 - least if least > 0.5 else 0.5
    said = f"{hit} of {flows} flows took the circuit that was cut." if hit else "No flow was cut off by the cut."
    return Observation(
        metric="outage",
        statistic="split",
        scope=scope,
        unit="1",
        value=min(hit, flows - hit) / flows if hit else None,
        n=flows,
        interval=Interval(lo, hi, CONFIDENCE, "one", "Clopper–Pearson over the flows", flows),
        evidence=side.stream.evidence,
        reason=said + (" None is known to take another one." if hit == flows else ""),
        hosts=context.hosts,
    )


def _time(statistic: str, side: Side, phase: str, scope: Scope, context: Context) -> Observation:
    each = side.bounds(phase)
    worst = outage.worst(each)
    known = side.shown and not (phase == CUT and side.at_least)
    return Observation(
        metric="outage",
        statistic=statistic,
        scope=scope,
        unit="ns",
        value=worst.value,
        n=sum(len(flow.t_ns) for flow in side.stream.flows),
        interval=Interval(worst.lo, worst.hi if known else math.inf, 1.0, "exact", METHOD),
        evidence=side.stream.evidence,
        reason=_about(side, phase, each),
        hosts=context.hosts,
    )


def _about(side: Side, phase: str, each: Sequence[Bounds]) -> str:
    """How many flows, how often, and what makes the figure doubtful."""
    hit = sum(bounds.value > 0 for bounds in each)
    if not hit:
        said = f"None of {len(each)} flows lost {side.least_run} probes in a row."
    elif hit == len(each):
        said = f"All {hit} flows were cut off." if hit > 1 else "The flow was cut off."
    else:
        said = f"{hit} of {len(each)} flows were cut off, the others lost nothing of the kind."
    if any(math.isinf(outage.most_ns) for outage in side.all(phase)):
        said += " It had not ended when the test did."
    elif phase == CUT and side.outlasted:
        said += " It ended only when the circuit was given back, and may have been longer."
    if phase == BACK and not side.shown:
        said += " That flows of this direction took this circuit was not seen, so that this is no proof of a short one."
    elif side.wan is None:
        said += f" {gone.WORD}"
    elif not side.wan.gone:
        said += f" {side.wan}"
    elif not side.wan.carried:
        said += f" {side.wan.router} carried none of them before it was cut: what cut these off may not be the cut."
    if side.all(BEFORE):
        said += " It was cut off before anything was done to it, too."
    host = ledger.host_loss(side.rows)[1]
    return said + (f" The hosts may have lost {host:,} of its probes." if host else "")


# --- for report and diagnosis -----------------------------------------------------------------------


def _told(side: Side) -> list[dict[str, Any]]:
    """Each outage; times by the coordinator's clock, None where an edge was not seen."""
    rows = []
    for flow, phases in zip(side.stream.flows, side.found, strict=True):
        for phase, outages in phases.items():
            for each in outages:
                open_end = math.isinf(each.end_ns[1])
                rows.append(
                    {
                        "direction": side.stream.way.value,
                        "source_port": flow.source_port,
                        "phase": phase,
                        "clock": side.stream.sender,
                        "begin_ns": side.clock.ours(utc(flow, each.begin_ns[1])),
                        "end_ns": None if open_end else side.clock.ours(utc(flow, each.end_ns[1])),
                        "open_ns": side.clock.open_ns + side.stream.interval_ns,
                        "lost": each.lost,
                        "returns": each.returns,
                        "length_ns": each.length_ns,
                        "least_ns": each.least_ns,
                        "most_ns": None if math.isinf(each.most_ns) else each.most_ns,
                    }
                )
    return sorted(rows, key=lambda row: (row["begin_ns"], row["source_port"]))


def _flows(side: Side) -> list[dict[str, Any]]:
    """Each flow, with [figure, least, most] of both phases in ns; most is None where it had no end."""
    times = {phase: [_plain(bounds) for bounds in side.bounds(phase)] for phase in (CUT, BACK)}
    return [
        {
            "source_port": flow.source_port,
            "sent": len(flow.t_ns),
            "lost": int(flow.lost.sum()),
            "outage_ns": times[CUT][at],
            "failback_ns": times[BACK][at],
        }
        for at, flow in enumerate(side.stream.flows)
    ]


def _plain(bounds: Bounds) -> list[float | None]:
    return [bounds.value, bounds.lo, None if math.isinf(bounds.hi) else bounds.hi]


def _facts(side: Side) -> dict[str, Any]:
    stream = side.stream
    return {
        "interval_ns": stream.interval_ns,
        "least_run": side.least_run,
        "overtaken": stream.overtaken,
        "timer_error_ns": dict(stream.timer_error_ns),
        "wan": None if side.wan is None else {**asdict(side.wan), "gone": side.wan.gone},
        "clock_ahead_ns": side.clock.ahead_ns,
        "clock_open_ns": side.clock.open_ns,
        "start_ns": side.clock.ours(int(stream.flows[0].utc_ns[0])),
        "end_ns": side.clock.ours(int(stream.flows[0].utc_ns[-1])),
    }


def _expected(task: Task, files: TaskFiles, context: Context) -> dict[str, Any]:
    """How soon BFD or the health check should notice a failure by the order, and by what routers are set to; and what
    is allowed for rerouting after that."""
    vbr = context.circuit.vbr_of((context.a.name, context.z.name))
    by, detection_ns = vbr.noticed_by or (None, None)
    peer = str(vbr.link.cloud.ip)
    return {
        "by": by,
        "detection_ns": detection_ns,
        "reroute_ns": REROUTE_NS,
        "peer": peer,
        "timers": failover_noticed.timers(task, files, peer),
    }


def _prober(sides: Sequence[Side]) -> Mapping[str, Any]:
    counts = {name: sum(int(side.stream.sent[name]) for side in sides) for name in ("sent", "missed", "send_errors")}
    worst = {name: max(side.stream.timer_error_ns[name] for side in sides) for name in probe.TIMER_QUANTILES}
    arrived = sum(int(side.stream.reflected.get("received", 0)) for side in sides)
    return {**counts, "replied": arrived, "stamps": {}, "timer_error_ns": worst}


def _fitness(task: Task, context: Context, sides: Sequence[Side]) -> tuple[Fitness, ...]:
    """A host is fit whose stream kept its schedule: what it did not send tells of no outage."""
    rows = []
    for host in context.hosts:
        reasons = []
        for side in sides:
            sent = side.stream.sent
            due = sent["sent"] + sent["missed"] + sent["send_errors"]
            if side.stream.sender == host and sent["sent"] < probe.LEAST_KEPT * due:
                reasons.append(f"it offered {sent['sent']:,} of the {due:,} probes of its schedule")
        evidence = tuple(path for side in sides if side.stream.sender == host for path in side.stream.evidence)
        rows.append(fitness(host, task, reasons, evidence))
    return tuple(rows)
