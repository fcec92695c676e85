"""One-way delay and IPDV of a probe stream, and how far the two hosts' clocks can be believed (RFC 7679, 3393)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfharness.analysis import clock, delay, oneway
from perfharness.analysis.distribution import Held
from perfharness.analysis.ledger import host_loss
from perfharness.analysis.samples import near
from perfharness.analysis.statistics import Floats, Ints
from perfharness.analysis.summary import MOST_HELD
from perfharness.evidence import TaskFiles
from perfharness.measurements import probe
from perfharness.measurements.base import Context
from perfharness.model import Direction, Interval, Job, LedgerRow, Observation, Role, Series, Task

CLOCK = "clock"
"""Job id of the watcher of a host's clock."""
PERIOD_S = 10
QUANTILES = {"p50": 0.5, "p99": 0.99}
IPDV_QUANTILES = {"p1": 0.01, "p50": 0.5, "p99": 0.99}
"""Signed: what comes together (p1) and what comes apart (p99)."""
WAYS = (Direction.A_Z, Direction.Z_A)
_THROUGH = {
    "yes": "follows a server behind the tested circuit, so that the circuit's asymmetry is in it too",
    "perhaps": "follows a server that is reached over the tested interface, perhaps through the circuit",
}

Rows = Mapping[Direction, Sequence[LedgerRow]]


@dataclass(frozen=True, slots=True)
class OneWay:
    """What a stream says of each direction's delay."""

    observations: tuple[Observation, ...]
    series: tuple[Series, ...]
    facts: Mapping[str, Any]


def watchers(context: Context, deadline_s: float) -> tuple[Job, ...]:
    """The clock of both hosts from before the packets to after them."""
    return tuple(
        Job(CLOCK, end.name, "host.clock", {"period_s": PERIOD_S}, Role.WATCH, deadline_s, optional=True)
        for end in (context.a, context.z)
    )


def observe(task: Task, files: TaskFiles, context: Context, found: probe.Probe, rows: Rows) -> OneWay:
    """One-way delay within its bound, or why there is none; IPDV, which needs no common clock."""
    if found.pieces.packets > MOST_HELD:
        why = f"One-way figures are made of at most {MOST_HELD:,} packets."
        return OneWay(tuple(_untold(task, context, found, why)), (), {"reason": why})
    samples = found.pieces.whole()
    due = samples.t1 if samples.schedule_ns is None else samples.schedule_ns
    abroad = _readings(found.reflected)
    moved = clock.steps_abroad(abroad, samples.t2[samples.seen], due[samples.seen])
    segment = clock.segments(due, sorted((*clock.steps(samples.clock), *moved), key=lambda step: step.before_ns))
    raw = {way: delay.one_way_raw_ns(samples, way) for way in WAYS}
    varied = [_ipdv(task, context, found, way, raw[way], samples.block, segment) for way in WAYS]

    clocks = [_Clock(end.name, files, readings) for end, readings in ((context.a, samples.clock), (context.z, abroad))]
    errors = [each.claim.error_ns for each in clocks]
    claim_ns = None if None in errors else float(sum(error for error in errors if error is not None))
    if claim_ns is not None:
        claim_ns += sum(_by_card(result)["error_ns"] or 0 for result in (found.sent, found.reflected))
    raw[Direction.A_Z][samples.seen & ~near(samples.s1, samples.s2)] = np.nan
    raw[Direction.Z_A][samples.replied & ~near(samples.s3, samples.s4)] = np.nan
    known = oneway.one_way(due, raw[Direction.A_Z], raw[Direction.Z_A], segment, claim_ns)
    evidence = tuple(files.path(each.host, CLOCK, "clock.jsonl") for each in clocks if each.rows)
    found = replace(found, evidence=(*found.evidence, *evidence))
    facts: dict[str, Any] = {
        "clocks": {each.host: each.facts(context) for each in clocks},
        "unsynchronised": _unsynchronised(clocks),
    }
    if isinstance(known, oneway.Unknown):
        wrong = [known.reason] if known.clocks else facts["unsynchronised"]
        told = tuple(_untold(task, context, found, known.reason))
        return OneWay((*told, *sum(varied, ())), (), {**facts, "unsynchronised": wrong, "reason": known.reason})
    why = _why(known, clocks, context)
    ways = {Direction.A_Z: known.forward, Direction.Z_A: known.backward}
    delays = [
        _delays(task, context, found, way, values, samples.block, known.error_ns, why, rows)
        for way, values in ways.items()
    ]
    return OneWay(
        (*sum(delays, ()), *sum(varied, ())),
        tuple(_series(way, values, found) for way, values in ways.items()),
        {**facts, "error_ns": known.error_ns, "by_clocks": known.by_claim, "reason": why, "offsets": _offsets(known)},
    )


# --- the clocks -------------------------------------------------------------------------------


class _Clock:
    """What one host's clock claims."""

    def __init__(self, host: str, files: TaskFiles, readings: Ints) -> None:
        self.host = host
        self.rows = files.rows(host, CLOCK, "clock.jsonl")
        said = [(int(row["mono_ns"]), row["state"]) for row in self.rows if isinstance(row.get("state"), dict)]
        self.states = [state for _, state in said]
        self.steps = clock.steps(readings)
        self.claim = clock.claim(said, readings)

    def through(self, context: Context) -> str:
        """Whether it follows a server behind the circuit."""
        circuit = context.circuit
        vbr = circuit.vbr_of((context.a.name, context.z.name))
        sides = [
            [*map(str, circuit.prefixes.onprem), str(vbr.link.customer.ip)],
            [*map(str, circuit.prefixes.cloud), str(vbr.link.cloud.ip)],
        ]
        end, (near, far) = (context.a, sides) if self.host == context.a.name else (context.z, sides[::-1])
        return clock.through(self.states, end.interface, near, far)

    def facts(self, context: Context) -> dict[str, Any]:
        """For the report."""
        last: Mapping[str, Any] = self.states[-1] if self.states else {}
        steered = [row["kernel"]["freq_ppb"] for row in self.rows if row.get("kernel")]
        return {
            "source": last.get("source"),
            "reference": last.get("reference"),
            "interface": (last.get("route") or {}).get("interface"),
            "through_circuit": self.through(context),
            "error_ns": self.claim.error_ns,
            "reason": self.claim.reason,
            "steps_ns": [step.size_ns for step in self.steps],
            "freq_ppb": [min(steered), max(steered)] if steered else None,
        }


def _by_card(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a prober tells of its card's stamps; those of the card are off by what their way to Unix time was."""
    return result.get("card") or {"error_ns": None}


def _readings(result: Mapping[str, Any]) -> Ints:
    return np.array(result.get("clock") or np.empty((0, 2)), np.int64).reshape(-1, 2)


def _unsynchronised(clocks: Sequence[_Clock]) -> list[str]:
    return [f"The clock of {each.host}: {each.claim.reason}." for each in clocks if each.claim.error_ns is None]


def _why(known: oneway.OneWay, clocks: Sequence[_Clock], context: Context) -> str:
    """What the bound rests on, and what the reader must know about the clocks."""
    if known.by_claim:
        said = f"The clocks leave ± {known.error_ns / 1e6:.3f} ms: they claim no more, by the sum of root distances."
    else:
        said = f"The clocks leave ± {known.error_ns / 1e6:.3f} ms: all that is known is that no delay is negative."
    words = {each.host: each.through(context) for each in clocks}
    flags = [f"The clock of {host} {_THROUGH[word]}." for host, word in words.items() if word in _THROUGH]
    return " ".join([said, *_unsynchronised(clocks), *flags])


def _offsets(known: oneway.OneWay) -> list[dict[str, float]]:
    return [
        {"packets": each.packets, "offset_ns": each.offset_ns, "skew_ppm": each.skew * 1e6, "error_ns": each.error_ns}
        for each in known.offsets
    ]


# --- the figures ------------------------------------------------------------------------------


def _delays(
    task: Task,
    context: Context,
    found: probe.Probe,
    way: Direction,
    values: Floats,
    block: Ints,
    error_ns: float,
    why: str,
    rows: Rows,
) -> tuple[Observation, ...]:
    """Quantiles of one direction; what the clocks leave open widens both sides."""
    scope = replace(task.scope, direction=way)
    host = host_loss(rows[way])[1]
    return tuple(
        replace(seen, interval=_widened(seen.interval, error_ns), reason=f"{why} {seen.reason}".strip())
        for seen in probe.quantiles("delay.oneway", Held(values, block), QUANTILES, scope, context, found, host)
    )


def _widened(interval: Interval | None, error_ns: float) -> Interval | None:
    """No delay is negative. More packets do not narrow what the clocks leave open: so no effective number."""
    if interval is None:
        return None
    method = f"{interval.method}; the clocks' bound on both sides"
    return replace(interval, lo=max(interval.lo - error_ns, 0.0), hi=interval.hi + error_ns, method=method, n_eff=None)


def _untold(task: Task, context: Context, found: probe.Probe, why: str) -> list[Observation]:
    return [
        Observation(
            metric="delay.oneway",
            statistic=name,
            scope=replace(task.scope, direction=way),
            unit="ns",
            value=None,
            n=0,
            evidence=found.evidence,
            reason=why,
            hosts=context.hosts,
        )
        for way in WAYS
        for name in QUANTILES
    ]


def _ipdv(
    task: Task, context: Context, found: probe.Probe, way: Direction, raw: Floats, block: Ints, segment: Ints
) -> tuple[Observation, ...]:
    values = delay.ipdv(np.where(segment < 0, np.nan, raw))
    scope = replace(task.scope, direction=way)
    return probe.quantiles("variation.ipdv", Held(values, block), IPDV_QUANTILES, scope, context, found, 0)


def _series(way: Direction, values: Floats, found: probe.Probe) -> Series:
    x, share = delay.ccdf(values)
    return Series("one-way delay", x, share, "1", "ccdf.oneway", way, found.window.start_ns, x_unit="ns")
