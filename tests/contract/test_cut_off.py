"""A run whose own SSH crosses the circuit that it cuts: the agents go on, and the coordinator comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfharness import evidence
from perfharness.collect import collect
from perfharness.errors import HostUnusable
from perfharness.fleet import ssh
from perfharness.fleet.session import Session
from perfharness.model import Act, Plan, Role, Scope, Status, Task
from tests.contract.local_link import LocalLink, a_job
from tests.contract.sandbox import Sandbox

SCOPE = Scope(circuit="c", pair="host-a:z")


class Watcher:
    def task_started(self, task: Task, index: int, total: int) -> None: ...
    def event(self, host: str, event: Mapping[str, Any]) -> None: ...
    def say(self, text: str) -> None: ...
    def task_ended(self, task: Task, status: Status, reason: str) -> None: ...


@pytest.mark.timeout(90)
def test_a_run_outlives_the_cut_of_its_own_channel(
    session: Session, links: list[LocalLink], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While the circuit is cut the host cannot be reached at all; its jobs run on under their lease, the circuit is put
    back by the coordinator alone, and all files come home."""
    down, connect = tmp_path / "down", ssh.connect
    refused: list[str] = []

    def over_the_circuit(name: str, target: Any) -> Any:
        if down.exists():
            refused.append(name)
            raise HostUnusable(name, "no route to host")
        return connect(name, target)

    monkeypatch.setattr(ssh, "connect", over_the_circuit)
    channel = links[0].channels[0].process.pid
    cut = Act("cut", 0.5, ("sh", "-c", f"touch {down}; kill -9 {channel}"))
    restore = Act("restore", 3.0, ("rm", str(down)), undoes=True)
    job = replace(a_job("echo", text="through", seconds=40.0), role=Role.DRIVE)
    task = Task("t", "t", "failover", SCOPE, (job,), 1.0, acts=(cut, restore), settle_s=1.0)

    folder = evidence.create(tmp_path / "results", "c", "r", {})
    fleet: Any = {"host-a": session}
    ending = collect(Plan("c", "s", (task,), 30.0), (task,), fleet, folder, Watcher())

    outcome = folder.files("t").outcome()
    assert outcome is not None and ending.lost is None and refused
    assert (ending.how, ending.notes, outcome["status"]) == ("completed", [], "completed")
    assert [(row["id"], row["done"]) for row in outcome["acts"]] == [("cut", True), ("restore", True)]
    said = json.loads((folder.path / "raw/t/host-a.echo/result.json").read_bytes())
    assert said["data"] == {"text": "through", "stopped": True}
    session.bye()
    sandbox.await_nothing_left()
