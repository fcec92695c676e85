"""The domain types that flow between the stages: frozen, plain, without I/O.

What was ordered (circuit, scenario) is typed in ``perfharness.order``; here is what was planned,
measured and judged. Units: rates in bit/s, times in ns (dates in ns since the Unix epoch, UTC),
sizes in bytes, shares as ratios 0..1. A missing value is ``None`` with a reason, never 0.
"""

from __future__ import annotations

from perfharness.model.judged import Criterion, Diagnosis, Evidence, Finding, Run
from perfharness.model.measured import Fitness, Interval, LedgerRow, Measurement, Observation, Series
from perfharness.model.planned import Act, Guard, Job, Plan, PortUse, Role, Task
from perfharness.model.scope import TOGETHER, Direction, Layer, Scope, Segment, Status, Verdict, Window

__all__ = [
    "TOGETHER",
    "Act",
    "Criterion",
    "Diagnosis",
    "Direction",
    "Evidence",
    "Finding",
    "Fitness",
    "Guard",
    "Interval",
    "Job",
    "Layer",
    "LedgerRow",
    "Measurement",
    "Observation",
    "Plan",
    "PortUse",
    "Role",
    "Run",
    "Scope",
    "Segment",
    "Series",
    "Status",
    "Task",
    "Verdict",
    "Window",
]
