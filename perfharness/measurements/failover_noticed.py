"""How soon the routers that were read noticed that a circuit went or came back, beside what their timers are set to.

Counted from the first probe that was lost, which is when the circuit went; where a router knew before that, or no probe
was lost, from the begin of the act.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perfharness.evidence import TaskFiles
from perfharness.measurements.failover_timeline import TIMERS, WATCH, WATCHED, changes
from perfharness.model import Task

ACTS = ("cut", "restore")


def timers(task: Task, files: TaskFiles, peer: str) -> dict[str, Mapping[str, int | None]]:
    """``{router: {bfd_ns, hold_ns}}`` of each session with this peer, as it was set when the test began."""
    found = {}
    for host in (job.endpoint for job in task.jobs if job.id == WATCH):
        for row in changes(files, host):
            if (row["what"], row["of"]) == (TIMERS, peer):
                found[host] = row["state"]
    return found


def noticed(
    events: Sequence[Mapping[str, Any]], outages: Sequence[Mapping[str, Any]], done: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The first change of each kind at each router after each act, in the order of time.

    ``{act, who, what, of, said, since, after_ns, least_ns, most_ns}``; ``since`` = loss, or act. ``events``: the
    timeline; ``outages``: as they are told, of the phases ``cut`` and ``failback``; ``done``: the acts.
    """
    found = []
    restored_ns = int(done["restore"]["started_ns"])
    for act in ACTS:
        begin_ns = int(done[act]["started_ns"])
        seen: dict[tuple[str, str], Mapping[str, Any]] = {}
        for row in events:
            over = act == "cut" and row["t_ns"] >= restored_ns
            if row["what"] in WATCHED and row["t_ns"] + row["open_ns"] >= begin_ns and not over:
                seen.setdefault((row["who"], row["what"]), row)
        lost = [row for row in outages if act == "cut" and row["phase"] == "cut"]
        first = min(lost, key=lambda row: int(row["begin_ns"])) if lost else None
        if first is None or any(row["t_ns"] < first["begin_ns"] for row in seen.values()):
            since, since_ns, open_ns = "act", begin_ns, 0
        else:
            since, since_ns, open_ns = "loss", int(first["begin_ns"]), int(first["open_ns"])
        for row in seen.values():
            after_ns, around_ns = int(row["t_ns"]) - since_ns, int(row["open_ns"]) + open_ns
            found.append(
                {
                    "act": act,
                    **{name: row[name] for name in ("who", "what", "of", "said")},
                    "since": since,
                    "after_ns": after_ns,
                    "least_ns": max(0, int(row["since_ns"]) - since_ns - around_ns),
                    "most_ns": max(0, after_ns + around_ns),
                }
            )
    return found
