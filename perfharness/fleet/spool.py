"""A job's files on their way home: an archive from another machine, so nothing in it is believed."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from perfharness.errors import EvidenceBroken

LIMIT_BYTES = 8 << 30
"""Of one job: a day of probes at 1 kHz takes 3.5 GB."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class SpoolFile(NamedTuple):
    """A file as the agent has it."""

    name: str
    size_bytes: int
    sha256: str


class Readable(Protocol):
    def read(self, size: int) -> bytes: ...


def expected(host: str, rows: Sequence[Any]) -> list[SpoolFile]:
    """The agent's answer to ``files``, with only plain names and a sane size. Raises EvidenceBroken."""
    try:
        files = [SpoolFile(str(row["name"]), int(row["size"]), str(row["sha256"])) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceBroken(f"{host}: its list of files cannot be understood.") from error
    for file in files:
        if not _NAME.fullmatch(file.name):
            raise EvidenceBroken(f"{host}: {file.name!r} is no name for a file.")
    if sum(file.size_bytes for file in files) > LIMIT_BYTES:
        raise EvidenceBroken(f"{host}: a job's files exceed {LIMIT_BYTES >> 30} GiB.")
    return files


def receive(host: str, stream: Readable, files: Sequence[SpoolFile], target: Path) -> None:
    """Unpack exactly these files into ``target``. Raises EvidenceBroken and leaves nothing half-written."""
    target.mkdir(parents=True, exist_ok=True)
    missing = {file.name: file for file in files}
    try:
        with tarfile.open(fileobj=stream, mode="r|gz") as archive:  # type: ignore[call-overload]  # it only reads
            for member in archive:
                file = missing.pop(member.name, None)
                if file is None or not member.isreg() or member.size != file.size_bytes:
                    raise EvidenceBroken(f"{host}: {member.name!r:.80} was not announced like this.")
                _write(host, archive.extractfile(member), file, target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise EvidenceBroken(f"{host}: a job's files arrived broken: {error}.") from error
    if missing:
        raise EvidenceBroken(f"{host}: {', '.join(sorted(missing))} did not arrive.")


def _write(host: str, content: Any, file: SpoolFile, target: Path) -> None:
    digest = sha256()
    partial = target / f"{file.name}.part"
    try:
        with partial.open("wb") as out:
            for block in iter(lambda: content.read(1 << 20), b""):
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != file.sha256:
            raise EvidenceBroken(f"{host}: {file.name} was altered on its way.")
        partial.replace(target / file.name)
    finally:
        partial.unlink(missing_ok=True)
