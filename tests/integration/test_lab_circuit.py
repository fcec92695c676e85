"""What the circuit of the lab does to packets, played by the kernel and by the wire, and what it tells. Needs root."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from scapy.layers.l2 import ARP, Dot1Q, Ether

from perfagent.tagged import Probe
from perfharness.lab import control, namespaces, topology
from perfharness.lab.faults import Wish
from perfharness.lab.linespec import LineSpec, LinkSpec, Loss, Rate
from perfharness.lab.spec import LabSpec
from perfharness.model import Direction, Layer
from tests.integration.lab_traffic import (
    ECS,
    PORT,
    gone,
    impaired,
    ping,
    send,
    send_once_reachable,
    settled,
    shape_by_hand,
    ssh,
    train,
    transfer,
)


@pytest.fixture(scope="module", autouse=True)
def _nothing_left() -> Iterator[None]:
    """A healthy lab is left up from one test to the next, which finds it by ``up``."""
    with gone():
        yield


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
    truth = control.truth()
    assert any("VLAN" in sentence for sentence in truth["cannot"]) == (truth["tagged_by"] == "nobody")


def test_the_kernel_tags_where_it_says_so() -> None:
    """Asked on the ordered VLAN, without a tag and on another one, the VBR answers as the truth says that it sends."""
    assert control.up()["circuit"]["tagged_by"] == control.truth()["tagged_by"]
    spec = LabSpec()

    def question(mac: str, tag: int) -> bytes:
        ask = ARP(op="who-has", hwsrc=mac, psrc=str(spec.customer.ip), pdst=str(spec.cloud.ip))
        ethernet = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
        return bytes(ethernet / Dot1Q(vlan=tag) / ask if tag else ethernet / ask)

    with namespaces.entered(topology.CE):
        probe = Probe(topology.WAN, str(spec.cloud.ip), question)
    with closing(probe), socket.socket(type=socket.SOCK_DGRAM) as nobody:
        probe.ask([spec.vlan, 0, spec.vlan + 1], 0.5, nobody.fileno())
    expected = {"kernel": spec.vlan, "nobody": 0}[control.truth()["tagged_by"]]
    assert [vlan for vlan, _ in probe.answers] == [expected]


def test_the_kernel_tells_what_its_shaper_dropped() -> None:
    """At 100 kbit/s most are dropped from the queue, and the truth has each of them."""
    control.up()
    shape_by_hand("rate 100kbit burst 3000 limit 6000 overhead 4")
    arrived = send(1000)
    there = settled()["a-z"]
    assert 0 < len(arrived) < 1000
    assert there["dropped"]["queue"] == 1000 - len(arrived)


@pytest.mark.parametrize(("mtu", "layer"), [(1500, Layer.L2), (8500, Layer.L3)])
def test_the_kernel_polices_with_exactly_its_bucket(mtu: int, layer: Layer) -> None:
    """A train passes for as much as the bucket and what it earns meanwhile, to a packet; TCP comes packet by packet."""
    spec = LabSpec(rate_bps=20_000_000, policer_bytes=300_000, mtu=mtu, rate_layer=layer)
    control.up(spec)
    assert ping() and transfer(60_000) == 60_000
    before = settled()["a-z"]["meter"]
    assert before["dropped"]["packets"] == 0, "TCP's pieces of up to 64 KiB would not pass"
    time.sleep(0.15)  # the bucket fills up in 120 ms
    took_s = train(1_000_000 // mtu, bytes(mtu - 28))
    there = settled()["a-z"]
    passed = there["meter"]["passed"]["bytes"] - before["passed"]["bytes"]
    assert 300_000 - spec.metered_bytes <= passed <= 300_000 + took_s * spec.rate_bps / 8 + spec.metered_bytes
    assert (
        abs(there["dropped"]["policer"] - (1_000_000 // mtu - passed / spec.metered_bytes)) < 1
    )  # an ARP may pass too


def test_the_wire_delays_behind_the_kernels_meter() -> None:
    """What the meter passed enters the wire, each direction takes half of the round trip, and faults come and go."""
    spec = LabSpec(rate_bps=50_000_000, rtt_ns=10_000_000)
    assert control.up(spec)["mode"] == "metered-wire"
    assert send(200) == list(range(200))
    for told in settled().values():
        assert told["meter"]["passed"]["packets"] == told["in"]["packets"] == told["out"]["packets"] > 0
        assert told["delay_ns"]["min"] >= 5_000_000
    control.fault(Wish("policed-below-order", rate_bps=100_000, bucket_bytes=6_000))
    arrived = send(200)
    there = settled()["a-z"]
    assert there["meter"]["kind"] == "policer"
    assert there["meter"]["dropped"]["packets"] == 200 - len(arrived) > 0
    assert there["out"]["packets"] == there["meter"]["passed"]["packets"]
    assert control.clear()["problems"] == []
    assert send(200) == list(range(200))


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
