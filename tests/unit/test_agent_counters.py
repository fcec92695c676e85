"""The agent's counters on a host that stalls."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from perfagent.methods import host
from tests.conftest import RecordingJob


def test_a_stall_between_two_looks_at_the_clock_ends_nothing(
    job: RecordingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late the process gets its CPU back, it waits for a time that is not negative and goes on."""
    waits: list[float] = []

    def select(readable: Sequence[int], *rest: object) -> None:
        waits.append(float(str(rest[-1])))
        if len(waits) == 3:
            job.stop()

    clock = SimpleNamespace(monotonic_ns=itertools.count(0, 1_000_000_000).__next__, time_ns=time.time_ns)
    monkeypatch.setattr(host, "time", clock)
    monkeypatch.setattr(host, "select", SimpleNamespace(select=select))
    assert host.counters(job, interface="lo", period_ms=100) == {"rows": 4}
    assert min(waits) >= 0


def test_the_speed_of_the_interface_is_told_with_the_counters(
    job: RecordingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first row and the last one at least; a loopback has none."""
    monkeypatch.setattr(host, "select", SimpleNamespace(select=lambda *_: job.stop()))
    monkeypatch.setattr(host.Card, "link", lambda _: {"speed_bps": 10**10, "duplex": "full", "autoneg": True})
    assert host.counters(job, interface="lo", period_ms=100) == {"rows": 2}
    rows = [json.loads(line) for line in (job.folder / "counters.jsonl").read_text().splitlines()[1:]]
    assert [row.get("speed_bps") for row in rows] == [10**10, 10**10]
