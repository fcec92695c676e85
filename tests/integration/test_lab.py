"""The real lab: namespaces, sshd, and both ways to play the circuit. Needs root."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfharness.errors import LabFault
from perfharness.lab import control, namespaces, topology
from perfharness.lab.hosts import PRIVILEGE_SEPARATION, other_sshd_runs
from perfharness.lab.linespec import LineSpec, LinkSpec, Loss, Rate
from perfharness.lab.processes import identify
from perfharness.lab.spec import LabSpec
from perfharness.lab.state import FOLDER
from perfharness.model import Direction

ECS = LabSpec().ecs.address
PORT = 9000
HOME = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _nothing_left() -> Iterator[None]:
    """A healthy lab is left up from one test to the next, which finds it by ``up``."""
    yield from gone()


@pytest.fixture
def no_lab() -> Iterator[None]:
    """For what needs a lab from nothing, or leaves one that ``up`` would not tell from a healthy one."""
    yield from gone()


def gone() -> Iterator[None]:
    control.down()
    yield
    control.down()
    assert not FOLDER.exists()
    assert not [name for name in topology.NAMES if namespaces.exists(name)]


@pytest.mark.usefixtures("no_lab")
@pytest.mark.parametrize("mode", control.MODES)
def test_building_the_lab_never_forks_the_coordinator(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork of us has our signal handlers and our clean-up: a signal to it would take the lab down behind our back."""
    monkeypatch.delattr(os, "fork")
    assert control.up(mode=mode)["problems"] == []
    control.truth()


def ssh(host: str, command: str) -> subprocess.CompletedProcess[str]:
    argv = ["ssh", "-F", str(FOLDER / "ssh_config"), "-o", "BatchMode=yes", host, command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20)


def ping(count: int = 1) -> bool:
    argv = ["ip", "netns", "exec", topology.ONPREM, "ping", "-q", "-c", str(count), "-W", "1", ECS]
    return subprocess.run(argv, capture_output=True, timeout=20).returncode == 0


def bound(namespace: str, address: str) -> socket.socket:
    with namespaces.entered(namespace):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, PORT))
    return udp


def send(count: int) -> list[int]:
    """Numbered datagrams from on-prem to cloud, gently paced; the numbers that arrived, in their order."""
    assert ping(), "no neighbour entries: the first datagrams would wait for ARP"
    arrived: list[int] = []
    with bound(topology.ECS, ECS) as receiver, bound(topology.ONPREM, LabSpec().onprem.address) as sender:
        for number in range(count):
            sender.sendto(number.to_bytes(4, "big") * 50, (ECS, PORT))
            receive(receiver, arrived, patience_s=0.0002)
        receive(receiver, arrived, patience_s=0.5)
    return arrived


def receive(receiver: socket.socket, arrived: list[int], patience_s: float) -> None:
    """Until nothing comes for so long."""
    receiver.settimeout(patience_s)
    with suppress(TimeoutError):
        while True:
            arrived.append(int.from_bytes(receiver.recv(2048)[:4], "big"))


def settled() -> dict[str, Any]:
    """The directions of the truth, once the wire has written what it did before this call."""
    asked_ns = time.time_ns()
    while True:
        truth = control.truth()
        if truth["mode"] == "veth" or truth["written_ns"] > asked_ns:
            directions: dict[str, Any] = truth["directions"]
            return directions
        time.sleep(0.05)


def shape_by_hand(words: str) -> None:
    command = ["tc", "-n", topology.CE, "qdisc", "change", "dev", "wan", "root", "tbf", *words.split()]
    subprocess.run(command, check=True)


def impaired(there: Callable[[LineSpec], LineSpec]) -> dict[Direction, LineSpec]:
    """The ordered circuit with a fault on the way from on-prem to cloud."""
    lines = LabSpec().lines()
    return {**lines, Direction.A_Z: there(lines[Direction.A_Z])}


# --- the house --------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_lab")
def test_the_lab_comes_up_whole() -> None:
    """All namespaces, all three sshd, no problems, and packets pass from end to end."""
    status = control.up()
    assert status["problems"] == []
    assert status["namespaces"] == list(topology.NAMES)
    assert set(status["processes"]) == {"sshd onprem-a", "sshd ce-a", "sshd ecs-a"}
    assert ping()


def test_a_person_reaches_both_hosts_by_name() -> None:
    """Each alias leads into its own namespace, strict host keys and all."""
    control.up()
    for host, address in (("onprem-a", LabSpec().onprem.address), ("ecs-a", ECS)):
        answer = ssh(host, "hostname; ip -br address show eth0; ls /sys/class/net; iperf3 --version")
        assert answer.returncode == 0, answer.stderr
        words = answer.stdout.split()
        assert words[0] == host
        assert f"{address}/24" in words
        assert "wan" not in words, "another namespace's interfaces in /sys"
        assert "iperf" in words


@pytest.mark.usefixtures("no_lab")
def test_another_host_key_is_refused() -> None:
    """The lab's known_hosts is strict: a key that it did not make gets no connection."""
    control.up()
    known = FOLDER / "known_hosts"
    lines = known.read_text().splitlines()
    swapped = [
        f"{line.split()[0]} {' '.join(other.split()[1:])}" for line, other in zip(lines, lines[::-1], strict=True)
    ]
    known.write_text("\n".join(swapped) + "\n")
    answer = ssh("onprem-a", "true")
    assert answer.returncode == 255
    assert "host key verification failed" in answer.stderr.lower()


def test_the_cloud_sees_where_a_packet_came_from() -> None:
    """Hop by hop: core, CE, VBR, VPC router, and the ECS at the end."""
    control.up()
    trace = ssh("onprem-a", f"for ttl in 1 2 3 4 5; do ping -n -c1 -W1 -t $ttl {ECS}; done").stdout
    answers = [line.split()[1 if line.startswith("From") else 3] for line in trace.splitlines() if "icmp_seq" in line]
    assert [answer.rstrip(":") for answer in answers] == [
        "10.10.0.1",
        "10.10.255.254",
        "172.16.100.1",
        "192.168.255.253",
        ECS,
    ]


def test_up_leaves_a_healthy_lab_alone() -> None:
    """Asked for the same, the same processes go on."""
    assert control.up()["processes"] == control.up()["processes"]


def test_up_mends_what_was_changed() -> None:
    """A circuit shaped by hand is told by status, seen in the truth, and put right by the next up."""
    control.up()
    shape_by_hand("rate 500mbit burst 256kb latency 50ms overhead 4")
    assert control.status()["problems"] == ["ph-ce-a sends at 500000000 bit/s instead of 1000000000."]
    assert control.truth()["directions"]["a-z"]["rate_bps"] == 500_000_000
    assert control.up()["problems"] == []


def test_up_replaces_a_host_that_died() -> None:
    """An sshd that was killed is a problem with a name, and a reason to rebuild."""
    dead = control.up()["processes"]["sshd ecs-a"]
    os.kill(dead, signal.SIGKILL)
    os.waitpid(dead, 0)
    assert control.status()["problems"] == ["Process sshd ecs-a has ended."]
    assert control.up()["problems"] == []
    assert ssh("ecs-a", "true").returncode == 0


@pytest.mark.usefixtures("no_lab")
def test_down_ends_what_was_started_inside() -> None:
    """A session, and a daemon that it left behind."""
    control.up()
    argv = ["ssh", "-F", str(FOLDER / "ssh_config"), "ecs-a", "setsid sleep 600 & echo $!; sleep 600"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as session:
        assert session.stdout is not None
        daemon = int(session.stdout.readline())
        control.down()
        assert identify("daemon", daemon) is None
        assert session.wait(10) == 255


@pytest.mark.usefixtures("no_lab")
def test_the_folder_that_sshd_insists_on_goes_again() -> None:
    """``/run/sshd`` is made where no server has made it, and removed unless one needs it by then."""
    had = PRIVILEGE_SEPARATION.exists()
    control.up()
    assert ssh("ecs-a", "true").returncode == 0
    control.down()
    assert PRIVILEGE_SEPARATION.exists() == (had or other_sshd_runs())


@pytest.mark.usefixtures("no_lab")
def test_down_twice_and_status_without_a_lab() -> None:
    """Nothing to take down is no error; what needs a lab says that there is none."""
    control.up()
    control.down()
    control.down()
    assert control.status() == {"up": False}
    with pytest.raises(LabFault, match="not up"):
        control.truth()


@pytest.mark.usefixtures("no_lab")
def test_a_foreign_namespace_is_neither_taken_over_nor_removed() -> None:
    """The lab only touches what it made."""
    namespaces.create(topology.VPC)
    try:
        with pytest.raises(LabFault, match="ph-vpc that the lab did not make"):
            control.up()
        assert namespaces.exists(topology.VPC)
        assert not FOLDER.exists()
    finally:
        namespaces.remove(topology.VPC)


CRASH = """
import os
from perfharness.lab import control, hosts, namespaces, processes, shaping, state, topology
def die(*args, **kwargs):
    os._exit(9)
{sabotage}
control.up(mode={mode!r})
"""
CRASHES = {
    "before the first namespace": ("namespaces.create = die", "veth"),
    "with half of the namespaces": (
        "made, create = [], namespaces.create\n"
        "namespaces.create = lambda name: die() if len(made) == 3 else (made.append(name), create(name))",
        "veth",
    ),
    "without links": ("topology.build = die", "veth"),
    "before shaping": ("shaping.shape = die", "veth"),
    "with one sshd that is not on record": ("state.State.add_process = die", "veth"),
    "with a wire that is not on record": ("state.State.add_process = die", "wire"),
    "with a wire and no sshd": ("hosts.serve = die", "wire"),
    "with sshd that may not listen yet": ("hosts._await_listening = die", "veth"),
}


@pytest.mark.usefixtures("no_lab")
@pytest.mark.parametrize(("sabotage", "mode"), CRASHES.values(), ids=CRASHES)
def test_a_crash_leaves_nothing_that_up_and_down_cannot_handle(sabotage: str, mode: str) -> None:
    """Killed at any point of ``up``, the next one builds a whole lab, and ``down`` leaves nothing."""
    script = CRASH.format(sabotage=sabotage, mode=mode)
    crashed = subprocess.run([sys.executable, "-c", script], cwd=HOME, timeout=30)
    assert crashed.returncode == 9
    assert control.up()["problems"] == []
    assert ping()


@pytest.mark.usefixtures("no_lab")
def test_two_commands_at_once_do_not_meet() -> None:
    """The second waits for the first, and finds a lab that it may leave alone."""
    script = "from perfharness.lab import control; import json; print(json.dumps(control.up()['processes']))"
    both = [
        subprocess.Popen([sys.executable, "-c", script], cwd=HOME, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    first, second = (json.loads(process.communicate(timeout=60)[0]) for process in both)
    assert first == second == control.status()["processes"]


# --- the circuit as veth ----------------------------------------------------------------------


def test_the_kernel_counts_every_frame() -> None:
    """What was sent went in and came out, nothing dropped, and what it cannot play is said."""
    control.up()
    before = settled()["a-z"]
    assert send(1000) == list(range(1000))
    after = settled()["a-z"]
    for end in ("in", "out"):
        assert 1000 <= after[end]["packets"] - before[end]["packets"] <= 1005  # ping and ARP
    assert set(after["dropped"].values()) == {0}
    assert any("VLAN" in sentence for sentence in control.truth()["cannot"])


def test_the_kernel_tells_what_its_shaper_dropped() -> None:
    """At 100 kbit/s most are dropped from the queue, and the truth has each of them."""
    control.up()
    shape_by_hand("rate 100kbit burst 3000 limit 6000 overhead 4")
    arrived = send(1000)
    there = settled()["a-z"]
    assert 0 < len(arrived) < 1000
    assert there["dropped"]["queue"] == 1000 - len(arrived)


# --- the circuit as a wire --------------------------------------------------------------------


def test_the_wire_passes_everything_when_healthy() -> None:
    """In order, with the tag pushed and popped on the way, and never early."""
    control.up(mode="wire", lines=impaired(lambda line: replace(line, delay_ns=2_000_000)))
    assert send(1000) == list(range(1000))
    there = settled()["a-z"]
    assert there["in"] == there["out"]
    assert set(there["dropped"].values()) == {0}
    assert there["delay_ns"]["min"] >= 2_000_000
    assert there["lateness_ns"]["count"] == there["out"]["packets"]


def test_the_wire_tells_what_it_lost() -> None:
    """Lost on the way = dropped by the wire, frame by frame (ping and ARP are among them)."""
    control.up(mode="wire", lines=impaired(lambda line: replace(line, loss=Loss(good=0.05))))
    arrived = send_once_reachable(2000)
    there, back = settled().values()
    assert 2000 - len(arrived) <= there["dropped"]["loss"] <= 2000 - len(arrived) + 10
    assert there["in"]["packets"] - there["out"]["packets"] == there["dropped"]["loss"] > 20
    assert back["in"] == back["out"]


def send_once_reachable(count: int) -> list[int]:
    """A lossy circuit may swallow the ping that comes first."""
    assert any(ping() for _ in range(5))
    return send(count)


def test_a_tag_mismatch_lets_nothing_pass() -> None:
    """The CE tags with 101 what the circuit expects with 100."""
    control.up(mode="wire", lines=impaired(lambda line: replace(line, vlan_push=101)))
    assert not ping()
    there = settled()["a-z"]
    assert there["out"]["packets"] == 0
    assert there["dropped"]["vlan"] == there["in"]["packets"] > 0


def test_a_fault_begins_and_ends_while_the_wire_runs() -> None:
    """Cut and healed live; the counts go on."""
    before = control.up(mode="wire")["processes"]
    assert ping()
    control.tune(impaired(lambda line: replace(line, loss=Loss(good=1.0))))
    assert settled()["a-z"]["line"]["loss"]["good"] == 1.0
    assert not ping()
    assert control.status()["problems"] == ["The wire's configuration was changed."]
    control.tune(LabSpec().lines())
    settled()
    assert ping()
    assert settled()["a-z"]["dropped"]["loss"] > 0
    assert control.up(mode="wire")["processes"] == before


def test_one_direction_is_changed_alone() -> None:
    """The other goes on as it was, and both are in force when the call returns."""
    control.up(mode="wire")
    back = LabSpec().lines()[Direction.Z_A]
    there = replace(back, members=(LinkSpec(), LinkSpec(loss=Loss(good=0.5))), watch_port=PORT)
    control.tune({Direction.A_Z: there})
    told = control.truth()["directions"]
    assert [LineSpec.from_json(told[str(way)]["line"]) for way in (Direction.A_Z, Direction.Z_A)] == [there, back]


def test_a_configuration_that_cannot_be_played_changes_nothing() -> None:
    """The wire goes on as before and says why."""
    control.up(mode="wire")
    config = json.loads(control.WIRE_CONFIG.read_text())
    config["lines"]["a-z"]["duplicate"] = 2
    control.WIRE_CONFIG.write_text(json.dumps(config))
    os.kill(control.status()["processes"]["wire"], signal.SIGHUP)
    settled()
    assert control.truth()["refused_config"] == "a share must lie between 0 and 1"
    assert ping()


def test_the_wire_drops_what_is_too_long_in_silence() -> None:
    """No ICMP comes back: a black hole."""
    control.up(mode="wire", lines=impaired(lambda line: replace(line, mtu=1400)))
    small, large = (ssh("onprem-a", f"ping -M do -c1 -W1 -s {size - 28} {ECS}") for size in (1400, 1401))
    assert (small.returncode, large.returncode) == (0, 1)
    assert "Frag needed" not in large.stdout
    assert settled()["a-z"]["dropped"]["mtu"] == 1


def test_the_wire_polices() -> None:
    """A small bucket at a low rate: the rest is dropped and named."""
    police = Rate(100_000, bucket_bytes=3000)
    control.up(mode="wire", lines=impaired(lambda line: replace(line, rate=police)))
    arrived = send(500)
    there = settled()["a-z"]
    assert 0 < len(arrived) < 500
    assert there["dropped"]["policer"] == 500 - len(arrived)
