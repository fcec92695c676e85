"""Others' traffic on the circuit beside a load: what crossed the CE's WAN interface and no host of ours sent or took.

The watchers begin before a load and end after it, so their whole time is compared, and no clock with another: what one
of them saw a second longer is no part of the load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perfharness.analysis.capacity import headers_bytes
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import COUNTERS, WAN_COUNTERS, Context
from perfharness.measurements.load_session import Session
from perfharness.model import Direction

SIDES = {Direction.A_Z: "tx", Direction.Z_A: "rx"}
"""At the WAN interface of the CE as at the on-prem host's own."""
TAG_BYTES = 4
UNSURE_BYTES = 8
"""Of each packet that one counter may count and another not: the frame check sequence, and a tag that the interface
adds or takes off. What is no more than that of our own packets is nobody's traffic."""
MAC_BYTES = 14
_FILE = "counters.jsonl"


def others_bps(files: TaskFiles, context: Context, sessions: Sequence[Session] = ()) -> dict[str, float]:
    """By direction, at L2, on average; 0 where it is no more than counters may differ by. Empty where the CE is not
    read, where several pairs load the circuit together, and where VBRs share the port, each with a rate of its own:
    nobody knows whose the others' is.

    ``sessions``: our own loads of the task. Where the kernel cuts up a datagram after it was counted, or joins several
    before that, the host's interface counts their headers once: then these know more of it.
    """
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
            loaded, load_packets = _loaded(sessions, way)
            ours, packets = max(ours, loaded), max(packets, load_packets)
            beyond = crossed - ours - tag * packets
            seconds = (wan[1]["t_ns"] - wan[0]["t_ns"]) / 1e9
            found[way.value] = beyond * 8 / seconds if beyond > UNSURE_BYTES * packets else 0.0
    return found


def _loaded(sessions: Sequence[Session], way: Direction) -> tuple[int, int]:
    """(bytes without a tag, packets) of these loads at the on-prem host: what it sent, or what came to it."""
    found = [0, 0]
    for session in sessions:
        if session.way is not way:
            continue
        for phase in session.phases:
            count = phase.sent if way is Direction.A_Z else phase.received + phase.duplicates
            found[0] += count * (phase.packet_bytes + headers_bytes() + MAC_BYTES)
            found[1] += count
    return found[0], found[1]


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
