"""Where packets of a UDP load were lost, as far as its two hosts can tell."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from perfharness.analysis import pacing
from perfharness.analysis.counters import Moments
from perfharness.analysis.ledger import BURSTS, FRAGMENTS, RECEIVER_SOCKET, Missing, rest, socket_drops
from perfharness.analysis.timeline import merged
from perfharness.evidence import TaskFiles
from perfharness.measurements import probe
from perfharness.measurements.base import COUNTERS, Context, segment_of
from perfharness.measurements.load_flow import Carried, at_layer, ip_bytes, loss_blocks
from perfharness.measurements.load_sockets import at_sender, moments
from perfharness.measurements.probe_ledger import Counters, event, undated
from perfharness.model import Direction, Layer, LedgerRow, Scope, Task

END_S = 0.1
"""iperf3's ends stop within this of one another, the control connection's way not counted."""


def unreceived(flow: Carried) -> int:
    """Packets that were offered and did not arrive, from the two rates, where the receiver's own count is no use."""
    missing_bps = max(0.0, flow.offered_bps - flow.carried_bps)
    return math.ceil(missing_bps / 8 / int(flow.args["length"]) * flow.received[0].seconds)


def uncounted(flow: Carried) -> int:
    """Packets that were sent and are in no count of the receiver's: iperf3 cannot see a gap at the end."""
    sent, counted = (
        sum(part.packets or 0 for each in flows for part in each.slices) for flows in (flow.sent, flow.received)
    )
    unread = sum(int(socket.get("unread") or 0) for socket in flow.sockets)
    return max(0, sent - counted - unread)


def longest_s(found: probe.Probe) -> float:
    """The longest round trip of the probes beside a load, s; 0 where none came back."""
    ends = found.summary.rtt.ends()
    return ends[1] / 1e9 if ends else 0.0


def tail(flow: Carried, longest_rtt_s: float) -> int:
    """Packets lost after the last one that arrived.

    The two ends do not stop at the same instant, and what was on its way then is not lost: as much as END_S and
    the longest round trip of the probes hold. So the loss is that up to the last packet that arrived, unless
    nothing arrived for longer than that.
    """
    seconds = END_S + longest_rtt_s
    return max(0, uncounted(flow) - math.ceil(flow.offered_bps / 8 / int(flow.args["length"]) * seconds))


def _within_the_test(rows: tuple[LedgerRow, ...], flow: Carried) -> tuple[LedgerRow, ...]:
    """A socket counts its drops from its first packet to its last; the loss leaves out the warm-up and what came after
    the end. Where its drops were sampled they say when; else as many of them as were lost there need not be among the
    losses that are judged."""
    if flow.traces:
        each = [trace.kept(uncounted(flow)) for trace in flow.traces]
        least, most = sum(lo for lo, _ in each), sum(hi for _, hi in each)
    else:
        omitted = (part for received in flow.received for part in received.slices if part.omitted)
        elsewhere = sum(max(0, part.lost or 0) for part in omitted) + uncounted(flow)
        drops = socket_drops(flow.sockets) or 0
        least, most = max(0, drops - elsewhere), drops
    return tuple(
        replace(row, packets_lo=min(row.packets_lo, least), packets_hi=min(row.packets_hi, most))
        if row.stage == RECEIVER_SOCKET
        else row
        for row in rows
    )


def book(
    flow: Carried,
    task: Task,
    files: TaskFiles,
    context: Context,
    found: probe.Probe,
    counted: Counters,
    others_bps: float = 0.0,
) -> tuple[tuple[LedgerRow, ...], list[dict[str, Any]]]:
    """The stages of one direction of a load, and its loss events as facts for the report.

    UDP only: what TCP loses it sends again, and its rate is no contract. ``others_bps``: what the same host was to send
    at the same time for other pairs, at L2.
    """
    if not flow.udp:
        return (), []
    scope = replace(task.scope, direction=flow.way)
    late = tail(flow, longest_s(found))
    lost = unreceived(flow) if flow.loss_problem else int(loss_blocks(flow)[0].sum()) + late
    missing = Missing(packets=lost, window=flow.window, sockets=flow.sockets)
    there = None if flow.loss_problem else moments(flow.traces, late)
    above = sent_bps(flow, found, context) + others_bps
    bursts = _bursts(flow, scope, files, context, above, lost)
    told = []
    if there is not None:
        missing = _timed(missing, there, found, flow)
        # A packet that is late is lost in one interval and given back in a later one.
        told = _events(context, scope, counted, missing, bursts) if lost > 0 else []
    rows = _within_the_test(counted.book(context, scope, missing, (bursts,)), flow)
    return (*rows, rest(lost, rows, scope)), undated(told, rows, lost)


def _timed(missing: Missing, there: Moments, found: probe.Probe, flow: Carried) -> Missing:
    passage = found.summary.passage_ns[flow.way]
    return replace(missing, at_receiver=there, at_sender=None if passage is None else at_sender(there, passage))


def sent_bps(flow: Carried, found: probe.Probe, context: Context) -> float:
    """What its sender was to send at L2, the probes included."""
    return at_layer(flow.intended_bps, flow, context, Layer.L2) + found.stream.rate_bps(Layer.L2, context.tagged)


def _bursts(flow: Carried, scope: Scope, files: TaskFiles, context: Context, rate_bps: float, lost: int) -> LedgerRow:
    """What the sender offered above this rate, of L2."""
    sender = context.ends(flow.way)[0].name
    rows = files.rows(sender, COUNTERS, "counters.jsonl")
    frame = ip_bytes(flow, context) + 14
    above = pacing.excess_packets(rows, rate_bps, frame)
    stage, counter = BURSTS, "tx_bytes above the rate, each 100 ms"
    if above is None:
        above, counter = lost, "unknown: no interface counters of the sender"
    elif 0 < above * frame <= 2 * pacing.fragment_bytes(rows):
        stage, counter = FRAGMENTS, "tx_bytes above the rate, and it cut packets (FragCreates)"
    evidence = (files.path(sender, COUNTERS, "counters.jsonl"),)
    return LedgerRow(scope, stage, segment_of(context, sender), 0, min(above, lost), counter, False, evidence)


def _events(
    context: Context, scope: Scope, counted: Counters, missing: Missing, bursts: LedgerRow
) -> list[dict[str, Any]]:
    """Intervals of iperf3's with losses, merged where they follow upon one another."""
    there, here = missing.at_receiver, missing.at_sender
    if there is None or not len(there.start_ns):
        return []
    told = []
    for chosen in merged(there.start_ns, there.end_ns):
        packets = int(there.packets[chosen].sum())
        some = replace(
            missing,
            packets=packets,
            at_receiver=there.part(chosen),
            at_sender=None if here is None else here.part(chosen),
            part=packets < missing.packets,
        )
        rows = counted.book(context, scope, some, (replace(bursts, packets_hi=min(bursts.packets_hi, packets)),))
        span = int(there.start_ns[chosen].min()), int(there.end_ns[chosen].max())
        told.append(event(context.ends(scope.direction or Direction.A_Z)[1].name, scope, span, packets, rows))
    return told
