"""The bottleneck bandwidth of an rfc6349 task (RFC 6349 section 3.2): what comes of UDP at the ordered rate.

The load is our own: it sends evenly and leaves out what is late. iperf3 sends what is due once a millisecond, and after
a pause of its host all that is late at once; behind a small bucket it loses packets by its own bursts, and then nobody
can say that it is TCP which suffers from that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from perfharness.analysis import rfc6349
from perfharness.analysis.ledger import host_loss, loss_interval, remaining
from perfharness.analysis.statistics import mean_rate
from perfharness.errors import ToolFailed
from perfharness.evidence import TaskFiles
from perfharness.measurements import load_session, probe_ledger
from perfharness.measurements.base import Context
from perfharness.measurements.load_flow import LEAST_OFFERED, SHORT
from perfharness.measurements.service_figures import independent
from perfharness.measurements.service_step import Step, book
from perfharness.model import Direction, Interval, Job, Task

NAME = "bottleneck"
"""Of the session, and of its one phase."""
ROW_NS = 10_000_000


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What the path brings, at the ordered layer, and what it loses of evenly sent packets."""

    rate_bps: float
    shares: Interval | None = None
    """Where it lies, as shares of it; None where all that was offered arrived: then it is the ordered rate."""
    loss: Interval | None = None
    """None where nothing was measured."""
    about: str = ""
    """What must be said of it, a sentence."""


def jobs(
    context: Context,
    way: Direction,
    port: int,
    rate_bps: int,
    packet_bytes: int,
    seconds: float,
    dscp: int,
    receive_buffer_bytes: int,
    deadline_s: float,
    after_s: float,
) -> tuple[Job, Job]:
    """``rate_bps`` at the ordered layer for so long."""
    phase = {"name": NAME, "seconds": seconds, "rate_bps": rate_bps, "packet_bytes": packet_bytes}
    return load_session.jobs(
        context,
        way,
        port,
        [phase],
        deadline_s,
        dscp=dscp,
        row_ns=ROW_NS,
        receive_buffer_bytes=receive_buffer_bytes,
        after_s=after_s,
        name=NAME,
    )


def measured(task: Task, files: TaskFiles, context: Context, beside_bps: float) -> Bottleneck:
    """``beside_bps``: of the probes, for which the load left room."""
    try:
        (session,) = load_session.sessions(task, files)
    except ToolFailed as error:
        said = str(error).rstrip(".")
        about = f"The bottleneck bandwidth was not measured ({said}): the ordered rate is taken."
        return Bottleneck(float(context.committed_bps), about=about)
    step = Step(session, 0, replace(task.scope, direction=session.way), "")
    host = host_loss(book(step, context, probe_ledger.counters(files, context)))
    rate_bps, shares = _bandwidth(step, host, context, beside_bps)
    lost, sent = step.phase.lost, step.phase.sent
    return Bottleneck(rate_bps, shares, loss_interval(lost, sent, host, independent(step)), _short(step))


def _bandwidth(step: Step, host: tuple[int, int], context: Context, beside_bps: float) -> tuple[float, Interval | None]:
    """(bit/s at the ordered layer, where it lies as shares of it). A path that carried all that it was offered is at
    least as wide as was ordered, and no more than that was tried. What the hosts lost of it the path had carried."""
    lost, rates = step.phase.lost, step.rates_bps(0.0)
    fewest, most = remaining(lost, host)
    each_bps = step.packet_bits / step.seconds
    if len(rates):
        mean, interval = mean_rate(rates, rfc6349.HALF)
    else:  # a packet or two
        mean, interval = step.phase.received * each_bps, None
    carried = mean + (lost - most) * each_bps
    all_arrived = most <= (1 - SHORT) * step.phase.sent and carried >= LEAST_OFFERED * step.offered_bps
    if all_arrived or carried >= SHORT * step.offered_bps:  # what still queues at the end is not missing
        least = min(carried, step.offered_bps) / step.intended_bps
        tried = Interval(least, 1.0, rfc6349.HALF, "one", "no more was offered")
        return float(context.committed_bps), tried if _withheld(step) else None
    rate = carried + beside_bps
    if interval is None:
        return rate, Interval(0.0, math.inf, rfc6349.HALF, "one", "one interval only")
    perhaps = (most - fewest) * each_bps
    lo, hi = interval.lo + rate - mean, interval.hi + rate - mean + perhaps
    return rate, replace(interval, lo=max(0.0, lo / rate), hi=hi / rate)


def _withheld(step: Step) -> bool:
    return step.offered_bps < LEAST_OFFERED * step.intended_bps


def _short(step: Step) -> str:
    """What the sender did not offer, where that is more than a trifle."""
    if not _withheld(step):
        return ""
    offered = f"{step.offered_bps / step.intended_bps:.1%} of the ordered rate"
    return f"The sender of paced UDP offered only {offered}: the path may be narrower than was ordered."
