"""Runs that ask the two routers at the circuit's edges: the CE for its counters, the VBR's reflector for replies."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perfharness.lab import control, topology
from tests.integration import runs
from tests.integration.runs import latency_step, perfharness, run_words, scenario

CE = """
ce:
  name: ce-a
  ssh: {host: ce-a, config: /run/perfharness-lab/ssh_config}
  lan: core
  wan: wan
"""
VBR = """
  vbr-a:
    site: cloud
    address: 172.16.100.1
    reflector: {port: 862}
"""


@pytest.fixture(scope="module", autouse=True)
def _lab() -> Iterator[None]:
    control.up(runs.SPEC)
    yield
    control.down()


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    runs.eventually(lambda: not runs.footprint(), f"nothing of ours on the hosts, but: {runs.footprint()}")


def circuit(folder: Path) -> str:
    """The lab's order, with a CE that can be read and a VBR that answers."""
    return runs.circuit(folder, ("ce: ph-ce-a\n", CE.lstrip()), ("\ncontacts:\n", f"{VBR}\ncontacts:\n"))


@contextmanager
def reflecting(namespace: str) -> Iterator[None]:
    """Our own reflector, started by hand, plays a router's."""
    words = ["stamp", "reflector", "172.16.100.1", "--duration", "60s"]
    argv = ["ip", "netns", "exec", namespace, sys.executable, "-m", "perfharness", *words]
    with subprocess.Popen(argv, cwd=runs.HOME, stdout=subprocess.DEVNULL) as process:
        try:
            runs.eventually(lambda: ":862" in runs.command("ss", "-N", namespace, "-Hlun"), "a reflector that listens")
            yield
        finally:
            process.terminate()
            process.wait()


def test_both_edges_are_asked(tmp_path: Path) -> None:
    """Of one packet in fifty that is lost behind the CE, its counters say that they left it; the round trips to the
    VBR, which nobody drops, are a pair of their own; and both routers are left as they were."""
    drop = "ip daddr 192.168.10.10 udp dport 862 numgen inc mod 50 == 0 counter name hit drop"
    truth = 0

    def attempt(folder: Path) -> tuple[int, str]:
        nonlocal truth
        with runs.filtered(topology.VBR, drop):
            answer = perfharness(folder, *run_words(folder, scenario(folder, latency_step(3)), circuit(folder)))
            truth = runs.hits(topology.VBR)
        return answer

    with reflecting(topology.VBR):
        result, code, said = runs.until_decided(tmp_path, attempt)
    document = result.json()
    rows = {
        (row["scope"]["pair"], row["direction"]): row
        for row in document["findings"]
        if row["metric"] == "loss" and row["threshold"] is not None
    }
    assert (code, document["verdict"]) == (1, "FAIL"), said
    lost = rows["onprem-a:ecs-a", "a-z"]
    assert round(lost["value"] * lost["n"]) == truth, said
    assert rows["onprem-a:vbr-a", "round-trip"]["verdict"] in ("PASS", "INCONCLUSIVE"), said
    assert rows["onprem-a:vbr-a", "round-trip"]["value"] == 0, said
    stages = {row["stage"] for row in document["ledger"] if row["segment"] == "ce"}
    assert stages, document["ledger"]
    page = (result.path / "report.html").read_text(encoding="utf-8")
    crossed = re.search(r"([\d,]+)\s+packets crossed\s+wan of\s+ce-a", page)
    assert crossed is not None, said
    sent = int(lost["n"])
    assert sent <= int(crossed[1].replace(",", "")) <= sent + 200
