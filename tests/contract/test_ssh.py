"""SSH as people have it configured, against a real sshd on the loopback: aliases, keys, jump hosts, cuts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest

from perfharness.errors import HostLost, HostUnusable
from perfharness.fleet import bundle, ssh, ssh_config
from perfharness.fleet.hosts import Fleet, clean
from perfharness.fleet.session import Session
from perfharness.model import Job, Role

PROXY = "bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3; kill $!'"
SSHD = "/usr/sbin/sshd"


@dataclass
class Server:
    """An sshd with a key of its own, without an SFTP subsystem."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    def know(self) -> Path:
        """A known_hosts with this server in it."""
        known = self.folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self.port} {self.host_key}\n")
        return known

    def config(self, extra: str = "") -> Path:
        """An ssh_config with the alias ``host-a``."""
        path = self.folder / "ssh_config"
        path.write_text(
            f"Host host-a\n  HostName 127.0.0.1\n  Port {self.port}\n  User root\n"
            f"  IdentityFile {self.folder}/client\n  IdentitiesOnly yes\n  GlobalKnownHostsFile /dev/null\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n{extra}"
        )
        return path

    def restart(self, more: str) -> None:
        """With further settings."""
        self.process.terminate()
        self.process.wait()
        with (self.folder / "sshd_config").open("a") as settings:
            settings.write(more)
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", self.folder / "sshd_config"], stderr=log)
        for _ in range(500):
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self.port), 1)):
                return
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def sessions(self) -> list[int]:
        """Pids of the processes that hold the connections."""
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True)
        return [int(pid) for pid in listed.stdout.split()]


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


def target(host: str, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"host": host, "config": None, "user": None, "port": None, "known_hosts": None, **more})


def processes() -> list[tuple[int, int, str]]:
    """Parent, process group and state of everything that runs."""
    rows = subprocess.check_output(["ps", "-eo", "ppid=,pgid=,s="]).decode().splitlines()
    return [(int(parent), int(group), state) for parent, group, state in map(str.split, rows)]


def an_echo(seconds: float = 0.0) -> Job:
    return Job("echo", "host-a", "trial.echo", {"text": "x", "seconds": seconds}, Role.DRIVE, 30.0)


def refusal(where: Any) -> HostUnusable:
    with pytest.raises(HostUnusable) as unusable:
        ssh.connect("host-a", where)
    assert unusable.value.host == "host-a"
    assert unusable.value.remedy
    return unusable.value


def test_a_whole_life_over_ssh(known: Any, agent: bundle.Bundle, sandbox: Any, tmp_path: Path) -> None:
    """An alias, one channel, a server without SFTP: agent, job, files, goodbye, nothing left."""
    session = Session(known, "run-1", 30.0, agent=agent)
    session.start(an_echo())
    assert session.wait_done("echo", 10)["state"] == "completed"
    assert [file.name for file in session.fetch("echo", tmp_path / "raw")] == ["echo.bin", "result.json"]
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
    session.fetch("echo", tmp_path / "raw")
    session.bye()
    sandbox.await_nothing_left()


def test_an_unknown_host_key_is_refused_with_the_command(server: Server) -> None:
    """The sentence holds the fingerprint and a command that, typed as it stands, makes the host known."""
    where = target("host-a", config=server.config())
    error = refusal(where)
    fingerprint = subprocess.check_output(["ssh-keygen", "-lf", server.folder / "host.pub"]).decode().split()[1]
    assert fingerprint in error.message
    command = error.remedy.partition("then: ")[2]
    assert command.startswith(f"ssh-keyscan -t ed25519 -p {server.port} 127.0.0.1 >> ")
    subprocess.run(command, shell=True, check=True, stderr=subprocess.DEVNULL)
    ssh.connect("host-a", where).close()


def test_strict_checking_cannot_be_turned_off(server: Server) -> None:
    """``StrictHostKeyChecking no`` does not let an unknown key in."""
    assert "is not known" in refusal(target("host-a", config=server.config("  StrictHostKeyChecking no\n"))).message


def test_a_changed_host_key_is_refused(server: Server) -> None:
    """Another key than the known one is not a detail."""
    stranger = " ".join((server.folder / "stranger.pub").read_text().split()[:2])
    server.know().write_text(f"[127.0.0.1]:{server.port} {stranger}\n")
    error = refusal(target("host-a", config=server.config()))
    assert "shows another host key" in error.message
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in error.remedy


def test_known_hosts_of_the_order_are_used(server: Server) -> None:
    """``known_hosts`` of the endpoint takes the place of the configuration's."""
    elsewhere = server.know().rename(server.folder / "elsewhere")
    ssh.connect("host-a", target("host-a", config=server.config(), known_hosts=elsewhere)).close()


def test_a_host_key_alias_is_honoured(server: Server) -> None:
    """With HostKeyAlias the key is looked up under that name, as ssh does."""
    (server.folder / "known_hosts").write_text(f"the-alias {server.host_key}\n")
    ssh.connect("host-a", target("host-a", config=server.config("  HostKeyAlias the-alias\n"))).close()


def test_known_hosts_are_read_as_ssh_reads_them(server: Server) -> None:
    """Broken lines and bytes are passed over; patterns, hashed names and several keys of a kind are understood."""
    stranger = " ".join((server.folder / "stranger.pub").read_text().split()[:2])
    known = server.know()
    noise = b"caf\xe9\n# comment\nx ssh-ed25519 %%%\nx ssh-ed25519 AAAA\n|1|x|y ssh-ed25519 AAAA\n@cert-authority * "
    for name in ("[127.0.0.?]:*", f"other,[127.0.0.1]:{server.port}"):
        known.write_bytes(
            noise + f"{stranger}\n[127.0.0.1]:{server.port}\t{stranger}\n{name} {server.host_key}\n".encode()
        )
        ssh.connect("host-a", target("host-a", config=server.config())).close()
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", server.know()], check=True, capture_output=True)
    ssh.connect("host-a", target("host-a", config=server.config())).close()
    known.write_text(
        f"* {server.host_key}\n!unknown,[127.*,![127.0.0.1]:{server.port} {server.host_key}\n".split("\n")[1]
    )
    assert "is not known" in refusal(target("host-a", config=server.config())).message


def test_a_revoked_host_key_is_refused(server: Server) -> None:
    """Known or not: a key that somebody has marked is not to be trusted."""
    known = server.know()
    known.write_text(known.read_text() + f"@revoked * {server.host_key}\n")
    assert "is marked @revoked" in refusal(target("host-a", config=server.config())).message


def test_the_kind_of_key_that_is_known_is_asked_for(server: Server) -> None:
    """A host with several keys shows the one that we know."""
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", server.folder / "host_rsa"], check=True)
    server.restart(f"HostKey {server.folder}/host_rsa\n")
    key = " ".join((server.folder / "host_rsa.pub").read_text().split()[:2])
    server.know().write_text(f"[127.0.0.1]:{server.port} {key}\n")
    ssh.connect("host-a", target("host-a", config=server.config())).close()


def test_a_key_file_that_is_missing_is_passed_over(server: Server) -> None:
    """``Host *`` often names keys that only some machines have; without any key at all that is the sentence."""
    server.know()
    config = server.config("  IdentityFile /nowhere/id_rsa\nHost *\n  IdentityFile /nowhere/id_ecdsa\n")
    ssh.connect("host-a", target("host-a", config=config)).close()
    (server.folder / "client").rename(server.folder / "elsewhere")
    assert "a key file is missing" in refusal(target("host-a", config=config)).message


def test_a_host_for_passwords_only_is_one_sentence(server: Server) -> None:
    """Not "wrong key": no key would do."""
    server.know()
    server.restart("PubkeyAuthentication no\n")
    settings = server.folder / "sshd_config"
    settings.write_text(settings.read_text().replace("PasswordAuthentication no", "PasswordAuthentication yes"))
    settings.write_text(settings.read_text().replace("PermitRootLogin prohibit-password", "PermitRootLogin yes"))
    server.restart("")
    assert "takes no keys, only password" in refusal(target("host-a", config=server.config())).message


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


def test_a_wrong_key_is_one_sentence(server: Server) -> None:
    """A host that does not know our key is named with the user that was tried."""
    server.know()
    shutil.copy(server.folder / "stranger.pub", server.folder / "authorized_keys")
    assert "does not let root in" in refusal(target("host-a", config=server.config())).message


def test_a_dead_port_is_one_sentence(server: Server) -> None:
    """Refused is told apart from silent."""
    server.process.terminate()
    server.process.wait()
    assert "refuses the connection" in refusal(target("host-a", config=server.config())).message


def test_a_silent_port_ends_at_the_deadline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that accepts and never speaks does not hold us up."""
    monkeypatch.setattr(ssh, "CONNECT_S", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        where = target("host-a", config=server.config(), port=silent.getsockname()[1])
        assert "no SSH session with 127.0.0.1" in refusal(where).message


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


def test_an_unknown_key_behind_a_proxy_gets_a_command_that_goes_through_it(server: Server) -> None:
    """ssh-keyscan cannot go through a proxy, ssh can: the command is different and works."""
    config = server.config(f"  ProxyCommand {PROXY}\n")
    command = refusal(target("host-a", config=config)).remedy.partition("then: ")[2]
    assert command.startswith("ssh ")
    accepted = command.replace("StrictHostKeyChecking=ask", "StrictHostKeyChecking=accept-new")
    subprocess.run(accepted, shell=True, check=True, stderr=subprocess.DEVNULL, timeout=20)
    ssh.connect("host-a", target("host-a", config=config)).close()


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
        assert segment <= ssh.SEGMENT_BYTES


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
    monkeypatch.setattr(ssh, "CONNECT_S", 0.5)
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
    assert [file.name for file in session.fetch("echo", tmp_path / "raw")] == ["echo.bin", "result.json"]
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


def test_one_dead_host_is_named_and_the_others_are_left(known: Any, server: Server, sandbox: Any) -> None:
    """The fleet does not start without all its hosts, and leaves nothing on the good ones."""
    dead = SimpleNamespace(name="host-z", ssh=target("host-a", config=server.config(), port=1), python="python3")
    with pytest.raises(HostUnusable, match=r"host-z: 127\.0\.0\.1 port 1 refuses"), Fleet([known, dead], "run-1", 30.0):
        raise AssertionError("it must not get here")
    sandbox.await_nothing_left()


def test_all_dead_hosts_are_named(server: Server) -> None:
    """One look tells everything that is wrong."""
    dead = [
        SimpleNamespace(name=name, ssh=target("host-a", config=server.config(), port=1), python="python3")
        for name in ("host-a", "host-z")
    ]
    with pytest.raises(HostUnusable) as unusable, Fleet(dead, "run-1", 30.0):
        raise AssertionError("it must not get here")
    assert "host-a: 127.0.0.1 port 1" in str(unusable.value)
    assert "host-z: 127.0.0.1 port 1" in str(unusable.value)


def test_a_fleet_leaves_when_its_block_ends_badly(known: Any, sandbox: Any) -> None:
    """An exception in mid-run leaves the hosts as clean as a good end, and is passed on."""
    with pytest.raises(KeyError), Fleet([known], "run-1", 30.0) as fleet:
        assert fleet["host-a"].hello["run"] == "run-1"
        raise KeyError("something else")
    assert fleet.left_behind == {}
    sandbox.await_nothing_left()


def test_a_fleet_cut_off_at_the_end_comes_back_to_leave(known: Any, server: Server, sandbox: Any) -> None:
    """A host whose connection is lost at the end is visited once more."""
    with Fleet([known], "run-1", 30.0) as fleet:
        for pid in server.sessions():
            os.kill(pid, signal.SIGKILL)
    assert fleet.left_behind == {}
    sandbox.await_nothing_left()


@pytest.fixture
def left_overs(sandbox: Any) -> Callable[[], None]:
    """What a bad day leaves in /tmp: a dead agent's folder, and others that only look like one."""

    def make() -> None:
        (dead := sandbox.tmp / "perfharness-dead").mkdir(mode=0o700)
        (dead / "perfharness-agent").touch()
        (sandbox.tmp / "perfharness-empty").mkdir(mode=0o700)
        (sandbox.tmp / "perfharness-notes").mkdir(mode=0o700)
        (sandbox.tmp / "perfharness-notes" / "diary.txt").write_text("mine")
        (sandbox.tmp / "perfharness-open").mkdir(mode=0o755)
        (theirs := sandbox.tmp / "perfharness-theirs").mkdir(mode=0o700)
        os.chown(theirs, 1234, 1234)
        (sandbox.tmp / "perfharness-link").symlink_to("/tmp/perfharness-notes")
        (sandbox.tmp / "perfharness-report.txt").touch()

    return make


def test_clean_removes_ours_and_nothing_else(
    known: Any, agent: bundle.Bundle, sandbox: Any, left_overs: Callable[[], None]
) -> None:
    """A live agent and its job, a dead one's folder: gone. Anything that may be somebody's: kept, with a reason."""
    left_overs()
    session = Session(known, "run-1", 300.0, agent=agent)
    session.start(an_echo(60))
    session.wait_ready("echo", 10)
    session._left.set()
    (report,) = clean([known])
    assert report.error is None
    removed = {Path(row["dir"]).name: row["was"] for row in report.removed}
    live = Path(session.hello["dir"]).name
    assert removed == {"perfharness-dead": "dead", "perfharness-empty": "dead", live: "live"}
    kept = {Path(row["dir"]).name: row["why"] for row in report.kept}
    assert kept == {
        "perfharness-link": "it is no directory",
        "perfharness-notes": "it lacks our marker",
        "perfharness-open": "others may enter it",
        "perfharness-report.txt": "it is no directory",
        "perfharness-theirs": "it belongs to uid 1234",
    }
    assert sorted(kept) == [path.name for path in sandbox.folders()]
    sandbox.await_true(lambda: not sandbox.processes())
    assert sandbox.processes() == []
    session.close()


def test_clean_of_a_clean_host(known: Any, sandbox: Any) -> None:
    """Nothing there: nothing removed, nothing left by the cleaning itself."""
    (report,) = clean([known])
    assert (report.removed, report.kept, report.error) == ((), (), None)
    sandbox.await_nothing_left()


def test_clean_goes_on_without_a_dead_host(known: Any, server: Server) -> None:
    """The others are cleaned, the dead one carries its error."""
    dead = SimpleNamespace(name="host-z", ssh=target("host-a", config=server.config(), port=1), python="python3")
    good, bad = clean([known, dead])
    assert good.error is None
    assert "refuses" in str(bad.error)
