"""Sample records as columns, and columns as few bytes. Pure, and exact to the bit.

A packet's four stamps follow one another, and each packet its predecessor. So a stamp is kept as what it differs by
from one that foretells it: T1 from the packet before, T2 from T1, T3 from T2, T4 from T3; in the reflector's log T2
and T3 from the same stamps in the sender's file, to which the replies carried them (the *teller*). These differences
are laid out as planes, all lowest bytes first, and each plane is deflated where that helps. What is left is the noise
of five readings of a clock: 12 to 16 bits each.

A packed chunk, little-endian: packets u32, the array of sequence numbers, the planes of ``_FIELDS`` and of the marks
(bit k: stamp k is zero), the arrays of T1 to T4 without the zeros. An array: length u32, middle i64, base i64,
width u8, then its ``width`` planes. A plane: kind u8, size u32, bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from perfagent import records
from perfharness.errors import EvidenceBroken

CHUNK_ROWS = 1 << 16
"""Packets of a chunk: its columns fit a processor's cache, and hundreds of chunks cost no time by themselves."""
VERSION = 1
RECORD_DTYPE = np.dtype(records.DTYPE_FIELDS)

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Seqs = npt.NDArray[np.uint32]
Records = npt.NDArray[Any]

_FIELDS = ("sources12", "sources34", "flags", "ttl")
_STAMPS = ("t1", "t2", "t3", "t4")
_COUNT = struct.Struct("<I")
_ARRAY = struct.Struct("<IqqB")
_PLANE = struct.Struct("<BI")
_CONSTANT, _PLAIN, _DEFLATED = range(3)
_WORTH = 0.97
"""A plane is deflated if that leaves less than this of it: noise is not worth the time."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Records of ``perfagent.records``, a column each, (n,)."""

    seq: Seqs
    sources12: Bytes
    sources34: Bytes
    flags: Bytes
    ttl: Bytes
    t1: Ints
    t2: Ints
    t3: Ints
    t4: Ints

    def __len__(self) -> int:
        return len(self.seq)


@dataclass(frozen=True, slots=True)
class Teller:
    """Packets ``first``, ``first`` + 1, … of the sender's file, which foretell stamps of the reflector's."""

    columns: Columns
    first: int


def from_records(rows: Records) -> Columns:
    """Records as the agent wrote them, without copying."""
    return Columns(**{name: rows[name] for name in RECORD_DTYPE.names or ()})


def to_records(columns: Columns) -> Records:
    """As the agent wrote them: ``to_records(c).tobytes()``."""
    rows = np.empty(len(columns), RECORD_DTYPE)
    for name in RECORD_DTYPE.names or ():
        rows[name] = getattr(columns, name)
    return rows


def concatenated(parts: Iterable[Columns]) -> Columns:
    """One after another."""
    all_parts = [from_records(np.empty(0, RECORD_DTYPE)), *parts]
    return Columns(
        **{each.name: np.concatenate([getattr(part, each.name) for part in all_parts]) for each in fields(Columns)}
    )


def pack(columns: Columns, teller: Teller | None = None) -> bytes:
    """Few bytes from which :func:`unpack` makes the same columns, given the same ``teller``."""
    stamps = [np.ascontiguousarray(getattr(columns, name)) for name in _STAMPS]
    zero = [stamp == 0 for stamp in stamps]
    marks = sum((np.left_shift(mark, at, dtype=np.uint8) for at, mark in enumerate(zero)), np.zeros(len(columns), "u1"))
    parts = [_COUNT.pack(len(columns)), _pack_chain(columns.seq.astype(np.int64))]
    parts += [_pack_plane(np.ascontiguousarray(getattr(columns, name))) for name in _FIELDS]
    parts.append(_pack_plane(marks))
    before: Ints | None = None
    for at, stamp in enumerate(stamps):
        there = None if not zero[at].any() else ~zero[at]
        guess = _guess(at, before, columns.seq, teller)
        values = stamp if there is None else stamp[there]
        if guess is None:
            parts.append(_pack_chain(values))
        else:
            parts.append(_pack_middled(values - (guess if there is None else guess[there])))
        if len(values):
            before = _filled(stamp, there)
    return b"".join(parts)


def unpack(data: bytes, teller: Teller | None = None) -> Columns:
    """The columns of a chunk. Raises EvidenceBroken for bytes that :func:`pack` did not write."""
    try:
        reader = _Reader(memoryview(data))
        (count,) = reader.take(_COUNT)
        seq = reader.chain(count).astype(np.uint32)
        small = {name: reader.plane(count) for name in _FIELDS}
        marks = reader.plane(count)
        holes = bool(marks.any())
        stamps: list[Ints] = []
        before: Ints | None = None
        for at in range(len(_STAMPS)):
            there = (marks & (1 << at)) == 0 if holes else None
            present = count if there is None else int(there.sum())
            guess = _guess(at, before, seq, teller)
            if guess is None:
                values = reader.chain(present)
            else:
                values = reader.array(present)
                values += guess if there is None or present == count else guess[there]
            stamp = values
            if present < count:
                stamp = np.zeros(count, np.int64)
                stamp[there] = values
            stamps.append(stamp)
            if present:
                before = _filled(stamp, None if present == count else there)
    except (struct.error, zlib.error, ValueError, IndexError, OverflowError) as error:
        raise EvidenceBroken(f"A chunk of packed samples is damaged: {error}.") from None
    return Columns(seq, **small, **dict(zip(_STAMPS, stamps, strict=True)))  # type: ignore[arg-type]  # keys unknown to mypy


def _guess(at: int, before: Ints | None, seq: Seqs, teller: Teller | None) -> Ints | None:
    """What foretells stamp ``at`` of each packet: the teller's, or the stamp before it; None: the packet before."""
    if teller is not None and _STAMPS[at] in ("t2", "t3") and len(teller.columns):
        told: Ints = getattr(teller.columns, _STAMPS[at])
        there = told != 0
        if there.any():
            filled = told if there.all() else _filled(told, there)
            return np.take(filled, seq.astype(np.int64) - teller.first, mode="clip")
    return before


def _filled(stamp: Ints, there: npt.NDArray[np.bool_] | None) -> Ints:
    """The stamp, and where it is none the last one before it (the first one, if none is before)."""
    if there is None:
        return stamp
    holes = np.flatnonzero(~there)
    begins = np.flatnonzero(np.diff(holes, prepend=-2) != 1)
    before = np.repeat(holes[begins] - 1, np.diff(begins, append=len(holes)))
    before[before < 0] = there.argmax()
    filled = stamp.copy()
    filled[holes] = stamp[before]
    return filled


def _pack_chain(values: Ints) -> bytes:
    """Each value as what it differs by from the one before."""
    return _pack_middled(np.diff(values), int(values[0])) if len(values) else _pack_array(values, 0, 0)


def _pack_middled(values: Ints, base: int = 0) -> bytes:
    """Values that lie around one of them."""
    middle = int(np.partition(values, len(values) // 2)[len(values) // 2]) if len(values) else 0
    return _pack_array(values - middle, middle, base)


def _pack_array(values: Ints, middle: int, base: int) -> bytes:
    folded = ((values << 1) ^ (values >> 63)).view(np.uint64)  # small numbers of either sign become small ones
    width = (int(folded.max(initial=0)).bit_length() + 7) // 8
    planes = folded.view(np.uint8).reshape(-1, 8)
    parts = [_ARRAY.pack(len(values), middle, base, width)]
    parts += [_pack_plane(np.ascontiguousarray(planes[:, at])) for at in range(width)]
    return b"".join(parts)


def _pack_plane(plane: Bytes) -> bytes:
    kind, data = _PLAIN, plane.tobytes()
    if len(plane) and (plane == plane[0]).all():
        kind, data = _CONSTANT, data[:1]
    elif len(plane):
        packer = zlib.compressobj(6, zlib.DEFLATED, -15, 9, zlib.Z_RLE)  # noise has no repetitions to look for
        deflated = packer.compress(data) + packer.flush()
        if len(deflated) < _WORTH * len(data):
            kind, data = _DEFLATED, deflated
    return _PLANE.pack(kind, len(data)) + data


class _Reader:
    """The arrays of a chunk, one after another."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, what: struct.Struct) -> tuple[Any, ...]:
        found = what.unpack_from(self._data, self._at)
        self._at += what.size
        return found

    def array(self, expected: int) -> Ints:
        middle, _, width = self._head(expected)
        return self._values(expected, middle, width)

    def chain(self, expected: int) -> Ints:
        middle, base, width = self._head(max(0, expected - 1))
        if not expected:
            return np.empty(0, np.int64)
        if not width:
            return base + middle * np.arange(expected)
        values = np.empty(expected, np.int64)
        values[0], values[1:] = base, self._values(expected - 1, middle, width)
        return np.cumsum(values, out=values)

    def _head(self, expected: int) -> tuple[int, int, int]:
        """(middle, base, width)"""
        length, middle, base, width = self.take(_ARRAY)
        if length != expected or width > 8:
            raise ValueError(f"{length} values of {width} bytes where {expected} belong")
        return middle, base, width

    def _values(self, length: int, middle: int, width: int) -> Ints:
        if not width:
            return np.full(length, middle)
        size = 1 << (width - 1).bit_length()
        folded: npt.NDArray[Any] = np.zeros(length, f"<u{size}")  # as narrow as may be: less to move
        planes = folded.view(np.uint8).reshape(length, size)
        for at in range(width):
            planes[:, at] = self.plane(length)
        sign = -(folded & 1)
        folded >>= 1
        folded ^= sign
        values: Ints = folded.view(f"<i{size}") + np.int64(middle)
        return values

    def plane(self, length: int) -> Bytes:
        """(length,) one byte of each value. Raises ValueError or zlib.error for what is no plane of this length."""
        kind, size = self.take(_PLANE)
        data = self._data[self._at : self._at + size]
        self._at += size
        if kind == _CONSTANT:
            return np.full(length, data[0], np.uint8)
        if kind == _DEFLATED:
            unpacker = zlib.decompressobj(-15)
            plane = np.frombuffer(unpacker.decompress(data, length), np.uint8)
        elif kind == _PLAIN:
            plane = np.frombuffer(data, np.uint8)
        else:
            raise ValueError(f"a plane of kind {kind}")
        if len(plane) != length:
            raise ValueError(f"a plane of {len(plane)} bytes where {length} belong")
        return plane
