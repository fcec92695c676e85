"""STAMP base packets, unauthenticated and authenticated (RFC 8762, sections 4.2 to 4.4; SSID: RFC 8972, section 3).

                               unauthenticated        authenticated
    sender     sequence        0  u32                 0  u32
               timestamp       4  u64                 16 u64
               error estimate  12 u16                 24 u16
               SSID            14 u16                 26 u16
    reflector  the same four of its own, at the same places, and
               receive time    16 u64                 32 u64
               sender's seq.   24 u32                 48 u32
               its timestamp   28 u64                 64 u64
               its error est.  36 u16                 72 u16
               its TTL         40 u8                  80 u8
    both       HMAC                                   96 16 bytes: HMAC-SHA-256 of the first 96, cut to 128 bits
               length          44                     112

All of it is big-endian, all else zero on sending and ignored on receipt; extensions follow (``tlv``). Sans-IO: a
packet is written into and read from a buffer. Decoding raises nothing but ``Malformed``.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, NamedTuple, Union

from perfagent.stamp.times import decode_time, encode_time

PORT = 862
DIGEST_BYTES = 16

Buffer = Union[bytes, bytearray, memoryview]
Writable = Union[bytearray, memoryview]

_DIGEST_AT = 96


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


class Form:
    """How the base packets of a session look: plain, or authenticated with a key."""

    def __init__(self, key: bytes | None = None) -> None:
        self.key = key
        if key is None:
            self.base_bytes, self._ssid_at = 44, 14
            self._request = struct.Struct(">IQHH28x")
            self._reply = struct.Struct(">IQHHQIQHxxBxxx")
        else:
            self.base_bytes, self._ssid_at = 112, 26
            self._request = struct.Struct(">I12xQHH68x")
            self._reply = struct.Struct(">I12xQHH4xQ8xI12xQH6xB15x")

    def write_request(self, buffer: Writable, seq: int, timestamp_ns: int, error_word: int, ssid: int) -> None:
        """Put the base packet at the start of ``buffer``, which has room for it."""
        self._request.pack_into(buffer, 0, seq, encode_time(timestamp_ns, error_word), error_word, ssid)
        if self.key is not None:
            self._sign(buffer)

    def read_request(self, packet: Buffer) -> Request:
        """Raises Malformed."""
        self._whole(packet)
        seq, timestamp, error_word, ssid = self._request.unpack_from(packet)
        return Request(seq, decode_time(timestamp, error_word), error_word, ssid)

    def turn_into_reply(
        self, packet: Writable, seq: int, receive_ns: int, transmit_ns: int, ttl: int, error_word: int
    ) -> int:
        """Make the request in ``packet`` its reply, in place: SSID, size and all behind the base stay. Returns the
        request's number."""
        sender_seq, timestamp, sender_word, ssid = self._request.unpack_from(packet)
        received, sent = encode_time(receive_ns, error_word), encode_time(transmit_ns, error_word)
        seq &= 0xFFFFFFFF
        self._reply.pack_into(packet, 0, seq, sent, error_word, ssid, received, sender_seq, timestamp, sender_word, ttl)
        if self.key is not None:
            self._sign(packet)
        return int(sender_seq)

    def read_reply(self, packet: Buffer) -> Reply:
        """Raises Malformed."""
        self._whole(packet)
        fields = self._reply.unpack_from(packet)
        seq, sent, error, ssid, received, sender_seq, sender_sent, sender_error, ttl = fields
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

    def genuine(self, packet: Buffer) -> bool:
        """Whether a packet of full length carries the digest of our key; always so without a key."""
        if self.key is None:
            return True
        return digests(self.key, bytes(packet[:_DIGEST_AT]), bytes(packet[_DIGEST_AT : _DIGEST_AT + DIGEST_BYTES]))

    def ssid_of(self, packet: Buffer) -> int:
        """Of a request or reply of full length."""
        return packet[self._ssid_at] << 8 | packet[self._ssid_at + 1]

    def mark(self, ssid: int | None) -> tuple[bytes, int]:
        """Bytes that all our packets of a session have in common, and where they stand; none if any SSID will do.

        The error estimate beside them changes with the clock.
        """
        return b"" if ssid is None else struct.pack(">H", ssid), self._ssid_at

    def _sign(self, packet: Writable) -> None:
        assert self.key is not None
        packet[_DIGEST_AT : _DIGEST_AT + DIGEST_BYTES] = digest(self.key, bytes(packet[:_DIGEST_AT]))

    def _whole(self, packet: Buffer) -> None:
        if len(packet) < self.base_bytes:
            raise Malformed(f"a STAMP packet has at least {self.base_bytes} bytes here, this one {len(packet)}")


OPEN = Form()
"""Unauthenticated."""


def digest(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA-256 cut to 128 bits (RFC 8762, section 4.4)."""
    begun = _begun(key).copy()
    begun.update(text)
    return bytes(begun.digest()[:DIGEST_BYTES])


def digests(key: bytes, text: bytes, said: bytes) -> bool:
    """Whether ``said`` is the digest of ``text``; takes as long wherever they differ."""
    import hmac

    return hmac.compare_digest(said, digest(key, text))


@lru_cache(maxsize=4)
def _begun(key: bytes) -> Any:
    """The part that knows the key and no text yet: kept, as RFC 2104 (section 4) advises for short messages."""
    import hmac  # with OpenSSL behind it, 4 MB that a prober without a key need not carry

    return hmac.new(key, digestmod="sha256")
