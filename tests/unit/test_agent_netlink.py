"""What the agent asks the kernel over rtnetlink, of the one interface that every machine has."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from perfagent.netlink import Addresses, Links, Routes

LO = socket.if_nametoindex("lo")


@pytest.fixture
def links() -> Iterator[Links]:
    with closing(Links()) as asking:
        yield asking


def test_an_interface_is_described(links: Links) -> None:
    """Name, MAC and MTU as `ip link` has them, by index; its qdisc by kind and parent, its options as they are."""
    lo = links.all()[LO]
    assert (lo.name, lo.mac) == ("lo", "00:00:00:00:00:00")
    assert lo.mtu is not None and lo.mtu > 1500
    for qdisc in links.qdiscs(LO):
        assert qdisc["kind"] and qdisc["parent"]
        assert qdisc["options"] is None or bytes.fromhex(qdisc["options"])


def test_addresses_are_told_with_their_interface() -> None:
    """Both families, with the length of the prefix."""
    with closing(Addresses()) as asking:
        assert (LO, "127.0.0.1/8") in asking.all()


def test_a_route_is_told_with_its_table() -> None:
    """In the local table, without a gateway and, as most routes, without an MTU of its own; `to` says a part of it."""
    with closing(Routes()) as asking:
        found = asking.details("127.0.0.1")
        assert asking.to("127.0.0.1") == {name: found[name] for name in ("interface", "gateway", "source")}
    assert (found["interface"], found["gateway"], found["mtu"]) == ("lo", None, None)
    assert found["table"] in (254, 255)
