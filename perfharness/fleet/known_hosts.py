"""The host keys that ``ssh`` would accept: sshd(8), section SSH_KNOWN_HOSTS FILE FORMAT.

paramiko's own reader stops at a broken line, takes one key of a kind for each host, and knows neither patterns nor
``@revoked``. Certificates of hosts are not checked here, since paramiko cannot ask for them: a line ``@cert-authority``
makes no host known, but a host that is known by it alone is refused with that reason.
"""

from __future__ import annotations

import base64
import contextlib
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import paramiko

_REVOKED, _AUTHORITY = "@revoked", "@cert-authority"


class Known(NamedTuple):
    """What is known of one host."""

    keys: list[paramiko.PKey]
    revoked: list[paramiko.PKey]
    authorities: list[paramiko.PKey]
    """Who may sign its key; not checked here."""

    def first(self, algorithms: Iterable[str]) -> list[str]:
        """The algorithms in their order, those of a known key before all others: a host shows one key only."""
        kinds = {key.get_name() for key in self.keys}
        return sorted(algorithms, key=lambda each: re.sub(r"^rsa-sha2-\d+$", "ssh-rsa", each) not in kinds)


def read(files: Iterable[Path], name: str) -> Known:
    """The keys of ``name``, which is ``host`` or ``[host]:port``. Raises OSError for a file that cannot be read."""
    known = Known([], [], [])
    for file in files:
        if file.exists():
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                _add(line.split(), name.lower(), known)
    return known


def files(facts: Mapping[str, str]) -> list[Path]:
    """Where the SSH configuration of a host keeps them."""
    named = shlex.split(facts.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"))
    named += shlex.split(facts.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts"))
    return [Path(file).expanduser() for file in named]


def name_of(facts: Mapping[str, str], host: str, port: int) -> str:
    """Under which a host's key is kept."""
    return facts.get("hostkeyalias") or (host if port == paramiko.config.SSH_PORT else f"[{host}]:{port}")


class UnknownKey(Exception):
    """A host shows a key that nobody has vouched for."""

    def __init__(self, key: paramiko.PKey, known: Known) -> None:
        super().__init__()
        self.key = key
        self.revoked = key in known.revoked
        self.certified = bool(known.authorities)


class OnlyKnown(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # untyped base
    """paramiko is told of no keys, so that every host is checked here."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def missing_host_key(self, _client: Any, name: str, key: paramiko.PKey) -> None:
        """Raises UnknownKey, BadHostKeyException."""
        if key in self._known.keys and key not in self._known.revoked:
            return
        if self._known.keys and key not in self._known.revoked:
            raise paramiko.BadHostKeyException(name, key, self._known.keys[0])
        raise UnknownKey(key, self._known)


def _add(fields: list[str], name: str, known: Known) -> None:
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    if marker not in ("", _REVOKED, _AUTHORITY) or len(fields) < 3 or not _means(fields[0], name):
        return
    with contextlib.suppress(ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType):  # as ssh: passed over
        key = paramiko.PKey.from_type_string(fields[1], base64.b64decode(fields[2], validate=True))
        {_REVOKED: known.revoked, _AUTHORITY: known.authorities}.get(marker, known.keys).append(key)


def _means(patterns: str, name: str) -> bool:
    """Whether a line is about this host: a hashed name, or patterns with ``*``, ``?`` and ``!``."""
    if patterns.startswith("|1|"):
        with contextlib.suppress(ValueError, AssertionError):  # a broken hash is nobody's
            return bool(paramiko.HostKeys.hash_host(name, patterns) == patterns)
        return False
    found = False
    for pattern in patterns.lower().split(","):
        if re.fullmatch(re.escape(pattern.removeprefix("!")).replace(r"\*", ".*").replace(r"\?", "."), name):
            if pattern.startswith("!"):
                return False
            found = True
    return found
