"""Network namespaces by name: make, enter, find who lives in them, remove."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from perfharness.errors import LabFault

FOLDER = Path("/run/netns")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def exists(name: str) -> bool:
    return (FOLDER / name).exists()


def create(name: str) -> None:
    """By ``ip`` and not by pyroute2, which forks us: a Ctrl-C in the child would take the lab down a second time.
    Raises LabFault."""
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, timeout=10)
    if done.returncode != 0:
        raise LabFault(f"ip netns add {name} failed: {done.stderr.strip()}.")


def remove(name: str) -> None:
    """Takes the name away; the kernel destroys the namespace when its last process has gone."""
    from pyroute2 import netns  # slow to import, and only building needs it

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


def netlink(name: str) -> Any:
    """Opened in the namespace and not by ``IPRoute(netns=…)``: that forks, and ends its child with a SIGTERM that
    would find the coordinator's handler there."""
    from pyroute2 import IPRoute

    with entered(name):
        return IPRoute()


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
