"""A router's password, from a file that only its owner may read: on no command line, in no order, in no evidence."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from perfharness.errors import HostUnusable

_LONGEST = 1024


def read(name: str, file: str | Path) -> str:
    """The one line of the file, for the router ``name``. Raises HostUnusable, which never quotes it."""
    path = Path(file).expanduser()
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            data = stream.read(_LONGEST + 1)
    except OSError as error:
        said = f"its password file {path} cannot be read: {error.strerror}."
        raise HostUnusable(name, said, "Correct `password_file:` under `ssh:` of the CE.") from None
    if mode & 0o077:
        said = f"others may read its password file {path} (mode {mode:04o})."
        raise HostUnusable(name, said, f"Run chmod 600 {path}, and change the password.")
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = []
    if len(lines) != 1 or not lines[0] or len(data) > _LONGEST:
        said = f"its password file {path} is not one line of text."
        raise HostUnusable(name, said, "Write the password and nothing else into it.")
    return lines[0]
