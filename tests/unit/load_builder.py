"""What the jobs of a load session would have left, had the circuit been a simulated meter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from perfharness import evidence
from perfharness.measurements import REGISTRY, Context
from perfharness.measurements.load_session import DRIVE, SERVE
from perfharness.model import Job, Measurement, Task
from tests.unit.job_files import CONTEXT, counters
from tests.unit.load_truth import OFFSET_NS, Load, Meter, Seen, through
from tests.unit.probe_stream import START_UNIX_NS

GAP_NS = 100_000_000
"""Between two phases: each begins with an empty queue."""
APART_NS = 77_000_000
"""How far the receiver's clock is ahead of the sender's."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """What they do to a load."""

    most_bps: float = 10e9
    """More the sender does not send."""
    searched_bps: float = 10e9
    """... nor in a search, which waits for no late packet."""
    transmits: float = 1.0
    """Share of what its program sends that its interface does; the rest vanishes uncounted."""
    drops: float = 0.0
    """Share of what reaches the receiver that its socket drops."""
    stalls: Sequence[tuple[float, float]] = ()
    """Of the sender, in each phase."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What counters rise by: ``queued``, ``rcvbuf``."""


def measured(
    folder: Path, task: Task, meter: Meter, hosts: Hosts | None = None, context: Context = CONTEXT, seed: int = 0
) -> Measurement:
    run = left(folder, task, meter, hosts or Hosts(), seed)
    return REGISTRY[task.measurement].analyse(task, run.files(task.id), context)


def left(folder: Path, task: Task, meter: Meter, hosts: Hosts, seed: int = 0) -> evidence.RunFolder:
    run = evidence.create(folder, "c", "r", {})
    told = {}
    for name in {job.secret for job in task.jobs if job.method in (SERVE, DRIVE)}:
        pair = [job for job in task.jobs if job.secret == name]
        told.update(_session(pair, meter, hosts, np.random.default_rng(seed)))
    for job in task.jobs:
        where = f"raw/{task.id}/{job.endpoint}.{job.id}"
        data, files = told.get(job.id, ({}, {"counters.jsonl": _counters(task, meter, hosts)}))
        for name, content in files.items():
            run.write(f"{where}/{name}", content)
        done = {"format_version": 1, "status": "completed", "args": dict(job.args), "data": data}
        run.write_json(f"{where}/result.json", {**done, "started_ns": 1, "ended_ns": 2})
    run.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    return run


def _counters(task: Task, meter: Meter, hosts: Hosts) -> bytes:
    """The interface sends what the overload's packets are, or what it lets through of them."""
    phases = next(job.args["phases"] for job in task.jobs if job.method == DRIVE)
    times = max(float(phase.get("times_found", 0)) for phase in phases)
    offered = min(meter.rate_bps * times, hosts.most_bps) * hosts.transmits
    return counters(seconds=40, step_bytes=round(offered / 8 / 10), **hosts.counts)


@dataclass
class _Session:
    """What both ends note; their counts run on from phase to phase."""

    meter: Meter
    hosts: Hosts
    overhead_bytes: int
    random: np.random.Generator
    now_ns: int = START_UNIX_NS
    sent: int = 0
    arrived: int = 0
    octets: int = 0
    dropped: int = 0
    departures: list[Any] = field(default_factory=list)
    arrivals: list[Any] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    """By the sender, a phase each."""
    heard: list[dict[str, Any]] = field(default_factory=list)
    """By the receiver, a phase each."""

    def play(self, phase: Mapping[str, Any]) -> None:
        size, seconds = phase["packet_bytes"], phase["seconds"]
        scale = (size + self.overhead_bytes) / (size + self.meter.header_bytes)
        aimed = self._aimed_bps(phase, scale)
        offered = min(aimed, self.hosts.searched_bps if "search" in phase else self.hosts.most_bps)
        one = {"name": phase["name"], "packet_bytes": size, "rate_bps": round(aimed), "first": self.sent}
        one |= {"packets": 0, "started_ns": self.now_ns, "late_ns": 0, "shed": 0, "blocked": 0}
        other: dict[str, Any] = {"packets": 0, "bytes": 0, "duplicates": 0, "reordered": 0}
        other |= {"first_ns": None, "last_ns": None}
        self._depart(aimed)
        if aimed:
            load = Load(offered / scale, size, seconds, stalls=self.hosts.stalls, keeps=self.hosts.transmits)
            seen = through(self.meter, load, self.random)
            other |= self._arrive(seen, size)
            shed = round((aimed - offered) / 8 / (size + self.overhead_bytes) * seconds)
            one |= {"packets": seen.sent, "shed": shed, "late_ns": 3_000_000 * (aimed > offered)}
            self.sent += seen.sent
        self.now_ns += round(seconds * 1e9)
        self._depart(aimed)
        self.told.append({**one, "ended_ns": self.now_ns})
        self.heard.append(other)
        self.now_ns += GAP_NS

    def _aimed_bps(self, phase: Mapping[str, Any], scale: float) -> float:
        """At the ordered layer, of which the meter counts ``scale`` less."""
        most = phase.get("search", {}).get("most_bps", 1e18)
        found = min(self.meter.rate_bps * scale, most, self.hosts.most_bps, self.hosts.searched_bps)
        return float(phase.get("rate_bps", found * phase.get("times_found", 1.2)))

    def _depart(self, aimed_bps: float) -> None:
        self.departures.append((self.now_ns, len(self.told), self.sent, round(aimed_bps)))

    def _arrive(self, seen: Seen, size: int) -> dict[str, Any]:
        """What the receiver notes of each batch; returns what it tells of the phase."""
        kept, lost = _kept(seen, self.hosts.drops, self.random)
        highest = seen.batches.offered // (size + self.meter.header_bytes)
        t_ns = seen.batches.t_ns - OFFSET_NS + self.now_ns + APART_NS
        delay_ns = seen.delay_ns - OFFSET_NS + APART_NS
        came, index = self.arrived + kept, len(self.told)
        octets, sent, dropped = self.octets + kept * size, self.sent + highest, self.dropped + lost
        for t, *counts in zip(*(each.tolist() for each in (t_ns, came, octets, sent, delay_ns, dropped)), strict=True):
            self.arrivals.append((t, index, *counts))
        self.arrived, self.octets, self.dropped = int(came[-1]), int(octets[-1]), int(dropped[-1])
        first_ns, last_ns = int(t_ns[0]) - 100_000, int(t_ns[-1])
        return {"packets": int(kept[-1]), "bytes": int(kept[-1]) * size, "first_ns": first_ns, "last_ns": last_ns}


def _session(
    pair: Sequence[Job], meter: Meter, hosts: Hosts, random: np.random.Generator
) -> dict[str, tuple[dict[str, Any], dict[str, bytes]]]:
    """By job: its result, and its files."""
    sender, receiver = (next(job for job in pair if job.args["sends"] is sends) for sends in (True, False))
    session = _Session(meter, hosts, sender.args["overhead_bytes"], random)
    for phase in sender.args["phases"]:
        session.play(phase)
    sent = {"role": "sender", "phases": session.told, "search": _search(meter, hosts), "rtt_ns": 2_000_000, "cpu_ns": 1}
    came = {"role": "receiver", "phases": session.heard, "drops": session.dropped, "unread": 0, "cpu_ns": 1}
    left = {"sent.jsonl": _lines(("t_ns", "phase", "packets", "rate_bps"), session.departures)}
    columns = ("t_ns", "phase", "packets", "bytes", "highest", "delay_ns", "drops")
    return {
        sender.id: ({**sent, "ended": "by itself"}, left),
        receiver.id: ({**came, "ended": "by itself"}, {"arrivals.jsonl": _lines(columns, session.arrivals)}),
    }


def _search(meter: Meter, hosts: Hosts) -> dict[str, Any]:
    """Three steps, and then too much for the circuit or for the sender."""
    steps = [
        {"rate_bps": rate, "carried_bps": rate * (1 - meter.loses), "share": 1 - meter.loses, "queue_ns": 0}
        for rate in (meter.rate_bps * share for share in (0.1, 0.2, 0.4))
    ]
    by_sender = min(hosts.most_bps, hosts.searched_bps) < meter.rate_bps
    return {"found_bps": 1, "ended": "sender" if by_sender else "overloaded", "steps": steps}


def _kept(seen: Seen, drops: float, random: np.random.Generator) -> tuple[Any, Any]:
    """(arrived, dropped by the socket) up to each batch."""
    came = seen.batches.arrived // (seen.batches.arrived[-1] // seen.arrived if seen.arrived else 1)
    lost = np.cumsum(random.binomial(np.diff(came, prepend=0), drops))
    return came - lost, lost


def _lines(columns: Sequence[str], rows: Sequence[Any]) -> bytes:
    head = json.dumps({"format_version": 1, "columns": list(columns)})
    return "\n".join([head, *(json.dumps(row) for row in rows)]).encode() + b"\n"


def one_way(measure: str, context: Context = CONTEXT, **params: Any) -> Task:
    kind = REGISTRY[measure]
    (task,) = kind.tasks(kind.parameters.model_validate({"direction": "a-z", **params}), "step", context)
    return task


def ordered(bps: int, context: Context = CONTEXT) -> Context:
    """The same circuit with another bandwidth ordered."""
    (vbr,) = context.circuit.vbrs
    changed = {"vbrs": (vbr.model_copy(update={"bandwidth_bps": bps}),)}
    objectives = context.circuit.objectives.model_copy(update={"rate_bps": bps})
    circuit = context.circuit.model_copy(update={**changed, "objectives": objectives})
    return replace(context, circuit=circuit)
