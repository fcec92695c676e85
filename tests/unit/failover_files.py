"""The files that a failover test would leave, made up: which probes were lost when, and what the CE's port carried."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from perfharness import evidence
from perfharness.judge.judge import judge
from perfharness.measurements import REGISTRY, Context
from perfharness.model import Direction, Finding, Measurement, Task
from perfharness.order.circuit import Ce, Circuit
from perfharness.order.scenario import load_scenario
from tests.unit.job_files import CIRCUIT, CONTEXT, _leave, counters, task_of
from tests.unit.probe_stream import START_UNIX_NS, Packet, files

FLOWS, INTERVAL_NS, SECONDS = 2, 1_000_000, 9
CUT_NS, RESTORE_NS = START_UNIX_NS + 3 * 10**9, START_UNIX_NS + 6 * 10**9
HOOK = {"command": ["true"]}
FRAME_BYTES = 106
"""Of a probe."""
CE = Ce.model_validate({"name": "ce-1", "ssh": {"host": "ce-1"}, "lan": "lan", "wan": "wan"})
WITH_CE = replace(CONTEXT, circuit=CIRCUIT.model_copy(update={"ce": CE}))
A_Z, Z_A = Direction.A_Z, Direction.Z_A
Lost = Callable[[int, float], bool]
"""Whether the probe of this flow that is sent at this time (s) is lost."""


def nothing(_flow: int, _at_s: float) -> bool:
    return False


def between(begin_s: float, end_s: float, *flows: int) -> Lost:
    return lambda flow, at_s: begin_s <= at_s < end_s and flow in (flows or range(FLOWS))


def a_task(context: Context = CONTEXT, **params: Any) -> Task:
    return task_of("failover", context, cut=HOOK, restore=HOOK, flows=FLOWS, **params)


def measured(
    tmp_path: Path,
    there: Lost = nothing,
    back: Lost = nothing,
    context: Context = CONTEXT,
    edge: Sequence[dict[str, Any]] = (),
    wan: Callable[[str, float], float] | None = None,
    **said: Any,
) -> Measurement:
    """Of a cut from second 3 to second 6 that lost these probes of the streams; ``said`` of them by both ends, and
    ``wan``: how many flows' bytes crossed the CE's port each second, by direction and time (s)."""
    task = a_task(context)
    folder = evidence.create(tmp_path, "c", "r", {})
    for way, lost in ((A_Z, there), (Z_A, back)):
        gap_ns = INTERVAL_NS // FLOWS
        packets = [Packet(seq) for seq in range(SECONDS * 10**9 // gap_ns)]
        for packet in packets:
            if lost(packet.seq % FLOWS, packet.seq * gap_ns / 1e9):
                packet.forward_ns = None
        rec, log, result = files(packets, gap_ns)
        own = {"sent": len(packets), "missed": 0, "send_errors": 0, "received": 0, "source_ports": [61000, 61001]}
        data = {**result, **own, "start_unix_ns": START_UNIX_NS, "rxq_dropped": 0, **said}
        for job in task.jobs:
            if job.id == f"probe-{way.value}":
                _leave(folder, task, job, data, "sender.rec", rec)
            if job.id == f"reflector-{way.value}":
                _leave(folder, task, job, data, "reflector.rec", log)
    for job in task.jobs:
        if job.method == "host.counters":
            if job.id == "counters-wan" and wan is not None:
                _leave(folder, task, job, {}, "counters.jsonl", wan_rows(wan))
                continue
            _leave(folder, task, job, {}, "counters.jsonl", counters(rcvbuf=said.get("rxq_dropped", 0)))
        if job.method == "edge.watch":
            rows = "\n".join(map(json.dumps, [{"format_version": 1}, *edge]))
            _leave(folder, task, job, {}, "edge.jsonl", rows.encode())
    acts = [
        {"id": "cut", "command": ["true"], "started_ns": CUT_NS, "ended_ns": CUT_NS, "trouble": ""},
        {"id": "restore", "command": ["true"], "started_ns": RESTORE_NS, "ended_ns": RESTORE_NS, "trouble": ""},
    ]
    done = {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2, "acts": acts}
    folder.write_json(f"raw/{task.id}/task.json", done)
    return REGISTRY["failover"].analyse(task, folder.files(task.id), context)


def wan_rows(flows: Callable[[str, float], float]) -> bytes:
    """Ten times a second from the streams' begin on."""
    rows: list[dict[str, Any]] = [{"format_version": 1}]
    nic = {"tx_bytes": 0.0, "rx_bytes": 0.0}
    for at in range(SECONDS * 10):
        rows.append({"t_ns": START_UNIX_NS + at * 10**8, "nic": {name: round(count) for name, count in nic.items()}})
        for way, name in (("a-z", "tx_bytes"), ("z-a", "rx_bytes")):
            nic[name] += flows(way, at / 10) * FRAME_BYTES * 100
    return "\n".join(map(json.dumps, rows)).encode()


def findings(measurement: Measurement, circuit: Circuit = CIRCUIT) -> list[Finding]:
    plan = load_scenario("failover")
    measurement = replace(measurement, task=replace(measurement.task, step="cut"))
    rows = judge(circuit, plan, [measurement], (), date(2027, 1, 1), {})
    return [row for row in rows if row.metric == "outage" and row.operator]
