"""Classes of service at the same time over a router that treats one badly, and packets of several sizes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from perfagent import records
from perfharness import evidence
from perfharness.judge.verdict import decide
from perfharness.measurements import REGISTRY, Context, probe
from perfharness.model import Criterion, Direction, Measurement, Observation, Role, Verdict
from perfharness.order.circuit import Endpoint, load_circuit
from perfharness.order.scenario import find_shipped
from tests.integration.namespaces import ADDRESSES, Path3, Running

A_Z, Z_A, BOTH = Direction.A_Z, Direction.Z_A, Direction.ROUND_TRIP
CIRCUIT = load_circuit(find_shipped("circuits/lab"))
LOSS = Criterion("loss", "ratio", "<=", 5e-3, "1", "test")
CLASSES = ("EF", "AF41", "BE")


def endpoint(name: str, end: str) -> Endpoint:
    """One of the lab's, moved to the namespace."""
    return CIRCUIT.endpoint(name).model_copy(update={"address": ip_address(ADDRESSES[4][end]), "interface": "eth0"})


CONTEXT = Context(CIRCUIT, endpoint("onprem-a", "a"), endpoint("ecs-a", "z"))
PORT = CONTEXT.probe_port()


@pytest.fixture(scope="module")
def whole_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path3]:
    with Path3(tmp_path_factory.mktemp("spool"), "class") as path:
        yield path


def measured(path: Path3, results: Path, **params: Any) -> tuple[Measurement, Path]:
    """``latency`` with these parameters, its jobs run as ``collect`` would; and where their files are."""
    kind = REGISTRY["latency"]
    (task,) = kind.tasks(kind.parameters.model_validate(params), "step", CONTEXT)
    folder = evidence.create(results, CIRCUIT.id, "run", {})
    jobs: list[tuple[str, Running]] = []
    for role in (Role.WATCH, Role.SERVE, Role.DRIVE):
        for job in (job for job in task.jobs if job.role is role):
            name = f"{job.endpoint}.{job.id}"
            running = path.start("a" if job.endpoint == CONTEXT.a.name else "z", name, job.method, **job.args)
            jobs.append((name, running))
            if role is Role.SERVE:
                running.wait_ready()
            if role is Role.DRIVE:
                running.data()
    for name, running in reversed(jobs):
        if running.process.poll() is None:
            running.stop()
        shutil.copytree(running.folder, folder.path / "raw" / task.id / name)
    done = {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2}
    folder.write_json(f"raw/{task.id}/task.json", done)
    sender = folder.path / "raw" / task.id / f"{CONTEXT.a.name}.{probe.SENDER}"
    return kind.analyse(task, folder.files(task.id), CONTEXT), sender


def figure(found: Measurement, metric: str, statistic: str, way: Direction, service: str) -> Observation:
    (seen,) = (
        each
        for each in found.observations
        if (each.metric, each.statistic, each.scope.direction, each.scope.service) == (metric, statistic, way, service)
    )
    return seen


def test_the_lossy_and_the_remarked_class_are_named(path: Path3, tmp_path: Path) -> None:
    """EF loses 5 % there and AF41 arrives as BE: each is told to the packet, and BE, sent meanwhile, is clean."""
    flow = f'iifname "to-a" udp dport {PORT}'
    path.rules(
        "forward",
        f"{flow} ip dscp ef numgen random mod 100 < 5 counter name dropped drop",
        f"{flow} ip dscp af41 ip dscp set cs0",
        counters=("dropped",),
    )
    found, _ = measured(path, tmp_path, classes=list(CLASSES), interval="3ms", duration="4s", packet="imix")
    dropped = path.counted("dropped")
    ef = figure(found, "loss", "ratio", A_Z, "EF")
    assert isinstance(ef.value, float) and round(ef.value * ef.n) == dropped > 0
    there = [event["classes"] for event in found.facts["loss_events"] if event["direction"] == "a-z"]
    assert sum(lost["EF"] for lost in there) == dropped and all(lost.keys() == {"EF"} for lost in there)
    fit = [replace(host, fit=True) for host in found.fitness]  # a busy machine leaves packets out; no matter here
    verdicts = {
        (service, way): decide(figure(found, "loss", "ratio", way, service), LOSS, fit)[0]
        for service in CLASSES
        for way in (A_Z, Z_A)
    }
    assert verdicts.pop(("EF", A_Z)) is Verdict.FAIL
    assert set(verdicts.values()) == {Verdict.PASS}
    for way, kept in ((A_Z, [True, False, True]), (Z_A, [True, True, True])):
        assert [figure(found, "dscp", "preserved", way, service).value for service in CLASSES] == kept
    for service in CLASSES:
        assert figure(found, "delay.rtt", "p50", BOTH, service).value
        assert [each["frame_bytes"] for each in found.facts["classes"][service]["sizes"]] == [90, 594, 1518]


def test_voice_beside_bulk_keeps_its_own_interval(path: Path3, tmp_path: Path) -> None:
    """20 ms of 200 B in EF beside 1 ms of 1000 B: each leaves with its mark, size and interval, EF's losses are its own
    to the packet, and both ends count marks by class."""
    flow = f'iifname "to-a" udp dport {PORT} ip dscp ef'
    path.rules("forward", f"{flow} numgen inc mod 10 == 3 counter name dropped drop", counters=("dropped",))
    classes = [{"dscp": "EF", "interval": "20ms", "packet": "200B"}, "BE"]
    found, sender = measured(path, tmp_path, classes=classes, interval="1ms", packet="1000B", duration="4s")
    ef, be = (figure(found, "loss", "ratio", A_Z, service) for service in ("EF", "BE"))
    sent = [row for row in records.read((sender / "sender.rec").read_bytes()) if row.flags & records.SENT]
    voice = [row for row in sent if row.seq % 21 == 0]
    assert (ef.n, be.n) == (len(voice), len(sent) - len(voice))
    assert 190 <= ef.n <= 200 and isinstance(ef.value, float) and round(ef.value * ef.n) == path.counted("dropped") > 0
    assert be.value == 0
    gaps = [later.t1 - row.t1 for row, later in pairwise(voice) if later.seq - row.seq == 21]
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(20e6, rel=0.01)
    for service in ("EF", "BE"):
        for way in (A_Z, Z_A):
            assert figure(found, "dscp", "preserved", way, service).value is True
    assert [figure(found, "delay.rtt", "p50", BOTH, each).scope.frame_bytes for each in ("EF", "BE")] == [242, 1042]


def test_all_sizes_have_kernel_stamps(path: Path3, tmp_path: Path) -> None:
    """Whatever the size of a packet, its own transmit stamp finds it, at both ends."""
    found, sender = measured(path, tmp_path, packet=["44B", "100B", "1472B"], interval="2ms", duration="2s")
    replied = [row for row in records.read((sender / "sender.rec").read_bytes()) if row.flags & records.REPLIED]
    assert len(replied) > 500
    assert found.facts["prober"]["stamps"] == {"kernel/kernel": len(replied)}
    assert [each["payload_bytes"] for each in found.facts["sizes"]] == [44, 100, 1472]
