"""Others' traffic on the circuit beside a load: what crossed the CE's WAN interface and no host of ours sent or took.

The watchers begin before a load and end after it, so their whole time is compared, and no clock with another: what one
of them saw a second longer is no part of the load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from perfharness.evidence import TaskFiles
from perfharness.measurements.base import COUNTERS, WAN_COUNTERS, Context
from perfharness.model import Direction

SIDES = {Direction.A_Z: "tx", Direction.Z_A: "rx"}
"""At the WAN interface of the CE as at the on-prem host's own."""
TAG_BYTES = 4
_FILE = "counters.jsonl"


def others_bps(files: TaskFiles, context: Context) -> dict[str, float]:
    """By direction, at L2, on average. Empty where the CE is not read, where several pairs load the circuit together,
    and where VBRs share the port, each with a rate of its own: nobody knows whose the others' is."""
    router = context.circuit.ce_host
    if router is None or context.among > 1 or len(context.circuit.vbrs) > 1:
        return {}
    wan = _ends(files.each_row(router.name, WAN_COUNTERS, _FILE))
    own = _ends(files.each_row(context.a.name, COUNTERS, _FILE))
    if wan is None or own is None:
        return {}
    tag = TAG_BYTES if context.tagged else 0
    found = {}
    for way, side in SIDES.items():
        crossed, ours, packets = _rise(wan, f"{side}_bytes"), _rise(own, f"{side}_bytes"), _rise(own, f"{side}_packets")
        if crossed is not None and ours is not None and packets is not None:
            seconds = (wan[1]["t_ns"] - wan[0]["t_ns"]) / 1e9
            found[way.value] = max(0.0, (crossed - ours - tag * packets) * 8 / seconds)
    return found


def _ends(rows: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """The first row and the last; None where no time lies between them."""
    first = last = None
    for row in rows:
        if isinstance(row.get("t_ns"), int) and isinstance(row.get("nic"), Mapping):
            first, last = first or row, row
    return None if first is None or last is None or last["t_ns"] <= first["t_ns"] else (first, last)


def _rise(ends: tuple[Mapping[str, Any], Mapping[str, Any]], name: str) -> int | None:
    before, after = (row["nic"].get(name) for row in ends)
    return after - before if isinstance(before, int) and isinstance(after, int) and after >= before else None
