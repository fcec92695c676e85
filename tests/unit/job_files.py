"""The files that the jobs of a task leave, made up or recorded, and what its measurement makes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfharness import evidence
from perfharness.measurements import REGISTRY, Context
from perfharness.model import Criterion, Direction, Job, Measurement, Observation, Role, Task
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import find_shipped
from tests.unit.probe_stream import INTERVAL_NS, START_MONO_NS, START_UNIX_NS, Packet, files

GOLDEN = Path(__file__).parent.parent / "golden" / "iperf3"
CIRCUIT = load_circuit(find_shipped("circuits/lab"))
CONTEXT = Context(CIRCUIT, CIRCUIT.endpoint("onprem-a"), CIRCUIT.endpoint("ecs-a"))
LOSSY = {"client": "3.12-udp-loss-client.json", "server": "3.12-udp-loss-server.json"}
LOSS = Criterion("loss", "ratio", "<=", 1e-3, "1", "test")
PROBES = [Packet(seq) for seq in range(3000)]
IP = dict.fromkeys(("InReceives", "InDelivers", "InHdrErrors", "InAddrErrors", "InDiscards", "ReasmFails"), 0) | {
    "OutDiscards": 0,
    "OutNoRoutes": 0,
}
UDP = {"InCsumErrors": 0, "NoPorts": 0, "SndbufErrors": 0}


def clock_rows(root_distance_ns: int | None) -> bytes:
    """clock.jsonl around the stream of a host that follows a server over the tested interface."""
    state = {
        "source": "chrony",
        "synchronised": True,
        "root_distance_ns": root_distance_ns,
        "reference": "192.168.0.3",
        "address": "192.168.0.3",
        "route": {"interface": "eth0"},
        "reason": "",
    }
    rows: list[dict[str, Any]] = [{"format_version": 1}]
    for second in range(-5, 15):
        kernel = {"freq_ppb": second, "status": 1, "esterror_us": 1, "maxerror_us": 1}
        row = {"mono_ns": START_MONO_NS + second * 10**9, "t_ns": START_UNIX_NS, "raw_ns": 0, "kernel": kernel}
        rows.append(row if second % 10 else {**row, "state": state})
    rows[1]["state"] = rows[-1]["state"] = state
    return "\n".join(map(json.dumps, rows)).encode()


def task_of(measure: str, context: Context = CONTEXT, **params: Any) -> Task:
    kind = REGISTRY[measure]
    (task,) = kind.tasks(kind.parameters.model_validate(params), "step", context)
    return task


def counters(seconds: int = 12, step_bytes: int = 0, **rise: int) -> bytes:
    """counters.jsonl ten times a second from 2 s before the stream; ``rise`` comes in the middle."""
    lines = [json.dumps({"format_version": 1})]
    for i in range(seconds * 10):
        half = i > seconds * 5
        row = {
            "t_ns": START_UNIX_NS - 2_000_000_000 + i * 100_000_000,
            "nic": {
                "tx_bytes": i * step_bytes,
                "tx_dropped": 0,
                "rx_dropped": 0,
                "rx_missed_errors": 0,
                "rx_errors": 0,
            },
            "qdisc": {"drops": rise.get("queued", 0) * half, "backlog_bytes": rise.get("waiting", 0)},
            "softnet": {"dropped": 0},
            "snmp": {
                "Udp": {
                    **UDP,
                    "RcvbufErrors": rise.get("rcvbuf", 0) * half,
                    "MemErrors": 0,
                    "InCsumErrors": rise.get("corrupted", 0) * half,
                },
                "Ip": IP | {"FragOKs": rise.get("cut", 0) * i, "FragCreates": 2 * rise.get("cut", 0) * i},
            },
            "cpu": {"total": {"user": i, "idle": i, "steal": rise.get("steal", 0) * i}},
        }
        lines.append(json.dumps(row))
    return ("\n".join(lines) + "\n").encode()


def store(
    tmp_path: Path,
    task: Task,
    packets: Sequence[Packet],
    outputs: dict[str, str] | None = None,
    drops: int = 0,
    sent: int | None = None,
    counts: bytes | None = None,
    cut_log: int = 0,
    waited_s: float = 0.0,
    interval_ns: int = INTERVAL_NS,
    root_distances_ns: tuple[int | None, int | None] | None = None,
    said: dict[str, Any] | None = None,
    reflected: dict[str, Any] | None = None,
    context: Context = CONTEXT,
    at_ce: bytes = b"",
    card_error_ns: int | None = None,
    every: Sequence[int] = (1,),
    began_s: float = 0.0,
    tcpinfo: bytes = b"",
) -> Measurement:
    """Write what the jobs of a task would have left, and analyse it; ``at_ce``: the CE's counters; ``began_s``: when
    iperf3 began, after the first probe; ``tcpinfo``: what its client saw of its connections."""
    folder = evidence.create(tmp_path, "c", "r", {})
    rec, log, result = files(list(packets), interval_ns, every)
    count = len(packets)
    probe = {
        **result,
        "sent": sent or count,
        "missed": count - (sent or count),
        "send_errors": 0,
        "rxq_dropped": drops,
        "start_unix_ns": START_UNIX_NS,
        "card": {"error_ns": card_error_ns},
        **(said or {}),
    }
    mirror = {"rxq_dropped": drops, "clock": result["clock"], **(reflected or {})}
    iperf3 = {
        "started_ns": START_UNIX_NS + round(began_s * 1e9),
        "argv": ["iperf3"],
        "version": "3.12",
        "sockets": [{"kind": "udp", "drops": drops, "unread": 0}],
        "run_delay_ns": round(waited_s * 1e9),
    }
    for job in task.jobs:
        if job.method == "host.counters":
            told = at_ce if job.optional else counters(rcvbuf=drops) if counts is None else counts
            _leave(folder, task, job, {}, "counters.jsonl", told)
        elif job.method == "stamp.send":
            _leave(folder, task, job, probe, "sender.rec", rec)
        elif job.method == "stamp.reflect":
            _leave(folder, task, job, mirror, "reflector.rec", log[: len(log) - cut_log])
        elif job.method != "host.clock":
            role = "client" if job.role is Role.DRIVE else "server"
            _leave(folder, task, job, iperf3, "iperf3.json", (GOLDEN / (outputs or {})[role]).read_bytes(), began_s)
            if tcpinfo and job.role is Role.DRIVE:
                folder.write(f"raw/{task.id}/{job.endpoint}.{job.id}/tcpinfo.jsonl", tcpinfo)
        elif root_distances_ns is not None:
            rows = clock_rows(root_distances_ns[job.endpoint == CONTEXT.z.name])
            _leave(folder, task, job, {}, "clock.jsonl", rows)
    folder.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    return REGISTRY[task.measurement].analyse(task, folder.files(task.id), context)


def _leave(
    folder: evidence.RunFolder,
    task: Task,
    job: Job,
    data: dict[str, Any],
    name: str,
    content: bytes,
    began_s: float = 0,
) -> None:
    """The result of a job that took 4 s, and one file beside it."""
    began_ns = START_UNIX_NS + round(began_s * 1e9)
    where = f"raw/{task.id}/{job.endpoint}.{job.id}"
    done = {"format_version": 1, "status": "completed", "args": dict(job.args), "data": data}
    times = {"started_ns": began_ns, "ended_ns": began_ns + 4 * 10**9}
    folder.write_json(f"{where}/result.json", {**done, **times})
    folder.write(f"{where}/{name}", content)


def find(measurement: Measurement, metric: str, statistic: str, way: Direction) -> Observation:
    return next(
        seen
        for seen in measurement.observations
        if (seen.metric, seen.statistic, seen.scope.direction) == (metric, statistic, way)
    )


def udp_task(context: Context = CONTEXT) -> Task:
    """As the recording: 20 Mbit/s of payload, 1400 B, 3 s."""
    rate = 20_000_000 * (1400 + 46) / 1400 + (64 + 46) * 8 * 500
    return load_task(f"{rate:.0f}bps", context)


def load_task(rate: str, context: Context = CONTEXT) -> Task:
    """3 s of UDP at this rate, with ``PROBES`` beside it, one each 2 ms."""
    beside = {"interval": "2ms"}
    return task_of(
        *("throughput", context),
        **{"protocol": "udp", "direction": "a-z", "duration": "3s", "omit": "0s", "rate": rate, "probe": beside},
    )
