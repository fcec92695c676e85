"""Programs of the host that are asked for facts: found, run with a deadline, never through a shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Not on the path of an SSH session that is no login."""


class Answer(NamedTuple):
    exit_code: int
    text: str
    """Standard output and standard error in the C locale."""


def find(program: str, mode: int = os.F_OK | os.X_OK) -> str | None:
    """The full path of a program given by name or path; ``None`` when there is none that can be run."""
    return shutil.which(program, mode, f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_FOLDERS}")


def ask(argv: Sequence[str], timeout_s: float = 3.0) -> Answer | None:
    """What the program says; ``None`` when it is not there, cannot start or does not end in time."""
    path = find(argv[0])
    if path is None:
        return None
    try:
        process = subprocess.Popen(
            [path, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError:
        return None
    with process:
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()  # and no waiting for the end of its output, which a child of its own may hold open
            return None
    return Answer(process.returncode, said.decode(errors="replace"))
