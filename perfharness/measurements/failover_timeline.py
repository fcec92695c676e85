"""One axis of time for all that happened in a failover test: acts, outages, and what routers said.

Each clock is tied to the coordinator's by the brackets in which it saw a watcher's first row and its last. As long as
these allow that a clock agrees with ours it is taken as it is; how wide they are is what a time is uncertain by.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfharness.evidence import TaskFiles
from perfharness.measurements.base import COUNTERS, WAN_COUNTERS
from perfharness.model import Task

WATCH = "edge"
"""Job id of the watcher of a router."""
WATCHED = ("route", "bgp", "bfd", "carrier")
"""What of a router changes."""
TIMERS = "timers"
"""What it says of its sessions at the start."""
MOST_ROWS = 400
_FILES = {COUNTERS: "counters.jsonl", WAN_COUNTERS: "counters.jsonl", WATCH: "edge.jsonl"}


@dataclass(frozen=True, slots=True)
class Clock:
    """A host's clock against ours: by how much it is ahead (ns), and what that leaves open."""

    ahead_ns: int
    open_ns: int

    def ours(self, t_ns: float) -> int:
        return round(t_ns) - self.ahead_ns

    def theirs(self, t_ns: int) -> int:
        """The earliest that this moment of ours can be there."""
        return t_ns + self.ahead_ns - self.open_ns


def clock(files: TaskFiles, host: str, *jobs: str) -> Clock:
    """By these watchers of a host; one that left nothing is taken to agree, give or take nobody knows what."""
    bounds = [each for job in jobs for each in _ahead(files, host, job)]
    if not bounds:
        return Clock(0, 0)
    lo, hi = max(lo for lo, _ in bounds), min(hi for _, hi in bounds)
    if lo > hi:  # it was set meanwhile
        lo, hi = min(lo for lo, _ in bounds), max(hi for _, hi in bounds)
    ahead = min(max(0, lo), hi)
    return Clock(ahead, max(ahead - lo, hi - ahead))


def _ahead(files: TaskFiles, host: str, job: str) -> list[tuple[int, int]]:
    """(least, most) by which this host's clock was ahead of ours when a watcher began, and when it ended."""
    brackets = (files.outcome() or {}).get("watched", {}).get(f"{host}.{job}", ())
    first = last = None
    for row in files.each_row(host, job, _FILES[job]):
        first, last = first or row, row
    seen = [int(row["t_ns"]) for row in (first, last) if row is not None]
    if job == WATCH:
        seen = seen[:1]  # its last row is when something last changed
    return [(at - int(after), at - int(before)) for at, (before, after) in zip(seen, brackets, strict=False)]


def acts(files: TaskFiles) -> dict[str, Mapping[str, Any]]:
    """What was done, by its name; of one done twice the first time."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in (files.outcome() or {}).get("acts", ()):
        found.setdefault(str(row["id"]), row)
    return found


def told(task: Task, files: TaskFiles, outages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All in the order of time: ``{t_ns, open_ns, who, what, of, said}``, times by the coordinator's clock; of what a
    router says ``since_ns`` too, when it was not so yet."""
    rows = [row for act in (files.outcome() or {}).get("acts", ()) for row in _act(act)]
    rows += _outages(list(outages))
    for job in task.jobs:
        if job.id == WATCH:
            rows += _router(files, job.endpoint)
    return sorted(rows, key=lambda row: int(row["t_ns"]))[:MOST_ROWS]


def _outages(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of several flows that overlap are one: from the first flow that was cut off until the last was back."""
    rows = []
    for way in dict.fromkeys(str(row["direction"]) for row in found):
        groups: list[list[Mapping[str, Any]]] = []
        end = -math.inf
        for row in (row for row in found if row["direction"] == way):  # in order of their begin
            groups = groups if row["begin_ns"] <= end else [*groups, []]
            groups[-1].append(row)
            end = max(end, math.inf if row["end_ns"] is None else row["end_ns"])
        for group in groups:
            first = group[0]
            flows = len({row["source_port"] for row in group})
            of = f"{flows} flow{'s' * (flows != 1)}"
            rows.append(_row(first["begin_ns"], first["open_ns"], first["clock"], "outage begins", way, of))
            ends = [row["end_ns"] for row in group]
            if None not in ends:
                rows.append(_row(max(ends), first["open_ns"], first["clock"], "outage ends", way, of))
    return rows


def _act(act: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A command is one from its begin to its end; a person's act was done when Enter was pressed."""
    done = act["trouble"] or "done"
    if "ask" in act:
        return [_row(act["ended_ns"], 0, "coordinator", "act", act["id"], f"Enter was pressed: {act['ask']}")]
    begun = _row(act["started_ns"], 0, "coordinator", "act", act["id"], f"begins: {' '.join(act['command'])}")
    return [begun, _row(act["ended_ns"], 0, "coordinator", "act", act["id"], done)]


def changes(files: TaskFiles, host: str) -> Iterator[dict[str, Any]]:
    """What a router was like at the start, and each change, as ``edge.watch`` writes them."""
    return files.each_row(host, WATCH, _FILES[WATCH])


def _router(files: TaskFiles, host: str) -> list[dict[str, Any]]:
    """Its changes; how it was at the start is the state of what did not change, and is told as the first of each."""
    by = clock(files, host, WATCH, WAN_COUNTERS)
    was: dict[tuple[str, str], Any] = {}
    rows = []
    for row in changes(files, host):
        key = str(row["what"]), str(row["of"])
        if key in was:
            said = f"{said_of(was[key])} → {said_of(row['state'])}"
            told = _row(by.ours(row["t_ns"]), by.open_ns, host, *key, said)
            rows.append({**told, "since_ns": by.ours(row.get("since_ns", row["t_ns"]))})
        was[key] = row["state"]
    return rows


def said_of(state: Any) -> str:
    """A router's word on a route, a carrier or a session."""
    if state is None:
        return "none"
    if not isinstance(state, dict):
        return str(state)
    via = ", ".join(f"{gateway or 'link'} on {interface}" for gateway, interface in state["via"])
    return f"{state['prefix']} ({state['protocol']}) by {via or 'nobody'}"


def carried(task: Task, files: TaskFiles, until_ns: int) -> dict[str, dict[str, int]]:
    """Bytes that crossed each router's WAN interface, each way, from the start until this moment of ours; a router that
    left too few rows is missing."""
    found = {}
    for host in (job.endpoint for job in task.jobs if job.id == WAN_COUNTERS):
        until = clock(files, host, WAN_COUNTERS).theirs(until_ns)
        rows = [
            row
            for row in files.each_row(host, WAN_COUNTERS, _FILES[WAN_COUNTERS])
            if {"tx_bytes", "rx_bytes"} <= row.get("nic", {}).keys()
        ]
        nics = [row["nic"] for row in rows if row["t_ns"] <= until]
        if len(nics) > 1:
            ways = {"a-z": "tx_bytes", "z-a": "rx_bytes"}
            found[host] = {way: nics[-1][name] - nics[0][name] for way, name in ways.items()}
    return found


def _row(t_ns: int, open_ns: int, who: str, what: str, of: str, said: str) -> dict[str, Any]:
    return {"t_ns": int(t_ns), "open_ns": int(open_ns), "who": who, "what": what, "of": of, "said": said}
