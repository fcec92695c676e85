"""A whole run with authenticated probes between two hosts, while somebody on the path forges packets of both ends."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from perfharness import collect
from perfharness.model import Measurement, Run, Task, Verdict
from perfharness.order.scenario import find_shipped
from perfharness.run import run
from tests.contract.leaks import leaks
from tests.contract.local_link import LocalLink
from tests.contract.sandbox import Sandbox, sandboxed

A, Z = "onprem-a", "ecs-a"
ADDRESSES = {A: "10.10.0.10", Z: "192.168.10.10"}
PORT = 862
FORGED = 7
SCENARIO = """format_version: 1
id: signed
title: Signed
lease: 20s
steps:
  - id: latency
    measure: latency
    authenticated: true
    interval: 5ms
    duration: 3s
    judge: [{metric: loss, statistic: ratio, at_most: 50%}]
  - id: flows
    measure: flows
    authenticated: true
    flows: 8
    interval: 20ms
    duration: 3s
"""
TASKS = {"latency": "01-latency", "flows": "02-flows"}
FORGE = f"""
import socket, struct, sys
source, target, source_port, port, ssid = sys.argv[1:]
packet = struct.pack(">26xH84x", int(ssid))
head = struct.pack(">HHHH", int(source_port), int(port), 8 + len(packet), 0)
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
    raw.bind((source, 0))
    for _ in range({FORGED}):
        raw.sendto(head + packet, (target, 0))
"""
"""Packets of the right session and length, whose digest is zero."""


@dataclass
class Told:
    """What came of the run."""

    run: Run
    folder: Path
    keys: list[bytes]
    """All that were made."""
    jobs: dict[str, int] = field(default_factory=dict)
    """How many were at work, by the method of the sender, when ..."""
    seen: list[str] = field(default_factory=list)
    """... keys were looked for, and where they were seen."""

    def data(self, step: str, end: str, job: str) -> Mapping[str, Any]:
        result = json.loads((self.folder / f"raw/{TASKS[step]}/{end}.{job}/result.json").read_bytes())
        assert result["args"]["signed"] == "authenticated"
        return dict(result["data"])

    def measured(self, step: str) -> Measurement:
        return next(found for found in self.run.measurements if found.task.step == step)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("signed")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        hosts = {}
        for name in ADDRESSES:
            (folder / name).mkdir()
            hosts[name] = stack.enter_context(sandboxed(folder / name))
        _connect(hosts)
        patch.setattr("perfharness.fleet.ssh.connect", lambda _name, _target: LocalLink())
        yield _told(folder, hosts, patch)


def _told(folder: Path, hosts: Mapping[str, Sandbox], patch: pytest.MonkeyPatch) -> Told:
    keys: list[bytes] = []
    jobs: dict[str, int] = {}
    seen: list[str] = []
    make, wait = secrets.token_bytes, collect._wait_done

    def made(size: int) -> bytes:
        drawn = make(size)
        keys.extend([drawn] if size == collect.KEY_BYTES else [])
        return drawn

    def waited(session: Any, task: Task, job: Any, *patience: Any) -> Any:
        if job.method in ("stamp.send", "flows.send") and job.method not in jobs:
            Sandbox.await_true(lambda: _bound(hosts[A]))
            jobs[job.method] = sum(len(host.running("job")) for host in hosts.values())
            seen.extend(place for key in keys for place in leaks(key, *(host.tmp for host in hosts.values())))
            _forge(hosts, job.args["ssid"])
        return wait(session, task, job, *patience)

    patch.setattr(secrets, "token_bytes", made)
    patch.setattr(collect, "_wait_done", waited)
    circuit, scenario = folder / "circuit.yaml", folder / "scenario.yaml"
    order = find_shipped("circuits/lab").read_text()
    for name, host in hosts.items():
        order = order.replace(f"  {name}:\n", f"  {name}:\n    python: {host.python}\n")
    circuit.write_text(order)
    scenario.write_text(SCENARIO)
    judged = run(str(scenario), circuit, folder / "results", (), Console(stderr=True))
    (result,) = (folder / "results").glob("*/*/plan.json")
    return Told(judged, result.parent, keys, jobs, seen)


def _connect(hosts: Mapping[str, Sandbox]) -> None:
    """A cable between the two."""
    near, far = (str(host.holder.pid) for host in hosts.values())
    _root("ip", "link", "add", "eth0", "netns", near, "type", "veth", "peer", "name", "eth0", "netns", far)
    for (name, host), other in zip(hosts.items(), reversed(ADDRESSES.values()), strict=True):
        inside = ("nsenter", "-t", str(host.holder.pid), "--net", "ip")
        _root(*inside, "address", "add", f"{ADDRESSES[name]}/32", "dev", "eth0")
        for link in ("lo", "eth0"):
            _root(*inside, "link", "set", link, "up")
        _root(*inside, "route", "add", other, "dev", "eth0")


def _forge(hosts: Mapping[str, Sandbox], ssid: int) -> None:
    """To each end what looks like the other's packets, from the other's own address and port."""
    port = _bound(hosts[A])[0]
    for source, target, ports in ((A, Z, (port, PORT)), (Z, A, (PORT, port))):
        words = map(str, (ADDRESSES[source], ADDRESSES[target], *ports, ssid))
        _root(str(hosts[source].python), "-c", FORGE, *words)


def _bound(host: Sandbox) -> list[int]:
    """Ports of the UDP sockets on the on-prem end's test address: the sender's, several where it has flows."""
    table = Path(f"/proc/{host.holder.pid}/net/udp").read_text().splitlines()[1:]
    places = [line.split()[1].split(":") for line in table]
    return [int(port, 16) for address, port in places if address == "0A000A0A"]


def _root(*words: str) -> None:
    subprocess.run(words, check=True)


def test_the_key_is_nowhere_while_both_ends_use_it(told: Told) -> None:
    """One key was made for each task; no agent's file, command line or environment held any while the jobs ran."""
    assert len(set(told.keys)) == len(TASKS)
    assert told.jobs.keys() == {"stamp.send", "flows.send"}
    assert min(told.jobs.values()) >= 4, "sender, reflector and counters at least"
    assert told.seen == []


def test_the_key_is_nowhere_in_the_run_folder(told: Told) -> None:
    """Neither plan nor evidence, log, findings nor report holds it, though they say that packets were signed."""
    assert [leaks(key, told.folder) for key in told.keys] == [[], []]
    assert told.run.verdict is Verdict.PASS, "what somebody else sends does not matter"
    assert (told.folder / "plan.json").read_text().count('"secret": "stamp"') == 2 * len(TASKS)


@pytest.mark.parametrize("step", TASKS)
def test_forged_packets_are_refused_and_counted(told: Told, step: str) -> None:
    """Each end measures what is signed and nothing else, whichever flow a forged reply comes to; what it refused is in
    its result and in the report."""
    sent, reflected = told.data(step, A, "probe"), told.data(step, Z, "reflector")
    assert sent["refused"] == reflected["refused"] == {"forged": FORGED}
    assert reflected["received"] == sent["sent"] == sent["received"] > 500
    assert told.measured(step).facts["authenticated"] == {"replies": sent["received"], "forged": 2 * FORGED}
    page = (told.folder / "report.html").read_text().replace("\u00a0", " ")
    said = f"{sent['received']:,} replies with the right digest, {2 * FORGED} packets refused"
    assert f"{TASKS[step]}: {said}" in page


def test_forged_packets_are_no_loss(told: Told) -> None:
    """Nothing is lost by them, of either way or any flow; where loss is told they are named."""
    losses = [seen for seen in told.measured("latency").observations if seen.metric == "loss"]
    assert [seen.value for seen in losses] == [0, 0]
    assert all(f" {FORGED} that came were refused as forged." in seen.reason for seen in losses)
    worst = [seen for seen in told.measured("flows").observations if seen.statistic == "worst_loss"]
    assert [seen.value for seen in worst] == [0, 0]
