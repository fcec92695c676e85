"""STAMP test packets, unauthenticated mode (RFC 8762, sections 4.2.1 and 4.3.1; SSID: RFC 8972, section 3).

    sender     0 sequence u32 · 4 timestamp u64 · 12 error estimate u16 · 14 SSID u16 · 16 zero (28 bytes)
    reflector  0 sequence u32 · 4 timestamp u64 · 12 error estimate u16 · 14 SSID u16
               16 receive timestamp u64
               24 sender's sequence u32 · 28 its timestamp u64 · 36 its error estimate u16 · 38 zero (2 bytes)
               40 TTL of the sender's packet u8 · 41 zero (3 bytes)

All of it is big-endian; what follows the 44 bytes of the base packet is not read here. Sans-IO: a packet is
written into and read from a buffer, times are arguments in ns since the Unix epoch. Decoding raises nothing
but ``Malformed``.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Union

BASE_BYTES = 44
PORT = 862

Buffer = Union[bytes, bytearray, memoryview]
Writable = Union[bytearray, memoryview]

_REQUEST = struct.Struct(">IQHH28x")
_REPLY = struct.Struct(">IQHHQIQHxxBxxx")
_REPLY_HEAD = struct.Struct(">IQH")
_RECEIVED = struct.Struct(">Q")
_NTP_TO_UNIX_S = 2_208_988_800
_NS = 1_000_000_000
_PTP_BIT = 0x4000


class Malformed(ValueError):
    """The bytes are no STAMP packet."""


class Request(NamedTuple):
    """What the sender says."""

    seq: int
    timestamp_ns: int
    error_word: int
    ssid: int


class Reply(NamedTuple):
    """What the reflector says. A time of 0 was not set by it."""

    seq: int
    """Its own count of packets (stateful), or the sender's again (stateless)."""
    transmit_ns: int
    error_word: int
    ssid: int
    receive_ns: int
    sender_seq: int
    sender_timestamp_ns: int
    sender_error_word: int
    sender_ttl: int


# --- packets ----------------------------------------------------------------------------------


def write_request(buffer: Writable, seq: int, timestamp_ns: int, error_word: int, ssid: int) -> None:
    """Put the base packet at the start of ``buffer``, which has room for it."""
    _REQUEST.pack_into(buffer, 0, seq, encode_time(timestamp_ns, error_word), error_word, ssid)


def read_request(packet: Buffer) -> Request:
    """Raises Malformed."""
    _whole(packet)
    seq, timestamp, error_word, ssid = _REQUEST.unpack_from(packet)
    return Request(seq, decode_time(timestamp, error_word), error_word, ssid)


def turn_into_reply(packet: Writable, seq: int, receive_ns: int, transmit_ns: int, ttl: int, error_word: int) -> None:
    """Make the request in ``packet`` its reply, in place: SSID, size and all behind the base stay."""
    packet[24:38] = packet[0:14]  # the sender's sequence, timestamp and error estimate, as they came
    packet[38:44] = bytes((0, 0, ttl, 0, 0, 0))
    _REPLY_HEAD.pack_into(packet, 0, seq & 0xFFFFFFFF, encode_time(transmit_ns, error_word), error_word)
    _RECEIVED.pack_into(packet, 16, encode_time(receive_ns, error_word))


def read_reply(packet: Buffer) -> Reply:
    """Raises Malformed."""
    _whole(packet)
    seq, sent, error, ssid, received, sender_seq, sender_sent, sender_error, ttl = _REPLY.unpack_from(packet)
    return Reply(
        seq,
        decode_time(sent, error),
        error,
        ssid,
        decode_time(received, error),
        sender_seq,
        decode_time(sender_sent, sender_error),
        sender_error,
        ttl,
    )


def mark(ssid: int) -> tuple[bytes, int]:
    """Bytes that all our packets of a session have in common, requests and replies, and where they stand."""
    return struct.pack(">HH", UNSYNCHRONISED, ssid), 12


def _whole(packet: Buffer) -> None:
    if len(packet) < BASE_BYTES:
        raise Malformed(f"a STAMP packet has at least {BASE_BYTES} bytes, this one {len(packet)}")


# --- error estimate ---------------------------------------------------------------------------


class ErrorEstimate(NamedTuple):
    """How far a timestamp may be off (RFC 4656, section 4.1.2): ``multiplier · 2**(scale - 32)`` seconds."""

    synchronised: bool
    """S: the clock follows UTC from an outside source."""
    ptp: bool
    """Z: timestamps are PTPv2 truncated ones, not NTP ones (RFC 8186, section 2.3)."""
    scale: int
    multiplier: int

    @classmethod
    def of_word(cls, word: int) -> ErrorEstimate:
        return cls(bool(word & 0x8000), bool(word & _PTP_BIT), word >> 8 & 0x3F, word & 0xFF)

    @classmethod
    def of_error(cls, error_ns: int, *, synchronised: bool, ptp: bool = False) -> ErrorEstimate:
        """The smallest estimate that is not below ``error_ns``; capped at the largest there is."""
        units = -(-(max(error_ns, 1) << 32) // _NS)
        scale = max(0, (units - 1).bit_length() - 8)
        multiplier = -(-units >> scale)
        if multiplier > 0xFF:
            scale, multiplier = scale + 1, -(-units >> scale + 1)
        return cls(synchronised, ptp, scale, multiplier) if scale <= 63 else cls(synchronised, ptp, 63, 0xFF)

    @property
    def word(self) -> int:
        return self.synchronised << 15 | self.ptp << 14 | self.scale << 8 | self.multiplier

    @property
    def error_ns(self) -> int | None:
        """Rounded up; None when the estimate is invalid (multiplier 0)."""
        return -(-(self.multiplier * _NS << self.scale) >> 32) if self.multiplier else None


UNSYNCHRONISED = ErrorEstimate.of_error(_NS, synchronised=False).word
"""No claim about this host's clock, off by a second for all we say: its facts say what is known."""


# --- timestamps -------------------------------------------------------------------------------


def encode_time(time_ns: int, error_word: int = 0) -> int:
    """64 bits in the format that the error estimate announces: NTP 32.32 since 1900, or PTPv2 truncated."""
    seconds, ns = divmod(time_ns, _NS)
    if error_word & _PTP_BIT:
        return (seconds & 0xFFFFFFFF) << 32 | ns
    return (seconds + _NTP_TO_UNIX_S & 0xFFFFFFFF) << 32 | ((ns << 32) + _NS // 2) // _NS


def decode_time(bits: int, error_word: int = 0) -> int:
    """ns since the Unix epoch, exact for what ``encode_time`` wrote; 0 when the field was left at zero.

    NTP seconds with a clear top bit are of the era that begins in 2036 (RFC 4330, section 3), which serves
    until 2104. PTP seconds are taken as they stand: a peer that counts TAI seconds differs by a constant,
    like any other clock offset.
    """
    seconds, fraction = bits >> 32, bits & 0xFFFFFFFF
    if bits == 0:
        return 0
    if error_word & _PTP_BIT:
        return seconds * _NS + fraction
    if seconds < 0x80000000:
        seconds += 1 << 32
    return (seconds - _NTP_TO_UNIX_S) * _NS + (fraction * _NS + 0x80000000 >> 32)
