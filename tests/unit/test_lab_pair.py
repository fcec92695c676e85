"""Two circuits and BGP: what the lab plans for a production pair, and what its routers are told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from perfharness.errors import LabFault, Refused
from perfharness.lab import frr, routing, score, topology
from perfharness.lab.faults import Wish
from perfharness.lab.options import Asked
from perfharness.lab.spec import Bgp, LabSpec
from perfharness.lab.state import State
from perfharness.model import Direction

CIRCUITS = Path(__file__).parents[2] / "scenarios/circuits"
PRODUCTION = CIRCUITS / "lab-production.yaml"
PAIR = Asked(PRODUCTION).spec()


def configured(spec: LabSpec, router: str) -> str:
    made = routing.routers(spec, topology.plan(spec))[router]
    return routing.configuration(made, spec)["bgpd"]


def test_an_order_with_a_companion_gets_both_circuits_and_bgp() -> None:
    """Each with its own link, VLAN and CE; hosts and prefixes are those of the first."""
    assert replace(PAIR, second=None, bgp=None) == LabSpec()
    assert PAIR.bgp == Bgp() and PAIR.second is not None
    assert (PAIR.second.vlan, PAIR.second.customer_link, PAIR.second.ce_alias) == (101, "172.16.101.2/30", "ce-b")
    assert PAIR.second.onprem == PAIR.onprem
    assert LabSpec.from_json(json.loads(json.dumps(PAIR.to_json()))) == PAIR


def test_a_single_circuit_has_static_routes_unless_bgp_is_asked_for() -> None:
    """The order's AS numbers alone change nothing of a lab that many use."""
    assert Asked(CIRCUITS / "lab.yaml").spec() == LabSpec()
    assert Asked(CIRCUITS / "lab.yaml", bgp=True).spec() == LabSpec(bgp=Bgp()) == Asked(bgp=True).spec()
    with pytest.raises(Refused, match="--standby needs a second circuit"):
        Asked(standby=True).spec()


def test_what_is_asked_besides_holds_for_both_circuits() -> None:
    """They are ordered alike."""
    spec = Asked(PRODUCTION, rate="200Mbps", mtu=1400, standby=True).spec()
    assert [(circuit.rate_bps, circuit.mtu) for circuit in spec.circuits.values()] == [(200_000_000, 1400)] * 2
    assert spec.standby


def test_no_two_links_of_a_pair_overlap() -> None:
    """Every router has its links, every link its own network, and both circuits end in routers of their own."""
    plan = topology.plan(PAIR)
    links = [*plan.links, *(way.circuit for way in plan.crossings)]
    assert all(a.address.network == z.address.network for a, z in links)
    networks = [a.address.network for a, _ in links]
    assert not any(m.overlaps(n) for i, m in enumerate(networks) for n in networks[:i])
    assert {way.letter: (way.ce, way.vbr) for way in plan.crossings} == {
        "a": (topology.CE, topology.VBR),
        "b": (topology.CE_B, topology.VBR_B),
    }
    ends = [(end.namespace, end.interface) for link in links for end in link]
    assert len(ends) == len(set(ends))


def test_two_circuits_with_one_link_are_refused() -> None:
    """Nobody could tell them apart."""
    with pytest.raises(LabFault, match="Both circuits have the link"):
        LabSpec(second=LabSpec())


def test_with_bgp_no_static_route_crosses_the_circuit() -> None:
    """Hosts have their gateways and the links can be reached; all else is learnt."""
    crossing = {LabSpec().cloud_prefix, LabSpec().onprem_prefix}
    assert crossing <= {route.target for route in topology.plan(LabSpec()).routes}
    for spec in (LabSpec(bgp=Bgp()), PAIR):
        assert not crossing & {route.target for route in topology.plan(spec).routes}


def test_both_ends_of_every_session_agree() -> None:
    """Each neighbor is known to its neighbor, with the AS number that this one has, and BFD across circuits alone."""
    made = routing.routers(PAIR, topology.plan(PAIR))
    assert set(made) == {"core", "vpc", "ce-a", "vbr-a", "ce-b", "vbr-b"}
    for router in made.values():
        for neighbor in router.neighbors:
            back = made[neighbor.router].neighbor(router.name)
            assert neighbor.remote_as == made[neighbor.router].local_as
            assert (back.remote_as, back.bfd) == (router.local_as, neighbor.bfd)
            assert neighbor.bfd is (neighbor.remote_as != router.local_as)
            assert not (neighbor.passive and back.passive)
    assert routing.routers(LabSpec(), topology.plan(LabSpec())) == {}


def test_a_standby_is_preferred_less_in_both_directions() -> None:
    """By local preference where its CE learns, by a longer path where it announces; the other circuit is as ever."""
    standby = replace(PAIR, standby=True)
    told = configured(standby, "ce-b")
    assert "set local-preference 50" in told and "set as-path prepend 65010 65010 65010" in told
    assert configured(standby, "ce-a") == configured(PAIR, "ce-a")
    assert "prepend" not in configured(PAIR, "ce-b")


def test_bfd_is_as_ordered() -> None:
    """In milliseconds, as FRR counts."""
    slow = LabSpec(bgp=Bgp(tx_ns=300_000_000, rx_ns=400_000_000, multiplier=5))
    made = routing.routers(slow, topology.plan(slow))["ce-a"]
    text = routing.configuration(made, slow)["bfdd"]
    assert "detect-multiplier 5" in text and "receive-interval 400" in text and "transmit-interval 300" in text


def test_frr_is_named_with_its_package_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy can be typed."""
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(LabFault, match="zebra of FRR is not installed") as caught:
        frr.check()
    assert "apt install frr" in caught.value.remedy


def test_only_the_circuit_of_a_fault_gets_a_wire() -> None:
    """The other one stays as fast as it was, and its line as ordered."""
    current = State(score.recipe(PAIR, "veth", {}), faults=[Wish("delay", circuit="b", delay_ns=7).to_json()])
    a, b = score.scores(current).values()
    assert (a.mode, b.mode) == ("veth", "metered-wire")
    assert [line.delay_ns for line in b.lines.values()] == [7, 7]
    assert {line.vlan_push for line in b.lines.values()} == {101}
    assert dict(b.ordered) == PAIR.circuits["b"].lines(metered=False)


def test_a_wire_of_its_own_keeps_what_was_asked_of_it() -> None:
    """A fault changes its part of the line; a meter's fault the rate where the wire meters."""
    lines = {way: replace(line, delay_ns=5) for way, line in LabSpec().lines().items()}
    current = State(score.recipe(LabSpec(), "wire", lines), faults=[Wish("duplication", share=0.5).to_json()])
    (played,) = score.scores(current).values()
    assert played.lines == {way: replace(line, duplicate=0.5) for way, line in lines.items()}
    current.faults = [Wish("shaped-below-order", rate_bps=1000).to_json()]
    (played,) = score.scores(current).values()
    rates = [played.lines[way].rate for way in (Direction.A_Z, Direction.Z_A)]
    assert [rate and rate.bps for rate in rates] == [1000, 1000]
