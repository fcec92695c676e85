"""Killed coordinators, and hosts that cannot be used: nothing is left, and one sentence says why. Needs root."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from perfharness.lab import control, topology
from tests.integration import runs
from tests.integration.runs import (
    HOST_STEP,
    Result,
    latency_step,
    perfharness,
    run_words,
    scenario,
    udp_step,
)

ECS = "192.168.10.10"


pytestmark = pytest.mark.usefixtures("nothing_left")


# --- killed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "busy"),
    [(latency_step(30), (topology.ONPREM, "probe")), (udp_step("a-z", seconds=30), (topology.ONPREM, "client-a-z-0"))],
    ids=["latency", "udp"],
)
def test_a_killed_coordinator_leaves_nothing(step: str, busy: tuple[str, str], tmp_path: Path) -> None:
    """Without the coordinator the agents go when their lease ends, and what it wrote can be judged."""
    words = run_words(tmp_path, scenario(tmp_path, HOST_STEP, step, lease="5s"))
    with runs.running(tmp_path, *words) as coordinator:
        coordinator.wait_for(lambda: runs.at_work(*busy))
        assert coordinator.kill() == -signal.SIGKILL
    assert runs.footprint()
    runs.eventually(lambda: not runs.footprint(), "nothing of ours on the hosts")
    result = Result(tmp_path)
    code, said = perfharness(tmp_path, "report", str(result.path), "--no-pdf")
    assert (code, result.json()["verdict"]) == (3, "INCONCLUSIVE"), said
    assert "cut short" in said


def test_clean_removes_what_a_killed_coordinator_left(tmp_path: Path) -> None:
    """An agent under a long lease refuses a second run by name, and `clean` ends it."""
    words = run_words(tmp_path, scenario(tmp_path, latency_step(60), lease="1h"))
    with runs.running(tmp_path, *words) as coordinator:
        coordinator.wait_for(lambda: runs.at_work(topology.ONPREM, "probe"))
        coordinator.kill()
    code, said = perfharness(tmp_path, *words)
    assert code == 2, said
    assert Result(tmp_path).path.name in said
    assert runs.at_work(topology.ONPREM, "probe"), "the first run goes on"
    code, said = perfharness(tmp_path, "clean", runs.circuit(tmp_path))
    assert (code, runs.footprint()) == (0, []), said
    assert [line.split(":")[0] for line in said.splitlines()] == ["onprem-a", "ecs-a"]
    assert (said.count("removed "), said.count(" (live)")) == (2, 2), said


# --- hosts that cannot be used --------------------------------------------------------------------


def test_check_says_what_each_host_is(tmp_path: Path) -> None:
    """A line for each host, and nothing is left."""
    code, said = perfharness(tmp_path, "check", runs.circuit(tmp_path))
    assert (code, runs.footprint()) == (0, []), said
    assert [line.split(":")[0] for line in said.splitlines()] == ["onprem-a", "ecs-a"]
    assert all("iperf3 3." in line for line in said.splitlines())


def test_a_host_without_sshd_is_named(tmp_path: Path) -> None:
    """The run ends before it begins, naming the host that does not answer, and leaves the other one."""
    os.kill(_sshd(), signal.SIGKILL)
    try:
        code, said = perfharness(tmp_path, *run_words(tmp_path, scenario(tmp_path, HOST_STEP)))
        _one_sentence(code, said, 5, "ecs-a")
        assert runs.footprint() == []
        assert not (tmp_path / "results").exists()
    finally:
        control.up(runs.SPEC)


def test_a_silent_sshd_is_named(tmp_path: Path) -> None:
    """One that accepts connections and says nothing is given up, naming the host."""
    sshd = _sshd()
    os.kill(sshd, signal.SIGSTOP)
    try:
        code, said = perfharness(tmp_path, *run_words(tmp_path, scenario(tmp_path, HOST_STEP)))
    finally:
        os.kill(sshd, signal.SIGCONT)
    _one_sentence(code, said, 5, "ecs-a")


ECS_HOST = "      host: ecs-a\n"
WRONG = {
    "iperf3 missing": ((f"address: {ECS}", f"address: {ECS}\n    iperf3: /nonexistent/iperf3"), "iperf3"),
    "python missing": ((f"address: {ECS}", f"address: {ECS}\n    python: /nonexistent/python3"), "python3"),
    "no such interface": ((f"interface: eth0\n    address: {ECS}", f"interface: eth7\n    address: {ECS}"), "eth7"),
    "address of nobody": ((f"address: {ECS}", "address: 192.168.10.77"), "192.168.10.77"),
    "unknown host key": ((ECS_HOST, f"{ECS_HOST}      known_hosts: known_hosts\n"), "is not known"),
    "other host key": ((ECS_HOST, f"{ECS_HOST}      known_hosts: other_hosts\n"), "ssh-keygen -R"),
}


@pytest.mark.parametrize(("change", "word"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_with_a_host_is_said_before_anything_is_measured(
    change: tuple[str, str], word: str, tmp_path: Path
) -> None:
    """One sentence names the host and what is wrong with it; no run folder is made, nothing is left."""
    (tmp_path / "known_hosts").touch()
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(keygen, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    (tmp_path / "other_hosts").write_text(f"ecs-a,{ECS} {(tmp_path / 'key.pub').read_text()}")
    order = runs.circuit(tmp_path, change)
    steps = scenario(tmp_path, udp_step("a-z"))
    code, said = perfharness(tmp_path, *run_words(tmp_path, steps, order))
    _one_sentence(code, said, 5, "ecs-a")
    assert word in said
    assert runs.footprint() == []
    assert not (tmp_path / "results").exists()


def test_every_host_that_lacks_something_is_named(tmp_path: Path) -> None:
    """A line for each of them, so that both can be mended at once."""
    missing = "\n    iperf3: /nonexistent/iperf3"
    changes = [(f"address: {address}", f"address: {address}{missing}") for address in ("10.10.0.10", ECS)]
    words = run_words(tmp_path, scenario(tmp_path, udp_step("a-z")), runs.circuit(tmp_path, *changes))
    code, said = perfharness(tmp_path, *words)
    assert (code, [line.split(":")[0] for line in said.splitlines()]) == (5, ["onprem-a", "ecs-a"]), said


def _sshd() -> int:
    return int(control.status()["processes"]["sshd ecs-a"])


def _one_sentence(code: int, said: str, expected: int, host: str) -> None:
    assert (code, len(said.splitlines())) == (expected, 1), said
    assert said.startswith(f"{host}: "), said
