"""The keys that we log in with, chosen as ``ssh`` does: ssh_config(5), IdentityFile and IdentitiesOnly."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paramiko

_DEFAULT = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
_PUBLIC = ".pub"


class NotInAgent(paramiko.SSHException):  # type: ignore[misc]  # untyped base
    """The configuration names public keys alone, and no agent holds the rest of them."""


class NamedKeys(paramiko.Agent):  # type: ignore[misc]  # untyped base
    """The user's agent with the keys that the configuration names: sshd hangs up after a few others (MaxAuthTries)."""

    def __init__(self, files: Sequence[str]) -> None:
        """Identities by their files; a file may be the public key itself or have it beside it."""
        super().__init__()
        self._public = set()
        for file in files:
            path = Path(file).expanduser()
            public = path if path.suffix == _PUBLIC else path.with_name(path.name + _PUBLIC)
            with contextlib.suppress(OSError, ValueError, IndexError):  # none there, or none that can be read
                self._public.add(base64.b64decode(public.read_text().split()[1], validate=True))

    def get_keys(self) -> tuple[paramiko.PKey, ...]:
        return tuple(key for key in super().get_keys() if key.asbytes() in self._public)


def choose(client: paramiko.SSHClient, named: Sequence[str], only: bool) -> dict[str, Any]:
    """What ``client`` is to connect with, as arguments for it. ``only``: IdentitiesOnly.

    Raises NotInAgent.
    """
    there = [file for file in named if Path(file).exists()]  # ssh passes over the others, too
    secret = [file for file in there if not file.endswith(_PUBLIC)]
    if not only:
        return {"key_filename": secret, "allow_agent": True, "look_for_keys": True}
    agent = client._agent = NamedKeys(named or _DEFAULT)  # paramiko closes it, and would open one with all keys
    if not secret and not agent.get_keys():
        if there:
            raise NotInAgent(there[0])
        secret = list(named)  # that it is missing is the sentence
    return {"key_filename": secret, "allow_agent": True, "look_for_keys": not named}
