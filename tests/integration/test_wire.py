"""The wire alone, in namespaces of its own, held against what a receiver saw. Needs root."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from itertools import groupby
from typing import Any

import pytest

from perfharness.lab.frames import UDP, Flow
from perfharness.lab.linespec import LineSpec, LinkSpec, Loss
from perfharness.lab.wire import DIRECTIONS
from perfharness.model import Direction
from tests.integration.wires import ADDRESSES, Wired

A_Z = Direction.A_Z
PROBE, OTHER = 862, 5201
MS = 1_000_000
DSCP = 46


@pytest.fixture
def wired() -> Iterator[Wired]:
    """Both ends, with nothing between them but a watch on the probes."""
    with Wired(dict.fromkeys(DIRECTIONS, LineSpec(watch_port=PROBE))) as wire:
        yield wire


def stream(wired: Wired, count: int, port: int = 9000, other: bool = False) -> list[int]:
    """Numbered probes from a to z, gently paced, with other datagrams between them if wanted; who arrived, in order."""
    arrived: list[int] = []
    with wired.socket("z", PROBE) as receiver, wired.socket("z", OTHER), wired.socket("a", port) as sender:
        receiver.settimeout(0.0005)
        for number in range(count):
            sender.sendto(number.to_bytes(4, "big") * 10, (ADDRESSES["z"], PROBE))
            if other:
                sender.sendto(bytes(40), (ADDRESSES["z"], OTHER))
            receive(receiver, arrived)
        receiver.settimeout(0.3)
        receive(receiver, arrived)
    return arrived


def receive(receiver: socket.socket, arrived: list[int]) -> None:
    with suppress(TimeoutError):
        while True:
            arrived.append(int.from_bytes(receiver.recv(2048)[:4], "big"))


def told_of(there: dict[str, Any], port: int = 9000) -> dict[str, Any]:
    """The flow of the probes that came from this port."""
    (flow,) = (
        flow
        for flow in there["flows"]
        if (flow["flow"]["source_port"], flow["flow"]["destination_port"]) == (port, PROBE)
    )
    return dict(flow)


def expanded(runs: list[list[int]]) -> list[int]:
    return [number for first, length in runs for number in range(first, first + length)]


def test_a_stream_lost_exactly_what_the_wire_says(wired: Wired) -> None:
    """Bursts of loss: each lost probe by number, and each run by its length, although others cross beside it."""
    wired.tune({A_Z: LineSpec(watch_port=PROBE, loss=Loss(to_bad=0.03, to_good=0.4))})
    arrived = set(stream(wired, 1500, other=True))
    there = wired.settled()["a-z"]
    flow = told_of(there)
    runs = [len(list(run)) for lost, run in groupby(range(1500), lambda n: n not in arrived) if lost]
    assert flow["loss_runs"] == {str(length): runs.count(length) for length in sorted(set(runs))}
    assert expanded(flow["log"]["packets"]["dropped"]) == [n for n in range(1500) if n not in arrived]
    assert there["dropped"]["loss"] == there["in"]["packets"] - there["out"]["packets"] > flow["dropped"] > 0


def test_a_stream_was_doubled_and_overtaken_as_the_wire_says(wired: Wired) -> None:
    """Duplicates by number, and as many late probes as a receiver counts by RFC 4737."""
    wired.tune({A_Z: LineSpec(watch_port=PROBE, duplicate=0.05, reorder=0.05, reorder_ns=4 * MS)})
    arrived = stream(wired, 1000)
    flow = told_of(wired.settled()["a-z"])
    assert expanded(flow["log"]["packets"]["duplicated"]) == sorted(n for n in set(arrived) if arrived.count(n) == 2)
    firsts = list(dict.fromkeys(arrived))
    late = sum(number < max(firsts[: i + 1]) for i, number in enumerate(firsts))
    assert flow["overtaken"] == late > 0
    assert sorted(firsts) == list(range(1000))


def test_the_bad_member_loses_the_flows_that_the_truth_puts_on_it(wired: Wired) -> None:
    """One of three members loses everything on the way there; the way back, bundled otherwise, is whole."""
    wired.tune({A_Z: LineSpec(members=(LinkSpec(), LinkSpec(loss=Loss(good=1.0)), LinkSpec()))})
    got = {port: stream(wired, 3, port) for port in range(9000, 9008)}
    ways = wired.settled()
    there, back = ways["a-z"], ways["z-a"]
    for port, arrived in got.items():
        member = Flow(UDP, ADDRESSES["a"], port, ADDRESSES["z"], PROBE).member(3)
        assert told_of(there, port)["member"] == member
        assert arrived == ([] if member == 1 else [0, 1, 2])
    lost = [member["dropped"]["loss"] for member in there["members"]]
    assert lost == [0, 3 * sum(not arrived for arrived in got.values()), 0]
    assert back["members"] == []


def test_a_corrupted_probe_never_reaches_the_program(wired: Wired) -> None:
    """The wire delivers it, the kernel's checksum drops it: the receiver misses exactly those."""
    wired.tune({A_Z: LineSpec(watch_port=PROBE, corrupt=0.1)})
    arrived = stream(wired, 500)
    there = wired.settled()["a-z"]
    corrupted = expanded(told_of(there)["log"]["packets"]["corrupted"])
    assert [n for n in range(500) if n not in arrived] == corrupted
    assert len(corrupted) == there["corrupted"] > 0
    assert there["in"] == there["out"]


def test_a_remarked_packet_arrives_with_its_new_dscp(wired: Wired) -> None:
    """Sent as EF, read from the header at the far end."""
    wired.tune({A_Z: LineSpec(dscp=8)})
    with wired.socket("z", PROBE) as receiver, wired.socket("a", 9000) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP << 2 | 1)
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        receiver.settimeout(2)
        sender.sendto(b"marked", (ADDRESSES["z"], PROBE))
        payload, ((_, _, tos),), _, _ = receiver.recvmsg(100, 100)
    assert (payload, tos[0]) == (b"marked", 8 << 2 | 1)
    assert wired.settled()["a-z"]["remarked"] == 1


def test_one_way_is_cut_and_healed_while_the_other_goes_on(wired: Wired) -> None:
    """Nothing passes there, everything back, and all of it again afterwards."""
    with wired.socket("a", PROBE) as a, wired.socket("z", PROBE) as z:
        a.settimeout(0.5)
        z.settimeout(0.5)
        for cut in (True, False):
            wired.tune({A_Z: LineSpec(cut=cut)})
            a.sendto(b"there", (ADDRESSES["z"], PROBE))
            z.sendto(b"back", (ADDRESSES["a"], PROBE))
            assert a.recv(100) == b"back"
            with pytest.raises(TimeoutError) if cut else nullcontext():
                assert z.recv(100) == b"there"
    assert wired.settled()["a-z"]["dropped"]["cut"] == 1


def test_the_delay_that_was_meant_and_the_delay_that_was_are_told(wired: Wired) -> None:
    """Never early; the meant delay has the quantiles of its jitter, within the width of a bucket and of chance."""
    spec = LineSpec(watch_port=PROBE, delay_ns=3 * MS, jitter_ns=MS, jitter="normal")
    wired.tune({A_Z: spec})
    assert stream(wired, 1000) == list(range(1000))
    times = told_of(wired.settled()["a-z"])["log"]
    assert times["nominal_ns"]["count"] == times["delay_ns"]["count"] == times["lateness_ns"]["count"] == 1000
    assert 3 * MS <= times["nominal_ns"]["min"] <= times["delay_ns"]["min"]
    assert times["lateness_ns"]["min"] >= 0
    assert times["nominal_ns"]["p50"] >= 3 * MS + spec.jitter_quantile(0.4)


def test_what_was_never_asked_for_is_not_tracked() -> None:
    """Without members and without a watched port there are no flows in the truth."""
    with Wired(dict.fromkeys(DIRECTIONS, LineSpec())) as wired:
        assert stream(wired, 10) == list(range(10))
        there = wired.settled()["a-z"]
    assert (there["flows"], there["members"], there["untracked"]) == ([], [], 0)
