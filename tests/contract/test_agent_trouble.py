"""The agent when the other side, the disk, or somebody on the host gets in its way; only SSH is left out."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfagent import wire
from perfharness.errors import AgentError, EvidenceBroken, HostLost, HostUnusable
from perfharness.fleet import bundle, launch, spool
from perfharness.fleet.launch import _RECEIVE
from perfharness.fleet.rpc import Client
from perfharness.fleet.session import Session
from tests.contract.local_link import LocalLink, PipeChannel, a_job

pytestmark = pytest.mark.usefixtures("links")


def test_a_file_altered_on_its_way_is_noticed(
    session: Session, links: list[LocalLink], tmp_path: Path, monkeypatch: Any
) -> None:
    """The hash that the agent announced decides, not what arrived."""
    session.start(a_job("echo", text="x"))
    session.wait_done("echo", 10)
    announce = spool.expected

    def another(*args: Any) -> list[spool.SpoolFile]:
        return [file._replace(sha256="0" * 64) for file in announce(*args)]

    monkeypatch.setattr(spool, "expected", another)
    with pytest.raises(EvidenceBroken, match=r"echo\.bin was altered"):
        session.fetch({"echo": tmp_path / "raw"})
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_cut_during_a_fetch_is_a_lost_host(session: Session, monkeypatch: Any, tmp_path: Path) -> None:
    """What looks like the end of the files is told apart from it, so that they are fetched again, not given up."""
    session.start(a_job("echo", text="x"))
    session.wait_done("echo", 10)
    with monkeypatch.context() as cut:
        cut.setattr(PipeChannel, "recv", lambda *_: wire.PREAMBLE if not seen and not seen.append(1) else b"")
        cut.setattr(launch, "exit_status", lambda _: -1)
        seen: list[int] = []
        with pytest.raises(HostLost):
            session.fetch({"echo": tmp_path / "raw"})
    assert [file.name for file in session.fetch({"echo": tmp_path / "raw"})] == ["echo.bin", "result.json"]


def test_a_cut_after_a_fetch_loses_nothing(session: Session, links: list[LocalLink], tmp_path: Path) -> None:
    """The files are here when the connection goes before the host could be told to forget them."""
    session.start(a_job("echo", text="x"))
    session.wait_done("echo", 10)
    os.kill(links[0].channels[0].process.pid, signal.SIGKILL)
    assert [file.name for file in session.fetch({"echo": tmp_path / "raw"})] == ["echo.bin", "result.json"]


def test_a_running_job_is_not_fetched(session: Session, tmp_path: Path) -> None:
    """A growing file is no evidence."""
    session.start(a_job("echo", text="x", seconds=60))
    with pytest.raises(AgentError, match="has not ended"):
        session.fetch({"echo": tmp_path / "raw"})


def test_a_job_that_never_reached_the_agent_is_not_waited_for(session: Session, links: list[LocalLink]) -> None:
    """Cut at the start of a job: after the reattach the agent's own table counts."""
    os.kill(links[0].channels[0].process.pid, signal.SIGKILL)
    with pytest.raises(HostLost):
        session.start(a_job("echo", text="lost"))
    session.reattach(10)
    with pytest.raises(AgentError) as unknown:
        session.wait_done("echo", 10)
    assert unknown.value.code == wire.Code.NO_SUCH_JOB
    session.start(a_job("echo", text="again"))
    session.wait_done("echo", 10)


def test_nobody_can_end_a_run_by_asking_who_is_there(session: Session, sandbox: Any) -> None:
    """Any user of the host may knock at the lock and be gone at once: the worker shrugs."""
    knock = "import socket as s\nfor _ in range(99): k = s.socket(s.AF_UNIX); k.connect('\\0perfharness'); k.close()"
    for _ in range(3):
        subprocess.run([sandbox.python, "-c", knock], check=True)
    session.start(a_job("echo", text="still here"))
    assert session.wait_done("echo", 10)["state"] == "completed"


@pytest.mark.parametrize("verb", [["attach", "run-1", "30"], ["clean"]])
def test_a_coordinator_that_dies_while_the_agent_starts_leaves_nothing(
    endpoint: Any, agent: bundle.Bundle, sandbox: Any, verb: list[str]
) -> None:
    """The whole agent has arrived, nobody is there to hear it: it removes itself instead of waiting for `clean`."""
    command = [endpoint.python, "-E", "-c", _RECEIVE, str(len(agent.content)), agent.sha256, *verb]
    channel = PipeChannel(command)
    assert channel.process.stdout is not None
    channel.process.stdout.close()
    channel.sendall(bundle.bootstrap() + agent.content)
    channel.close()
    channel.recv_exit_status()
    sandbox.await_nothing_left()


def test_a_worker_survives_the_death_of_its_starter(endpoint: Any, agent: bundle.Bundle, sandbox: Any) -> None:
    """Killed before the worker's first word, the starter leaves a worker that ends with its lease."""
    (folder := sandbox.tmp / "perfharness-orphan").mkdir(mode=0o700)
    (folder / wire.MARKER).write_text(agent.sha256)
    zipfile.ZipFile(io.BytesIO(agent.content)).extractall(folder / "agent")
    words = ["-IS", "/tmp/perfharness-orphan/agent", "worker", "/tmp/perfharness-orphan", "run-1", "1"]
    worker = subprocess.Popen([endpoint.python, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    worker.stdout.close()
    sandbox.await_true(lambda: sandbox.running("warden"))
    assert sandbox.running("warden")
    worker.wait(20)
    sandbox.await_nothing_left()


def test_a_home_full_of_python_does_no_harm(endpoint: Any, agent: bundle.Bundle, sandbox: Any) -> None:
    """The agent starts in the user's home: a random.py there is not taken for Python's own."""
    (sandbox.tmp / "home").mkdir()
    for module in ("hashlib", "random", "shutil", "tempfile"):
        (sandbox.tmp / "home" / f"{module}.py").write_text("raise SystemExit('this is mine')")
    python = Path(endpoint.python)
    python.write_text(python.read_text().replace("--wd=/ ", "--wd=/ env -C /tmp/home "))
    Session(endpoint, "run-1", 30.0, agent=agent).bye()
    sandbox.await_nothing_left()


def test_an_answer_lost_at_goodbye_is_no_left_over(
    session: Session, links: list[LocalLink], sandbox: Any, monkeypatch: Any
) -> None:
    """The agent has left, only its answer was lost: whoever comes back sees that nothing is there."""
    session._client.call("bye")
    sandbox.await_nothing_left()
    with pytest.raises(HostLost):
        session.bye()
    session.bye_after_loss(5)


def test_an_event_that_overtakes_a_reattach_counts(session: Session, sandbox: Any, monkeypatch: Any) -> None:
    """A job that ends between the answer to ``status`` and its use is ended, not waited for until its deadline."""
    session.start(a_job("echo", text="x", seconds=60))
    session.wait_ready("echo", 10)
    call = Client.call

    def and_end(client: Client, method: str, *rest: Any, **named: Any) -> Any:
        answer = call(client, method, *rest, **named)
        if method == "status":
            call(client, "stop", {"job": "echo"})
            sandbox.await_true(lambda: session._states["echo"]["state"] == "completed")
        return answer

    monkeypatch.setattr(Client, "call", and_end)
    session.reattach(10)
    assert session.wait_done("echo", 0.1)["state"] == "completed"


def test_a_disk_that_fills_up_is_the_reason(session: Session, sandbox: Any) -> None:
    """A job that cannot even write its result says why."""
    session.start(a_job("echo", text="x", seconds=60))
    session.wait_ready("echo", 10)
    folder = sandbox.folders()[0] / "jobs" / "echo" / "result.json.part"
    folder.mkdir()  # as good as a full disk, and the same for root
    session.stop("echo")
    state = session.wait_done("echo", 10)
    assert state["state"] == "failed"
    assert "the result of trial.echo cannot be written: Is a directory" in state["error"]["message"]


def test_the_last_of_a_disk_stays_the_hosts(endpoint: Any, sandbox: Any, agent: bundle.Bundle) -> None:
    """The agent tells the room beside the reserve of the real file system, and begins no job that needs more."""
    enter = ["nsenter", "-t", str(sandbox.holder.pid), "--mount", "--wd=/"]
    subprocess.run([*enter, "mount", "-t", "tmpfs", "-o", "size=40m", "none", "/tmp"], check=True)
    session = Session(endpoint, "run-1", 30.0, agent=agent)
    room = session.hello["room_bytes"]
    assert 30 << 20 < room < 38 << 20
    with pytest.raises(AgentError, match="to spare"):
        session.start(replace(a_job("echo", text="x"), writes_bytes=39 << 20))
    session.start(replace(a_job("echo", text="x"), writes_bytes=30 << 20))
    assert session.wait_done("echo", 10)["state"] == "completed"
    session.bye()


def test_two_cleans_at_once_do_not_trip_over_each_other(endpoint: Any, agent: bundle.Bundle, sandbox: Any) -> None:
    """What one has removed under the other's eyes is gone, and no error."""
    for number in range(40):
        (folder := sandbox.tmp / f"perfharness-{number:02}").mkdir(mode=0o700)
        (folder / wire.MARKER).touch()
    (sandbox.tmp / "agent.pyz").write_bytes(agent.content)
    command = [endpoint.python, "-IS", "/tmp/agent.pyz", "clean", "/tmp/diary"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for each in both:
        said, _ = each.communicate(timeout=30)
        assert json.loads(said.removeprefix(wire.PREAMBLE))["kept"] == []
    assert sandbox.folders() == []


@pytest.mark.parametrize(
    "status", [None, [], {}, {"jobs": []}, {"jobs": {"echo": None}}, {"jobs": {"echo": {"state": "fine"}}}]
)
def test_an_answer_of_another_shape_is_no_crash(session: Session, monkeypatch: Any, status: Any) -> None:
    """A host that answers nonsense is lost to us, in a sentence."""
    call = Client.call

    def nonsense(client: Client, method: str, *rest: Any, **named: Any) -> Any:
        return status if method == "status" else call(client, method, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Client, "call", nonsense)
        with pytest.raises(HostLost, match="cannot be understood"):
            session.reattach(0)
    session.reattach(5)


def test_an_introduction_of_another_shape_is_no_crash(
    endpoint: Any, agent: bundle.Bundle, sandbox: Any, monkeypatch: Any
) -> None:
    """An agent that does not say where it lives could not be asked for anything."""
    with monkeypatch.context() as patched:
        patched.setattr(Client, "call", lambda *_, **__: {"dir": 7})
        with pytest.raises(HostUnusable, match="does not say who it is"):
            Session(endpoint, "run-1", 1.0, agent=agent)
    sandbox.await_nothing_left()
