"""The domain types that flow between the stages: frozen, plain, without I/O.

What was ordered (circuit, scenario) is typed in ``perfharness.order``; here is what was planned,
measured and judged. Units: rates in bit/s, times in ns (dates in ns since the Unix epoch, UTC),
sizes in bytes, shares as ratios 0..1. A missing value is ``None`` with a reason, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt


class Direction(StrEnum):
    """a = on-prem, z = cloud."""

    A_Z = "a-z"
    Z_A = "z-a"
    ROUND_TRIP = "round-trip"
    BOTH = "both"


class Layer(StrEnum):
    """Which bits of a packet a rate counts; L2 is the frame without FCS."""

    L1 = "L1"
    L2_FCS = "L2+FCS"
    L2 = "L2"
    L3 = "L3"
    L4 = "L4"


class Segment(StrEnum):
    """Where on the path something happened; ``BETWEEN`` when not narrowed further."""

    HOST_A = "host-a"
    LAN = "lan"
    CE = "ce"
    CARRIER = "carrier"
    CLOUD_EDGE = "cloud-edge"
    HOST_Z = "host-z"
    BETWEEN = "between-hosts"


class Verdict(StrEnum):
    """Verdict of a finding; a run has only PASS, FAIL or INCONCLUSIVE."""

    PASS = "PASS"
    WARN = "WARN"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"
    NOT_RUN = "NOT_RUN"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    WAIVED = "WAIVED"


class Status(StrEnum):
    """How a measurement ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Window:
    """From and to, ns since the Unix epoch."""

    start_ns: int
    end_ns: int


TOGETHER = "+"  # between names of several pairs that are measured together; in no name of an endpoint


@dataclass(frozen=True, slots=True)
class Scope:
    """What a figure speaks of."""

    circuit: str
    pair: str = ""
    """``<a endpoint>:<z endpoint>``, of several pairs at once ``a1+a2:z1+z2``; empty when the figure is of no pair."""
    direction: Direction | None = None
    family: str = "ipv4"
    service: str = ""
    """Class of service, e.g. ``EF``; empty = best effort, and no other beside it."""
    frame_bytes: int | None = None
    load: str = "idle"
    """What else was on the path: ``idle``, ``tcp``, ``udp``, ``tcp both ways``; in a service's test the step, as
    ``75% CIR``."""
    window: Window | None = None
    host: str = ""
    bracket: str = ""
    """Of no circuit: what this host can do by itself, and against whom it was tried, a neighbour or itself."""

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(on-prem, cloud) of each pair; more than one where they were measured together."""
        sides = [side.split(TOGETHER) for side in self.pair.split(":")]
        return tuple(zip(*sides, strict=True)) if len(sides) == 2 else ()


# --- planned ----------------------------------------------------------------------------------


class Role(StrEnum):
    """How the orchestrator treats a job.

    ``WATCH`` starts first and is stopped last; ``SERVE`` must be ready before any ``DRIVE`` starts;
    a task is over when its ``DRIVE`` jobs are.
    """

    WATCH = "watch"
    SERVE = "serve"
    DRIVE = "drive"


@dataclass(frozen=True, slots=True)
class Job:
    """One method run by one agent. ``id`` is unique within its task and a safe file name."""

    id: str
    endpoint: str
    method: str
    args: Mapping[str, Any]
    role: Role
    deadline_s: float
    """The agent ends the job after this long, whatever happens."""
    after_s: float = 0.0
    """Wait this long after the task's first DRIVE job before starting."""
    optional: bool = False
    """The task is complete without it, e.g. what only root may ask."""
    writes_bytes: int = 0
    """At most, on its host's disk until its files are fetched."""
    secret: str = ""
    """A random key goes to its standard input; jobs of a task that name it alike share it. Only its name is planned."""
    load: bool = False
    """It loads the circuit, and is ended at once where users of it suffer. Ending one end must end the other."""
    hears: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Of a DRIVE job: arguments that are known only when a server is ready, each with (the server's job id, the name of
    the value among what it says then)."""


@dataclass(frozen=True, slots=True)
class PortUse:
    """A flow that a firewall must let through."""

    source: str
    target: str
    """Endpoint names."""
    protocol: str
    """``tcp``, ``udp`` or ``icmp``."""
    port: int | None
    purpose: str


@dataclass(frozen=True, slots=True)
class Guard:
    """What ends a load at once on a circuit in service; what each means is said where it is made, in ``guarding``."""

    loss: float
    delay_ns: int
    background: float
    ordered_bps: int
    offered_bps: int | None
    frame_bytes: int
    wan: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """An exclusive piece of work: nothing else of ours runs on its hosts meanwhile."""

    id: str
    step: str
    measurement: str
    scope: Scope
    jobs: tuple[Job, ...]
    duration_s: float
    load_bps: int = 0
    """Peak rate offered to the circuit in its busier direction, at the ordered layer; for TCP, which is not
    paced, the speed of the port."""
    load_bytes: int = 0
    """In all, both directions, at the ordered layer; for TCP at the ordered rate."""
    ports: tuple[PortUse, ...] = ()
    privileges: tuple[str, ...] = ()
    """What needs root or a capability, in words for a change board."""
    yields: Mapping[str, tuple[Direction, ...]] = field(default_factory=dict)
    """Metrics that this task answers for, with their directions: what is missing is NOT_RUN."""
    services: tuple[str, ...] = ("",)
    """... and the classes of service for each of which it does, all of them at the same time."""
    loads: tuple[str, ...] = ()
    """... and the loads under each of which it does, one after the other; none: under that of its scope alone."""
    attempts: int = 1
    """How often it is done at most, in all: again only where its hosts fell short and left a row open."""
    guard: Guard | None = None
    parts: tuple[Task, ...] = ()
    """Of a task of several pairs together, each pair's own, as if it were alone; ``jobs`` are those of all."""

    @property
    def under(self) -> tuple[str, ...]:
        """The loads under which its figures are taken."""
        return self.loads or (self.scope.load,)


@dataclass(frozen=True, slots=True)
class Plan:
    circuit: str
    scenario: str
    tasks: tuple[Task, ...]
    lease_s: float


# --- measured ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true value lies. ``lo`` and ``hi`` may be infinite (a lost packet is infinitely late).

    ``sides``: "one" = each bound by itself holds with ``confidence``; "two" = both together;
    "exact" = counted, not sampled.
    """

    lo: float
    hi: float
    confidence: float
    sides: str
    method: str
    n_eff: float | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """A figure before it is judged: the estimate, where it may lie, and the files it came from."""

    metric: str
    statistic: str
    scope: Scope
    unit: str
    """``bit/s``, ``ns``, ``B``, ``1`` (ratio), ``packets``, or empty for words."""
    value: float | int | str | bool | None
    n: int
    interval: Interval | None = None
    layer: Layer | None = None
    evidence: tuple[str, ...] = ()
    reason: str = ""
    """Why there is no value, or what the reader must know about it."""
    hosts: tuple[str, ...] = ()
    """Endpoints whose fitness decides whether this figure can be believed."""
    short: str = ""
    """What a host left undone that this interval makes room for, however fit it is; a clause."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Packets lost at one stage: a range, since counters may be shared with other traffic."""

    scope: Scope
    stage: str
    segment: Segment
    packets_lo: int
    packets_hi: int
    counter: str
    shared: bool
    evidence: tuple[str, ...] = ()
    missing: bool = True
    """They are among the packets that did not arrive; False for what was never sent."""


@dataclass(frozen=True, slots=True)
class Fitness:
    """Could this host measure this? Judged before the circuit."""

    host: str
    measurement: str
    """The task id."""
    fit: bool
    reasons: tuple[str, ...]
    evidence: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    """How the names of the metrics begin of which it speaks; empty: of all."""

    def concerns(self, metric: str) -> bool:
        return not self.metrics or metric.startswith(self.metrics)


@dataclass(frozen=True, slots=True)
class Series:
    """Points for a picture: ``x`` in s since ``start_ns`` (or in ``x_unit``), ``y`` in ``unit``."""

    label: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    unit: str
    kind: str
    """``rate``, ``delay``, ``loss`` (y = lost packets at x), ``loss.periods`` (y = packets of a period of loss that
    began at x), ``ccdf``, ``ccdf.pdv``, ``ccdf.oneway``, ``service.rate`` or ``service.loss`` (y = the lost share)."""
    direction: Direction | None = None
    start_ns: int = 0
    x_unit: str = "s"
    service: str = ""
    """Class of service, as in ``Scope``."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came of one task."""

    task: Task
    status: Status
    reason: str = ""
    window: Window | None = None
    observations: tuple[Observation, ...] = ()
    ledger: tuple[LedgerRow, ...] = ()
    fitness: tuple[Fitness, ...] = ()
    series: tuple[Series, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Words and tables for the report (host facts, hops, argv), plain JSON types."""
    parts: tuple[Measurement, ...] = ()
    """Of several pairs together, what each pair's own part says; its ledger and fitness are in the whole's too."""


# --- judged -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Criterion:
    """``metric.statistic operator threshold``, and who says so."""

    metric: str
    statistic: str
    operator: str
    """``<=``, ``>=`` or ``==``."""
    threshold: float | int | str | bool
    unit: str
    origin: str
    mandatory: bool = True
    checklist: tuple[str, ...] = ()
    layer: Layer | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One judged row."""

    id: str
    metric: str
    statistic: str
    scope: Scope
    unit: str
    value: float | int | str | bool | None
    verdict: Verdict
    reason: str
    checklist: tuple[str, ...] = ()
    layer: Layer | None = None
    interval: Interval | None = None
    n: int = 0
    operator: str | None = None
    threshold: float | int | str | bool | None = None
    origin: str = ""
    mandatory: bool = False
    evidence: tuple[str, ...] = ()
    task: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A cause, with what speaks for and against it."""

    cause: str
    certainty: str
    """``proven``, ``likely`` or ``possible``."""
    segment: Segment
    owner: str
    """``own``, ``carrier`` or ``cloud``."""
    because: tuple[str, ...]
    against: tuple[str, ...] = ()
    checklist: tuple[str, ...] = ()
    next: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A stored raw file: path within the run folder, size and SHA-256."""

    path: str
    sha256: str
    size_bytes: int
    written: str
    task: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A judged run: all that a report needs besides the order."""

    run_id: str
    circuit: str
    scenario: str
    started: str
    """UTC, ISO 8601."""
    ended: str
    version: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    diagnosis: tuple[Diagnosis, ...]
    measurements: tuple[Measurement, ...]
    evidence: tuple[Evidence, ...]
    notes: tuple[str, ...] = ()
    """What happened on the way: hosts lost, tasks aborted."""

    @property
    def ledger(self) -> tuple[LedgerRow, ...]:
        return tuple(row for measurement in self.measurements for row in measurement.ledger)

    @property
    def fitness(self) -> tuple[Fitness, ...]:
        return tuple(row for measurement in self.measurements for row in measurement.fitness)
