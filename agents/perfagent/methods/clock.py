"""clock: what keeps this host's clock while something is measured, and how the kernel steers it."""

from __future__ import annotations

import json
import select
import time
from typing import Any

from perfagent import clock
from perfagent.jobs import Job
from perfagent.realtime import clock_pair
from perfagent.wire import Code, Fault

FORMAT_VERSION = 1
_LEAST_PERIOD_S = 5
"""Asking the daemon more often would start more processes than there is news."""


def watch(job: Job, *, period_s: int) -> dict[str, Any]:
    """Write ``clock.jsonl``: the kernel's word each second, the daemon's at the start, each period and at the end.

    A row: ``{mono_ns, t_ns, raw_ns, kernel, state}``: CLOCK_MONOTONIC and Unix time read together, CLOCK_MONOTONIC_RAW
    right after them (nobody steers it), ``kernel`` and ``state`` of ``perfagent.clock``; ``state`` only where asked.
    Raises Fault(BAD_ARGUMENT).
    """
    if period_s < _LEAST_PERIOD_S:
        raise Fault(Code.BAD_ARGUMENT, f"period_s is {period_s}, not {_LEAST_PERIOD_S} or more")
    source = None
    rows = asked = 0
    with (job.folder / "clock.jsonl").open("w", encoding="utf-8", buffering=1) as out:  # by line: a kill loses nothing
        out.write(json.dumps({"format_version": FORMAT_VERSION, "period_s": period_s}) + "\n")
        while True:
            last = job.stopping
            row = _row()
            if last or rows % period_s == 0:
                row["state"] = clock.state(source)
                source = row["state"]["source"] if row["state"]["source"] in clock.ASKED else None
                asked += 1
            out.write(json.dumps(row, separators=(",", ":")) + "\n")
            rows += 1
            if rows == 1:
                job.ready({})
            if last:
                return {"rows": rows, "asked": asked}
            select.select([job.stop_fd], [], [], 1.0)


def _row() -> dict[str, Any]:
    mono_ns, unix_ns = clock_pair()
    raw_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    return {"mono_ns": mono_ns, "t_ns": unix_ns, "raw_ns": raw_ns, "kernel": clock.kernel()}
