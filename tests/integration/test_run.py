"""A run from end to end: the real coordinator, agents over real SSH, the lab's circuit. Needs root."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from perfharness.lab import topology
from perfharness.report import findings
from tests.integration import runs
from tests.integration.runs import (
    HOST_STEP,
    PATH_STEP,
    Result,
    latency_step,
    perfharness,
    run_words,
    scenario,
    udp_step,
)

ECS = "192.168.10.10"
TCP_STEP = (
    "{id: tcp, measure: throughput, protocol: tcp, direction: a-z, duration: 3s, omit: 0s, congestion: cubic, "
    "judge: [{metric: throughput.tcp, statistic: mean, at_least: 80% of order.bandwidth, mandatory: false}]}"
)
PMTU_STEP = (
    "{id: pmtu, measure: pmtu, judge: [{metric: pmtu, statistic: largest, at_least: objectives.pmtu, rows: [EC-029]}]}"
)


pytestmark = pytest.mark.usefixtures("nothing_left")


# --- the healthy circuit --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def healthy(untouched: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, int, str]:
    """A run with every measurement on the circuit as ordered, with a loss objective that seconds can prove."""
    loss = "{metric: loss, statistic: ratio, at_most: objectives.loss, rows: [EC-042]}"
    again = ", attempts: 3"
    timed = (latency_step(5, loss, again), TCP_STEP, udp_step("a-z", "z-a", more=again))
    steps = (HOST_STEP, PATH_STEP, PMTU_STEP, *timed)

    def attempt(folder: Path) -> tuple[int, str]:
        order = runs.circuit(folder, ("loss: 1e-4", "loss: 1e-3"))
        return perfharness(folder, *run_words(folder, scenario(folder, *steps), order))

    return runs.until_decided(tmp_path_factory.mktemp("healthy"), attempt)


def test_a_healthy_circuit_passes(healthy: tuple[Result, int, str]) -> None:
    """Every measurement completes, nothing mandatory is open, and the run is a PASS with its report."""
    result, code, said = healthy
    document = findings.check(result.json())
    undecided = [row for row in document["findings"] if row["mandatory"] and row["verdict"] != "PASS"]
    assert (code, document["verdict"], undecided) == (0, "PASS", []), said
    metrics = {row["metric"] for row in document["findings"] if row["threshold"] is not None}
    assert metrics == {"path", "port", "pmtu", "delay.rtt", "loss", "throughput.tcp", "throughput.udp", "footprint"}
    assert (result.path / "report.html").read_bytes().startswith(b"<!")


def test_every_finding_leads_to_intact_evidence(healthy: tuple[Result, int, str]) -> None:
    """What was measured names files that exist, are in the manifest, and are what they were when written."""
    result = healthy[0]
    entries = [json.loads(line) for line in (result.path / "manifest.jsonl").read_text().splitlines()]
    hashes = {entry["path"]: entry["sha256"] for entry in entries}
    actual = {path: hashlib.sha256((result.path / path).read_bytes()).hexdigest() for path in hashes}
    assert actual == hashes
    for row in result.json()["findings"]:
        assert row["evidence"], row
        assert set(row["evidence"]) <= hashes.keys(), row


def test_the_agents_were_seen_to_leave(healthy: tuple[Result, int, str]) -> None:
    """The run itself says that nothing was left behind."""
    (row,) = (row for row in healthy[0].json()["findings"] if row["metric"] == "footprint")
    assert (row["verdict"], row["value"]) == ("PASS", 0)


def test_the_report_is_a_function_of_the_evidence(healthy: tuple[Result, int, str], tmp_path: Path) -> None:
    """Made again, findings and page are the same bytes (and the PDF is a function of the page)."""
    result, code, _ = healthy
    names = ("findings.json", "report.html")
    before = {name: (result.path / name).read_bytes() for name in names}
    for name in names:
        (result.path / name).unlink()
    assert perfharness(tmp_path, "report", str(result.path), "--no-pdf")[0] == code
    assert [name for name in names if (result.path / name).read_bytes() != before[name]] == []


def test_seconds_do_not_prove_one_in_ten_thousand(healthy: tuple[Result, int, str], tmp_path: Path) -> None:
    """Held against a loss objective of 1e-4 the same evidence is inconclusive and says how many packets would do."""
    result = healthy[0]
    code, said = perfharness(tmp_path, "report", str(result.path), "--no-pdf", "--circuit", runs.circuit(tmp_path))
    assert code == 3, said
    (again,) = result.path.glob("rejudged-*/findings.json")
    open_rows = [row for row in json.loads(again.read_bytes())["findings"] if row["verdict"] == "INCONCLUSIVE"]
    assert {(row["metric"], row["direction"]) for row in open_rows} == {("loss", "a-z"), ("loss", "z-a")}
    assert all("about 30,000 packets would decide" in row["reason"] for row in open_rows), open_rows


# --- a circuit that is not what was ordered -------------------------------------------------------


def test_a_circuit_of_half_the_rate_fails(tmp_path: Path) -> None:
    """Shaped to half the order one way, that way fails at its true rate, for the carrier; the other way passes."""
    steps = (latency_step(1, "{metric: loss, statistic: ratio, at_most: 1e-2}"), udp_step("a-z", "z-a"))
    with runs.shaped(topology.CE, f"{runs.RATE_BPS // 2}bit"):
        result, code, said = runs.until_decided(
            tmp_path,
            lambda folder: perfharness(folder, *run_words(folder, scenario(folder, *steps))),
            ("throughput.udp", "mean", "z-a"),
        )
    rate = result.finding("throughput.udp", "mean", "a-z")
    assert (code, rate["verdict"]) == (1, "FAIL"), said
    half = runs.RATE_BPS / 2
    assert 0.95 * half < rate["interval"]["lo"] <= rate["value"] <= rate["interval"]["hi"] < 1.2 * half
    assert result.finding("throughput.udp", "mean", "z-a")["verdict"] == "PASS", said
    assert "shaped-below-order" in result.causes
    loss = result.finding("loss", "ratio", "a-z", load="udp")
    assert loss["verdict"] == "FAIL", said
    # The receiver may drop some of the very first packets, before its buffer is enlarged.
    assert result.host_lost("host-a") + result.host_lost("host-z") < 0.01 * loss["value"] * loss["n"]


def test_loss_in_the_circuit_is_found_where_it_is(tmp_path: Path) -> None:
    """One packet in a hundred dropped by a router one way: that way fails with the router's own count, and evidence
    that is altered afterwards decides nothing any more."""
    drop = f"ip daddr {ECS} udp dport 862 numgen random mod 100 == 0 counter name hit drop"
    truth = 0

    def attempt(folder: Path) -> tuple[int, str]:
        nonlocal truth
        with runs.filtered(topology.CE, drop):
            answer = perfharness(folder, *run_words(folder, scenario(folder, latency_step(4))))
            truth = runs.hits(topology.CE)
        return answer

    result, code, said = runs.until_decided(tmp_path, attempt, ("loss", "ratio", "z-a"))
    forward = result.finding("loss", "ratio", "a-z")
    assert (code, forward["verdict"]) == (1, "FAIL"), said
    assert round(forward["value"] * forward["n"]) == pytest.approx(truth, abs=1)
    assert result.finding("loss", "ratio", "z-a")["verdict"] == "PASS", said
    assert result.causes == {"circuit-loss-random", "loss-one-way"}

    (samples,) = result.path.glob("raw/*/*.probe/sender.columns")
    altered = bytearray(samples.read_bytes())
    altered[4000] ^= 1
    samples.write_bytes(altered)
    code, said = perfharness(tmp_path, "report", str(result.path), "--no-pdf")
    assert code == 3, said
    assert f"{samples.relative_to(result.path)} was changed" in said


def test_a_filtered_probe_port_says_nothing_of_the_loss(tmp_path: Path) -> None:
    """Probes that a firewall on the way swallows leave loss and delay open, both ways, and the firewall is named."""
    steps = (PATH_STEP, latency_step(1))
    with runs.filtered(topology.VPC, f"ip daddr {ECS} udp dport 862 drop"):
        _, said = perfharness(tmp_path, *run_words(tmp_path, scenario(tmp_path, *steps)))
    result = Result(tmp_path)
    there = result.finding("loss", "ratio", "a-z")
    assert (there["verdict"], there["value"]) == ("INCONCLUSIVE", 1.0), said
    assert "a packet filter swallows the probes" in there["reason"]
    assert result.causes == {"port-blocked", "probes-filtered"}


# --- interrupted ----------------------------------------------------------------------------------


def test_an_interrupted_run_is_judged_as_far_as_it_came(tmp_path: Path) -> None:
    """After Ctrl-C the hosts are left at once, what was measured has its verdict, and the rest is not run."""
    words = run_words(tmp_path, scenario(tmp_path, PMTU_STEP, latency_step(30), lease="1h"))
    with runs.running(tmp_path, *words) as coordinator:
        coordinator.wait_for(lambda: runs.at_work(topology.ONPREM, "probe"))
        assert coordinator.kill(signal.SIGINT) == 3, coordinator.said
    assert runs.footprint() == []
    result = Result(tmp_path)
    assert result.json()["verdict"] == "INCONCLUSIVE"
    assert result.finding("pmtu", "largest", "a-z")["verdict"] == "PASS"
    assert result.finding("delay.rtt", "p95", "round-trip")["verdict"] == "NOT_RUN"


# --- a host that is not up to it ------------------------------------------------------------------


def test_a_small_receive_buffer_is_not_the_circuits_fault(tmp_path: Path) -> None:
    """What a receiver drops for want of buffer is booked to it, and the circuit is not blamed."""
    steps = udp_step("a-z", more=", receive_buffer: 4KiB")
    code, said = perfharness(tmp_path, *run_words(tmp_path, scenario(tmp_path, steps)))
    _host_is_blamed(Result(tmp_path), code, said)


def test_a_receiver_without_cpu_is_not_the_circuits_fault(tmp_path: Path) -> None:
    """What a receiver drops because others have its CPU is booked to it, and the circuit is not blamed."""
    words = run_words(tmp_path, scenario(tmp_path, udp_step("a-z", more=", receive_buffer: 256KiB")))
    cpu = runs.last_cpu()
    with runs.running(tmp_path, *words) as coordinator:
        with runs.hog(topology.ECS, cpu):
            server = (topology.ECS, "server-a-z-0")
            coordinator.wait_for(lambda: runs.at_work(*server) and runs.iperf3_servers(topology.ECS))
            for pid in runs.iperf3_servers(topology.ECS):
                os.sched_setaffinity(pid, {cpu})
            runs.eventually(lambda: not runs.at_work(*server), "the end of the load")
        code = coordinator.wait()
    _host_is_blamed(Result(tmp_path), code, coordinator.said)


def _host_is_blamed(result: Result, code: int, said: str) -> None:
    verdicts = {result.finding(*row, "a-z")["verdict"] for row in (("throughput.udp", "mean"), ("loss", "ratio"))}
    assert (code, result.json()["verdict"]) == (3, "INCONCLUSIVE"), said
    assert "FAIL" not in verdicts
    assert result.host_lost("host-z") > 100  # how many is a matter of how fast this machine wakes a receiver
    assert result.host_lost("host-a") == 0
    assert result.causes & {"host-receive-buffer", "host-cpu"} == result.causes != set()


def test_a_load_program_that_dies_costs_its_own_rows_alone(tmp_path: Path) -> None:
    """Killed in mid-run: its rows are not run, with the host and how far it came, and the next step is measured."""
    words = run_words(tmp_path, scenario(tmp_path, udp_step("a-z", seconds=4), latency_step(1)))
    with runs.running(tmp_path, *words) as coordinator:
        coordinator.wait_for(lambda: runs.iperf3_clients(topology.ONPREM))
        time.sleep(1.5)
        for client in runs.iperf3_clients(topology.ONPREM):
            os.kill(client, signal.SIGKILL)
        assert coordinator.wait() == 3, coordinator.said
    result = Result(tmp_path)
    rate = result.finding("throughput.udp", "mean", "a-z")
    assert rate["verdict"] == "NOT_RUN"
    assert "client-a-z-0 on onprem-a: iperf3 was killed by SIGKILL after " in rate["reason"]
    measured = result.finding("loss", "ratio", "a-z", load="idle")
    assert measured["verdict"] != "NOT_RUN" and measured["value"] is not None, coordinator.said
    account = result.json("raw/01-udp-a-z/onprem-a.client-a-z-0/account.json")
    assert (account["exit_code"], account["ended"]) == (-9, "by itself")
