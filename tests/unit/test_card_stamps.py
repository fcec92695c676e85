"""Stamps of a network card in the records of sender and reflector: both of a packet or neither. The card is made up."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perfagent import phc, records, sockets, timestamps
from perfagent.record_files import RecordsInOrder
from perfagent.records import HARDWARE, KERNEL
from perfagent.reflector import Reflector
from perfagent.sender import Sender
from perfagent.stamp.packet import OPEN
from perfagent.stamp.reflecting import Reflecting
from perfagent.stamp.sending import Stream
from perfagent.stamp.times import UNSYNCHRONISED
from tests.unit.stamp_peers import MS, NOW_NS, arrived, reflected, request, sender

TAI_NS = 37_000_000_000


# --- both or neither ----------------------------------------------------------------------------


@pytest.fixture
def kernel_stamps() -> Iterator[None]:
    """The kernel begins to stamp arriving packets a little after the first socket asks for it."""
    with sockets.bind_udp("127.0.0.1") as sock:
        timestamps.enable(sock)
        stamp_ns = 0
        while not stamp_ns:
            sock.sendto(b"?", sock.getsockname())
            stamp_ns, _, _ = timestamps.of_received(sock.recvmsg(1, timestamps.ANCILLARY_BYTES)[1])
        yield


def records_of(buffer: bytearray) -> Iterator[records.Record]:
    return (record for record in records.read(bytes(buffer)) if record.flags)


@pytest.mark.parametrize("t4_first", [False, True], ids=["T1 first", "T4 first"])
def test_the_record_gets_both_stamps_of_the_card(t4_first: bool) -> None:
    """In whichever order they come, and the kernel's that comes after them does not replace them."""
    session, buffer = sender()
    reply = reflected(Reflecting(OPEN, UNSYNCHRONISED), request(session, 4))
    assert reply is not None
    arrived(session, reply)
    both = [{"t1_ns": NOW_NS + 3000}, {"t4_ns": NOW_NS + MS - 20_000}]
    for each in both[:: -1 if t4_first else 1]:
        session.stamped_by_card(4, **each)
    session.transmitted(4, NOW_NS + 2000)
    (record,) = records_of(buffer)
    assert (record.sources12 & 15, record.sources34 >> 4) == (HARDWARE, HARDWARE)
    assert (record.t1, record.t4) == (NOW_NS + 3000, NOW_NS + MS - 20_000)
    assert (record.t2, record.t3) == (NOW_NS + MS // 2, NOW_NS + MS // 2 + 1000)
    assert (session.card_pairs, session.kernel_t1, session.kernel_t4) == (1, 1, 1)


@pytest.mark.parametrize(
    ("t1_ns", "t4_ns"),
    [
        (NOW_NS + 3000, 0),
        (0, NOW_NS + MS - 1),
        (NOW_NS - 501, NOW_NS + MS),
        (NOW_NS, NOW_NS + MS + 501),
        (NOW_NS + TAI_NS, NOW_NS + TAI_NS + MS),
        (NOW_NS + 5000, NOW_NS + 4000),
    ],
)
def test_a_stamp_alone_or_outside_the_kernels_changes_nothing(t1_ns: int, t4_ns: int) -> None:
    """A card's stamp that the kernel's do not enclose is of another clock: both stay the kernel's."""
    session, buffer = sender()
    reply = reflected(Reflecting(OPEN, UNSYNCHRONISED), request(session, 4))
    assert reply is not None
    session.transmitted(4, NOW_NS)
    arrived(session, reply)
    if t1_ns:
        session.stamped_by_card(4, t1_ns=t1_ns, error_ns=500)
    if t4_ns:
        session.stamped_by_card(4, t4_ns=t4_ns, error_ns=500)
    (record,) = records_of(buffer)
    assert (record.sources12 & 15, record.sources34 >> 4) == (KERNEL, KERNEL)
    assert (record.t1, record.t4, session.card_pairs) == (NOW_NS, NOW_NS + MS, 0)


@pytest.mark.parametrize(
    ("came_ns", "left_ns", "believed"),
    [(-900, 6900, True), (500, 5600, True), (501, 6900, False), (-900, 5000 - 501, False)],
)
def test_the_reflectors_stamps_of_the_card_lie_around_the_kernels(
    tmp_path: Any, came_ns: int, left_ns: int, believed: bool
) -> None:
    """T2 of the card is before the kernel's and T3 after it; else both stay the kernel's."""
    log = RecordsInOrder(tmp_path / "reflector.rec")
    log.append(7, KERNEL << 4, records.USER, records.SENT, 60, 0, NOW_NS, NOW_NS + 4000, 0)
    log.set_t3(0, NOW_NS + 5000)
    assert log.set_by_card(0, NOW_NS + came_ns, NOW_NS + left_ns, 500) is believed
    log.close()
    (record,) = records.read((tmp_path / "reflector.rec").read_bytes())
    source = HARDWARE if believed else KERNEL
    stamps = (NOW_NS + came_ns, NOW_NS + left_ns) if believed else (NOW_NS, NOW_NS + 5000)
    assert record == (7, source << 4, source, records.SENT, 60, 0, *stamps, 0)


@pytest.mark.usefixtures("kernel_stamps")
def test_the_kernel_stamps_go_on_where_the_card_was_asked_in_vain() -> None:
    """On loopback, with the card's stamps asked for, each packet still has its two of the kernel."""
    with sockets.bind_udp("127.0.0.1") as one, sockets.bind_udp("127.0.0.1") as other:
        timestamps.enable(one, by_card=True)
        timestamps.enable(other, by_card=True)
        mark, mark_at = OPEN.mark(9)
        stamps = timestamps.TransmitStamps(one, mark, mark_at)
        stamps.expect(44)
        packet = bytearray(44)
        OPEN.write_request(packet, 5, NOW_NS, UNSYNCHRONISED, 9)
        one.sendto(packet, other.getsockname())
        _, ancillary, _, _ = other.recvmsg(100, timestamps.ANCILLARY_BYTES)
        assert timestamps.of_received(ancillary)[0] > 0
        assert timestamps.of_card(ancillary) == 0
        told = list(iter(stamps.read, None))
    assert [(number, card_ns) for number, _, card_ns in told] == [(5, 0)]


# --- sender and reflector, over loopback, with a card made up ------------------------------------


def made_up_card(monkeypatch: pytest.MonkeyPatch, stamped: Callable[[int], bool] = lambda n: True) -> None:
    """Each packet for which ``stamped`` holds carries beside the kernel's stamp one in TAI that is the same instant."""
    real = timestamps.of_received
    number = itertools.count()

    def of_card(ancillary: Any) -> int:
        kernel_ns = real(ancillary)[0]
        return kernel_ns + TAI_NS if kernel_ns and stamped(next(number)) else 0

    def read() -> phc.Reading:
        now_ns = time.time_ns()
        return phc.Reading(now_ns + TAI_NS, now_ns, 100)

    monkeypatch.setattr(timestamps, "of_card", of_card)
    monkeypatch.setattr(phc, "of_address", lambda address: phc.CardTime(phc.CardClock(read, lambda seconds: None)))


def probed(job: Any) -> tuple[dict[str, Any], dict[str, Any], list[records.Record], list[records.Record]]:
    """(sender's figures, reflector's, sender's records, reflector's) of 50 packets over loopback."""
    with sockets.bind_udp("127.0.0.1") as far, sockets.bind_udp("127.0.0.1") as near:
        rules = Reflecting(OPEN, UNSYNCHRONISED, ssid=9)
        reflector = Reflector(job, far, rules, OPEN.mark(9))
        thread = threading.Thread(target=reflector.run)
        thread.start()
        stream = Stream(far.getsockname(), 9, (172,), 50, 2 * MS, 300 * MS, UNSYNCHRONISED)
        probe = Sender(job, [near], stream)
        start_ns = time.monotonic_ns()
        probe.run((start_ns + seq * stream.interval_ns for seq in range(stream.packets)), 1000 * MS)
        job.stop()
        thread.join()
        probe.close()
    mine, his = (list(records.read((job.folder / f"{name}.rec").read_bytes())) for name in ("sender", "reflector"))
    return probe.figures(), reflector.figures(), mine, his


@pytest.mark.usefixtures("kernel_stamps")
def test_a_cards_stamps_reach_the_records_of_both_ends(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four stamps are the card's, in Unix time, in their order; the figures say so."""
    made_up_card(monkeypatch)
    sent, reflected_, mine, his = probed(job)
    assert sent["stamps"]["t1"] == sent["stamps"]["t4"] == {"hardware": 50, "kernel": 0, "user": 0}
    assert reflected_["stamps"]["t2"] == reflected_["stamps"]["t3"] == {"hardware": 50, "kernel": 0, "user": 0}
    assert (sent["card"]["used"], sent["card"]["pairs"], sent["card"]["reason"]) == (True, 50, "")
    for one, other in zip(mine, his, strict=True):
        assert (one.sources12 & 15, one.sources34 >> 4) == (HARDWARE, HARDWARE)
        assert (other.sources12, other.sources34) == (HARDWARE << 4, HARDWARE)
        assert one.t1 <= other.t2 <= other.t3 <= one.t4


@pytest.mark.usefixtures("kernel_stamps")
def test_a_sent_packets_stamps_come_one_by_one(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As drivers tell them: the kernel's first, the card's by itself and perhaps a packet later."""
    made_up_card(monkeypatch)
    whole = timestamps.TransmitStamps.read
    later: dict[int, tuple[int, int, int]] = {}

    def read(stamps: timestamps.TransmitStamps) -> tuple[int, int, int] | None:
        if id(stamps) in later:
            return later.pop(id(stamps))
        told = whole(stamps)
        if told is None:
            return None
        number, kernel_ns, card_ns = told
        later[id(stamps)] = number, 0, card_ns
        return number, kernel_ns, 0

    monkeypatch.setattr(timestamps.TransmitStamps, "read", read)
    sent, reflected_, mine, his = probed(job)
    # The sender reads when the kernel says that there is something: the made-up second half is behind by some.
    by_card = [record.sources12 & 15 == HARDWARE and record.sources34 >> 4 == HARDWARE for record in mine]
    assert sum(by_card) == sent["card"]["pairs"] > 0
    assert reflected_["stamps"]["t2"] == reflected_["stamps"]["t3"] == {"hardware": 50, "kernel": 0, "user": 0}
    assert all((record.sources12, record.sources34) == (HARDWARE << 4, HARDWARE) for record in his)


@pytest.mark.usefixtures("kernel_stamps")
def test_packets_that_the_card_skips_keep_the_kernels_stamps(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No record has one stamp of the card and one of the kernel at the same end."""
    made_up_card(monkeypatch, lambda number: number % 3 > 0)
    sent, _, mine, his = probed(job)
    kinds = {(record.sources12 & 15, record.sources34 >> 4) for record in mine}
    assert kinds == {(HARDWARE, HARDWARE), (KERNEL, KERNEL)}
    assert {(record.sources12 >> 4, record.sources34) for record in his} <= {(HARDWARE, HARDWARE), (KERNEL, KERNEL)}
    assert sent["stamps"]["t1"]["hardware"] == sum(record.sources12 & 15 == HARDWARE for record in mine)


@pytest.mark.usefixtures("kernel_stamps")
def test_loopback_itself_gives_the_kernels_stamps(job: Any) -> None:
    """Nothing made up: no card, the kernel's stamps, and the reason beside them."""
    sent, reflected_, mine, _ = probed(job)
    assert sent["stamps"]["t4"] == {"kernel": 50, "user": 0}
    assert not sent["card"]["used"] and not reflected_["card"]["used"]
    assert "no clock" in sent["card"]["reason"]
    assert all(record.t1 <= record.t4 for record in mine)


def test_the_sockets_ask_for_the_card_only_where_it_is_on() -> None:
    """SO_TIMESTAMPING as asked: software alone (0x1A), and with the card's and both of each sent packet (0x405F)."""
    with sockets.bind_udp("127.0.0.1") as sock:
        timestamps.enable(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, 37) == 0x1A
        timestamps.enable(sock, by_card=True)
        assert sock.getsockopt(socket.SOL_SOCKET, 37) == 0x405F
