"""What the hops of both directions say of the way."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from perfharness.analysis.hops import Link, elsewhere, symmetric, through_internet, way

A, B = (
    Link(ip_network(f"172.16.{n}.0/30"), ip_address(f"172.16.{n}.2"), ip_address(f"172.16.{n}.1")) for n in (100, 101)
)
LINKS = {"link A": A, "link B": B}
THERE = ("10.10.0.1", "172.16.100.1", "192.168.10.10")
BACK = ("192.168.10.1", "172.16.100.2", "10.10.0.10")


def flow(*hops: str, reached: bool = True, last: str = "udp echo") -> dict[str, Any]:
    """One trace; an empty name is a silent hop."""
    told = [[{"address": hop, "rtt_ns": 1, "icmp": "time exceeded"}] if hop else [] for hop in hops]
    if told and told[-1]:
        told[-1][0]["icmp"] = last
    return {"hops": [{"ttl": n, "answers": one} for n, one in enumerate(told, 1)], "reached": reached}


def ways(there: tuple[str, ...], back: tuple[str, ...], *others: tuple[str, ...]) -> bool | None:
    more = {"others": [flow(*other) for other in others]}
    return symmetric(way({**flow(*there), **more}, there=True), way(flow(*back), there=False), LINKS).value


@pytest.mark.parametrize(
    ("back", "others", "same"),
    [
        (BACK, (), True),
        (("192.168.10.1", "172.16.101.2", "10.10.0.10"), (), False),
        (("192.168.10.1", "", "10.10.0.10"), (), None),
        (BACK, (("10.10.0.1", "172.16.101.1", "192.168.10.10"),), None),
        (("192.168.10.1", "172.16.100.1", "10.10.0.10"), (), None),
    ],
    ids=["same", "other link", "silent", "one flow of several", "near end only"],
)
def test_the_way_back_is_compared_by_links(
    back: tuple[str, ...], others: tuple[tuple[str, ...], ...], same: bool | None
) -> None:
    """Asymmetric are ways without a common link; what is not seen, or only in some flows, stays open."""
    assert ways(THERE, back, *others) is same


@pytest.mark.parametrize(
    ("hops", "reached", "sources", "through"),
    [
        (THERE, True, (), False),
        (("10.10.0.1", "172.16.100.1", ""), False, (), False),
        (("10.10.0.1", "10.77.0.1", "192.168.10.10"), True, (), None),
        (("10.10.0.1", "", "192.168.10.10"), True, (), None),
        (("10.10.0.1", "203.0.113.9", "192.168.10.10"), True, (), None),
        (("10.10.0.1", "203.0.113.9", ""), False, (), True),
        (("10.10.0.1", "203.0.113.9", "198.51.100.10"), True, (), True),
        (("10.10.0.1", "172.16.100.1", "100.100.0.9"), True, (), False),
        (("203.0.113.9", "172.16.100.1", "192.168.10.10"), True, (), None),
        (("198.51.100.1", "172.16.100.1", "192.168.10.10"), True, (), False),
        (THERE, True, ("10.9.9.9",), False),
        (THERE, True, ("203.0.113.7",), True),
        ((), False, (), None),
    ],
)
def test_the_internet_shows_by_public_addresses(
    hops: tuple[str, ...], reached: bool, sources: tuple[str, ...], through: bool | None
) -> None:
    """A public hop, or a public source, is the Internet, and the ordered link is not; hops that are silent or of a
    tunnel are neither, nor is a public router on a way that crosses the ordered link or delivers to a private address:
    no router of the Internet forwards to one."""
    own = (ip_network("198.51.100.0/24"),)
    found = through_internet(way(flow(*hops, reached=reached), there=True), LINKS, own, sources)
    assert found.value is through, found.reason


def test_who_refuses_and_who_answered_last_are_told() -> None:
    """The router that has no route, and no router at all."""
    refused = way(flow("10.10.0.1", "172.16.100.1", reached=False, last="net unreachable"), there=True)
    assert (refused.refused, refused.last) == (("172.16.100.1", "net unreachable"), "172.16.100.1")
    filtered = way(flow("10.10.0.1", reached=False, last="port unreachable"), there=True)
    assert filtered.refused == ("10.10.0.1", "port unreachable")
    nothing = way(None, there=True)
    assert (nothing.last, nothing.refused, nothing.reached) == ("", None, False)


@pytest.mark.parametrize(
    ("hops", "reached", "off"),
    [
        (("10.10.0.1", "10.200.0.1", "192.168.10.10"), True, True),
        (THERE, True, False),
        (("10.10.0.1", "172.16.101.1", "192.168.10.10"), True, False),
        (("10.10.0.1", "", "192.168.10.10"), True, None),
        (("10.10.0.1", "10.200.0.1"), False, None),
    ],
    ids=["tunnel", "link", "the other link", "silent hop", "not reached"],
)
def test_a_backup_is_off_every_ordered_link(hops: tuple[str, ...], reached: bool, off: bool | None) -> None:
    """That no link answered proves it only where every hop did."""
    assert elsewhere(way(flow(*hops, reached=reached), there=True), LINKS).value is off
