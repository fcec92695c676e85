"""The run folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfharness import evidence
from perfharness.errors import EvidenceBroken

ABOUT = {"circuit": "c", "scenario": "s", "started": "2026-01-01T00:00:00.000Z", "version": "0"}


@pytest.fixture
def folder(tmp_path: Path) -> evidence.RunFolder:
    return evidence.create(tmp_path, "c", "r1", ABOUT)


def test_every_written_file_is_in_the_manifest_with_its_hash(folder: evidence.RunFolder) -> None:
    """A file that was written is found intact by its manifest entry."""
    folder.write("raw/t/a.job/x.txt", b"hello", task="t", host="a")
    assert [entry.path for entry in folder.manifest()] == ["run.json", "raw/t/a.job/x.txt"]
    assert folder.verify() == []


def test_a_change_or_a_removal_is_named(folder: evidence.RunFolder) -> None:
    """Evidence that was altered or removed afterwards is named by its path."""
    folder.write("one", b"1")
    folder.write("two", b"2")
    (folder.path / "one").write_bytes(b"!")
    (folder.path / "two").unlink()
    assert folder.verify() == ["one was changed after it was written.", "two is missing."]


def test_nothing_is_overwritten(folder: evidence.RunFolder) -> None:
    """Evidence is written once."""
    folder.write("one", b"1")
    with pytest.raises(EvidenceBroken, match="exists already"):
        folder.write("one", b"2")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "raw/../../x"])
def test_no_path_leads_out_of_the_folder(folder: evidence.RunFolder, path: str) -> None:
    """A path in a manifest or from an agent cannot reach beyond the run."""
    with pytest.raises(EvidenceBroken, match="points out"):
        folder.read(path)


def test_another_format_version_is_refused(folder: evidence.RunFolder) -> None:
    """A run of an unknown format is refused with a sentence that names both versions."""
    about = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps({**about, "format_version": 99}))
    with pytest.raises(EvidenceBroken, match="format 99; this version reads format 1"):
        evidence.open_run(folder.path)


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    """Any other folder, or none at all, is refused with a sentence."""
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(EvidenceBroken, match=r"has no run\.json"):
            evidence.open_run(path)


def test_a_manifest_cut_off_by_a_crash_is_readable(folder: evidence.RunFolder) -> None:
    """The last line of a manifest may be torn: the entries before it hold."""
    folder.write("one", b"1")
    manifest = folder.path / evidence.MANIFEST
    manifest.write_bytes(manifest.read_bytes() + b'{"path": "tw')
    assert [entry.path for entry in folder.manifest()] == ["run.json", "one"]
