"""``findings.json``: the verdicts of a run as data, for other programs. Format version 1.

Bounds and values that have no limit are the word ``"unbounded"``: JSON has no infinity, and a missing
number would read as "unknown".
"""

from __future__ import annotations

import math
from typing import Any

from perfharness.errors import EvidenceBroken
from perfharness.model import Diagnosis, Finding, Fitness, Interval, LedgerRow, Run, Scope
from perfharness.report.checklist import Standing, standings

FORMAT_VERSION = 1
UNBOUNDED = "unbounded"
KEYS = frozenset(
    {
        "format_version",
        "run_id",
        "circuit",
        "scenario",
        "started",
        "ended",
        "verdict",
        "findings",
        "diagnosis",
        "ledger",
        "fitness",
    }
)


def to_json(run: Run) -> dict[str, Any]:
    """The run's verdicts as plain JSON types, keys as documented, ready for ``json.dumps``."""
    return {
        "format_version": FORMAT_VERSION,
        "run_id": run.run_id,
        "circuit": run.circuit,
        "scenario": run.scenario,
        "started": run.started,
        "ended": run.ended,
        "verdict": run.verdict.value,
        "findings": [_finding(row) for row in run.findings],
        "diagnosis": [_diagnosis(row) for row in run.diagnosis],
        "ledger": [_ledger(row) for row in run.ledger],
        "fitness": [_fitness(row) for row in run.fitness],
        "checklist": [_standing(row) for row in standings(run)],
    }


LATER = frozenset({"checklist"})
"""Keys that came to this format since: an older document lacks them, and can be read as well."""


def check(data: Any) -> dict[str, Any]:
    """``data`` as a findings document of this format.

    Raises EvidenceBroken when it is of another format version or lacks a key.
    """
    if not isinstance(data, dict):
        raise EvidenceBroken("This is no findings file: it holds no JSON object.")
    version = data.get("format_version")
    if version != FORMAT_VERSION:
        raise EvidenceBroken(
            f"The findings have format {version!r}; this version reads format {FORMAT_VERSION}.",
            "Rebuild them from the evidence: perfharness report RUN.",
        )
    missing = sorted(KEYS - data.keys())
    if missing:
        raise EvidenceBroken(f"The findings lack {', '.join(missing)}.", "Rebuild them: perfharness report RUN.")
    return data


def _finding(row: Finding) -> dict[str, Any]:
    return {
        "id": row.id,
        "checklist": list(row.checklist),
        "metric": row.metric,
        "statistic": row.statistic,
        "scope": _scope(row.scope),
        "direction": row.scope.direction.value if row.scope.direction else None,
        "value": _plain(row.value),
        "unit": row.unit,
        "layer": row.layer.value if row.layer else None,
        "interval": _interval(row.interval) if row.interval else None,
        "n": int(row.n),
        "operator": row.operator,
        "threshold": _plain(row.threshold),
        "origin": row.origin,
        "mandatory": row.mandatory,
        "verdict": row.verdict.value,
        "reason": row.reason,
        "evidence": list(row.evidence),
    }


def _scope(scope: Scope) -> dict[str, Any]:
    window = scope.window
    return {
        "circuit": scope.circuit,
        "pair": scope.pair,
        "direction": scope.direction.value if scope.direction else None,
        "family": scope.family,
        "service": scope.service,
        "frame_bytes": scope.frame_bytes,
        "load": scope.load,
        "window": {"start_ns": int(window.start_ns), "end_ns": int(window.end_ns)} if window else None,
        **({"host": scope.host, "bracket": scope.bracket} if scope.host else {}),
    }


def _interval(interval: Interval) -> dict[str, Any]:
    return {
        "lo": _plain(interval.lo),
        "hi": _plain(interval.hi),
        "confidence": _plain(interval.confidence),
        "sides": interval.sides,
        "method": interval.method,
        "n_eff": _plain(interval.n_eff),
    }


def _diagnosis(row: Diagnosis) -> dict[str, Any]:
    return {
        "cause": row.cause,
        "certainty": row.certainty,
        "segment": row.segment.value,
        "owner": row.owner,
        "because": list(row.because),
        "against": list(row.against),
        "checklist": list(row.checklist),
        "next": row.next,
        "findings": list(row.findings),
        "hides": list(row.hides),
    }


def _ledger(row: LedgerRow) -> dict[str, Any]:
    return {
        "scope": _scope(row.scope),
        "stage": row.stage,
        "segment": row.segment.value,
        "packets": {"lo": int(row.packets_lo), "hi": int(row.packets_hi)},
        "counter": row.counter,
        "shared": bool(row.shared),
        "missing": bool(row.missing),
    }


def _fitness(row: Fitness) -> dict[str, Any]:
    return {
        "host": row.host,
        "measurement": row.measurement,
        "fit": bool(row.fit),
        "reasons": list(row.reasons),
        "metrics": list(row.metrics),
    }


def _standing(row: Standing) -> dict[str, Any]:
    """``standing``: measured, declared (in the order) or not measured; ``why`` it was not, or was not judged."""
    return {
        "id": row.item.id,
        "requirement": row.item.requirement,
        "standing": row.standing,
        "verdict": row.verdict.value,
        "findings": [finding.id for finding in row.findings],
        "why": row.why,
    }


def _plain(value: Any) -> Any:
    """A Python number from a numpy one; infinity as a word.

    Raises ValueError for NaN: a value that is missing is None, with a reason.
    """
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError("a figure is NaN; a missing value must be None")
        if math.isinf(value):
            return UNBOUNDED
    return value
