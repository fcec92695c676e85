"""perfagent.records: the file of 40-byte sample records."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfagent import records
from perfagent.records import BrokenRecords, Record

u8, u32 = st.integers(0, 2**8 - 1), st.integers(0, 2**32 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
any_record = st.builds(Record, u32, u8, u8, u8, u8, i64, i64, i64, i64)


@given(st.lists(any_record, max_size=20))
def test_round_trip(written: list[Record]) -> None:
    """Records are read as they were written."""
    data = records.HEADER + b"".join(records.RECORD.pack(*record) for record in written)
    assert list(records.read(data)) == written


@given(any_record)
def test_numpy_reads_the_same(record: Record) -> None:
    """The numpy fields describe the same bytes."""
    array = np.frombuffer(records.RECORD.pack(*record), dtype=records.DTYPE_FIELDS)
    assert array.dtype.itemsize == records.RECORD_BYTES
    assert tuple(array[0].item()) == record


def test_offsets_of_parts() -> None:
    """The parts written on their own lie where the whole record has them."""
    record = records.RECORD.pack(1, 0x42, 0x34, 0x0F, 63, 11, 22, 33, 44)
    assert (record[records.SOURCES12], record[records.SOURCES34], record[records.FLAGS]) == (0x42, 0x34, 0x0F)
    assert records.STAMP.unpack_from(record, records.T1) == (11,)
    assert records.STAMP.unpack_from(record, records.T3) == (33,)


def test_a_torn_last_record_is_not_read() -> None:
    """A file cut in the middle of a record yields the whole ones before it."""
    data = records.HEADER + records.RECORD.pack(*range(9)) + b"\1" * 39
    assert [record.seq for record in records.read(data)] == [0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a file of sample records"),
        (b"PHREX\0" + bytes(26), "not a file of sample records"),
        (records.HEADER[:31], "not a file of sample records"),
        (records.MAGIC + struct.pack("<HH22x", 2, 40), "version 2"),
        (records.MAGIC + struct.pack("<HH22x", 1, 48), "48 bytes"),
    ],
)
def test_unknown_files_are_refused(data: bytes, says: str) -> None:
    """An unknown file or version is refused with a sentence."""
    with pytest.raises(BrokenRecords, match=says):
        list(records.read(data))
