"""pmtu: the largest IP packet with DF that arrives, found by packets that arrive (RFC 4821), not by ICMP.

Probes are UDP packets of a given size; the other end answers each with 16 bytes that say which packet it got
and how large it was. Messages "Packet Too Big" are written down, and believed by nobody.

    probe, answer   magic "PHMT" · session u32 · number u32 · size of the IP packet u16 · 2 zero bytes
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
from perfagent.bracket import Bracket
from perfagent.jobs import Job
from perfagent.wire import Code, Fault

_HEADER = struct.Struct(">4sIIHxx")
_MAGIC = b"PHMT"
_MAX_IP_BYTES = 65_535
_OVERHEAD = {socket.AF_INET: 20 + 8, socket.AF_INET6: 40 + 8}

_AROUND_IP_BYTES = 42
"""Preamble, header with a tag, FCS and gap of Ethernet: with them a pace is kept at every layer."""
_FIRST_ANSWER_NS = 3_000_000_000
_FIRST_INTERVAL_NS = 200_000_000
_MARGIN_NS = 3_000_000
"""Beyond what the network's delay explains: the other end may be a busy host."""
_LEAST_PACE_BPS = 10_000
_SILENT_PASSES = 10
"""Passes without any answer after which the other end counts as gone."""


# --- the answering end ------------------------------------------------------------------------


def echo(job: Job, *, address: str, port: int, peer: str) -> dict[str, Any]:
    """Answer the probes of ``peer`` until asked to stop, never with more bytes than were received.

    Raises Fault(ADDRESS, PORT_IN_USE, NOT_PERMITTED).
    """
    peer = sockets.canonical(peer)
    answered = foreign = 0
    buffer = bytearray(_MAX_IP_BYTES)
    with sockets.bind_udp(address, port) as sock:
        overhead = _OVERHEAD[sock.family]
        job.ready({"address": address, "port": sock.getsockname()[1]})
        while not job.stopping:
            select([sock.fileno(), job.stop_fd], [], [])
            try:
                size, sender = sock.recvfrom_into(buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            if sender[0] != peer or size < _HEADER.size or not buffer.startswith(_MAGIC):
                foreign += 1
                continue
            _, session, number, _ = _HEADER.unpack_from(buffer)
            answered += _try_to_send(sock, _HEADER.pack(_MAGIC, session, number, size + overhead), sender)
    return {"answered": answered, "foreign": foreign, "local_mtu": _interface_mtu(address, peer, port)}


def _interface_mtu(source: str, peer: str, port: int) -> int | None:
    """Of the interface towards ``peer``, which may take no larger packet in than out; None if that cannot be told."""
    try:
        with sockets.bind_udp(source) as sock:
            return Prober(sock, (peer, port), _LEAST_PACE_BPS).ask_local_mtu()
    except Fault:
        return None


def _try_to_send(sock: socket.socket, packet: bytes, target: tuple[Any, ...]) -> bool:
    try:
        sock.sendto(packet, socket.MSG_DONTWAIT, target)
    except OSError:
        return False
    return True


# --- the searching end ------------------------------------------------------------------------


def search(job: Job, *, peer: str, port: int, source: str, floor: int, ceiling: int, pace_bps: int) -> dict[str, Any]:
    """Find the path MTU towards ``peer``, exact to the byte; sizes are of IP packets.

    ``floor`` and ``ceiling`` say where to look first and where to stop; an answer below ``floor`` is found too.
    Probes go out at ``pace_bps`` at most: the circuit may be in use, and the token bucket of a small one must not take
    large probes for too many.
    Raises Fault(PEER_SILENT, BAD_ARGUMENT, ADDRESS, DEADLINE).
    """
    if pace_bps < _LEAST_PACE_BPS:
        raise Fault(Code.BAD_ARGUMENT, f"at {pace_bps} bit/s a search would not end; {_LEAST_PACE_BPS} is the least")
    with sockets.bind_udp(source) as sock:
        prober = Prober(sock, (sockets.canonical(peer), port), pace_bps)
        if not prober.control_bytes < floor <= ceiling <= _MAX_IP_BYTES:
            raise Fault(
                Code.BAD_ARGUMENT,
                f"floor {floor} and ceiling {ceiling} do not lie within {prober.control_bytes} to {_MAX_IP_BYTES}",
            )
        local_mtu = prober.ask_local_mtu()
        allowed = min(ceiling, local_mtu or ceiling)
        prober.meet(job)
        bracket = Bracket(prober.control_bytes, min(floor, allowed), allowed)
        _narrow(job, prober, bracket)
    return {
        "pmtu": bracket.largest,
        "confirmed": sorted(bracket.arrived),
        "failed": bracket.failed,
        "rounds": bracket.rounds,
        "tries": prober.sent - prober.control_sent,
        "control_sent": prober.control_sent,
        "control_answered": prober.control_answered,
        "ptb": prober.too_big,
        "local_mtu": local_mtu,
        "blackhole": bracket.largest < allowed and not prober.too_big,
        "rtt_ns": prober.least_rtt_ns,
    }


def _narrow(job: Job, prober: Prober, bracket: Bracket) -> None:
    """Ask until the bracket is closed. Raises Fault(PEER_SILENT, DEADLINE)."""
    silent_passes = 0
    while sizes := bracket.wanted():
        if job.stopping:
            raise Fault(Code.DEADLINE, f"stopped before the search was over, at {bracket.largest} bytes or more")
        fair = prober.ask(sizes)
        bracket.arrived |= prober.arrived
        for size in fair:
            if size not in prober.arrived:
                bracket.unanswered(size)
        silent_passes = 0 if fair else silent_passes + 1
        if silent_passes == _SILENT_PASSES:
            raise Fault(Code.PEER_SILENT, f"{prober.peer_name} answered at first, then no more")


class Prober:
    """Sends probes and control packets, and keeps what came back."""

    def __init__(self, sock: socket.socket, peer: tuple[str, int], pace_bps: int) -> None:
        self._sock = sock
        self._peer = peer
        self._pace_bps = pace_bps
        self._overhead = _OVERHEAD[sock.family]
        self._session = random.getrandbits(32)
        self._sent: dict[int, tuple[int, int]] = {}  # number -> (size, when)
        self._answered: set[int] = set()
        self._rtt_ns: int | None = None
        self._rtt_spread_ns = 0
        self._last_error = ""
        self._local_mtu: int | None = None
        self.control_bytes = self._overhead + _HEADER.size
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
            self._sock.sendto(bytes(_MAX_IP_BYTES - 28), self._peer)
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
        self._rtt_ns = None  # the first answer may have waited for an address to be resolved
        for _ in range(3):
            self._listen(monotonic_ns() + _FIRST_INTERVAL_NS, {self._send(self.control_bytes)})

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
        self._listen(monotonic_ns() + (self._rtt_ns or _FIRST_INTERVAL_NS) + spread_ns, set(controls))
        self._listen(monotonic_ns() + spread_ns, set(self._sent))  # for probes that came out of order
        return [size for number, size in controls.items() if number in self._answered]

    def _send(self, size: int) -> int:
        """Send a packet of ``size`` bytes; returns its number. One that the kernel refuses is a lost one."""
        number = self.sent
        self.sent += 1
        self.control_sent += size == self.control_bytes
        packet = _HEADER.pack(_MAGIC, self._session, number, size).ljust(size - self._overhead, b"\0")
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
            answer, address = self._sock.recvfrom(_HEADER.size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:  # what ICMP said about an earlier packet
            self._last_error = os.strerror(error.errno or 0)
            return
        now_ns = monotonic_ns()
        if address[:2] != self._peer or len(answer) < _HEADER.size:
            return
        magic, session, number, size = _HEADER.unpack(answer)
        asked, sent_ns = self._sent.get(number, (0, 0))
        if (magic, session, size) != (_MAGIC, self._session, asked) or number in self._answered:
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

    def _read_errors(self) -> None:
        for error in sockets.read_errors(self._sock, _HEADER.size):
            if error.number != errno.EMSGSIZE:
                self._last_error = os.strerror(error.number)
            elif error.reporter is None:
                self._local_mtu = error.info
            else:
                self.too_big.append({"from": error.reporter, "mtu": error.info, "size": _quoted_size(error.payload)})


def _quoted_size(payload: bytes) -> int | None:
    """The size of the probe that an ICMP message is about; None if it quotes too little of it."""
    if len(payload) < _HEADER.size or not payload.startswith(_MAGIC):
        return None
    return int(_HEADER.unpack_from(payload)[3])
