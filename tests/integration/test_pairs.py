"""Two pairs of hosts together on the lab, and an instance whose limit no counter of its own shows. Needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perfharness.errors import Exit
from perfharness.lab import control, topology
from perfharness.lab.spec import LabSpec
from perfharness.order.circuit import load_circuit
from tests.integration import runs
from tests.integration.runs import HOME, LOSS, ORDERED, RATE, RATE_BPS, Result, perfharness, run_words, scenario

CIRCUIT = HOME / "scenarios" / "circuits" / "lab-pairs.yaml"
SPEC = replace(LabSpec.from_circuit(load_circuit(CIRCUIT)), rate_bps=RATE_BPS)
CEILING = "{id: ceiling, measure: ceiling, duration: 2s, against: neighbour, protocol: udp}"
TOGETHER = (
    "{id: udp, measure: throughput, pairs: together, protocol: udp, direction: a-z, duration: 3s, omit: 1s, "
    f"judge: [{RATE}, {LOSS}]}}"
)
PAIR = "onprem-a+onprem-b:ecs-a+ecs-b"


@pytest.fixture(scope="module", autouse=True)
def _lab() -> Iterator[None]:
    control.up(SPEC)
    yield
    control.down()


def run(folder: Path) -> tuple[int, str]:
    text = CIRCUIT.read_text(encoding="utf-8")
    for old, new in ORDERED:
        text = text.replace(old, new)
    order = folder / "circuit.yaml"
    order.write_text(text, encoding="utf-8")
    return perfharness(folder, *run_words(folder, scenario(folder, CEILING, TOGETHER), str(order)))


def test_two_pairs_together_carry_what_was_ordered(tmp_path: Path) -> None:
    """The sum passes though neither pair offers more than half, and both ends of each are proven to do their share."""
    result, code, said = runs.until_decided(tmp_path, run)
    assert code == Exit.PASS, said
    rate = result.finding("throughput.udp", "mean", "a-z")
    assert rate["scope"]["pair"] == PAIR and rate["value"] > 0.995 * RATE_BPS
    each = [row for row in result.json()["findings"] if row["metric"] == "throughput.udp" and row is not rate]
    assert {row["scope"]["pair"] for row in each} >= {"onprem-a:ecs-a", "onprem-b:ecs-b"}
    least = {
        (row["scope"]["host"], row["direction"]): row["interval"]["lo"]
        for row in result.json()["findings"]
        if row["metric"] == "ceiling"
    }
    assert min(least.values()) > RATE_BPS / 2, least


def test_an_instance_that_can_take_no_more_is_named_and_not_the_circuit(tmp_path: Path) -> None:
    """What reaches ecs-a is limited outside of it, without a counter there: the shortfall stays undecided."""
    limit = f"rate {RATE_BPS // 10 * 3}bit burst 64kb latency 20ms"
    port = ["tc", "-n", topology.VPC, "qdisc", "replace", "dev", "ecs-a", "root", "tbf", *limit.split()]
    subprocess.run(port, check=True)
    try:
        code, said = run(tmp_path)
    finally:
        subprocess.run([*port[:4], "del", *port[5:8]], check=True)
    result = Result(tmp_path)
    assert code == Exit.INCONCLUSIVE, said
    rate = result.finding("throughput.udp", "mean", "a-z")
    assert rate["verdict"] == "INCONCLUSIVE" and "against ecs-b" in rate["reason"]
    assert "ecs-instance-limit" in result.causes and "policed-below-order" not in result.causes
