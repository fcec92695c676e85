"""Faults of circuits, routers and hosts, played in one lab: what a user would see, what the truth says. Needs root."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from perfharness.errors import Refused
from perfharness.lab import control, namespaces, topology
from perfharness.lab.faults import Wish
from perfharness.model import Direction
from tests.integration.lab_traffic import ECS, gone, ping, settled, ssh, transfer


@pytest.fixture(scope="module", autouse=True)
def _nothing_left() -> Iterator[None]:
    with gone():
        yield


@pytest.fixture(autouse=True)
def _healthy() -> Iterator[None]:
    control.up()
    yield
    assert control.clear()["problems"] == []
    assert ping()


def inside(namespace: str, command: str) -> str:
    argv = ["ip", "netns", "exec", namespace, *command.split()]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20).stdout


def fits(size: int, host: str = "onprem-a", target: str = ECS) -> tuple[bool, str]:
    """Whether a packet of this size, not to be cut up, is answered; and what the host says."""
    answer = ssh(host, f"ping -M do -c1 -W1 -s {size - 28} {target}")
    return answer.returncode == 0, answer.stdout


def counted(name: str) -> dict[str, Any]:
    return next(fault["packets"] for fault in control.truth()["faults"] if fault["name"] == name)


def test_random_loss_is_told_to_the_packet() -> None:
    """What does not arrive is what the filter counted, in one direction; the truth still adds up when it is over."""
    assert ping()
    before = settled()["a-z"]
    control.fault(Wish("loss-one-way", share=0.3))
    with pytest.raises(Refused, match="no --rate"):
        control.fault(Wish("loss-one-way", rate_bps=1))
    said = ssh("onprem-a", f"ping -q -c 300 -i 0.005 -W 1 {ECS}").stdout
    received = int(said.split(" received")[0].split()[-1])
    lost = counted("loss-one-way")["a-z"]
    assert lost == 300 - received
    control.clear()
    after = settled()["a-z"]
    assert after["dropped"]["loss-one-way"] == lost > 50
    passed = {end: after[end]["packets"] - before[end]["packets"] for end in ("in", "out")}
    assert passed["in"] == passed["out"] + lost


def test_a_low_mtu_is_told_and_a_black_hole_is_not() -> None:
    """Both stop a packet of full size; only the first one says so, and nobody remembers it afterwards."""
    control.fault(Wish("mtu-low"))
    assert fits(1400)[0]
    assert "mtu = 1400" in fits(1500)[1]
    assert transfer(60_000) == 60_000
    control.clear()
    assert fits(1500)[0]
    control.fault(Wish("mtu-black-hole", direction=Direction.A_Z))
    assert fits(1400)[0]
    said = fits(1500)
    assert not said[0] and "mtu" not in said[1]
    assert counted("mtu-black-hole") == {"a-z": 1}


def test_a_cut_leaves_the_carrier_and_a_link_that_is_down_does_not() -> None:
    """Neither lets anything pass, ARP included; one way alone is silent for who asks there."""
    carrier = f"cat /sys/class/net/{topology.WAN}/carrier"
    control.fault(Wish("cut"))
    assert not ping()
    ssh("ce-a", "ip neigh flush to 172.16.100.1; ping -c1 -W1 172.16.100.1")
    assert "INCOMPLETE" in inside(topology.CE, "ip neigh show to 172.16.100.1")
    assert ssh("ce-a", carrier).stdout.strip() == "1"
    control.clear()
    control.fault(Wish("link-down"))
    assert ssh("ce-a", carrier).stdout.strip() == "0"
    control.clear()
    changes = "/sys/class/net/wan/carrier_changes"
    before = int(ssh("ce-a", f"cat {changes}").stdout)
    control.fault(Wish("link-flap", every_ns=200_000_000, down_ns=50_000_000))
    time.sleep(0.6)
    assert int(ssh("ce-a", f"cat {changes}").stdout) >= before + 4


def test_a_marking_is_rewritten() -> None:
    """What was sent as EF arrives as best effort, and is counted."""
    control.fault(Wish("dscp-rewrite", direction=Direction.A_Z))
    with namespaces.entered(topology.ECS):
        watch = subprocess.Popen(
            ["tshark", "-i", "eth0", "-c1", "-f", "icmp[0] == 8", "-T", "fields", "-e", "ip.dsfield.dscp"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    while watch.poll() is None:
        ssh("onprem-a", f"ping -Q 0xb8 -c1 -W1 {ECS}")
    assert watch.stdout is not None and watch.stdout.read().strip() == "0"
    watch.stdout.close()
    assert counted("dscp-rewrite")["a-z"] > 0


def test_another_tag_passes_nothing_but_itself() -> None:
    """The VBR's frames reach the CE's port with their own tag, which its kernel does not take."""
    status = control.fault(Wish("vlan-mismatch", vlan=200))
    assert "wire" in status["processes"]
    assert not ping()
    there = settled()["a-z"]
    assert there["dropped"]["vlan"] == there["in"]["packets"] > 0
    assert control.truth()["directions"]["z-a"]["line"]["vlan_push"] == 200


def test_a_bad_member_hurts_its_flows_alone() -> None:
    """The wire that a link group needs comes and goes with the fault."""
    control.fault(Wish("lag-member-bad", share=0.5, members=2, direction=Direction.A_Z))
    assert any(ping() for _ in range(10)), "ARP is a flow too, and may be on the bad one"
    ssh("onprem-a", f"for i in $(seq 40); do echo > /dev/udp/{ECS}/9; done")
    bad, good = settled()["a-z"]["members"]
    assert bad["packets"] > bad["dropped"]["loss"] > 0
    assert good["packets"] > 0 == good["dropped"]["loss"]
    assert "wire" not in control.clear()["processes"]


def test_routes_go_and_come_back() -> None:
    """Without the route back the cloud hears and is not heard; without the one there nothing leaves the site."""
    control.fault(Wish("missing-return-route", at="vpc"))
    assert "10.10.0.0/16" not in inside(topology.VPC, "ip route")
    assert not ping()
    control.clear()
    control.fault(Wish("missing-forward-route"))
    assert "Net Unreachable" in ssh("onprem-a", f"ping -c1 -W1 {ECS}").stdout


def test_the_ce_and_the_lan_lose_packets_of_their_own() -> None:
    """Each in its own counter, and the circuit's account knows nothing of it."""
    for name in ("lan-loss", "ce-drop"):
        control.fault(Wish(name, share=0.5, direction=Direction.A_Z))
        before = settled()["a-z"]
        ssh("onprem-a", f"ping -qc40 -i0.01 -W0.2 {ECS}")
        assert counted(name)["a-z"] > 3
        after = settled()["a-z"]
        assert after["dropped"] == before["dropped"]
        control.clear()


def test_a_clamped_segment_a_blocked_port_and_a_silent_host() -> None:
    """TCP gets the segment size that a router wrote, one port is refused, pings die and ports answer."""
    control.fault(Wish("mss-clamp", mss=1000))
    assert transfer(60_000) == 60_000
    assert counted("mss-clamp")["clamped"] == 2
    connect = f"timeout 2 bash -c '</dev/tcp/{ECS}/22'"
    assert ssh("onprem-a", connect).returncode == 0
    control.fault(Wish("port-blocked", port=22, answer="reset"))
    assert "refused" in ssh("onprem-a", connect).stderr
    control.clear()
    control.fault(Wish("icmp-dropped"))
    assert not ping()
    assert ssh("onprem-a", connect).returncode == 0


def test_a_host_with_another_mtu() -> None:
    """At 8500 the instance sends what the circuit does not take, and the VBR says so; below, it takes less."""
    control.fault(Wish("host-nic-mtu"))
    assert "mtu = 1500" in fits(4000, "ecs-a", "10.10.0.10")[1]
    control.clear()
    control.fault(Wish("host-nic-mtu", mtu=1300))
    assert not fits(1500)[0]
