"""policing: who meters the circuit, and how: policer or shaper, its rate, its bucket or queue, and the layer it counts.

An overload of large packets and one of small ones tell the rate and the layer; five trains from rest tell the bucket;
a long overload from rest tells the queue, and a bucket that is larger than the trains.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field

from perfharness.analysis.capacity import headers_bytes, overhead_bytes
from perfharness.errors import ToolFailed
from perfharness.evidence import TaskFiles
from perfharness.measurements import load_others, load_overload, load_session, policing_meter, probe_ledger
from perfharness.measurements.base import Context, Params, failed, not_completed, window_of
from perfharness.measurements.capacity import (
    LEAST_BPS,
    PATIENCE_S,
    PORT_SHARE,
    MostRate,
    fitness,
    held_bps,
    load_task,
    most_bps,
    overload_times,
    search_phase,
)
from perfharness.measurements.load_session import Session
from perfharness.measurements.policing_meter import LONG, TRAIN, Meter
from perfharness.measurements.throughput import MOST_BUFFER, WAYS, LoadDirections
from perfharness.model import Direction, Measurement, Observation, Series, Status, Task
from perfharness.order.units import Duration, Size

LARGE, SMALL, REST = "large", "small", "rest"
TRAINS, TRAIN_S, REST_S = 5, 0.06, 1.0
TIMES, LONG_TIMES = 2.5, 1.6
"""What the trains and the long overload offer, of the ordered rate, if the port has room for it."""
ROOM = 1.1
"""Share of the ordered rate that the port must have for anybody to need a meter."""
SEARCH_NS = 3_000_000_000
SMALL_OVER = 1.15
"""What small packets offer, of what the search found: enough to overload, and a sixth less work than for large ones."""
PACKETS_PER_S = 25_000
"""Any host sends so many, a small instance with a limit of packets too: small packets are as large as that asks for."""
LEAST_SMALL, MOST_LARGE = 200, 8400
"""UDP payload, bytes."""
SMALLER = 0.8
"""Of the large size the small one is at most so much: a rate known to 0.01 % then tells the header to half a byte."""
DRAWN = 400
"""Points of a picture."""
NO_METER = "The order is the port's own rate: nobody polices or shapes it."


class PolicingParams(Params):
    direction: LoadDirections = (Direction.A_Z, Direction.Z_A)
    hold_ns: Duration = Field(default=2_500_000_000, alias="hold", ge=1_000_000_000, le=60_000_000_000)
    """With each of the two sizes."""
    long_ns: Duration = Field(default=3_000_000_000, alias="long", ge=1_000_000_000, le=60_000_000_000)
    most_bps: MostRate = Field(default=None, alias="most", ge=LEAST_BPS)
    """Nothing beyond this is offered, at the ordered layer; `port`: what overloads whatever the port carries."""
    receive_buffer_bytes: Size | None = Field(default=16 << 20, alias="receive_buffer", le=MOST_BUFFER)


class Policing:
    name = "policing"
    parameters = PolicingParams
    statistics: Mapping[str, Collection[str]] = {
        "policing": ("kind", "layer"),
        "policing.rate": ("mean",),
        "policing.bucket": ("median",),
        "policing.queue": ("median",),
    }

    def tasks(self, params: PolicingParams, step: str, context: Context) -> tuple[Task, ...]:
        ways = WAYS if Direction.BOTH in params.direction else params.direction
        return tuple(self._task(params, step, context, way) for way in ways)

    def _task(self, params: PolicingParams, step: str, context: Context, way: Direction) -> Task:
        large, small = sizes(context)
        most = held_bps(params.most_bps, large, context)
        yields = dict.fromkeys(self.statistics, (way,))
        if context.port_bps(large) < ROOM * context.committed_bps:
            scope = context.scope(way, load="udp")
            return Task(f"{step}-{way.value}", step, self.name, scope, jobs=(), duration_s=0.0, yields=yields)
        phases = _phases(params, context, large, small)
        peak = max(float(phase.get("rate_bps", 0)) for phase in phases)
        task = load_task(self.name, step, params, context, way, phases, round(max(peak, most)))
        return replace(task, yields=yields)

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        if not task.jobs:
            nothing = [
                Observation(metric, statistic, task.scope, UNITS[metric], None, 0, reason=NO_METER)
                for metric, names in self.statistics.items()
                for statistic in names
            ]
            return Measurement(task, Status.COMPLETED, observations=tuple(nothing), facts={"no_meter": NO_METER})
        broken = not_completed(task, files)
        if broken:
            return broken
        try:
            (session,) = load_session.sessions(task, files)
        except ToolFailed as error:
            return failed(task, files, str(error))
        counted = probe_ledger.counters(files, context)
        idle = policing_meter.from_rest(session)
        large, small, long = (
            load_overload.overload(session, name, idle, task.scope, files, context, counted)
            for name in (LARGE, SMALL, LONG)
        )
        if isinstance(large, str):
            return failed(task, files, large)
        found = policing_meter.meter(session, large, small, long, context)
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=_observations(found, session, task, context),
            ledger=large.rows,
            fitness=fitness(task, context, {session.way: large}),
            series=_series(session, found),
            facts={
                "policing": {session.way.value: _facts(found, context)},
                "others": load_others.others_bps(files, context, (session,)),
            },
        )


UNITS = {"policing": "", "policing.rate": "bit/s", "policing.bucket": "B", "policing.queue": "ns"}


# --- before the run ---------------------------------------------------------------------------------


def sizes(context: Context) -> tuple[int, int]:
    """(large, small) UDP payloads: as far apart as the MTU and a sender's packets/s allow."""
    header = overhead_bytes(context.layer, tagged=context.tagged)
    due = round(SMALL_OVER * context.committed_bps / 8 / PACKETS_PER_S) - header
    mtu = context.circuit.vbr_of((context.a.name, context.z.name)).mtu
    large = min(MOST_LARGE, (mtu - headers_bytes()) // 100 * 100)
    return large, min(max(LEAST_SMALL, due), round(SMALLER * large))


def _phases(params: PolicingParams, context: Context, large: int, small: int) -> list[dict[str, Any]]:
    over, most = overload_times(large, context), most_bps(params.most_bps, large, context)
    searched = PolicingSearch(params.most_bps, large, SEARCH_NS)
    found = {"times_found": over, "most_bps": held_bps(params.most_bps, large, context)}

    def offered(times: float) -> int:
        return round(min(times * context.committed_bps, PORT_SHARE * most))

    def phase(name: str, seconds: float, size: int, **rate: float) -> dict[str, Any]:
        return {"name": name, "seconds": seconds, "packet_bytes": size, "patience_s": PATIENCE_S, **rate}

    phases = [
        search_phase(searched, context),
        phase(LARGE, params.hold_ns / 1e9, large, **found),
        phase(SMALL, params.hold_ns / 1e9, small, **{**found, "times_found": min(over, SMALL_OVER)}),
    ]
    for number in range(TRAINS):
        phases.append(phase(f"{REST} {number + 1}", REST_S, large, rate_bps=0))
        phases.append(phase(f"{TRAIN} {number + 1}", TRAIN_S, large, rate_bps=offered(TIMES)))
    phases.append(phase(f"{REST} {TRAINS + 1}", REST_S, large, rate_bps=0))
    phases.append(phase(LONG, params.long_ns / 1e9, large, rate_bps=offered(LONG_TIMES)))
    return phases


@dataclass(frozen=True, slots=True)
class PolicingSearch:
    """What a search is asked for."""

    most_bps: int | None
    packet_bytes: int
    search_ns: int


# --- figures ----------------------------------------------------------------------------------------


def _observations(found: Meter, session: Session, task: Task, context: Context) -> tuple[Observation, ...]:
    frame = found.large.phase.packet_bytes + headers_bytes() + 14
    about: dict[str, Any] = {
        "scope": replace(task.scope, frame_bytes=frame),
        "evidence": session.evidence,
        "hosts": context.hosts,
    }
    large = found.large
    said = f"It {policing_meter.sentence(found, context)}." if large.proven else policing_meter.unproven(large)
    bucket = found.bucket if found.kind == "policer" else None
    no_bucket = (
        "What a shaper holds is its queue." if found.kind == "shaper" else "No train and no overload emptied it."
    )
    no_layer = f"It cannot be told from the two sizes{policing_meter.header_text(found)}."
    queue = found.queue_ns if found.kind == "shaper" else None
    layer = None if found.layer is None else policing_meter.layer_text(found.layer)
    scale = policing_meter.counted(found, context) / session.counted(large.phase)

    def figure(metric: str, statistic: str, value: Any, n: int, reason: str, **more: Any) -> Observation:
        why = reason if large.proven else said
        return Observation(
            metric=metric, statistic=statistic, unit=UNITS[metric], value=value, n=n, reason=why, **about, **more
        )

    return (
        figure(
            "policing", "kind", found.kind, 1, said if found.kind else "Its delay tells neither the one nor the other."
        ),
        figure("policing", "layer", layer, 2, "" if layer else no_layer),
        figure(
            "policing.rate",
            "mean",
            large.rate_bps,
            large.steady.blocks,
            said,
            interval=large.interval,
            layer=context.layer,
        ),
        figure(
            "policing.bucket",
            "median",
            None if bucket is None else bucket[0] * scale,
            found.trains,
            f"From {found.trains} trains." if bucket else no_bucket,
            interval=None if bucket is None else policing_meter.scaled(bucket[1], scale),
        ),
        figure(
            "policing.queue",
            "median",
            queue,
            large.steady.blocks,
            "How much later than on an idle path half of the packets came." if queue else "It does not queue.",
        ),
    )


# --- for the report ---------------------------------------------------------------------------------


def _facts(found: Meter, context: Context) -> dict[str, Any]:
    large = found.large
    return {
        "sentence": policing_meter.sentence(found, context) if large.proven else None,
        "open": None if large.proven else policing_meter.unproven(large),
        "kind": found.kind,
        "layer": None if found.layer is None else policing_meter.layer_text(found.layer),
        "header_bytes": None if found.header is None else [found.header.value, found.header.lo, found.header.hi],
        "rate_bps": large.rate_bps,
        "bucket_bytes": None if found.bucket is None else found.bucket[0],
        "trains": found.trains,
        "queue_ns": found.queue_ns,
        "sizes": [large.phase.packet_bytes, *([] if found.small is None else [found.small.phase.packet_bytes])],
    }


def _series(session: Session, found: Meter) -> tuple[Series, ...]:
    """What arrived of the first train, and the line of the rate through it: bytes at the ordered layer over ms."""
    name = f"{TRAIN} 1" if found.trains > 1 else LONG
    phase = session.named(name)
    if phase is None or phase.first_ns is None:
        return ()
    train = policing_meter.train_of(session, phase)
    few = np.unique(np.linspace(0, len(train.batches.t_ns) - 1, DRAWN).astype(np.int64))
    x = (train.batches.t_ns[few] - train.start_ns) / 1e6
    points = {
        "arrived": np.asarray(train.batches.arrived[few], np.float64),
        "sent": np.asarray(train.batches.offered[few], np.float64),
    }
    if found.bucket is not None:
        points["rate and bucket"] = found.bucket[0] + found.rate_bps / 8e3 * x
    way = session.way
    return tuple(Series(label, x, y, "B", "policing", way, phase.first_ns, x_unit="ms") for label, y in points.items())
