"""Who is who, against a real sshd on the loopback: the host's keys and ours."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfharness.fleet import ssh
from tests.contract.ssh_server import PROXY, Server, refusal, target


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


@pytest.fixture
def ssh_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent that holds nothing yet."""
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield
        agent.terminate()


def held_by_the_agent(server: Server, *names: str) -> None:
    """The agent alone has these keys; their public halves are left in the folder."""
    for name in names:
        subprocess.run(["ssh-add", "-q", server.folder / name], check=True)
        (server.folder / name).unlink()


@pytest.mark.usefixtures("ssh_agent")
@pytest.mark.parametrize("suffix", ["", ".pub"])
def test_the_agent_is_asked_for_the_named_key_alone(server: Server, suffix: str) -> None:
    """With IdentitiesOnly an IdentityFile whose secret half is in the agent lets us in; no other key is offered."""
    server.know()
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", server.folder / "other"], check=True)
    held_by_the_agent(server, "stranger", "other", "client")
    server.restart("MaxAuthTries 1\n")
    config = server.config()
    config.write_text(config.read_text().replace(f"{server.folder}/client", f"{server.folder}/client{suffix}"))
    ssh.connect("host-a", target("host-a", config=config)).close()


@pytest.mark.usefixtures("ssh_agent")
def test_a_named_key_that_no_agent_holds_is_one_sentence(server: Server) -> None:
    """The agent has another key: that one is not what was named."""
    server.know()
    held_by_the_agent(server, "stranger")
    config = server.config()
    config.write_text(config.read_text().replace(f"{server.folder}/client", f"{server.folder}/client.pub"))
    error = refusal(target("host-a", config=config))
    assert f"the key of {server.folder}/client.pub for 127.0.0.1 port {server.port} is in no agent" in error.message


def test_a_host_known_by_its_authority_alone_is_refused_with_that_reason(server: Server) -> None:
    """Certificates of hosts are not checked: the sentence says so, and its command makes the host known by its key."""
    known = server.folder / "known_hosts"
    known.write_text(f"@cert-authority * {server.host_key}\n")
    where = target("host-a", config=server.config())
    error = refusal(where)
    assert "is known by @cert-authority alone, and host certificates are not checked here" in error.message
    subprocess.run(error.remedy.partition("then: ")[2], shell=True, check=True, stderr=subprocess.DEVNULL)
    ssh.connect("host-a", where).close()


def test_a_host_for_passwords_only_is_one_sentence(server: Server) -> None:
    """Not "wrong key": no key would do."""
    server.know()
    server.restart("PubkeyAuthentication no\n")
    settings = server.folder / "sshd_config"
    settings.write_text(settings.read_text().replace("PasswordAuthentication no", "PasswordAuthentication yes"))
    settings.write_text(settings.read_text().replace("PermitRootLogin prohibit-password", "PermitRootLogin yes"))
    server.restart("")
    assert "takes no keys, only password" in refusal(target("host-a", config=server.config())).message


def test_a_wrong_key_is_one_sentence(server: Server) -> None:
    """A host that does not know our key is named with the user that was tried."""
    server.know()
    shutil.copy(server.folder / "stranger.pub", server.folder / "authorized_keys")
    assert "does not let root in" in refusal(target("host-a", config=server.config())).message


def test_an_unknown_key_behind_a_proxy_gets_a_command_that_goes_through_it(server: Server) -> None:
    """ssh-keyscan cannot go through a proxy, ssh can: the command is different and works."""
    config = server.config(f"  ProxyCommand {PROXY}\n")
    command = refusal(target("host-a", config=config)).remedy.partition("then: ")[2]
    assert command.startswith("ssh ")
    accepted = command.replace("StrictHostKeyChecking=ask", "StrictHostKeyChecking=accept-new")
    subprocess.run(accepted, shell=True, check=True, stderr=subprocess.DEVNULL, timeout=20)
    ssh.connect("host-a", target("host-a", config=config)).close()
