"""TCP by RFC 6349 on the lab's circuit, with limits of socket buffers raised by consent. Needs root."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfharness.lab import control
from tests.integration import runs
from tests.integration.runs import Result, perfharness, run_words, scenario, udp_step

RATIO = "{metric: tcp.transfer_time_ratio, statistic: ratio, at_most: 1.15, mandatory: false, rows: [EC-037]}"
EFFICIENCY = "{metric: tcp.efficiency, statistic: ratio, at_least: 95%, mandatory: false, rows: [EC-037]}"
STEP = (
    "{id: rfc6349, measure: rfc6349, direction: a-z, duration: 5s, omit: 1s, baseline: 2s, bottleneck: 2s, single: 3s, "
    f"congestion: cubic, judge: [{RATIO}, {EFFICIENCY}]}}"
)
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
        return perfharness(folder, *run_words(folder, scenario(folder, STEP, udp_step("a-z")), order))

    result, code, said = runs.until_decided(tmp_path, attempt)
    assert code == 0, said
    assert result.finding("tcp.transfer_time_ratio", "ratio", "a-z")["verdict"] == "PASS"
    assert result.finding("tcp.efficiency", "ratio", "a-z")["verdict"] == "PASS"
    assert runs.settings() == untouched
    assert "put_back" in tuned(result)


def tuned(result: Result) -> set[str]:
    """What is told of each setting that was raised and is what it was again."""
    (path,) = result.path.glob("raw/*rfc6349*/ecs-a.tune/result.json")
    rows = json.loads(path.read_bytes())["data"]["settings"]
    raised = [row for row in rows if row["new"] is not None]
    assert {row["name"] for row in raised} >= {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
    return {key for row in raised for key, value in row.items() if value is True}
