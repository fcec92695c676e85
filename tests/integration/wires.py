"""The wire alone, between two namespaces of its own: ``a`` and ``z``, one TAP each. Needs root."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from perfharness.lab import namespaces, truth
from perfharness.lab.linespec import LineSpec
from perfharness.lab.wire import Config
from perfharness.model import Direction

HOME = Path(__file__).parents[2]
ADDRESSES = {"a": "10.9.0.1", "z": "10.9.0.2"}
MACS = {"a": "02:00:00:00:00:0a", "z": "02:00:00:00:00:0f"}
PATIENCE_S = 10.0


class Wired:
    """Context manager; the neighbours know each other's MAC, so that no frame is there but those of the test."""

    def __init__(self, lines: Mapping[Direction, LineSpec], tag: str = "wire") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="phx-wire-")
        folder = Path(self._folder.name)
        self.names = {end: f"phx-{tag}-{os.getpid()}-{end}" for end in "az"}
        self._config, self._truth = folder / "wire.json", folder / "truth.json"
        self._lines = dict(lines)
        self._wire: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Wired:
        try:
            for end, other in (("a", "z"), ("z", "a")):
                self._end(end, other)
            self._write()
            argv = [sys.executable, "-m", "perfharness.lab.wire", str(self._config), str(self._truth)]
            self._wire = subprocess.Popen(argv, cwd=HOME)
            self._wait(self._truth.exists)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._wire:
            self._wire.terminate()
            self._wire.wait(10)
        for name in self.names.values():
            if namespaces.exists(name):
                _ip("netns", "del", name)
        self._folder.cleanup()

    def socket(self, end: str, port: int) -> socket.socket:
        """UDP, bound at this end."""
        with namespaces.entered(self.names[end]):
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        udp.bind((ADDRESSES[end], port))
        return udp

    def settled(self) -> dict[str, Any]:
        """The directions of the truth, once the wire has written what it did before this call."""
        assert self._wire is not None
        asked_ns = time.time_ns()
        self._wire.send_signal(signal.SIGHUP)  # it tells at once
        self._wait(lambda: self._told()["written_ns"] > asked_ns)
        directions: dict[str, Any] = self._told()["directions"]
        return directions

    def tune(self, lines: Mapping[Direction, LineSpec]) -> None:
        """Change what is played; returns when it is."""
        assert self._wire is not None
        self._lines |= lines
        self._write()
        self._wire.send_signal(signal.SIGHUP)
        truth.await_lines(self._truth, self._lines)

    def _told(self) -> dict[str, Any]:
        return dict(json.loads(self._truth.read_text(encoding="utf-8")))

    def _end(self, end: str, other: str) -> None:
        name = self.names[end]
        _ip("netns", "add", name)
        with namespaces.entered(name):
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1", encoding="ascii")
        _ip("-n", name, "tuntap", "add", "wan", "mode", "tap")
        _ip("-n", name, "link", "set", "wan", "address", MACS[end], "txqueuelen", "4096", "up")
        _ip("-n", name, "addr", "add", f"{ADDRESSES[end]}/24", "dev", "wan")
        _ip("-n", name, "neigh", "add", ADDRESSES[other], "lladdr", MACS[other], "dev", "wan", "nud", "permanent")

    def _write(self) -> None:
        config = Config(1, self.names["a"], self.names["z"], self._lines)
        self._config.write_text(json.dumps(config.to_json()), encoding="utf-8")

    def _wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert self._wire is not None and self._wire.poll() is None, "the wire has ended"
            assert time.monotonic() < deadline, "the wire has not told in time"
            time.sleep(0.01)


def _ip(*argv: str) -> None:
    done = subprocess.run(["ip", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(argv)}: {done.stderr}"
