"""capacity: what the circuit carries at most in each direction, within 15 s and by the receiver's word.

A search climbs until more is offered than arrives; then a quarter more than it found is offered for seconds. What
arrives once every token bucket is empty is ``capacity.sustained``, and that is judged; the best second contains the
bucket and is ``capacity.max``. Last comes a rest and a load just below what was found: does that pass without loss?

The load's own packets tell delay and loss, so no probes are beside it and no bytes but its own have to be counted.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from perfharness.analysis.capacity import convert, headers_bytes
from perfharness.analysis.policing import SHAPER_QUEUE_NS
from perfharness.errors import BadInput, ToolFailed
from perfharness.evidence import TaskFiles
from perfharness.measurements import base, load_others, load_overload, load_session, probe_ledger
from perfharness.measurements.base import SETUP_S, Context, Params, counters, failed, not_completed, window_of
from perfharness.measurements.load_overload import Overload
from perfharness.measurements.load_session import Session
from perfharness.measurements.throughput import BUFFER_PRIVILEGE, MOST_BUFFER, WAYS, LoadDirections
from perfharness.model import (
    Direction,
    Fitness,
    Interval,
    Layer,
    Measurement,
    Observation,
    PortUse,
    Series,
    Status,
    Task,
)
from perfharness.order.units import Duration, Rate, Size, rate_text
from perfharness.order.wrong import wrong

SEARCH, HOLD, REST, CONFIRM = "search", "hold", "rest", "confirm"
OVER, BELOW = 1.25, 0.995
"""What hold and confirm offer, of what the search found."""
LEAST_OVER, PORT_SHARE = 1.06, 0.97
"""An overloaded port queues and drops like a meter: so the overload stays below its speed, where it still is one. An
order of the port's own speed is offered as little above it as proves an overload: more only tires the hosts."""
START, LEAST_BPS = 0.1, 1_000_000
"""Share of the ordered rate with which the search begins, and the least that it begins with."""
PATIENCE_S = 0.02
"""Whoever is offered too much anyway is not spared what a sender is late with; only so is an overload one, where others
take its CPU for a moment."""
REST_S = 0.7
SLACK_S = 1.5
"""What a session takes on top of its phases."""
POINT_S = 0.05
"""Between two points of the picture."""
ENOUGH = 0.99
"""A host that let so much of the order pass has done its part; whether that suffices is the criterion's."""
LOSSLESS = 1e-3
"""A load just below the capacity of which less is lost has passed."""


MostRate = Annotated[Rate | None, BeforeValidator(lambda value: None if value == "port" else value)]


class CapacityParams(Params):
    direction: LoadDirections = (Direction.A_Z, Direction.Z_A)
    search_ns: Duration = Field(default=3_000_000_000, alias="search", ge=1_000_000_000, le=30_000_000_000)
    hold_ns: Duration = Field(default=5_000_000_000, alias="hold", ge=2_000_000_000, le=600_000_000_000)
    confirm_ns: Duration = Field(default=2_000_000_000, alias="confirm", ge=1_000_000_000, le=60_000_000_000)
    most_bps: MostRate = Field(default=None, alias="most", ge=LEAST_BPS)
    """Nothing beyond this is offered, at the ordered layer; `port`: what overloads whatever the port carries."""
    packet_bytes: Size = Field(default=1400, alias="packet", ge=64, le=8972)
    """UDP payload."""
    receive_buffer_bytes: Size | None = Field(default=16 << 20, alias="receive_buffer", le=MOST_BUFFER)
    """Forced on the receiver's own socket where the host allows it; no setting of the host is changed."""


class Capacity:
    name = "capacity"
    parameters = CapacityParams
    statistics: Mapping[str, Collection[str]] = {"capacity.sustained": ("mean",), "capacity.max": ("second",)}

    def tasks(self, params: CapacityParams, step: str, context: Context) -> tuple[Task, ...]:
        context.must_fit(params.packet_bytes)
        return tuple(_task(self.name, params, step, context, direction) for direction in params.direction)

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        try:
            found = load_session.sessions(task, files)
        except ToolFailed as error:
            return failed(task, files, str(error))
        counted = probe_ledger.counters(files, context)
        idle = {session.way: session.during(CONFIRM) for session in found}
        held = {
            session.way: load_overload.overload(
                session, HOLD, idle[session.way], replace(task.scope, direction=session.way), files, context, counted
            )
            for session in found
        }
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=tuple(each for one in found for each in _observations(one, held[one.way], task, context)),
            ledger=tuple(row for one in held.values() if isinstance(one, Overload) for row in one.rows),
            fitness=fitness(task, context, held),
            series=tuple(each for session in found for each in _series(session)),
            facts={
                "capacity": {session.way.value: _facts(session, held[session.way], context) for session in found},
                "others": load_others.others_bps(files, context, found),
            },
        )


# --- before the run ---------------------------------------------------------------------------------


def most_bps(params_most: int | None, packet_bytes: int, context: Context) -> int:
    """The search's ceiling at the ordered layer. Raises ``wrong`` where that is beyond the port."""
    port = context.port_bps(packet_bytes)
    if params_most is not None and params_most > max(port, context.committed_bps):
        said = f"A port of {rate_text(context.circuit.port.speed_bps)} cannot be offered {rate_text(params_most)}."
        raise wrong(said, "Write `most: port`, or less.", at=("most",))
    # An order of the port's full speed at a layer above L1 cannot quite be carried: it is tried all the same.
    return params_most or max(port, context.committed_bps)


def overload_times(packet_bytes: int, context: Context) -> float:
    """How many times what was found is offered: below the port's speed, where the order leaves room for that."""
    room = PORT_SHARE * context.port_bps(packet_bytes) / context.committed_bps
    return round(max(LEAST_OVER, min(OVER, room)), 3)


def held_bps(params_most: int | None, packet_bytes: int, context: Context) -> int:
    """What no load goes beyond that is some times what was found. Raises ``wrong`` like :func:`most_bps`."""
    most = most_bps(params_most, packet_bytes, context)
    return most if params_most else round(overload_times(packet_bytes, context) * most)


def search_phase(params: Any, context: Context) -> dict[str, Any]:
    most = most_bps(params.most_bps, params.packet_bytes, context)
    start = min(most, max(LEAST_BPS, round(START * context.committed_bps)))
    search = {"from_bps": start, "most_bps": most}
    return {
        "name": SEARCH,
        "seconds": params.search_ns / 1e9,
        "packet_bytes": params.packet_bytes,
        "search": search,
    }


def load_task(
    name: str, step: str, params: Any, context: Context, direction: Direction, phases: list[dict[str, Any]], peak: int
) -> Task:
    """A session one way or one each way, with the hosts' counters beside it; ``peak``: bit/s one way at most.
    Raises BadInput where the cloud end has too few ports."""
    ways = WAYS if direction is Direction.BOTH else (direction,)
    free = context.load_ports(len(ways))
    if len(free) < len(ways):
        said = f"{context.z.name} allows {len(free)} ports beside the one for probes; the load needs {len(ways)}."
        raise BadInput([context.circuit.source.problem(("endpoints", context.z.name, "ports"), said, "List more.")])
    seconds = sum(phase["seconds"] for phase in phases)
    deadline = seconds + SLACK_S + 20.0
    loads = [
        job
        for way, port in zip(ways, free, strict=True)
        for job in load_session.jobs(
            context, way, port, phases, deadline, receive_buffer_bytes=params.receive_buffer_bytes
        )
    ]
    sent = sum(_rate(phase, context) / 8 * phase["seconds"] for phase in phases)
    return Task(
        id=f"{step}-{direction.value}",
        step=step,
        measurement=name,
        scope=context.scope(direction, load="udp both ways" if direction is Direction.BOTH else "udp"),
        jobs=(*counters(context, deadline + SETUP_S), *loads),
        duration_s=seconds + SLACK_S,
        load_bps=peak,
        load_bytes=round(sent) * len(ways),
        ports=tuple(PortUse(context.a.name, context.z.name, "udp", port, "UDP load and its reports") for port in free),
        privileges=(BUFFER_PRIVILEGE,),
    )


def _rate(phase: Mapping[str, Any], context: Context) -> float:
    """What a phase offers if the circuit is what was ordered."""
    given = phase.get("rate_bps")
    if given is not None:
        return float(given)
    most = phase["search"]["most_bps"] if "search" in phase else phase["most_bps"]
    return min(float(context.committed_bps) * float(phase.get("times_found", 1.0)), float(most))


def _task(name: str, params: CapacityParams, step: str, context: Context, direction: Direction) -> Task:
    size = {"packet_bytes": params.packet_bytes}
    over = overload_times(params.packet_bytes, context)
    peak = held_bps(params.most_bps, params.packet_bytes, context)
    overload = {"times_found": over, "most_bps": peak, "patience_s": PATIENCE_S}
    phases = [
        search_phase(params, context),
        {"name": HOLD, "seconds": params.hold_ns / 1e9, **size, **overload},
        {"name": REST, "seconds": REST_S, **size, "rate_bps": 0},
        {"name": CONFIRM, "seconds": params.confirm_ns / 1e9, **size, "times_found": BELOW, "most_bps": peak},
    ]
    task = load_task(name, step, params, context, direction, phases, peak)
    ways = WAYS if direction is Direction.BOTH else (direction,)
    return replace(task, yields={"capacity.sustained": ways, "capacity.max": ways})


# --- figures ----------------------------------------------------------------------------------------


def _observations(
    session: Session, held: Overload | str, task: Task, context: Context
) -> tuple[Observation, Observation]:
    frame = int(session.args["phases"][0]["packet_bytes"]) + headers_bytes() + 14
    about: dict[str, Any] = {
        "scope": replace(task.scope, direction=session.way, frame_bytes=frame),
        "unit": "bit/s",
        "layer": context.layer,
        "evidence": session.evidence,
        "hosts": context.hosts,
    }
    best = load_overload.best_second_bps(session)
    beyond = Interval(best or 0.0, math.inf, 1.0, "exact", "the most that arrived in any second")
    most = Observation(
        metric="capacity.max",
        statistic="second",
        value=best,
        n=1,
        interval=None if best is None else beyond,
        reason="The load lasted less than a second." if best is None else "It contains what a token bucket held.",
        **about,
    )
    if isinstance(held, str):
        return Observation(metric="capacity.sustained", statistic="mean", value=None, n=0, reason=held, **about), most
    return sustained(held, about), most


def sustained(held: Overload, about: Mapping[str, Any]) -> Observation:
    limit = held.limit
    at_fault = f"{limit.host}: {', '.join(limit.reasons)}"
    # Whose fault it is, the fitness of that host says; its words stand before these.
    said = f"Limited by {named(held)}." if limit.host else f"Limited by {named(held)}: {'; '.join(limit.reasons)}."
    return Observation(
        metric="capacity.sustained",
        statistic="mean",
        value=held.rate_bps,
        n=held.steady.blocks,
        interval=held.interval,
        reason=said,
        short=at_fault if limit.host else "",
        **about,
    )


def named(held: Overload) -> str:
    """What set the limit, in words."""
    return {
        load_overload.CIRCUIT: f"the circuit, {kind_text(held)}",
        load_overload.PORT: "the port",
        load_overload.SENDER: f"the CPU of {held.limit.host}",
        load_overload.RECEIVER: f"{held.limit.host}, which did not take in what reached it",
        load_overload.NIC: f"the network interface of {held.limit.host}",
        load_overload.MOST: "what was tried",
        load_overload.UNKNOWN: "something that was not seen",
    }[held.limit.what]


def kind(held: Overload) -> str | None:
    """``policer`` or ``shaper``, where the circuit was the limit and the delay is known."""
    if not held.proven or held.queue_ns is None:
        return None
    return "shaper" if held.queue_ns >= SHAPER_QUEUE_NS else "policer"


def kind_text(held: Overload) -> str:
    words = {"shaper": "which queues before it drops", "policer": "which drops without a queue"}
    return words.get(kind(held) or "", "of which nobody can tell whether it queues")


def fitness(task: Task, context: Context, held: Mapping[Direction, Overload | str]) -> tuple[Fitness, ...]:
    """A host that set the limit leaves open whether the circuit carries what was ordered, unless what arrived tells."""
    short = [
        (one.limit, one)
        for one in held.values()
        if isinstance(one, Overload)
        and one.limit.host
        and one.interval.lo < ENOUGH * context.committed_bps <= one.interval.hi
    ]
    evidence = tuple(dict.fromkeys(path for _, one in short for row in one.rows for path in row.evidence))
    return tuple(
        base.fitness(host, task, [why for limit, _ in short if limit.host == host for why in limit.reasons], evidence)
        for host in context.hosts
    )


# --- for the report ---------------------------------------------------------------------------------


def _facts(session: Session, held: Overload | str, context: Context) -> dict[str, Any]:
    size = int(session.args["phases"][0]["packet_bytes"])
    confirm, search = session.named(CONFIRM), session.search
    told: dict[str, Any] = {
        "packet_bytes": size,
        "layer": context.layer.value,
        "rtt_ns": session.rtt_ns,
        "search": None if search is None else {"found_bps": search.found_bps, "ended": search.ended},
        "best_second": _layers(load_overload.best_second_bps(session), size, context),
        "confirm": None if confirm is None else _confirmed(confirm),
        "late_ns": max(phase.late_ns for phase in session.phases),
        "shed": sum(phase.shed for phase in session.phases),
        "drops": session.drops,
    }
    if isinstance(held, str):
        return {**told, "reason": held}
    return {
        **told,
        "sustained": _layers(held.rate_bps, size, context),
        "aimed_bps": held.phase.rate_bps,
        "offered_bps": held.offered_bps,
        "transmitted_bps": held.transmitted_bps,
        "queue_ns": held.queue_ns,
        "limited_by": {
            "what": held.limit.what,
            "how": _how(held, confirm),
            "host": held.limit.host,
            "said": named(held),
            "reasons": list(held.limit.reasons),
        },
    }


def _how(held: Overload, confirm: load_session.Phase | None) -> str | None:
    """``policer``, ``policer-burst`` (a load below the rate loses too: its bucket does not even hold what a host sends
    at once) or ``shaper``."""
    found = kind(held)
    below = confirm is not None and confirm.rate_bps < BELOW * held.rate_bps
    lossy = confirm is not None and confirm.lost > LOSSLESS * confirm.sent
    return "policer-burst" if found == "policer" and below and lossy else found


def _confirmed(phase: load_session.Phase) -> dict[str, Any]:
    return {"rate_bps": phase.rate_bps, "sent": phase.sent, "lost": phase.lost}


def _layers(rate_bps: float | None, packet_bytes: int, context: Context) -> dict[str, float] | None:
    """The rate as each layer counts it."""
    if rate_bps is None:
        return None
    size = packet_bytes + headers_bytes()
    return {layer.value: convert(rate_bps, context.layer, layer, size, tagged=context.tagged) for layer in Layer}


def _series(session: Session) -> tuple[Series, ...]:
    """What arrived and what was aimed at over time, s since the session began by each host's own clock."""
    came, sent = session.arrivals, session.departures
    counted = came.bytes + came.packets * session.overhead_bytes
    edges = np.arange(came.t_ns[0], came.t_ns[-1] + 1, round(POINT_S * 1e9))
    upto = np.interp(edges, came.t_ns, counted)
    at = (edges[:-1] + edges[1:]) / 2 - came.t_ns[0]
    start, way = session.window.start_ns, session.way
    carried = Series("arrived", at / 1e9, np.diff(upto) * 8 / POINT_S, "bit/s", "capacity", way, start)
    then = np.searchsorted(sent.t_ns - sent.t_ns[0], at, side="right") - 1
    return (carried, Series("aimed at", at / 1e9, sent.rate_bps[then], "bit/s", "capacity.aimed", way, start))
