"""Routes at the host, the customer's router and the instance: what a look-up said, and what it does not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfharness import evidence
from perfharness.measurements.base import Context
from perfharness.measurements.edge_routes import _delivered
from perfharness.model import Segment
from tests.unit.edge_files import CE, ECS, HOST, VBR, Judged, Router, netlink, order


def test_routes_are_looked_up_at_each_place(tmp_path: Path) -> None:
    """No route on the host, on the router, or past the VBR: each is named."""
    cases = {
        "host": ("to_cloud", "missing-forward-route", Segment.HOST_A),
        "router": ("to_cloud", "missing-forward-route", Segment.CE),
        "back": ("to_onprem", "missing-return-route", Segment.CE),
        "ecs": ("to_onprem", "missing-return-route", Segment.HOST_Z),
    }
    lookups = {
        "router": {ECS: None},
        "back": {HOST: {"gateway": VBR, "interface": "wan"}},
    }
    for case, (statistic, cause, segment) in cases.items():
        folder = tmp_path / case
        folder.mkdir()
        router = Router()
        router.outputs["netlink"] = netlink(lookups=lookups.get(case))
        nowhere = {"route": None, "reason": "the kernel has no route to it: Network is unreachable"}
        router.host = nowhere if case == "host" else router.host
        router.ecs = nowhere if case == "ecs" else router.ecs
        run = Judged(folder, router)
        assert run.verdict(f"route.{statistic}") == "FAIL", case
        assert (run.causes[cause].segment, run.causes[cause].certainty) == (segment, "proven"), case
        assert run.rests_on(cause) == {f"route.{statistic}"}, case


def test_a_circuit_in_a_vrf_is_not_measured(tmp_path: Path) -> None:
    """What the default tables lack is no fault of a circuit that is not in them: nothing fails, and why is said."""
    router = Router().change("bgp-summary", f'"{VBR}"', '"172.16.100.5"')
    router.outputs["netlink"] = netlink(vrf="cloud", lookups={ECS: None, HOST: {"gateway": VBR, "interface": "wan"}})
    run = Judged(tmp_path, router)
    for name in ("bgp.established", "route.to_cloud", "route.to_onprem"):
        assert run.verdict(name) == "NOT_RUN", name
        assert "may be in a VRF" in run.finding(name).reason
    assert run.causes == {}


def test_a_link_address_that_nobody_has_is_in_no_vrf(tmp_path: Path) -> None:
    """Another address and another neighbour, on a router that tells its VRFs: both are wrong, and not unseen."""
    router = Router().change("bgp-summary", f'"{VBR}"', '"172.16.100.5"')
    router.outputs["netlink"] = netlink(vrf="", addresses=["172.16.100.6/30"])
    run = Judged(tmp_path, router)
    assert (run.verdict("portspec.link_address"), run.verdict("bgp.established")) == ("FAIL", "FAIL")
    assert "bgp-neighbour-wrong" in run.causes


@pytest.mark.parametrize(("inside", "verdict"), [(True, "NOT_RUN"), (False, "FAIL")])
def test_a_vendors_link_outside_the_default_table_is_in_a_vrf(tmp_path: Path, inside: bool, verdict: str) -> None:
    """IOS runs no BGP in its default table: a fault where the link is in that table, unseen where it is not."""
    ce = "ce: {name: ph-ce-a, platform: cisco_ios, ssh: {host: ce-a}, wan: GigabitEthernet0/0/1}\n"
    router = Router("cisco_ios")
    del router.outputs["netlink"]
    router.outputs["bgp-summary"] = "% BGP not active\n"
    if inside:
        lines = router.outputs["routes"].splitlines(keepends=True)
        router.outputs["routes"] = "".join(line for line in lines if "172.16." not in line)
    run = Judged(tmp_path, router, circuit=order(tmp_path, ce))
    assert run.verdict("bgp.established") == verdict
    assert run.verdict("route.to_cloud") == ("NOT_RUN" if inside else "PASS")


def test_a_router_that_prefers_another_way_lacks_no_route(tmp_path: Path) -> None:
    """It has the VBR's prefix too. Beside a second circuit it may stand by, and nothing fails; alone not."""
    router = Router()
    router.outputs["netlink"] = netlink(lookups={ECS: {"gateway": "10.10.255.253", "interface": "lan"}})
    run = Judged(tmp_path, router)
    assert run.verdict("route.to_cloud") == "FAIL"
    assert "prefers the other way" in run.finding("route.to_cloud").reason and run.causes == {}
    folder = tmp_path / "pair"
    folder.mkdir()
    circuit = order(folder).model_copy(update={"companion": "b.yaml"})
    assert Judged(folder, router, circuit=circuit).verdict("route.to_cloud") == "NOT_RUN"
    folder = tmp_path / "other"
    folder.mkdir()
    router.change("bgp-accepted", '"192.168.0.0/16"', '"192.168.64.0/18"')
    assert "prefers" not in Judged(folder, router).finding("route.to_cloud").reason


def test_a_way_back_that_nobody_saw_is_not_measured(tmp_path: Path) -> None:
    """Without BGP the VBR's tables are not seen: packets that came back in a step `path` show that they are well."""
    router = Router()
    router.outputs = {"netlink": netlink()}
    circuit = order(tmp_path, CE.replace("platform: frr", "platform: linux"))
    assert Judged(tmp_path, router, circuit=circuit).verdict("route.to_onprem") == "NOT_RUN"
    context = Context(circuit, circuit.endpoint("onprem-a"), circuit.endpoint("ecs-a"))
    for received in (0, 1):
        folder = evidence.create(tmp_path, "c", f"r{received}", {})
        tasks = [{"id": f"0{n}-{name}", "measurement": name} for n, name in enumerate(("edge", "path"))]
        scope = {"pair": "onprem-a:ecs-a", "family": "ipv4"}
        folder.write_json("plan.json", {"tasks": [{**task, "scope": scope} for task in tasks]})
        result = {"format_version": 1, "status": "completed", "data": {"received": received}}
        folder.write_json("raw/01-path/ecs-a.ping-z-a/result.json", result)
        assert _delivered(context, folder.files("00-edge")) is bool(received)


def test_a_prefix_that_leaks_meanwhile_fails(tmp_path: Path) -> None:
    """EC-023: new on the session since the first step and not in the plan; one that was there before is EC-020's."""
    extra = '"172.31.0.0/16": [{"valid":true}], "192.168.0.0/16": ['
    leaky = Router().change("bgp-accepted", '"192.168.0.0/16": [', extra)
    run = Judged(tmp_path, Router(), leaky)
    leaked = run.finding("route.leaked", "edge-after")
    assert (leaked.value, leaked.verdict.value, leaked.mandatory) == (1, "FAIL", True)
    assert "172.31.0.0/16 received: new and not in the plan" in leaked.reason
    folder = tmp_path / "before"
    folder.mkdir()
    assert Judged(folder, leaky, leaky).verdict("route.leaked", "edge-after") == "PASS"


def test_routes_that_came_or_went(tmp_path: Path) -> None:
    """EC-023: by name, in the table and in both directions of the session."""
    then = Router().change("routes", '"192.168.0.0/16"', '"192.169.0.0/16"')
    run = Judged(tmp_path, Router(), then)
    changed = run.finding("route.changed", "edge-after")
    assert (changed.value, changed.verdict.value) == (2, "WARN")
    assert "new: 192.169.0.0/16 in the table; gone: 192.168.0.0/16 in the table" in changed.reason


# --- vendors, and the order -------------------------------------------------------------------------
