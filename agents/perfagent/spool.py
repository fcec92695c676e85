"""Jobs' folders: what is in them, and how it goes to the coordinator."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
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
        digest, size = hashlib.sha256(), 0
        for block in _blocks(path):
            digest.update(block)
            size += len(block)
        rows.append({"name": path.name, "size": size, "sha256": digest.hexdigest()})
    return rows


def send(folder: Path, jobs: Sequence[str], out: BinaryIO) -> None:
    """Write the listing of these jobs as a line of JSON, then the contents in its order as one zlib stream.

    Names and sizes are said only there, so the receiver has no archive to unpack. Compressed lightly, since the
    host may be measuring again.
    """
    rows = [{"job": job, **row} for job in jobs for row in listing(folder / job)]
    out.write(json.dumps(rows).encode("ascii") + b"\n")
    packer = zlib.compressobj(1)
    for row in rows:
        for block in _blocks(folder / row["job"] / row["name"]):
            out.write(packer.compress(block))
    out.write(packer.flush())


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(1 << 20), b"")
