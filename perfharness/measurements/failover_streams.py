"""The two probe streams of a failover test: what became of the probes of each flow, each way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfharness.analysis import ledger, outage, timeline
from perfharness.analysis.loss import reordered
from perfharness.analysis.samples import Samples
from perfharness.analysis.statistics import Bools, Ints
from perfharness.errors import EvidenceBroken
from perfharness.evidence import TaskFiles
from perfharness.measurements import probe, probe_ledger
from perfharness.measurements.base import Context
from perfharness.measurements.pieces import open_pieces
from perfharness.model import Direction, LedgerRow, Scope, Window

SENDER, REFLECTOR = probe.SENDER, probe.REFLECTOR
WAYS = (Direction.A_Z, Direction.Z_A)
LEAST_STEADY = 100
"""Probes of a flow before the cut: of fewer nobody can say what is ordinary loss."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The n probes of one flow in one direction, in the order of sending."""

    source_port: int
    t_ns: Ints
    """When each left by the sender's CLOCK_MONOTONIC."""
    utc_ns: Ints
    """... and by its clock of the day."""
    lost: Bools


@dataclass(frozen=True, slots=True)
class Stream:
    """One direction."""

    way: Direction
    sender: str
    receiver: str
    flows: tuple[Flow, ...]
    interval_ns: int
    """Between two probes of a flow."""
    clock_ns: int
    """What times may be wrong by because the sender's clock was set meanwhile."""
    sent: Mapping[str, Any]
    reflected: Mapping[str, Any]
    timer_error_ns: Mapping[str, float]
    overtaken: int
    """Probes that arrived after one that was sent later."""
    missing: ledger.Missing
    evidence: tuple[str, ...]

    def steady(self, until_ns: int) -> list[Bools]:
        """What was lost of each flow before this moment of the sender's clock."""
        return [flow.lost[flow.utc_ns < until_ns] for flow in self.flows]


def read(files: TaskFiles, context: Context, way: Direction) -> Stream | str:
    """One direction's stream, or one sentence why there is none. Raises EvidenceBroken."""
    source, target = context.ends(way)
    names = f"{SENDER}-{way.value}", f"{REFLECTOR}-{way.value}"
    sent, reflected = files.result(source.name, names[0]), files.result(target.name, names[1])
    recorded = files.recording(source.name, names[0], "sender")
    log = files.recording(target.name, names[1], "reflector")
    if sent is None or sent["status"] != "completed" or recorded is None:
        return f"{source.name} left no result of its probe stream."
    if reflected is None or log is None:
        return f"{target.name} left no result of its reflector."
    samples = open_pieces(recorded, log, sent["data"], reflected["status"] == "completed").whole()
    if not len(samples.seq):
        return f"{source.name} sent no probe at all."
    if samples.schedule_ns is None:
        raise EvidenceBroken("The sender did not say when its probes were due.")
    left_ns, clock_ns = outage.sent_ns(samples.t1, samples.schedule_ns, samples.clock)
    late = left_ns - samples.schedule_ns
    return Stream(
        way,
        source.name,
        target.name,
        tuple(_flows(samples, left_ns, sent["data"]["source_ports"])),
        int(sent["args"]["interval_ns"]) * int(sent["args"]["flows"]),
        clock_ns,
        sent["data"],
        reflected["data"],
        {name: float(np.quantile(late, q)) for name, q in probe.TIMER_QUANTILES.items()},
        int(_overtaken(samples.arrivals)),
        _missing(samples, sent["data"], reflected["data"], int(sent["ended_ns"])),
        (
            files.sample_path(source.name, names[0], "sender"),
            files.sample_path(target.name, names[1], "reflector"),
        ),
    )


def _flows(samples: Samples, left_ns: Ints, ports: list[int]) -> list[Flow]:
    """Without the probes of which nobody knows whether they arrived."""
    told, flow = samples.seen | samples.logged, samples.seq % len(ports)
    found = []
    for number, port in enumerate(ports):
        mine = told & (flow == number)
        found.append(Flow(int(port), left_ns[mine], samples.t1[mine], samples.lost_forward[mine]))
    return found


def _overtaken(arrivals: Ints) -> int:
    """Reordered packets (RFC 4737, section 3)."""
    return int(reordered(arrivals).sum())


def _missing(samples: Samples, sent: Mapping[str, Any], reflected: Mapping[str, Any], ended_ns: int) -> ledger.Missing:
    """What is to be explained by the hosts. A probe that a sender's kernel stamped has left it."""
    when = timeline.departures(samples, Direction.A_Z, probe.WAIT_NS)
    here, there = when.moments() if when is not None else (None, None)
    start_ns = int(sent["start_unix_ns"])
    return ledger.Missing(
        packets=int(samples.lost_forward.sum()),
        window=Window(start_ns, max(ended_ns, start_ns)),
        sockets=[{"drops": reflected.get("rxq_dropped"), "others": reflected.get("foreign", 0) > 0}],
        at_sender=here,
        at_receiver=there,
        untransmitted=samples.untransmitted(Direction.A_Z),
        unread=int(reflected.get("unread", 0)),
    )


def booked(stream: Stream, context: Context, counted: probe_ledger.Counters, scope: Scope) -> tuple[LedgerRow, ...]:
    """What the hosts may have lost of it; routers are part of what is tested."""
    rows = counted.book(context, scope, stream.missing)
    return (*rows, ledger.rest(stream.missing.packets, rows, scope))
