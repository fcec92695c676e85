"""The tables of faults: each is what it says, can be asked for in words, and is refused where it makes no sense."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from perfharness.errors import Refused
from perfharness.lab import faults, options, topology
from perfharness.lab.faults import FAULTS, Wish
from perfharness.lab.filters import Chain, Filter, some_of
from perfharness.lab.line import Line
from perfharness.lab.linespec import LineSpec
from perfharness.lab.options import Asked
from perfharness.lab.spec import Bgp, LabSpec
from perfharness.lab.trouble import Trouble, together
from perfharness.model import Direction

PAIR = Asked(Path(__file__).parents[2] / "scenarios/circuits/lab-production.yaml").spec()
ENDS = bytes(range(12))


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_can_be_asked_for_without_options(name: str) -> None:
    """It says what a user sees, is made in one way, takes nothing that a wish has not, and has usual values."""
    fault = FAULTS[name]
    assert fault.seen.endswith(".")
    assert sum(made is not None for made in (fault.trouble, fault.on_circuit, fault.on_line)) == 1
    assert set(fault.takes) <= {field.name for field in fields(Wish)}
    assert faults.check(Wish(name), PAIR) is fault


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if "circuit" in fault.takes])
def test_every_fault_of_a_circuit_can_be_had_on_the_second_one(name: str) -> None:
    """And on no circuit that is not there."""
    faults.check(Wish(name, circuit="b"), PAIR)
    with pytest.raises(Refused, match="no circuit b"):
        faults.check(Wish(name, circuit="b"), LabSpec(bgp=Bgp()))


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.needs_bgp])
def test_faults_of_bgp_need_it(name: str) -> None:
    """The way out is named."""
    with pytest.raises(Refused, match=re.escape("has static routes. Bring it up with --bgp")):
        faults.check(Wish(name), LabSpec())


@pytest.mark.parametrize("name", ["shaped-below-order", "host-slow-nic"])
def test_half_of_no_rate_cannot_be_had(name: str) -> None:
    """The way out is named."""
    with pytest.raises(Refused, match=r"needs a rate, and this circuit has none\. Bring the lab up with --rate"):
        faults.check(Wish(name), LabSpec(rate_bps=None))


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish("mtu-low", mtu=1500), "not below the order's 1500"),
        (Wish("vlan-mismatch", vlan=100), "The CE sends VLAN 100; 100 is no other"),
        (Wish("missing-return-route", at="ce-a"), "cannot be made at ce-a. It can at ecs, ecs-b, vpc, vbr-a"),
        (Wish("missing-forward-route", at="nowhere"), "cannot be made at nowhere"),
        (Wish("port-blocked", protocol="udp", answer="reset"), "does not answer by reset"),
        (Wish("bgp-prefix-leak", prefix="10.0.0.1/8"), "has host bits set"),
        (Wish("bgp-prefix-leak", prefix="192.168.0.0/16"), "192.168.0.0/16 is planned"),
        (Wish("bgp-as-mismatch", at="core"), "cannot be made at core. It can at ce-a, vbr-a"),
        (Wish("host-nic-mtu", mtu=1500), "MTU is 1500 as it is"),
        (Wish("host-nic-mtu", at="ce-a"), "no host ce-a"),
    ],
)
def test_what_cannot_be_made_is_refused_with_a_way_out(wish: Wish, said: str) -> None:
    """Before anything is noted or touched."""
    with pytest.raises(Refused, match=re.escape(said)):
        faults.check(wish, LabSpec(bgp=Bgp()))


def test_a_wish_is_read_from_words_and_survives_its_file() -> None:
    """Units as in an order; what was not asked for is not noted."""
    asked = {"share": "5%", "direction": "a-z", "burst_packets": "20", "circuit": None}
    wish = options.wish("loss-burst", asked)
    assert wish == Wish("loss-burst", share=0.05, direction=Direction.A_Z, burst_packets=20)
    assert set(wish.to_json()) == {"name", "share", "direction", "burst_packets"}
    assert Wish.from_json(json.loads(json.dumps(wish.to_json()))) == wish
    assert options.wish("dscp-rewrite", {"dscp": "EF"}).dscp == 46


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"direction": "up"}, "--direction up: "),
        ({"direction": "round-trip"}, "--direction round-trip is none of a circuit"),
        ({"mtu": "0"}, "--mtu 0: a whole number above 0 is needed"),
        ({"delay_ns": "5"}, "--delay 5: "),
    ],
)
def test_words_that_cannot_be_read_are_refused(asked: dict[str, str], said: str) -> None:
    """With the option that they were given to."""
    with pytest.raises(Refused, match=re.escape(said)):
        options.wish("delay", asked)


def test_a_burst_loses_what_was_asked_for_on_average() -> None:
    """Share and length of a burst, by Gilbert's two chances."""
    lines = faults.lines_with([Wish("loss-burst", share=0.02, burst_packets=20)], LabSpec(), "a", LabSpec().lines())
    for line in lines.values():
        assert line.loss is not None
        assert line.loss.ratio == pytest.approx(0.02)
        assert 1 / line.loss.to_good == pytest.approx(20)


def test_a_fault_of_one_direction_leaves_the_other() -> None:
    """Faults of the wire add up, each in its direction."""
    wishes = [Wish("delay", delay_ns=5, direction=Direction.Z_A), Wish("corruption", share=0.1)]
    lines = faults.lines_with(wishes, LabSpec(), "a", LabSpec().lines())
    assert [lines[way].delay_ns for way in (Direction.A_Z, Direction.Z_A)] == [0, 5]
    assert [lines[way].corrupt for way in (Direction.A_Z, Direction.Z_A)] == [0.1, 0.1]


def test_another_tag_reaches_a_port_that_takes_all_of_them() -> None:
    """Without that it is dropped; the expected tag is popped by both."""
    tagged = ENDS + b"\x81\x00\x00\xc8" + bytes(46)
    for trunk, left in ((False, ()), (True, (tagged,))):
        line = Line(LineSpec(vlan_expect=100, vlan_trunk=trunk), 1)
        assert tuple(passage.frame for passage in line.offer(0, tagged)) == left
        assert line.dropped["vlan"] == (not trunk)
        (popped,) = line.offer(0, ENDS + b"\x81\x00\x00\x64" + bytes(46))
        assert popped.frame == ENDS + bytes(46)


def test_what_the_packet_filter_is_told() -> None:
    """One table, its counters, a chain for each hook; a share to the millionth, and all without a condition."""
    rule = f'iifname "wan" {some_of(1e-4)}counter name a_z drop'
    text = Filter("ph-vbr-a", "ph_loss", (Chain("prerouting", (rule,)),), ("a_z",)).text()
    assert text == (
        "table ip ph_loss {\n counter a_z {}\n chain prerouting {\n"
        "  type filter hook prerouting priority -300; policy accept;\n"
        '  iifname "wan" numgen random mod 1000000 < 100 counter name a_z drop\n }\n}\n'
    )
    assert some_of(1) == ""


def test_drops_are_made_in_the_vbr() -> None:
    """There no counter of the customer's sees them: after the circuit on the way there, before it on the way back."""
    (table,) = faults.troubled(Wish("loss-random", circuit="b"), PAIR).filters
    assert table.namespace == topology.VBR_B
    assert [chain.hook for chain in table.chains] == ["prerouting", "postrouting"]
    (one_way,) = faults.troubled(Wish("loss-one-way"), PAIR).filters
    assert [chain.hook for chain in one_way.chains] == ["prerouting"]
    assert {table.family for table in faults.troubled(Wish("cut"), PAIR).filters} == {"ip", "arp"}


def test_troubles_together_are_undone_backwards() -> None:
    """The last to begin is the first to end; what counts while they are on is that of all of them."""
    done: list[str] = []

    def noted(name: str) -> Trouble:
        return Trouble(lambda: done.append(name), lambda: done.append(f"no {name}"), (Filter("n", name, ()),))

    both = together(noted("one"), noted("other"))
    with both:
        assert done == ["one", "other"]
    assert done[2:] == ["no other", "no one"]
    assert [table.name for table in both.filters] == ["one", "other"]


def test_jumbo_frames_of_a_host_go_as_far_as_the_circuit() -> None:
    """All interfaces of its site up to the CE or VBR, and nobody else's."""
    plan = topology.plan(LabSpec())
    ends = [(end.namespace, end.interface) for end in topology.site(plan, plan.hosts[1])]
    assert ends == [
        (topology.ECS, "eth0"),
        (topology.VPC, "ecs"),
        (topology.VBR, "vpc"),
        (topology.VPC, "vbr-a"),
    ]
