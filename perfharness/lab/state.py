"""What the lab has made on this machine: noted before it is made, so that all of it can be unmade.

The folder is also the lock: two commands that change the lab never run at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perfharness.errors import LabFault
from perfharness.lab.processes import Process

FOLDER = Path("/run/perfharness-lab")
FORMAT_VERSION = 2
PATIENCE_S = 20.0


@dataclass(slots=True)
class State:
    """``recipe`` is what was asked for: the lab is left alone when the same is asked again."""

    recipe: dict[str, Any]
    since: str = ""
    ready: bool = False
    namespaces: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    """``Wish`` as JSON, in the order in which they began."""
    built: dict[str, str] = field(default_factory=dict)
    """How each circuit is played now, by its letter; see ``score.MODES``."""
    cleared: dict[str, int] = field(default_factory=dict)
    """Packets that faults which are over dropped on the circuits: circuit/direction/fault; see ``account``."""

    def save(self) -> None:
        write_json(FOLDER / "state.json", {"format_version": FORMAT_VERSION, **asdict(self)})

    def add_namespace(self, name: str) -> None:
        self.namespaces.append(name)
        self.save()

    def add_folder(self, path: str) -> None:
        self.folders.append(path)
        self.save()

    def add_fault(self, wish: dict[str, Any]) -> None:
        self.faults.append(wish)
        self.save()

    def add_process(self, process: Process) -> None:
        self.processes.append(process)
        self.save()


def load() -> State | None:
    """Raises LabFault for a state of another format version."""
    try:
        data = json.loads((FOLDER / "state.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    version = data.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise LabFault(
            f"{FOLDER}/state.json has format version {version}, not {FORMAT_VERSION}.",
            "Take the lab down with the version of perfharness that brought it up.",
        )
    data["processes"] = [Process(**process) for process in data["processes"]]
    return State(**data)


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=1))


def write_text(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, never half of it."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


@contextmanager
def locked() -> Iterator[None]:
    """The lab is ours for the length of the block; makes the folder. Raises LabFault if another keeps it."""
    handle = _lock()
    try:
        yield
    finally:
        os.close(handle)


def empty() -> None:
    """Remove what is in the folder but keep it, and with it the lock."""
    for path in FOLDER.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def forget() -> None:
    """Remove the folder: the last act of a command that leaves no lab."""
    shutil.rmtree(FOLDER)


def _lock() -> int:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            handle = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            if _lock_now(handle):
                return handle
            os.close(handle)
        time.sleep(0.02)
    raise LabFault("Another lab command is at work.", "Wait for it to end, then try again.")


def _lock_now(handle: int) -> bool:
    """Whether the folder is locked, and is still the one under that name."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), FOLDER.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
