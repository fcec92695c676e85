"""pmtu.search and pmtu.echo over a routed path with a narrow link, with and without ICMP, with loss."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.integration.namespaces import ADDRESSES, Path3

PORT = 8621
TOO_BIG_DROPPED = ("icmp type destination-unreachable drop", "icmpv6 type packet-too-big drop")


LIAR = """
import socket, struct
heard = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
heard.bind(("to-a", 0))
says = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
while True:
    packet = heard.recv(65535)
    if packet[9] == 17 and len(packet) > 1300:
        body = packet[:44]
        total = sum(struct.unpack(f"!{len(body) // 2}H", body)) + 0x0304 + 1300
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        says.sendto(struct.pack("!BBHHH", 3, 4, ~total & 0xFFFF, 0, 1300) + body, (socket.inet_ntoa(packet[12:16]), 0))
"""
"""Tells of every packet above 1300 bytes that it was too big, and lets it pass."""


def started(path: Path3, a: str, z: str, job: str = "search", floor: int = 576, ceiling: int = 1500) -> Any:
    """The search alone."""
    ends = {"peer": z, "port": PORT, "source": a, "syn": True}
    return path.start("a", job, "pmtu.search", **ends, floor=floor, ceiling=ceiling, pace_bps=20_000_000)


def search(path: Path3, family: int, job: str = "search", floor: int = 576, ceiling: int = 9216) -> dict[str, object]:
    """Search from a to z with an echo of its own; returns ``result.json``."""
    a, z = ADDRESSES[family]["a"], ADDRESSES[family]["z"]
    echo = path.serve("z", f"{job}-echo", "pmtu.echo", address=z, port=PORT, peer=a, syn=True)
    running = started(path, a, z, job=job, floor=floor, ceiling=ceiling)
    result = running.result()
    echo.stop()
    return result


def echoed(path: Path3) -> Any:
    return json.loads((path.spool / "jobs" / "search-echo" / "result.json").read_bytes())["data"]


@pytest.mark.parametrize("family", [4, 6])
def test_a_whole_path(path: Path3, family: int) -> None:
    """A path as wide as its ends: the limit is the ends' own interfaces, nothing is a black hole."""
    data = search(path, family)["data"]
    echo = echoed(path)
    assert echo["local_mtu"] == 1500
    assert echo["syn"]["arrived"] == [data["syn"]["advertised"]] == [{4: 1460, 6: 1440}[family]]
    assert (data["pmtu"], data["local_mtu"], data["blackhole"], data["ptb"]) == (1500, 1500, False, [])
    assert data["failed"] == []


@pytest.mark.parametrize("family", [4, 6])
def test_a_narrow_link_that_says_so(path: Path3, family: int) -> None:
    """The router's Packet Too Big is on record: from whom, what MTU, about which size."""
    path.mtu("z", 1400)
    data = search(path, family)["data"]
    assert (data["pmtu"], data["blackhole"]) == (1400, False)
    router = {4: "10.1.0.1", 6: "fd01::1"}[family]
    assert {(ptb["from"], ptb["mtu"]) for ptb in data["ptb"]} == {(router, 1400)}
    assert {ptb["size"] for ptb in data["ptb"]} <= set(data["failed"])


@pytest.mark.parametrize("family", [4, 6])
def test_a_narrow_link_that_is_silent(path: Path3, family: int) -> None:
    """Without ICMP the answer is the same, it is called a black hole, and the hop before the narrow link is named."""
    path.mtu("z", 1400)
    path.rules("output", *TOO_BIG_DROPPED)
    data = search(path, family)["data"]
    assert (data["pmtu"], data["blackhole"], data["ptb"]) == (1400, True, [])
    assert 1400 in data["confirmed"]
    assert 1401 in data["failed"]
    router = {4: "10.1.0.1", 6: "fd01::1"}[family]
    stops = data["stops"]
    assert [stops[key] for key in ("size", "last", "next", "adjacent")] == [1401, router, ADDRESSES[family]["z"], True]


def test_a_lie_is_not_believed(path: Path3) -> None:
    """A router that says 1300 of a path of 1500 is on record, and the answer is 1500."""
    liar = path.popen("r", sys.executable, "-c", LIAR)
    try:
        data = search(path, 4)["data"]
    finally:
        liar.kill()
        liar.wait()
    assert data["pmtu"] == 1500
    assert {(ptb["from"], ptb["mtu"]) for ptb in data["ptb"]} == {("10.1.0.1", 1300)}


@pytest.mark.parametrize("family", [4, 6])
def test_a_clamped_mss_is_seen_where_the_syn_arrives(path: Path3, family: int) -> None:
    """The SYN leaves with what the interface allows and arrives with what the router made of it."""
    path.rules("forward", "tcp flags syn tcp option maxseg size set 1300")
    data = search(path, family)["data"]
    assert data["syn"] == {"advertised": {4: 1460, 6: 1440}[family], "reason": ""}
    assert echoed(path)["syn"]["arrived"] == [1300]


@pytest.mark.parametrize("family", [4, 6])
def test_loss_is_not_mtu(path: Path3, family: int) -> None:
    """With 2 % random loss each way and no ICMP the answer is exact, every time."""
    path.rules("output", *TOO_BIG_DROPPED)
    path.rules("forward", "numgen random mod 100 < 2 drop")
    for attempt, size in enumerate((1500, 1400, 1399, 1331, 1281)):
        path.mtu("z", size)
        assert search(path, family, job=f"search{attempt}")["data"]["pmtu"] == size


def test_what_the_kernel_believes_is_ignored(path: Path3) -> None:
    """A route that says 1300 about a path that carries 1500 does not change the answer."""
    path.ip("a", "route", "add", "10.2.0.2", "via", "10.1.0.1", "mtu", "1300")
    data = search(path, 4)["data"]
    path.ip("a", "route", "del", "10.2.0.2")
    assert (data["pmtu"], data["local_mtu"]) == (1500, 1500)


def test_below_the_floor(path: Path3) -> None:
    """A path narrower than the floor is measured as well."""
    path.mtu("z", 552)
    assert search(path, 4)["data"]["pmtu"] == 552


def test_a_ceiling_is_kept(path: Path3) -> None:
    """Nothing above the ceiling is asked for, and reaching it is no black hole."""
    data = search(path, 4, ceiling=1450)["data"]
    assert (data["pmtu"], data["blackhole"]) == (1450, False)
    assert max(data["confirmed"]) == 1450


def test_jumbo_frames(path: Path3) -> None:
    """The limit of a path of 9000 with one link of 8500 is found among the large sizes."""
    path.mtu("a", 9000)
    path.mtu("z", 8500)
    data = search(path, 4)["data"]
    assert (data["pmtu"], data["local_mtu"]) == (8500, 9000)


def test_a_silent_peer(path: Path3) -> None:
    """Nobody answers: a fault that names the peer and what ICMP said, never a number."""
    a, z = ADDRESSES[4]["a"], ADDRESSES[4]["z"]
    running = started(path, a, z)
    result = running.result()
    assert result["status"] == "failed"
    assert result["error"]["code"] == 26
    assert f"{z} port {PORT}" in result["error"]["message"]
    assert "refused" in result["error"]["message"]


def test_the_echo_answers_its_peer_only(path: Path3) -> None:
    """Packets of another host, and packets that are no probes, get no answer."""
    a, z = ADDRESSES[4]["a"], ADDRESSES[4]["z"]
    echo = path.serve("z", "echo", "pmtu.echo", address=z, port=PORT, peer="10.1.0.99")
    running = started(path, a, z)
    assert running.result()["error"]["code"] == 26
    data = echo.stop()["data"]
    assert data["answered"] == 0
    assert data["foreign"] > 0
