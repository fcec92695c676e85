"""An outage as the harness tells it, flow by flow and each way, beside captures at both hosts.

The lab's production pair, both circuits of which carry: circuit A is cut in one way or another while probes run at
1 kHz a flow, and given back. The truth is what a capture saw: a probe that left one host and never came to the other
one was lost, and an outage lasted at least from its first lost probe to its last, and at most between the two around
them. Exit code 1 where another flow was cut off than the harness says, or where its figure is further from the middle
of these than one interval and the timer error of its sender. Needs root and what the lab needs, FRR and tshark too.

    python tests/bench/bench_failover.py [cut|link-down|shutdown …] [--flows 4] [--interval-ms 1]
"""

from __future__ import annotations

import argparse
import json
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "agents")]

from perfharness.evaluate import evaluate  # noqa: E402 - found only by the path above
from perfharness.evidence import open_run  # noqa: E402 - likewise
from perfharness.lab import control, frr, topology  # noqa: E402 - likewise
from perfharness.lab.options import Asked  # noqa: E402 - likewise

ORDER = ROOT / "scenarios" / "circuits" / "lab-production.yaml"
HOSTS = {"a-z": (topology.ONPREM, topology.ECS), "z-a": (topology.ECS, topology.ONPREM)}
ADDRESSES = {topology.ONPREM: "10.10.0.10", topology.ECS: "192.168.10.10"}
LAB = [sys.executable, "-m", "perfharness", "lab"]
BGP = [str(frr.vtysh("ce-a")), "-c", "configure terminal", "-c", "router bgp 65010", "-c"]
NEIGHBOR = "neighbor 172.16.100.1 shutdown"
CASES = {
    "cut": ("silent", [*LAB, "fault", "cut"], [*LAB, "clear"]),
    "link-down": ("cut", [*LAB, "fault", "link-down"], [*LAB, "clear"]),
    "shutdown": ("shutdown", [*BGP, NEIGHBOR], [*BGP, f"no {NEIGHBOR}"]),
}
"""The event, what makes it, what ends it."""
LEAST_RUN = 3
PORT = 862
PROBE = struct.Struct("!HH4xI")
"""Of UDP and STAMP: source port, port, sequence number."""
UDP_AT, ETHERNET, MAGIC_US = 34, 1, 0xA1B2C3D4
CAPTURED = re.compile(r"Packets received/dropped on interface .*: (\d+)/(\d+)")


class Outage(NamedTuple):
    """Of one flow in one phase: probes lost, and the least and most that it lasted."""

    lost: int
    least_ns: int
    most_ns: int


@contextmanager
def captured(folder: Path) -> Iterator[dict[str, Path]]:
    """The hosts' own packets meanwhile. Raises AssertionError where a capture missed one."""
    files = {name: folder / f"{name}.pcap" for name in ADDRESSES}
    # Nothing may be missing, though the probers go first: room for all, 64 bytes of each packet, and next in turn.
    words = [
        "chrt",
        "-f",
        "1",
        "dumpcap",
        "-q",
        "-i",
        "eth0",
        "-P",
        "-B",
        "256",
        "-s",
        "64",
        "-f",
        f"udp dst port {PORT}",
        "-w",
    ]
    running = {
        name: subprocess.Popen(
            ["ip", "netns", "exec", name, *words, str(file)], stderr=subprocess.PIPE, text=True, cwd=folder
        )
        for name, file in files.items()
    }
    said: dict[str, str] = {}
    try:
        for process in running.values():
            assert process.stderr is not None
            while "File:" not in process.stderr.readline():
                assert process.poll() is None, "dumpcap ended"
        yield files
    finally:
        for name, process in running.items():
            process.terminate()
            said[name] = process.communicate(timeout=30)[1]
    for name, text in said.items():
        counts = CAPTURED.search(text)
        assert counts is not None and int(counts[2]) == 0, f"{name}: {text}"


def probes(file: Path, source: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(n,) moments, source ports and numbers of what came from this address, in the order of the capture."""
    data = file.read_bytes()
    magic, *_, link = struct.unpack_from("<I16xI", data)
    assert (magic, link) == (MAGIC_US, ETHERNET), file
    address = bytes(map(int, source.split(".")))
    rows, at = [], 24
    while at < len(data):
        seconds, micros, length = struct.unpack_from("<III", data, at)
        frame = at + 16
        if data[frame + 26 : frame + 30] == address:
            source_port, port, seq = PROBE.unpack_from(data, frame + UDP_AT)
            if port == PORT:
                rows.append((seconds * 10**9 + micros * 1000, source_port, seq))
        at = frame + length
    t_ns, ports, seq = np.array(rows, np.int64).reshape(-1, 3).T
    return t_ns, ports, seq


def truth(files: dict[str, Path], way: str, edges_ns: Sequence[int]) -> dict[int, dict[str, Outage]]:
    """Of each source port both phases, "outage" from the cut on and "failback" from the return on."""
    sender, receiver = HOSTS[way]
    t_ns, ports, seq = probes(files[sender], ADDRESSES[sender])
    arrived = probes(files[receiver], ADDRESSES[sender])[2]
    lost = ~np.isin(seq, arrived)
    found = {}
    for port in np.unique(ports):
        mine = ports == port
        runs = list(_runs(t_ns[mine], lost[mine]))
        cut = [run for begin_ns, run in runs if edges_ns[0] <= begin_ns < edges_ns[1]]
        back = [run for begin_ns, run in runs if edges_ns[1] <= begin_ns]
        found[int(port)] = {"outage": _sum(cut), "failback": _sum(back)}
    return found


def _runs(t_ns: NDArray[np.int64], lost: NDArray[np.bool_]) -> Iterator[tuple[int, Outage]]:
    """Each run of lost probes with the moment of its first one."""
    edges = np.diff(lost.astype(np.int8), prepend=0, append=0)
    for first, after in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        if after - first >= LEAST_RUN and first and after < len(t_ns):
            times = int(t_ns[after - 1] - t_ns[first]), int(t_ns[after] - t_ns[first - 1])
            yield int(t_ns[first]), Outage(int(after - first), *times)


def _sum(runs: Sequence[Outage]) -> Outage:
    return Outage(*(sum(column) for column in zip(*runs, strict=True))) if runs else Outage(0, 0, 0)


def play(case: str, flows: int, interval_ms: float, folder: Path) -> tuple[dict[str, Any], dict[str, Path], str]:
    """The facts of its measurement, both captures, and what the report says of it."""
    event, cut, restore = CASES[case]
    hooks = f"cut: {json.dumps({'command': cut})}, restore: {json.dumps({'command': restore})}"
    phases = f"event: {event}, flows: {flows}, interval: {interval_ms:g}ms, before: 3s, down: 4s, after: 8s"
    judge = "judge: [{metric: outage, statistic: duration, at_most: 4s, rows: [EC-052]}]"
    step = f"{{id: cut, measure: failover, {hooks}, {phases}, {judge}}}"
    scenario = folder / "scenario.yaml"
    lines = ["format_version: 1", "id: bench", "title: Failover", "steps:", f"  - {step}"]
    scenario.write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ["run", str(scenario), "--circuit", str(ORDER), "--results", str(folder / "results"), "--no-pdf"]
    with captured(folder) as files:
        done = subprocess.run(
            [sys.executable, "-m", "perfharness", *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
    (run,) = folder.glob("results/*/*")
    judged, _, _ = evaluate(*open_run(run))
    assert "failover" in judged.measurements[0].facts, done.stderr
    return dict(judged.measurements[0].facts), files, judged.verdict.value


def compare(way: str, facts: dict[str, Any], files: dict[str, Path], interval_ms: float) -> bool:
    """Print one direction's flows; whether each is as the captures have it."""
    told = facts["failover"]
    edges_ns = [
        next(int(act["started_ns"]) for act in told["acts"] if act["id"] == name) for name in ("cut", "restore")
    ]
    seen = truth(files, way, edges_ns)
    errors = told["sides"][way]["timer_error_ns"]
    allowed_ns = interval_ms * 1e6 + max(errors.values())
    good = len(seen) == len(told["flows"][way])
    for flow in told["flows"][way]:
        for phase, was in seen[flow["source_port"]].items():
            value, lo, hi = flow[f"{phase}_ns"]
            apart_ns = abs(value - (was.least_ns + was.most_ns) / 2)
            right = (value > 0) == (was.lost > 0) and apart_ns <= allowed_ns
            right = right and (not was.lost or (lo <= was.most_ns and was.least_ns <= (hi or np.inf)))
            good = good and right
            if value or was.lost:
                said = f"{value / 1e6:.3f} [{lo / 1e6:.3f}, {(hi or np.inf) / 1e6:.3f}] ms"
                truly = f"{was.lost} lost, {was.least_ns / 1e6:.3f}–{was.most_ns / 1e6:.3f} ms"
                verdict = "ok" if right else "MISSED"
                print(f"  {way} {flow['source_port']} {phase:8s} {said}   captures: {truly}   {verdict}")
    hit = sum(was["outage"].lost > 0 for was in seen.values())
    late = ", ".join(f"{name} {value / 1e3:.0f} µs" for name, value in errors.items())
    print(f"  {way} {hit} of {len(seen)} flows cut off; the sender's timer error: {late}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--flows", type=int, default=4)
    parser.add_argument("--interval-ms", type=float, default=1.0)
    asked = parser.parse_args()
    if unknown := set(asked.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    good = True
    control.up(Asked(ORDER).spec())
    try:
        for case in asked.cases or CASES:
            with tempfile.TemporaryDirectory() as name:
                facts, files, verdict = play(case, asked.flows, asked.interval_ms, Path(name))
                sent = {name: facts["prober"][name] for name in ("sent", "missed", "send_errors", "replied")}
                print(f"{case}, {asked.flows} flows of {asked.interval_ms:g} ms: {verdict}, {sent}", flush=True)
                ways = [compare(way, facts, files, asked.interval_ms) for way in HOSTS]
                hit = any(any(flow["outage_ns"][0] for flow in facts["failover"]["flows"][way]) for way in HOSTS)
                good = good and all(ways) and hit
    finally:
        control.down()
    print("ok" if good else "MISSED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
