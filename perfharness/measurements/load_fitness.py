"""Could the hosts have sent and received more than they did?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from perfharness.analysis import limits
from perfharness.analysis.ledger import host_loss
from perfharness.evidence import TaskFiles
from perfharness.measurements import base, load_limits, probe, probe_ledger
from perfharness.measurements.base import COUNTERS, Context, segment_of
from perfharness.measurements.load_flow import LEAST_OFFERED, SHORT, Carried
from perfharness.model import Direction, Fitness, LedgerRow, Task

STOLEN = 0.1
"""Share of its CPU time that a hypervisor may give to others."""

PROBED = ("delay",)
"""What the probes beside a load tell."""

Ledgers = Mapping[Direction, Sequence[LedgerRow]]


def fitness(
    flows: Sequence[Carried],
    ledgers: Ledgers,
    probes: Ledgers,
    task: Task,
    files: TaskFiles,
    context: Context,
    found: probe.Probe,
) -> tuple[Fitness, ...]:
    """Whether each host can be believed. What a sender withheld is inside the intervals: it is unfit when that may
    be all that is missing. A receiver is unfit when most of what is missing had reached it. What the probes beside the
    load lack spoils only what they tell."""
    prober = probe_ledger.fitness_of(context, task, found, probes)
    rows = [replace(each, metrics=PROBED) for each in prober if not each.fit]
    evidence = tuple(path for flow in flows for path in flow.evidence)
    for host in context.hosts:
        reasons: list[str] = []
        for flow in flows:
            sender, receiver = (end.name for end in context.ends(flow.way))
            if host == sender:
                reasons += _withheld(flow, load_limits.of_sender(flow, task, files, context, found))
            reasons += _dropped(flow, ledgers[flow.way], context) if host == receiver else []
            if flow.udp and _short(flow):
                # A busy CPU of a sender that offered all of it lost nothing; one that was taken away makes bursts.
                reasons += [] if host == sender and _offered(flow) else _busy(host, flow)
                reasons += _robbed(host, flow, files)
        rows.append(base.fitness(host, task, reasons, evidence))
    return tuple(rows)


def held_back(load: limits.Load) -> str:
    """What in the hosts may have kept a TCP flow from carrying more; empty if nothing is known of.

    TCP takes what it gets, so there is no intended rate that it could fall short of.
    """
    return "; ".join(reason.rstrip(".") for limit in limits.of_hosts(load) for reason in limit.reasons)


def _short(flow: Carried) -> bool:
    return flow.carried_bps < SHORT * max(flow.intended_bps, flow.offered_bps)


def _offered(flow: Carried) -> bool:
    return flow.offered_bps >= SHORT * flow.intended_bps


def _withheld(flow: Carried, why: limits.Limit | None) -> list[str]:
    at_best = flow.carried_bps + flow.withheld_bps
    if not flow.withheld_bps or at_best < LEAST_OFFERED * flow.intended_bps:
        return []
    only = f"only {flow.offered_bps / flow.intended_bps:.1%} of the intended load ({flow.way.value})"
    if why is not None and why.limit == limits.NIC:
        return [f"its interface took {only}", *(each[0].lower() + each[1:].rstrip(".") for each in why.reasons)]
    return [f"it offered {only}"]


def _dropped(flow: Carried, rows: Sequence[LedgerRow], context: Context) -> list[str]:
    receiver = context.ends(flow.way)[1].name
    lost, _ = host_loss([row for row in rows if row.segment is segment_of(context, receiver)])
    arrived = sum(part.packets or 0 for each in flow.received for part in each.kept)
    missing = sum(part.lost or 0 for each in flow.received for part in each.kept)
    return probe_ledger.lost_most(lost, missing, arrived, flow.way)


def _busy(host: str, flow: Carried) -> list[str]:
    share = load_limits.cpu(host, flow) or 0.0
    return [f"iperf3 kept a CPU {share:.0%} busy ({flow.way.value})"] if share >= limits.BUSY else []


def _robbed(host: str, flow: Carried, files: TaskFiles) -> list[str]:
    stolen = _stolen(host, files)
    return [f"its hypervisor withheld {stolen:.0%} of its CPU time ({flow.way.value})"] if stolen > STOLEN else []


def _stolen(host: str, files: TaskFiles) -> float:
    """Share of the host's CPU time that a hypervisor gave to others; 0 where that is not told."""
    ticks = [row["cpu"]["total"] for row in files.rows(host, COUNTERS, "counters.jsonl") if "cpu" in row]
    if len(ticks) < 2:
        return 0.0
    spent = {key: ticks[-1][key] - ticks[0][key] for key in ticks[0]}
    total = sum(spent.values())
    return spent.get("steal", 0) / total if total else 0.0
