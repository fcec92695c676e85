"""Sample files: packed, restored to the bit, and read piece by piece."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfagent import records
from perfharness import recording
from perfharness.analysis import columns
from perfharness.analysis.columns import RECORD_DTYPE
from perfharness.analysis.samples import join
from perfharness.errors import EvidenceBroken
from perfharness.measurements.pieces import open_pieces
from tests.unit.probe_stream import Packet, files


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 64 packets, so that a short stream has many."""
    monkeypatch.setattr(recording, "CHUNK_ROWS", 64)
    monkeypatch.setattr("perfharness.measurements.pieces.CHUNK_ROWS", 64)


def noisy(count: int, seed: int = 1) -> list[Packet]:
    """Jitter, loss both ways, silence, unsent packets, and packets that overtake each other by up to 30 places."""
    random = np.random.default_rng(seed)
    return [
        Packet(
            seq,
            forward_ns=None if random.random() < 0.03 else int(1e7 + random.exponential(6e6)),
            backward_ns=None if random.random() < 0.03 else int(1e7 + random.exponential(2e4)),
            sent=random.random() > 0.02,
            answered=random.random() > 0.01,
            late=random.random() < 0.01,
        )
        for seq in range(count)
    ]


def store(
    folder: Path, packets: list[Packet], tail: bytes = b"", told: bool = True
) -> tuple[bytes, bytes, dict[str, Any]]:
    """``told``: the replies carried the log's own T2, as an agent's do."""
    sender, log, result = files(packets)
    rows = np.frombuffer(sender, RECORD_DTYPE, offset=records.HEADER_BYTES).copy()
    rows["t2"][rows["t2"] != 0] -= 7_000 * told
    sender = records.HEADER + rows.tobytes()
    (folder / "sender.rec").write_bytes(sender)
    (folder / "reflector.rec").write_bytes(log + tail)
    return sender, log + tail, result


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("tail", [b"", b"\x01" * 17], ids=["whole", "torn by a crash"])
def test_the_agents_bytes_come_back_exactly(tmp_path: Path, tail: bytes, told: bool) -> None:
    """What was packed is restored to the bit, and its hash is the one of the agent's file."""
    sender, log, _ = store(tmp_path, noisy(1000), tail, told)
    packed = recording.pack_all(sorted(tmp_path.iterdir()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reflector.columns", "sender.columns"]
    assert set(packed.values()) == set(tmp_path.iterdir())
    mine, his = (recording.Packed(tmp_path / f"{name}.columns") for name in ("sender", "reflector"))
    assert (his.told is not None) == told
    assert b"".join(recording.restored(mine)) == sender
    assert b"".join(recording.restored(his, mine)) == log
    assert his.about["sha256"] == hashlib.sha256(log).hexdigest()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("packed", [False, True], ids=["raw", "packed"])
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("tail", [b"", b"\x01" * 17], ids=["whole", "torn"])
def test_pieces_together_are_the_whole(tmp_path: Path, packed: bool, tail: bytes, told: bool) -> None:
    """Joined piece by piece, from raw or packed files, the samples are those of both files joined at once."""
    sender, log, result = store(tmp_path, noisy(1000), tail, told)
    expected = join(sender, log, result)
    if packed:
        recording.pack_all(sorted(tmp_path.iterdir()))
    mine, his = (recording.open_recording(tmp_path / name) for name in ("sender", "reflector"))
    assert mine is not None and len(mine.index) == 16
    found = open_pieces(mine, his, result, True).whole()
    for name in expected.__slots__:
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def test_a_log_whose_stamps_no_reply_carried_is_packed_by_itself(tmp_path: Path) -> None:
    """A log can be read alone unless the sender's file tells its stamps; then it says so."""
    _, log, _ = store(tmp_path, noisy(200))
    recording.pack_all([tmp_path / "reflector.rec"])
    his = recording.Packed(tmp_path / "reflector.columns")
    assert his.told is None and b"".join(recording.restored(his)) == log
    sender = np.zeros(100, RECORD_DTYPE)
    sender["seq"], sender["t2"], sender["flags"] = np.arange(100), 10**18 + np.arange(100), records.SENT
    told = tmp_path / "told"
    told.mkdir()
    (told / "sender.rec").write_bytes(records.HEADER + sender.tobytes())
    (told / "reflector.rec").write_bytes(records.HEADER + sender.tobytes())
    recording.pack_all(sorted(told.iterdir()))
    with pytest.raises(EvidenceBroken, match="only beside the sender's file"):
        recording.Packed(told / "reflector.columns").chunk(0)


@pytest.mark.parametrize(
    "data", [b"", b"not records at all, but long enough for a header", b"PHREC\0\x09\x00" + b"\0" * 24]
)
def test_what_is_no_sample_file_stays_as_it_is(tmp_path: Path, data: bytes) -> None:
    """A file of another kind or version is evidence too: untouched."""
    (tmp_path / "sender.rec").write_bytes(data)
    assert recording.pack_all([tmp_path / "sender.rec"]) == {}
    assert (tmp_path / "sender.rec").read_bytes() == data
    with pytest.raises(EvidenceBroken, match="cannot be read"):
        recording.open_recording(tmp_path / "sender")


def test_any_bytes_in_records_survive() -> None:
    """Packing is lossless whatever the fields hold, extremes of all integers included."""
    random = np.random.default_rng(3)
    for count in (0, 1, 2, 500):
        rows = np.frombuffer(random.bytes(count * RECORD_DTYPE.itemsize), RECORD_DTYPE).copy()
        rows["t3"][::3] = 0
        teller = columns.Teller(columns.from_records(rows), 0)
        for told in (None, teller):
            data = columns.pack(columns.from_records(rows), told)
            assert columns.to_records(columns.unpack(data, told)).tobytes() == rows.tobytes()


def test_a_damaged_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """Flipped or missing bytes give EvidenceBroken or other samples, never another exception."""
    store(tmp_path, noisy(300))
    recording.pack_all(sorted(tmp_path.iterdir()))
    path = tmp_path / "sender.columns"
    data = path.read_bytes()
    random = np.random.default_rng(5)
    for _ in range(300):
        broken = bytearray(data)
        broken[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        path.write_bytes(bytes(broken[: int(random.integers(len(data)))] if random.random() < 0.2 else broken))
        with suppress(EvidenceBroken):
            recording.Packed(path).chunk(0)
    path.write_bytes(b"PHCOLS\x63\x00" + data[8:])
    with pytest.raises(EvidenceBroken, match="a format that this version does not read"):
        recording.Packed(path)


def test_both_ends_take_less_than_ten_bytes_a_packet(tmp_path: Path) -> None:
    """A stream with microseconds of noise in every stamp takes at most 10 bytes a packet, both files together."""
    random = np.random.default_rng(9)
    count = 20_000
    packets = [
        Packet(seq, 10_000_000 + int(jitter[0]), 12_000_000 + int(jitter[1]), 10_000 + int(jitter[2]))
        for seq, jitter in enumerate(random.exponential(5_000, (count, 3)))
    ]
    store(tmp_path, packets)
    packed = recording.pack_all(sorted(tmp_path.iterdir()))
    assert len(packed) == 2
    assert sum(path.stat().st_size for path in packed.values()) <= 10 * count


def test_the_index_is_plain(tmp_path: Path) -> None:
    """The index names rows, bytes and hash of what was packed, in JSON."""
    sender, *_ = store(tmp_path, noisy(100))
    recording.pack_all(sorted(tmp_path.iterdir()))
    about = recording.Packed(tmp_path / "sender.columns").about
    assert json.loads(json.dumps(about)) == about
    assert (about["bytes"], [row[2] for row in about["chunks"]]) == (len(sender), [100])
