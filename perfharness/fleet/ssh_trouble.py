"""What went wrong on the way to a host, in one sentence with a remedy."""

from __future__ import annotations

import base64
import hashlib
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fabric
import paramiko
from paramiko.ssh_exception import PasswordRequiredException

from perfharness.errors import HostUnusable
from perfharness.fleet import known_hosts
from perfharness.fleet.identities import NotInAgent
from perfharness.fleet.link import CONNECT_S
from perfharness.fleet.ssh_config import Target

_SILENCE = ("No existing session", "Error reading SSH protocol banner")
"""How paramiko says that nothing, or not SSH, came through an open connection."""


@dataclass(frozen=True)
class Trouble:
    """A connection that failed: to ``hop``, on the way to the endpoint ``name``."""

    name: str
    target: Target
    hop: fabric.Connection
    direct: bool
    """No jump host and no ProxyCommand is in between."""
    known: Path
    """Where a host key would be added."""
    proxy_said: str = ""
    with_password: bool = False
    """A password was said there, too."""

    def explained(self, error: Exception) -> HostUnusable:
        message, remedy = self._sentence(error)
        if self.proxy_said:
            message += f" Its ProxyCommand said: {self.proxy_said}."
        return HostUnusable(self.name, message, remedy)

    @property
    def _where(self) -> str:
        where = f"{self.hop.host} port {self.hop.port}"
        return where if self.hop.original_host == self.target.host else f"its jump host {where}"

    def _sentence(self, error: Exception) -> tuple[str, str]:
        hop, where = self.hop, self._where
        by_hand = f"Try by hand: {shlex.join(self._ssh_command())}"
        match error:
            case known_hosts.UnknownKey():
                return self._unknown_key(error)
            case paramiko.BadHostKeyException():
                name = known_hosts.name_of(hop.ssh_config, hop.host, hop.port)
                forget = shlex.join(["ssh-keygen", "-R", name, "-f", str(self.known)])
                return (
                    f"{where} shows another host key than the known one: {_fingerprint(error.key)}.",
                    f"If the host was installed anew: {forget}; if not, somebody stands in between.",
                )
            case NotInAgent():
                return f"the key of {error} for {where} is in no agent.", "Load it first: ssh-add."
            case PasswordRequiredException():
                return f"the key for {where} has a passphrase.", "Load it into an agent first: ssh-add."
            case paramiko.AuthenticationException() if self.with_password:
                words = f"{where} does not let {hop.user} in with the password of its password_file."
                return words, "Correct the file, or `user:` under `ssh:` of the CE."
            case paramiko.BadAuthenticationType() if "publickey" not in error.allowed_types:
                words = f"{where} takes no keys, only {', '.join(sorted(error.allowed_types))}."
                return words, "Nobody is there to type a password: have it accept a key (PubkeyAuthentication)."
            case paramiko.AuthenticationException():
                return f"{where} does not let {hop.user} in with any of our keys.", by_hand
            case socket.gaierror():
                remedy = "Correct `host:`, or HostName in the SSH configuration."
                return f"the name {hop.host} cannot be resolved.", remedy
            case ConnectionRefusedError():
                return f"{where} refuses the connection.", "Is sshd running there, on this port?"
            case TimeoutError():
                return f"{where} does not answer within {CONNECT_S:.0f} s.", by_hand
            case FileNotFoundError():
                return f"a key file is missing: {error}.", "Correct IdentityFile in the SSH configuration."
            case paramiko.SSHException() if str(error).startswith(_SILENCE):
                remedy = f"Is it sshd that listens there, and is it stuck? {by_hand}"
                return f"{where} takes the connection and then says nothing that SSH would.", remedy
            case EOFError():
                return f"{where} takes the connection and hangs up.", by_hand
            case _:
                return f"no SSH session with {where}: {str(error) or type(error).__name__}.", by_hand

    def _unknown_key(self, error: known_hosts.UnknownKey) -> tuple[str, str]:
        key, hop, where = error.key, self.hop, self._where
        if error.revoked:
            return f"the host key of {where} is marked @revoked: {_fingerprint(key)}.", "Do not trust this host."
        if self.direct:
            kind = key.get_name().removeprefix("ssh-")
            kind = "ecdsa" if kind.startswith("ecdsa") else kind
            command = f"ssh-keyscan -t {kind} -p {hop.port} {shlex.quote(hop.host)} >> {shlex.quote(str(self.known))}"
        else:
            options = ["-o", f"UserKnownHostsFile={self.known}", "-o", "StrictHostKeyChecking=ask"]
            command = shlex.join([*self._ssh_command(options), "true"])
        if error.certified:
            why = f"{where} is known by @cert-authority alone, and host certificates are not checked here"
        else:
            why = f"the host key of {where} is not known"
        return (
            f"{why}: {_fingerprint(key)}.",
            f"Compare it with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub there), then: {command}",
        )

    def _ssh_command(self, options: Sequence[str] = ()) -> list[str]:
        target, words = self.target, ["ssh", *options]
        if target.config is not None:
            words += ["-F", str(target.config)]
        if target.known_hosts is not None and not options:
            words += ["-o", f"UserKnownHostsFile={target.known_hosts}"]
        if self.hop.original_host == target.host and target.port is not None:
            words += ["-p", str(target.port)]
        if self.hop.original_host == target.host and target.user is not None:
            words += ["-l", target.user]
        return [*words, self.hop.original_host]


def _fingerprint(key: paramiko.PKey) -> str:
    """As OpenSSH prints it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"
