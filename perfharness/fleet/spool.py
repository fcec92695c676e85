"""The files of jobs on their way home: they come from another machine, so nothing about them is believed."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

from perfharness.errors import EvidenceBroken

LIMIT_BYTES = 8 << 30
"""Of one job: a day of probes at 1 kHz takes 3.5 GB."""

BLOCK_BYTES = 1 << 20
"""At most this much is unpacked at once, however well it was packed."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class SpoolFile(NamedTuple):
    """A file as the agent has it."""

    job: str
    name: str
    size_bytes: int
    sha256: str


class Readable(Protocol):
    def read(self, size: int) -> bytes: ...


def expected(host: str, line: bytes, jobs: Collection[str]) -> list[SpoolFile]:
    """The agent's listing of these jobs, with only plain names and a sane size. Raises EvidenceBroken."""
    try:
        files = [
            SpoolFile(str(row["job"]), str(row["name"]), int(row["size"]), str(row["sha256"]))
            for row in json.loads(line)
        ]
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EvidenceBroken(f"{host}: its list of files cannot be understood.") from error
    for file in files:
        if file.job not in jobs:
            raise EvidenceBroken(f"{host}: it sends files of {file.job!r:.80}, which nobody asked for.")
        if not _NAME.fullmatch(file.name) or file.size_bytes < 0:
            raise EvidenceBroken(f"{host}: {file.name!r:.80} is no name for a file, or its size is none.")
    if len({(file.job, file.name) for file in files}) < len(files):
        raise EvidenceBroken(f"{host}: its list of files names one twice.")
    if any(sum(file.size_bytes for file in files if file.job == job) > LIMIT_BYTES for job in jobs):
        raise EvidenceBroken(f"{host}: a job's files exceed {LIMIT_BYTES >> 30} GiB.")
    return files


def receive(host: str, stream: Readable, files: Sequence[SpoolFile], targets: Mapping[str, Path]) -> None:
    """Write exactly these files into their jobs' folders. Raises EvidenceBroken and leaves no file half-written."""
    for target in targets.values():
        target.mkdir(parents=True, exist_ok=True)
    contents = _Contents(stream)
    try:
        for file in files:
            _write(host, contents, file, targets[file.job])
        if contents.read(1):
            raise EvidenceBroken(f"{host}: more arrived than was announced.")
    except (zlib.error, EOFError) as error:
        raise EvidenceBroken(f"{host}: a job's files arrived broken: {error}.") from error
    except OSError as error:
        raise EvidenceBroken(f"{host}: a job's files cannot be kept here: {error}.") from error


class _Contents:
    """The unpacked stream."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._packed = b""
        self._unpacker = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        """1 to ``size`` bytes, b"" after the stream's own end mark. Raises EOFError, zlib.error."""
        while not self._unpacker.eof:
            data = self._unpacker.decompress(self._packed, size)
            self._packed = self._unpacker.unconsumed_tail
            if data:
                return data
            if not self._packed and not self._unpacker.eof:
                self._packed = self._stream.read(1 << 16)
                if not self._packed:
                    raise EOFError("the stream ended early")
        return b""


def _write(host: str, contents: _Contents, file: SpoolFile, target: Path) -> None:
    digest, left = sha256(), file.size_bytes
    partial = target / f".{file.name}"  # no file of an agent begins with a dot
    try:
        with partial.open("wb") as out:
            while left and (block := contents.read(min(left, BLOCK_BYTES))):
                digest.update(block)
                out.write(block)
                left -= len(block)
        if left or digest.hexdigest() != file.sha256:
            raise EvidenceBroken(f"{host}: {file.name} was altered on its way.")
        partial.replace(target / file.name)
    finally:
        partial.unlink(missing_ok=True)
