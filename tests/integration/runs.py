"""The coordinator as a program of its own on the real lab, and what must be true of the hosts when it has ended.

Needs root and what the lab needs, and nftables.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from perfharness.errors import Exit
from perfharness.lab import hosts, namespaces, shaping, topology
from perfharness.lab.spec import LabSpec
from perfharness.order.circuit import load_circuit

HOME = Path(__file__).parents[2]
CIRCUIT = HOME / "scenarios" / "circuits" / "lab.yaml"
RATE_BPS = 200_000_000
"""Ordered here instead of the lab's 1 Gbit/s: two cores carry it even when one of them is busy."""
ORDERED = (("bandwidth: 1Gbps", "bandwidth: 200Mbps"), ("rate: 1Gbps", "rate: 200Mbps"))
SPEC = replace(LabSpec.from_circuit(load_circuit(CIRCUIT)), rate_bps=RATE_BPS)
HOSTS = (topology.ONPREM, topology.CE, topology.ECS)
PATIENCE_S = 60.0
"""For what must come to pass, however slow the machine is."""
KEPT_BY_THE_KERNEL = ("conntrack_count", "tcp_fastopen_key", "net.ipv4.route.flush")
"""Not settings: they change by themselves."""

REACHABLE = "{metric: path, statistic: reachable, equals: true, rows: [EC-024]}"
OPEN = "{metric: port, statistic: blocked, at_most: 0, rows: [EC-025]}"
CLOSED = "{metric: port, statistic: open_undeclared, at_most: 0, rows: [EC-026], mandatory: false}"
APART = "{metric: port, statistic: forbidden_open, at_most: 0, rows: [EC-057]}"
MARKED = "{metric: dscp, statistic: preserved, equals: true, rows: [EC-045], mandatory: false}"
LOSS = "{metric: loss, statistic: ratio, at_most: 1e-3, rows: [EC-042]}"
RTT = "{metric: delay.rtt, statistic: p95, at_most: objectives.rtt, direction: round-trip, rows: [EC-039]}"
"""Not the 99th percentile: where this machine delays some packets in a row, seconds do not bound that."""
RATE = "{metric: throughput.udp, statistic: mean, at_least: 99.5% of order.bandwidth, rows: [EC-033]}"

HOST_STEP = "{id: host, measure: host}"
PATH_STEP = f"{{id: path, measure: path, ping_count: 20, judge: [{REACHABLE}, {OPEN}]}}"


def latency_step(seconds: int, loss: str = LOSS, more: str = "") -> str:
    return f"{{id: latency, measure: latency, duration: {seconds}s{more}, judge: [{RTT}, {loss}]}}"


def udp_step(*ways: str, seconds: int = 3, more: str = "") -> str:
    directions = f"direction: [{', '.join(ways)}]"
    figures = f"duration: {seconds}s, omit: 1s{more}, judge: [{RATE}, {LOSS}]"
    return f"{{id: udp, measure: throughput, protocol: udp, {directions}, {figures}}}"


def scenario(folder: Path, *steps: str, lease: str = "20s") -> str:
    """A scenario file with these steps; its path."""
    lines = ["format_version: 1", "id: short", "title: Short", f"lease: {lease}", "steps:"]
    path = folder / "scenario.yaml"
    path.write_text("\n".join([*lines, *(f"  - {step}" for step in steps)]) + "\n", encoding="utf-8")
    return str(path)


def circuit(folder: Path, *changes: tuple[str, str]) -> str:
    """The lab's order at ``RATE_BPS`` with these words replaced; the path of the new file."""
    text = CIRCUIT.read_text(encoding="utf-8")
    for old, new in (*ORDERED, *changes):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "circuit.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


class Coordinator:
    """``perfharness <words>`` in a process of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._said = folder / "stderr.txt"
        command = [sys.executable, "-m", "perfharness", *words]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                command, cwd=HOME, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
            )

    @property
    def said(self) -> str:
        """Standard error so far."""
        return self._said.read_text(encoding="utf-8")

    def wait(self) -> int:
        """The exit code, once it has ended; it never ends with a traceback."""
        self._process.wait(timeout=100)
        assert "Traceback" not in self.said, self.said
        return self._process.returncode

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """The exit code after this signal."""
        self._process.send_signal(number)
        return self.wait()

    def wait_for(self, what: Callable[[], object]) -> None:
        """Until this is so; fails when the coordinator ends before."""
        eventually(lambda: what() or self._process.poll() is not None, "what the run was to do")
        assert self._process.poll() is None, self.said


@contextmanager
def running(folder: Path, *words: str) -> Iterator[Coordinator]:
    """A coordinator that does not outlive the block."""
    coordinator = Coordinator(folder, *words)
    try:
        yield coordinator
    finally:
        coordinator.kill()


def perfharness(folder: Path, *words: str) -> tuple[int, str]:
    """Run it to its end: exit code and standard error."""
    with running(folder, *words) as coordinator:
        return coordinator.wait(), coordinator.said


def run_words(folder: Path, scenario_file: str, circuit_file: str | None = None) -> list[str]:
    """A run without the PDF, which takes seconds and says what the page says."""
    where = ["--circuit", circuit_file or circuit(folder), "--results", str(folder / "results")]
    return ["run", scenario_file, *where, "--no-pdf"]


class Result:
    """The one run folder below ``results``."""

    def __init__(self, folder: Path) -> None:
        (self.path,) = (folder / "results").glob("*/*")

    def json(self, name: str = "findings.json") -> dict[str, Any]:
        return dict(json.loads((self.path / name).read_bytes()))

    def finding(self, metric: str, statistic: str, direction: str, load: str | None = None) -> dict[str, Any]:
        """The one judged finding of this kind, under this load."""
        (found,) = (
            row
            for row in self.json()["findings"]
            if (row["metric"], row["statistic"], row["direction"]) == (metric, statistic, direction)
            and row["threshold"] is not None
            and load in (None, row["scope"]["load"])
        )
        return dict(found)

    @property
    def causes(self) -> set[str]:
        return {row["cause"] for row in self.json()["diagnosis"]}

    def host_lost(self, segment: str) -> int:
        """Packets that a host lost for certain."""
        return sum(row["packets"]["lo"] for row in self.json()["ledger"] if row["segment"] == segment)


Row = tuple[str, str, str]
"""Metric, statistic and direction of a finding."""


def until_decided(folder: Path, attempt: Callable[[Path], tuple[int, str]], *rows: Row) -> tuple[Result, int, str]:
    """``attempt`` in a folder of its own; again, twice at most, where this machine was too busy to tell: to say so is
    no wrong verdict, but shows nothing. ``rows`` must be decided as well, whatever the run's verdict is."""
    for number in range(3):
        place = folder / str(number)
        place.mkdir()
        code, said = attempt(place)
        result = Result(place)
        if code != Exit.INCONCLUSIVE and all(result.finding(*row)["verdict"] != "INCONCLUSIVE" for row in rows):
            break
    return result, code, said


# --- the hosts ------------------------------------------------------------------------------------


def eventually(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.05)


def processes(namespace: str) -> dict[int, list[str]]:
    """Who lives there, and with which words each was started."""
    found = {}
    for pid in namespaces.members(namespace):
        try:
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:
            continue  # it ended while we looked
    return found


def at_work(namespace: str, job: str) -> list[int]:
    """The process of the agent's job whose id ends so, while it runs."""
    return [pid for pid, words in processes(namespace).items() if words and words[-1].endswith(f".{job}")]


def iperf3_servers(namespace: str) -> list[int]:
    """Not the one that is only asked for its version before."""
    found = processes(namespace).items()
    return [pid for pid, words in found if words and Path(words[0]).name == "iperf3" and "-s" in words]


def iperf3_clients(namespace: str) -> list[int]:
    found = processes(namespace).items()
    return [pid for pid, words in found if words and Path(words[0]).name == "iperf3" and "-c" in words]


def footprint() -> list[str]:
    """What of ours is on the hosts: processes, folders, listening sockets."""
    places = [Path("/tmp"), Path("/var/tmp"), *hosts.TEMPORARY.iterdir()]
    found = [str(path) for place in places for path in place.glob("perfharness-*")]
    for name in HOSTS:
        strangers = [words for words in processes(name).values() if words and not words[0].startswith("sshd:")]
        found += [f"{name}: {' '.join(words)}" for words in strangers if Path(words[0]).name != "sshd"]
        sockets = command("ss", "-N", name, "-Hltuxnp").splitlines()
        found += [f"{name}: {line}" for line in sockets if '(("sshd"' not in line]
    return found


def settings() -> dict[str, str]:
    """Every network sysctl of both hosts and of this machine."""
    found = {}
    for name in HOSTS:
        found[name] = command("ip", "netns", "exec", name, "sysctl", "-a", "-e", "-r", r"^net\.")
    found["machine"] = command("sysctl", "-a", "-e", "-r", r"^net\.")
    return {
        name: "\n".join(line for line in text.splitlines() if not any(word in line for word in KEPT_BY_THE_KERNEL))
        for name, text in found.items()
    }


# --- the circuit ----------------------------------------------------------------------------------


@contextmanager
def shaped(namespace: str, rate: str) -> Iterator[None]:
    """What leaves this end of the circuit is shaped at another rate than was ordered."""
    (end,) = (end for end in topology.plan(SPEC).circuit if end.namespace == namespace)
    words = f"tbf rate {rate} burst 256kb latency 50ms"
    command("tc", "-n", namespace, "qdisc", "change", "dev", end.interface, "root", *words.split())
    try:
        yield
    finally:
        shaping.shape(end, SPEC)


@contextmanager
def filtered(namespace: str, *rules: str) -> Iterator[None]:
    """A router that applies these rules to what it forwards; they may count in ``hit``."""
    chain = "\n".join(["type filter hook forward priority 0; policy accept;", *rules])
    table = f"table inet test {{\ncounter hit {{ }}\nchain forward {{\n{chain}\n}}\n}}\n"
    command("ip", "netns", "exec", namespace, "nft", "-f", "-", text=table)
    try:
        yield
    finally:
        command("ip", "netns", "exec", namespace, "nft", "delete", "table", "inet", "test")


def hits(namespace: str) -> int:
    """Packets that ``hit`` counted."""
    answer = command("ip", "netns", "exec", namespace, "nft", "-j", "list", "counter", "inet", "test", "hit")
    return int(json.loads(answer)["nftables"][1]["counter"]["packets"])


HOG = """
import ctypes, os, sys, time
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
print("ready", flush=True)
end = time.monotonic() + 40
while time.monotonic() < end:
    rest = time.monotonic() + 0.5
    while time.monotonic() < rest:
        pass
    time.sleep(0.05)
"""


@contextmanager
def hog(namespace: str, cpu: int) -> Iterator[None]:
    """A real-time program on this host that leaves others a tenth of the CPU; gone with the block or the test."""
    argv = ["ip", "netns", "exec", namespace, sys.executable, "-c", HOG, str(cpu)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


def last_cpu() -> int:
    return max(os.sched_getaffinity(0))


def command(*argv: str, text: str = "") -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout
