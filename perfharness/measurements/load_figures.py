"""A load for the report: its rate over time, and what was run on which host."""

from __future__ import annotations

from typing import Any

import numpy as np

from perfharness.analysis.iperf3 import Flow, Slice
from perfharness.evidence import TaskFiles
from perfharness.measurements.load_flow import Carried
from perfharness.model import Direction, Series, Task


def rate_series(received: tuple[Flow, ...], scale: float, label: str, way: Direction, start_ns: int) -> Series:
    """Rate of all processes, interval by interval, the warm-up included; ``scale`` leads from payload to the layer."""
    each = [_whole(flow) for flow in received]
    count = min(len(parts) for parts in each)
    rate = np.sum([[part.bytes * 8 / part.seconds for part in parts[:count]] for parts in each], axis=0)
    middle = np.array([part.start_s + part.seconds / 2 for part in each[0][:count]])
    return Series(label, middle, rate * scale, "bit/s", "rate", direction=way, start_ns=start_ns)


def loss_series(received: tuple[Flow, ...], label: str, way: Direction, start_ns: int) -> Series:
    """Share of the packets of all processes that were lost, interval by interval; a late one is none."""
    each = [_whole(flow) for flow in received]
    count = min(len(parts) for parts in each)
    lost, packets = (
        np.sum([[getattr(part, name) or 0 for part in parts[:count]] for parts in each], axis=0)
        for name in ("lost", "packets")
    )
    middle = np.array([part.start_s + part.seconds / 2 for part in each[0][:count]])
    return Series(label, middle, np.maximum(lost, 0) / np.maximum(packets, 1), "1", "load.loss", way, start_ns)


def _whole(flow: Flow) -> list[Slice]:
    """Without the scrap of an interval at the end, whose rate means nothing."""
    longest = max(part.seconds for part in flow.slices)
    return [part for part in flow.slices if part.seconds > longest / 2]


def udp(flow: Carried, tail: int | None) -> dict[str, Any]:
    """How one direction of a UDP load was sent and received, for whoever doubts its losses.

    ``rate_bps`` (payload) and ``burst_packets`` are each sending process's. The kernel books twice the bytes that are
    asked for, for its own overhead, so what was got is half of what it reports; None where the sockets could not be
    looked at. ``tail_packets`` came after the last packet that arrived: no gap shows them, so they are counted apart.
    """
    booked = [int(socket["rcvbuf_bytes"]) for socket in flow.sockets if socket.get("rcvbuf_bytes")]
    return {
        "processes": len(flow.sent),
        "rate_bps": flow.args["rate_bps"],
        "burst_packets": flow.args.get("burst", 1),
        "counters_64bit": flow.wide_counters,
        "buffer_asked_bytes": flow.args.get("receive_buffer_bytes"),
        "buffer_got_bytes": min(booked) // 2 if booked else None,
        "buffer_forced": any(socket.get("forced") for socket in flow.sockets),
        "tail_packets": tail,
    }


def facts(task: Task, files: TaskFiles) -> dict[str, Any]:
    facts: dict[str, Any] = {"argv": {}, "versions": {}, "clamps": [], "sockets": {}}
    for job in task.jobs:
        if job.method.startswith("iperf3."):
            data = (files.result(job.endpoint, job.id) or {}).get("data") or {}
            name = f"{job.endpoint}.{job.id}"
            facts["argv"][name] = data.get("argv")
            facts["versions"][name] = data.get("version")
            facts["sockets"][name] = data.get("sockets")
            facts["clamps"] += [{"job": name, **clamp} for clamp in data.get("clamps") or ()]
    return facts
