"""The reflector's rules (RFC 8762, section 4.3; RFC 8972, sections 3 and 4). Sans-IO: bytes and times in, reply out.

A packet is answered if it has the length of a base packet, carries the digest of our key where we have one, and
belongs to the session that we are for: its peer, port and SSID, as far as they were given. All others are counted by
reason and get nothing. A reply has the length of its request, never more; section 4.6 of RFC 8762 would fill up the
short packets of old TWAMP senders, which we do not: whoever can forge an address must gain nothing by us.

Stateful, each session (peer, port, SSID) has a count of its own from 0, so that loss has a direction; stateless, the
sender's number comes back. A repeated packet is answered again: the network's duplicates are what is measured, and
neither HMAC tells a replay from one (RFC 8972, section 6). The sender sees both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container

from perfagent.stamp import tlv
from perfagent.stamp.packet import Form, Writable

SHORT, FORGED, OTHER_PEER, OTHER_SESSION = "short", "forged", "other peer", "other session"
"""Reasons to drop a packet."""

_MOST_SESSIONS = 1024
"""Remembered at a time; the oldest is forgotten, so that nobody can fill our memory with invented ports."""


class Session:
    """What a stateful reflector keeps of one session, and what the reply under way needs."""

    __slots__ = ("dscp", "follow_up", "mac_at", "previous", "sender_seq", "seq")

    def __init__(self) -> None:
        self.seq = 0
        """Of the next reply."""
        self.previous: tuple[int, int, int] | None = None
        """The fields of a ``tlv.FollowUp`` about the reply before."""
        self.follow_up = False
        """The sender asks for that."""
        self.sender_seq = 0
        """Of the request that was answered last."""
        self.dscp = 0
        """In which the reply under way is to be sent."""
        self.mac_at = 0

    def transmitted(self, seq: int, transmit_ns: int) -> None:
        """The reply with this number left at this time: known only after it has."""
        self.previous = seq, transmit_ns, tlv.SOFTWARE


class Reflecting:
    """For each packet: ``take``, set the class that it names, then ``reply`` with the time of sending."""

    def __init__(
        self,
        form: Form,
        error_word: int,
        *,
        peer: str | None = None,
        port: int | None = None,
        ssid: int | None = None,
        stateless: bool = False,
        tlv_key: bytes | None = None,
        permitted: Container[int] = range(64),
    ) -> None:
        """None: anything. ``tlv_key`` signs extensions; the key of an authenticated ``form`` does so anyway."""
        self._form = form
        self.error_word = error_word
        """Of the next reply: the clock gets better and worse meanwhile."""
        self._peer = peer
        self._port = port
        self._ssid = ssid
        self._stateless = stateless
        self._key = form.key if form.key is not None else tlv_key
        self._permitted = permitted
        self._sessions: dict[tuple[str, int, int], Session] = {}
        self.refused: Counter[str] = Counter()

    def take(self, packet: Writable, size: int, peer: str, port: int, tos: int) -> Session | None:
        """Its session, if the ``size`` bytes in ``packet`` are to be answered; their extensions are turned into a
        reply's already. ``tos``: the TOS byte with which it arrived."""
        session = self._admit(packet, size, peer, port)
        if session is None:
            return None
        session.dscp, session.mac_at = tos >> 2, 0
        base = self._form.base_bytes
        if size > base:
            previous = None if self._stateless else session.previous
            dscp, session.mac_at, session.follow_up = tlv.answer(
                packet,
                base,
                size,
                self._key,
                tos=tos,
                permitted=self._permitted,
                previous=previous,
                error_word=self.error_word,
            )
            if dscp is not None:
                session.dscp = dscp
        return session

    def reply(self, packet: Writable, session: Session, receive_ns: int, transmit_ns: int, ttl: int) -> int:
        """Make what was taken its reply, in place; returns the reply's number."""
        form = self._form
        seq = int.from_bytes(packet[:4], "big") if self._stateless else session.seq & 0xFFFFFFFF
        session.sender_seq = form.turn_into_reply(packet, seq, receive_ns, transmit_ns, ttl, self.error_word)
        session.seq += 1
        if session.mac_at and self._key is not None:
            tlv.sign(packet, form.base_bytes, session.mac_at, self._key)
        return seq

    def _admit(self, packet: Writable, size: int, peer: str, port: int) -> Session | None:
        form = self._form
        if size < form.base_bytes:
            return self._refuse(SHORT)
        known = peer, port, form.ssid_of(packet)
        session = self._sessions.get(known)  # only who may be answered has one
        if session is None and (reason := self._why_not(*known)) is not None:
            return self._refuse(reason)
        if form.key is not None and not form.genuine(packet):
            return self._refuse(FORGED)
        if session is None:
            if len(self._sessions) >= _MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            session = self._sessions[known] = Session()
        return session

    def _why_not(self, peer: str, port: int, ssid: int) -> str | None:
        """The reason not to answer anybody there; None: we are for them."""
        if (self._peer is not None and peer != self._peer) or (self._port is not None and port != self._port):
            return OTHER_PEER
        return OTHER_SESSION if self._ssid is not None and ssid != self._ssid else None

    def _refuse(self, reason: str) -> Session | None:
        self.refused[reason] += 1
        return None
