"""Rate, loss and availability of one phase of a service's load."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from perfharness.analysis.ledger import host_loss, loss_interval, remaining, who
from perfharness.analysis.loss import Account
from perfharness.analysis.patterns import TURN_S
from perfharness.analysis.statistics import FEW_RATES, effective_n, mean_rate
from perfharness.measurements import latency
from perfharness.measurements.base import Context
from perfharness.measurements.load_flow import LEAST_OFFERED, SHORT
from perfharness.measurements.probe_ledger import lost_most
from perfharness.measurements.service_step import Step, by_receiver
from perfharness.model import Interval, LedgerRow, Observation

SETTLED = 0.5
"""Share of a phase after which a token bucket of usual size is empty: what overloads is judged by what comes then."""
LEAST_BURST = 0.95
"""Share of a burst that a sender must have offered for its loss to be told, with how much it was."""
BLOCK_S, LEAST_BLOCKS = 1.0, 10
"""Losses are counted in blocks of a second; of a short phase in so many."""

Rows = Sequence[LedgerRow]


def of_load(step: Step, rows: Rows, context: Context, beside_bps: float) -> Iterator[Observation]:
    """``beside_bps``: of the probes of the same class, which belong to the service too."""
    yield _rate(step, rows, context, beside_bps)
    yield _loss(step, rows, context)


def available(step: Step, rows: Rows, context: Context) -> Observation:
    """Share of available seconds (ITU-T Y.1563), by the load's own packets."""
    lost, packets = step.loss_blocks(1.0)
    told: dict[str, Any] = {"metric": "availability", "statistic": "ratio", "scope": step.scope, "unit": "1"}
    if len(packets) < TURN_S or not packets.all():
        why = f"Time is available or not for {TURN_S} s together (ITU-T Y.1563); {len(packets)} s were measured."
        return Observation(**told, value=None, n=0, reason=why, evidence=step.session.evidence)
    nothing = np.zeros(0, np.int64)
    account = Account(packets, lost, np.arange(len(packets)), nothing, nothing, nothing)
    seconds, interval = latency.available(account)
    about = f"{int(seconds.unavailable.sum()):,} of {seconds.seconds:,} seconds were unavailable, "
    about += f"{seconds.severely_errored:,} severely errored; hours of test prove no monthly availability."
    if seconds.unavailable.any() and host_loss(rows)[1]:
        interval = replace(interval, hi=1.0)
        about += " Some of the packets may have been lost outside the circuit."
    return Observation(
        **told,
        value=1 - float(seconds.unavailable.mean()),
        n=seconds.seconds,
        interval=interval,
        evidence=step.session.evidence,
        reason=about,
        hosts=context.hosts,
    )


def _rate(step: Step, rows: Rows, context: Context, beside_bps: float) -> Observation:
    """The rate that arrived, at the ordered layer, with that of the probes. At best what the sender did not offer had
    arrived too, and what the receiving host lost."""
    about: dict[str, Any] = {"metric": "throughput.udp", "statistic": "mean", "scope": step.scope, "unit": "bit/s"}
    given = _given(step)
    skip = SETTLED if given is None and _overloads(step) else 0.0
    rates = step.rates_bps(skip)
    if given is None and not len(rates):
        said = "Nothing of this step arrived." if step.phase.sent else "Nothing of this step was sent."
        return Observation(**about, layer=context.layer, value=None, n=0, reason=said, evidence=step.session.evidence)
    value, interval = given or mean_rate(rates)
    said = _offered_text(step) if _shortfall(step) else ""
    if interval is not None:
        # Of a part of the step: all that is lacking may have been lacking there.
        unoffered = max(0.0, step.intended_bps - step.offered_bps) / (1 - skip)
        lost_bps = host_loss(rows)[1] * step.packet_bits / step.seconds / (1 - skip)
        few = given is None and (interval.n_eff or 0.0) < min(FEW_RATES, len(rates))
        said = f"{said} It changed too slowly to be sure of in so short a step.".strip() if few else said
        interval = replace(
            interval,
            lo=max(interval.lo, 0.0) + beside_bps,
            hi=interval.hi + unoffered + lost_bps + beside_bps,
            n_eff=None if said else interval.n_eff,
        )
    return Observation(
        **about,
        layer=context.layer,
        value=value + beside_bps,
        n=len(rates),
        interval=interval,
        evidence=step.session.evidence,
        reason=said,
        hosts=context.hosts,
        short=_shortfall(step, context),
    )


def _overloads(step: Step) -> bool:
    """It offers more than the CIR, so that a bucket of tokens may carry a part of it."""
    return "CIR" not in step.scope.load or "+" in step.scope.load


def _given(step: Step) -> tuple[float, Interval] | None:
    """The mean rate of bursts, or of a step of which (nearly) all arrived: how evenly it came is the sender's doing,
    and how much less another one had brought only the losses can tell. Else None."""
    lost, sent = step.phase.lost, step.phase.sent
    if not sent or (lost > (1 - SHORT) * sent and step.bursts is None):
        return None
    found = loss_interval(lost, sent, (0, 0), independent(step))
    offered = step.offered_bps
    return offered * (1 - lost / sent), replace(found, lo=offered * (1 - found.hi), hi=offered * (1 - found.lo))


def independent(step: Step) -> float:
    """As how many packets those of a step count; a burst is cut where the tokens end, so that blocks of it say nothing
    of chance."""
    if step.is_burst:
        return float(step.phase.sent)
    return effective_n(*step.loss_blocks(min(BLOCK_S, step.seconds / LEAST_BLOCKS)))


def _loss(step: Step, rows: Rows, context: Context) -> Observation:
    """What did not arrive, less what the hosts lost of it. A receiver that lost most of it proves nothing of the
    rest."""
    lost, sent = step.phase.lost, step.phase.sent
    about: dict[str, Any] = {"metric": "loss", "statistic": "ratio", "scope": step.scope, "unit": "1"}
    if not sent:
        return Observation(
            **about, value=None, n=0, reason="Nothing of this step was sent.", evidence=step.session.evidence
        )
    host, short = host_loss(rows), _shortfall(step, context)
    said = f"{lost:,} of {sent:,} packets did not arrive"
    if host[1]:
        said += f"; {who(rows)} lost {min(host[0], lost):,} to {min(host[1], lost):,} of them"
    n_eff = independent(step)
    interval = loss_interval(lost, sent, host, n_eff)
    receiver = context.ends(step.session.way)[1].name
    kept = lost_most(by_receiver(rows, step, context), lost, sent - lost, step.session.way)
    if kept:
        interval = replace(interval, hi=loss_interval(lost, sent, (0, 0), n_eff).hi, n_eff=None)
        short = f"{receiver}: {kept[0]}"
        said += f"; {receiver} was not fit to receive this step"
    share = step.offered
    least = LEAST_BURST if step.is_burst else LEAST_OFFERED
    withheld = 1 - share if share < least else 0.0
    if withheld:
        interval = replace(interval, hi=withheld + (1 - withheld) * interval.hi, n_eff=None)
    return Observation(
        **about,
        value=remaining(lost, host)[1] / sent,
        n=sent,
        interval=interval,
        evidence=step.session.evidence,
        reason=f"{said}. {_offered_text(step) if withheld else ''}".strip(),
        hosts=context.hosts,
        short=short,
    )


def _offered_text(step: Step) -> str:
    what = "load" if step.bursts is None else "bursts"
    return f"The sender offered only {math.floor(step.offered * 1e4) / 1e2:.2f} % of the intended {what}."


def _shortfall(step: Step, context: Context | None = None) -> str:
    """What the sender did of its part; empty where it lacks a trifle, which it would every time."""
    if step.offered >= (SHORT if step.bursts is None else LEAST_BURST):
        return ""
    share = f"{step.offered:.2%} of the load ({step.session.way.value}, {step.scope.load})"
    return f"{context.ends(step.session.way)[0].name if context else 'the sender'} offered {share}"
