"""A job's folder: what is in it, and how it goes to the coordinator."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

SPEC = "spec.json"
"""What the worker asked for: ``result.json`` repeats it, so it stays here."""


def regular_files(folder: Path) -> list[Path]:
    """The plain files of a job's folder that say anything, by name; links and anything odd are left out."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    plain = [Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False)]
    return [path for path in plain if path.name != SPEC and path.stat().st_size]


def listing(folder: Path) -> list[dict[str, Any]]:
    """Name, size in bytes and SHA-256 of each file."""
    rows = []
    for path in regular_files(folder):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
        rows.append({"name": path.name, "size": path.stat().st_size, "sha256": digest.hexdigest()})
    return rows


def send(folder: Path, out: BinaryIO) -> None:
    """Write the files as a tar.gz stream; compressed lightly, since the host may be measuring again."""
    packed = gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1)
    with packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for path in regular_files(folder):
            archive.add(path, arcname=path.name, recursive=False)
