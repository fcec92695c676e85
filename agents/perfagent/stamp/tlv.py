"""STAMP extensions: TLVs behind the base packet (RFC 8972, section 4). Sans-IO.

    0 flags u8: U 0x80 not understood, M 0x40 malformed, I 0x20 integrity failed · 1 type u8 · 2 length u16 · 4 value

    1 extra padding    any content
    4 class of service DSCP1 6 bits wanted for the reply · DSCP2 6 and ECN 2 as received · RP 2, DSCP1 refused · 16 zero
    7 follow-up        sequence number u32 and true transmit time u64 of the reply before this one · method u8 · 3 zero
    8 HMAC             over the packet's sequence number and all TLVs before this one; only padding may follow it

Rules of section 4 held here: a sender sets U and clears M and I. A reflector returns every TLV, with U where it does
not know the type and M at the first one whose length cannot be right; there it stops and copies the rest. When the
HMAC is wrong, misplaced, or missing though there is a key, all TLVs come back with I and nothing in them is used.

A header of four zero bytes is none, since a sender would have set U: it is the padding of TWAMP Light, and left alone.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Sequence
from typing import NamedTuple

from perfagent.stamp.packet import DIGEST_BYTES, Buffer, Writable, digest, digests
from perfagent.stamp.times import decode_time, encode_time

UNKNOWN, MALFORMED, INTEGRITY = 0x80, 0x40, 0x20
PADDING, CLASS_OF_SERVICE, FOLLOW_UP, HMAC = 1, 4, 7, 8
HEADER_BYTES = 4
SOFTWARE = 2
"""Timestamping method "SW Local" (RFC 8972, section 5.5): by the kernel or the program, not by the card."""

LENGTHS = {CLASS_OF_SERVICE: 4, FOLLOW_UP: 16, HMAC: DIGEST_BYTES}
_KNOWN = frozenset((PADDING, *LENGTHS))
_MOST = 64
"""TLVs read in one packet; what follows is returned as it is: a packet of 16,000 empty ones must not hold us up."""

_HEADER = struct.Struct(">BBH")
_FOLLOW_UP = struct.Struct(">IQB3x")
_WORD = struct.Struct(">I")
_EMPTY = bytes(HEADER_BYTES)


class Tlv(NamedTuple):
    """One TLV as it stands in a packet."""

    at: int
    flags: int
    kind: int
    length: int
    malformed: bool
    """Its length is wrong for its type, or reaches beyond the packet; it is the last one read."""

    @property
    def value_at(self) -> int:
        return self.at + HEADER_BYTES

    @property
    def end(self) -> int:
        return self.value_at + self.length


class FollowUp(NamedTuple):
    """What a stateful reflector knows of the reply before this one."""

    seq: int
    transmit_ns: int
    method: int


def parse(packet: Buffer, start: int, end: int) -> list[Tlv]:
    """The TLVs in ``packet[start:end]``, up to the first malformed one. A rest of less than 4 bytes is none."""
    found: list[Tlv] = []
    at = start
    while end - at >= HEADER_BYTES and len(found) < _MOST:
        if packet[at : at + HEADER_BYTES] == _EMPTY:
            break
        flags, kind, length = _HEADER.unpack_from(packet, at)
        malformed = length > end - at - HEADER_BYTES or length != LENGTHS.get(kind, length)
        found.append(Tlv(at, flags, kind, length, malformed))
        if malformed:
            break
        at += HEADER_BYTES + length
    return found


def intact(packet: Buffer, start: int, tlvs: Sequence[Tlv], key: bytes | None) -> bool:
    """Whether what the TLVs say may be used (RFC 8972, section 4.8)."""
    macs = [tlv for tlv in tlvs if tlv.kind == HMAC]
    if not macs:
        return key is None or [tlv.kind for tlv in tlvs] == [PADDING]
    mac = macs[0]
    if key is None or mac.malformed or any(tlv.at > mac.at and tlv.kind != PADDING for tlv in tlvs):
        return False
    return digests(key, bytes(packet[0:4]) + bytes(packet[start : mac.at]), bytes(packet[mac.value_at : mac.end]))


# --- the sender's side ------------------------------------------------------------------------


def extensions(room: int, *, dscp: int | None = None, follow_up: bool = False, signed: bool = False) -> bytes:
    """The TLVs of a request, ``room`` bytes in all: what is asked for and padding for the rest.

    ``dscp``: ask for the class of service, the reply in this one. The digest is put in by ``sign``. Raises
    ValueError when they do not fit.
    """
    out = b""
    if dscp is not None:
        out += _HEADER.pack(UNKNOWN, CLASS_OF_SERVICE, 4) + _WORD.pack(dscp << 26)
    if follow_up:
        out += _HEADER.pack(UNKNOWN, FOLLOW_UP, 16) + bytes(16)
    if signed:
        out += _HEADER.pack(UNKNOWN, HMAC, DIGEST_BYTES) + bytes(DIGEST_BYTES)
    left = room - len(out)
    if left < 0:
        raise ValueError(f"these extensions need {len(out)} bytes behind the base packet, there are {room}")
    if left >= HEADER_BYTES:
        length = left - HEADER_BYTES
        out += _HEADER.pack(UNKNOWN, PADDING, length) + bytes(length)
    return out.ljust(room, b"\0")


def sign(packet: Writable, start: int, mac_at: int, key: bytes) -> None:
    """Write the digest of the HMAC TLV at ``mac_at``, once the sequence number and the TLVs before it stand."""
    text = bytes(packet[0:4]) + bytes(packet[start:mac_at])
    packet[mac_at + HEADER_BYTES : mac_at + HEADER_BYTES + DIGEST_BYTES] = digest(key, text)


class Told(NamedTuple):
    """What the extensions of a reply say; None where they say nothing that can be used."""

    intact: bool
    dscp: int | None = None
    """With which the request arrived at the reflector."""
    ecn: int | None = None
    refused: bool = False
    """The reflector would not reply in the class asked for (RP)."""
    follow_up: FollowUp | None = None
    unknown: int = 0
    """TLVs that the reflector did not understand."""


def read(packet: Buffer, start: int, end: int, key: bytes | None, error_word: int) -> Told:
    """Of a reply whose times are in the format of ``error_word``."""
    tlvs = parse(packet, start, end)
    if any(tlv.flags & INTEGRITY for tlv in tlvs) or not intact(packet, start, tlvs, key):
        return Told(False)
    told = Told(True)
    for tlv in tlvs:
        if tlv.malformed or tlv.flags & MALFORMED:
            break
        if tlv.flags & UNKNOWN:
            told = told._replace(unknown=told.unknown + 1)
        elif tlv.kind == CLASS_OF_SERVICE:
            (word,) = _WORD.unpack_from(packet, tlv.value_at)
            told = told._replace(dscp=word >> 20 & 63, ecn=word >> 18 & 3, refused=word >> 16 & 3 != 0)
        elif tlv.kind == FOLLOW_UP:
            seq, sent, method = _FOLLOW_UP.unpack_from(packet, tlv.value_at)
            if sent:
                told = told._replace(follow_up=FollowUp(seq, decode_time(sent, error_word), method))
    return told


# --- the reflector's side ---------------------------------------------------------------------


class Answered(NamedTuple):
    """What the extensions of a request ask of its reply."""

    dscp: int | None
    """To be sent with; None: as the request arrived."""
    mac_at: int
    """Where the HMAC TLV begins that must be signed once the reply's sequence number stands; 0 = nowhere."""
    follow_up: bool
    """When the reply before left was asked."""


_NOTHING_ASKED = Answered(None, 0, False)


def answer(
    packet: Writable,
    start: int,
    end: int,
    key: bytes | None,
    *,
    tos: int,
    permitted: Container[int],
    previous: tuple[int, int, int] | None,
    error_word: int,
) -> Answered:
    """Turn the TLVs of a request into those of its reply, in place.

    ``tos``: the TOS byte with which it arrived; ``permitted``: the DSCPs in which we are willing to reply;
    ``previous``: the fields of a ``FollowUp``; None if there was no reply before, or we keep no state.
    """
    if end - start >= HEADER_BYTES:
        _, kind, length = _HEADER.unpack_from(packet, start)
        if kind == PADDING and length == end - start - HEADER_BYTES:  # as most packets have it: spares the rest
            packet[start] = 0
            return _NOTHING_ASKED
    tlvs = parse(packet, start, end)
    good = intact(packet, start, tlvs, key)
    dscp, mac_at, follow_up = None, 0, False
    for tlv in tlvs:
        flags = (tlv.kind not in _KNOWN and UNKNOWN) | (tlv.malformed and MALFORMED) | (not good and INTEGRITY)
        packet[tlv.at] = flags
        if flags:
            continue
        if tlv.kind == CLASS_OF_SERVICE:
            dscp = _answer_class(packet, tlv.value_at, tos, permitted)
        elif tlv.kind == FOLLOW_UP:
            seq, sent_ns, method = previous or (0, 0, 0)
            sent = encode_time(sent_ns, error_word) if sent_ns else 0
            _FOLLOW_UP.pack_into(packet, tlv.value_at, seq & 0xFFFFFFFF, sent, method)
            follow_up = True
        elif tlv.kind == HMAC:
            mac_at = tlv.at
    return Answered(dscp, mac_at, follow_up)


def _answer_class(packet: Writable, at: int, tos: int, permitted: Container[int]) -> int | None:
    """Section 4.4: reply in DSCP1 if we may, else in the class of the request and with RP set."""
    (word,) = _WORD.unpack_from(packet, at)
    dscp = word >> 26
    refused = dscp not in permitted
    _WORD.pack_into(packet, at, dscp << 26 | tos >> 2 << 20 | (tos & 3) << 18 | refused << 16)
    return None if refused else dscp
