"""Probe streams over the wire: real jobs at both ends, figures as a run makes them, and the wire's truth of each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np

from perfagent import records
from perfharness import evidence
from perfharness.analysis import loss
from perfharness.analysis.samples import Samples
from perfharness.analysis.statistics import Ints
from perfharness.lab.linespec import LineSpec
from perfharness.lab.wire import DIRECTIONS
from perfharness.measurements import REGISTRY, Context, probe
from perfharness.model import Direction, Job, Measurement, Observation, Role, Task
from perfharness.order.circuit import Endpoint, load_circuit
from perfharness.order.scenario import find_shipped
from perfharness.order.units import ports
from tests.integration.namespaces import Running
from tests.integration.wires import ADDRESSES, Wired

A_Z, Z_A = DIRECTIONS
WAIT_NS = 300_000_000
"""Far beyond any delay that is played here."""
LATE_NS = {"p50": 30_000, "p99": 500_000}
"""What came over a wire that was later than this is sent once more: the machine was busy."""

Lines = Mapping[Direction, LineSpec]


@dataclass(frozen=True, slots=True)
class Found:
    """One stream: what the measurement says of it, what it says it from, and what the wire did to it."""

    measurement: Measurement
    probe: probe.Probe
    files: evidence.TaskFiles
    context: Context
    flows: Mapping[Direction, Mapping[str, Any]]
    """What the truth says of the probes, and of their replies."""

    @property
    def on_time(self) -> bool:
        return not any(self.blur_ns(quantile) for quantile in LATE_NS)

    def blur_ns(self, quantile: str) -> int:
        """By how much the wire was later than it may be, by its own account: so much less is known of delays."""
        late = (self.times(way)["lateness_ns"][quantile] for way in DIRECTIONS)
        return sum(max(0, each - LATE_NS[quantile]) for each in late)

    def times(self, way: Direction) -> Mapping[str, Any]:
        """``nominal_ns``, ``delay_ns``, ``lateness_ns``: their distributions."""
        return dict(self.flows[way]["log"])

    def befell(self, way: Direction, fate: str) -> list[int]:
        """The sequence numbers of the probes that this befell in this direction, each time, ascending."""
        log = self.flows[way]["log"]
        assert log["unlogged"] == 0
        entered = self.entered(way)
        return sorted(
            int(entered[ordinal])
            for first, length in log["packets"].get(fate, [])
            for ordinal in range(first, first + length)
        )

    def entered(self, way: Direction) -> Ints:
        """The sequence numbers in the order in which the wire was given the packets."""
        if way is A_Z:
            return self.samples.seq
        log = self.records("z", "reflector.rec")
        return np.array([record.seq for record in log if record.flags & records.SENT], np.int64)

    def records(self, end: str, name: str) -> list[records.Record]:
        """Of a job at this end; none if it left no such file."""
        host, job = (self.context.a.name, probe.SENDER) if end == "a" else (self.context.z.name, probe.REFLECTOR)
        return list(records.read(self.files.bytes(host, job, name) or records.HEADER))

    @property
    def samples(self) -> Samples:
        """Every packet of the stream."""
        return self.probe.pieces.whole()

    def lost(self, way: Direction) -> loss.Way:
        losses = loss.by_direction(self.samples)
        found = losses.forward if way is A_Z else losses.backward
        assert found is not None and losses.unknown == losses.unanswered == 0
        return found

    def figure(self, metric: str, statistic: str, way: Direction) -> Observation:
        (seen,) = (
            each
            for each in self.measurement.observations
            if (each.metric, each.statistic, each.scope.direction) == (metric, statistic, way)
        )
        return seen

    def value(self, metric: str, statistic: str, way: Direction = Direction.ROUND_TRIP) -> float:
        value = self.figure(metric, statistic, way).value
        assert isinstance(value, (int, float))
        return float(value)


class Streams:
    """Sends one stream after the other over a wire; ``spool`` is where their files go."""

    def __init__(self, wire: Wired, spool: Path) -> None:
        self._wire = wire
        self._spool = spool
        self._numbers = count(1)
        self._circuit = load_circuit(find_shipped("circuits/lab"))

    def timed(self, lines: Lines, **params: Any) -> Found:
        """For a question of time: once more if the wire itself was late, whatever comes of it then."""
        found = self.send(lines, **params)
        return found if found.on_time else self.send(lines, **params)

    def send(self, lines: Lines, during: Callable[[Wired, Lines], None] | None = None, **params: Any) -> Found:
        """``latency`` with these parameters over these lines; ``during`` is called while it sends."""
        number = next(self._numbers)
        port = 9000 + number  # so that each stream is a flow of its own
        played = {way: replace(lines.get(way, LineSpec()), watch_port=port) for way in DIRECTIONS}
        self._wire.tune(played)
        context = Context(self._circuit, self._endpoint("a", port), self._endpoint("z", port))
        kind = REGISTRY["latency"]
        (task,) = kind.tasks(kind.parameters.model_validate(params), "step", context)
        folder = evidence.create(self._spool, "circuit", str(number), {})
        started_ns = time_ns()
        self._run(task, context, folder.path, (lambda: during(self._wire, played)) if during else None)
        noted = {"status": "completed", "reason": "", "started_ns": started_ns, "ended_ns": time_ns()}
        folder.write_json(f"raw/{task.id}/task.json", noted)
        files = folder.files(task.id)
        found = probe.read(task, files, context)
        assert isinstance(found, probe.Probe), found
        told = self._wire.settled()
        flows = {
            way: next(flow for flow in told[way]["flows"] if flow["flow"][side] == port)
            for way, side in ((A_Z, "destination_port"), (Z_A, "source_port"))
        }
        result = Found(kind.analyse(task, files, context), found, files, context, flows)
        assert [len(result.entered(way)) for way in DIRECTIONS] == [flows[way]["packets"] for way in DIRECTIONS]
        return result

    def _endpoint(self, end: str, port: int) -> Endpoint:
        """One of the lab's, moved to the wire."""
        changed = {"address": ip_address(ADDRESSES[end]), "interface": "wan", "ports": ports(str(port))}
        return self._circuit.endpoint({"a": "onprem-a", "z": "ecs-a"}[end]).model_copy(update=changed)

    def _run(self, task: Task, context: Context, run: Path, during: Callable[[], None] | None) -> None:
        """The task's jobs; their folders go where a run has them."""
        ends = {context.a.name: "a", context.z.name: "z"}

        def folder(job: Job) -> Path:
            return self._spool / "jobs" / f"{run.name}-{job.endpoint}.{job.id}"

        def start(job: Job, **more: Any) -> Running:
            return Running(self._wire.names[ends[job.endpoint]], folder(job), job.method, {**job.args, **more})

        serving: list[Running] = []
        try:
            serving.extend(start(job) for job in task.jobs if job.role is not Role.DRIVE)
            for running in serving:
                running.wait_ready()
            (driver,) = (job for job in task.jobs if job.role is Role.DRIVE)
            _drive(start(driver, wait_ns=WAIT_NS), during)
        finally:
            results = [running.stop() for running in serving]
        assert all(result["status"] == "completed" for result in results), results
        for job in task.jobs:
            shutil.copytree(folder(job), run / evidence.job_folder(task.id, job.endpoint, job.id))


def _drive(running: Running, during: Callable[[], None] | None) -> None:
    if during is not None:
        assert running.process.stdout is not None
        running.process.stdout.readline()  # the first live figure: it sends
        during()
    running.data()
