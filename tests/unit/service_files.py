"""The files that a service activation test would leave, made up: what was offered, what came through, what was lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfharness import evidence
from perfharness.measurements import REGISTRY, Context
from perfharness.measurements.load_session import ARRIVAL_COLUMNS, SENT_COLUMNS
from perfharness.model import Job, Measurement, Task
from tests.unit.job_files import CONTEXT, counters
from tests.unit.probe_stream import START_UNIX_NS, Packet, files

ROW_NS = 10_000_000
AHEAD_NS = 3_000_000_000
"""Of the cloud's clock."""
PASSAGE_NS = 10_000_000
LEAD_NS = 200_000_000


@dataclass(frozen=True)
class Fate:
    """Of a phase's packets."""

    offered: float = 1.0
    """Share of what was asked for that its sender sent."""
    through: float = 1.0
    """Share of that which crosses the circuit."""
    dropped: float = 0.0
    """Share of that which the receiving socket drops."""
    most_bps: float | None = None
    """The circuit lets no more through, at the ordered layer."""
    bucket_bytes: int = 0
    """... but so much at once."""
    slower: float = 1.0
    """Times as long as it should take its bursts to leave."""
    silent_s: tuple[float, float] | None = None
    """Nothing crosses from here to there, s since the phase began."""


Fates = Callable[[Job, str], Fate]


def tasks(measure: str, context: Context = CONTEXT, **params: Any) -> tuple[Task, ...]:
    kind = REGISTRY[measure]
    return kind.tasks(kind.parameters.model_validate(params), "step", context)


def store(
    tmp_path: Path,
    task: Task,
    fate: Fates = lambda job, load: Fate(),
    context: Context = CONTEXT,
    probes: Callable[[int], Packet] = Packet,
    said: Mapping[str, Any] | None = None,
) -> Measurement:
    """What the jobs of the task would have left, analysed; ``fate`` of each sending job's load in each phase."""
    folder = evidence.create(tmp_path, "c", "r", {})
    seconds = int(task.duration_s) + 6
    dropped = 0
    made: dict[str, tuple[dict[str, Any], bytes, dict[str, Any], bytes]] = {}
    for job in task.jobs:
        if job.method.startswith("load.") and job.args["sends"]:
            made[job.secret] = session(job, context, fate)
            dropped += made[job.secret][2]["drops"]
    for job in task.jobs:
        where = f"raw/{task.id}/{job.endpoint}.{job.id}"
        data: dict[str, Any] = {}
        if job.method == "host.counters" and not job.optional:
            ahead = AHEAD_NS if job.endpoint == context.z.name else 0
            folder.write(f"{where}/counters.jsonl", _moved(counters(seconds, rcvbuf=dropped), ahead))
        elif job.method == "stamp.send":
            rec, log, result = _probes(job, probes)
            data = {"sent": job.args["count"], "missed": 0, "send_errors": 0, "rxq_dropped": 0, **result}
            data |= {"start_unix_ns": START_UNIX_NS, "card": {"error_ns": None}, **(said or {})}
            folder.write(f"{where}/sender.rec", rec)
        elif job.method == "stamp.reflect":
            sender = next(other for other in task.jobs if other.method == "stamp.send")
            _, log, result = _probes(sender, probes)
            data = {"rxq_dropped": 0, "clock": result["clock"]}
            folder.write(f"{where}/reflector.rec", log)
        elif job.method.startswith("load."):
            told, sent, heard, arrivals = made[job.secret]
            data = told if job.args["sends"] else heard
            name, rows = ("sent.jsonl", sent) if job.args["sends"] else ("arrivals.jsonl", arrivals)
            folder.write(f"{where}/{name}", rows)
        done = {"format_version": 1, "status": "completed", "args": dict(job.args), "data": data}
        ended_ns = START_UNIX_NS + seconds * 10**9
        folder.write_json(f"{where}/result.json", {**done, "started_ns": START_UNIX_NS, "ended_ns": ended_ns})
    times = {"started_ns": START_UNIX_NS, "ended_ns": START_UNIX_NS + seconds * 10**9}
    folder.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", **times})
    return REGISTRY[task.measurement].analyse(task, folder.files(task.id), context)


def _probes(job: Job, probes: Callable[[int], Packet]) -> tuple[bytes, bytes, dict[str, Any]]:
    classes = len(job.args["dscp"]) if isinstance(job.args["dscp"], list) else 1
    packets = [probes(seq) for seq in range(job.args["count"])]
    rec, log, result = files(packets, job.args["interval_ns"])
    return rec, log, {**result, "duplicates_by_class": [0] * classes}


def _moved(rows: bytes, ahead_ns: int) -> bytes:
    head, *lines = rows.decode().splitlines()
    return "\n".join(
        [head, *(json.dumps({**row, "t_ns": row["t_ns"] + ahead_ns}) for row in map(json.loads, lines))]
    ).encode()


def session(
    job: Job, context: Context, fate: Fates, lead_ns: int = LEAD_NS
) -> tuple[dict[str, Any], bytes, dict[str, Any], bytes]:
    """(sender's result, sent.jsonl, receiver's result, arrivals.jsonl), from the job that sends."""
    here = AHEAD_NS if job.endpoint == context.z.name else 0
    there = AHEAD_NS - here
    now = START_UNIX_NS + lead_ns
    sent_rows: list[list[Any]] = []
    rows: list[list[Any]] = []
    told: list[dict[str, Any]] = []
    heard: list[dict[str, Any]] = []
    sent = came = drops = 0
    for number, phase in enumerate(job.args["phases"]):
        how = fate(job, phase["name"])
        counted = phase["packet_bytes"] + job.args["overhead_bytes"]
        paces = _paces(phase, counted)
        first, before, dropped, began, level = sent, came, drops, now, float(how.bucket_bytes)
        times: list[int] = []
        crossed = arrived = due = 0.0
        for row, pace in enumerate(paces):
            sent_rows.append([now + here, number, sent, phase["rate_bps"]])
            due += pace * how.offered
            goes = first + round(due) - sent
            passes = goes * how.through
            if how.most_bps is not None:
                level = min(level + how.most_bps / 8 * ROW_NS / 1e9, how.bucket_bytes + how.most_bps / 8 * ROW_NS / 1e9)
                passes = min(passes, level / counted)
                level -= passes * counted
            if how.silent_s and how.silent_s[0] <= row * ROW_NS / 1e9 < how.silent_s[1]:
                passes = 0.0
            sent, now = sent + goes, now + ROW_NS
            crossed += passes
            arrived += passes * (1 - how.dropped)
            drops = dropped + int(crossed * how.dropped)
            if before + int(arrived) > came:
                came = before + int(arrived)
                at = now + there + PASSAGE_NS
                times.append(at)
                rows.append([at, number, came, came * phase["packet_bytes"], sent, PASSAGE_NS + there - here, drops])
        sent_rows.append([now + here, number, sent, phase["rate_bps"]])
        told.append(_as_sent(phase, first, sent, began + here, now + here))
        if "bursts" in phase:
            each_ns = round((phase["bursts"]["packets"] - 1) * counted * 8e9 / phase["rate_bps"] * how.slower)
            told[-1]["burst_ns"] = each_ns * phase["bursts"]["times"]
        ends = {"first_ns": times[0], "last_ns": times[-1]} if times else {"first_ns": None, "last_ns": None}
        heard.append(
            {
                "packets": came - before,
                "bytes": (came - before) * phase["packet_bytes"],
                "duplicates": 0,
                "reordered": 0,
                **ends,
            }
        )
    sender = {"role": "sender", "phases": told, "search": None, "rtt_ns": 1, "cpu_ns": 1, "ended": "by itself"}
    receiver = {"role": "receiver", "phases": heard, "drops": drops, "unread": 0, "rcvbuf_bytes": 1, "cpu_ns": 1}
    return (
        sender,
        _lines(SENT_COLUMNS, sent_rows),
        {**receiver, "ended": "by itself"},
        _lines(ARRIVAL_COLUMNS, rows),
    )


def _paces(phase: dict[str, Any], counted: int) -> list[float]:
    """Packets in each row."""
    bursts = phase.get("bursts")
    seconds = bursts["packets"] * counted * 8 / phase["rate_bps"] if bursts else phase["seconds"]
    count = max(1, round(seconds * 1e9 / ROW_NS))
    steady = [phase["rate_bps"] * seconds / 8 / counted / count] * count
    return (steady + [0.0] * round(bursts["rest_s"] * 1e9 / ROW_NS)) * bursts["times"] if bursts else steady


def _as_sent(phase: dict[str, Any], first: int, upto: int, began_ns: int, ended_ns: int) -> dict[str, Any]:
    return {
        "name": phase["name"],
        "packet_bytes": phase["packet_bytes"],
        "rate_bps": phase["rate_bps"],
        "first": first,
        "packets": upto - first,
        "started_ns": began_ns,
        "ended_ns": ended_ns,
        "late_ns": 0,
        "shed": 0,
        "blocked": 0,
    }


def _lines(columns: tuple[str, ...], rows: list[list[Any]]) -> bytes:
    head = {"format_version": 1, "columns": list(columns)}
    return "".join(json.dumps(each) + "\n" for each in (head, *rows)).encode()
