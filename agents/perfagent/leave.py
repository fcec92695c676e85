"""Leaving a host: kill what runs, put back what was changed, remove the folder. Each step survives the others'
failures, and all of it may be done again by somebody else if we are killed half-way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

_TRIES, _PAUSE_S = 50, 0.02
"""For what a killed process still creates in the folder while it is on its way out."""


def leave(folder: Path, groups: Iterable[int]) -> None:
    """Remove every trace of the agent of this folder; ``groups`` are the process groups of its jobs."""
    for group in groups:
        kill_group(group)
    undo(folder / "journal.jsonl")
    for _ in range(_TRIES):
        for part in (folder / "agent", folder / "jobs", folder):  # the marker last: without it nobody would go on
            shutil.rmtree(part, ignore_errors=True)
        if not os.path.lexists(folder):
            return
        time.sleep(_PAUSE_S)


def kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # gone, or its number belongs to somebody else by now
        os.killpg(group, signal.SIGKILL)


def undo(journal: Path) -> None:
    """Put back every setting in the journal, the latest first, so that the oldest value is the one that stays."""
    try:
        lines = journal.read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # nothing was changed
    for line in reversed(lines):
        try:
            entry = json.loads(line)
            _UNDO[entry["kind"]](entry)
        except (OSError, ValueError, LookupError, TypeError) as error:
            print(f"could not put back {line!r}: {error}", file=sys.stderr)  # noqa: T201 - the agent's log


def _put_back_sysctl(entry: dict[str, Any]) -> None:
    name = str(entry["name"]).replace(".", "/")
    Path("/proc/sys", name).write_text(f"{entry['old']}\n", encoding="ascii")


_UNDO = {"sysctl": _put_back_sysctl}
