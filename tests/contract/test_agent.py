"""The real agent, started by its real bootstrap, spoken to by the real session; only SSH is left out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from perfagent import wire
from perfharness.errors import AgentError, HostLost, HostUnusable, Refused
from perfharness.fleet import bundle
from perfharness.fleet.session import Session
from perfharness.model import Job, Role
from tests.contract.local_link import LocalLink, PipeChannel, a_job

pytestmark = pytest.mark.usefixtures("links")


def test_a_whole_life(session: Session, sandbox: Any, events: Any, agent: bundle.Bundle, tmp_path: Path) -> None:
    """Bootstrap, hello, a job with its events, its files, goodbye; then nothing is left."""
    assert session.hello["agent"] == agent.sha256
    assert session.hello["run"] == "run-1"
    session.start(a_job("echo", text="hi", seconds=0.3))
    assert session.wait_ready("echo", 10) == {"text": "hi"}
    assert session.wait_done("echo", 10) == {"state": "completed", "data": {"text": "hi"}, "error": None}
    assert [kind for _, kind, _ in events.seen] == ["ready", "live", "done"]

    files = session.fetch({"echo": tmp_path / "raw"})
    assert [file.name for file in files] == ["echo.bin", "result.json"]
    result = json.loads((tmp_path / "raw" / "result.json").read_bytes())
    assert (result["status"], result["data"]) == ("completed", {"text": "hi", "stopped": False})
    assert (tmp_path / "raw" / "echo.bin").read_bytes() == b"hi" * 1000

    session.bye()
    sandbox.await_nothing_left()


def test_a_fetched_job_frees_its_id(session: Session, tmp_path: Path) -> None:
    """The id of a job is unique within its task only: after fetch the next task may use it again."""
    for run in ("one", "two"):
        session.start(a_job("echo", text=run))
        session.wait_done("echo", 10)
        session.fetch({"echo": tmp_path / run})
    assert (tmp_path / "two" / "echo.bin").read_bytes() == b"two" * 1000


def test_stop_ends_a_job_tidily(session: Session, tmp_path: Path) -> None:
    """A job asked to stop returns its data and is completed."""
    session.start(a_job("echo", text="x", seconds=60))
    session.wait_ready("echo", 10)
    session.stop("echo")
    assert session.wait_done("echo", 10)["state"] == "completed"


def test_a_deadline_is_enforced(session: Session, tmp_path: Path) -> None:
    """A job that goes on past its deadline is ended and called aborted, and its data are kept."""
    session.start(a_job("echo", deadline_s=2.0, text="x", seconds=60))
    state = session.wait_done("echo", 10)
    assert (state["state"], state["error"]["code"]) == ("aborted", wire.Code.DEADLINE)
    session.fetch({"echo": tmp_path})
    assert json.loads((tmp_path / "result.json").read_bytes())["data"]["text"] == "x"


def test_a_deaf_job_is_killed(session: Session, tmp_path: Path) -> None:
    """A job that ignores SIGTERM is killed after the grace, and the agent writes its result for it."""
    session.start(a_job("stubborn"))
    session.wait_ready("stubborn", 10)
    session.stop("stubborn")
    assert session.wait_done("stubborn", 15)["state"] == "failed"
    session.fetch({"stubborn": tmp_path})
    assert "signal 9" in json.loads((tmp_path / "result.json").read_bytes())["error"]["message"]


def test_a_bug_in_a_method_is_a_result(session: Session, tmp_path: Path) -> None:
    """An exception becomes a failed job with its trace in job.log; the worker lives."""
    session.start(a_job("crash"))
    error = session.wait_done("crash", 10)["error"]
    assert (error["code"], error["message"]) == (50, "trial.crash broke: RuntimeError: a bug of the method")
    session.fetch({"crash": tmp_path})
    assert "Traceback" in (tmp_path / "job.log").read_text()


def test_prints_do_not_reach_the_protocol(session: Session, tmp_path: Path) -> None:
    """What a library prints, even something that looks like an event, lands in job.log."""
    session.start(a_job("noisy"))
    assert session.wait_done("noisy", 10)["state"] == "completed"
    session.fetch({"noisy": tmp_path})
    assert "hello from a library" in (tmp_path / "job.log").read_text()


@pytest.mark.parametrize(
    ("method", "args", "code"),
    [
        ("trial.nothing", {}, wire.Code.UNKNOWN_METHOD),
        ("os.system", {}, wire.Code.UNKNOWN_METHOD),
        ("trial.echo", {}, wire.Code.BAD_ARGUMENT),
        ("trial.echo", {"text": "x", "extra": 1}, wire.Code.BAD_ARGUMENT),
        ("trial.echo", {"text": 5}, wire.Code.BAD_ARGUMENT),
    ],
)
def test_misfits_are_refused_at_once(session: Session, method: str, args: dict[str, Any], code: int) -> None:
    """An unknown method, an unknown, missing or mistyped argument never starts a process."""
    with pytest.raises(AgentError) as refused:
        session.start(Job("j", "host-a", method, args, Role.DRIVE, 5.0))
    assert refused.value.code == code


def test_a_job_id_cannot_leave_the_spool(session: Session) -> None:
    """A job id is a plain file name."""
    for name in ("../x", "/etc", ".", "a/b", ""):
        with pytest.raises(AgentError) as refused:
            session.start(Job(name, "host-a", "trial.echo", {"text": "x"}, Role.DRIVE, 5.0))
        assert refused.value.code == wire.Code.BAD_ARGUMENT


def test_two_runs_never_share_a_host(session: Session, endpoint: Any, agent: bundle.Bundle, sandbox: Any) -> None:
    """The second run is refused, told who is there, and leaves nothing; the first goes on."""
    with pytest.raises(Refused, match=f"run-1, pid {session.hello['pid']} of uid {os.geteuid()}"):
        Session(endpoint, "run-2", 30.0, agent=agent)
    assert [str(path) for path in sandbox.folders()] == [str(sandbox.tmp / Path(session.hello["dir"]).name)]
    session.start(a_job("echo", text="still here"))
    session.wait_done("echo", 10)


def test_a_killed_worker_is_cleaned_up_by_the_warden(session: Session, sandbox: Any) -> None:
    """SIGKILL of the worker ends its jobs and their programs, and the warden removes the folder."""
    session.start(a_job("child"))
    session.wait_ready("child", 10)
    os.kill(sandbox.pid_of("worker"), signal.SIGKILL)
    sandbox.await_nothing_left()
    with pytest.raises(HostLost):
        session.wait_done("child", 10)


def test_a_killed_warden_is_replaced(session: Session, sandbox: Any) -> None:
    """The worker starts another warden, which cleans up as well as the first."""
    session.start(a_job("child"))
    session.wait_ready("child", 10)
    first = sandbox.pid_of("warden")
    os.kill(first, signal.SIGKILL)
    sandbox.await_true(lambda: sandbox.running("warden") not in ([], [first]))
    os.kill(sandbox.pid_of("worker"), signal.SIGKILL)
    sandbox.await_nothing_left()


def test_both_killed_at_once_are_cleaned_up_by_the_channel(session: Session, sandbox: Any) -> None:
    """As long as a coordinator is connected there is a third process to see it."""
    session.start(a_job("child"))
    session.wait_ready("child", 10)
    both = [sandbox.pid_of("warden"), sandbox.pid_of("worker")]
    for pid in both:
        os.kill(pid, signal.SIGKILL)
    sandbox.await_nothing_left()


def test_the_lease_ends_without_contact(endpoint: Any, agent: bundle.Bundle, sandbox: Any) -> None:
    """A coordinator that vanishes leaves nothing on the host once the lease has ended, running jobs included."""
    session = Session(endpoint, "run-1", 1.5, agent=agent)
    session.start(a_job("child"))
    session.wait_ready("child", 10)
    session.close()
    assert sandbox.folders()
    sandbox.await_nothing_left()


def test_any_contact_keeps_the_lease(endpoint: Any, agent: bundle.Bundle, sandbox: Any) -> None:
    """The session renews by itself: a job longer than the lease runs to its end."""
    session = Session(endpoint, "run-1", 1.0, agent=agent)
    session.start(a_job("echo", text="x", seconds=2.5))
    assert session.wait_done("echo", 10)["state"] == "completed"
    session.bye()


def test_a_job_survives_the_channel(session: Session, sandbox: Any, links: list[LocalLink], tmp_path: Path) -> None:
    """A cut channel does not stop a job; after a reattach its state and its files are there."""
    session.start(a_job("echo", text="through", seconds=1.0))
    session.wait_ready("echo", 10)
    os.kill(links[0].channels[0].process.pid, signal.SIGKILL)
    with pytest.raises(HostLost):
        session.wait_done("echo", 10)
    session.reattach(10)
    assert session.wait_done("echo", 10)["state"] == "completed"
    session.fetch({"echo": tmp_path})
    session.bye()
    sandbox.await_nothing_left()


def test_nobody_to_reattach_to(session: Session, sandbox: Any) -> None:
    """When the agent has gone meanwhile, reattach says so instead of trying for ever."""
    os.kill(sandbox.pid_of("worker"), signal.SIGKILL)
    sandbox.await_nothing_left()
    with pytest.raises(HostLost, match="gone"):
        session.reattach(60)


def test_settings_are_put_back(session: Session, sandbox: Any) -> None:
    """A changed sysctl has its old value again after a SIGKILL of the worker."""
    name = "net.ipv4.ip_default_ttl"
    session.start(a_job("tamper", path=name, old="64", new="77"))
    session.wait_ready("tamper", 10)
    read = [str(sandbox.python), "-c", "print(open('/proc/sys/net/ipv4/ip_default_ttl').read())"]
    assert subprocess.check_output(read).split() == [b"77"]
    os.kill(sandbox.pid_of("worker"), signal.SIGKILL)
    sandbox.await_nothing_left()
    assert subprocess.check_output(read).split() == [b"64"]


def test_sigterm_of_the_worker_is_a_goodbye(session: Session, sandbox: Any) -> None:
    """An administrator's kill, or a shutdown, leaves a clean host."""
    os.kill(sandbox.pid_of("worker"), signal.SIGTERM)
    sandbox.await_nothing_left()


def test_an_endless_line_ends_only_its_connection(session: Session, endpoint: Any) -> None:
    """More than 1 MiB without a newline is answered with a failure; the worker serves the next channel."""
    folder = session.hello["dir"]
    channel = PipeChannel([endpoint.python, "-IS", f"{folder}/agent", "attach", folder])
    channel.sendall(b"x" * (wire.MAX_LINE + 70_000))
    said = b""
    while block := channel.recv(1 << 16):
        said += block
    answer = wire.decode_answer(said.removeprefix(wire.PREAMBLE).strip())
    assert answer == wire.Failure(0, wire.Code.BAD_MESSAGE, f"a line exceeds the limit of {wire.MAX_LINE} bytes")
    session.start(a_job("echo", text="x"))
    session.wait_done("echo", 10)


def test_an_altered_agent_is_not_run(endpoint: Any, agent: bundle.Bundle, sandbox: Any) -> None:
    """What does not have the announced hash is never written or run."""
    forged = bundle.Bundle(agent.content[:-1] + b"!", agent.sha256)
    with pytest.raises(HostUnusable, match="altered"):
        Session(endpoint, "run-1", 30.0, agent=forged)
    sandbox.await_nothing_left()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ('echo "python 3.6.8" >&2; exit 9', "python 3.6.8, too old"),
        ('echo "env: python3: No such file or directory" >&2; exit 127', "no usable"),
        ('echo "This account is currently not available."; exit 1', "currently not available"),
        ('echo "/tmp: No space left on device" >&2; exit 8', "no room for the agent"),
    ],
)
def test_a_python_that_cannot_is_named(endpoint: Any, tmp_path: Path, script: str, sentence: str) -> None:
    """An old or missing interpreter, a closed account and a full disk are one sentence each, with a remedy."""
    fake = tmp_path / "fake-python"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    endpoint.python = str(fake)
    with pytest.raises(HostUnusable, match=sentence) as unusable:
        Session(endpoint, "run-1", 30.0)
    assert unusable.value.remedy


def test_a_full_disk_leaves_nothing(endpoint: Any, sandbox: Any, agent: bundle.Bundle) -> None:
    """Where no place takes the agent, the real bootstrap says so and removes what it began."""
    enter = ["nsenter", "-t", str(sandbox.holder.pid), "--mount", "--wd=/"]
    for place in ("/tmp", "/var/tmp"):
        subprocess.run([*enter, "mount", "-t", "tmpfs", "-o", "size=64k", "none", place], check=True)
    with pytest.raises(HostUnusable, match="No space left"):
        Session(endpoint, "run-1", 30.0, agent=agent)
    assert subprocess.check_output([*enter, "ls", "/tmp", "/var/tmp"]) == b"/tmp:\n\n/var/tmp:\n"


def test_what_cannot_be_unpacked_leaves_nothing(endpoint: Any, sandbox: Any) -> None:
    """What keeps a Python from unpacking the agent, such as a missing zlib, is said, and what was begun is removed."""
    with pytest.raises(HostUnusable, match="not a zip file"):
        Session(endpoint, "run-1", 30.0, agent=bundle.seal(b"no agent"))
    sandbox.await_nothing_left()


def test_chatter_of_a_login_script_is_skipped(
    endpoint: Any, tmp_path: Path, agent: bundle.Bundle, sandbox: Any
) -> None:
    """A shell that greets on standard output does not confuse the session."""
    chatty = tmp_path / "chatty"
    chatty.write_text(f'#!/bin/sh\necho "Welcome to host-a"\nexec {endpoint.python} "$@"\n')
    chatty.chmod(0o755)
    endpoint.python = str(chatty)
    session = Session(endpoint, "run-1", 30.0, agent=agent)
    session.start(a_job("echo", text="x"))
    session.wait_done("echo", 10)
    session.fetch({"echo": tmp_path / "raw"})
    session.bye()


def test_the_agent_writes_nothing_else(session: Session, sandbox: Any) -> None:
    """Its folder is private, and what scapy would put into a home directory goes there too."""
    folder = sandbox.folders()[0]
    assert folder.stat().st_mode & 0o777 == 0o700
    environment = Path(f"/proc/{sandbox.pid_of('worker')}/environ").read_bytes()
    assert f"XDG_CACHE_HOME={session.hello['dir']}/".encode() in environment


def test_clean_by_hand_removes_no_folder_that_is_not_ours(endpoint: Any, agent: bundle.Bundle, sandbox: Any) -> None:
    """``clean DIR`` with somebody's folder as DIR leaves it alone."""
    (sandbox.tmp / "agent.pyz").write_bytes(agent.content)
    (sandbox.tmp / "diary").mkdir(mode=0o700)
    said = subprocess.check_output([endpoint.python, "-IS", "/tmp/agent.pyz", "clean", "/tmp/diary"])
    assert said == wire.PREAMBLE + b'{"removed": [], "kept": []}\n'
    assert (sandbox.tmp / "diary").is_dir()
