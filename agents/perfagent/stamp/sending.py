"""The sender's rules: what a session sends, and which packets are replies to it (RFC 8762, section 4.2). Sans-IO.

A reply counts if it is long enough, carries the digest of our key where we have one, names our session (or, if that
is allowed, none: a reflector without RFC 8972 returns SSID 0, section 3) and a packet that was sent, with the very
timestamp that was in it: a reply of an earlier session, or an invented one, has another. All others are counted by
reason. The first reply to a packet counts, each further one is a duplicate.

Records go where they are kept for good (``perfagent.records``), a buffer with room for all of them.
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Any, NamedTuple

from perfagent import records
from perfagent.marks import Marks
from perfagent.records import ABSENT, HARDWARE, HEADER_BYTES, KERNEL, RECORD, RECORD_BYTES, REMOTE, STAMP, USER
from perfagent.stamp import tlv
from perfagent.stamp.packet import Buffer, Form, Reply

SHORT, FORGED, OTHER_PEER, OTHER_SESSION, NEVER_SENT, STALE = (
    "short",
    "forged",
    "other peer",
    "other session",
    "never sent",
    "stale",
)
"""Reasons why a packet is no reply of ours. STALE: to a packet of this number, but not to ours."""

_REMEMBERED = 1 << 16
"""Packets whose exact timestamps are kept to know their replies: a minute at 1 kHz. Power of two."""

_LATEST_FOLLOW_UP_NS = 1_000_000_000
"""A reply that claims to have left longer than this after its own timestamp is not believed."""


class Stream(NamedTuple):
    """What is sent to whom."""

    peer: tuple[str, int]
    ssid: int
    packet_bytes: tuple[int, ...]
    """Of the UDP payloads, in turn: packet i has the one numbered i modulo their number."""
    packets: int
    interval_ns: int
    wait_ns: int
    """How long a reply may take."""
    error_word: int
    """Of the first packet."""
    zero_ssid: bool = False
    """Replies with SSID 0 are of this session too."""
    ask_dscp: int | None = None
    """Ask, by the class-of-service extension, for replies in this class."""
    follow_up: bool = False
    """Ask when the reply before really left."""
    tlv_key: bytes | None = None
    """Signs the extensions."""
    turns: tuple[int, ...] = (0,)
    """What comes back is counted by class: packet i is of the class that stands here at i modulo their number."""


class Sending:
    """One session: ``write`` and ``sent`` for each packet, ``take`` for each that comes in."""

    def __init__(self, form: Form, stream: Stream, buffer: Any) -> None:
        """``buffer``: the writable records, all zero behind their header. Raises ValueError if a packet is too
        small for the form and the extensions asked for."""
        base = form.base_bytes
        if min(stream.packet_bytes) < base:
            raise ValueError(f"a packet has at least {base} bytes in this mode, not {min(stream.packet_bytes)}")
        asks = stream.ask_dscp is not None or stream.follow_up
        self._form = form
        self._stream = stream
        self._map = buffer
        self._key = form.key if form.key is not None else stream.tlv_key
        signed = self._key is not None and (asks or stream.tlv_key is not None)
        made = {
            size: bytearray(base)
            + tlv.extensions(size - base, dscp=stream.ask_dscp, follow_up=stream.follow_up, signed=signed)
            for size in set(stream.packet_bytes)
        }
        self._packets = [made[size] for size in stream.packet_bytes]
        self.packet = self._packets[0]
        self._mac_at = {size: _find_mac(packet, base) for size, packet in made.items()} if signed else {}
        self._reads_tlvs = asks or signed
        self._times = array("q", bytes(8 * _REMEMBERED))
        self._newest = -1
        self._numbers = array("Q", bytes(8 * _REMEMBERED)) if stream.follow_up else None
        self.received = self.late = self.kernel_t1 = self.kernel_t4 = 0
        self._card_stamps: dict[int, tuple[int, int]] = {}
        self.card_pairs = 0
        self.last_rtt_ns = self.last_seq = 0
        self.refused: Counter[str] = Counter()
        self._again = [0] * (max(stream.turns) + 1)
        self._marks = Marks(stream.turns)
        self.told: Counter[str] = Counter()
        self.ttl_there: Counter[int] = Counter()
        self.error_word = stream.error_word
        """Of the next packet: the clock gets better and worse while a stream runs."""
        self.peer_error_word: int | None = None
        self._own_numbers = False
        self._first: tuple[int, int] | None = None
        self._last: tuple[int, int] | None = None

    # --- going out

    def write(self, seq: int, now_ns: int) -> None:
        """Make ``packet`` the one of this number."""
        stream = self._stream
        self.packet = packet = self._packets[seq % len(self._packets)]
        self._form.write_request(packet, seq, now_ns, self.error_word, stream.ssid)
        if self._mac_at and self._key is not None:
            tlv.sign(packet, self._form.base_bytes, self._mac_at[len(packet)], self._key)

    def sent(self, seq: int, now_ns: int, *, failed: bool = False) -> None:
        """It was handed to the kernel, which took it or ``failed``."""
        flags = records.SEND_ERROR if failed else records.SENT
        RECORD.pack_into(self._map, HEADER_BYTES + seq * RECORD_BYTES, seq, USER, 0, flags, 0, now_ns, 0, 0, 0)
        self._times[seq & _REMEMBERED - 1] = now_ns
        self._newest = seq

    def transmitted(self, seq: int, sent_ns: int) -> None:
        """The kernel's transmit stamp of this packet came back."""
        at = HEADER_BYTES + seq * RECORD_BYTES
        self.kernel_t1 += 1
        sources12 = self._map[at + records.SOURCES12]
        if sources12 & 0x0F != HARDWARE:
            self._map[at + records.SOURCES12] = sources12 & 0xF0 | KERNEL
            STAMP.pack_into(self._map, at + records.T1, sent_ns)

    def stamped_by_card(self, seq: int, *, t1_ns: int = 0, t4_ns: int = 0, error_ns: int = 0) -> None:
        """The card's T1 or its T4 of this packet, in Unix time. The record gets both or neither, so that no round trip
        is made of two kinds, and only if they lie between the kernel's, within ``error_ns``, as they must."""
        first_t1_ns, first_t4_ns = self._card_stamps.pop(seq, (0, 0))
        t1_ns, t4_ns = t1_ns or first_t1_ns, t4_ns or first_t4_ns
        if not (t1_ns and t4_ns):
            self._card_stamps[seq] = t1_ns, t4_ns
            self._card_stamps.pop(seq - _REMEMBERED, None)
            return
        at = HEADER_BYTES + seq * RECORD_BYTES
        _, sources12, sources34, _, _, sent_ns, _, _, came_ns = RECORD.unpack_from(self._map, at)
        if sent_ns - error_ns <= t1_ns <= t4_ns <= came_ns + error_ns:
            self._map[at + records.SOURCES12] = sources12 & 0xF0 | HARDWARE
            self._map[at + records.SOURCES34] = sources34 & 0x0F | HARDWARE << 4
            STAMP.pack_into(self._map, at + records.T1, t1_ns)
            STAMP.pack_into(self._map, at + records.T4, t4_ns)
            self.card_pairs += 1

    # --- coming in

    def take(self, packet: Buffer, size: int, peer: Any, t4_ns: int, source: int, ttl: int, tos: int) -> bytes | None:
        """Book the ``size`` bytes that came in from ``peer``; returns the record of a duplicate, to be kept apart.

        ``source`` says who took ``t4_ns``; ``ttl`` and ``tos`` are those with which it arrived.
        """
        reply = self._reply_of_ours(packet, size, peer)
        if reply is None:
            return None
        self.kernel_t4 += source == KERNEL
        self._marks.add(reply.sender_seq, tos)
        at = HEADER_BYTES + reply.sender_seq * RECORD_BYTES
        seq, sources12, _, flags, _, t1_ns, *_ = RECORD.unpack_from(self._map, at)
        again = flags & records.REPLIED
        sources12 = sources12 & 0x0F | (REMOTE << 4 if reply.receive_ns else ABSENT)
        sources34 = source << 4 | (REMOTE if reply.transmit_ns else ABSENT)
        flags = records.SENT | records.REPLIED
        if t4_ns - t1_ns > self._stream.wait_ns:
            flags |= records.LATE
        fields = (seq, sources12, sources34, flags, ttl, t1_ns, reply.receive_ns, reply.transmit_ns, t4_ns)
        if again:
            self._again[self._stream.turns[seq % len(self._stream.turns)]] += 1
            return RECORD.pack(*fields)
        RECORD.pack_into(self._map, at, *fields)
        self.received += 1
        self.late += flags & records.LATE > 0
        self.last_seq = reply.sender_seq
        self.last_rtt_ns = t4_ns - t1_ns - (reply.transmit_ns - reply.receive_ns)
        self._note(reply)
        if self._reads_tlvs:
            self._read_extensions(packet, size, reply)
        return None

    def _reply_of_ours(self, packet: Buffer, size: int, peer: Any) -> Reply | None:
        """The reply, if it is one to a packet of this session that was sent."""
        stream, form = self._stream, self._form
        if peer[:2] != stream.peer:
            return self._refuse(OTHER_PEER)
        if size < form.base_bytes:
            return self._refuse(SHORT)
        if not form.genuine(packet):
            return self._refuse(FORGED)
        reply = form.read_reply(packet)
        seq = reply.sender_seq
        if reply.ssid != stream.ssid and not (stream.zero_ssid and reply.ssid == 0):
            return self._refuse(OTHER_SESSION)
        if seq >= stream.packets or not self._map[HEADER_BYTES + seq * RECORD_BYTES + records.FLAGS] & records.SENT:
            return self._refuse(NEVER_SENT)
        if self._newest - seq < _REMEMBERED and self._times[seq & _REMEMBERED - 1] != reply.sender_timestamp_ns:
            return self._refuse(STALE)
        return reply

    def _refuse(self, reason: str) -> Reply | None:
        self.refused[reason] += 1
        return None

    def _note(self, reply: Reply) -> None:
        """What tells whether the reflector counts for itself, and what it knows of its clock."""
        self.peer_error_word = reply.error_word
        self.ttl_there[reply.sender_ttl] += 1
        numbers = reply.sender_seq, reply.seq
        self._own_numbers |= reply.seq != reply.sender_seq
        if self._last is None or reply.seq > self._last[1]:
            self._last = numbers
        if self._first is None or reply.seq < self._first[1]:
            self._first = numbers
        if reply.ssid != self._stream.ssid:
            self.told["zero SSID"] += 1

    def _read_extensions(self, packet: Buffer, size: int, reply: Reply) -> None:
        told = tlv.read(packet, self._form.base_bytes, size, self._key, reply.error_word)
        if not told.intact:
            self.told["not intact"] += 1
            return
        if told.dscp is not None:
            self.told[f"dscp {told.dscp}"] += 1
            self.told[f"ecn {told.ecn}"] += 1
            self.told["class refused"] += told.refused
        self.told["unknown"] += told.unknown
        if self._numbers is not None:
            self._numbers[reply.seq & _REMEMBERED - 1] = reply.sender_seq << 32 | reply.seq
            if told.follow_up is not None:
                self._correct(self._numbers, told.follow_up)

    def _correct(self, numbers: array[int], known: tlv.FollowUp) -> None:
        """Put the true transmit time of an earlier reply into its packet's record, where that is plausible."""
        both = numbers[known.seq & _REMEMBERED - 1]
        at = HEADER_BYTES + (both >> 32) * RECORD_BYTES
        _, _, sources34, flags, _, _, _, t3_ns, _ = RECORD.unpack_from(self._map, at)
        later_ns = known.transmit_ns - t3_ns
        if both & 0xFFFFFFFF == known.seq and flags & records.REPLIED and 0 <= later_ns < _LATEST_FOLLOW_UP_NS:
            self._map[at + records.SOURCES34] = sources34 & 0xF0 | REMOTE
            STAMP.pack_into(self._map, at + records.T3, known.transmit_ns)
            self.told["follow-up"] += 1

    # --- the account

    @property
    def duplicates(self) -> int:
        return sum(self._again)

    def figures(self) -> dict[str, Any]:
        """The counts of what came in, for ``result.json``."""
        return {
            "received": self.received,
            "late": self.late,
            "duplicates": self.duplicates,
            "foreign": sum(self.refused.values()),
            "refused": dict(self.refused),
            "tx_stamps": self.kernel_t1,
            "duplicates_by_class": self._again,
            **self._marks.figures(),
            "extensions": {what: n for what, n in self.told.items() if n},
            "reflector": {
                "own_numbers": self._own_numbers,
                "first": self._first,
                "last": self._last,
                "error_word": self.peer_error_word,
                "ttl_seen": {str(ttl): n for ttl, n in sorted(self.ttl_there.items())},
            },
        }


def _find_mac(packet: Buffer, base: int) -> int:
    return next(each.at for each in tlv.parse(packet, base, len(packet)) if each.kind == tlv.HMAC)
