"""A vendor's router over SSH: a made-up one that prompts and answers as IOS does, behind paramiko's server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from perfharness.errors import AgentError, HostUnusable
from perfharness.fleet.hosts import Fleet
from perfharness.fleet.router import RouterSession
from perfharness.fleet.terminal import ask
from perfharness.model import Job, Role
from perfharness.order.circuit import Appliance
from perfharness.order.endpoints import RouterSsh
from perfharness.routers import parse
from tests.unit.routers import outputs

VBR = "172.16.100.1"
WAN = "GigabitEthernet0/0/1"
PROMPT = b"ce-hz-1#"
COMMANDS = {
    "show interfaces": "interfaces",
    f"show interfaces {WAN} transceiver detail": "optics",
    "show ip arp": "neighbours",
    "show ip route": "routes",
    "show ip bgp summary": "bgp-summary",
    f"show ip bgp neighbors {VBR}": "bgp-neighbor",
    f"show ip bgp neighbors {VBR} advertised-routes": "bgp-advertised",
    f"show ip bgp neighbors {VBR} routes": "bgp-accepted",
}
JOB = Job("edge.read", "ce-hz-1", "router.show", {"platform": "cisco_ios", "peer": VBR, "wan": WAN}, Role.DRIVE, 40.0)


class _Anybody(paramiko.ServerInterface):
    """Any key does; or nothing but a password."""

    def __init__(self, password: str | None) -> None:
        self._password = password

    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if password == self._password else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL if self._password is None else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey" if self._password is None else "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_pty_request(self, channel: paramiko.Channel, *_: object) -> bool:
        return True

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        return True


class FakeIos:
    """Answers each line; all that it was told is in ``heard``."""

    def __init__(self, folder: Path, *, mute: bool = False, password: str | None = None) -> None:
        self.heard: list[str] = []
        self._password = password
        self._mute = mute
        self._texts = outputs("cisco_ios")
        key = paramiko.ECDSAKey.generate()
        self._key = key
        self._socket = socket.create_server(("127.0.0.1", 0))
        port = self._socket.getsockname()[1]
        paramiko.ECDSAKey.generate().write_private_key_file(str(folder / "client"))
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
        (folder / "ssh_config").write_text(
            f"Host ce-hz-1\n  HostName 127.0.0.1\n  Port {port}\n  User looker\n  IdentityFile {folder}/client\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        )
        self.order = Appliance(
            name="ce-hz-1",
            platform="cisco_ios",
            ssh=RouterSsh(
                host="ce-hz-1",
                config=folder / "ssh_config",
                password_file=None if password is None else folder / "password",
            ),
            wan=WAN,
        )
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        transport = paramiko.Transport(connection)
        transport.add_server_key(self._key)
        transport.start_server(server=_Anybody(self._password))
        while (channel := transport.accept(20)) is not None:
            if not self._mute:
                threading.Thread(target=self._talk, args=(channel,), daemon=True).start()

    def _talk(self, channel: paramiko.Channel) -> None:
        channel.sendall(b"\r\n" + PROMPT)
        rest = b""
        while data := channel.recv(4096):
            *lines, rest = (rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                said = line.decode().strip()
                if said:
                    self.heard.append(said)
                channel.sendall(said.encode() + b"\r\n" + self._answer(said) + PROMPT)

    def _answer(self, said: str) -> bytes:
        if said in COMMANDS:
            return self._texts[COMMANDS[said]].replace("\n", "\r\n").encode()
        return b"" if not said.startswith("show") else b"% Invalid input detected at '^' marker.\r\n"


@pytest.fixture
def router(tmp_path: Path) -> Iterator[FakeIos]:
    fake = FakeIos(tmp_path)
    yield fake
    fake.close()


def test_a_router_is_asked_and_its_answers_are_files(router: FakeIos, tmp_path: Path) -> None:
    """As one of the fleet: each answer is a file that reads back as its state, and nothing but looks was asked."""
    with Fleet([router.order], "run-1", 30.0) as fleet:
        session = fleet["ce-hz-1"]
        session.start(JOB)
        assert session.wait_done(JOB.id, 60.0)["state"] == "completed"
        files = session.fetch({JOB.id: tmp_path / "out"})
    texts = {path.stem: path.read_text() for path in (tmp_path / "out").glob("*.txt")}
    told = parse("cisco_ios", texts).session(VBR)
    assert told is not None and told.sent == ("10.10.0.0/16",)
    assert "result.json" in {file.name for file in files}
    assert '"exit_code": 1' in (tmp_path / "out/result.json").read_text()  # what this router does not know
    assert all(line.startswith(("show ", "terminal ", "exit")) for line in router.heard), router.heard
    assert fleet.left_behind == {}


def test_a_password_is_read_from_its_file_and_written_nowhere(tmp_path: Path) -> None:
    """It opens the router in place of a key, and stands in none of the files that the answers leave."""
    fake = FakeIos(tmp_path, password="s3cret words")
    (tmp_path / "password").write_text("s3cret words\n")
    (tmp_path / "password").chmod(0o600)
    with Fleet([fake.order], "run-1", 30.0) as fleet:
        fleet["ce-hz-1"].start(JOB)
        assert fleet["ce-hz-1"].wait_done(JOB.id, 60.0)["state"] == "completed"
        fleet["ce-hz-1"].fetch({JOB.id: tmp_path / "out"})
    fake.close()
    left = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"s3cret" not in left and b"Gi0/0/1" in left


def test_a_wrong_password_is_one_sentence(tmp_path: Path) -> None:
    """It names the file, and not what is in it."""
    fake = FakeIos(tmp_path, password="right")
    (tmp_path / "password").write_text("wrong one")
    (tmp_path / "password").chmod(0o600)
    with pytest.raises(HostUnusable, match="does not let looker in with the password of its password_file") as caught:
        RouterSession(fake.order)
    assert "wrong one" not in str(caught.value)
    fake.close()


def test_only_its_own_job(router: FakeIos) -> None:
    """There is no agent that could do another."""
    session = RouterSession(router.order)
    with pytest.raises(AgentError, match="takes no agent"):
        session.start(Job("x", "ce-hz-1", "host.counters", {}, Role.WATCH, 5.0))
    session.close()


def test_what_does_more_than_look_is_not_sent(router: FakeIos) -> None:
    """A table that somebody changes by mistake does no harm."""
    session = RouterSession(router.order)
    with pytest.raises(ValueError, match="does not only look"):
        ask(session._link, "ce-hz-1", "cisco_ios", {"x": "clear ip bgp *"})
    session.close()
    assert router.heard == []
