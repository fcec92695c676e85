"""What a latency stream shows beyond its figures: IPDV, how losses come, steps in delay, marks and TTLs on arrival."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import PurePosixPath
from typing import Any

from perfharness.analysis.loss import Account
from perfharness.analysis.patterns import Marks, Step, marks, periodicity, runs, sides, steps
from perfharness.analysis.ttl import as_facts
from perfharness.measurements.probe import Probe
from perfharness.model import Direction, Observation, Scope, Series
from perfharness.order.dscp import class_name

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


def marks_kept(found: Probe, scope: Scope, dscp: int, hosts: tuple[str, ...]) -> Iterator[Observation]:
    """Whether the packets of each direction came with the DSCP with which they were sent; of replies nobody can tell if
    their requests had come with several."""
    for way, path in zip((A_Z, Z_A), found.evidence[::-1], strict=True):
        sent, seen = _marks_of(way, found, dscp)
        kept, reason = None, "Nobody tells with which DSCP the packets of this direction were sent and came."
        if seen.packets and seen.remarked:
            others = ", ".join(class_name(each) for each in seen.dscps if each not in sent)
            right = " or ".join(map(class_name, sent))
            kept = False
            reason = f"{seen.remarked:,} of {seen.packets:,} packets {way} came with {others} instead of {right}."
        elif seen.packets and len(sent) == 1:
            kept, reason = True, f"All {seen.packets:,} packets came with {class_name(sent[0])} as sent."
        yield Observation(
            metric="dscp",
            statistic="preserved",
            scope=replace(scope, direction=way),
            unit="",
            value=kept,
            n=seen.packets,
            evidence=(str(PurePosixPath(path).with_name("result.json")),),
            reason=reason,
            hosts=hosts,
        )


def series(found: Probe, service: str = "") -> tuple[Series, ...]:
    """When each period of loss began, and how many packets in a row it took."""
    start = found.window.start_ns
    return tuple(
        Series(
            "loss period",
            way.begins_ns / 1e9,
            way.lengths.astype(float),
            "packets",
            "loss.periods",
            direction,
            start,
            service=service,
        )
        for direction, way in found.summary.ways.items()
        if way is not None and len(way.lengths)
    )


def _periodic(account: Account, found: Probe) -> dict[str, Any] | None:
    second = 1e9
    span = max(found.summary.span_ns, int(account.begins_ns[-1])) + found.interval_ns
    period = periodicity(account.begins_ns / second, span / second)
    return asdict(period) if period else None


def _marks_of(way: Direction, found: Probe, dscp: int) -> tuple[tuple[int, ...], Marks]:
    """With which DSCPs the packets of this direction were sent, and how they came: a reply goes back with the one with
    which its request came, so that what was remarked on the way there is not charged to the way back."""
    there, back = (end.get("tos_seen") or {} for end in (found.reflected, found.sent))
    if way is A_Z:
        return (dscp,), marks(there, (dscp,))
    sent = tuple(sorted({int(tos) >> 2 for tos in there}))
    return sent, marks(back if sent else {}, sent)


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
    return {
        way.value: {
            "sent": list(sent),
            "packets": seen.packets,
            "remarked": seen.remarked,
            "congestion": seen.congestion,
            "dscps": {str(value): n for value, n in seen.dscps.items()},
        }
        for way in (A_Z, Z_A)
        for sent, seen in (_marks_of(way, found, dscp),)
        if seen.packets
    }
