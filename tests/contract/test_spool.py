"""A job's files come from another machine: nothing about them is believed."""

from __future__ import annotations

import io
import json
import tracemalloc
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfagent import spool as sender
from perfharness.errors import EvidenceBroken
from perfharness.fleet import spool

CONTENT = b"evidence"
ANNOUNCED = spool.SpoolFile("job", "a.json", len(CONTENT), sha256(CONTENT).hexdigest())


def packed(content: bytes) -> io.BytesIO:
    return io.BytesIO(zlib.compress(content))


def line(*rows: Any) -> bytes:
    return json.dumps(rows).encode()


def test_what_the_agent_sends_arrives(tmp_path: Path) -> None:
    """Both ends together: every plain file that says anything, as it is; links and empty files stay."""
    (job := tmp_path / "job").mkdir()
    contents = {"a.json": CONTENT, "b.rec": bytes(range(256)) * 9000, "spec.json": b"{}", "empty": b""}
    for name, content in contents.items():
        (job / name).write_bytes(content)
    (job / "link").symlink_to("/etc/passwd")
    sender.send(tmp_path, ["job"], out := io.BytesIO())
    announced, _, sent = out.getvalue().partition(b"\n")
    spool.receive("h", io.BytesIO(sent), spool.expected("h", announced, ["job"]), {"job": tmp_path / "in"})
    arrived = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    assert arrived == {name: contents[name] for name in ("a.json", "b.rec")}


def test_files_of_several_jobs_come_together(tmp_path: Path) -> None:
    """One listing and one stream for all, and each file lies in the folder of its job."""
    for job in ("a", "b"):
        (tmp_path / job).mkdir()
        (tmp_path / job / "result.json").write_text(job)
    sender.send(tmp_path, ["a", "b"], out := io.BytesIO())
    announced, _, sent = out.getvalue().partition(b"\n")
    files = spool.expected("h", announced, ["a", "b"])
    spool.receive("h", io.BytesIO(sent), files, {job: tmp_path / "in" / job for job in ("a", "b")})
    assert [(tmp_path / "in" / job / "result.json").read_text() for job in ("a", "b")] == ["a", "b"]


def test_files_that_nobody_asked_for_are_refused() -> None:
    """A job that is not among those fetched has no folder here."""
    with pytest.raises(EvidenceBroken, match="nobody asked"):
        spool.expected("h", line({"job": "../x", "name": "a", "size": 1, "sha256": ""}), ["job"])


@pytest.mark.parametrize(
    "sent",
    [
        packed(CONTENT[:-1]),
        packed(CONTENT + b"!"),
        packed(b"EVIDENCE"),
        packed(b""),
        io.BytesIO(zlib.compress(CONTENT)[:-1]),
        io.BytesIO(b""),
    ],
    ids=["short", "long", "altered", "nothing", "cut", "empty"],
)
def test_anything_else_is_refused(tmp_path: Path, sent: io.BytesIO) -> None:
    """Another size or content, or a stream without its end, is broken evidence, and no file is half-written."""
    with pytest.raises(EvidenceBroken):
        spool.receive("h", sent, [ANNOUNCED], {"job": tmp_path / "in"})
    assert {path.name for path in (tmp_path / "in").iterdir()} <= {"a.json"}


def test_a_bomb_does_not_go_off(tmp_path: Path) -> None:
    """A stream that unpacks to far more than was announced is unpacked no further, and never into memory."""
    bomb = packed(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(EvidenceBroken):
            spool.receive("h", bomb, [ANNOUNCED._replace(size_bytes=32 << 20)], {"job": tmp_path / "in"})
        assert tracemalloc.get_traced_memory()[1] < 8 * spool.BLOCK_BYTES
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_broken_evidence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever arrives, it is EvidenceBroken and nothing else."""
    with pytest.raises(EvidenceBroken):
        spool.receive("h", io.BytesIO(data), [ANNOUNCED], {"job": tmp_path_factory.getbasetemp() / "bytes"})
    with pytest.raises(EvidenceBroken):
        spool.expected("h", b"x" + data, ["job"])


@pytest.mark.parametrize("name", ["../x", "/x", "", ".", "a/b", ".hidden", "x\n"])
def test_names_are_plain(name: str) -> None:
    """A name that could lead out of the folder is refused before anything is written."""
    with pytest.raises(EvidenceBroken):
        spool.expected("h", line({"job": "job", "name": name, "size": 1, "sha256": ""}), ["job"])


def test_a_flood_is_refused() -> None:
    """More than the limit is not fetched, and no size or name can hide it."""
    row = {"job": "job", "name": "a", "size": spool.LIMIT_BYTES + 1, "sha256": ""}
    with pytest.raises(EvidenceBroken, match="8 GiB"):
        spool.expected("h", line(row), ["job"])
    with pytest.raises(EvidenceBroken, match="size is none"):
        spool.expected("h", line(row, {**row, "name": "b", "size": -spool.LIMIT_BYTES}), ["job"])
    with pytest.raises(EvidenceBroken, match="twice"):
        spool.expected("h", line({**row, "size": 1}, {**row, "size": 1}), ["job"])


@pytest.mark.parametrize("said", [b"", b"null", b"7", b"[7]", b'{"a": 1}', b'[{"name": "a"}]', b"[" * 100_000])
def test_a_listing_of_another_shape_is_refused(said: bytes) -> None:
    """Wrong types are broken evidence, not a crash."""
    with pytest.raises(EvidenceBroken):
        spool.expected("h", said, ["job"])
