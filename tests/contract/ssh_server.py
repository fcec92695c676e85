"""A real sshd on the loopback, and what tests say to it."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perfharness.errors import HostUnusable
from perfharness.fleet import ssh
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


def target(host: str, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"host": host, "config": None, "user": None, "port": None, "known_hosts": None, **more})


def an_echo(seconds: float = 0.0) -> Job:
    return Job("echo", "host-a", "trial.echo", {"text": "x", "seconds": seconds}, Role.DRIVE, 30.0)


def refusal(where: Any) -> HostUnusable:
    with pytest.raises(HostUnusable) as unusable:
        ssh.connect("host-a", where)
    assert unusable.value.host == "host-a"
    assert unusable.value.remedy
    return unusable.value
