"""What a latency stream shows beyond its figures: IPDV, how losses come, steps in delay, marks and TTLs on arrival."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from perfharness.analysis.loss import Account
from perfharness.analysis.patterns import Step, marks, periodicity, runs, sides, steps
from perfharness.analysis.ttl import as_facts
from perfharness.measurements.probe import Probe
from perfharness.model import Direction, Series

IPDV_QUANTILES = {"p0.1": 0.001, "p1": 0.01, "p50": 0.5, "p99": 0.99, "p99.9": 0.999}
A_Z, Z_A = Direction.A_Z, Direction.Z_A


def facts(found: Probe, dscp: int) -> dict[str, object]:
    """For the report, by name, where there is something to say. ``dscp``: as it was sent.

    ``loss_runs``, ``periodic_loss``, ``marks`` and ``ttl`` by direction; ``delay_steps`` in the order of time.
    """
    summary = found.summary
    ipdv = {
        f"{way} {name}": values.percentile(q)
        for way, values in summary.ipdv.items()
        if values.n
        for name, q in IPDV_QUANTILES.items()
    }
    ways = {way: account for way, account in summary.ways.items() if account is not None and account.count}
    said = {
        "ipdv_ns": ipdv,
        "loss_runs": {
            way.value: asdict(found_runs)
            for way, account in ways.items()
            if (found_runs := runs(account.packets, account.lengths, account.distances))
        },
        "periodic_loss": {way.value: told for way, account in ways.items() if (told := _periodic(account, found))},
        "delay_steps": [_step(step, found) for step in steps(*summary.least)],
        "marks": _marks(found, dscp),
        "ttl": {way.value: as_facts(seen) for way, seen in summary.ttl.items() if seen.seen},
    }
    return {name: value for name, value in said.items() if value}


def series(found: Probe) -> tuple[Series, ...]:
    """When each period of loss began, and how many packets in a row it took."""
    return tuple(
        Series(
            "loss period", way.begins_ns / 1e9, way.lengths.astype(float), "packets", "loss.periods", direction, start
        )
        for direction, way in found.summary.ways.items()
        if way is not None and len(way.lengths)
        for start in (found.window.start_ns,)
    )


def _periodic(account: Account, found: Probe) -> dict[str, Any] | None:
    second = 1e9
    span = max(found.summary.span_ns, int(account.begins_ns[-1])) + found.interval_ns
    period = periodicity(account.begins_ns / second, span / second)
    return asdict(period) if period else None


def _step(step: Step, found: Probe) -> dict[str, Any]:
    """When (ns since the Unix epoch, to the second), how large, and which way of it lies where."""
    raw = found.summary.least_raw
    parts = sides(step, found.summary.least[0], raw[A_Z], raw[Z_A])
    return {
        "at_ns": found.window.start_ns + step.block * 10**9,
        "before_ns": step.before_ns,
        "size_ns": step.size_ns,
        "parts_ns": None if parts is None else {A_Z.value: parts[0], Z_A.value: parts[1]},
    }


def _marks(found: Probe, dscp: int) -> dict[str, Any]:
    """A reply leaves with the DSCP that its packet brought, so what was remarked on the way there is no fault of the
    way back."""
    arrived, returned = found.reflected.get("tos_seen") or {}, found.sent.get("tos_seen") or {}
    there = marks(arrived, {dscp})
    back = marks(returned, set(there.dscps) or {dscp})
    return {
        way.value: {
            "sent": sorted(sent),
            "packets": seen.packets,
            "remarked": seen.remarked,
            "congestion": seen.congestion,
            "dscps": {str(value): n for value, n in seen.dscps.items()},
        }
        for way, seen, sent in ((A_Z, there, {dscp}), (Z_A, back, set(there.dscps) or {dscp}))
        if seen.packets
    }
