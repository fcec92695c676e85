"""What is to be done: jobs, tasks, the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from perfharness.model.scope import Direction, Scope


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
    one_shot: bool = False
    """A SERVE job that ends by itself soon after its driver: it is not stopped before it has had the time for that."""
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
class Act:
    """What is done to the circuit while a task's drivers run: by a command on the coordinator, or by a person.

    Acts follow one another: each is begun ``after_s`` after the one before it was over, the first one after the drivers
    were started. One that is ``around`` is done before any of the task's jobs, which wait ``after_s`` for it to take
    effect; what undoes it comes when all of them have ended.
    """

    id: str
    after_s: float
    command: tuple[str, ...] = ()
    """Program and arguments: no shell reads them."""
    ask: str = ""
    """What a person is asked to do, where there is no command."""
    deadline_s: float = 60.0
    undoes: bool = False
    """It puts back what the acts before it did: it is done however the task ends."""
    around: bool = False
    kind: str = ""
    """What it is, for the measurement and the report."""


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
    closed: tuple[PortUse, ...] = ()
    """What is tried, too, and must not get through: no firewall is asked for it. The target may be an address."""
    privileges: tuple[str, ...] = ()
    """What needs root or a capability, in words for a change board."""
    notes: tuple[str, ...] = ()
    """What its hosts' owner might change before, in sentences."""
    yields: Mapping[str, tuple[Direction, ...]] = field(default_factory=dict)
    """Metrics that this task answers for, with their directions: what is missing is NOT_RUN."""
    services: tuple[str, ...] = ("",)
    """... and the classes of service for each of which it does, all of them at the same time."""
    loads: tuple[str, ...] = ()
    """... and the loads under each of which it does, one after the other; none: under that of its scope alone."""
    attempts: int = 1
    """How often it is done at most, in all: again only where its hosts fell short and left a row open."""
    guard: Guard | None = None
    acts: tuple[Act, ...] = ()
    """What is done to the circuit meanwhile. When all is done the drivers are stopped, ``settle_s`` later."""
    settle_s: float = 0.0
    silence_s: float = 0.0
    """How long its hosts may be out of reach because of it: so long agents must live without hearing from us."""
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
