"""One job of the agent on this machine: the same program as on any host, in a folder of its own that is removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfagent import wire
from perfharness.errors import PerfharnessError
from perfharness.fleet import bundle

_JOB = "by-hand"


@dataclass(frozen=True, slots=True)
class Outcome:
    """``result``: what the job wrote as its last word; ``files``: the names and contents of its records."""

    result: Mapping[str, Any]
    files: Mapping[str, bytes]


def run(
    method: str,
    args: Mapping[str, Any],
    deadline_s: float,
    listen: Callable[[wire.Event], None],
    key: bytes = b"",
) -> Outcome:
    """Run a method until it ends or is interrupted, which asks it to end tidily.

    ``key`` goes to its standard input and nowhere else. Raises PerfharnessError if it leaves no result, and
    KeyboardInterrupt if it was interrupted before it had begun, or twice.
    """
    with tempfile.TemporaryDirectory(prefix="perfharness-") as name:
        folder = Path(name)
        job = folder / "jobs" / _JOB
        job.mkdir(parents=True)
        agent = folder / "agent.pyz"
        agent.write_bytes(bundle.build().content)
        deadline_ns = time.monotonic_ns() + round(deadline_s * 1e9)
        spec = {"job": _JOB, "method": method, "args": dict(args), "deadline_mono_ns": deadline_ns}
        (job / "spec.json").write_text(json.dumps({**spec, "worker_pid": os.getpid()}))
        _attend([sys.executable, str(agent), "job", name, _JOB], job, key, listen)
        try:
            result = json.loads((job / "result.json").read_bytes())
        except OSError:
            lines = (job / "job.log").read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise PerfharnessError(f"The agent ended without a result: {lines[-1]}.") from None
        return Outcome(result, {path.name: path.read_bytes() for path in job.glob("*.rec")})


def _attend(argv: list[str], job: Path, key: bytes, listen: Callable[[wire.Event], None]) -> None:
    """Until the job has ended. In a session of its own, so that Ctrl-C reaches us and not it."""
    interrupted = False
    with (job / "job.log").open("wb") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True, bufsize=0
        )
    with process:
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # it has ended already: its log says why
                process.stdin.write(key)
            process.stdin.close()
            lines = wire.Lines()
            while True:
                try:
                    if not _hear(process, lines, listen):
                        break
                except KeyboardInterrupt:
                    if interrupted:
                        raise
                    interrupted = True
                    process.terminate()
        finally:
            if interrupted and process.poll() is None and not (job / "result.json").exists():
                process.kill()
        process.wait()
    if interrupted and not (job / "result.json").exists():
        raise KeyboardInterrupt


def _hear(process: subprocess.Popen[bytes], lines: wire.Lines, listen: Callable[[wire.Event], None]) -> bool:
    """Pass on what the job says next; False when it has ended."""
    assert process.stdout is not None
    data = os.read(process.stdout.fileno(), 65_536)
    for line in lines.feed(data):
        event = wire.decode_answer(line)
        if isinstance(event, wire.Event):
            listen(event)
    return bool(data)
