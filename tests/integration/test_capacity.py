"""Capacity on the lab: a circuit that carries less fails, a host that does less never fails a circuit. Needs root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
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
JUDGE = "{metric: capacity.sustained, statistic: mean, at_least: 99.5% of order.bandwidth, rows: [EC-033]}"
POLICING = "{id: policing, measure: policing, direction: a-z, long: 1s}"
BUCKET_BYTES = 500_000
REQUIRED_BPS = 0.995 * RATE_BPS
ONPREM, ECS = plan(SPEC).hosts


@pytest.fixture(scope="module", autouse=True)
def _lab() -> Iterator[None]:
    control.up(SPEC)
    yield
    control.down()


def capacity(*ways: str) -> str:
    how = f"direction: [{', '.join(ways)}], hold: 2s, confirm: 1s"
    return f"{{id: capacity, measure: capacity, {how}, judge: [{JUDGE}]}}"


def run(folder: Path, *steps: str) -> tuple[int, str]:
    return perfharness(folder, *run_words(folder, scenario(folder, *steps), circuit(folder, *PORT)))


def sustained(result: Result, way: str = "a-z") -> dict[str, Any]:
    return result.finding("capacity.sustained", "mean", way)


def reported(result: Result, metric: str, statistic: str) -> Any:
    """The value of a row of which nothing is required."""
    rows = result.json()["findings"]
    return next(row["value"] for row in rows if (row["metric"], row["statistic"]) == (metric, statistic))


def test_a_healthy_circuit_carries_what_was_ordered(tmp_path: Path) -> None:
    """Within 0.3 % of what the kernel's shaper was told, limited by the circuit."""
    result, code, said = runs.until_decided(tmp_path, lambda folder: run(folder, capacity("a-z")))
    assert code == Exit.PASS, said
    found = sustained(result)
    assert found["value"] == pytest.approx(RATE_BPS, rel=0.003)
    assert "Limited by the circuit" in found["reason"]


def test_a_circuit_policed_below_its_order_fails_and_its_meter_is_named(tmp_path: Path) -> None:
    """The rate, the bucket and the layer at which it counts, in one sentence; the cause is the policer."""
    control.fault(Wish("policed-below-order", rate_bps=RATE_BPS // 2, bucket_bytes=BUCKET_BYTES))
    try:
        result, code, said = runs.until_decided(tmp_path, lambda folder: run(folder, capacity("a-z"), POLICING))
    finally:
        control.clear()
    assert code == Exit.FAIL, said
    assert sustained(result)["value"] == pytest.approx(RATE_BPS / 2, rel=0.003)
    assert reported(result, "policing", "kind") == "policer"
    assert reported(result, "policing.bucket", "median") == pytest.approx(BUCKET_BYTES, rel=0.1)
    assert reported(result, "policing", "layer") == "L2 with the VLAN tag"
    assert "policed-below-order" in result.causes


SENDS_LITTLE = trouble.slow_nic(ONPREM, RATE_BPS // 2)
TAKES_LITTLE = trouble.small_buffers(ONPREM, SPEC.onprem.alias)
BUSY = trouble.busy_cpu(ECS.namespace, 0.6)


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        (
            (SENDS_LITTLE, TAKES_LITTLE),
            {"a-z": "Limited by the network interface of onprem-a", "z-a": "Limited by the CPU of onprem-a"},
        ),
        ((BUSY,), {"a-z": "Limited by the CPU of"}),
    ],
    ids=["slow NIC, small buffers", "busy CPU"],
)
def test_a_slow_host_never_fails_a_healthy_circuit(
    tmp_path: Path, faults: tuple[trouble.Trouble, ...], says: dict[str, str]
) -> None:
    """It may pass all the same; where it does not it is undecided, and the host is named for what is missing."""
    with ExitStack() as on:
        for fault in faults:
            on.enter_context(fault)
        code, said = run(tmp_path, capacity(*says))
    assert code in (Exit.PASS, Exit.INCONCLUSIVE), said
    for way, words in says.items():
        found = sustained(Result(tmp_path), way)
        if found["verdict"] == "PASS":
            assert found["interval"]["lo"] >= REQUIRED_BPS
        else:
            assert words in found["reason"] or found["interval"]["hi"] >= REQUIRED_BPS
