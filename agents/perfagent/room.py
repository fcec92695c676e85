"""How much the agent may write: it never takes the last of a host's disk."""

from __future__ import annotations

import os
from pathlib import Path

RESERVE_BYTES = 256 << 20
RESERVE_PART = 20
"""What is left to the host: this many bytes, or this part of a file system that is smaller."""


def room_bytes(folder: Path) -> int:
    """Bytes that a user without privileges may still write beside the reserve; negative when it is touched."""
    disk = os.statvfs(folder)
    reserve = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // RESERVE_PART)
    return disk.f_bavail * disk.f_frsize - reserve
