"""What reaches the other end and what must not, on the lab behind a firewall; and a far host that is out of reach.

Needs root and nftables.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfharness.lab import control, topology
from tests.integration import runs
from tests.integration.runs import PATH_STEP, Result, circuit, latency_step, perfharness, run_words, scenario, udp_step

ECS = "192.168.10.10"


@pytest.fixture(scope="module", autouse=True)
def _lab() -> Iterator[None]:
    control.up(runs.SPEC)
    yield
    control.down()


def test_ports_and_classes_are_told_by_what_befell_each(tmp_path: Path) -> None:
    """A firewall swallows one port and refuses another, one way only, lets a forbidden and an undeclared one through
    and remarks a class: each fails or warns by its name, in its direction."""
    rules = (
        f"ip daddr {ECS} tcp dport 5203 drop",
        f"ip daddr {ECS} udp dport 5204 reject with icmp admin-prohibited",
        f"ip daddr {ECS} ip dscp ef ip dscp set cs0",
    )
    order = circuit(
        tmp_path,
        ("    address: 192.168.10.10", "    address: 192.168.10.10\n    undeclared: 5450, 5451"),
        ("contacts:", "forbidden: [{from: onprem-a, to: ecs-a, port: 5440}]\ncontacts:"),
    )
    judged = f"judge: [{runs.REACHABLE}, {runs.OPEN}, {runs.CLOSED}, {runs.APART}, {runs.MARKED}]"
    step = f"{{id: path, measure: path, ping_count: 20, classes: [EF, BE], {judged}}}"
    listen = "import socket, time; s = socket.create_server(('192.168.10.10', 5450)); time.sleep(60)"
    with (
        subprocess.Popen(["ip", "netns", "exec", topology.ECS, sys.executable, "-c", listen]) as service,
        runs.filtered(topology.VPC, *rules),
    ):
        try:
            code, said = perfharness(tmp_path, *run_words(tmp_path, scenario(tmp_path, step), order))
        finally:
            service.kill()
    result = Result(tmp_path)
    there = result.finding("port", "blocked", "a-z")
    assert (code, there["verdict"], there["value"]) == (1, "FAIL", 2), said
    assert "tcp/5203 silent" in there["reason"]
    assert "udp/5204 rejected by " in there["reason"]
    assert "(admin prohibited)" in there["reason"]
    assert result.finding("port", "blocked", "z-a")["verdict"] == "PASS"
    undeclared, forbidden = (result.finding("port", name, "a-z") for name in ("open_undeclared", "forbidden_open"))
    assert (undeclared["verdict"], "tcp/5450" in undeclared["reason"]) == ("WARN", True)
    assert (forbidden["verdict"], "ecs-a tcp/5440" in forbidden["reason"]) == ("FAIL", True)
    assert result.finding("port", "forbidden_open", "z-a")["verdict"] == "NOT_APPLICABLE"
    marks = {
        (row["scope"]["service"], row["direction"]): row["verdict"]
        for row in result.json()["findings"]
        if row["metric"] == "dscp"
    }
    assert marks == {("EF", "a-z"): "WARN", ("EF", "z-a"): "PASS", ("BE", "a-z"): "PASS", ("BE", "z-a"): "PASS"}
    assert result.causes == {"port-blocked", "dscp-remarked"}


def test_a_far_host_that_does_not_answer_is_a_finding(tmp_path: Path) -> None:
    """The way back is gone: one direction delivers, the cause is named, no load waits for an answer, and it fails."""
    steps = (PATH_STEP, latency_step(1), udp_step("a-z"))
    with runs.filtered(topology.VPC, f"ip saddr {ECS} reject with icmp net-unreachable"):
        code, said = perfharness(tmp_path, *run_words(tmp_path, scenario(tmp_path, *steps)))
    result = Result(tmp_path)
    assert (code, result.finding("path", "reachable", "z-a")["verdict"]) == (1, "FAIL"), said
    assert result.finding("path", "reachable", "a-z")["verdict"] == "PASS", said
    rate = result.finding("throughput.udp", "mean", "a-z")
    assert (rate["verdict"], "did not answer" in rate["reason"]) == ("NOT_RUN", True)
    assert result.causes == {"far-host-unreachable", "missing-return-route"}
