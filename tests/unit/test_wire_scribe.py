"""What the wire tells is written beside it."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from perfharness.lab import scribe
from perfharness.lab.scribe import Scribe


def test_the_last_text_is_in_the_file_when_it_closes(tmp_path: Path) -> None:
    """And no draft is left beside it."""
    writer = Scribe(tmp_path / "truth.json")
    for text in ("first", "second"):
        writer.write(text)
    writer.close()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("truth.json", "second")]


def test_a_slow_disk_does_not_hold_the_writer_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are taken while an earlier one is still being written."""
    disk, written = Event(), []

    def write_text(_: Path, text: str) -> None:
        disk.wait(10)
        written.append(text)

    monkeypatch.setattr(scribe, "write_text", write_text)
    writer = Scribe(tmp_path / "truth.json")
    writer.write("first")
    writer.write("second")
    assert written == []
    disk.set()
    writer.close()
    assert written == ["first", "second"]


def test_a_full_disk_is_not_kept_silent(tmp_path: Path) -> None:
    """The next text is refused with what went wrong; closing still returns."""
    writer = Scribe(tmp_path / "no such folder" / "truth.json")
    writer.write("first")
    writer.close()
    with pytest.raises(FileNotFoundError):
        writer.write("second")
