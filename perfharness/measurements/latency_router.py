"""latency to a router's own reflector (RFC 8762; TWAMP Light, RFC 5357 appendix I): no agent answers, so only the
round trip is known, and nothing of the router.

It may have dropped what is missing, and have held what is late before its first or after its last stamp. So a figure
passes by what was measured, and fails only by what no router can excuse: nothing of the loss, the least round trip.
No direction loses more than the round trip does, or is available for less time: what passes here passes for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perfharness.analysis import delay, ledger
from perfharness.analysis.distribution import Excused
from perfharness.analysis.ledger import host_loss, loss_interval, remaining
from perfharness.analysis.samples import Samples
from perfharness.analysis.statistics import Ints, effective_n
from perfharness.analysis.stream import by_count
from perfharness.analysis.summary import MOST_HELD
from perfharness.evidence import TaskFiles
from perfharness.measurements import latency, latency_oneway, probe, probe_ledger
from perfharness.measurements.base import (
    SETUP_S,
    RouterContext,
    counters,
    failed,
    fitness,
    not_completed,
    segment_of,
    window_of,
)
from perfharness.measurements.latency import PDV_QUANTILES, QUANTILES
from perfharness.measurements.latency_duplication import duplication
from perfharness.measurements.latency_params import LatencyParams
from perfharness.measurements.pieces import Pieces, open_pieces
from perfharness.model import (
    Direction,
    LedgerRow,
    Measurement,
    Observation,
    PortUse,
    Segment,
    Status,
    Task,
)

TRIP = Direction.ROUND_TRIP
STAGE = "router's reflector"
NO_CLOCK = "Nobody vouches for the clock of a router's reflector: only the round trip is known."
_SEGMENTS = {"onprem": Segment.CE, "cloud": Segment.CLOUD_EDGE}


class LatencyToRouter:
    name = "latency"
    parameters = LatencyParams
    statistics = latency.Latency.statistics

    def tasks(self, params: LatencyParams, step: str, context: RouterContext) -> tuple[Task, ...]:
        if params.classes:
            return ()
        stream = replace(params.stream(context), authenticated=False)  # it has no key of ours
        duration = stream.duration_s + probe.WAIT_NS / 1e9
        deadline = duration + 15.0
        rate = stream.rate_bps(context.layer, context.tagged)
        host, router = context.host, context.router
        port = router.reflector.port
        return (
            Task(
                id=step,
                step=step,
                measurement=self.name,
                scope=context.scope(TRIP, frame_bytes=stream.frame_bytes),
                jobs=(
                    *counters(context, deadline + SETUP_S),
                    probe.sender_job(context, step, stream, deadline, host, router, port, zero_ssid=True),
                ),
                duration_s=duration,
                load_bps=rate,
                load_bytes=round(rate / 8 * stream.duration_s) * 2,
                ports=(PortUse(host.name, router.name, "udp", port, "STAMP probes to a router's own reflector"),),
                privileges=(probe.PRIVILEGE,),
                yields=dict.fromkeys(("delay.rtt", "variation.pdv", "loss", "availability", "duplication"), (TRIP,)),
            ),
        )

    def analyse(self, task: Task, files: TaskFiles, context: RouterContext) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        found = read(files, context)
        if isinstance(found, str):
            return failed(task, files, found)
        rows = _rows(task, files, context, found)
        host = Excused(host_loss(rows)[1])
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=(
                *_quantiles("delay.rtt", QUANTILES, task, context, found, host),
                *_quantiles("variation.pdv", PDV_QUANTILES, task, context, found, host),
                _loss(task, context, found, rows),
                _available(task, context, found),
                duplication(task.scope, files, context.host.name, context, found),
                *latency_oneway.untold([task.scope], context, found, NO_CLOCK),
            ),
            ledger=rows,
            fitness=(
                fitness(context.host.name, task, _unfit(context, found, rows), found.evidence),
                *probe_ledger.stamped(context.host.name, task, found),
            ),
            series=probe.series(found),
            facts={**latency.facts(found), **latency.percentiles(found), "reflector": _reflector(context, found)},
        )


# --- what came back ---------------------------------------------------------------------------


class _Replies(Pieces):
    """Of a reflector that nobody vouches for."""

    def _piece(self, number: int, due_ns: Ints | None) -> Samples:
        return delay.believed(super()._piece(number, due_ns))


def read(files: TaskFiles, context: RouterContext) -> probe.Probe | str:
    """The stream's samples, or one sentence why there are none. Raises EvidenceBroken."""
    host, router = context.host.name, context.router
    sent = files.result(host, probe.SENDER)
    if sent is None or sent["status"] != "completed":
        return f"{host} left no result of its probe stream."
    sender = files.recording(host, probe.SENDER, "sender")
    if sender is None:
        return f"{host} left no samples."
    opened = open_pieces(sender, None, sent["data"], reflector_complete=False)
    pieces = _Replies(opened.sender, opened.log, opened.told, opened.result)
    found = probe.summed_up(host, sent, pieces, {}, (files.sample_path(host, probe.SENDER, "sender"),))
    if isinstance(found, str):
        return found
    if not found.summary.replied:
        came = ", ".join(f"{n:,} {reason}" for reason, n in found.sent["refused"].items())
        return (
            f"{router.name} answered none of {found.summary.sent:,} probes on UDP {router.reflector.port}"
            + (f"; packets came that are no replies: {came}" if came else "")
            + "; is its reflector on, for this sender and unauthenticated, and does no filter stand between?"
        )
    # Of the four stamps two are ours, and only these can be asked of a kernel.
    unstamped = sum(found.sent["stamps"][stamp]["user"] for stamp in ("t1", "t4"))
    kernel = max(0, found.summary.replied - unstamped)
    return replace(found, summary=replace(found.summary, kernel_stamped=kernel))


def _rows(task: Task, files: TaskFiles, context: RouterContext, found: probe.Probe) -> tuple[LedgerRow, ...]:
    """Who may have lost what: the host by its counters, the router anything. No stage has a direction."""
    counted = probe_ledger.counters(files, context)
    host, lost = context.host.name, found.summary.round_trip.count
    segment = segment_of(context, host)
    missing = ledger.Missing(
        packets=lost,
        window=found.window,
        sockets=[{"drops": found.sent.get("rxq_dropped"), "others": found.sent.get("foreign", 0) > 0}],
        unread=int(found.sent.get("unread", 0)),
    )
    own, path = counted.recordings[host], counted.paths[host]
    booked = ledger.book(
        missing, own, own, scope=task.scope, sender_segment=segment, receiver_segment=segment, evidence=(path,)
    )
    said = f"unknown: {context.router.name} takes no agent"
    router = LedgerRow(task.scope, STAGE, _SEGMENTS[context.router.site], 0, lost, said, True, found.evidence)
    unsent = found.sent["missed"] + found.sent["send_errors"]
    said = "missed by the schedule, refused on sending"
    never = (ledger.unsent(unsent, task.scope, segment, said, found.evidence),) if unsent else ()
    rows = (*never, *booked, router)
    return (*rows, ledger.rest(lost, rows, task.scope))


def _unfit(context: RouterContext, found: probe.Probe, rows: tuple[LedgerRow, ...]) -> list[str]:
    trip = found.summary.round_trip
    own = [row for row in rows if row.segment is segment_of(context, context.host.name)]
    dropped = probe_ledger.lost_most(host_loss(own)[0], trip.count, trip.packets - trip.count, TRIP)
    return probe.unfit_sender(found) + dropped


# --- the figures ------------------------------------------------------------------------------


def _quantiles(
    metric: str, which: Mapping[str, float], task: Task, context: RouterContext, found: probe.Probe, host: Excused
) -> list[Observation]:
    """Nothing but the least that was seen is proven of the path: above it the router may have been slow. Where it
    gives no stamps, its turnaround may be all of it."""
    values = found.summary.rtt if metric == "delay.rtt" else found.summary.pdv
    stamped = not any(source.endswith("/absent") for source in found.summary.stamps)
    ends, router = values.ends(), context.router.name
    least = ends[0] if ends and stamped else 0.0
    said = f"What is lost, and what is above the least, may be {router}'s own."
    if not stamped:
        said = f"{router} gives no stamps from which its own share can be told. {said}"
    method = "from the least on, since the router may have held the rest" if stamped else "from zero on"

    def widened(seen: Observation) -> Observation:
        if seen.interval is None:
            return seen
        low, how = min(seen.interval.lo, least), f"{seen.interval.method}; {method}"
        return replace(seen, interval=replace(seen.interval, lo=low, method=how, n_eff=None), reason=said)

    return [widened(seen) for seen in probe.quantiles(metric, values, which, task.scope, context, found, host)]


def _loss(task: Task, context: RouterContext, found: probe.Probe, rows: tuple[LedgerRow, ...]) -> Observation:
    trip, host = found.summary.round_trip, host_loss(rows)
    said = f"No direction lost more than the round trip. {latency.about_loss(trip, (0, 0))}"
    if trip.count:
        said += f" {context.router.name} may have dropped them itself, and in which direction they went nobody knows."
        said += f" {_by_numbers(context, found)}"
    return Observation(
        metric="loss",
        statistic="ratio",
        scope=task.scope,
        unit="1",
        value=remaining(trip.count, host)[1] / trip.packets,
        n=trip.packets,
        interval=loss_interval(trip.count, trip.packets, host, effective_n(trip.lost, trip.offered)),
        evidence=found.evidence,
        reason=said,
        hosts=context.hosts,
    )


def _available(task: Task, context: RouterContext, found: probe.Probe) -> Observation:
    """Share of the seconds in which packets came there and back (ITU-T Y.1563)."""
    trip = found.summary.round_trip
    seconds, interval = latency.available(trip)
    said = f"{int(seconds.unavailable.sum()):,} of {seconds.seconds:,} seconds were unavailable there or back"
    said += f", {seconds.severely_errored:,} severely errored; hours of test prove no monthly availability."
    if seconds.unavailable.any():
        interval = replace(interval, hi=1.0)
        said += f" {context.router.name} may have been silent itself."
    return Observation(
        metric="availability",
        statistic="ratio",
        scope=task.scope,
        unit="1",
        value=1 - float(seconds.unavailable.mean()),
        n=seconds.seconds,
        interval=interval,
        evidence=found.evidence,
        reason=said,
        hosts=context.hosts,
    )


def _by_numbers(context: RouterContext, found: probe.Probe) -> str:
    """What a stateful reflector's own numbers (RFC 8762, section 4) tell of lost packets; a fact, no figure."""
    if found.pieces.packets > MOST_HELD:
        return ""
    there, back, why = by_count(found.pieces.whole(), found.sent["reflector"])
    if there is None or back is None:
        return f"Its own numbers do not tell: {why}."
    return (
        f"By its own numbers, between the first and the last reply, {there.lost:,} of {there.offered:,} were not "
        f"answered (lost on the way or dropped by it) and {back.lost:,} of {back.offered:,} answers did not arrive."
    )


def _reflector(context: RouterContext, found: probe.Probe) -> dict[str, Any]:
    """For the report: who answered, and what its replies said of it."""
    told, router = found.sent["reflector"], context.router
    return {
        "router": router.name,
        "address": str(router.address),
        "port": router.reflector.port,
        "own_numbers": told["own_numbers"],
        "first": told["first"],
        "last": told["last"],
        "error_word": told["error_word"],
        "zero_ssid": found.sent["extensions"].get("zero SSID", 0),
    }
