"""The files in which a prober keeps its samples (``records``) while it runs, safe against its own death."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from perfagent.records import (
    HARDWARE,
    HEADER,
    HEADER_BYTES,
    KERNEL,
    RECORD,
    RECORD_BYTES,
    SOURCES12,
    SOURCES34,
    STAMP,
    T2,
    T3,
)
from perfagent.wire import Code, Fault

_READY_BYTES = 8_000_000
"""200,000 records: small enough for any host."""


class RecordsInPlace:
    """``sender.rec``: room for all records from the start, written through a mapping.

    What was written is in the kernel's hands at once, so that a killed prober loses nothing. Pages that are
    written out of memory again keep the process small on long streams.
    """

    def __init__(self, path: Path, count: int) -> None:
        """Raises Fault(TOOL_FAILED) when the disk cannot hold it."""
        size = HEADER_BYTES + count * RECORD_BYTES
        with path.open("w+b") as file:
            try:  # a disk that is full later would end us by SIGBUS
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                reason = f"no room for {size} bytes of samples: {error.strerror}"
                raise Fault(Code.TOOL_FAILED, reason) from error
            file.write(HEADER)
            file.flush()
            self.map = mmap.mmap(file.fileno(), size)
        for at in range(HEADER_BYTES, min(size, _READY_BYTES), mmap.PAGESIZE):
            self.map[at] = 0  # the first touch of a page costs what several packets at 10 kHz have
        self._released = 0
        self._path = path

    def trim(self, count: int) -> None:
        """Nothing comes after these first records: a stream that was stopped early leaves no room behind. The last call
        of all."""
        os.truncate(self._path, HEADER_BYTES + count * RECORD_BYTES)

    def release(self, seq: int) -> None:
        """Let go of the memory (not of the data) of all records before ``seq``."""
        end = (HEADER_BYTES + seq * RECORD_BYTES) // mmap.PAGESIZE * mmap.PAGESIZE
        if end > self._released:
            self.map.madvise(mmap.MADV_DONTNEED, self._released, end - self._released)
            self._released = end


class RecordsInOrder:
    """``reflector.rec``: written by the second half of a second.

    A record waits in memory for one period so that its transmit stamp can still be put in.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._file.write(HEADER)
        self._waiting = bytearray()
        self._first = 0
        self._ripe = 0

    def append(self, *fields: int) -> None:
        self._waiting += RECORD.pack(*fields)

    def set_t3(self, number: int, sent_ns: int) -> bool:
        """Put the transmit stamp of the kernel into the record of this number; False if it was written already."""
        at = (number - self._first) * RECORD_BYTES
        if not 0 <= at < len(self._waiting):
            return False
        self._waiting[at + SOURCES34] = KERNEL
        STAMP.pack_into(self._waiting, at + T3, sent_ns)
        return True

    def set_by_card(self, number: int, came_ns: int, left_ns: int, error_ns: int) -> bool:
        """Put the card's T2 and T3 into the record of this number; False if it was written already, or they do not lie
        around the kernel's, within ``error_ns``, as they must."""
        at = (number - self._first) * RECORD_BYTES
        if not 0 <= at < len(self._waiting):
            return False
        *_, t2_ns, t3_ns, _ = RECORD.unpack_from(self._waiting, at)
        if not (came_ns <= t2_ns + error_ns and t3_ns - error_ns <= left_ns):
            return False
        self._waiting[at + SOURCES12] = HARDWARE << 4
        self._waiting[at + SOURCES34] = HARDWARE
        STAMP.pack_into(self._waiting, at + T2, came_ns)
        STAMP.pack_into(self._waiting, at + T3, left_ns)
        return True

    def write_ripe(self) -> None:
        """Write what had waited when this was called last."""
        self._file.write(self._waiting[: self._ripe])
        del self._waiting[: self._ripe]
        self._first += self._ripe // RECORD_BYTES
        self._ripe = len(self._waiting)

    def close(self) -> None:
        self._file.write(self._waiting)
        self._file.close()
