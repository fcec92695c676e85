"""A path of three namespaces, ``a`` — ``r`` (router) — ``z``, and the agent's jobs run at its ends.

Needs root, iproute2, ping and nftables; removes all it made when left.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import IPv4Interface
from pathlib import Path
from types import TracebackType
from typing import Any

from perfharness.lab.topology import End

AGENTS = Path(__file__).parents[2] / "agents"

ADDRESSES = {4: {"a": "10.1.0.2", "z": "10.2.0.2"}, 6: {"a": "fd01::2", "z": "fd02::2"}}
_ROUTERS = {4: {"a": "10.1.0.1", "z": "10.2.0.1"}, 6: {"a": "fd01::1", "z": "fd02::1"}}

PLAIN = ("-m", "perfagent")
"""The agent as it is."""


class Running:
    """A job in a process of its own."""

    def __init__(
        self,
        namespace: str,
        folder: Path,
        method: str,
        args: dict[str, Any],
        program: Sequence[str] = PLAIN,
        key: bytes = b"",
    ) -> None:
        self.folder = folder
        job = folder.name
        folder.mkdir(parents=True)
        deadline_ns = time.monotonic_ns() + 60_000_000_000
        spec = {"job": job, "method": method, "args": args, "deadline_mono_ns": deadline_ns}
        (folder / "spec.json").write_text(json.dumps({**spec, "worker_pid": os.getpid()}))
        argv = ["ip", "netns", "exec", namespace, sys.executable, *program, "job"]
        self.process = subprocess.Popen(
            [*argv, str(folder.parents[1]), job],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(AGENTS)},
        )
        assert self.process.stdin is not None
        self.process.stdin.write(key)
        self.process.stdin.close()
        self.process.stdin = None  # else communicate() would flush it

    def wait_ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        event = json.loads(self.process.stdout.readline())
        assert event["event"] == "ready", event
        return dict(event["data"])

    def stop(self) -> dict[str, Any]:
        self.process.terminate()
        return self.result()

    def result(self) -> dict[str, Any]:
        """``result.json``, once the job has ended."""
        self.process.communicate(timeout=60)
        return dict(json.loads((self.folder / "result.json").read_bytes()))

    def data(self) -> dict[str, Any]:
        result = self.result()
        assert result["status"] == "completed", result["error"]
        return dict(result["data"])


class Path3:
    """Context manager; ``spool`` is where the jobs' folders go. Slow to make (links settle), quick to ``reset``."""

    def __init__(self, spool: Path, tag: str = "probe") -> None:
        self.spool = spool
        self._names = {end: f"phx-{tag}-{os.getpid()}-{end}" for end in "arz"}
        self._jobs: list[Running] = []

    def __enter__(self) -> Path3:
        for name in self._names.values():
            _run("ip", "netns", "add", name)
        try:
            self._connect()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_jobs()
        for name in self._names.values():
            _run("ip", "netns", "del", name)

    def reset(self) -> None:
        """As new: no jobs, no rules, all links at 1500 bytes, and forgotten what ICMP said of them."""
        self._end_jobs()
        for end in "arz":
            self.run(end, "nft", "flush", "ruleset")
        for end in "az":
            self.mtu(end, 1500)
            for family in ("-4", "-6"):
                self.ip(end, family, "route", "flush", "cache")

    def _end_jobs(self) -> None:
        for job in self._jobs:
            if job.process.poll() is None:
                job.process.kill()
            job.process.communicate()
        self._jobs.clear()

    def _connect(self) -> None:
        for end in "arz":
            self.run(end, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        for end in "az":
            near, far = self._names[end], self._names["r"]
            _run("ip", "link", "add", "eth0", "netns", near, "type", "veth", "peer", "name", f"to-{end}", "netns", far)
            for family, bits in ((4, "24"), (6, "64")):
                router = _ROUTERS[family][end]
                self.ip(end, "addr", "add", f"{ADDRESSES[family][end]}/{bits}", "dev", "eth0", *_nodad(family))
                self.ip("r", "addr", "add", f"{router}/{bits}", "dev", f"to-{end}", *_nodad(family))
            self.ip(end, "link", "set", "lo", "up")
            self.ip(end, "link", "set", "eth0", "up")
            self.ip("r", "link", "set", f"to-{end}", "up")
            for family in (4, 6):
                self.ip(end, f"-{family}", "route", "add", "default", "via", _ROUTERS[family][end])
        self.run("r", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for family in (4, 6):  # a new link drops packets for up to a second
            self.run("a", "ping", "-q", "-c", "1", "-i", "0.1", "-w", "10", ADDRESSES[family]["z"])

    def run(self, end: str, *argv: str, text: str = "") -> str:
        return _run("ip", "netns", "exec", self._names[end], *argv, text=text)

    def popen(self, end: str, *argv: str) -> subprocess.Popen[bytes]:
        """A program of its own at this end, silent; the caller ends it."""
        command = ["ip", "netns", "exec", self._names[end], *argv]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def ip(self, end: str, *argv: str) -> None:
        _run("ip", "-n", self._names[end], *argv)

    def interface(self, end: str) -> End:
        """The one of this end, as the lab names such things."""
        return End(self._names[end], "eth0", IPv4Interface(f"{ADDRESSES[4][end]}/24"))

    def mtu(self, end: str, size: int) -> None:
        """Of the link between the router and this end."""
        self.ip(end, "link", "set", "eth0", "mtu", str(size))
        self.ip("r", "link", "set", f"to-{end}", "mtu", str(size))

    def rules(self, hook: str, *rules: str, counters: Sequence[str] = (), end: str = "r") -> None:
        """Add nftables rules to ``table inet test``, with named counters that they may use."""
        named = "".join(f"counter {name} {{ }}\n" for name in counters)
        chain = "\n".join([f"type filter hook {hook} priority 0; policy accept;", *rules])
        self.run(end, "nft", "-f", "-", text=f"table inet test {{\n{named}chain {hook} {{\n{chain}\n}}\n}}\n")

    def counted(self, counter: str, end: str = "r") -> int:
        """Packets that a named counter of ``table inet test`` has seen."""
        answer = json.loads(self.run(end, "nft", "-j", "list", "counter", "inet", "test", counter))
        return int(answer["nftables"][1]["counter"]["packets"])

    def start(
        self, end: str, job: str, method: str, program: Sequence[str] = PLAIN, key: bytes = b"", **args: Any
    ) -> Running:
        """``program``: what Python runs as the agent; ``key``: what it reads from its standard input."""
        running = Running(self._names[end], self.spool / "jobs" / job, method, args, program, key)
        self._jobs.append(running)
        return running

    def serve(self, end: str, job: str, method: str, **args: Any) -> Running:
        running = self.start(end, job, method, **args)
        running.wait_ready()
        return running


def _nodad(family: int) -> tuple[str, ...]:
    return ("nodad",) if family == 6 else ()


def _run(*argv: str, text: str = "") -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout
