"""tune: the host's limits of socket buffers, raised for as long as a task runs, with its owner's consent, and put back.

The old value is in the agent's journal before anything is changed, so it is put back also after a kill (``leave``).
"""

from __future__ import annotations

import select
from pathlib import Path
from typing import Any

from perfagent.jobs import Job

PROC_SYS = Path("/proc/sys")
LIMITS = ("net.core.rmem_max", "net.core.wmem_max")
"""What a program may ask for (``iperf3 -w``)."""
AUTOTUNED = ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")
"""Least, default, and the most to which TCP lets a buffer grow by itself."""
HIDDEN = "this network namespace does not show it: only the host outside of it can change it"


def socket_buffers(job: Job, *, size_bytes: int) -> dict[str, Any]:
    """Raise what is below ``size_bytes`` until asked to stop; never lowers anything, and never fails.

    ``{"settings": [{"name", "old", "new", "why"}]}``: ``new`` is None where it was not changed, ``why`` says why not.
    """
    done = [_raise(job, name, size_bytes) for name in (*LIMITS, *AUTOTUNED)]
    job.ready({"settings": done})
    select.select([job.stop_fd], [], [])
    for row in reversed(done):
        if row["new"] is not None:
            row["put_back"] = _put_back(row["name"], row["old"], row["new"])
    return {"settings": done}


def raised(old: str, size_bytes: int) -> str:
    """The value with its last number raised to ``size_bytes``; the same one where it is as large already."""
    *others, most = old.split()
    return " ".join([*others, str(max(int(most), size_bytes))])


def _raise(job: Job, name: str, size_bytes: int) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "old": None, "new": None, "why": ""}
    try:
        row["old"] = _read(name)
    except OSError:
        return {**row, "why": HIDDEN}
    new = raised(row["old"], size_bytes)
    if new == row["old"]:
        return {**row, "why": "it is as large already"}
    job.journal({"kind": "sysctl", "name": name, "old": row["old"]})
    try:
        _path(name).write_text(new + "\n", encoding="ascii")
    except OSError as error:
        return {**row, "why": f"it cannot be changed: {error.strerror}"}
    return {**row, "new": _read(name)}


def _put_back(name: str, old: str, new: str) -> bool:
    """Unless somebody else has set it meanwhile."""
    try:
        if _read(name) == new:
            _path(name).write_text(old + "\n", encoding="ascii")
        return _read(name) == old
    except OSError:
        return False


def _read(name: str) -> str:
    """Raises OSError."""
    return " ".join(_path(name).read_text(encoding="ascii").split())


def _path(name: str) -> Path:
    return PROC_SYS / name.replace(".", "/")
