"""Capacity on the lab: a circuit that carries less fails, a host that does less never fails a circuit. Needs root."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfharness.errors import Exit
from perfharness.lab import control, trouble
from perfharness.lab.faults import Wish
from perfharness.lab.topology import plan
from tests.integration import runs
from tests.integration.runs import RATE_BPS, SPEC, Result, circuit, perfharness, run_words, scenario

PORT = (("type: 1000Base-LX", "type: 10GBase-LR"), ("speed: 1Gbps", "speed: 10Gbps"))
CAPACITY = (
    "{id: capacity, measure: capacity, direction: a-z, hold: 2s, confirm: 1s, judge: "
    "[{metric: capacity.sustained, statistic: mean, at_least: 99.5% of order.bandwidth, rows: [EC-033]}]}"
)
POLICING = "{id: policing, measure: policing, direction: a-z}"
BUCKET_BYTES = 500_000
HOSTS = plan(SPEC).hosts


@pytest.fixture(scope="module", autouse=True)
def _lab() -> Iterator[None]:
    control.up(SPEC)
    yield
    control.down()


def run(folder: Path, *steps: str) -> tuple[int, str]:
    return perfharness(folder, *run_words(folder, scenario(folder, *steps), circuit(folder, *PORT)))


def sustained(result: Result) -> dict[str, Any]:
    return result.finding("capacity.sustained", "mean", "a-z")


def reported(result: Result, metric: str, statistic: str) -> Any:
    """The value of a row of which nothing is required."""
    rows = result.json()["findings"]
    return next(row["value"] for row in rows if (row["metric"], row["statistic"]) == (metric, statistic))


def test_a_healthy_circuit_carries_what_was_ordered(tmp_path: Path) -> None:
    """Within 0.3 % of what the kernel's shaper was told, limited by the circuit."""
    result, code, said = runs.until_decided(tmp_path, lambda folder: run(folder, CAPACITY))
    assert code == Exit.PASS, said
    found = sustained(result)
    assert found["value"] == pytest.approx(RATE_BPS, rel=0.003)
    assert "Limited by the circuit" in found["reason"]


def test_a_circuit_policed_below_its_order_fails_and_its_meter_is_named(tmp_path: Path) -> None:
    """The rate, the bucket and the layer at which it counts, in one sentence; the cause is the policer."""
    control.fault(Wish("policed-below-order", rate_bps=RATE_BPS // 2, bucket_bytes=BUCKET_BYTES))
    try:
        result, code, said = runs.until_decided(tmp_path, lambda folder: run(folder, CAPACITY, POLICING))
    finally:
        control.clear()
    assert code == Exit.FAIL, said
    assert sustained(result)["value"] == pytest.approx(RATE_BPS / 2, rel=0.003)
    assert reported(result, "policing", "kind") == "policer"
    assert reported(result, "policing.bucket", "median") == pytest.approx(BUCKET_BYTES, rel=0.1)
    assert reported(result, "policing", "layer") == "L2 with the VLAN tag"
    assert "policed-below-order" in result.causes


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (trouble.slow_nic(HOSTS[0], RATE_BPS // 2), "Limited by the network interface of onprem-a"),
        (trouble.small_buffers(HOSTS[1], SPEC.ecs.alias), "Limited by the CPU of ecs-a"),
        (trouble.busy_cpu(HOSTS[1].namespace, 0.6), "Limited by the CPU of"),
    ],
    ids=["slow NIC", "small buffers", "busy CPU"],
)
def test_a_slow_host_never_fails_a_healthy_circuit(tmp_path: Path, fault: trouble.Trouble, says: str) -> None:
    """It may pass all the same; where it does not it is undecided, and the host is named."""
    with fault:
        code, said = run(tmp_path, CAPACITY)
    assert code in (Exit.PASS, Exit.INCONCLUSIVE), said
    found = sustained(Result(tmp_path))
    if found["verdict"] == "INCONCLUSIVE":
        assert says in found["reason"]
    else:
        assert found["interval"]["lo"] >= 0.995 * RATE_BPS
