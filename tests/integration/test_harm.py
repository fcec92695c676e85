"""Users of a circuit in service suffer, or somebody wants the load to end: it is gone within a second, seen at the
interface of the host that sends it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from perfharness.lab import control, topology
from tests.integration import runs
from tests.integration.runs import HOME, Result, latency_step, run_words, running, scenario
from tests.integration.test_edges import CE

WITHIN_NS = 1_000_000_000
LOAD_BPS = 60_000_000
LOSS = "ip daddr 192.168.10.10 numgen random mod 10 < 3 counter name hit drop"


@pytest.fixture(scope="module", autouse=True)
def _lab() -> Iterator[None]:
    control.up(runs.SPEC)
    yield
    control.down()


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    runs.eventually(lambda: not runs.footprint(), f"nothing of ours on the hosts, but: {runs.footprint()}")


def in_service(folder: Path) -> str:
    """The lab's order, with users, a CE that can be read and a change window that began an hour ago."""
    now = datetime.now(UTC)
    start, end = ((now + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M+00:00") for hours in (-1, 1))
    change = f"in_service: true\nchange: {{ticket: CHG-1, window_start: {start}, window_end: {end}}}"
    return runs.circuit(folder, ("in_service: false", change), ("ce: ph-ce-a\n", CE.lstrip()))


def udp(way: str) -> str:
    """Ten seconds of load."""
    load = f"protocol: udp, rate: 60Mbps, direction: {way}, duration: 8s"
    return f"{{id: udp-{way}, measure: throughput, {load}, judge: [{runs.LOSS}]}}"


def last_loaded_ns(result: Result, host: str) -> int:
    """When its interface was last seen to send at more than a fifth of the load."""
    (path,) = result.path.glob(f"raw/01-*/{host}.counters/counters.jsonl")
    rows = [row for row in map(json.loads, path.read_text().splitlines()[1:]) if "nic" in row]
    loaded = [
        after["t_ns"]
        for before, after in pairwise(rows)
        if (after["nic"]["tx_bytes"] - before["nic"]["tx_bytes"]) * 8e9
        > LOAD_BPS / 5 * (after["mono_ns"] - before["mono_ns"])
    ]
    assert loaded, "there never was a load"
    return int(loaded[-1])


def loads(coordinator: runs.Coordinator) -> None:
    """Until both ends have sent their load for a second."""
    coordinator.wait_for(lambda: all(runs.at_work(topology.ONPREM, f"client-{way}-0") for way in ("a-z", "z-a")))
    time.sleep(1.5)


def test_probes_that_are_lost_end_the_load(tmp_path: Path) -> None:
    """Three packets in ten are lost on the way while both ends send a load: each is gone within a second, its task says
    why, no other load is begun, and what does not load the circuit is measured all the same."""
    words = run_words(tmp_path, scenario(tmp_path, udp("both"), udp("a-z"), latency_step(1)), in_service(tmp_path))
    with running(tmp_path, *words) as coordinator:
        loads(coordinator)
        began_ns = time.time_ns()
        with runs.filtered(topology.VBR, LOSS):
            coordinator.wait_for(lambda: "[1/3]" in coordinator.said and coordinator.said.count("[1/3]") > 1)
        coordinator.wait()
    result = Result(tmp_path)
    for host in ("onprem-a", "ecs-a"):
        assert last_loaded_ns(result, host) - began_ns < WITHIN_NS, coordinator.said
    notes = result.json("end.json")["notes"]
    assert any("aborted: the load was ended" in note and "probes lost" in note for note in notes), notes
    assert any("skipped: the circuit suffered under an earlier load" in note for note in notes), notes
    unrun = [
        row for row in result.json()["findings"] if row["scope"]["load"] != "idle" and row["threshold"] is not None
    ]
    assert {row["verdict"] for row in unrun} == {"NOT_RUN"}
    assert any("probes lost" in row["reason"] for row in unrun)
    assert result.finding("delay.rtt", "p95", "round-trip")["value"] is not None


def test_an_interrupt_ends_the_load_first(tmp_path: Path) -> None:
    """Ctrl-C: within a second no load is seen any more, from either end."""
    words = run_words(tmp_path, scenario(tmp_path, udp("both")), in_service(tmp_path))
    with running(tmp_path, *words) as coordinator:
        loads(coordinator)
        began_ns = time.time_ns()
        coordinator.kill(signal.SIGINT)
    for host in ("onprem-a", "ecs-a"):
        assert last_loaded_ns(Result(tmp_path), host) - began_ns < WITHIN_NS, coordinator.said


ABANDONED = """
import sys, time
from dataclasses import replace
from pathlib import Path
from perfharness.fleet.hosts import Fleet
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import load_scenario
from perfharness.plan import make_plan

circuit = load_circuit(sys.argv[1])
task = make_plan(circuit, load_scenario(sys.argv[2])).tasks[0]
with Fleet(circuit.hosts, "abandoned", 60.0) as fleet:
    until = time.monotonic() + float(sys.argv[3])
    for job in (job for job in task.jobs if job.load):
        fleet[job.endpoint].start(job, task=task.id, window_s=until - time.monotonic())
        if job.method.endswith("serve"):
            fleet[job.endpoint].wait_ready(job.id, 10.0)
    print("loaded", flush=True)
    time.sleep(60)
"""


def sent_bits(namespace: str) -> int:
    told = json.loads(runs.command("ip", "-n", namespace, "-j", "-s", "link", "show", "eth0"))
    return 8 * int(told[0]["stats64"]["tx"]["bytes"])


def test_the_window_ends_the_load_without_a_coordinator(tmp_path: Path) -> None:
    """Whoever started the load is killed: the agents end it with the change window, long before the load or their
    lease would."""
    argv = [sys.executable, "-c", ABANDONED, in_service(tmp_path), scenario(tmp_path, udp("a-z")), "4"]
    with subprocess.Popen(argv, cwd=HOME, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loaded\n"
        loaded_s = time.monotonic()
        process.kill()
    time.sleep(1.0)
    before = sent_bits(topology.ONPREM)
    time.sleep(0.5)
    assert sent_bits(topology.ONPREM) - before > LOAD_BPS / 4
    time.sleep(max(0.0, loaded_s + 4.2 - time.monotonic()))
    before = sent_bits(topology.ONPREM)
    time.sleep(0.5)
    assert sent_bits(topology.ONPREM) - before < LOAD_BPS / 50
    runs.perfharness(tmp_path, "clean", str(tmp_path / "circuit.yaml"))
