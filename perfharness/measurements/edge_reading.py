"""What a reading of the router left, and the earlier one with which it is compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perfharness import routers
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import Ends
from perfharness.model import Interval, Observation, Task
from perfharness.order.circuit import Ce
from perfharness.routers import RouterState

READ, TAGGED = "read", "tagged"
NOBODY = "The order names no router that can be asked: write how to reach it under `ce:`."


@dataclass(frozen=True, slots=True)
class Reading:
    """The router at one moment."""

    state: RouterState
    at_ns: int | None = None
    port: str | None = None
    """How TCP/179 of the VBR answered, where that was tried."""
    evidence: tuple[str, ...] = ()
    reason: str = ""
    """Why it could not be read; empty where it was."""


def read(files: TaskFiles, context: Ends) -> Reading:
    """What the router said in this task. Raises EvidenceBroken."""
    router = context.circuit.ce_router
    if router is None:
        return Reading(RouterState(), reason=NOBODY)
    result = files.result(router.name, READ)
    if result is None or result["status"] != "completed":
        why = ((result or {}).get("error") or {}).get("message") or _absence(files, router.name)
        return Reading(RouterState(), reason=f"{router.name} was not read: {why}.")
    told = {name: how for name, how in result["data"]["outputs"].items() if how["exit_code"] == 0 and not how["cut"]}
    texts = {name: files.bytes(router.name, READ, f"{name}.txt") for name in told}
    known = {name: data.decode(errors="replace") for name, data in texts.items() if data is not None}
    platform = "linux" if isinstance(router, Ce) else router.platform
    return Reading(
        state=routers.parse(platform, known),
        at_ns=result["data"]["t_ns"],
        port=result["data"]["port"],
        evidence=tuple(files.path(router.name, READ, f"{name}.txt") for name in sorted(known)),
    )


def _absence(files: TaskFiles, name: str) -> str:
    """Why the run began without it, as its end notes; a clause."""
    notes = (files.folder.read_json("end.json") or {}).get("notes", ())
    said = next((str(note) for note in notes if str(note).startswith(f"{name}: ")), "")
    return said.removeprefix(f"{name}: ").partition(". The run went on")[0] or "it could not be reached"


def earlier(task: Task, files: TaskFiles) -> TaskFiles | None:
    """The files of the run's first task of this kind between the same hosts since the run itself last did something to
    the circuit, which leaves its traces in every counter; ``None`` where this is the first."""
    plan = files.folder.read_json("plan.json") or {"tasks": []}
    same: list[str] = []
    for each in plan["tasks"]:
        same = [] if each.get("acts") else same
        if each["measurement"] == task.measurement and each["scope"]["pair"] == task.scope.pair:
            same.append(str(each["id"]))
        if task.id.startswith(str(each["id"])):
            break
    first = same[0] if same else task.id
    return None if task.id.startswith(first) else files.folder.files(first)


def figure(
    context: Ends,
    metric: str,
    statistic: str,
    value: Any,
    reason: str = "",
    evidence: tuple[str, ...] = (),
    most: float | None = None,
) -> Observation:
    """A thing as the router tells it; ``most``: the most that a count may be, where less than all was told."""
    counted = isinstance(value, int | float) and not isinstance(value, bool)
    interval = Interval(value, value if most is None else most, 1.0, "exact", "read on the router") if counted else None
    return Observation(metric, statistic, context.scope(None), "", value, 1, interval, evidence=evidence, reason=reason)
