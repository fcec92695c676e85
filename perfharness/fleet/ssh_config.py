"""A user's SSH configuration as OpenSSH would read it: the file, what it includes, then the system's file.

paramiko's parser takes the first value it meets, as OpenSSH does, but passes over ``Include`` in silence; many
people keep all their hosts in included files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from paramiko.config import SSHConfig

_SYSTEM = Path("/etc/ssh/ssh_config")
_INCLUDE = re.compile(r"\s*include[\s=]+(.+)", re.IGNORECASE)
_SCOPE = re.compile(r"\s*(host|match)\b", re.IGNORECASE)
_DEPTH = 16
"""OpenSSH's own limit on nested includes."""


class Target(Protocol):
    """How to reach a host: what is ``None`` comes from the SSH configuration."""

    @property
    def host(self) -> str: ...
    @property
    def config(self) -> str | Path | None: ...
    @property
    def user(self) -> str | None: ...
    @property
    def port(self) -> int | None: ...
    @property
    def known_hosts(self) -> str | Path | None: ...


class PasswordTarget(Target, Protocol):
    """One that may ask for a password."""

    @property
    def password_file(self) -> str | Path | None: ...


def read(path: str | Path | None) -> SSHConfig:
    """The given file alone, as ``ssh -F`` does; by default the user's and then the system's.

    Raises OSError when a given file cannot be read.
    """
    if path is not None:
        lines = list(_lines(Path(path).expanduser(), Path(path).expanduser().parent))
    else:
        home = Path.home() / ".ssh"
        lines = [
            line
            for file, folder in ((home / "config", home), (_SYSTEM, _SYSTEM.parent))
            if file.exists()
            for line in ["Host *", *_lines(file, folder)]
        ]
    return SSHConfig.from_text("\n".join(lines) + "\n")


def _lines(path: Path, folder: Path, depth: int = 0) -> Iterator[str]:
    """The lines of a file with its includes in place; afterwards the scope they stood in goes on."""
    scope = "Host *"
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        include = _INCLUDE.match(line)
        if include is None:
            scope = line if _SCOPE.match(line) else scope
            yield line
        elif depth < _DEPTH:
            for pattern in include[1].split():
                target = Path(pattern.strip('"')).expanduser()
                for file in sorted(folder.glob(str(target)) if not target.is_absolute() else _glob(target)):
                    yield from _lines(file, folder, depth + 1)
                    yield scope


def _glob(pattern: Path) -> Iterator[Path]:
    return Path("/").glob(str(pattern.relative_to("/")))
