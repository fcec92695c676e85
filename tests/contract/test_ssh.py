"""SSH as people have it configured, against a real sshd on the loopback: aliases, proxies, jump hosts, cuts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import paramiko
import pytest

from perfharness.errors import HostLost, HostUnusable
from perfharness.fleet import bundle, ssh, ssh_config, ssh_sockets
from perfharness.fleet import link as link_module
from perfharness.fleet.session import Session
from tests.contract.ssh_server import PROXY, Server, an_echo, refusal, target


def processes() -> list[tuple[int, int, str]]:
    """Parent, process group and state of everything that runs."""
    rows = subprocess.check_output(["ps", "-eo", "ppid=,pgid=,s="]).decode().splitlines()
    return [(int(parent), int(group), state) for parent, group, state in map(str.split, rows)]


def test_a_whole_life_over_ssh(known: Any, agent: bundle.Bundle, sandbox: Any, tmp_path: Path) -> None:
    """An alias, one channel, a server without SFTP: agent, job, files, goodbye, nothing left."""
    session = Session(known, "run-1", 30.0, agent=agent)
    session.start(an_echo())
    assert session.wait_done("echo", 10)["state"] == "completed"
    assert [file.name for file in session.fetch({"echo": tmp_path / "raw"})] == ["echo.bin", "result.json"]
    session.bye()
    sandbox.await_nothing_left()


def test_a_job_survives_a_cut(known: Any, server: Server, agent: bundle.Bundle, sandbox: Any, tmp_path: Path) -> None:
    """The connection dies, the job does not; after a reattach everything is there."""
    session = Session(known, "run-1", 30.0, agent=agent)
    session.start(an_echo(1.0))
    session.wait_ready("echo", 10)
    for pid in server.sessions():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(HostLost):
        session.wait_done("echo", 10)
    session.reattach(20)
    assert session.wait_done("echo", 10)["state"] == "completed"
    session.fetch({"echo": tmp_path / "raw"})
    session.bye()
    sandbox.await_nothing_left()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("Host host-a\n  Port ssh\n", "cannot be used: invalid literal for int"),
        ("Host host-a\n  ProxyJump b\nHost b\n  ProxyJump host-a\n", "perhaps in a circle"),
        (
            "CanonicalizeHostname yes\nCanonicalizeFallbackLocal no\nCanonicalDomains x.invalid\n",
            "cannot be used: host-a",
        ),
        (f"Host host-a\n  HostName {'a' * 70}.example\n", "label empty or too long"),
    ],
)
def test_a_configuration_without_sense_is_one_sentence(tmp_path: Path, config: str, sentence: str) -> None:
    """A port in words, jumps in a circle, a name that is none: said, not a traceback."""
    (tmp_path / "config").write_text(config)
    assert sentence in refusal(target("host-a", config=tmp_path / "config")).message


def test_a_dead_port_is_one_sentence(server: Server) -> None:
    """Refused is told apart from silent."""
    server.process.terminate()
    server.process.wait()
    assert "refuses the connection" in refusal(target("host-a", config=server.config())).message


def test_a_silent_port_ends_at_the_deadline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that accepts and never speaks does not hold us up."""
    monkeypatch.setattr(link_module, "CONNECT_S", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        where = target("host-a", config=server.config(), port=silent.getsockname()[1])
        assert "takes the connection and then says nothing that SSH would" in refusal(where).message


def test_a_name_that_does_not_exist_is_one_sentence(server: Server) -> None:
    """DNS is told apart from the host."""
    assert "cannot be resolved" in refusal(target("no-such-host.invalid", config=server.config())).message


def test_a_missing_configuration_is_one_sentence(tmp_path: Path) -> None:
    """A configuration file that the order names must be there."""
    assert "cannot be read" in refusal(target("host-a", config=tmp_path / "nothing")).message


def test_a_proxy_command_is_run_as_ssh_would(known: Any, server: Server, agent: bundle.Bundle, sandbox: Any) -> None:
    """Through a shell, with its tokens filled in; the agent passes through it."""
    known.ssh.config = server.config(f"  ProxyCommand {PROXY}\n")
    session = Session(known, "run-1", 30.0, agent=agent)
    session.bye()
    sandbox.await_nothing_left()


def test_a_failing_proxy_command_is_quoted(server: Server) -> None:
    """What the command said is in the sentence."""
    config = server.config("  ProxyCommand echo no tunnel today >&2; false\n")
    assert "no tunnel today" in refusal(target("host-a", config=config)).message


JUMP = """
Host bastion
  HostName 127.0.0.1
  Port {port}
  User root
  IdentityFile {folder}/client
  UserKnownHostsFile {folder}/known_hosts_of_bastion
Host *
  ProxyJump bastion
"""


def test_a_jump_host_is_passed(known: Any, server: Server, agent: bundle.Bundle, sandbox: Any) -> None:
    """``Host *`` with a ProxyJump leads through the bastion, and not the bastion through itself."""
    shutil.copy(server.know(), server.folder / "known_hosts_of_bastion")
    known.ssh.config = server.config(JUMP.format(port=server.port, folder=server.folder))
    session = Session(known, "run-1", 30.0, agent=agent)
    assert len(server.sessions()) == 2
    session.bye()
    sandbox.await_nothing_left()


def test_the_key_of_a_jump_host_is_checked_too(server: Server) -> None:
    """An unknown bastion is refused by name, although the host behind it is known."""
    server.know()
    config = server.config(JUMP.format(port=server.port, folder=server.folder))
    error = refusal(target("host-a", config=config))
    assert "the host key of its jump host 127.0.0.1" in error.message
    assert "known_hosts_of_bastion" in error.remedy


def test_our_segments_are_clamped(server: Server) -> None:
    """A path that swallows large packets must not swallow the control channel."""
    server.know()
    with closing(ssh.connect("host-a", target("host-a", config=server.config()))) as link:
        segment = link._transports[0].sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        assert segment <= ssh_sockets.SEGMENT_BYTES


def test_a_forced_command_is_one_sentence(known: Any, server: Server) -> None:
    """An account that always runs something else is told apart from a broken Python."""
    key = (server.folder / "client.pub").read_text()
    (server.folder / "authorized_keys").write_text(f'command="echo backups only" {key}')
    with pytest.raises(HostUnusable, match="backups only") as unusable:
        Session(known, "run-1", 30.0)
    assert "ForceCommand" in unusable.value.remedy


def test_a_command_without_end_is_one_sentence(known: Any, server: Server) -> None:
    """An account that prints for ever is left, not listened to."""
    key = (server.folder / "client.pub").read_text()
    (server.folder / "authorized_keys").write_text(f'command="yes" {key}')
    with pytest.raises(HostUnusable, match="prints without end"):
        Session(known, "run-1", 30.0)


def test_a_host_that_hangs_after_the_login_ends_at_the_deadline(
    known: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has let us in and opened the session, then it never answers: a dying disk, a hanging home."""
    link = ssh.connect("host-a", known.ssh)
    monkeypatch.setattr(link_module, "CONNECT_S", 0.5)
    opened = paramiko.Channel.exec_command

    def hang(channel: paramiko.Channel, command: str) -> None:
        for pid in server.sessions():
            os.kill(pid, signal.SIGSTOP)
        opened(channel, command)

    monkeypatch.setattr(paramiko.Channel, "exec_command", hang)
    with pytest.raises(HostLost, match="does not run a command"):
        link.execute(["true"])
    for pid in server.sessions():
        os.kill(pid, signal.SIGKILL)


def test_one_session_a_connection_is_enough(
    known: Any, server: Server, agent: bundle.Bundle, sandbox: Any, tmp_path: Path
) -> None:
    """Where sshd has MaxSessions 1 further programs get further connections."""
    server.restart("MaxSessions 1\n")
    session = Session(known, "run-1", 30.0, agent=agent)
    session.start(an_echo())
    session.wait_done("echo", 10)
    assert [file.name for file in session.fetch({"echo": tmp_path / "raw"})] == ["echo.bin", "result.json"]
    session.bye()
    sandbox.await_nothing_left()
    sandbox.await_true(lambda: not server.sessions())
    assert server.sessions() == []


def test_an_interrupt_from_the_keyboard_does_not_cut_a_proxy(server: Server, sandbox: Any) -> None:
    """Ctrl-C goes to our process group: the way by which we tidy up is not in it, and all of it ends with the link."""
    server.know()
    config = server.config(f"  ProxyCommand sleep 3600 & {PROXY}\n")
    before = {group for _, group, _ in processes()}
    link = ssh.connect("host-a", target("host-a", config=config))
    (group,) = {group for parent, group, _ in processes() if parent == os.getpid() and group not in before}
    link.close()
    sandbox.await_true(lambda: not [row for row in processes() if row[1] == group and row[2] != "Z"])
    assert not [row for row in processes() if row[1] == group and row[2] != "Z"]


def test_included_configuration_is_read(tmp_path: Path) -> None:
    """Include brings its hosts, by pattern, and does not end the scope that it stands in."""
    (tmp_path / "config").write_text("Include more/*.conf\nUser everybody\nHost b\n  Port 22\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "1.conf").write_text("Host a\n  HostName 192.0.2.1\n")
    (tmp_path / "more" / "2.conf").write_text("Host b\n  HostName 192.0.2.2\n  User bob\n")
    read = ssh_config.read(tmp_path / "config")
    assert [read.lookup(name)["hostname"] for name in ("a", "b")] == ["192.0.2.1", "192.0.2.2"]
    assert [read.lookup(name)["user"] for name in ("a", "b", "c")] == ["everybody", "bob", "everybody"]
