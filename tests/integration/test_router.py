"""A reflector that is not ours stands for a router: what our sender and analysis make of its replies.

Streams of 200 packets a second mostly wait, so all cases are measured at the same time, each with a port of its own.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from perfharness import evidence
from perfharness.judge.verdict import decide
from perfharness.measurements import TO_ROUTERS, RouterContext
from perfharness.measurements.latency_router import STAGE
from perfharness.model import Criterion, Direction, Measurement, Observation, Role, Status, Verdict
from perfharness.order.circuit import Circuit, load_circuit
from perfharness.order.scenario import find_shipped
from tests.integration.namespaces import ADDRESSES, Path3, Running

REFLECTOR = """
import json, socket, struct, sys, time
address, port, how = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((address, port))
sys.stdout.write("ready\\n"); sys.stdout.flush()
def ntp():
    ns = time.time_ns()
    return 0 if how.get("stampless") else (ns // 10**9 + 2208988800 << 32) + (ns % 10**9 << 32) // 10**9
count = answered = 0
while True:
    request, peer = sock.recvfrom(2048)
    received = ntp()
    seq, stamp, error = struct.unpack_from("!IQH", request)
    count += 1
    if how.get("drops") and count % how["drops"] == 0:
        continue
    own = answered if how.get("counts") else seq
    answered += 1
    reply = struct.pack("!IQHHQIQHHBBH", own, ntp(), 0x0101, 0, received, seq, stamp, error, 0, 0, 0, 0)
    sock.sendto(reply.ljust(len(request), b"\\0"), peer)
"""
"""RFC 8762 section 4.3.1 without RFC 8972: where a session id would stand there is zero. Knows nothing of our code."""
PORTS = {"stateless": 8862, "stampless": 8863, "stateful": 8864, "dropping": 8865, "behind loss": 8866, "silent": 8867}
HOW: dict[str, dict[str, object]] = {
    "stateless": {},
    "stampless": {"stampless": True},
    "stateful": {"counts": True},
    "dropping": {"drops": 10, "counts": True},
    "behind loss": {},
}
"""Where there is a reflector, what it does."""
MEASURED = ("stateless", "stampless", "stateful")
LOSS = f"udp sport {PORTS['behind loss']} numgen inc mod 5 == 0 counter name lost drop"
ATTEMPTS = 3
"""Where this machine was too busy to send what was due, as its own counters say, or delayed packets for seconds,
nothing can be told of a router."""


@dataclass(frozen=True, slots=True)
class Found:
    measurements: dict[str, Measurement]
    """Of each case."""
    dropped: int
    """Replies that were dropped on the way back, ``behind loss``."""

    @property
    def tells(self) -> bool:
        """All was sent that was due, and the medians are bounded."""
        medians = [find(self.measurements[case], "delay.rtt", "p50").interval for case in MEASURED]
        fit = all(host.fit for found in self.measurements.values() for host in found.fitness)
        return fit and all(median is not None and math.isfinite(median.hi) for median in medians)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """All cases; those that need one have a reflector at the far end."""
    with Path3(tmp_path_factory.mktemp("spool"), tag="router") as path:
        for _ in range(ATTEMPTS):
            path.reset()
            path.rules("forward", LOSS, counters=("lost",))
            path.spool = tmp_path_factory.mktemp("spool")
            with ExitStack() as reflectors:
                for case, how in HOW.items():
                    reflectors.enter_context(router(path, PORTS[case], how))
                measurements = measure_all(path, tmp_path_factory.mktemp("results"))
            told = Found(measurements, path.counted("lost"))
            if told.tells:
                break
        return told


def context(port: int) -> RouterContext:
    """The lab's circuit with the near end of the namespaces, and a router at the far one."""
    lab = load_circuit(find_shipped("circuits/lab")).source.data
    host = {**lab["endpoints"]["onprem-a"], "interface": "eth0", "address": ADDRESSES[4]["a"]}
    router = {"site": "cloud", "address": ADDRESSES[4]["z"], "reflector": {"port": str(port)}}
    circuit = Circuit.model_validate({**lab, "endpoints": {"onprem-a": host, "vbr-a": router}})
    return RouterContext(circuit, *map(circuit.end, circuit.pairs[0]))


@contextmanager
def router(path: Path3, port: int, how: dict[str, object]) -> Iterator[None]:
    process = path.popen("z", sys.executable, "-c", REFLECTOR, ADDRESSES[4]["z"], str(port), json.dumps(how))
    try:
        for _ in range(100):
            if f":{port}" in path.run("z", "ss", "-Hlnu"):
                break
        else:
            raise AssertionError("the reflector does not listen")
        yield
    finally:
        process.kill()
        process.wait()


def measure_all(path: Path3, results: Path) -> dict[str, Measurement]:
    """A latency task of each case, its jobs at the near end started as the orchestrator would."""
    kind = TO_ROUTERS["latency"]
    params = kind.parameters.model_validate({"interval": "5ms", "duration": "10s"})
    contexts = {case: context(port) for case, port in PORTS.items()}
    tasks = {case: kind.tasks(params, case.replace(" ", "-"), here)[0] for case, here in contexts.items()}
    running: dict[tuple[str, str], Running] = {}
    for role in (Role.WATCH, Role.DRIVE):
        for case, task in tasks.items():
            for job in (job for job in task.jobs if job.role is role):
                running[case, job.id] = path.start("a", f"{task.id}.{job.id}", job.method, **job.args)
        if role is Role.WATCH:
            for watcher in running.values():
                watcher.wait_ready()
    for case in tasks:
        running[case, "probe"].data()
        running[case, "counters"].stop()
    folder = evidence.create(results, "c", "r", {})
    measurements = {}
    for case, task in tasks.items():
        for job in task.jobs:
            name = evidence.job_folder(task.id, job.endpoint, job.id)
            shutil.copytree(running[case, job.id].folder, folder.path / name)
        done = {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2}
        folder.write_json(f"raw/{task.id}/task.json", done)
        measurements[case] = kind.analyse(task, folder.files(task.id), contexts[case])
    return measurements


def find(found: Measurement, metric: str, statistic: str) -> Observation:
    return next(seen for seen in found.observations if (seen.metric, seen.statistic) == (metric, statistic))


def verdict(found: Measurement, metric: str, statistic: str, limit: float, unit: str) -> tuple[Verdict, str]:
    required = Criterion(metric, statistic, "<=", limit, unit, "test")
    return decide(find(found, metric, statistic), required, found.fitness)


@pytest.mark.parametrize("case", MEASURED)
def test_another_implementation_is_measured(found: Found, case: str) -> None:
    """Round trip and loss pass against a reflector that is not ours, whether it stamps and counts for itself or not."""
    seen = found.measurements[case]
    assert seen.status is Status.COMPLETED, seen.reason
    assert seen.facts["reflector"]["zero_ssid"] == find(seen, "duplication", "ratio").n > 900
    assert list(seen.facts["prober"]["stamps"]) == ["kernel/absent" if case == "stampless" else "kernel/remote"]
    said, why = verdict(seen, "delay.rtt", "p50", 1e9, "ns")
    assert said is Verdict.PASS, why
    said, why = verdict(seen, "loss", "ratio", 0.01, "1")
    assert said is Verdict.PASS, why
    assert {row.packets_hi for row in seen.ledger if row.stage == STAGE} == {0}


def test_what_the_router_drops_is_not_the_circuits(found: Found) -> None:
    """It answers nine of ten: nobody is told that the circuit lost the tenth, nor on which way."""
    measurement = found.measurements["dropping"]
    said, why = verdict(measurement, "loss", "ratio", 0.01, "1")
    assert said is Verdict.INCONCLUSIVE, why
    seen = find(measurement, "loss", "ratio")
    assert seen.value == seen.n // 10 / seen.n
    assert "were not answered (lost on the way or dropped by it) and 0 of" in why, why
    assert {row.scope.direction for row in measurement.ledger} == {Direction.ROUND_TRIP}
    assert {row.packets_hi for row in measurement.ledger if row.stage == STAGE} == {seen.n // 10}


def test_what_the_way_drops_is_not_proven_either(found: Found) -> None:
    """Loss between the ends looks the same from here: undecided, with the reason."""
    measurement = found.measurements["behind loss"]
    said, why = verdict(measurement, "loss", "ratio", 0.01, "1")
    assert said is Verdict.INCONCLUSIVE and "nobody knows" in why, why
    assert {row.packets_hi for row in measurement.ledger if row.stage == STAGE} == {found.dropped}


def test_a_router_without_a_reflector_is_said(found: Found) -> None:
    """Nobody answers: the measurement failed, and nothing is said of the circuit."""
    silent = found.measurements["silent"]
    assert silent.status is Status.FAILED and "vbr-a answered none of" in silent.reason
