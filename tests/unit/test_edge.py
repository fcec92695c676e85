"""The step `edge`: what a router said, judged against the order, and the causes of what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfharness import evidence
from perfharness.errors import BadInput
from perfharness.judge.judge import verdict_of
from perfharness.measurements.edge_reading import earlier
from perfharness.model import Segment
from perfharness.order.scenario import load_scenario
from perfharness.plan import make_plan
from tests.unit.edge_files import CE, ECS, Judged, Router, netlink, order, port

BGP = ("established", "as_agree", "missing", "extra", "broad", "limit_share")
WELL = (
    *("vlan.answers", "vlan.answers_elsewhere", "route.to_cloud", "route.to_onprem"),
    *("portspec.carrier", "portspec.speed", "portspec.duplex", "portspec.mtu", "portspec.link_address"),
    *(f"bgp.{statistic}" for statistic in BGP),
)


def test_a_healthy_router_passes_every_row(tmp_path: Path) -> None:
    """Nothing open, nothing wrong, no cause; what changes is told by the second step."""
    run = Judged(tmp_path)
    assert {name: run.verdict(name) for name in WELL} == dict.fromkeys(WELL, "PASS")
    after = ("bgp.flaps", "portspec.flaps", "route.changed")
    assert {name: run.verdict(name, "edge-after") for name in after} == dict.fromkeys(after, "PASS")
    assert run.causes == {}


def test_without_a_router_nothing_is_measured_and_nothing_passes(tmp_path: Path) -> None:
    """A CE that is only a name: each row says why it was not measured, and none of them is mandatory."""
    run = Judged(tmp_path, circuit=order(tmp_path, "ce: ph-ce-a\n"))
    rows = [row for row in run.findings if row.task and row.metric != "footprint"]
    assert rows and {row.verdict.value for row in rows} <= {"NOT_RUN", "NOT_APPLICABLE"}
    assert "names no router that can be asked" in run.finding("bgp.established").reason
    assert not any(row.mandatory for row in rows)
    assert run.causes == {}


def test_a_router_that_should_have_answered_leaves_the_run_undecided(tmp_path: Path) -> None:
    """The order says that it can be read: then what it did not say is missing."""
    router = Router()
    router.fault = router.untagged_fault = "the disk is full"
    run = Judged(tmp_path, router)
    assert run.finding("bgp.established").reason == "ph-ce-a was not read: the disk is full."
    assert run.verdict("vlan.answers") == "NOT_RUN"
    assert verdict_of(run.findings).value == "INCONCLUSIVE"
    assert run.causes == {}


def test_a_router_that_lets_nobody_in_says_why_in_each_row(tmp_path: Path) -> None:
    """The run's end notes it once; a row that is open for it needs no search."""
    run = Judged(
        tmp_path, notes=["ph-ce-a: its password file p is not one line of text. The run went on without its counters."]
    )
    reason = run.finding("bgp.established").reason
    assert reason == "ph-ce-a was not read: its password file p is not one line of text."


def test_without_frr_bgp_is_not_measured(tmp_path: Path) -> None:
    """On a plain Linux router all else is; its BGP rows are open and not mandatory."""
    router = Router()
    router.outputs = {"netlink": netlink()}
    run = Judged(tmp_path, router, circuit=order(tmp_path, CE.replace("platform: frr", "platform: linux")))
    assert (run.verdict("bgp.established"), run.finding("bgp.established").mandatory) == ("NOT_RUN", False)
    assert run.verdict("route.to_cloud") == "PASS"


# --- the VLAN ---------------------------------------------------------------------------------------


def test_another_vlan_is_named(tmp_path: Path) -> None:
    """Silent on the ordered one and answered on another: a proven mismatch, with both numbers."""
    router = Router()
    router.heard = [200]
    run = Judged(tmp_path, router)
    assert (run.verdict("vlan.answers"), run.verdict("vlan.answers_elsewhere")) == ("FAIL", "FAIL")
    assert "answers ARP on VLAN 200; ordered is VLAN 100" in run.finding("vlan.answers").reason
    cause = run.causes["vlan-mismatch"]
    assert (cause.certainty, cause.owner) == ("proven", "carrier")
    assert run.rests_on("vlan-mismatch") == {"vlan.answers", "vlan.answers_elsewhere"}


def test_silence_on_all_vlans_is_only_possibly_a_mismatch(tmp_path: Path) -> None:
    """A VBR that is not there is silent too."""
    router = Router()
    router.heard = []
    run = Judged(tmp_path, router)
    assert run.verdict("vlan.answers") == "FAIL"
    assert run.causes["vlan-mismatch"].certainty == "possible"


def test_a_tag_that_another_device_puts_on_is_right_when_it_is_answered(tmp_path: Path) -> None:
    """The router sends without a tag and is answered so: its own tagged probes then reach nobody."""
    router = Router()
    router.heard = [0]
    run = Judged(tmp_path, router)
    assert (run.verdict("vlan.answers"), run.verdict("vlan.answers_elsewhere")) == ("PASS", "PASS")


def test_a_router_on_the_wrong_vlan_is_its_owners_fault(tmp_path: Path) -> None:
    """The VBR answers probes on the ordered VLAN, but the router's own interface has another tag."""
    sub = port(name="wan.101", vlan=101, driver="802.1Q VLAN Support")
    router = Router()
    router.outputs["netlink"] = netlink(sub, addresses=[])
    run = Judged(tmp_path, router)
    assert run.verdict("vlan.answers") == "FAIL"
    assert (run.causes["vlan-mismatch"].owner, run.causes["vlan-mismatch"].segment) == ("own", Segment.CE)


def test_without_raw_sockets_a_standing_session_proves_the_vlan(tmp_path: Path) -> None:
    """Where no probe may be sent, BGP over the interface with the ordered tag says as much; else it stays open."""
    router = Router()
    router.untagged_fault = "asking by ARP on a VLAN needs root or CAP_NET_RAW"
    router.outputs["netlink"] = netlink(port(name="wan.100", vlan=100), addresses=[])
    run = Judged(tmp_path, router)
    assert (run.verdict("vlan.answers"), run.verdict("vlan.answers_elsewhere")) == ("PASS", "NOT_RUN")


def test_a_vlan_given_as_the_port_is_asked_through(tmp_path: Path) -> None:
    """Its own tag is on every probe: an untagged answer is one on that VLAN, and of no other can it tell."""
    circuit = order(tmp_path, CE.replace("wan: wan", "wan: wan.100"))
    router = Router()
    router.outputs["netlink"] = netlink(port(name="wan.100", vlan=100), addresses=[])
    router.heard = [0]
    run = Judged(tmp_path, router, circuit=circuit)
    assert (run.verdict("vlan.answers"), run.verdict("vlan.answers_elsewhere")) == ("PASS", "NOT_RUN")
    assert "write its port as `wan:`" in run.finding("vlan.answers_elsewhere").reason
    assert "vlan-mismatch" not in run.causes
    for name, vlan, heard, verdicts in (
        ("other", 200, [0], ("FAIL", "FAIL")),
        ("unasked", 200, [], ("NOT_RUN", "NOT_RUN")),
        ("silent", 100, [], ("FAIL", "NOT_RUN")),
        ("twice", 100, [0, 101], ("PASS", "NOT_RUN")),
    ):
        folder = tmp_path / name
        folder.mkdir()
        circuit = order(folder, CE.replace("wan: wan", f"wan: wan.{vlan}"))
        router.outputs["netlink"] = netlink(port(name=f"wan.{vlan}", vlan=vlan), addresses=[])
        router.heard = heard
        run = Judged(folder, router, circuit=circuit)
        assert (run.verdict("vlan.answers"), run.verdict("vlan.answers_elsewhere")) == verdicts, name


def test_a_vlan_on_which_router_and_vbr_agree_is_left_alone(tmp_path: Path) -> None:
    """The link works on 200, and 100 was ordered: nobody is told to take the router off it."""
    router = Router()
    router.outputs["netlink"] = netlink(port(name="wan.200", vlan=200), addresses=[])
    router.heard = [200]
    run = Judged(tmp_path, router)
    assert run.verdict("vlan.answers") == "FAIL"
    cause = run.causes["vlan-mismatch"]
    assert (cause.certainty, cause.owner, cause.segment) == ("likely", "unknown", Segment.CLOUD_EDGE)
    assert "leave the router as it is" in cause.next
    for name, heard, certainty in (("silent", [], "possible"), ("third", [300], "proven")):
        folder = tmp_path / name
        folder.mkdir()
        router.heard = heard
        cause = Judged(folder, router).causes["vlan-mismatch"]
        assert (cause.certainty, cause.owner) == (certainty, "unknown")


def test_a_vbr_that_answers_on_two_vlans_has_a_cause(tmp_path: Path) -> None:
    """On the ordered one and beside it: a leak between VLANs, likely, since a second VBR may have the address. How many
    were tried is said."""
    router = Router()
    router.heard = [100, 101]
    run = Judged(tmp_path, router)
    assert (run.verdict("vlan.answers"), run.verdict("vlan.answers_elsewhere")) == ("PASS", "FAIL")
    assert "8 tags were tried" in run.finding("vlan.answers_elsewhere").reason
    assert (run.causes["vlan-leak"].certainty, run.causes["vlan-leak"].owner) == ("likely", "unknown")
    assert "vlan-mismatch" not in run.causes and run.rests_on("vlan-leak") == {"vlan.answers_elsewhere"}


# --- the port ---------------------------------------------------------------------------------------


def test_a_port_without_carrier_explains_what_follows(tmp_path: Path) -> None:
    """Down is down: no VLAN, no BGP and no route is a cause of its own."""
    router = Router("frr-other-as")
    router.outputs["netlink"] = netlink(carrier=False, lookups={ECS: None})
    router.heard, router.port = [], "silent"
    run = Judged(tmp_path, router)
    assert run.verdict("portspec.carrier") == "FAIL"
    assert run.verdict("vlan.answers") == "NOT_RUN"
    assert run.causes["link-down"].segment is Segment.CARRIER
    assert run.rests_on("link-down") == {"portspec.carrier"}
    assert not {"vlan-mismatch", "bgp-port-blocked", "missing-forward-route"} & set(run.causes)


def test_speed_duplex_and_address_are_held_against_the_order(tmp_path: Path) -> None:
    """The lab's port is a name; a real one fails with both values."""
    router = Router()
    router.outputs["netlink"] = netlink(speed_bps=10**8, duplex="half", addresses=["172.16.100.6/30"], mtu=1400)
    circuit = order(tmp_path, **{"environment: lab": "environment: test"})
    run = Judged(tmp_path, router, circuit=circuit)
    assert [run.verdict(f"portspec.{name}") for name in ("speed", "duplex", "mtu", "link_address")] == [
        *("FAIL", "FAIL", "WARN", "FAIL")
    ]
    assert "172.16.100.6/30, required is 172.16.100.2/30" in run.finding("portspec.link_address").reason


def test_a_virtual_port_has_no_speed(tmp_path: Path) -> None:
    """10 Gbit/s of veth is a name, not a measurement."""
    router = Router()
    router.outputs["netlink"] = netlink(driver="veth", speed_bps=10**10)
    run = Judged(tmp_path, router)
    assert (run.verdict("portspec.speed"), run.verdict("portspec.carrier")) == ("NOT_RUN", "PASS")


def test_damaged_frames_count_since_the_first_step(tmp_path: Path) -> None:
    """What a port counted in years is nothing against what came meanwhile; without frames there is no ratio."""
    first, then = Router(), Router()
    first.outputs["netlink"] = netlink(counters={"rx_packets": 1000, "rx_crc_errors": 500})
    then.outputs["netlink"] = netlink(counters={"rx_packets": 11_000, "rx_crc_errors": 501}, carrier_changes=4)
    run = Judged(tmp_path, first, then)
    assert run.finding("portspec.errors", "edge-after").value == pytest.approx(1e-4)
    assert run.verdict("portspec.errors", "edge-after") == "WARN"  # of the lab; of a real port it fails
    assert run.verdict("portspec.errors") == "NOT_APPLICABLE"
    flap = run.causes["link-flap"]
    assert (flap.certainty, flap.owner, flap.checklist) == ("likely", "unknown", ("EC-011", "EC-017"))
    assert any("switched off and on at the router" in each for each in flap.against)
    assert run.verdict("portspec.flaps", "edge-after") == "FAIL" and run.rests_on("link-flap") == {"portspec.flaps"}


def test_one_damaged_frame_among_few_decides_nothing(tmp_path: Path) -> None:
    """It fails a circuit only where the line surely damages so many; none at all is what was counted."""
    first, then = Router(), Router()
    first.outputs["netlink"] = netlink(counters={"rx_packets": 0})
    for damaged, verdict in ((0, "PASS"), (1, "INCONCLUSIVE"), (30, "FAIL")):
        folder = tmp_path / verdict
        folder.mkdir()
        then.outputs["netlink"] = netlink(counters={"rx_packets": 100_000, "rx_crc_errors": damaged, "rx_dropped": 3})
        run = Judged(folder, first, then, circuit=order(folder, **{"environment: lab": "environment: test"}))
        assert run.verdict("portspec.errors", "edge-after") == verdict
        assert (
            run.finding("portspec.discards", "edge-after").value,
            run.verdict("portspec.discards", "edge-after"),
        ) == (
            3,
            "WARN",
        )


@pytest.mark.parametrize(("changed", "figure"), [({"autoneg": True}, "autonegotiation"), ({"mtu": 9000}, "mtu")])
def test_a_port_that_is_set_otherwise_warns(tmp_path: Path, changed: dict[str, Any], figure: str) -> None:
    """Autonegotiation that was ordered off, and an MTU larger than the circuit's: the standing trap."""
    router = Router()
    router.outputs["netlink"] = netlink(**changed)
    assert Judged(tmp_path, router).verdict(f"portspec.{figure}") == "WARN"


def test_what_the_run_itself_cut_is_no_flap(tmp_path: Path) -> None:
    """A step is compared with the first one since the circuit was last cut on purpose, and so is its next attempt."""
    here = next(task for task in make_plan(order(tmp_path), load_scenario("smoke")).tasks if task.measurement == "edge")
    same = {"measurement": "edge", "scope": {"pair": here.scope.pair}, "acts": []}
    cut = {"measurement": "failover", "scope": {"pair": here.scope.pair}, "acts": [{"id": "cut"}]}
    plan = {"01-edge": same, "02-cut": cut, "03-edge": same, "04-edge": same}
    folder = evidence.create(tmp_path, "c", "r", {})
    folder.write_json("plan.json", {"tasks": [{"id": name, **task} for name, task in plan.items()]})
    for name, first in (("01-edge", None), ("03-edge", None), ("04-edge", "03-edge"), ("04-edge.2", "03-edge")):
        found = earlier(replace(here, id=name), folder.files(name))
        assert (found.task if found else None) == first


# --- routes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "wan", "speed"),
    [
        ("cisco_ios", "GigabitEthernet0/0/1", "1Gbps"),
        ("huawei_vrp", "GigabitEthernet0/0/1", "1Gbps"),
        ("juniper_junos", "xe-0/0/0", "10Gbps"),
    ],
)
def test_a_vendors_router_is_judged_by_the_same_rules(tmp_path: Path, platform: str, wan: str, speed: str) -> None:
    """By its show commands alone, light too; what they do not tell stays open."""
    ce = f"ce: {{name: ph-ce-a, platform: {platform}, ssh: {{host: ce-a}}, wan: {wan}}}\n"
    port_of = {} if speed == "1Gbps" else {"1000Base-LX": "10GBase-LR", "  speed: 1Gbps": f"  speed: {speed}"}
    router = Router(platform)
    del router.outputs["netlink"]
    run = Judged(tmp_path, router, circuit=order(tmp_path, ce, **port_of))
    well = [name for name in (*WELL, "portspec.light", "bgp.bfd") if name != "vlan.answers_elsewhere"]
    assert {name: run.verdict(name) for name in well} == dict.fromkeys(well, "PASS")
    assert run.verdict("vlan.answers_elsewhere") == "NOT_RUN"


@pytest.mark.parametrize(
    ("ce", "says"),
    [
        (CE.replace("platform: frr", "platform: frr\n  vtysh: sh -c vtysh"), "does not start vtysh"),
        (CE.replace("platform: frr", "platform: cisco"), "no platform 'cisco'"),
        ("ce: {name: x, platform: cisco_ios, ssh: {host: x}}\n", "'wan' is missing"),
    ],
)
def test_a_router_that_cannot_be_asked_so(tmp_path: Path, ce: str, says: str) -> None:
    """One sentence for each slip of the order."""
    with pytest.raises(BadInput, match=says):
        order(tmp_path, ce)
