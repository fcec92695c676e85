"""A host to try agents on: own network and own /tmp, so that nothing of the machine's can be met or hurt."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Sandbox:
    """``python`` runs an interpreter inside; ``tmp`` is what it sees as /tmp."""

    python: Path
    tmp: Path
    holder: subprocess.Popen[bytes]

    def processes(self) -> list[int]:
        """Pids of everything that runs inside."""
        ours = (Path("/proc") / str(self.holder.pid) / "ns/net").readlink()
        inside = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "ns/net").readlink() == ours and int(entry.name) != self.holder.pid:
                    inside.append(int(entry.name))
            except OSError:
                continue  # it has just ended
        return inside

    def folders(self) -> list[Path]:
        return sorted(self.tmp.glob("perfharness-*"))

    def running(self, verb: str) -> list[int]:
        """Pids inside that run this verb of the agent."""
        return [pid for pid in self.processes() if f"\0{verb}\0" in _command_line(pid)]

    @staticmethod
    def await_true(condition: Callable[[], object], patience_s: float = 15.0) -> None:
        end = time.monotonic() + patience_s
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)

    def await_nothing_left(self) -> None:
        """Processes take a moment to die; what is still there after that is a finding."""
        self.await_true(lambda: not self.processes() and not self.folders())
        assert (self.processes(), self.folders()) == ([], [])

    def pid_of(self, verb: str) -> int:
        """The one process inside that runs this verb."""
        (pid,) = self.running(verb)
        return pid


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@contextmanager
def sandboxed(folder: Path) -> Iterator[Sandbox]:
    """A host until the block is left; ``folder`` is where its own things lie."""
    tmp = folder / "host-tmp"
    tmp.mkdir()
    script = f'mount -t tmpfs none /var/tmp && mount --bind "{tmp}" /tmp && echo ready && exec sleep 3600'
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    python = folder / "python"
    interpreter = Path(sys.executable).resolve()
    python.write_text(
        f'#!/bin/sh\nunset TMPDIR\nexec nsenter -t {holder.pid} --net --mount --wd=/ {interpreter} "$@"\n'
    )
    python.chmod(0o755)
    host = Sandbox(python, tmp, holder)
    yield host
    for pid in host.processes():
        os.kill(pid, 9)
    holder.kill()
    holder.wait()
    holder.stdout.close()
