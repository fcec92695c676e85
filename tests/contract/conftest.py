"""A host to try agents on: own network and own /tmp, so that nothing of the machine's can be met or hurt."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perfharness.fleet import bundle, ssh
from perfharness.fleet.session import Session
from tests.contract.local_link import LocalLink
from tests.contract.ssh_server import Server, target

TRIAL = Path(__file__).with_name("trial.py")


@dataclass
class Sandbox:
    """``python`` runs an interpreter inside; ``tmp`` is what it sees as /tmp."""

    python: Path
    tmp: Path
    holder: subprocess.Popen[bytes]

    def processes(self) -> list[int]:
        """Pids of everything that runs inside."""
        ours = (Path("/proc") / str(self.holder.pid) / "ns/net").readlink()
        inside = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "ns/net").readlink() == ours and int(entry.name) != self.holder.pid:
                    inside.append(int(entry.name))
            except OSError:
                continue  # it has just ended
        return inside

    def folders(self) -> list[Path]:
        return sorted(self.tmp.glob("perfharness-*"))

    def running(self, verb: str) -> list[int]:
        """Pids inside that run this verb of the agent."""
        return [pid for pid in self.processes() if f"\0{verb}\0" in _command_line(pid)]

    @staticmethod
    def await_true(condition: Callable[[], object], patience_s: float = 15.0) -> None:
        end = time.monotonic() + patience_s
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)

    def await_nothing_left(self) -> None:
        """Processes take a moment to die; what is still there after that is a finding."""
        self.await_true(lambda: not self.processes() and not self.folders())
        assert (self.processes(), self.folders()) == ([], [])

    def pid_of(self, verb: str) -> int:
        """The one process inside that runs this verb."""
        (pid,) = self.running(verb)
        return pid


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    tmp = tmp_path / "host-tmp"
    tmp.mkdir()
    script = f'mount -t tmpfs none /var/tmp && mount --bind "{tmp}" /tmp && echo ready && exec sleep 3600'
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    python = tmp_path / "python"
    interpreter = Path(sys.executable).resolve()
    python.write_text(
        f'#!/bin/sh\nunset TMPDIR\nexec nsenter -t {holder.pid} --net --mount --wd=/ {interpreter} "$@"\n'
    )
    python.chmod(0o755)
    host = Sandbox(python, tmp, holder)
    yield host
    for pid in host.processes():
        os.kill(pid, 9)
    holder.kill()
    holder.wait()
    holder.stdout.close()


@pytest.fixture(scope="session")
def agent() -> bundle.Bundle:
    """The real agent with a few methods for tests: the product's own table has none, and needs no way to add any."""
    files = bundle.sources()
    files["perfagent/methods/trial.py"] = TRIAL.read_bytes()
    names = ("echo", "stubborn", "crash", "child", "tamper", "noisy")
    rows = "".join(f'METHODS["trial.{name}"] = ("perfagent.methods.trial", "{name}")\n' for name in names)
    files["perfagent/methods/__init__.py"] += rows.encode()
    return bundle.seal(bundle.pack(files))


@dataclass
class Events:
    """Collects what a session passes on."""

    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def __call__(self, host: str, event: dict[str, str]) -> None:
        self.seen.append((host, event["event"], event["job"]))


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def endpoint(sandbox: Sandbox) -> SimpleNamespace:
    """An endpoint whose Python runs in the sandbox."""
    target = SimpleNamespace(host="127.0.0.1", config=None, user=None, port=None, known_hosts=None)
    return SimpleNamespace(name="host-a", ssh=target, python=str(sandbox.python))


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[LocalLink]]:
    made: list[LocalLink] = []

    def connect(_name: str, _target: Any) -> LocalLink:
        made.append(LocalLink())
        return made[-1]

    monkeypatch.setattr(ssh, "connect", connect)
    yield made
    for channel in (channel for link in made for channel in link.channels):  # the sandbox is gone, and they with it
        channel.process.wait(20)


@pytest.fixture
def session(links: list[LocalLink], endpoint: Any, agent: bundle.Bundle, events: Any, sandbox: Any) -> Any:
    opened = Session(endpoint, "run-1", 30.0, events, agent)
    yield opened
    opened.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "sshd"
    folder.mkdir()
    for name in ("host", "client", "stranger"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True)
    shutil.copy(folder / "client.pub", folder / "authorized_keys")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "StrictModes no\nPidFile none\nUsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nMaxStartups 100\n"
    )
    separation = Path("/run/sshd")
    made = not separation.exists()
    separation.mkdir(exist_ok=True)
    sshd = Server(folder, port)
    sshd.start()
    yield sshd
    sshd.process.terminate()
    sshd.process.wait()
    if made:
        with suppress(OSError):
            separation.rmdir()


@pytest.fixture
def known(server: Server, endpoint: Any) -> Any:
    """The endpoint reached by its alias, everything in order."""
    server.know()
    endpoint.ssh = target("host-a", config=server.config())
    return endpoint
