"""Sample records: what a prober writes for each packet, 40 bytes each, little-endian. Pure.

A file is a 32-byte header and then records:

    header  magic "PHREC\\0" · version u16 · record bytes u16 · 22 zero bytes
    record  seq u32 · sources of T1 (low nibble) and T2 u8 · of T3 and T4 u8 · flags u8 · ttl u8
            T1 i64 · T2 i64 · T3 i64 · T4 i64

T1 sender transmit, T2 reflector receive, T3 reflector transmit, T4 sender receive, in ns since the Unix
epoch. A stamp whose source is ABSENT was not taken: its field is 0 and means nothing. ``ttl`` is the TTL or
hop limit with which the packet reached the writer of the file, 0 if it did not or could not be told.

``sender.rec`` holds the records 0..count-1 in the order of the schedule, all zero for what was not sent;
``reflector.rec`` and ``duplicates.rec`` hold a record for each packet received, in the order of arrival.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = b"PHREC\0"
VERSION = 1
HEADER_BYTES = 32
RECORD_BYTES = 40

SENT, REPLIED, LATE, SEND_ERROR = 1, 2, 4, 8
"""Flags. LATE: the reply came later than the waiting time, so the packet counts as lost."""

ABSENT, USER, KERNEL, HARDWARE, REMOTE = range(5)
"""Sources of a stamp. REMOTE: carried in the reply, its quality said only by the reply's error estimate."""

DTYPE_FIELDS = [
    ("seq", "<u4"),
    ("sources12", "u1"),
    ("sources34", "u1"),
    ("flags", "u1"),
    ("ttl", "u1"),
    ("t1", "<i8"),
    ("t2", "<i8"),
    ("t3", "<i8"),
    ("t4", "<i8"),
]
"""A record as the fields of a numpy dtype."""

RECORD = struct.Struct("<IBBBB4q")
STAMP = struct.Struct("<q")
HEADER = struct.pack("<6sHH22x", MAGIC, VERSION, RECORD_BYTES)

# Where the parts lie that are written on their own once the rest of a record is there.
SOURCES12, SOURCES34, FLAGS, T1, T2, T3, T4 = 4, 5, 6, 8, 16, 24, 32


class BrokenRecords(ValueError):
    """The bytes are not a file of records that this version can read."""


class Record(NamedTuple):
    seq: int
    sources12: int
    sources34: int
    flags: int
    ttl: int
    t1: int
    t2: int
    t3: int
    t4: int


def count(data: bytes) -> int:
    """Number of whole records in a file; a torn last one is not counted. Raises BrokenRecords."""
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        raise BrokenRecords("this is not a file of sample records")
    version, size = struct.unpack_from("<HH", data, len(MAGIC))
    if (version, size) != (VERSION, RECORD_BYTES):
        raise BrokenRecords(f"sample records of version {version} with {size} bytes each cannot be read here")
    return (len(data) - HEADER_BYTES) // RECORD_BYTES


def read(data: bytes) -> Iterator[Record]:
    """The records of a file, one by one. Raises BrokenRecords."""
    end = HEADER_BYTES + count(data) * RECORD_BYTES
    return (Record(*fields) for fields in RECORD.iter_unpack(data[HEADER_BYTES:end]))
