"""What came of it: figures with their intervals, where packets were lost, whether the tester can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from perfharness.model.planned import Task
from perfharness.model.scope import Direction, Layer, Scope, Segment, Status, Window


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
    applicable: bool = True
    """False where the order asks for nothing of the kind: then there is nothing to judge, and ``reason`` says why."""


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
    began at x), ``ccdf``, ``ccdf.pdv``, ``ccdf.oneway``, ``service.rate``, ``service.loss`` or
    ``load.loss`` (y = the lost share)."""
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
