"""The agent without SSH: its programs run here, their pipes play the channels."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import suppress
from typing import Any

from perfharness.model import Job, Role


class PipeChannel:
    """A program's pipes with the face of an SSH channel."""

    def __init__(self, words: list[str]) -> None:
        pipe = subprocess.PIPE
        self.status_event = threading.Event()
        self.status_event.set()
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)

    def recv(self, size: int) -> bytes:
        assert self.process.stdout is not None
        return os.read(self.process.stdout.fileno(), size)

    def sendall(self, data: bytes) -> None:
        assert self.process.stdin is not None
        left = memoryview(data)
        while left:
            left = left[os.write(self.process.stdin.fileno(), left) :]

    def recv_exit_status(self) -> int:
        return self.process.wait(20)

    def recv_stderr(self, size: int) -> bytes:
        assert self.process.stderr is not None
        return self.process.stderr.read(size)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


class LocalLink:
    """Runs programs here instead of over SSH."""

    def __init__(self) -> None:
        self.channels: list[PipeChannel] = []

    def execute(self, words: list[str], feed: bytes = b"", patience_s: float = 0.0) -> PipeChannel:
        self.channels.append(PipeChannel(words))
        with suppress(BrokenPipeError):  # as the real one: it has ended early
            self.channels[-1].sendall(feed)
        return self.channels[-1]

    def close(self) -> None:
        """As over SSH nobody waits for what runs at the other end."""
        for channel in self.channels:
            channel.close()


def a_job(method: str, deadline_s: float = 20.0, **args: Any) -> Job:
    return Job(method.replace(".", "-"), "host-a", f"trial.{method}", args, Role.DRIVE, deadline_s)
