"""Rows of figures as a person can read them: a line that names the columns, then a JSON array a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

FORMAT_VERSION = 1


class Rows:
    """Use as a context; kept in memory and written once a second or so, never while packets wait."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._file = path.open("w", encoding="utf-8", buffering=1 << 16)
        self._file.write(json.dumps({"format_version": FORMAT_VERSION, "columns": list(columns)}) + "\n")

    def add(self, *values: int | None) -> None:
        self._file.write(json.dumps(values) + "\n")

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
