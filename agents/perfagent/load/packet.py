"""What goes over the wire, little-endian, and how to read many at once. Pure.

    data, hello, end   token u64 · sender's clock i64 (ns, Unix) · number u64 · phase u32 · kind u32 · filling
    report             token u64 · sender's clock i64 · number u64 · 0 u32 · kind u32
                       · packets u64 · bytes u64 · highest number + 1 u64 · stamp of the last packet i64
                       · its delay i64 · its sender's clock i64 · how long ago it came i64

The number of a data packet counts from 0 through the whole session, so what is missing tells what was lost. A report's
figures are of all that came so far.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

HEADER = struct.Struct("<QqQII")
REPORT = struct.Struct("<QQQqqqq")
HEADER_BYTES = HEADER.size
REPORT_BYTES = HEADER.size + REPORT.size
SMALLEST, LARGEST = HEADER_BYTES, 65_487
"""UDP payload of a data packet."""

HELLO, DATA, END, REPORTING = 1, 2, 3, 4

# Where a batch of packets, HEADER_BYTES of each, has what: lanes of 8 and of 4 bytes.
TOKEN_AT, STAMP_AT, NUMBER_AT, LANES = 0, 1, 2, 4
PHASE_AT, KIND_AT, HALF_LANES = 6, 7, 8


class Report(NamedTuple):
    """What the receiver has seen so far; times in ns."""

    packets: int
    size_bytes: int
    """Of UDP payload."""
    highest: int
    """Number of the furthest packet + 1; 0 as long as none came."""
    stamp_ns: int
    """When the last packet came, receiver's clock."""
    delay_ns: int
    """That less the sender's stamp in it: the difference of the clocks is in it."""
    sent_ns: int
    """The sender's stamp in it."""
    ago_ns: int
    """Since it came."""


def token_of(key: bytes) -> int:
    """What both ends put into every packet; who does not know the key cannot guess it."""
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "little")


def control(token: int, kind: int, number: int, stamp_ns: int) -> bytes:
    """A packet without filling: hello, end."""
    return HEADER.pack(token, stamp_ns, number, 0, kind)


def report(token: int, number: int, stamp_ns: int, told: Report) -> bytes:
    return control(token, REPORTING, number, stamp_ns) + REPORT.pack(*told)


def kind_of(packet: bytes, token: int) -> int:
    """Which kind of ours it is; 0 for what is none of ours."""
    if len(packet) < HEADER_BYTES:
        return 0
    says, _, _, _, kind = HEADER.unpack_from(packet)
    return int(kind) if says == token else 0


def read_report(packet: bytes, token: int) -> Report | None:
    """None for anything else."""
    if len(packet) != REPORT_BYTES or kind_of(packet, token) != REPORTING:
        return None
    return Report(*REPORT.unpack_from(packet, HEADER_BYTES))
