"""A sender and a reflector that speak in memory, and the digest as the RFC has it, made without our code."""

from __future__ import annotations

import hashlib

from perfagent import records
from perfagent.stamp.packet import OPEN, Form
from perfagent.stamp.reflecting import Reflecting
from perfagent.stamp.sending import Sending, Stream
from perfagent.stamp.times import UNSYNCHRONISED

NOW_NS = 1_795_375_600_123_456_789
"""A day in 2026."""
MS = 1_000_000
PEER = ("192.0.2.1", 862)
SSID = 0x1234
KEY = b"a key of the two ends"

STREAM = Stream(PEER, SSID, (172,), 100, MS, 1000 * MS, UNSYNCHRONISED)


def sender(form: Form = OPEN, stream: Stream = STREAM) -> tuple[Sending, bytearray]:
    """A session and its records."""
    buffer = bytearray(records.HEADER) + bytes(stream.packets * records.RECORD_BYTES)
    return Sending(form, stream, buffer), buffer


def request(session: Sending, seq: int, now_ns: int = NOW_NS) -> bytearray:
    """The packet of this number, sent."""
    session.write(seq, now_ns)
    session.sent(seq, now_ns)
    return bytearray(session.packet)


def reflected(rules: Reflecting, packet: bytearray, tos: int = 0, now_ns: int = NOW_NS) -> bytearray | None:
    """The reply, half a millisecond later."""
    session = rules.take(packet, len(packet), "198.51.100.7", 40_000, tos)
    if session is None:
        return None
    seq = rules.reply(packet, session, now_ns + MS // 2, now_ns + MS // 2 + 1000, 61)
    session.transmitted(seq, now_ns + MS // 2 + 5000)
    return packet


def arrived(session: Sending, reply: bytes, now_ns: int = NOW_NS + MS) -> bytes | None:
    """Hand a packet to the sender."""
    return session.take(reply, len(reply), PEER, now_ns, records.KERNEL, 60, 0)


def hmac_sha256_128(key: bytes, text: bytes) -> bytes:
    """RFC 2104 by hand, with SHA-256, cut to 128 bits."""
    key = key if len(key) <= 64 else hashlib.sha256(key).digest()
    key = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + text).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()[:16]
