"""One-way delay and IPDV of a probe stream, and how far the two hosts' clocks can be believed (RFC 7679, 3393)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfharness.analysis import clock, delay, oneway
from perfharness.analysis.distribution import Distribution, Held
from perfharness.analysis.statistics import Ints
from perfharness.evidence import TaskFiles
from perfharness.measurements import probe
from perfharness.measurements.base import Context, Ends
from perfharness.measurements.latency_classes import OfClass
from perfharness.model import Direction, Interval, Job, Observation, Role, Scope, Series

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


def observe(files: TaskFiles, context: Context, found: probe.Probe, classes: Sequence[OfClass]) -> OneWay:
    """One-way delay of each class within the bound that all packets together leave, or why there is none; IPDV, which
    needs no common clock."""
    told = found.summary.sampled
    assert told is not None  # something was sent
    abroad, own = _readings(found.reflected), np.asarray(found.pieces.result["clock"], np.int64).reshape(-1, 2)
    seen = told.t2_ns != 0
    moved = (*clock.steps(own), *clock.steps_abroad(abroad, told.t2_ns[seen], told.due_ns[seen]))
    moved = tuple(sorted(moved, key=lambda step: step.before_ns))
    clocks = [_Clock(end.name, files, readings) for end, readings in ((context.a, own), (context.z, abroad))]
    errors = [each.claim.error_ns for each in clocks]
    claim_ns = None if None in errors else float(sum(error for error in errors if error is not None))
    if claim_ns is not None:
        claim_ns += sum(_by_card(result)["error_ns"] or 0 for result in (found.sent, found.reflected))
    segment = clock.segments(told.due_ns, moved)
    known = oneway.clocks(told.due_ns, *told.comparable(), segment, claim_ns)
    varied = [seen for one in classes for seen in _ipdv(one, context, found, moved)]
    evidence = tuple(files.path(each.host, CLOCK, "clock.jsonl") for each in clocks if each.rows)
    found = replace(found, evidence=(*found.evidence, *evidence))
    facts: dict[str, Any] = {
        "clocks": {each.host: each.facts(context) for each in clocks},
        "unsynchronised": _unsynchronised(clocks),
    }
    if isinstance(known, oneway.Unknown):
        wrong = [known.reason] if known.clocks else facts["unsynchronised"]
        no_delay = untold([one.scope for one in classes], context, found, known.reason)
        return OneWay((*no_delay, *varied), (), {**facts, "unsynchronised": wrong, "reason": known.reason})
    why = f"{_why(known, clocks, context)} {_of_how_many(found)}".strip()
    made = [(one, way, values) for one in classes for way, values in _each_way(one, known, moved).items()]
    delays = [
        seen for one, way, values in made for seen in _delays(one, way, context, found, values, known.error_ns, why)
    ]
    return OneWay(
        (*delays, *varied),
        tuple(_series(way, values, found, one.scope.service) for one, way, values in made),
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


def _why(known: oneway.Clocks, clocks: Sequence[_Clock], context: Context) -> str:
    """What the bound rests on, and what the reader must know about the clocks."""
    if known.by_claim:
        said = f"The clocks leave ± {known.error_ns / 1e6:.3f} ms: they claim no more, by the sum of root distances."
    else:
        said = f"The clocks leave ± {known.error_ns / 1e6:.3f} ms: all that is known is that no delay is negative."
    words = {each.host: each.through(context) for each in clocks}
    flags = [f"The clock of {host} {_THROUGH[word]}." for host, word in words.items() if word in _THROUGH]
    return " ".join([said, *_unsynchronised(clocks), *flags])


def _offsets(known: oneway.Clocks) -> list[dict[str, float]]:
    return [
        {"packets": each.packets, "offset_ns": each.offset_ns, "skew_ppm": each.skew * 1e6, "error_ns": each.error_ns}
        for each in known.offsets
    ]


# --- the figures ------------------------------------------------------------------------------


def _delays(
    one: OfClass,
    way: Direction,
    context: Context,
    found: probe.Probe,
    values: Distribution,
    error_ns: float,
    why: str,
) -> tuple[Observation, ...]:
    """Quantiles of one direction; what the clocks leave open widens both sides."""
    scope, excused = replace(one.scope, direction=way), one.excused(way)
    return tuple(
        replace(seen, interval=_widened(seen.interval, error_ns), reason=f"{why} {seen.reason}".strip())
        for seen in probe.quantiles("delay.oneway", values, QUANTILES, scope, context, found, excused)
    )


def _widened(interval: Interval | None, error_ns: float) -> Interval | None:
    """No delay is negative. More packets do not narrow what the clocks leave open: so no effective number."""
    if interval is None:
        return None
    method = f"{interval.method}; the clocks' bound on both sides"
    return replace(interval, lo=max(interval.lo - error_ns, 0.0), hi=interval.hi + error_ns, method=method, n_eff=None)


def untold(scopes: Iterable[Scope], context: Ends, found: probe.Probe, why: str) -> tuple[Observation, ...]:
    """That there is no one-way delay, and why."""
    return tuple(
        Observation(
            metric="delay.oneway",
            statistic=name,
            scope=replace(scope, direction=way),
            unit="ns",
            value=None,
            n=0,
            evidence=found.evidence,
            reason=why,
            hosts=context.hosts,
        )
        for scope in scopes
        for way in WAYS
        for name in QUANTILES
    )


def _of_how_many(found: probe.Probe) -> str:
    taken, all_of_them = len(found.summary.sampled_block), found.summary.sent
    return f"Made of {taken:,} of the {all_of_them:,} packets." if taken < all_of_them else ""


def _each_way(one: OfClass, clocks: oneway.Clocks, moved: Sequence[clock.Step]) -> dict[Direction, Held]:
    """What each of its packets took."""
    told = one.found.summary.sampled
    assert told is not None
    apart = clocks.apart(told.due_ns, clock.segments(told.due_ns, moved))
    both = oneway.delays(apart, *told.comparable())
    return {way: Held(values, one.found.summary.sampled_block) for way, values in zip(WAYS, both, strict=True)}


def _ipdv(one: OfClass, context: Context, found: probe.Probe, moved: Sequence[clock.Step]) -> Iterator[Observation]:
    """By how much each packet's delay differs from that of the packet before."""
    told = one.found.summary.sampled
    assert told is not None
    disturbed = clock.segments(told.due_ns, moved) < 0
    for way, raw in zip(WAYS, (told.forward, told.backward), strict=True):
        varied = np.where(told.follows, delay.ipdv(np.where(disturbed, np.nan, raw)), np.nan)
        values, scope = Held(varied, one.found.summary.sampled_block), replace(one.scope, direction=way)
        yield from probe.quantiles("variation.ipdv", values, IPDV_QUANTILES, scope, context, found)


def _series(way: Direction, values: Distribution, found: probe.Probe, service: str) -> Series:
    start_ns = found.window.start_ns
    return Series("one-way delay", *values.ccdf(), "1", "ccdf.oneway", way, start_ns, x_unit="ns", service=service)
