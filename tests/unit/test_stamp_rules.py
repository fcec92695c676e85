"""perfagent.stamp.sending and reflecting: what is sent, answered, and taken for an answer."""

from __future__ import annotations

import struct

import pytest

from perfagent import records
from perfagent.marks import Marks
from perfagent.stamp.packet import OPEN, Form
from perfagent.stamp.reflecting import Reflecting
from perfagent.stamp.sending import Sending
from perfagent.stamp.times import UNSYNCHRONISED
from tests.unit.stamp_peers import (
    KEY,
    MS,
    NOW_NS,
    PEER,
    SSID,
    STREAM,
    arrived,
    hmac_sha256_128,
    reflected,
    request,
    sender,
)

SIGNED = Form(KEY)


# --- authenticated packets --------------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, b"k", bytes(range(200))])
def test_an_authenticated_exchange_stands_where_the_rfc_says(key: bytes) -> None:
    """Request and reply have 112 bytes, their fields at RFC 8762's places, and HMAC-SHA-256-128 of the first 96."""
    session, _ = sender(Form(key), STREAM._replace(packet_bytes=(112,)))
    packet = request(session, 7)
    assert len(packet) == 112
    assert struct.unpack_from(">I", packet) == (7,)
    assert struct.unpack_from(">HH", packet, 24) == (UNSYNCHRONISED, SSID)
    assert packet[96:] == hmac_sha256_128(key, bytes(packet[:96]))
    assert not any(packet[4:16]) and not any(packet[28:96])
    sent = bytes(packet)

    reply = reflected(Reflecting(Form(key), UNSYNCHRONISED, ssid=SSID), packet)
    assert reply is not None
    assert reply[48:52] == sent[:4] and reply[64:74] == sent[16:26] and reply[80] == 61
    assert reply[96:] == hmac_sha256_128(key, bytes(reply[:96]))
    assert not any((*reply[4:16], *reply[28:32], *reply[40:48], *reply[52:64], *reply[74:80], *reply[81:96]))
    arrived(session, reply)
    assert (session.received, dict(session.refused)) == (1, {})


@pytest.mark.parametrize("at", [0, 20, 50, 95, 96, 111])
def test_one_changed_bit_is_a_forgery_at_both_ends(at: int) -> None:
    """A packet of which any of the 112 bytes was changed is neither answered nor taken for a reply."""
    session, _ = sender(SIGNED)
    packet = request(session, 0)
    rules = Reflecting(SIGNED, UNSYNCHRONISED)
    reply = reflected(rules, bytearray(packet))
    assert reply is not None
    for changed in (packet, reply):
        changed[at] ^= 1
    assert reflected(rules, packet) is None
    arrived(session, reply)
    assert dict(rules.refused) == {"forged": 1} == dict(session.refused)


def test_modes_do_not_mix() -> None:
    """An open packet is a forgery to whoever has a key, and an answered authenticated one is no open reply."""
    session, _ = sender(OPEN)
    rules = Reflecting(SIGNED, UNSYNCHRONISED)
    assert reflected(rules, request(session, 0)) is None
    assert dict(rules.refused) == {"forged": 1}


# --- the reflector ----------------------------------------------------------------------------


def test_what_is_not_of_the_session_is_counted_by_reason() -> None:
    """Short packets, other peers, other ports and other sessions get nothing."""
    rules = Reflecting(OPEN, UNSYNCHRONISED, peer="192.0.2.9", port=5000, ssid=SSID)
    session, _ = sender()
    packet = request(session, 0)
    assert rules.take(packet, 43, "192.0.2.9", 5000, 0) is None
    assert rules.take(packet, 172, "192.0.2.8", 5000, 0) is None
    assert rules.take(packet, 172, "192.0.2.9", 5001, 0) is None
    packet[15] ^= 1
    assert rules.take(packet, 172, "192.0.2.9", 5000, 0) is None
    packet[15] ^= 1
    assert rules.take(packet, 172, "192.0.2.9", 5000, 0) is not None
    assert dict(rules.refused) == {"short": 1, "other peer": 2, "other session": 1}


@pytest.mark.parametrize("size", [112, 200])
def test_a_short_authenticated_packet_is_dropped(size: int) -> None:
    """Below 112 bytes there is no authenticated packet."""
    rules = Reflecting(SIGNED, UNSYNCHRONISED)
    session, _ = sender(SIGNED, STREAM._replace(packet_bytes=(size,)))
    packet = request(session, 0)
    assert rules.take(packet, 111, "192.0.2.9", 5000, 0) is None
    assert dict(rules.refused) == {"short": 1}
    reply = reflected(rules, packet)
    assert reply is not None and len(reply) == size


def test_a_stateful_reflector_counts_each_session_apart() -> None:
    """Numbers start at 0 and rise by one for each port and SSID, whatever the sender's are; repeats are answered."""
    rules = Reflecting(OPEN, UNSYNCHRONISED)
    session, _ = sender()
    got = []
    for port, seq in ((1, 5), (1, 9), (2, 5), (1, 9), (2, 6)):
        packet = request(session, seq)
        one = rules.take(packet, len(packet), "192.0.2.9", port, 0)
        assert one is not None
        got.append((port, rules.reply(packet, one, NOW_NS, NOW_NS, 255)))
    assert got == [(1, 0), (1, 1), (2, 0), (1, 2), (2, 1)]


def test_a_stateless_reflector_returns_the_number() -> None:
    """The reply's own number is the sender's, and no follow-up is told."""
    rules = Reflecting(OPEN, UNSYNCHRONISED, stateless=True)
    session, _ = sender(OPEN, STREAM._replace(follow_up=True))
    for seq in (3, 17):
        reply = reflected(rules, request(session, seq))
        assert reply is not None
        assert OPEN.read_reply(reply).seq == seq
        arrived(session, reply)
    assert session.figures()["extensions"] == {}


def test_invented_ports_do_not_fill_the_memory() -> None:
    """A reflector for anybody forgets the oldest session, and goes on answering."""
    rules = Reflecting(OPEN, UNSYNCHRONISED)
    packet = bytearray(44)
    for port in range(5000):
        assert rules.take(packet, 44, "192.0.2.9", port, 0) is not None
    assert len(rules._sessions) <= 1024


# --- the sender -------------------------------------------------------------------------------


def test_a_reply_counts_once() -> None:
    """The first reply to a packet is recorded, the second is a duplicate with a record of its own."""
    session, buffer = sender()
    reply = reflected(Reflecting(OPEN, UNSYNCHRONISED), request(session, 4))
    assert reply is not None
    assert arrived(session, reply) is None
    twin = arrived(session, reply, NOW_NS + 2 * MS)
    assert twin is not None and records.Record(*records.RECORD.unpack(twin)).t4 == NOW_NS + 2 * MS
    (record,) = (each for each in records.read(bytes(buffer)) if each.flags)
    assert record[:5] == (4, records.USER | records.REMOTE << 4, records.REMOTE | records.KERNEL << 4, 3, 60)
    assert record[5:] == (NOW_NS, NOW_NS + MS // 2, NOW_NS + MS // 2 + 1000, NOW_NS + MS)
    assert (session.received, session.duplicates, session.late) == (1, 1, 0)


def test_a_late_reply_is_marked() -> None:
    """Beyond the waiting time a reply is kept, and marked late."""
    session, buffer = sender()
    reply = reflected(Reflecting(OPEN, UNSYNCHRONISED), request(session, 4))
    assert reply is not None
    arrived(session, reply, NOW_NS + STREAM.wait_ns + 1)
    assert session.late == 1
    assert [each.flags for each in records.read(bytes(buffer))][4] == records.SENT | records.REPLIED | records.LATE


def test_replies_that_are_not_ours_are_counted_by_reason() -> None:
    """Another peer, a short one, another session, a packet never sent, and a replay of an earlier session."""
    earlier, _ = sender()
    replay = reflected(Reflecting(OPEN, UNSYNCHRONISED), request(earlier, 4, NOW_NS - 60_000 * MS))
    session, _ = sender()
    reply = reflected(Reflecting(OPEN, UNSYNCHRONISED), request(session, 4))
    assert reply is not None and replay is not None
    session.take(reply, len(reply), ("192.0.2.66", 862), NOW_NS, records.USER, 1, 0)
    arrived(session, reply[:43])
    arrived(session, reply[:14] + b"\xff\xff" + reply[16:])
    arrived(session, reply[:24] + (5).to_bytes(4, "big") + reply[28:])
    arrived(session, reply[:24] + (500).to_bytes(4, "big") + reply[28:])
    arrived(session, replay)
    assert dict(session.refused) == {"other peer": 1, "short": 1, "other session": 1, "never sent": 2, "stale": 1}
    assert session.received == 0


@pytest.mark.parametrize(("allowed", "received"), [(True, 1), (False, 0)])
def test_a_reflector_without_ssid_is_taken_if_allowed(allowed: bool, received: int) -> None:
    """A reply with SSID 0 is of our session where that was allowed, and said to be without it."""
    session, _ = sender(OPEN, STREAM._replace(zero_ssid=allowed))
    reply = reflected(Reflecting(OPEN, UNSYNCHRONISED), request(session, 0))
    assert reply is not None
    reply[14:16] = b"\0\0"
    arrived(session, reply)
    assert session.received == received
    assert session.figures()["extensions"] == ({"zero SSID": 1} if allowed else {})


def test_what_a_stateful_reflector_counts_is_seen() -> None:
    """First and last pair of numbers, and that they are the reflector's own once one was lost on the way there."""
    session, _ = sender()
    rules = Reflecting(OPEN, UNSYNCHRONISED)
    for seq in (0, 1, 3, 4):
        reply = reflected(rules, request(session, seq))
        assert reply is not None
        arrived(session, reply)
    told = session.figures()["reflector"]
    assert (told["own_numbers"], told["first"], told["last"]) == (True, (0, 0), (4, 3))
    assert (told["error_word"], told["ttl_seen"]) == (UNSYNCHRONISED, {"61": 4})


def test_follow_up_corrects_the_record_of_the_reply_before() -> None:
    """The true transmit time of a reply, told in the next one, replaces the time that it carried itself."""
    session, buffer = sender(OPEN, STREAM._replace(follow_up=True))
    rules = Reflecting(OPEN, UNSYNCHRONISED)
    for seq in (0, 2, 3):
        now_ns = NOW_NS + seq * MS
        reply = reflected(rules, request(session, seq, now_ns), now_ns=now_ns)
        assert reply is not None
        arrived(session, reply, now_ns + MS)
    t3 = {each.seq: each.t3 - NOW_NS - each.seq * MS for each in records.read(bytes(buffer)) if each.flags}
    assert t3 == {0: MS // 2 + 5000, 2: MS // 2 + 5000, 3: MS // 2 + 1000}
    assert session.figures()["extensions"] == {"follow-up": 2}


def test_extensions_that_do_not_fit_are_refused() -> None:
    """A packet too small for its form or its extensions is refused with the number of bytes."""
    with pytest.raises(ValueError, match="at least 112 bytes"):
        sender(SIGNED, STREAM._replace(packet_bytes=(100,)))
    with pytest.raises(ValueError, match="need 28 bytes"):
        sender(OPEN, STREAM._replace(packet_bytes=(60,), ask_dscp=0, follow_up=True))


def test_peers_are_whole_addresses() -> None:
    """The address tuple of IPv6, with flow and scope, is of the same peer."""
    session, _ = sender()
    reply = reflected(Reflecting(OPEN, UNSYNCHRONISED), request(session, 0))
    assert reply is not None
    session.take(reply, len(reply), (*PEER, 0, 0), NOW_NS + MS, records.USER, 1, 0)
    assert isinstance(session, Sending) and session.received == 1


@pytest.mark.parametrize("form", [OPEN, SIGNED], ids=["open", "authenticated"])
def test_sizes_take_turns(form: Form) -> None:
    """Packet i has the size numbered i modulo their number, and each is answered and signed as it is."""
    stream = STREAM._replace(packet_bytes=(150, 200, 150, 300), ask_dscp=0)
    session, _ = sender(form, stream)
    rules = Reflecting(form, UNSYNCHRONISED)
    for seq in range(9):
        packet = request(session, seq)
        assert len(packet) == (150, 200, 150, 300)[seq % 4]
        reply = reflected(rules, packet)
        assert reply is not None
        arrived(session, reply)
    assert session.received == 9
    assert session.figures()["extensions"].get("not intact") is None


def test_marks_and_duplicates_are_counted_by_class() -> None:
    """Packet i is of the class whose turn it is, whatever its reply came as."""
    session, _ = sender(OPEN, STREAM._replace(turns=(0, 1, 2)))
    rules = Reflecting(OPEN, UNSYNCHRONISED)
    for seq in range(7):
        reply = reflected(rules, request(session, seq))
        assert reply is not None
        for _ in range(1 + (seq == 4)):
            session.take(reply, len(reply), PEER, NOW_NS + MS, records.KERNEL, 60, seq % 3 << 2)
    told = session.figures()
    assert told["tos_by_class"] == [{"0": 3}, {"4": 3}, {"8": 2}]
    assert told["tos_seen"] == {"0": 3, "4": 3, "8": 2}
    assert (told["duplicates"], told["duplicates_by_class"]) == (1, [0, 1, 0])


def test_a_class_may_have_fewer_turns() -> None:
    """Of two classes whose packets come as 0, 1, 0, 0 the second has every fourth."""
    marks = Marks((0, 1, 0, 0))
    for seq in range(9):
        marks.add(seq, 4 * (seq % 4 == 1))
    assert marks.figures()["tos_by_class"] == [{"0": 7}, {"4": 2}]
