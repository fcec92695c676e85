"""Sample files of the run folder: packed once they are home, read chunk by chunk.

An agent writes 40 bytes a packet (``sender.rec``, ``reflector.rec``). The coordinator stores them as columns
(``sender.columns``, ``reflector.columns``, about 9 bytes a packet for both) before they are entered in the manifest,
with the SHA-256 of what the agent wrote: :func:`restored` gives back those very bytes. A packed file is::

    magic "PHCOLS" · version u16 · chunks (``analysis.columns``) · index, deflated JSON · size of the index u64

Its index says of each chunk where it is, how many packets it holds and the least sequence number among them. Chunk k
of a sender's file is the packets k·65,536 to (k+1)·65,536 - 1 of the schedule; in a reflector's log, which is in the
order of arrival, it begins with the first packet numbered so high.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from perfagent import records
from perfharness.analysis import columns
from perfharness.analysis.columns import CHUNK_ROWS, RECORD_DTYPE, Columns, Teller
from perfharness.errors import EvidenceBroken

MAGIC = b"PHCOLS"
HEAD = MAGIC + struct.pack("<H", columns.VERSION)
_SIZE = struct.Struct("<Q")
RAW, PACKED = ".rec", ".columns"
_SENDER, _LOG = "sender.rec", "reflector.rec"
_ALIKE = 0.5
"""A sender's file foretells a log if at least this share of the log's first chunk has its stamps of the replies."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a chunk is (bytes in a packed file, records in a raw one), and what is in it."""

    start: int
    size: int
    rows: int
    least_seq: int
    """Of its packets; of an empty chunk the largest there can be."""


class Recording(Protocol):
    """A sample file, packed or raw."""

    @property
    def index(self) -> Sequence[Chunk]: ...

    @property
    def whole(self) -> bool:
        """It ends with a whole record."""
        ...

    def chunk(self, number: int, sender: Columns | None = None) -> Columns:
        """The packets of a chunk; ``sender``: the same chunk of the sender's file, for a log that is told by it.

        Raises EvidenceBroken.
        """
        ...


class Raw:
    """A file of records as the agent wrote it."""

    def __init__(self, path: Path) -> None:
        """Raises EvidenceBroken for a file that holds no records."""
        self.path = path
        try:
            with path.open("rb") as file:
                self.count = records.count(file.read(records.HEADER_BYTES)) or _whole_records(path)
        except records.BrokenRecords as error:
            raise EvidenceBroken(f"{path.name} cannot be read: {error}.") from None
        except OSError as error:
            raise EvidenceBroken(f"{path} cannot be read: {error.strerror}.") from None
        self.whole = (path.stat().st_size - records.HEADER_BYTES) % records.RECORD_BYTES == 0
        self.index = _by_arrival(self) if path.name == _LOG else _by_place(self.count)

    def rows(self, start: int, size: int) -> columns.Records:
        offset = records.HEADER_BYTES + start * records.RECORD_BYTES
        return np.fromfile(self.path, RECORD_DTYPE, size, offset=offset)

    def chunk(self, number: int, sender: Columns | None = None) -> Columns:
        at = self.index[number]
        return columns.from_records(self.rows(at.start, at.size))


class Packed:
    """A file that :func:`pack` wrote."""

    def __init__(self, path: Path) -> None:
        """Raises EvidenceBroken for another file, another version, or a damaged one."""
        self.path = path
        try:
            with path.open("rb") as file:
                head = file.read(len(HEAD))
                if head != HEAD:
                    raise EvidenceBroken(f"{path.name} has a format that this version does not read.")
                end = file.seek(-_SIZE.size, os.SEEK_END)
                (size,) = _SIZE.unpack(file.read())
                file.seek(end - size)
                self.about: dict[str, Any] = json.loads(zlib.decompress(file.read(size)))
            self.index = tuple(Chunk(*row) for row in self.about["chunks"])
            self.told: str | None = self.about["told_by_sha256"]
            self.whole = not self.about["tail"]
        except (OSError, struct.error, zlib.error, ValueError, TypeError, LookupError) as error:
            raise EvidenceBroken(f"{path.name} cannot be read: {error}.") from None

    def chunk(self, number: int, sender: Columns | None = None) -> Columns:
        at = self.index[number]
        with self.path.open("rb") as file:
            file.seek(at.start)
            data = file.read(at.size)
        if self.told is not None and sender is None:
            raise EvidenceBroken(f"{self.path.name} can be read only beside the sender's file of the same stream.")
        return columns.unpack(data, Teller(sender, number * CHUNK_ROWS) if self.told and sender is not None else None)


def open_recording(path: Path) -> Recording | None:
    """The sample file of this name (without its ending), packed or raw; None when there is neither."""
    if (packed := path.with_suffix(PACKED)).exists():
        return Packed(packed)
    return Raw(raw) if (raw := path.with_suffix(RAW)).exists() else None


def pack_all(paths: Sequence[Path]) -> dict[Path, Path]:
    """Pack the senders' files and the reflectors' logs among these files of one task; raw → packed.

    What holds no records of this version, or would not come back bit for bit, stays as it is.
    """
    senders: list[tuple[Raw, str]] = []
    packed = {}
    for path in [path for name in (_SENDER, _LOG) for path in paths if path.name == name]:
        try:
            raw = Raw(path)
        except EvidenceBroken:
            continue
        digest = sha256_of(path)
        teller = None
        if path.name == _SENDER:
            senders.append((raw, digest))
        else:
            teller = next((each for each in senders if _tells(each[0], raw)), None)
        target = path.with_suffix(PACKED)
        try:
            if pack(raw, target, digest, teller):
                packed[path] = target
        except (OSError, EvidenceBroken):  # a full disk, say: the raw file is there and will do
            continue
    for path in packed:  # only now: a sender's file is read again for the log that it tells
        path.unlink()
    return packed


def pack(raw: Raw, target: Path, sha256: str, teller: tuple[Raw, str] | None) -> bool:
    """Write the packed file; False, and no file, if it would not give back the very bytes."""
    partial = target.with_name(f".{target.name}")
    header, tail = _ends(raw)
    restored = hashlib.sha256(header)
    chunks: list[Chunk] = []
    try:
        with partial.open("xb") as out:
            out.write(HEAD)
            for number, at in enumerate(raw.index):
                told = None
                if teller is not None:
                    told = Teller(teller[0].chunk(number), number * CHUNK_ROWS)
                data = columns.pack(raw.chunk(number), told)
                restored.update(columns.to_records(columns.unpack(data, told)).data)
                chunks.append(Chunk(out.tell(), len(data), at.rows, at.least_seq))
                out.write(data)
            restored.update(tail)
            about = {
                "sha256": sha256,
                "bytes": raw.path.stat().st_size,
                "header": header.hex(),
                "tail": tail.hex(),
                "told_by_sha256": teller[1] if teller else None,
                "chunks": [[chunk.start, chunk.size, chunk.rows, chunk.least_seq] for chunk in chunks],
            }
            index = zlib.compress(json.dumps(about, sort_keys=True).encode())
            out.write(index + _SIZE.pack(len(index)))
            out.flush()
            os.fsync(out.fileno())
        if restored.hexdigest() != sha256:
            return False
        partial.replace(target)
        return True
    finally:
        partial.unlink(missing_ok=True)


def restored(packed: Packed, sender: Recording | None = None) -> Iterator[bytes]:
    """The bytes that the agent wrote, piece by piece; ``sender``: the sender's file, for a log that is told by it.

    Raises EvidenceBroken, at the end, when they are not those whose SHA-256 was noted.
    """
    header, tail = bytes.fromhex(packed.about["header"]), bytes.fromhex(packed.about["tail"])
    digest = hashlib.sha256(header)
    yield header
    for number in range(len(packed.index)):
        told = sender.chunk(number) if packed.told is not None and sender is not None else None
        data = columns.to_records(packed.chunk(number, told)).tobytes()
        digest.update(data)
        yield data
    digest.update(tail)
    if digest.hexdigest() != packed.about["sha256"]:
        raise EvidenceBroken(f"{packed.path.name} does not give back what the agent wrote.")
    yield tail


def _by_place(count: int) -> tuple[Chunk, ...]:
    """The chunks of a sender's file."""
    starts = range(0, count, CHUNK_ROWS)
    return tuple(Chunk(start, rows := min(CHUNK_ROWS, count - start), rows, start) for start in starts)


def _by_arrival(raw: Raw) -> tuple[Chunk, ...]:
    """The chunks of a log, as wide as the sender's, however late a packet arrived."""
    starts: list[int] = [0]
    highest = 0
    for at in range(0, raw.count, CHUNK_ROWS):
        seq = raw.rows(at, CHUNK_ROWS)["seq"]
        reached = np.maximum.accumulate(seq).clip(min=highest) // CHUNK_ROWS
        highest = int(seq.max(initial=highest))
        for number in range(len(starts), int(reached[-1]) + 1):
            starts.append(at + int(np.searchsorted(reached, number)))
            if len(starts) > raw.count // CHUNK_ROWS + _MOST_EMPTY:
                raise EvidenceBroken(f"{raw.path.name} cannot be read: it numbers packets far beyond its length.")
    ends = [*starts[1:], raw.count]
    return tuple(_chunk(raw, start, end - start) for start, end in zip(starts, ends, strict=True))


_MOST_EMPTY = 1 << 16
"""A log may lack this many chunks; more were never sent."""


def _chunk(raw: Raw, start: int, size: int) -> Chunk:
    least = int(raw.rows(start, size)["seq"].min()) if size else 2**32 - 1
    return Chunk(start, size, size, least)


def _tells(sender: Raw, log: Raw) -> bool:
    """Whether the replies carried the stamps of this log; its every chunk needs one of the sender's."""
    if not log.count or len(log.index) > len(sender.index):
        return False
    told, rows = sender.chunk(0), log.chunk(0)
    if not len(rows):
        return False
    place = np.minimum(rows.seq, len(told) - 1)
    return bool((told.t2[place] == rows.t2).mean() >= _ALIKE)


def _ends(raw: Raw) -> tuple[bytes, bytes]:
    """The header of a file, and what a crash left of a record at its end."""
    with raw.path.open("rb") as file:
        header = file.read(records.HEADER_BYTES)
        file.seek(records.HEADER_BYTES + raw.count * records.RECORD_BYTES)
        return header, file.read()


def _whole_records(path: Path) -> int:
    return (path.stat().st_size - records.HEADER_BYTES) // records.RECORD_BYTES


def sha256_of(path: Path) -> str:
    """Of a file that may be larger than our memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
