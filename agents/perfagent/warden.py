"""The dead man's cleaner: a second process that watches the worker and leaves the host in its stead.

The worker tells it over a socket which process groups exist (``+123``, ``-123``) and says ``bye`` when it has
cleaned up itself. Silence without goodbye means that the worker was killed. The worker in turn sees the socket
close when the warden dies, and starts another: only killing both at once, with no channel open, leaves something for
``clean``.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from perfagent.leave import leave


def watch(folder: Path) -> int:
    """The warden's process; the socket is its standard input. Ends with the worker."""
    groups: set[int] = set()
    for line in sys.stdin:
        word = line.strip()
        if word == "bye":
            return 0
        if word.startswith("+"):
            groups.add(int(word[1:]))
        else:
            groups.discard(int(word[1:]))
    leave(folder, groups)
    return 0


class Warden:
    """The worker's end."""

    def __init__(self, command: list[str], groups: Iterable[int]) -> None:
        """``command`` starts ``watch``. Raises OSError when no process can be started."""
        self.socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=None, start_new_session=True
            )
        for group in groups:
            self.guard(group)

    def guard(self, group: int) -> None:
        self._say(f"+{group}\n")

    def release(self, group: int) -> None:
        self._say(f"-{group}\n")

    def goodbye(self) -> None:
        self._say("bye\n")
        self.reap()

    def reap(self) -> None:
        self.socket.close()
        self._process.wait()

    def _say(self, words: str) -> None:
        with suppress(OSError):  # it has died: the worker sees that on the socket and starts another one
            self.socket.sendall(words.encode("ascii"))
