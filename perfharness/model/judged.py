"""What it means: findings, causes, the run."""

from __future__ import annotations

from dataclasses import dataclass

from perfharness.model.measured import Fitness, Interval, LedgerRow, Measurement
from perfharness.model.scope import Layer, Scope, Segment, Verdict


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
    """``proven``, ``likely``, ``possible``; ``unknown`` where something failed and no rule says why."""
    segment: Segment
    owner: str
    """``own``, ``carrier``, ``cloud`` or ``unknown``."""
    because: tuple[str, ...]
    against: tuple[str, ...] = ()
    checklist: tuple[str, ...] = ()
    next: str = ""
    findings: tuple[str, ...] = ()
    """Ids of the findings that it rests on, where its rule names them."""
    hides: tuple[str, ...] = ()
    """Causes that may lie behind this one and cannot be seen while it holds."""


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
