"""A host to try agents on, the agent with methods of the tests, and sessions with it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perfharness.fleet import bundle, ssh
from perfharness.fleet.session import Session
from tests.contract.local_link import LocalLink
from tests.contract.sandbox import Sandbox, sandboxed
from tests.contract.ssh_server import Server, target

TRIAL = Path(__file__).with_name("trial.py")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with sandboxed(tmp_path) as host:
        yield host


@pytest.fixture(scope="session")
def agent() -> bundle.Bundle:
    """The real agent with a few methods for tests: the product's own table has none, and needs no way to add any."""
    return with_methods(bundle.sources(), TRIAL.read_bytes())


def with_methods(files: dict[str, bytes], trial: bytes) -> bundle.Bundle:
    """These sources and the methods of ``trial``."""
    files["perfagent/methods/trial.py"] = trial
    names = ("echo", "stubborn", "crash", "child", "tamper", "noisy", "confide", "alarm")
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
