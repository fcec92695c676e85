"""Where packets of a UDP load were lost, as far as its two hosts can tell."""

from __future__ import annotations

import math
from dataclasses import replace

from perfharness.analysis import pacing
from perfharness.analysis.ledger import RECEIVER_SOCKET
from perfharness.evidence import TaskFiles
from perfharness.measurements import probe
from perfharness.measurements.base import COUNTERS, Context, segment_of
from perfharness.measurements.load_flow import Carried, at_layer, ip_bytes, loss_blocks
from perfharness.model import Layer, LedgerRow, Task

END_S = 0.1
"""iperf3's ends stop within this of one another, the control connection's way not counted."""
BURSTS = "sender pacing"


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


def tail(flow: Carried, found: probe.Probe) -> int:
    """Packets lost after the last one that arrived.

    The two ends do not stop at the same instant, and what was on its way then is not lost: as much as END_S and
    the longest round trip of the probes hold. So the loss is that up to the last packet that arrived, unless
    nothing arrived for longer than that.
    """
    ends = found.summary.rtt.ends()
    longest_s = END_S + (ends[1] / 1e9 if ends else 0.0)
    return max(0, uncounted(flow) - math.ceil(flow.offered_bps / 8 / int(flow.args["length"]) * longest_s))


def _within_the_test(rows: tuple[LedgerRow, ...], flow: Carried) -> tuple[LedgerRow, ...]:
    """A socket counts its drops from its first packet to its last; the loss leaves out the warm-up and what came
    after the end. As many of the drops as were lost there need not be among the losses that are judged."""
    omitted = (part for received in flow.received for part in received.slices if part.omitted)
    elsewhere = sum(max(0, part.lost or 0) for part in omitted) + uncounted(flow)
    return tuple(
        replace(row, packets_lo=max(0, row.packets_lo - elsewhere)) if row.stage == RECEIVER_SOCKET else row
        for row in rows
    )


def book(flow: Carried, task: Task, files: TaskFiles, context: Context, found: probe.Probe) -> tuple[LedgerRow, ...]:
    """UDP only: what TCP loses it sends again, and its rate is no contract."""
    if not flow.udp:
        return ()
    scope = replace(task.scope, direction=flow.way)
    lost = unreceived(flow) if flow.loss_problem else int(loss_blocks(flow)[0].sum()) + tail(flow, found)
    rows = probe.book_stream(context, scope, files, flow.window, lost=lost, sockets=flow.sockets)
    sender = context.ends(flow.way)[0].name
    rate = at_layer(flow.args["rate_bps"] * len(flow.sent), flow, context, Layer.L2)
    rate += found.stream.rate_bps(Layer.L2, context.tagged)
    above = pacing.excess_packets(files.rows(sender, COUNTERS, "counters.jsonl"), rate, ip_bytes(flow, context) + 14)
    evidence = (files.path(sender, COUNTERS, "counters.jsonl"),)
    counter = (
        "unknown: no interface counters of the sender" if above is None else "tx_bytes above the rate, each 100 ms"
    )
    most = lost if above is None else min(above, lost)
    return (
        LedgerRow(scope, BURSTS, segment_of(context, sender), 0, most, counter, False, evidence),
        *_within_the_test(rows, flow),
    )
