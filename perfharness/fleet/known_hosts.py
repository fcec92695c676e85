"""The host keys that ``ssh`` would accept: sshd(8), section SSH_KNOWN_HOSTS FILE FORMAT.

paramiko's own reader stops at a broken line, takes one key of a kind for each host, and knows neither patterns nor
``@revoked``. Certificates of hosts are not checked here, so a line ``@cert-authority`` makes no host known.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import paramiko

_REVOKED = "@revoked"


class Known(NamedTuple):
    """What is known of one host."""

    keys: list[paramiko.PKey]
    revoked: list[paramiko.PKey]

    def first(self, algorithms: Iterable[str]) -> list[str]:
        """The algorithms in their order, those of a known key before all others: a host shows one key only."""
        kinds = {key.get_name() for key in self.keys}
        return sorted(algorithms, key=lambda each: re.sub(r"^rsa-sha2-\d+$", "ssh-rsa", each) not in kinds)


def read(files: Iterable[Path], name: str) -> Known:
    """The keys of ``name``, which is ``host`` or ``[host]:port``. Raises OSError for a file that cannot be read."""
    known = Known([], [])
    for file in files:
        if file.exists():
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                _add(line.split(), name.lower(), known)
    return known


def name_of(host: str, port: int) -> str:
    return host if port == paramiko.config.SSH_PORT else f"[{host}]:{port}"


def _add(fields: list[str], name: str, known: Known) -> None:
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    if marker not in ("", _REVOKED) or len(fields) < 3 or not _means(fields[0], name):
        return
    with contextlib.suppress(ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType):  # as ssh: passed over
        key = paramiko.PKey.from_type_string(fields[1], base64.b64decode(fields[2], validate=True))
        (known.revoked if marker else known.keys).append(key)


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
