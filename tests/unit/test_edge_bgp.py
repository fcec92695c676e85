"""The session of a step `edge`: what a router said of BGP and BFD, judged against the order, and its causes."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfharness.judge.edge import edge
from perfharness.model import Segment
from tests.unit.edge_files import VBR, Judged, Router, order


def test_a_session_without_limit_and_filters_warns(tmp_path: Path) -> None:
    """EC-022 is more than how near the limit is: what is lacking is named."""
    run = Judged(tmp_path)
    assert run.verdict("bgp.guarded") == "WARN"
    assert "no filter of what comes and no filter of what it announces" in run.finding("bgp.guarded").reason
    both = '"routeMapForIncomingAdvertisements":"IN","outgoingUpdatePrefixFilterList":"OUT","prefixAllowedMax"'
    folder = tmp_path / "guarded"
    folder.mkdir()
    router = Router().change("bgp-neighbor", '"prefixAllowedMax"', both)
    assert Judged(folder, router).verdict("bgp.guarded") == "PASS"


def test_without_bfd_on_either_side_nobody_notices(tmp_path: Path) -> None:
    """EC-051 asks for it whether it was ordered or not."""
    router = Router()
    router.outputs["bfd-peers"] = "[]"
    run = Judged(tmp_path, router)
    assert run.verdict("bgp.bfd") == "WARN"
    assert "Nor is it ordered" in run.finding("bgp.bfd").reason


def test_a_health_check_in_place_of_bfd_is_the_clouds_to_tell(tmp_path: Path) -> None:
    """It is neither a pass nor a warning: nothing here sees it."""
    run = Judged(tmp_path, circuit=order(tmp_path, **{"    bgp:\n": "    health_check: {}\n    bgp:\n"}))
    assert run.verdict("bgp.bfd") == "NOT_RUN"
    assert "only the cloud's console tells" in run.finding("bgp.bfd").reason


def test_static_routes_have_no_session_to_judge(tmp_path: Path) -> None:
    """Each row of BGP says that it does not apply, and none of them is open."""
    text = "    bgp:\n      customer_as: 65010\n      cloud_as: 45104\n"
    run = Judged(tmp_path, circuit=order(tmp_path, **{text: ""}))
    rows = [
        row for row in run.findings if (row.metric == "bgp" and row.statistic != "bfd") or row.statistic == "leaked"
    ]
    assert {row.verdict.value for row in rows} == {"NOT_APPLICABLE"}
    assert "its routes are static" in rows[0].reason
    assert run.verdict("route.to_cloud") == "PASS"


def test_ipv6_prefixes_of_the_plan_are_not_missing_but_unseen(tmp_path: Path) -> None:
    """IPv4 unicast alone is read: what may be exchanged beside it fails nothing and passes nothing."""
    circuit = order(tmp_path, **{"onprem: [10.10.0.0/16]": "onprem: [10.10.0.0/16, fd00:10::/48]"})
    run = Judged(tmp_path, circuit=circuit)
    missing = run.finding("bgp.missing")
    assert (missing.verdict.value, missing.mandatory) == ("NOT_RUN", True)
    assert missing.reason == "The router does not tell the prefixes announced of IPv6."
    folder = tmp_path / "v4"
    folder.mkdir()
    circuit = order(folder, **{"onprem: [10.10.0.0/16]": "onprem: [10.10.0.0/16, fd00:10::/48]"})
    run = Judged(folder, Router().change("bgp-advertised", "10.10.0.0/16", "10.99.0.0/16"), circuit=circuit)
    assert run.verdict("bgp.missing") == "FAIL"


def test_another_as_at_the_far_end(tmp_path: Path) -> None:
    """Configured as ordered here, and a notification says otherwise: proven, and the cloud's."""
    run = Judged(tmp_path, Router("frr-other-as"))
    assert (run.verdict("bgp.established"), run.verdict("bgp.as_agree")) == ("FAIL", "FAIL")
    assert (run.causes["bgp-as-mismatch"].certainty, run.causes["bgp-as-mismatch"].owner) == ("proven", "cloud")
    assert run.rests_on("bgp-as-mismatch") == {"bgp.established", "bgp.as_agree"}
    assert run.verdict("bgp.missing") == "NOT_RUN"


def test_another_as_here(tmp_path: Path) -> None:
    """The router's own configuration differs from the order."""
    run = Judged(tmp_path, Router("frr-other-as").change("bgp-summary", '"remoteAs":45104', '"remoteAs":45105'))
    assert run.causes["bgp-as-mismatch"].owner == "own"
    assert "45105 and ordered 45104" in run.finding("bgp.as_agree").reason


@pytest.mark.parametrize(("port", "segment"), [("refused", Segment.CLOUD_EDGE), ("silent", Segment.BETWEEN)])
def test_a_closed_port_of_a_link_that_answers(tmp_path: Path, port: str, segment: Segment) -> None:
    """ARP is answered, TCP/179 is not: likely blocked, since a signed session is silent as well."""
    router = Router("frr-other-as").change("bgp-neighbor", "0202", "0400")
    router.port = port
    run = Judged(tmp_path, router)
    assert run.verdict("bgp.port_open") == "WARN"
    assert (run.causes["bgp-port-blocked"].certainty, run.causes["bgp-port-blocked"].segment) == ("likely", segment)
    assert run.rests_on("bgp-port-blocked") == {"bgp.established", "bgp.port_open"}


def test_a_session_that_is_not_configured(tmp_path: Path) -> None:
    """Another neighbour is named, the ordered one is not there."""
    router = Router().change("bgp-summary", f'"{VBR}"', '"172.16.100.5"')
    run = Judged(tmp_path, router)
    assert run.verdict("bgp.established") == "FAIL"
    assert f"no session with {VBR}; it has one with 172.16.100.5" in run.finding("bgp.established").reason
    cause = run.causes["bgp-neighbour-wrong"]
    assert (cause.certainty, cause.owner) == ("likely", "own")
    assert run.rests_on("bgp-neighbour-wrong") == {"bgp.established"}


def test_a_missing_prefix_is_the_cause_and_the_route_its_consequence(tmp_path: Path) -> None:
    """The router announces nothing for the LAN: the cloud has no way back, and that is not a second cause."""
    router = Router().change("bgp-advertised", "10.10.0.0/16", "10.99.0.0/16")
    run = Judged(tmp_path, router)
    assert (run.verdict("bgp.missing"), run.verdict("route.to_onprem")) == ("FAIL", "FAIL")
    assert (run.causes["bgp-prefix-missing"].owner, run.causes["bgp-prefix-missing"].certainty) == ("own", "proven")
    assert run.causes["bgp-prefix-leak"].owner == "own"
    assert "missing-return-route" not in run.causes
    assert (run.rests_on("bgp-prefix-missing"), run.rests_on("bgp-prefix-leak")) == ({"bgp.missing"}, {"bgp.extra"})


def test_a_prefix_that_the_cloud_does_not_announce(tmp_path: Path) -> None:
    """It is the cloud's, unless the prefix came and a filter here refused it."""
    for name, text in (("cloud", "192.168.0.0/16"), ("own", "")):
        folder = tmp_path / name
        folder.mkdir()
        router = Router().change("bgp-accepted", '"192.168.0.0/16"', '"192.168.64.0/18"')
        if text:
            router.change("bgp-received", text, "192.168.64.0/18")
        run = Judged(folder, router)
        assert run.causes["bgp-prefix-missing"].owner == name


def test_what_is_missing_both_ways_has_two_owners(tmp_path: Path) -> None:
    """What the VBR does not announce is not the router's, whatever that lacks itself."""
    router = Router().change("bgp-advertised", "10.10.0.0/16", "10.99.0.0/16")
    router.change("bgp-accepted", '"192.168.0.0/16"', '"192.168.64.0/18"')
    router.change("bgp-received", "192.168.0.0/16", "192.168.64.0/18")
    run = Judged(tmp_path, router)
    missing = [one for one in edge(run.findings, run.measurements) if one.cause == "bgp-prefix-missing"]
    assert {(one.owner, one.segment) for one in missing} == {("own", Segment.CE), ("cloud", Segment.CLOUD_EDGE)}
    assert len(missing) == 2


def test_a_prefix_over_the_other_sides_own_fails(tmp_path: Path) -> None:
    """Wider than the LAN, yet no default route: it draws the site's own traffic to the cloud."""
    extra = '"10.10.0.0/15": [{"valid":true}], "192.168.0.0/16": ['
    run = Judged(tmp_path, Router().change("bgp-accepted", '"192.168.0.0/16": [', extra))
    assert (run.verdict("bgp.broad"), run.verdict("bgp.extra")) == ("FAIL", "PASS")
    assert "over the other side's own prefixes" in run.finding("bgp.broad").reason


def test_parts_that_make_a_prefix_whole_are_as_good(tmp_path: Path) -> None:
    """Two /17 for one /16: nothing is missing, nothing extra."""
    router = Router().change(
        "bgp-accepted", '"192.168.0.0/16": [', '"192.168.0.0/17": [{"valid":true}], "192.168.128.0/17": ['
    )
    run = Judged(tmp_path, router)
    assert (run.verdict("bgp.missing"), run.verdict("bgp.extra")) == ("PASS", "PASS")


def test_a_wider_prefix_routes_what_was_ordered(tmp_path: Path) -> None:
    """A /15 for the /16 is other than planned and warns, but nothing is missing; a default route is no substitute."""
    for name, wider, verdicts in (
        ("wider", "192.168.0.0/15", ("PASS", "WARN")),
        ("all", "0.0.0.0/0", ("FAIL", "PASS")),
    ):
        folder = tmp_path / name
        folder.mkdir()
        run = Judged(folder, Router().change("bgp-accepted", '"192.168.0.0/16": [', f'"{wider}": ['))
        assert (run.verdict("bgp.missing"), run.verdict("bgp.extra")) == verdicts
        assert ("bgp-prefix-missing" in run.causes) is (name == "all")


def test_a_default_route_is_a_leak(tmp_path: Path) -> None:
    """EC-021 fails, in whichever direction; a prefix that is merely extra warns."""
    router = Router().change(
        "bgp-accepted", '"192.168.0.0/16": [', '"0.0.0.0/0": [{"valid":true}], "192.168.0.0/16": ['
    )
    router.change("bgp-advertised", '"10.10.0.0/16":{', '"172.31.0.0/24":{"path":""},"10.10.0.0/16":{')
    run = Judged(tmp_path, router)
    assert (run.verdict("bgp.broad"), run.verdict("bgp.extra")) == ("FAIL", "WARN")
    assert "0.0.0.0/0 received" in run.finding("bgp.broad").reason
    assert run.causes["bgp-prefix-leak"].checklist == ("EC-021", "EC-020")


def test_the_order_may_expect_other_prefixes(tmp_path: Path) -> None:
    """`announced` and `received` of the session replace the circuit's prefixes, a default route too."""
    wanted = "cloud_as: 45104\n      announced: [10.10.0.0/16]\n      received: [0.0.0.0/0, 192.168.0.0/16]"
    router = Router().change(
        "bgp-accepted", '"192.168.0.0/16": [', '"0.0.0.0/0": [{"valid":true}], "192.168.0.0/16": ['
    )
    run = Judged(tmp_path, router, circuit=order(tmp_path, **{"cloud_as: 45104": wanted}))
    assert (run.verdict("bgp.broad"), run.verdict("bgp.missing")) == ("PASS", "PASS")


def test_near_the_limit_of_prefixes(tmp_path: Path) -> None:
    """Of 110, the provider's default, or of what the order says; above 80 % it warns."""
    circuit = order(tmp_path, **{"cloud_as: 45104": "cloud_as: 45104\n      max_prefixes: 1"})
    run = Judged(tmp_path, circuit=circuit)
    assert run.verdict("bgp.limit_share") == "WARN"
    assert "1 of 1 announced" in run.finding("bgp.limit_share").reason


def test_a_session_that_fell_and_came_back(tmp_path: Path) -> None:
    """Counted by how often it came up; two readings of a session that stands hide nothing."""
    then = Router().change("bgp-summary", '"connectionsEstablished":1', '"connectionsEstablished":3')
    run = Judged(tmp_path, Router(), then)
    assert (run.finding("bgp.flaps", "edge-after").value, run.verdict("bgp.flaps", "edge-after")) == (2, "FAIL")
    cause = run.causes["link-flap"]
    assert (cause.certainty, cause.against) == ("likely", ("The router's own port kept its carrier.",))
    assert (cause.owner, cause.checklist) == ("unknown", ("EC-017",))
    assert run.rests_on("link-flap") == {"bgp.flaps"}


@pytest.mark.parametrize(
    ("last", "notification", "owner"),
    [
        ("User reset", "", "own"),
        ("Admin. shutdown", "", "own"),
        ("BGP Notification received", "0604", "cloud"),
        ("BGP Notification send", "0400", "carrier"),
        ("BFD down received", "", "carrier"),
        ("Peer closed the session", "", "unknown"),
    ],
)
def test_whose_flap_it_was_is_read_from_the_session(tmp_path: Path, last: str, notification: str, owner: str) -> None:
    """A hand at either end is nobody else's; silence is likely the way's; else nobody is blamed."""
    then = Router().change("bgp-summary", '"connectionsEstablished":1', '"connectionsEstablished":2')
    words = {"": "", "0604": "Cease/Administrative Reset", "0400": "Hold Timer Expired"}
    said = f'"lastErrorCodeSubcode":"{notification}","lastNotificationReason":"{words[notification]}",' * bool(
        notification
    )
    then.change("bgp-neighbor", '"lastResetDueTo":"Waiting for peer OPEN"', f'{said}"lastResetDueTo":"{last}"')
    cause = Judged(tmp_path, Router(), then).causes["link-flap"]
    assert (cause.certainty, cause.owner) == ("likely", owner)
    assert any(last in each for each in cause.because)


def down(router: Router, state: str = "Active", code: str = "0400", said: str = "", last: str = "") -> Router:
    """A session that does not stand, and what is last said of it."""
    router.change("bgp-summary", '"state":"Idle"', f'"state":"{state}"').change("bgp-neighbor", "0202", code)
    router.change("bgp-neighbor", "OPEN Message Error\\/Bad Peer AS", said)
    return router.change("bgp-neighbor", "BGP Notification send", last)


RECEIVED = "BGP Notification received"


@pytest.mark.parametrize(
    ("router", "cause", "certainty", "owner"),
    [
        (("Idle (Admin)", "0602", "Cease/Administrative Shutdown", "Admin. shutdown"), "shut-down", "proven", "own"),
        (("Active", "0602", "Cease/Administrative Shutdown", RECEIVED), "shut-down", "likely", "cloud"),
        (("Idle (PfxCt)", "0601", "Cease/Maximum Number of Prefixes", "BGP"), "prefix-limit", "proven", "unknown"),
        (("Active", "0601", "Cease/Maximum Number of Prefixes", RECEIVED), "prefix-limit", "likely", "own"),
    ],
)
def test_why_a_session_is_down(
    tmp_path: Path, router: tuple[str, str, str, str], cause: str, certainty: str, owner: str
) -> None:
    """Switched off or over a limit, here by its state and there by the VBR's last words; and it is the only cause."""
    run = Judged(tmp_path, down(Router("frr-other-as"), *router))
    found = run.causes[f"bgp-{cause}"]
    assert (found.certainty, found.owner) == (certainty, owner)
    assert run.rests_on(f"bgp-{cause}") == {"bgp.established"}
    assert {name for name in run.causes if name.startswith("bgp-")} == {f"bgp-{cause}"}


@pytest.mark.parametrize("signed", [True, False])
def test_a_key_may_be_wrong_where_sessions_are_signed(tmp_path: Path, signed: bool) -> None:
    """Only possibly, since a filter is as silent; without a key it is no cause."""
    circuit = order(tmp_path, **{"cloud_as: 45104": f"cloud_as: 45104\n      md5: {str(signed).lower()}"})
    run = Judged(tmp_path, down(Router("frr-other-as")), circuit=circuit)
    assert {cause.cause: (cause.certainty, cause.owner) for cause in run.causes.values()} == (
        {"bgp-key-mismatch": ("possible", "unknown")} if signed else {}
    )


def test_an_error_without_a_date_is_no_proof(tmp_path: Path) -> None:
    """Junos keeps the last one for ever: that it was another AS is likely now, and the row stays open."""
    ce = "ce: {name: ph-ce-a, platform: juniper_junos, ssh: {host: ce-a}, wan: xe-0/0/0}\n"
    router = Router("juniper_junos").change(
        "bgp-neighbor", "Hold Timer Expired Error", "Open Message Error, bad peer AS"
    )
    del router.outputs["netlink"]
    router.outputs["bgp-summary"] = router.outputs["bgp-summary"].replace('"Established"', '"Active"')
    run = Judged(tmp_path, router, circuit=order(tmp_path, ce))
    assert (run.verdict("bgp.established"), run.verdict("bgp.as_agree")) == ("FAIL", "NOT_RUN")
    assert run.causes["bgp-as-mismatch"].certainty == "likely"


def test_bfd_of_the_other_end(tmp_path: Path) -> None:
    """Its own intervals count as its multiplier does: slower than ordered is not as ordered."""
    circuit = order(
        tmp_path, **{"cloud_as: 45104": "cloud_as: 45104\n      bfd: {tx: 300ms, rx: 300ms, multiplier: 3}"}
    )
    router = Router().change("bfd-peers", '"remote-transmit-interval":300', '"remote-transmit-interval":1000')
    run = Judged(tmp_path, router, circuit=circuit)
    assert run.verdict("bgp.bfd") == "WARN"
    assert "The other end has 1000 ms and 300 ms × 3" in run.finding("bgp.bfd").reason


def test_bfd_as_ordered(tmp_path: Path) -> None:
    """300 ms here and 1 s in the order: said with both, as a warning; the order's own timers pass."""
    for timers, verdict in (("{}", "WARN"), ("{tx: 300ms, rx: 300ms, multiplier: 3}", "PASS")):
        folder = tmp_path / verdict
        folder.mkdir()
        circuit = order(folder, **{"cloud_as: 45104": f"cloud_as: 45104\n      bfd: {timers}"})
        assert Judged(folder, circuit=circuit).verdict("bgp.bfd") == verdict
