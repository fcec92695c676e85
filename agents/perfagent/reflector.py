"""The reflecting end of a probe stream: never with more bytes than it got.

Replies carry the DSCP with which the request arrived (or the one it asks for): both directions are measured in one
class. The transmit stamp inside a reply is the user's clock just before sending; the kernel's own comes a little
later, stands in the record, and goes to the sender in its next reply if it asks for follow-up telemetry.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from errno import errorcode
from time import monotonic_ns, time_ns
from typing import Any

from perfagent import phc, records, sockets, timestamps
from perfagent.jobs import Job
from perfagent.marks import Marks
from perfagent.realtime import clock_pair
from perfagent.record_files import RecordsInOrder
from perfagent.records import ABSENT, KERNEL, USER
from perfagent.stamp.reflecting import Reflecting, Session
from perfagent.timestamps import ANCILLARY_BYTES, Ancillary

_TICK_NS = 500_000_000
_POLL_S = 0.05
"""How long a wait for a packet may last before we look whether we are asked to stop."""
_LARGEST_DATAGRAM = 65_535
_MOST_UNREAD_BYTES = 16_000
"""Transmit stamps are cheaper to read several at a time; they come with their packets, out of the receive buffer."""
_OVERHEAD_BYTES = 1000
"""In which the kernel books about so much more for each."""


class Reflector:
    """One loop around ``stamp.reflecting``: answers what it takes."""

    def __init__(
        self,
        job: Job,
        sock: socket.socket,
        rules: Reflecting,
        mark: tuple[bytes, int],
        *,
        record: bool = True,
        answer: bool = True,
        turns: Sequence[int] = (0,),
        error_word: Callable[[], int] | None = None,
    ) -> None:
        """``mark``: what all replies have in common (``Form.mark``). Without ``record`` only counts are kept;
        without ``answer`` what comes is noted and nothing is sent.

        ``turns``: how packets were marked is counted by class, packet i in the one that stands here in its turn.
        ``error_word`` tells the error estimate of the replies to come, at no cost.
        """
        self._card = phc.of_address(sock.getsockname()[0]) if record else phc.CardTime(None, "nothing is recorded")
        timestamps.enable(sock, by_card=self._card.on)
        sockets.set_ttl(sock, sockets.PROBE_TTL)
        sockets.send_whole(sock)
        sockets.set_receive_timeout(sock, _POLL_S)
        self._job = job
        self._answer = answer
        self._sock = sock
        self._rules = rules
        self._error_word = error_word
        self._packet = bytearray(_LARGEST_DATAGRAM)
        self._buffers = (self._packet,)
        self._view = memoryview(self._packet)
        self._records = RecordsInOrder(job.folder / "reflector.rec") if record else None
        self._stamps = timestamps.TransmitStamps(sock, *mark, by_card=self._card.on)
        self._size = 0
        self._unread_bytes = 0
        self._unstamped: dict[int, tuple[Session, int, int]] = {}
        self._older = self._unstamped
        self._tos = 0
        self._next_tick_ns = 0
        self._end_ns: int | None = None
        self.clock: list[tuple[int, int]] = []
        self.received = self.sent = self.kernel_t2 = self.kernel_t3 = self.card_pairs = 0
        self.send_errors: Counter[str] = Counter()
        self._marks = Marks(turns)
        self.ttl_seen: Counter[int] = Counter()

    def run(self, for_ns: int | None = None) -> None:
        """Reflect until asked to stop, or for this long."""
        self._end_ns = None if for_ns is None else monotonic_ns() + for_ns
        while not self._job.stopping:
            try:
                size, ancillary, _, address = self._sock.recvmsg_into(self._buffers, ANCILLARY_BYTES)
            except BlockingIOError:
                pass
            else:
                self._take(size, ancillary, address)
                if self._unread_bytes >= _MOST_UNREAD_BYTES:
                    self._join_transmit_stamps()
            if monotonic_ns() >= self._next_tick_ns:
                self._tick()
        self._tick()
        if self._records:
            self._records.close()

    def _take(self, size: int, ancillary: Ancillary, address: tuple[Any, ...]) -> None:
        kernel_ns, ttl, tos = timestamps.of_received(ancillary)
        t2_ns, source = (kernel_ns, KERNEL) if kernel_ns else (time_ns(), USER)
        session = self._rules.take(self._packet, size, address[0], address[1], tos)
        if session is None:
            return
        if session.dscp << 2 != self._tos:
            self._tos = session.dscp << 2
            sockets.set_dscp(self._sock, session.dscp)
        t3_ns = time_ns()
        seq = self._rules.reply(self._packet, session, t2_ns, t3_ns, ttl)
        flags = self._send(size, address) if self._answer else 0
        if flags == records.SENT:
            session.transmitted(seq, t3_ns)
            card_ns = self._card.unix_ns(timestamps.of_card(ancillary)) if self._card.on else 0
            self._unstamped[seq] = session, self.received, card_ns
            self._unread_bytes += _MOST_UNREAD_BYTES if session.follow_up else size + _OVERHEAD_BYTES
        if self._records:
            left, t3_ns = (USER, t3_ns) if self._answer else (ABSENT, 0)
            self._records.append(session.sender_seq, source << 4, left, flags, ttl, 0, t2_ns, t3_ns, 0)
        self.received += 1
        self.kernel_t2 += source == KERNEL
        self._marks.add(session.sender_seq, tos)
        self.ttl_seen[ttl] += 1

    def _send(self, size: int, address: tuple[Any, ...]) -> int:
        """Send the reply; returns the record's flags."""
        if size != self._size:
            self._size = size
            self._stamps.expect(size)
        try:
            self._sock.sendto(self._view[:size], socket.MSG_DONTWAIT, address)
        except OSError as error:
            self.send_errors[errorcode.get(error.errno or 0, str(error.errno))] += 1
            return records.SEND_ERROR
        self.sent += 1
        return records.SENT

    def _join_transmit_stamps(self) -> None:
        """All that have come back."""
        self._unread_bytes = 0
        while (stamp := self._stamps.read()) is not None:
            self._join_transmit_stamp(*stamp)

    def _join_transmit_stamp(self, seq: int, sent_ns: int, raw_ns: int) -> None:
        waiting = self._unstamped if seq in self._unstamped else self._older
        session, number, came_ns = waiting.pop(seq, (None, 0, 0))
        if session is None:
            return
        if sent_ns:
            if session.previous is not None and session.previous[0] == seq:
                session.transmitted(seq, sent_ns)
            self.kernel_t3 += self._records is None or self._records.set_t3(number, sent_ns)
        left_ns = self._card.unix_ns(raw_ns)
        if came_ns and left_ns and self._records:
            self.card_pairs += self._records.set_by_card(number, came_ns, left_ns, self._card.error_ns)
        elif came_ns and not raw_ns:
            waiting[seq] = session, number, came_ns  # the card's is still to come

    def _tick(self) -> None:
        self._join_transmit_stamps()
        self._older, self._unstamped = self._unstamped, {}  # without stamps it would grow for ever
        self._card.tick(self.card_pairs, self.received)
        pair = clock_pair()
        self._next_tick_ns = pair[0] + _TICK_NS
        if self._error_word is not None:
            self._rules.error_word = self._error_word()
        if self._records:
            self.clock.append(pair)
            self._records.write_ripe()
        self._job.live({"received": self.received, "sent": self.sent})
        if self._end_ns is not None and pair[0] >= self._end_ns:
            self._job.stop()

    def figures(self) -> dict[str, Any]:
        """The counts, for ``result.json``."""
        refused = self._rules.refused
        return {
            "received": self.received,
            "sent": self.sent,
            "send_errors": sum(self.send_errors.values()),
            "send_error_names": dict(self.send_errors),
            "foreign": sum(refused.values()),
            "refused": dict(refused),
            "stamps": {
                "t2": phc.shares(self.received, self.kernel_t2, self.card_pairs),
                "t3": phc.shares(self.received, self.kernel_t3, self.card_pairs),
            },
            "card": self._card.figures(self.card_pairs),
            **self._marks.figures(),
            "ttl_seen": {str(ttl): n for ttl, n in sorted(self.ttl_seen.items())},
            "error_word": self._rules.error_word,
            "clock": self.clock,
        }
