"""Network namespaces by name: make, enter, find who lives in them, remove."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = Path("/run/netns")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def exists(name: str) -> bool:
    return (FOLDER / name).exists()


def create(name: str) -> None:
    from pyroute2 import netns  # slow to import, and only building needs it

    netns.create(name)


def remove(name: str) -> None:
    """Takes the name away; the kernel destroys the namespace when its last process has gone."""
    from pyroute2 import netns

    with suppress(FileNotFoundError):
        netns.remove(name)


@contextmanager
def entered(name: str) -> Iterator[None]:
    """The calling thread is in the namespace for the length of the block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(FOLDER / name, os.O_RDONLY)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def members(name: str) -> list[int]:
    """Ids of the processes that live in the namespace."""
    try:
        wanted = (FOLDER / name).stat()
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it ended while we looked
                if os.path.samestat((entry / "ns/net").stat(), wanted):
                    found.append(int(entry.name))
    return found


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
