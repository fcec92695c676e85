"""Packets of chosen sizes with DF, to a peer that answers each with 16 bytes: what came back, and what ICMP said.

    probe, answer   magic "PHMT" · session u32 · number u32 · size of the IP packet u16 · 2 zero bytes

IPv6 has no DF and no router that fragments, so there it is all packets; what is too big is told by ICMPv6 type 2.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
from select import select
from time import monotonic_ns
from typing import Any

from perfagent import sockets
from perfagent.jobs import Job
from perfagent.wire import Code, Fault

HEADER = struct.Struct(">4sIIHxx")
MAGIC = b"PHMT"
MAX_IP_BYTES = 65_535
OVERHEAD = {socket.AF_INET: 20 + 8, socket.AF_INET6: 40 + 8}

_AROUND_IP_BYTES = 42
"""Preamble, header with a tag, FCS and gap of Ethernet: with them a pace is kept at every layer."""
_FIRST_ANSWER_NS = 3_000_000_000
_FIRST_INTERVAL_NS = 50_000_000
_RTT_SAMPLES = 3
_MARGIN_NS = 3_000_000
"""Beyond what the network's delay explains: the other end may be a busy host."""
_ROUTER_MARGIN_NS = 100_000_000
"""Beyond the round trip to the peer: routers write ICMP messages when they have time for it."""


class Prober:
    """Sends probes and control packets, and keeps what came back."""

    def __init__(self, sock: socket.socket, peer: tuple[str, int], pace_bps: int) -> None:
        self._sock = sock
        self._peer = peer
        self._pace_bps = pace_bps
        self._overhead = OVERHEAD[sock.family]
        self._session = random.getrandbits(32)
        self._sent: dict[int, tuple[int, int]] = {}  # number -> (size, when)
        self._answered: set[int] = set()
        self._rtt_ns: int | None = None
        self._rtt_spread_ns = 0
        self._last_error = ""
        self._local_mtu: int | None = None
        self.control_bytes = self._overhead + HEADER.size
        self.peer_name = f"{peer[0]} port {peer[1]}"
        self.arrived: set[int] = set()
        self.too_big: list[dict[str, Any]] = []
        self.sent = self.control_sent = self.control_answered = 0
        self.least_rtt_ns: int | None = None
        sockets.probe_with_df(sock)

    def ask_local_mtu(self) -> int | None:
        """What our own interface allows, told by the kernel about a packet that it refuses.

        None if it takes the largest packet that there is. Raises Fault(ADDRESS) if there is no way to the peer.
        """
        try:
            self._sock.sendto(bytes(MAX_IP_BYTES - 28), self._peer)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                reason = os.strerror(error.errno or 0)
                raise Fault(Code.ADDRESS, f"cannot send to {self.peer_name}: {reason}") from error
        self._read_errors()
        return self._local_mtu

    def meet(self, job: Job) -> None:
        """Find the other end and the delay to it. Raises Fault(PEER_SILENT)."""
        end_ns = monotonic_ns() + _FIRST_ANSWER_NS
        while not self._answered:
            if monotonic_ns() > end_ns or job.stopping:
                reason = f" ({self._last_error})" if self._last_error else ""
                raise Fault(Code.PEER_SILENT, f"{self.peer_name} answers no path MTU probes{reason}")
            self._listen(monotonic_ns() + _FIRST_INTERVAL_NS, {self._send(self.control_bytes)})
        first_ns, self._rtt_ns = self._rtt_ns or 0, None  # that answer may have waited for an address to be resolved
        patience_ns = max(2 * first_ns, _FIRST_INTERVAL_NS)
        self._listen(monotonic_ns() + patience_ns, {self._send(self.control_bytes) for _ in range(_RTT_SAMPLES)})
        self._rtt_ns = self._rtt_ns or first_ns

    def ask(self, sizes: list[int]) -> list[int]:
        """Send a probe of each size, a control packet behind each; what comes back is in ``arrived``.

        Returns the sizes whose control packet was answered, once for each: if such a probe was not, its size
        may be the reason. A size that is known to arrive by the time of its turn is left out.
        """
        controls = {}
        for size in sizes:
            if size in self.arrived:
                continue
            self._send(size)
            controls[self._send(self.control_bytes)] = size
            sent_bytes = size + self.control_bytes + 2 * _AROUND_IP_BYTES
            self._listen(monotonic_ns() + sent_bytes * 8 * 1_000_000_000 // self._pace_bps)
        spread_ns = 4 * self._rtt_spread_ns + _MARGIN_NS
        self._listen(monotonic_ns() + (self._rtt_ns or 0) + spread_ns, set(controls))
        self._listen(monotonic_ns() + spread_ns, set(self._sent))  # for probes that came out of order
        return [size for number, size in controls.items() if number in self._answered]

    def ask_hop(self, ttl: int, size: int) -> str | None:
        """Who had a probe of this size when its TTL was over, the peer if it got there; None for silence.

        One probe at a time: many routers quote too little of it to tell which they speak of.
        """
        sockets.set_ttl(self._sock, ttl)
        number = self._send(size)
        until_ns = monotonic_ns() + (self._rtt_ns or 0) + 4 * self._rtt_spread_ns + _ROUTER_MARGIN_NS
        while (left_ns := until_ns - monotonic_ns()) > 0:
            readable, _, failed = select((self._sock,), (), (self._sock,), left_ns / 1e9)
            for error in self._read_errors() if failed else ():
                if error.expired and _quoted(error.payload)[0] in (number, None):
                    return error.reporter
            if readable:
                self._read_answer()
            if number in self._answered:
                return self._peer[0]
        return None

    def _send(self, size: int) -> int:
        """Send a packet of ``size`` bytes; returns its number. One that the kernel refuses is a lost one."""
        number = self.sent
        self.sent += 1
        self.control_sent += size == self.control_bytes
        packet = HEADER.pack(MAGIC, self._session, number, size).ljust(size - self._overhead, b"\0")
        self._sent[number] = size, monotonic_ns()
        for _ in range(2):  # the first call may only report what ICMP said about an earlier packet
            try:
                self._sock.sendto(packet, socket.MSG_DONTWAIT, self._peer)
                break
            except OSError as error:
                self._last_error = os.strerror(error.errno or 0)
                self._read_errors()
        return number

    def _listen(self, until_ns: int, wanted: set[int] | None = None) -> None:
        """Take what comes until then, or until all of ``wanted`` are answered."""
        while wanted is None or not wanted <= self._answered:
            left_ns = until_ns - monotonic_ns()
            if left_ns <= 0:
                return
            readable, _, failed = select((self._sock,), (), (self._sock,), left_ns / 1e9)
            if failed:
                self._read_errors()
            if readable:
                self._read_answer()

    def _read_answer(self) -> None:
        try:
            answer, address = self._sock.recvfrom(HEADER.size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:  # what ICMP said about an earlier packet
            self._last_error = os.strerror(error.errno or 0)
            return
        now_ns = monotonic_ns()
        if address[:2] != self._peer or len(answer) < HEADER.size:
            return
        magic, session, number, size = HEADER.unpack(answer)
        asked, sent_ns = self._sent.get(number, (0, 0))
        if (magic, session, size) != (MAGIC, self._session, asked) or number in self._answered:
            return
        self._answered.add(number)
        self.arrived.add(size)
        if size == self.control_bytes:
            self.control_answered += 1
            self._learn_rtt(now_ns - sent_ns)

    def _learn_rtt(self, rtt_ns: int) -> None:
        """Mean and spread as TCP keeps them (RFC 6298, section 2)."""
        self.least_rtt_ns = min(self.least_rtt_ns or rtt_ns, rtt_ns)
        if self._rtt_ns is None:
            self._rtt_ns, self._rtt_spread_ns = rtt_ns, rtt_ns // 2
        else:
            self._rtt_spread_ns += (abs(self._rtt_ns - rtt_ns) - self._rtt_spread_ns) // 4
            self._rtt_ns += (rtt_ns - self._rtt_ns) // 8

    def _read_errors(self) -> list[sockets.PacketError]:
        """Book what the error queue has, and return it."""
        errors = list(sockets.read_errors(self._sock, HEADER.size))
        for error in errors:
            if error.number != errno.EMSGSIZE:
                self._last_error = os.strerror(error.number)
            elif error.reporter is None:
                self._local_mtu = error.info
            else:
                _, size = _quoted(error.payload)
                self.too_big.append({"from": error.reporter, "mtu": error.info, "size": size})
        return errors


def _quoted(payload: bytes) -> tuple[int | None, int | None]:
    """Number and size of the probe that an ICMP message is about; None where it quotes too little of it."""
    if len(payload) < HEADER.size or not payload.startswith(MAGIC):
        return None, None
    _, _, number, size = HEADER.unpack_from(payload)
    return number, size
