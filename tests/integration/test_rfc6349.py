"""TCP by RFC 6349 on the lab's circuit, with limits of socket buffers raised by consent. Needs root."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perfharness.errors import Exit
from perfharness.lab import control
from tests.integration import runs
from tests.integration.runs import PATH_STEP, Result, perfharness, run_words, scenario

RATIO = "{metric: tcp.transfer_time_ratio, statistic: ratio, at_most: 1.15, mandatory: false, rows: [EC-037]}"
EFFICIENCY = "{metric: tcp.efficiency, statistic: ratio, at_least: 95%, mandatory: false, rows: [EC-037]}"
STEP = (
    "{id: rfc6349, measure: rfc6349, direction: a-z, duration: 4s, omit: 1s, baseline: 1s, bottleneck: 2s, single: 1s, "
    f"congestion: cubic, attempts: 3, judge: [{RATIO}, {EFFICIENCY}]}}"
)
SLOW = (("bandwidth: 200Mbps", "bandwidth: 50Mbps"), ("rate: 200Mbps", "rate: 50Mbps"), ("rtt: 5ms", "rtt: 35ms"))
"""50 Mbit/s: what a bucket of 40 kB holds lasts for 6 ms, longer than most pauses of this machine."""
POLICED = {"rate_bps": 50_500_000, "policer_bytes": 40_000, "rtt_ns": 30_000_000}
RENO = (
    "{id: rfc6349, measure: rfc6349, direction: a-z, duration: 5s, omit: 2s, baseline: 1s, bottleneck: 2s, single: 0s, "
    "congestion: reno, attempts: 3, judge: [{metric: throughput.tcp, statistic: mean, "
    "at_least: 90% of order.bandwidth, mandatory: false, rows: [EC-033]}]}"
)
UDP = (
    "{id: udp, measure: throughput, protocol: udp, direction: a-z, duration: 3s, omit: 1s, attempts: 3, judge: "
    "[{metric: throughput.udp, statistic: mean, at_least: 99% of order.bandwidth, rows: [EC-033]}]}"
)
PLAIN = RENO.replace("id: rfc6349, measure: rfc6349,", "id: tcp, measure: throughput, protocol: tcp,").replace(
    "baseline: 1s, bottleneck: 2s, single: 0s, ", ""
)
"""Nothing but the load and the probes beside it."""
TUNED = ("    site: cloud\n", "    site: cloud\n    tune: {socket_buffers: 64MiB}\n")


@pytest.fixture(scope="module")
def untouched() -> Iterator[dict[str, str]]:
    """The lab is up; the hosts' settings as they were before anybody measured."""
    control.up(runs.SPEC)
    yield runs.settings()
    control.down()


def test_a_shaped_circuit_is_filled_and_the_hosts_are_as_before(untouched: dict[str, str], tmp_path: Path) -> None:
    """TCP has what the order leaves for payload, and says that the circuit is what limits it; limits of socket buffers
    that were raised by consent stand as before."""

    def attempt(folder: Path) -> tuple[int, str]:
        order = runs.circuit(folder, TUNED)
        return perfharness(folder, *run_words(folder, scenario(folder, PATH_STEP, STEP), order))

    rows = (("tcp.transfer_time_ratio", "ratio", "a-z"), ("tcp.efficiency", "ratio", "a-z"))
    result, code, said = runs.until_decided(tmp_path, attempt, *rows)
    assert code == Exit.PASS, said
    assert result.finding("tcp.transfer_time_ratio", "ratio", "a-z")["verdict"] == "PASS"
    assert result.finding("tcp.efficiency", "ratio", "a-z")["verdict"] == "PASS"
    assert runs.settings() == untouched
    assert "put_back" in tuned(result)


@pytest.mark.parametrize("tcp", [RENO, PLAIN], ids=["rfc6349", "throughput"])
def test_tcp_behind_a_policer_with_a_small_burst_is_a_warning(tcp: str, tmp_path: Path) -> None:
    """Evenly sent UDP has all that was ordered, so the circuit passes; TCP without a buffer on the way has not, and the
    policer's burst is named as the cause."""

    def attempt(folder: Path) -> tuple[int, str]:
        order = runs.circuit(folder, *SLOW)
        return perfharness(folder, *run_words(folder, scenario(folder, UDP, tcp), order))

    control.up(replace(runs.SPEC, **POLICED))
    try:
        result, code, said = runs.until_decided(tmp_path, attempt, ("throughput.tcp", "mean", "a-z"))
    finally:
        control.down()
    assert code == Exit.PASS, said
    assert result.finding("throughput.tcp", "mean", "a-z")["verdict"] == "WARN"
    assert "policer-burst-too-small" in result.causes
    assert "policed-below-order" not in result.causes


def tuned(result: Result) -> set[str]:
    """What is told of each setting that was raised and is what it was again."""
    (path,) = result.path.glob("raw/*rfc6349*/ecs-a.tune/result.json")
    rows = json.loads(path.read_bytes())["data"]["settings"]
    raised = [row for row in rows if row["new"] is not None]
    assert {row["name"] for row in raised} >= {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
    return {key for row in raised for key, value in row.items() if value is True}
