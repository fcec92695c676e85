"""The lab as a production pair: real BGP with BFD over two circuits, what breaks it, and that nothing of it is left."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from perfharness.lab import control, frr, namespaces, topology
from perfharness.lab.faults import Wish
from perfharness.lab.options import Asked
from perfharness.lab.state import FOLDER
from tests.integration.lab_traffic import ECS, ping, ssh

PRODUCTION = Path(__file__).parents[2] / "scenarios/circuits/lab-production.yaml"
CLOUD = "192.168.0.0/16"


@pytest.fixture(scope="module", autouse=True)
def _pair() -> Iterator[None]:
    """Both circuits, the second on standby, for all tests here; afterwards nothing of them is left."""
    control.down()
    processes = control.up(Asked(PRODUCTION, standby=True).spec())["processes"]
    yield
    control.down()
    assert not FOLDER.exists()
    assert not [name for name in (*topology.NAMES, topology.CE_B, topology.VBR_B) if namespaces.exists(name)]
    assert not [name for name, pid in processes.items() if Path(f"/proc/{pid}/root").exists() and running(pid)]


@pytest.fixture(autouse=True)
def _healthy() -> Iterator[None]:
    yield
    assert control.clear()["problems"] == []
    assert gateways() == ["ce-a"]


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def gateways() -> list[str]:
    """By which CEs the LAN's router sends to the cloud."""
    argv = ["ip", "-n", topology.CORE, "route", "show", CLOUD]
    words = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    return sorted(after for word, after in pairwise(words) if word == "dev")


def wait_for(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def session() -> dict[str, object]:
    """Of the first CE with its VBR, as the CE tells it."""
    (told,) = frr.ask("ce-a", "show bgp neighbors 172.16.100.1 json").values()
    return dict(told)


def test_a_person_on_a_ce_reads_its_sessions() -> None:
    """Plain vtysh, over SSH, on either CE: BGP between the ordered AS numbers, and BFD as ordered."""
    for host, peer in (("ce-a", "172.16.100.1"), ("ce-b", "172.16.101.1")):
        said = ssh(host, "vtysh -c 'show bgp summary' -c 'show bfd peers'").stdout
        assert f"{peer}" in said and "45104" in said and "local AS number 65010" in said
        assert "Detect-multiplier: 3" in said and "Transmission interval: 200ms" in said


def test_the_standby_takes_over_and_gives_back() -> None:
    """A silent cut is found by BFD, both ways go by the other circuit, and come back when it is healed."""
    assert gateways() == ["ce-a"]
    control.fault(Wish("cut"))
    assert wait_for(lambda: gateways() == ["ce-b"] and ping())
    assert session()["lastNotificationReason"] == "Cease/BFD Down"
    assert control.truth()["second"]["directions"]["z-a"]["out"]["packets"] > 0


def test_a_wrong_as_number_is_told_by_both_ends() -> None:
    """The VBR refuses the CE's OPEN, and the CE hears why."""
    control.fault(Wish("bgp-as-mismatch"))
    assert wait_for(lambda: session().get("lastNotificationReason") == "OPEN Message Error/Bad Peer AS")


def test_a_blocked_port_breaks_the_session_and_nothing_else() -> None:
    """The link answers pings, TCP 179 does not, and its drops are counted."""
    control.fault(Wish("bgp-port-blocked"))
    assert wait_for(lambda: session()["bgpState"] != "Established" and gateways() == ["ce-b"])
    assert ssh("ce-a", "ping -qc1 -W1 172.16.100.1").returncode == 0
    assert wait_for(lambda: control.truth()["faults"][0]["packets"]["blocked"] > 0)


def test_prefixes_leak_across_the_circuit() -> None:
    """Announced at one end, each is in the other's table, and gone again afterwards."""
    leaks = {"ce-a": ("vbr-a", "0.0.0.0/0"), "vbr-a": ("ce-a", "10.99.0.0/16")}

    def told() -> list[bool]:
        return [prefix in frr.ask(seer, "show bgp ipv4 unicast json")["routes"] for seer, (_, prefix) in leaks.items()]

    for at, prefix in leaks.values():
        control.fault(Wish("bgp-prefix-leak", at=at, prefix=prefix))
    assert wait_for(lambda: told() == [True, True])
    control.clear()
    assert wait_for(lambda: told() == [False, False])


def test_routes_follow_what_is_not_announced_or_not_taken() -> None:
    """Without the cloud's prefix on circuit A the site goes by B; a VPC that takes nothing has no way back at all."""
    control.fault(Wish("bgp-prefix-missing"))
    assert wait_for(lambda: gateways() == ["ce-b"])
    assert session()["bgpState"] == "Established"
    control.fault(Wish("missing-return-route"))
    argv = ["ip", "-n", topology.VPC, "route", "get", "10.10.0.10"]
    assert wait_for(lambda: subprocess.run(argv, capture_output=True).returncode != 0)
    assert not ping()


def test_a_wire_is_put_in_and_taken_out_again() -> None:
    """Delay needs one: the circuit is rebuilt, BGP comes back, the other circuit is left alone."""
    status = control.fault(Wish("delay", delay_ns=5_000_000))
    assert "wire" in status["processes"] and "wire-b" not in status["processes"]
    assert wait_for(lambda: gateways() == ["ce-a"])
    said = ssh("onprem-a", f"ping -qc2 -i0.2 {ECS}").stdout
    assert float(said.rpartition("= ")[2].split("/")[0]) >= 10
    assert "wire" not in control.clear()["processes"]
