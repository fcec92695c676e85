"""The reflecting end of a probe stream: stateful, for one session only, never with more bytes than it got.

Its own sequence number in a reply is the number of the request's record in ``reflector.rec``, so a reply that
could not be sent leaves a gap. Replies carry the DSCP with which the request arrived: both directions are
measured in one class. The transmit stamp inside a reply is the user's clock just before sending; the kernel's
own comes a little later and stands in the record.
"""

from __future__ import annotations

import socket
from collections import Counter
from errno import errorcode
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import Any

from perfagent import records, sockets, stamp, timestamps
from perfagent.jobs import Job
from perfagent.realtime import clock_pair
from perfagent.records import KERNEL, RECORD, RECORD_BYTES, STAMP, USER
from perfagent.timestamps import ANCILLARY_BYTES, Ancillary

_TICK_NS = 500_000_000
_POLL_S = 0.2
"""How long a wait for a packet may last before we look whether we are asked to stop."""
_LARGEST_DATAGRAM = 65_535


class RecordsInOrder:
    """``reflector.rec``: written by the second half of a second.

    A record waits in memory for one period so that its transmit stamp can still be put in.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._file.write(records.HEADER)
        self._waiting = bytearray()
        self._first = 0
        self._ripe = 0

    def append(self, *fields: int) -> None:
        self._waiting += RECORD.pack(*fields)

    def set_t3(self, number: int, sent_ns: int) -> bool:
        """Put the transmit stamp of the kernel into the record of this number; False if it was written already."""
        at = (number - self._first) * RECORD_BYTES
        if not 0 <= at < len(self._waiting):
            return False
        self._waiting[at + records.SOURCES34] = KERNEL
        STAMP.pack_into(self._waiting, at + records.T3, sent_ns)
        return True

    def write_ripe(self) -> None:
        """Write what had waited when this was called last."""
        self._file.write(self._waiting[: self._ripe])
        del self._waiting[: self._ripe]
        self._first += self._ripe // RECORD_BYTES
        self._ripe = len(self._waiting)

    def close(self) -> None:
        self._file.write(self._waiting)
        self._file.close()


class Reflector:
    """Answers the packets of one session and counts all others."""

    def __init__(self, job: Job, sock: socket.socket, peer: str, ssid: int) -> None:
        timestamps.enable(sock)
        sockets.set_ttl(sock, sockets.PROBE_TTL)
        sockets.set_receive_timeout(sock, _POLL_S)
        self._job = job
        self._sock = sock
        self._peer = peer
        self._ssid = ssid
        self._packet = bytearray(_LARGEST_DATAGRAM)
        self._buffers = (self._packet,)
        self._view = memoryview(self._packet)
        self._records = RecordsInOrder(job.folder / "reflector.rec")
        self._stamps = timestamps.TransmitStamps(sock, *stamp.mark(ssid))
        self._tos = 0
        self._next_tick_ns = 0
        self.clock: list[tuple[int, int]] = []
        self.received = self.sent = self.foreign = self.kernel_t2 = self.kernel_t3 = 0
        self.send_errors: Counter[str] = Counter()
        self.tos_seen: Counter[int] = Counter()

    def run(self) -> None:
        """Reflect until asked to stop."""
        while not self._job.stopping:
            try:
                size, ancillary, _, address = self._sock.recvmsg_into(self._buffers, ANCILLARY_BYTES)
            except BlockingIOError:
                pass
            else:
                self._take(size, ancillary, address, time_ns())
                self._join_transmit_stamp()  # of this packet or, where the card is slow, of one before
            if monotonic_ns() >= self._next_tick_ns:
                self._tick()
        self._tick()
        self._records.close()

    def _take(self, size: int, ancillary: Ancillary, address: tuple[Any, ...], now_ns: int) -> None:
        request = stamp.read_request(self._packet) if size >= stamp.BASE_BYTES else None
        if request is None or address[0] != self._peer or request.ssid != self._ssid:
            self.foreign += 1
            return
        kernel_ns, ttl, tos = timestamps.of_received(ancillary)
        t2_ns, source = (kernel_ns, KERNEL) if kernel_ns else (now_ns, USER)
        if tos != self._tos:
            self._tos = tos
            sockets.set_dscp(self._sock, tos >> 2)
        t3_ns = time_ns()
        stamp.turn_into_reply(self._packet, self.received, t2_ns, t3_ns, ttl, stamp.UNSYNCHRONISED)
        flags = self._send(size, address)
        self._records.append(request.seq, source << 4, USER, flags, ttl, 0, t2_ns, t3_ns, 0)
        self.received += 1
        self.kernel_t2 += source == KERNEL
        self.tos_seen[tos] += 1

    def _send(self, size: int, address: tuple[Any, ...]) -> int:
        """Send the reply; returns the record's flags."""
        self._stamps.expect(size)
        try:
            self._sock.sendto(self._view[:size], socket.MSG_DONTWAIT, address)
        except OSError as error:
            self.send_errors[errorcode.get(error.errno or 0, str(error.errno))] += 1
            return records.SEND_ERROR
        self.sent += 1
        return records.SENT

    def _join_transmit_stamp(self) -> bool:
        joined = self._stamps.read()
        if joined is None:
            return False
        self.kernel_t3 += self._records.set_t3(*joined)
        return True

    def _tick(self) -> None:
        while self._join_transmit_stamp():
            pass
        pair = clock_pair()
        self._next_tick_ns = pair[0] + _TICK_NS
        self.clock.append(pair)
        self._records.write_ripe()
        self._job.live({"received": self.received, "sent": self.sent})

    def figures(self) -> dict[str, Any]:
        """The counts, for ``result.json``."""
        return {
            "received": self.received,
            "sent": self.sent,
            "send_errors": sum(self.send_errors.values()),
            "send_error_names": dict(self.send_errors),
            "foreign": self.foreign,
            "stamps": {
                "t2": {"kernel": self.kernel_t2, "user": self.received - self.kernel_t2},
                "t3": {"kernel": self.kernel_t3, "user": self.received - self.kernel_t3},
            },
            "tos_seen": {str(tos): n for tos, n in sorted(self.tos_seen.items())},
            "clock": self.clock,
        }
