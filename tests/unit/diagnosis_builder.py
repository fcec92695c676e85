"""Findings and measurements made up for the tests of diagnosis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from perfharness.model import Direction, Finding, LedgerRow, Measurement, Scope, Segment, Status, Task, Verdict

A_Z, Z_A, TRIP = Direction.A_Z, Direction.Z_A, Direction.ROUND_TRIP


def scope(way: Direction | None = A_Z, load: str = "idle", pair: str = "a:z", frame: int | None = None) -> Scope:
    return Scope("ec-1", pair, way, load=load, frame_bytes=frame)


def finding(
    metric: str,
    verdict: Verdict = Verdict.FAIL,
    way: Direction | None = A_Z,
    *,
    load: str = "idle",
    pair: str = "a:z",
    frame: int | None = None,
    **more: Any,
) -> Finding:
    """A mandatory figure of the task ``t``, 1 where 0 is allowed; its id is metric, direction and pair.

    ``more``: other fields of a finding.
    """
    about: dict[str, Any] = {"statistic": "-", "unit": "", "value": 1.0, "reason": f"{metric} is off.", "task": "t"}
    asked = {"operator": "<=", "threshold": 0, "mandatory": True}
    fields = {"id": f"{metric} {way} {pair}", **about, **asked, **more}
    return Finding(metric=metric, scope=scope(way, load, pair, frame), verdict=verdict, **fields)


def measured(*rows: LedgerRow, task: str = "t", of: Scope | None = None, **more: Any) -> Measurement:
    """Of the task ``t``, with these rows of the ledger; ``more``: other fields of a measurement."""
    return Measurement(Task(task, task, task, of or scope(), (), 8.0), Status.COMPLETED, ledger=rows, **more)


def dropped(packets: int, of: Scope, **more: Any) -> LedgerRow:
    """As the ledger books what the receiving socket counted; ``more``: fields of what another stage counted."""
    row = LedgerRow(of, "receiver socket", Segment.HOST_Z, packets, packets, "drops", False)
    return replace(row, **more)
