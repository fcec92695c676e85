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

Row = Mapping[str, Any]


def timers(task: Task, files: TaskFiles, peer: str) -> dict[str, Mapping[str, int | None]]:
    """``{router: {bfd_ns, hold_ns}}`` of each session with this peer, as it was set when the test began."""
    found = {}
    for host in (job.endpoint for job in task.jobs if job.id == WATCH):
        for row in changes(files, host):
            if (row["what"], row["of"]) == (TIMERS, peer):
                found[host] = row["state"]
    return found


def noticed(events: Sequence[Row], outages: Sequence[Row], done: Mapping[str, Row]) -> list[dict[str, Any]]:
    """The first change of each kind at each router after each act, in the order of time.

    ``{act, who, what, of, said, since, after_ns, least_ns, most_ns}``; ``since`` = loss, or act. ``events``: the
    timeline; ``outages``: as they are told, of the phases ``cut`` and ``failback``; ``done``: the acts.
    """
    cut_ns, restore_ns = (int(done[act]["started_ns"]) for act in ("cut", "restore"))
    told = [row for row in events if row["what"] in WATCHED]
    cut = _first([row for row in told if row["t_ns"] < restore_ns], cut_ns)
    restored = _first(told, restore_ns)
    lost = [row for row in outages if row["phase"] == "cut"]
    loss = min(lost, key=lambda row: int(row["begin_ns"]), default=None)
    if loss is None or any(row["t_ns"] < loss["begin_ns"] for row in cut):
        found = [_counted("cut", row, "act", cut_ns, 0) for row in cut]
    else:
        found = [_counted("cut", row, "loss", int(loss["begin_ns"]), int(loss["open_ns"])) for row in cut]
    return found + [_counted("restore", row, "act", restore_ns, 0) for row in restored]


def _first(told: Sequence[Row], begin_ns: int) -> list[Row]:
    """Of each kind at each router, from this moment on as far as clocks can tell."""
    seen: dict[tuple[str, str], Row] = {}
    for row in told:
        if row["t_ns"] + row["open_ns"] >= begin_ns:
            seen.setdefault((row["who"], row["what"]), row)
    return list(seen.values())


def _counted(act: str, row: Row, since: str, since_ns: int, open_ns: int) -> dict[str, Any]:
    """``since_ns``: from when on, ``open_ns``: give or take."""
    after_ns, around_ns = int(row["t_ns"]) - since_ns, int(row["open_ns"]) + open_ns
    return {
        "act": act,
        **{name: row[name] for name in ("who", "what", "of", "said")},
        "since": since,
        "after_ns": after_ns,
        "least_ns": max(0, int(row["since_ns"]) - since_ns - around_ns),
        "most_ns": max(0, after_ns + around_ns),
    }
