"""perfagent.stamp.tlv: extensions, by RFC 8972, section 4."""

from __future__ import annotations

import struct

import pytest

from perfagent.stamp import tlv
from perfagent.stamp.packet import OPEN, Form
from perfagent.stamp.reflecting import Reflecting
from perfagent.stamp.sending import Stream
from perfagent.stamp.times import UNSYNCHRONISED, encode_time
from tests.unit.stamp_peers import KEY, MS, NOW_NS, STREAM, arrived, hmac_sha256_128, reflected, request, sender

U, M, I = 0x80, 0x40, 0x20  # noqa: E741 - the names of the RFC


def one(kind: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BBH", U, kind, len(value) if length is None else length) + value


def answered(extensions: bytes, *, key: bytes | None = None, tos: int = 0, **rules: object) -> bytes:
    """What comes back behind the base packet."""
    packet = bytearray(44)
    OPEN.write_request(packet, 5, NOW_NS, UNSYNCHRONISED, 1)
    reply = reflected(Reflecting(OPEN, UNSYNCHRONISED, tlv_key=key, **rules), packet + extensions, tos)  # type: ignore[arg-type]  # rules by name
    assert reply is not None and len(reply) == 44 + len(extensions)
    return bytes(reply[44:])


def signed(*tlvs: bytes, seq: int = 5, key: bytes = KEY) -> bytes:
    """TLVs with the HMAC TLV behind them."""
    text = b"".join(tlvs)
    return text + one(8, hmac_sha256_128(key, seq.to_bytes(4, "big") + text))


def test_every_tlv_comes_back_and_flags_are_cleared() -> None:
    """Known ones with no flag, unknown ones with U, all with their content, in their order."""
    padding, unknown = one(1, b"\x5a" * 7), one(77, b"what is this")
    assert answered(padding + unknown) == b"\0" + padding[1:] + unknown


@pytest.mark.parametrize(
    ("sent", "back"),
    [
        (one(1, b"abc", length=99), M),  # beyond the packet
        (one(4, b"abcde"), M),  # a class of service of 5 bytes
        (one(7, b"a" * 15), M),
        (one(8, b"a" * 15), M | I),
        (one(99, b"", length=65_535), U | M),
    ],
)
def test_a_malformed_tlv_ends_the_work(sent: bytes, back: int) -> None:
    """It comes back with M, what is before it is done, and what is after it is copied as it was."""
    before, after = one(1, b"xy"), one(4, bytes(4)) + one(55, b"z")
    got = answered(before + sent + after)
    assert got == bytes([I if back & I else 0]) + before[1:] + bytes([back]) + sent[1:] + after


@pytest.mark.parametrize("rest", [b"\1", b"\x80\1\0", bytes(3), bytes(60), bytes(200)])
def test_what_is_no_tlv_is_left_alone(rest: bytes) -> None:
    """Less than a header, and the zero padding of TWAMP Light."""
    assert answered(rest) == rest


def test_a_packet_of_countless_tlvs_is_returned() -> None:
    """Only so many are looked at; the size stays."""
    got = answered(one(99, b"") * 4000)
    assert len(got) == 16_000


@pytest.mark.parametrize(
    ("permitted", "refused", "dscp"), [(range(64), 0, 46), (range(40), 1, 10)], ids=["permitted", "not permitted"]
)
def test_class_of_service(permitted: range, refused: int, dscp: int) -> None:
    """DSCP2 and ECN are those received; the reply goes out in DSCP1, or in DSCP2 with RP set."""
    packet = bytearray(44)
    OPEN.write_request(packet, 5, NOW_NS, UNSYNCHRONISED, 1)
    packet += one(4, struct.pack(">I", 46 << 26))
    rules = Reflecting(OPEN, UNSYNCHRONISED, permitted=permitted)
    session = rules.take(packet, len(packet), "192.0.2.1", 1, 10 << 2 | 3)
    assert session is not None and session.dscp == dscp
    (word,) = struct.unpack_from(">I", packet, 48)
    assert word == 46 << 26 | 10 << 20 | 3 << 18 | refused << 16


def test_a_sender_reads_the_class_of_the_path_there() -> None:
    """DSCP and ECN as they arrived at the reflector are counted."""
    session, _ = sender(OPEN, STREAM._replace(ask_dscp=46))
    reply = reflected(Reflecting(OPEN, UNSYNCHRONISED), request(session, 0), tos=10 << 2 | 1)
    assert reply is not None
    arrived(session, reply)
    assert session.figures()["extensions"] == {"dscp 10": 1, "ecn 1": 1}


def test_follow_up_tells_of_the_reply_before() -> None:
    """Number, true time and method of the previous reply; zeros in the first, and without state."""
    rules = Reflecting(OPEN, UNSYNCHRONISED)
    values = []
    for _ in range(2):
        packet = bytearray(44)
        OPEN.write_request(packet, 5, NOW_NS, UNSYNCHRONISED, 1)
        reply = reflected(rules, packet + one(7, b"\xee" * 16))
        assert reply is not None and reply[44] == 0
        values.append(bytes(reply[48:]))
    assert values[0] == bytes(16)
    assert values[1] == struct.pack(">IQB3x", 0, encode_time(NOW_NS + MS // 2 + 5000), 2)
    assert answered(one(7, b"\xee" * 16), stateless=True)[4:] == bytes(16)


# --- integrity --------------------------------------------------------------------------------


def test_the_hmac_covers_the_number_and_all_tlvs_before_it() -> None:
    """A good one lets the TLVs be used, and the reply is signed in the same way, by its own number."""
    sent = signed(one(4, bytes(4)), one(77, b"?")) + one(1, bytes(9))
    got = answered(sent, key=KEY, tos=7 << 2)
    assert [got[0], got[8], got[13], got[33]] == [0, U, 0, 0]
    assert struct.unpack_from(">I", got, 4) == (7 << 20,)
    assert got[17:33] == hmac_sha256_128(KEY, (0).to_bytes(4, "big") + got[:13])


COS, PAD = one(4, bytes(4)), one(1, bytes(9))


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        (signed(COS, seq=6) + PAD, KEY),
        (signed(COS, key=b"another") + PAD, KEY),
        (signed(COS), None),
        (signed(PAD) + COS, KEY),
        (COS + PAD, KEY),
        (signed(COS) + signed(COS), KEY),
    ],
    ids=["another number", "another key", "no key here", "not last", "missing", "two"],
)
def test_without_integrity_nothing_is_used(sent: bytes, key: bytes | None) -> None:
    """All TLVs come back with I, their content as it was, and no digest of ours."""
    got = answered(sent, key=key, tos=7 << 2)
    for before, after in zip(*(tlv.parse(each, 0, len(each)) for each in (sent, got)), strict=True):
        assert after.flags == I
        assert sent[before.value_at : before.end] == got[after.value_at : after.end]


def test_padding_alone_needs_no_hmac() -> None:
    """The one exception of section 4.8."""
    assert answered(PAD, key=KEY)[0] == 0


@pytest.mark.parametrize("form", [OPEN, Form(KEY)], ids=["extensions", "authenticated"])
def test_our_sender_and_reflector_trust_each_other(form: Form) -> None:
    """With one key all extensions are understood; a changed one is not, though its packet is still a reply."""
    stream = STREAM._replace(packet_bytes=(200,), ask_dscp=0, follow_up=True, tlv_key=KEY)
    rules = Reflecting(form, UNSYNCHRONISED, tlv_key=KEY)
    assert _told(form, stream, rules, flip=None) == {"dscp 10": 1, "ecn 0": 1}
    assert _told(form, stream, rules, flip=form.base_bytes + 5) == {"not intact": 1}


def _told(form: Form, stream: Stream, rules: Reflecting, flip: int | None) -> dict[str, int]:
    session, _ = sender(form, stream)
    reply = reflected(rules, request(session, 0), tos=10 << 2)
    assert reply is not None
    if flip is not None:
        reply[flip] ^= 1
    arrived(session, reply)
    assert session.received == 1
    told: dict[str, int] = session.figures()["extensions"]
    told.pop("follow-up", None)
    return told


def test_a_sender_counts_what_the_reflector_did_not_know() -> None:
    """TLVs that come back with U, as from a reflector that only copies, are not used."""
    session, _ = sender(OPEN, STREAM._replace(ask_dscp=46))
    packet = request(session, 0)
    OPEN.turn_into_reply(packet, 0, NOW_NS, NOW_NS, 1, UNSYNCHRONISED)
    arrived(session, packet)
    assert session.figures()["extensions"] == {"unknown": 2}
