"""A job's files come from another machine: nothing in the archive is believed."""

from __future__ import annotations

import io
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfharness.errors import EvidenceBroken
from perfharness.fleet import spool

CONTENT = b"evidence"
ANNOUNCED = spool.SpoolFile("a.json", len(CONTENT), sha256(CONTENT).hexdigest())


def archive(*members: tuple[str, bytes, bytes]) -> io.BytesIO:
    """A tar.gz of (name, content, type)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(content))
    return io.BytesIO(out.getvalue())


def test_announced_files_arrive(tmp_path: Path) -> None:
    """Exactly what was announced is written."""
    spool.receive("h", archive(("a.json", CONTENT, tarfile.REGTYPE)), [ANNOUNCED], tmp_path / "new")
    assert (tmp_path / "new" / "a.json").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "members",
    [
        [("../a.json", CONTENT, tarfile.REGTYPE)],
        [("/tmp/a.json", CONTENT, tarfile.REGTYPE)],
        [("a.json", CONTENT, tarfile.SYMTYPE)],
        [("a.json", CONTENT, tarfile.LNKTYPE)],
        [("a.json", CONTENT, tarfile.FIFOTYPE)],
        [("a.json", CONTENT + b"!", tarfile.REGTYPE)],
        [("a.json", b"EVIDENCE", tarfile.REGTYPE)],
        [("a.json", CONTENT, tarfile.REGTYPE), ("b.json", CONTENT, tarfile.REGTYPE)],
        [("a.json", CONTENT, tarfile.REGTYPE), ("a.json", CONTENT, tarfile.REGTYPE)],
        [],
    ],
)
def test_anything_else_is_refused(tmp_path: Path, members: list[tuple[str, bytes, bytes]]) -> None:
    """Another path, kind, size, content or number of files is broken evidence, and nothing lands elsewhere."""
    with pytest.raises(EvidenceBroken):
        spool.receive("h", archive(*members), [ANNOUNCED], tmp_path / "in")
    assert {path.name for path in tmp_path.rglob("*")} <= {"in", "a.json"}


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_broken_evidence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever arrives, it is EvidenceBroken and nothing else."""
    with pytest.raises(EvidenceBroken):
        spool.receive("h", io.BytesIO(data), [ANNOUNCED], tmp_path_factory.getbasetemp() / "bytes")


@pytest.mark.parametrize("name", ["../x", "/x", "", ".", "a/b", ".hidden", "x\n"])
def test_names_are_plain(name: str) -> None:
    """A name that could lead out of the folder is refused before anything is fetched."""
    with pytest.raises(EvidenceBroken):
        spool.expected("h", [{"name": name, "size": 1, "sha256": ""}])


def test_a_flood_is_refused() -> None:
    """More than the limit is not fetched."""
    with pytest.raises(EvidenceBroken, match="8 GiB"):
        spool.expected("h", [{"name": "a", "size": spool.LIMIT_BYTES + 1, "sha256": ""}])
