"""What a latency stream shows beyond its figures: IPDV, periodic loss, steps in delay, marks that were changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from perfharness.analysis.loss import Account
from perfharness.analysis.patterns import Marks, Step, marks, periodicity, steps
from perfharness.measurements.probe import Probe
from perfharness.model import Direction, Observation, Scope
from perfharness.order.dscp import class_name

IPDV_QUANTILES = {"p0.1": 0.001, "p1": 0.01, "p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def facts(found: Probe, dscp: int) -> dict[str, object]:
    """For the report: figures by name, and sentences where there is something to say. ``dscp``: as it was sent."""
    ipdv = {
        f"{way} {name}": values.percentile(q)
        for way, values in found.summary.ipdv.items()
        if values.n
        for name, q in IPDV_QUANTILES.items()
    }
    said = {
        "ipdv_ns": ipdv,
        "periodic_loss": [
            sentence
            for way, account in found.summary.ways.items()
            if account is not None and (sentence := _periodic(way, account, found.interval_ns))
        ],
        "delay_steps": [_step(step) for step in steps(*found.summary.least)],
        "marks": [sentence for way in found.summary.ways if (sentence := _marked(way, found, dscp))],
    }
    return {name: value for name, value in said.items() if value}


def marks_kept(found: Probe, scope: Scope, dscp: int, hosts: tuple[str, ...]) -> Iterator[Observation]:
    """Whether the packets of each direction came with the DSCP with which they were sent; of replies nobody can tell if
    their requests had come with several."""
    for way, path in zip((Direction.A_Z, Direction.Z_A), found.evidence[::-1], strict=True):
        sent, seen = _marks(way, found, dscp)
        kept, reason = None, "Nobody tells with which DSCP the packets of this direction were sent and came."
        if seen.packets and seen.remarked:
            kept, reason = False, _marked(way, found, dscp)
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


def _periodic(way: Direction, account: Account, interval_ns: int) -> str:
    second = interval_ns / 1e9
    period = periodicity(account.places * second, account.packets * second)
    if period is None:
        return ""
    return (
        f"Losses {way} recur every {period.length:.4g} s: {period.events:,} times; "
        f"losses at random times look so with a chance of at most {period.chance:.1g}."
    )


def _step(step: Step) -> str:
    way = "rose" if step.size_ns > 0 else "fell"
    return f"The least round trip {way} by {abs(step.size_ns) / 1e6:.3f} ms {step.block:,} s after the first packet."


def _marks(way: Direction, found: Probe, dscp: int) -> tuple[tuple[int, ...], Marks]:
    """With which DSCPs the packets of this direction were sent, and how they came: a reply goes back with the one with
    which its request came, so that what was remarked on the way there is not charged to the way back."""
    there, back = (end.get("tos_seen") or {} for end in (found.reflected, found.sent))
    if way is Direction.A_Z:
        return (dscp,), marks(there, (dscp,))
    sent = tuple(sorted({int(tos) >> 2 for tos in there}))
    return sent, marks(back if sent else {}, sent)


def _marked(way: Direction, found: Probe, dscp: int) -> str:
    sent, seen = _marks(way, found, dscp)
    said = []
    if seen.remarked:
        others = ", ".join(class_name(each) for each in seen.dscps if each not in sent)
        right = " or ".join(map(class_name, sent))
        said.append(f"{seen.remarked:,} of {seen.packets:,} packets {way} came with {others} instead of {right}")
    if seen.congestion:
        said.append(f"{seen.congestion:,} of {seen.packets:,} packets {way} were marked for congestion (ECN)")
    return "; ".join(said) + "." if said else ""
