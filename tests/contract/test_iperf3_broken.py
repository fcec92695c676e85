"""A broken iperf3 at either end, with the real agent and the real orchestrator: one sentence, and the run goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perfharness import collect as collecting
from perfharness import evidence, preflight
from perfharness.collect import collect
from perfharness.errors import HostUnusable
from perfharness.fleet import bundle
from perfharness.model import Direction, Job, Plan, Role, Scope, Status, Task
from tests.contract.conftest import TRIAL, with_methods
from tests.contract.local_link import a_job

pytestmark = pytest.mark.usefixtures("links")

FAKE = """#!{python} -IS
import json, os, signal, socket, sys, time
if "--version" in sys.argv:
    print({version!r})
elif "--help" in sys.argv:
    print("--json-stream")
else:
    if "-s" in sys.argv:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(sys.argv[sys.argv.index("-p") + 1])))
        listener.listen()
        time.sleep(0.3)  # until it was seen
    def event(name, data):
        print(json.dumps(dict(event=name, data=data)), flush=True)
    def second(number):
        event("interval", dict(sum=dict(start=number, end=number + 1, seconds=1, bytes=9, sender=True)))
    {body}
"""
NAME = "iperf 3.18 (cJSON 1.7.15)"
BODIES = {
    "exits": ("", "iperf3 ended with exit code 0 and no report: it left no output"),
    "half": ('print(\'{"start": {"vers\')', "no report: its output is cut off"),
    "before": ("print('odd'); event('start', {}); event('end', {'a': 1})", "no report: its output begins with 'odd'"),
    "error": ("event('error', 'unable to connect to server'); event('end', {})", "iperf3 says: unable to connect"),
    "stderr": ("print('iperf3: error - so', file=sys.stderr); sys.exit(1)", "iperf3 says: error - so"),
    "killed": (
        "event('start', {}); second(0); second(1); os.kill(os.getpid(), signal.SIGKILL)",
        "s; its figures reach to second 2.0",
    ),
}
CLIENT_BODIES = {
    "hangs": ("time.sleep(600)", "iperf3 was ended: it had not ended 0.2 s after its test should have"),
    "deaf": ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)", "should have, and killed"),
}
CLIENT = {
    **{"peer": "127.0.0.1", "source": "127.0.0.1", "port": 5201, "duration_s": 1, "omit_s": 0, "streams": 1},
    **{"udp": False, "rate_bps": None, "length": None, "reverse": False, "bidir": False, "window_bytes": None},
    **{"congestion": None, "dscp": None, "mss": None},
}
SERVER = {"address": "127.0.0.1", "port": 5201, "peer": "127.0.0.1"}
SCOPE = Scope(circuit="c", pair="a:z", direction=Direction.A_Z)
SERVER_BODIES = {name: BODIES[name] for name in ("exits", "half", "before", "error", "killed")}


class Silent:
    """Nobody watches."""

    def task_started(self, task: Task, index: int, total: int) -> None: ...
    def event(self, host: str, event: Mapping[str, Any]) -> None: ...
    def say(self, text: str) -> None: ...
    def task_ended(self, task: Task, status: Status, reason: str) -> None: ...


@pytest.fixture(scope="module")
def agent() -> bundle.Bundle:
    """The real agent, but with little patience for a client."""
    files = bundle.sources()
    path = "perfagent/methods/iperf3.py"
    files[path] = files[path].replace(b"_GRACE_S = 15.0", b"_GRACE_S = 0.2")
    return with_methods(files, TRIAL.read_bytes())


def fake(tmp: Path, name: str, body: str = "", version: str = NAME, mode: int = 0o755) -> str:
    """A program in the sandbox's /tmp; the path by which its agent finds it."""
    (tmp / "fakes").mkdir(exist_ok=True)
    path = tmp / "fakes" / name
    path.write_text(FAKE.format(python=Path(sys.executable).resolve(), version=version, body=body))
    path.chmod(mode)
    return f"/tmp/fakes/{name}"


def unusable(tmp: Path) -> dict[str, tuple[str, str]]:
    """(path, what is said of it) of programs that cannot even be begun with."""
    fake(tmp, "plain", mode=0o644)
    return {
        "missing": ("/tmp/fakes/none", "there is no program '/tmp/fakes/none'. Install iperf3 there"),
        "plain": ("/tmp/fakes/plain", "'/tmp/fakes/plain' is a file that this user may not execute. Install iperf3"),
        "folder": ("/tmp/fakes", "'/tmp/fakes' is a folder. Install iperf3 there"),
        "old": (fake(tmp, "old", version="iperf 3.1.3"), "is iperf 3.1.3, older than 3.7. Install a newer iperf3"),
        "nonsense": (fake(tmp, "nonsense", version="hello"), "does not say which iperf3 it is, but 'hello'"),
    }


def collected(tmp_path: Path, session: Any, tasks: list[Task]) -> evidence.RunFolder:
    folder = evidence.create(tmp_path, "c", "r", {})
    ending = collect(Plan("c", "s", tuple(tasks), 1.0), tasks, {"host-a": session}, folder, Silent())  # type: ignore  # stand-ins
    assert ending.how == "completed"
    return folder


def must_say(folder: evidence.RunFolder, said: Mapping[str, str]) -> None:
    """Each task failed with its sentence, which names the host; the one after them all was completed."""
    for name, words in said.items():
        outcome = folder.files(name).outcome()
        assert outcome is not None and outcome["status"] == "failed", (name, outcome)
        assert words in outcome["reason"] and "host-a" in outcome["reason"], (name, outcome["reason"])
    outcome = folder.files("healthy").outcome()
    assert outcome is not None and (outcome["status"], outcome["reason"]) == ("completed", "")


def healthy() -> Task:
    return Task("healthy", "healthy", "x", SCOPE, (a_job("echo", text="x"),), 1.0)


def test_a_broken_client_fails_its_task_alone(session: Any, sandbox: Any, tmp_path: Path) -> None:
    """Whatever it does: a sentence with the host, a row that was not measured, and the next task."""
    broken = {name: (fake(sandbox.tmp, name, body), words) for name, (body, words) in (BODIES | CLIENT_BODIES).items()}
    broken |= unusable(sandbox.tmp)
    tasks = []
    for name, (path, _) in broken.items():
        job = Job("drive", "host-a", "iperf3.drive", {**CLIENT, "iperf3": path}, Role.DRIVE, 20.0)
        tasks.append(Task(name, name, "throughput", SCOPE, (job,), 1.0))
    folder = collected(tmp_path, session, [*tasks, healthy()])
    must_say(folder, {name: words for name, (_, words) in broken.items()})
    kept = folder.files("killed").bytes("host-a", "drive", "iperf3.json") or b""
    assert kept.count(b'"interval"') == 2
    account = json.loads(folder.files("killed").bytes("host-a", "drive", "account.json") or b"")
    assert (account["exit_code"], account["figures_until_s"]) == (-9, 2.0)
    session.bye()
    sandbox.await_nothing_left()


def test_a_broken_server_fails_its_task_alone(
    session: Any, sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it listens, while it serves, or because it never listens."""
    monkeypatch.setattr(collecting, "READY_S", 1.0)
    broken = {name: (fake(sandbox.tmp, name, body), words) for name, (body, words) in SERVER_BODIES.items()}
    broken["missing"] = unusable(sandbox.tmp)["missing"]
    broken["silent"] = (silent(sandbox.tmp), "silent.serve was started and is not ready after 1 s")
    tasks = []
    for name, (path, _) in broken.items():
        serve = Job("serve", "host-a", "iperf3.serve", {**SERVER, "iperf3": path}, Role.SERVE, 20.0)
        tasks.append(Task(name, name, "throughput", SCOPE, (serve, a_job("echo", text="x", seconds=0.6)), 1.0))
    folder = collected(tmp_path, session, [*tasks, healthy()])
    must_say(folder, {name: words for name, (_, words) in broken.items()})
    session.bye()
    sandbox.await_nothing_left()


def silent(tmp: Path) -> str:
    """A server that hangs before it listens."""
    path = fake(tmp, "silent")
    program = tmp / "fakes" / "silent"
    program.write_text(
        program.read_text().replace("        listener = ", "        time.sleep(600)\n        listener = ")
    )
    return path


def test_a_port_that_is_taken_is_said_with_what_to_do(session: Any, sandbox: Any, tmp_path: Path) -> None:
    """By the real iperf3; whoever holds the port is left alone."""
    args = {**SERVER, "iperf3": "iperf3"}
    holder = Job("holder", "host-a", "iperf3.serve", args, Role.SERVE, 20.0)
    second = Job("second", "host-a", "iperf3.serve", args, Role.SERVE, 20.0)
    session.start(holder)
    session.wait_ready("holder", 10)
    folder = collected(tmp_path, session, [Task("taken", "taken", "x", SCOPE, (second,), 1.0), healthy()])
    must_say(folder, {"taken": "Address already in use. See who holds the port there"})
    assert session._states["holder"]["state"] == "ready"
    session.bye()
    sandbox.await_nothing_left()


def test_an_unusable_program_is_found_before_any_traffic(
    session: Any, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `check` and the start of a run ask for: every kind has its sentence and its remedy."""
    subprocess.run(["nsenter", "-t", str(sandbox.holder.pid), "--net", "ip", "link", "set", "lo", "up"], check=True)
    for name, (path, words) in unusable(sandbox.tmp).items():
        end: Any = SimpleNamespace(name="host-a", interface="lo", address="127.0.0.1", iperf3=path)
        monkeypatch.setattr(preflight, "FACTS", f"facts-{name}")
        with pytest.raises(HostUnusable, match=r"^host-a: .* Install a usable iperf3 there, or name one") as caught:
            preflight.must_be_usable({"host-a": session}, [end], {"host-a"})  # type: ignore[arg-type]  # a stand-in
        assert words.partition(". Install")[0] in caught.value.message
    session.bye()
    sandbox.await_nothing_left()
