"""The real agent ends what loads a circuit in service by itself: nobody has to be connected for that."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from perfagent.wire import Code
from perfharness.fleet.session import Session
from perfharness.model import Job
from tests.contract.local_link import a_job
from tests.contract.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("links")
HARM = "the load was ended 0.4 s after it began to do harm: probes lost 31 % (limit 5 %)"
PATIENCE_S = 20.0


def carrying(name: str, kind: str = "echo", **args: Any) -> Job:
    return replace(a_job(kind, **args), id=name, load=True)


def result(sandbox: Sandbox, job: str) -> dict[str, Any]:
    """What lies on the host, whoever is connected."""
    path = sandbox.folders()[0] / "jobs" / job / "result.json"
    until = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < until, f"{job} goes on"
        time.sleep(0.05)
    return dict(json.loads(path.read_bytes()))


def test_a_guard_ends_the_load_of_its_task(session: Session, sandbox: Sandbox) -> None:
    """It takes the jobs that carry load with it, deaf ones too, of its own task and no other; and with the channel cut
    just as well."""
    session.start(carrying("heavy", text="x", seconds=60.0), task="t")
    session.start(carrying("deaf", "stubborn"), task="t")
    session.start(carrying("elsewhere", text="x", seconds=60.0), task="u")
    session.start(replace(a_job("echo", text="x", seconds=60.0), id="light"), task="t")
    for name in ("heavy", "deaf", "elsewhere", "light"):
        session.wait_ready(name, 10)
    session.start(a_job("alarm", guard={"after_s": 0.5, "says": HARM}), task="t")
    session.wait_ready("alarm", 10)
    session._client.close()  # the channel alone
    session._link.close()
    assert result(sandbox, "deaf")["status"] == "failed"
    session.reattach(10)
    for name in ("heavy", "deaf"):
        state = session.wait_done(name, 10)
        assert (state["state"], state["error"]) == ("aborted", {"code": Code.GUARD, "message": HARM})
    told = session._client.call("status")["jobs"]
    assert {name: told[name]["state"] for name in ("elsewhere", "light", "alarm")} == dict.fromkeys(
        ("elsewhere", "light", "alarm"), "ready"
    )


def test_no_load_outlives_its_guard(session: Session) -> None:
    """A guard that ends, however it does, watches nothing any more."""
    session.start(a_job("alarm", guard={"after_s": 60.0, "says": ""}), task="t")
    session.wait_ready("alarm", 10)
    session.start(carrying("heavy", text="x", seconds=60.0), task="t")
    session.wait_ready("heavy", 10)
    session.stop("alarm")
    assert session.wait_done("heavy", 10)["error"]["code"] == Code.GUARD


def test_the_end_of_the_window_is_kept_without_a_coordinator(session: Session, sandbox: Sandbox) -> None:
    """A job that was started with what is left of the window ends with it, though nobody is there any more."""
    session.start(carrying("heavy", text="x", seconds=60.0), task="t", window_s=1.5)
    session.wait_ready("heavy", 10)
    session._client.close()
    session._link.close()
    said = result(sandbox, "heavy")
    assert (said["status"], said["error"]) == ("aborted", {"code": Code.WINDOW, "message": "the change window ended"})
