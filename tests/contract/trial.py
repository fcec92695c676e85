"""Methods that exist only in the agent that tests build; see ``conftest.agent``."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from perfagent.jobs import Job, bound_child


def echo(job: Job, *, text: str, seconds: float = 0.0) -> dict[str, Any]:
    """Ready at once, alive for a while, done."""
    job.ready({"text": text})
    (job.folder / "echo.bin").write_bytes(text.encode() * 1000)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not job.stopping:
        job.live({"left_s": end - time.monotonic()})
        select.select([job.stop_fd], [], [], min(0.1, max(0.0, end - time.monotonic())))
    return {"text": text, "stopped": job.stopping}


def stubborn(job: Job) -> dict[str, Any]:
    """Does not hear SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job.ready({})
    time.sleep(3600)
    return {}


def crash(job: Job) -> dict[str, Any]:
    raise RuntimeError("a bug of the method")


def child(job: Job) -> dict[str, Any]:
    """Waits for a program of its own, as an iperf3 method does."""
    program = subprocess.Popen(["sleep", "3600"], preexec_fn=bound_child())
    job.ready({"pid": program.pid})
    program.wait()
    return {}


def tamper(job: Job, *, path: str, old: str, new: str) -> dict[str, Any]:
    """Changes a setting of the sandbox and goes on."""
    job.journal({"kind": "sysctl", "name": path, "old": old})
    Path("/proc/sys", path.replace(".", "/")).write_text(new)
    job.ready({})
    select.select([job.stop_fd], [], [])
    return {}


def noisy(job: Job) -> dict[str, Any]:
    """Prints where the protocol used to be."""
    sys.stdout.write("hello from a library")
    sys.stdout.flush()
    os.write(1, b'{"event":"done","job":"x","data":{}}\n')
    return {}


def confide(job: Job) -> dict[str, Any]:
    """Proves what its standard input says without saying it, and stays."""
    data = sys.stdin.buffer.read()
    job.ready({"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    select.select([job.stop_fd], [], [])
    return {}


def alarm(job: Job, *, guard: dict[str, Any]) -> dict[str, Any]:
    """Sees harm a moment after it is ready, and goes on."""
    job.ready({})
    select.select([job.stop_fd], [], [], guard["after_s"])
    if not job.stopping:
        job.tripped(guard["says"])
    select.select([job.stop_fd], [], [])
    return {}
