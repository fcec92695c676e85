"""Why a load carried what it did: what limited each direction, as facts for the judge and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from perfharness.analysis import limits, rfc6349
from perfharness.analysis.ledger import host_loss, remaining, who
from perfharness.evidence import TaskFiles
from perfharness.measurements import load_limits, probe
from perfharness.measurements.base import Context
from perfharness.measurements.load_flow import SHORT, Carried
from perfharness.model import LedgerRow, Task

Fact = dict[str, Any]


class Left(Protocol):
    """What the two ends of a pair left of a load."""

    @property
    def task(self) -> Task: ...
    @property
    def files(self) -> TaskFiles: ...
    @property
    def context(self) -> Context: ...
    @property
    def flows(self) -> tuple[Carried, ...]: ...


def known(flow: Carried, task: Task, files: TaskFiles, context: Context, found: probe.Probe) -> limits.Load:
    """Of a TCP load, and of its path while that was idle."""
    path = load_limits.path(task, files, context, found, context.committed_bps // context.among)
    return load_limits.load(flow, task, files, context, found, path)


def tcp(flow: Carried, task: Task, files: TaskFiles, context: Context, found: probe.Probe) -> list[Fact]:
    return load_limits.facts(flow.way, known(flow, task, files, context, found))


def fairness(loads: Sequence[Left]) -> Mapping[str, float | None]:
    """By direction, Jain's index over the TCP streams of all these; None where one of them does not tell."""
    found: dict[str, float | None] = {}
    for way in [flow.way for flow in loads[0].flows if not flow.udp]:
        flows = [(load, next(flow for flow in load.flows if flow.way is way)) for load in loads]
        each = [load_limits.shares(flow, load.task, load.files, load.context) for load, flow in flows]
        found[way.value] = rfc6349.fairness(sum(each, ())) if all(each) else None
    return found


def paced(
    flow: Carried, short: str, why: Sequence[limits.Limit], rows: Sequence[LedgerRow], missing: int, total: int
) -> list[Fact]:
    """Of a paced load: what was offered, unless it fell short of that; then who lost it.

    ``short``: what senders did of their parts where that is too little, and ``why`` as far as that shows;
    ``missing`` of ``total`` packets never arrived.
    """
    found = [(limit, f"{short}. {said}".strip()) for limit, said in _by_limit(why).items()] if short else []
    if flow.loss_problem:
        found.append((limits.UNKNOWN, f"{flow.loss_problem[0].upper()}{flow.loss_problem[1:]}."))
    elif missing > (1 - SHORT) * total:
        host = host_loss(rows)
        least, most = remaining(missing, host)
        if host[1]:
            lost = f"{min(host[0], missing):,} to {min(host[1], missing):,}"
            said = f"lost {lost} of the {missing:,} packets that are missing of {total:,}."
            found.append((limits.HOSTS, f"{who(rows)[0].upper()}{who(rows)[1:]} {said}"))
        if least:
            found.append((limits.CIRCUIT, f"{least:,} to {most:,} of {total:,} packets were lost between the hosts."))
    elif not short:
        found.append((limits.OFFERED, f"{1 - max(0, missing) / total:.2%} of the packets that were offered arrived."))
    return [{"limit": limit, "way": flow.way.value, "reasons": [said]} for limit, said in found]


def _by_limit(why: Sequence[limits.Limit]) -> dict[str, str]:
    """All reasons of each; the sender as such where none is known."""
    found: dict[str, str] = {} if why else {limits.SENDER: ""}
    for each in why:
        found[each.limit] = " ".join(filter(None, (found.get(each.limit), *each.reasons)))
    return found
