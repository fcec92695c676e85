"""Remove whatever runs of this user have left on this host, live ones included; touch nothing else.

A folder is ours if it lies in a place for temporary files, is named ``perfharness-…``, is a real directory of
this user that nobody else can enter, and holds our marker.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from perfagent import wire
from perfagent.attach import open_channel
from perfagent.leave import leave
from perfagent.worker import peer_of

GOODBYE_S = 10.0
PREFIX = "perfharness-"
GONE = "it has just gone"


def clean(own: Path) -> dict[str, Any]:
    """``{"removed": [{"dir", "was": "live" | "dead"}], "kept": [{"dir", "why"}]}``; ``own`` is removed unsaid."""
    report: dict[str, Any] = {"removed": [], "kept": []}
    own = own.resolve()
    for folder in _candidates():
        why = _not_ours(folder)
        if folder == own or why == GONE:
            continue
        if why:
            report["kept"].append({"dir": str(folder), "why": why})
            continue
        was = "live" if _dismiss(folder) else "dead"
        leave(folder, ())
        report["removed"].append({"dir": str(folder), "was": was})
    if own.name.startswith(PREFIX) and not _not_ours(own):
        leave(own, ())
    return report


def _candidates() -> Iterator[Path]:
    places = dict.fromkeys(Path(place).resolve() for place in (os.environ.get("TMPDIR") or "/tmp", "/tmp", "/var/tmp"))
    for place in places:
        yield from sorted(place.glob(f"{PREFIX}*"))


def _not_ours(folder: Path) -> str:
    """Why this is not for us to remove; empty if it is. The sticky bit of /tmp keeps others from swapping it."""
    try:
        return _not_ours_by(folder, folder.lstat())
    except FileNotFoundError:  # its run has ended, or another `clean` was faster
        return GONE


def _not_ours_by(folder: Path, facts: os.stat_result) -> str:
    if not stat.S_ISDIR(facts.st_mode):
        return "it is no directory"
    if facts.st_uid != os.geteuid():
        return f"it belongs to uid {facts.st_uid}"
    if facts.st_mode & 0o077:
        return "others may enter it"
    names = [path.name for path in folder.iterdir()]
    if names and wire.MARKER not in names:
        return "it lacks our marker"
    return ""


def _dismiss(folder: Path) -> bool:
    """Have the worker of this folder leave; one that does not answer is killed. False if there was none."""
    with socket.socket(socket.AF_UNIX) as worker:
        worker.settimeout(GOODBYE_S)
        try:
            os.chdir(folder)  # a path may be too long for a socket's address
            worker.connect("sock")
        except OSError:
            return False
        finally:
            os.chdir("/")
        pid, _ = peer_of(worker)
        try:
            worker.sendall(wire.encode(wire.Request(1, "bye", {})))
            while worker.recv(1 << 16):
                pass
        except OSError:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return True


def answer(own: Path) -> int:
    """Clean, and say so on the channel; nobody may be listening any more."""
    report: dict[str, Any] = {}
    try:
        channel = open_channel()
        report = clean(own)
        os.write(channel, json.dumps(report).encode() + b"\n")
    except BrokenPipeError:
        if not report:
            clean(own)
    return 0
