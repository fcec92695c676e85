"""What the agents' load left, checked as it is read: a host may be out of order, or not ours at all.

Every function raises ToolFailed with one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perfharness.analysis.statistics import Ints
from perfharness.errors import ToolFailed
from perfharness.evidence import TaskFiles
from perfharness.model import Job

FORMAT_VERSION = 1
MOST, MOST_COUNT = 1e15, 1 << 62
"""Of a rate and of a count or time: more is no reading of anything."""


def table(job: Job, files: TaskFiles, name: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The columns of a file of JSON arrays, one a line, all equally long; a line cut off by a crash is left out."""
    head, *lines = (files.bytes(job.endpoint, job.id, name) or b"").split(b"\n")[:-1] or [b""]
    try:
        about = json.loads(head or b"null")
        rows = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        raise damaged(job, name) from None
    if not isinstance(about, dict):
        raise ToolFailed(f"{job.endpoint} left no {name} of its load.")
    if about.get("format_version") != FORMAT_VERSION or about.get("columns") != list(columns):
        raise ToolFailed(f"{name} of {job.endpoint} has a format that this version does not read.")
    if any(not isinstance(row, list) or len(row) != len(columns) for row in rows):
        raise damaged(job, name)
    return list(zip(*rows, strict=True)) if rows else [() for _ in columns]


def ints(column: Sequence[Any], job: Job, name: str) -> Ints:
    """(n,) of whole numbers; a truth value is none."""
    if not set(map(type, column)) <= {int}:
        raise damaged(job, name)
    try:
        return np.array(column, np.int64)
    except OverflowError:
        raise damaged(job, name) from None


def rows(data: Mapping[str, Any], key: str, job: Job) -> list[Mapping[str, Any]]:
    """A list of objects in a result."""
    found = data.get(key)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise broken(job, key)
    return list(found)


def count(data: Mapping[str, Any], key: str, job: Job) -> int:
    """0 or more, and there."""
    found = optional(data, key, job)
    if found is None:
        raise broken(job, key)
    return found


def optional(data: Mapping[str, Any], key: str, job: Job) -> int | None:
    """0 or more; None where it is left out: absent is not zero."""
    found = data.get(key)
    if found is None:
        return None
    if type(found) is not int or not 0 <= found < MOST_COUNT:
        raise broken(job, key)
    return found


def number(data: Mapping[str, Any], key: str, job: Job) -> float:
    """Of either sign, and less than 1e15."""
    found: Any = data.get(key)
    if type(found) not in (int, float) or not abs(found) < MOST:
        raise broken(job, key)
    return float(found)


def broken(job: Job, key: str) -> ToolFailed:
    return ToolFailed(f"The result of the load on {job.endpoint} has no usable `{key}`.")


def damaged(job: Job, name: str) -> ToolFailed:
    return ToolFailed(f"{name} of {job.endpoint} is damaged.")
