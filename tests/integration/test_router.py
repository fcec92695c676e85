"""A reflector that is not ours stands for a router: what our sender and analysis make of its replies."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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

PORT = 8862
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


@pytest.fixture(scope="module")
def whole_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path3]:
    with Path3(tmp_path_factory.mktemp("spool"), tag="router") as path:
        yield path


def context() -> RouterContext:
    """The lab's circuit with the near end of the namespaces, and a router at the far one."""
    lab = load_circuit(find_shipped("circuits/lab")).source.data
    host = {**lab["endpoints"]["onprem-a"], "interface": "eth0", "address": ADDRESSES[4]["a"]}
    router = {"site": "cloud", "address": ADDRESSES[4]["z"], "reflector": {"port": str(PORT)}}
    circuit = Circuit.model_validate({**lab, "endpoints": {"onprem-a": host, "vbr-a": router}})
    return RouterContext(circuit, *map(circuit.end, circuit.pairs[0]))


@contextmanager
def router(path: Path3, **how: object) -> Iterator[None]:
    process = path.popen("z", sys.executable, "-c", REFLECTOR, ADDRESSES[4]["z"], str(PORT), json.dumps(how))
    try:
        for _ in range(100):
            if f":{PORT}" in path.run("z", "ss", "-Hlnu"):
                break
        else:
            raise AssertionError("the reflector does not listen")
        yield
    finally:
        process.kill()
        process.wait()


def measure(path: Path3, tmp_path: Path) -> Measurement:
    """A latency task with its jobs at the near end, as the orchestrator would run them."""
    here, kind = context(), TO_ROUTERS["latency"]
    (task,) = kind.tasks(kind.parameters.model_validate({"interval": "5ms", "duration": "10s"}), "step", here)
    running: dict[str, Running] = {}
    for role in (Role.WATCH, Role.DRIVE):
        for job in (job for job in task.jobs if job.role is role):
            running[job.id] = path.start("a", f"{job.endpoint}.{job.id}", job.method, **job.args)
            if role is Role.WATCH:
                running[job.id].wait_ready()
    running["probe"].data()
    running["counters"].stop()
    folder = evidence.create(tmp_path, "c", "r", {})
    for job, each in running.items():
        shutil.copytree(each.folder, folder.path / f"raw/step/onprem-a.{job}")
    folder.write_json("raw/step/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    return kind.analyse(task, folder.files("step"), here)


def find(found: Measurement, metric: str, statistic: str) -> Observation:
    return next(seen for seen in found.observations if (seen.metric, seen.statistic) == (metric, statistic))


def verdict(found: Measurement, metric: str, statistic: str, limit: float, unit: str) -> tuple[Verdict, str]:
    required = Criterion(metric, statistic, "<=", limit, unit, "test")
    return decide(find(found, metric, statistic), required, found.fitness)


@pytest.mark.parametrize("how", [{}, {"stampless": True}, {"counts": True}], ids=["stateless", "stampless", "stateful"])
def test_another_implementation_is_measured(path: Path3, tmp_path: Path, how: dict[str, object]) -> None:
    """Round trip and loss pass against a reflector that is not ours, whether it stamps and counts for itself or not."""
    with router(path, **how):
        found = measure(path, tmp_path)
    assert found.status is Status.COMPLETED, found.reason
    assert found.facts["reflector"]["zero_ssid"] == find(found, "duplication", "ratio").n > 900
    assert list(found.facts["prober"]["stamps"]) == ["kernel/absent" if how.get("stampless") else "kernel/remote"]
    said, why = verdict(found, "delay.rtt", "p95", 1e9, "ns")
    assert said is Verdict.PASS, why
    said, why = verdict(found, "loss", "ratio", 0.01, "1")
    assert said is Verdict.PASS, why
    assert {row.packets_hi for row in found.ledger if row.stage == STAGE} == {0}


def test_what_the_router_drops_is_not_the_circuits(path: Path3, tmp_path: Path) -> None:
    """It answers nine of ten: nobody is told that the circuit lost the tenth, nor on which way."""
    with router(path, drops=10, counts=True):
        found = measure(path, tmp_path)
    said, why = verdict(found, "loss", "ratio", 0.01, "1")
    assert said is Verdict.INCONCLUSIVE, why
    seen = find(found, "loss", "ratio")
    assert seen.value == seen.n // 10 / seen.n
    assert "were not answered (lost on the way or dropped by it) and 0 of" in why, why
    assert {row.scope.direction for row in found.ledger} == {Direction.ROUND_TRIP}
    assert {row.packets_hi for row in found.ledger if row.stage == STAGE} == {seen.n // 10}


def test_what_the_way_drops_is_not_proven_either(path: Path3, tmp_path: Path) -> None:
    """Loss between the ends looks the same from here: undecided, with the reason."""
    path.rules("forward", "udp sport 8862 numgen inc mod 5 == 0 counter name lost drop", counters=("lost",))
    with router(path):
        found = measure(path, tmp_path)
    said, why = verdict(found, "loss", "ratio", 0.01, "1")
    assert said is Verdict.INCONCLUSIVE and "nobody knows" in why, why
    assert {row.packets_hi for row in found.ledger if row.stage == STAGE} == {path.counted("lost")}


def test_a_router_without_a_reflector_is_said(path: Path3, tmp_path: Path) -> None:
    """Nobody answers: the measurement failed, and nothing is said of the circuit."""
    found = measure(path, tmp_path)
    assert found.status is Status.FAILED and "vbr-a answered none of" in found.reason
