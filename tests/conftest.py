"""Fixtures that every test may use."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from perfagent.jobs import Job

# Both would be an assertion about wall-clock time: a busy machine is no bug.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")
# A shell's background does not hear Ctrl-C, nor would what is started there: some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


class RecordingJob(Job):
    """A job without a worker: keeps what a method says instead of sending it."""

    def __init__(self, folder: Path, deadline_s: float = 60.0) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        deadline_ns = time.monotonic_ns() + int(deadline_s * 1e9)
        super().__init__(folder, deadline_ns, lambda kind, data: self.events.append((kind, data)))


@pytest.fixture
def job(tmp_path: Path) -> RecordingJob:
    """A job in an agent's folder under ``tmp_path``; ``job.events`` lists ``(kind, data)``."""
    folder = tmp_path / "perfharness-test" / "jobs" / "test"
    folder.mkdir(parents=True)
    return RecordingJob(folder)
