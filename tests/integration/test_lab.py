"""The real lab's house: namespaces and sshd, built, asked, mended and taken down. Needs root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfharness.errors import LabFault
from perfharness.lab import control, namespaces, shaping, topology
from perfharness.lab.faults import Wish
from perfharness.lab.hosts import PRIVILEGE_SEPARATION, other_sshd_runs
from perfharness.lab.processes import identify
from perfharness.lab.spec import LabSpec
from perfharness.lab.state import FOLDER
from perfharness.lab.trouble import TCP_BYTES
from perfharness.order.circuit import load_circuit
from tests.integration.lab_traffic import ECS, gone, ping, shape_by_hand, ssh

HOME = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _nothing_left() -> Iterator[None]:
    """A healthy lab is left up from one test to the next, which finds it by ``up``."""
    with gone():
        yield


@pytest.fixture
def no_lab() -> Iterator[None]:
    """For what needs a lab from nothing, or leaves one that ``up`` would not tell from a healthy one."""
    with gone():
        yield


@pytest.mark.usefixtures("no_lab")
@pytest.mark.parametrize("mode", control.MODES)
def test_building_the_lab_never_forks_the_coordinator(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork of us has our signal handlers and our clean-up: a signal to it would take the lab down behind our back."""
    monkeypatch.delattr(os, "fork")
    assert control.up(mode=mode)["problems"] == []
    control.truth()


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


BUFFERS = """
import socket
def force(number, size=4_000_000):
    try: return udp.setsockopt(socket.SOL_SOCKET, number, size)
    except OSError as error: return error.errno
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
usual = udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
print(force(socket.SO_RCVBUF), force(33), udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == usual)
"""


def test_faults_of_hosts_begin_and_end() -> None:
    """Each does what it says, status names it, clear leaves a healthy lab, and so does up."""
    healthy = control.up()
    buffers = f"python3 -c '{BUFFERS.replace(chr(39), chr(34))}'; cat /proc/sys/net/ipv4/tcp_rmem"
    before = ssh("ecs-a", buffers).stdout
    assert before.startswith("None None False")
    control.fault(Wish("host-small-buffers"))
    control.fault(Wish("host-cpu", at="onprem-a", share=0.05))
    status = control.fault(Wish("host-slow-nic", at="onprem-a", rate_bps=1_000_000))
    assert status["problems"] == [
        f"Fault {name} is on." for name in ("host-small-buffers", "host-cpu", "host-slow-nic")
    ]
    said, limits = ssh("ecs-a", buffers).stdout.splitlines()
    assert (said, limits.split()[2]) == ("None 1 True", str(TCP_BYTES))
    end = topology.plan(LabSpec()).hosts[0]
    assert shaping.discipline(end)["rate_bps"] == 1_000_000
    hogs = [process for process in namespaces.members(topology.ONPREM) if policy(process) == os.SCHED_FIFO]
    assert len(hogs) == len(os.sched_getaffinity(0))
    assert control.clear() == healthy
    assert ssh("ecs-a", buffers).stdout == before
    assert shaping.discipline(end)["rate_bps"] is None
    assert not set(hogs) & set(namespaces.members(topology.ONPREM))
    control.fault(Wish("host-cpu", share=0.05))
    assert control.up()["problems"] == []
    assert [process for process in namespaces.members(topology.ECS) if policy(process) == os.SCHED_FIFO] == []


def policy(process: int) -> int | None:
    try:
        return os.sched_getscheduler(process)
    except ProcessLookupError:
        return None


@pytest.mark.usefixtures("no_lab")
def test_two_hosts_on_a_side() -> None:
    """The second pair crosses the same circuit, each host has a door of its own, and down leaves none of them."""
    order = load_circuit(HOME / "scenarios/circuits/lab-pairs.yaml")
    assert control.up(LabSpec.from_circuit(order))["problems"] == []
    for host, target in (("onprem-b", "192.168.10.20"), ("ecs-b", "10.10.0.10"), ("onprem-b", "10.10.0.10")):
        answer = ssh(host, f"ping -qc1 -W1 {target} >/dev/null && hostname")
        assert (answer.returncode, answer.stdout.strip()) == (0, host), target
    assert control.truth()["directions"]["a-z"]["out"]["packets"] >= 2


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
    "before shaping": ("shaping.meter = die", "veth"),
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
