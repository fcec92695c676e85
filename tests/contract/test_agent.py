"""The real agent, started by its real bootstrap, spoken to by the real session; only SSH is left out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from perfagent import wire
from perfharness.errors import AgentError, EvidenceBroken, HostLost, HostUnusable, Refused
from perfharness.fleet import bundle, spool, ssh
from perfharness.fleet.launch import _RECEIVE
from perfharness.fleet.rpc import Client
from perfharness.fleet.session import Session
from perfharness.model import Job, Role


class PipeChannel:
    """A program's pipes with the face of an SSH channel."""

    def __init__(self, words: list[str]) -> None:
        pipe = subprocess.PIPE
        self.status_event = threading.Event()
        self.status_event.set()
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)

    def recv(self, size: int) -> bytes:
        assert self.process.stdout is not None
        return os.read(self.process.stdout.fileno(), size)

    def sendall(self, data: bytes) -> None:
        assert self.process.stdin is not None
        left = memoryview(data)
        while left:
            left = left[os.write(self.process.stdin.fileno(), left) :]

    def recv_exit_status(self) -> int:
        return self.process.wait(20)

    def recv_stderr(self, size: int) -> bytes:
        assert self.process.stderr is not None
        return self.process.stderr.read(size)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


class LocalLink:
    """Runs programs here instead of over SSH."""

    def __init__(self) -> None:
        self.channels: list[PipeChannel] = []

    def execute(self, words: list[str], feed: bytes = b"", patience_s: float = 0.0) -> PipeChannel:
        self.channels.append(PipeChannel(words))
        with suppress(BrokenPipeError):  # as the real one: it has ended early
            self.channels[-1].sendall(feed)
        return self.channels[-1]

    def close(self) -> None:
        for channel in self.channels:
            channel.close()
            channel.process.wait(20)


@pytest.fixture(autouse=True)
def links(monkeypatch: pytest.MonkeyPatch) -> list[LocalLink]:
    made: list[LocalLink] = []

    def connect(_name: str, _target: Any) -> LocalLink:
        made.append(LocalLink())
        return made[-1]

    monkeypatch.setattr(ssh, "connect", connect)
    return made


@pytest.fixture
def session(endpoint: Any, agent: bundle.Bundle, events: Any, sandbox: Any) -> Any:
    opened = Session(endpoint, "run-1", 30.0, events, agent)
    yield opened
    opened.close()


def a_job(method: str, deadline_s: float = 20.0, **args: Any) -> Job:
    return Job(method.replace(".", "-"), "host-a", f"trial.{method}", args, Role.DRIVE, deadline_s)


def test_a_whole_life(session: Session, sandbox: Any, events: Any, agent: bundle.Bundle, tmp_path: Path) -> None:
    """Bootstrap, hello, a job with its events, its files, goodbye; then nothing is left."""
    assert session.hello["agent"] == agent.sha256
    assert session.hello["run"] == "run-1"
    session.start(a_job("echo", text="hi", seconds=0.3))
    assert session.wait_ready("echo", 10) == {"text": "hi"}
    assert session.wait_done("echo", 10) == {"state": "completed", "data": {"text": "hi"}, "error": None}
    assert [kind for _, kind, _ in events.seen] == ["ready", "live", "done"]

    files = session.fetch("echo", tmp_path / "raw")
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
        session.fetch("echo", tmp_path / run)
    assert (tmp_path / "two" / "echo.bin").read_bytes() == b"two" * 1000


def test_stop_ends_a_job_tidily(session: Session, tmp_path: Path) -> None:
    """A job asked to stop returns its data and is completed."""
    session.start(a_job("echo", text="x", seconds=60))
    session.wait_ready("echo", 10)
    session.stop("echo")
    assert session.wait_done("echo", 10)["state"] == "completed"


def test_a_deadline_is_enforced(session: Session, tmp_path: Path) -> None:
    """A job that goes on past its deadline is ended and called aborted, and its data are kept."""
    session.start(a_job("echo", deadline_s=0.3, text="x", seconds=60))
    state = session.wait_done("echo", 10)
    assert (state["state"], state["error"]["code"]) == ("aborted", wire.Code.DEADLINE)
    session.fetch("echo", tmp_path)
    assert json.loads((tmp_path / "result.json").read_bytes())["data"]["text"] == "x"


def test_a_deaf_job_is_killed(session: Session, tmp_path: Path) -> None:
    """A job that ignores SIGTERM is killed after the grace, and the agent writes its result for it."""
    session.start(a_job("stubborn"))
    session.wait_ready("stubborn", 10)
    session.stop("stubborn")
    assert session.wait_done("stubborn", 15)["state"] == "failed"
    session.fetch("stubborn", tmp_path)
    assert "signal 9" in json.loads((tmp_path / "result.json").read_bytes())["error"]["message"]


def test_a_bug_in_a_method_is_a_result(session: Session, tmp_path: Path) -> None:
    """An exception becomes a failed job with its trace in job.log; the worker lives."""
    session.start(a_job("crash"))
    error = session.wait_done("crash", 10)["error"]
    assert (error["code"], error["message"]) == (50, "trial.crash broke: RuntimeError: a bug of the method")
    session.fetch("crash", tmp_path)
    assert "Traceback" in (tmp_path / "job.log").read_text()


def test_prints_do_not_reach_the_protocol(session: Session, tmp_path: Path) -> None:
    """What a library prints, even something that looks like an event, lands in job.log."""
    session.start(a_job("noisy"))
    assert session.wait_done("noisy", 10)["state"] == "completed"
    session.fetch("noisy", tmp_path)
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
    session.fetch("echo", tmp_path)
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
    channel = PipeChannel([endpoint.python, "-IS", f"{folder}/agent.pyz", "attach", folder])
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
    session.fetch("echo", tmp_path / "raw")
    session.bye()


def test_a_file_altered_on_its_way_is_noticed(
    session: Session, links: list[LocalLink], tmp_path: Path, monkeypatch: Any
) -> None:
    """The hash that the agent announced decides, not what arrived."""
    session.start(a_job("echo", text="x"))
    session.wait_done("echo", 10)
    announce = spool.expected

    def another(host: str, line: bytes) -> list[spool.SpoolFile]:
        return [file._replace(sha256="0" * 64) for file in announce(host, line)]

    monkeypatch.setattr(spool, "expected", another)
    with pytest.raises(EvidenceBroken, match=r"echo\.bin was altered"):
        session.fetch("echo", tmp_path / "raw")
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_cut_during_a_fetch_is_a_lost_host(session: Session, monkeypatch: Any, tmp_path: Path) -> None:
    """What looks like the end of the files is told apart from it, so that they are fetched again, not given up."""
    session.start(a_job("echo", text="x"))
    session.wait_done("echo", 10)
    with monkeypatch.context() as cut:
        cut.setattr(PipeChannel, "recv", lambda *_: wire.PREAMBLE if not seen and not seen.append(1) else b"")
        cut.setattr(ssh, "exit_status", lambda _: -1)
        seen: list[int] = []
        with pytest.raises(HostLost):
            session.fetch("echo", tmp_path / "raw")
    assert [file.name for file in session.fetch("echo", tmp_path / "raw")] == ["echo.bin", "result.json"]


def test_a_cut_after_a_fetch_loses_nothing(session: Session, links: list[LocalLink], tmp_path: Path) -> None:
    """The files are here when the connection goes before the host could be told to forget them."""
    session.start(a_job("echo", text="x"))
    session.wait_done("echo", 10)
    os.kill(links[0].channels[0].process.pid, signal.SIGKILL)
    assert [file.name for file in session.fetch("echo", tmp_path / "raw")] == ["echo.bin", "result.json"]


def test_a_running_job_is_not_fetched(session: Session, tmp_path: Path) -> None:
    """A growing file is no evidence."""
    session.start(a_job("echo", text="x", seconds=60))
    with pytest.raises(AgentError, match="has not ended"):
        session.fetch("echo", tmp_path / "raw")


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
    command = [endpoint.python, "-c", _RECEIVE, str(len(agent.content)), agent.sha256, *verb]
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
    (folder / "agent.pyz").write_bytes(agent.content)
    words = ["-IS", "/tmp/perfharness-orphan/agent.pyz", "worker", "/tmp/perfharness-orphan", "run-1", "1"]
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
