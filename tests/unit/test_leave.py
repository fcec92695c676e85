"""How an agent's folder is removed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from perfagent import leave, wire


def test_the_marker_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed while it removes the many files of an agent leaves a folder that ``clean`` still knows."""
    folder = tmp_path / "perfharness-x"
    for part in ("agent", "jobs"):
        (folder / part / "deep").mkdir(parents=True)
    (folder / wire.MARKER).touch()
    left: list[set[str]] = []
    real = shutil.rmtree

    def rmtree(path: Path, **how: Any) -> None:
        left.append({entry.name for entry in folder.iterdir()})
        real(path, **how)

    monkeypatch.setattr(leave.shutil, "rmtree", rmtree)
    leave.leave(folder, ())
    assert left[-1] == {wire.MARKER}
    assert not folder.exists()
