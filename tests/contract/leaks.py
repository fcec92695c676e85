"""Where a secret can be seen that nobody should see."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path


def leaks(secret: bytes, *folders: Path) -> list[str]:
    """Files below these folders, and command lines and environments of this machine's processes, that hold it: as it
    is, or as hexadecimal digits, base64 or a Python or JSON literal would write it."""
    return [str(path) for path in (*_files(folders), *_of_processes()) if _holds(path, _forms(secret))]


def _forms(secret: bytes) -> list[bytes]:
    numbers = ", ".join(map(str, secret)).encode()
    text = [secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode(), numbers]
    return [secret, base64.b64encode(secret), base64.urlsafe_b64encode(secret), *text, numbers.replace(b" ", b"")]


def _files(folders: tuple[Path, ...]) -> Iterator[Path]:
    for folder in folders:
        found = [path for path in folder.rglob("*") if path.is_file()]
        assert found, f"{folder} is empty"
        yield from found


def _of_processes() -> Iterator[Path]:
    for process in Path("/proc").glob("[0-9]*"):
        yield from (process / "cmdline", process / "environ")


def _holds(path: Path, forms: list[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except OSError:  # it has just ended
        return False
    return any(form in content for form in forms)
