"""Which ports of the peer can be reached: a listener for its side, and a scan that tells five answers apart.

open      our listener, or another, answered
refused   the peer said that nothing listens, by a reset of TCP or a port-unreachable for UDP: the path is free
rejected  an ICMP error said no; who sent it is told, for TCP where the kernel (5.8) hands it out
silent    no answer: filtered, or lost
unsent    this host's own kernel does not send it: it has no route, or forbids it

A refusal cannot be told from a firewall that imitates it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
import socket
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from perfagent import icmp, peerfilter, sockets, timestamps
from perfagent.wire import Code, Fault

_PATIENCE_S = 3.5
"""Long enough for the kernel to repeat a SYN after 1 s and 3 s."""
_UDP_TRIES_S = (0.0, 0.3, 1.0, 2.0)
_PROBE = b"perfharness port probe"
MARK = b"perfharness mark "
"""How a datagram begins that says with which DSCP it was sent, in the one byte that follows."""
_MOST_STRANGERS = 8
_ANCILLARY_BYTES = 256


class Answer(NamedTuple):
    """What came of one port."""

    state: str
    sender: str = ""
    """Who sent the ICMP error; empty for this host's own kernel."""
    said: str = ""
    """The error in words."""


# --- the peer's side --------------------------------------------------------------------------


class Listener:
    """Accepts TCP connections and echoes UDP on the given ports, for one peer only."""

    def __init__(self, address: str, peer: str, tcp: Sequence[int], udp: Sequence[int]) -> None:
        """Raises Fault(ADDRESS, PORT_IN_USE, NOT_PERMITTED)."""
        self._address, self._peer = address, peer
        self.seen: dict[str, Any] = {"tcp": {}, "udp": {}, "foreign": 0}
        self.marks: dict[str, Counter[str]] = {}
        """Of the peer's marked datagrams: DSCP with which it was sent → DSCP with which it came → how many."""
        self.translated: Counter[str] = Counter()
        """Addresses other than the peer's from which our own probes came."""
        self._selector = selectors.DefaultSelector()
        try:
            for port in tcp:
                self._open("tcp", port)
            for port in udp:
                self._open("udp", port)
        except Fault:
            self.close()
            raise

    def open_if_free(self, protocol: str, port: int) -> str:
        """Listen on this port too; empty, or why that cannot be."""
        try:
            self._open(protocol, port)
        except Fault as fault:
            return fault.message
        return ""

    def _open(self, protocol: str, port: int) -> None:
        if protocol == "tcp":
            sock, answer = _listen(self._address, self._peer, port), self._accept
        else:
            sock, answer = sockets.bind_udp(self._address, port), self._echo
            _tell_tos(sock)
        self._selector.register(sock, selectors.EVENT_READ, (answer, str(port)))
        self.seen[protocol][str(port)] = 0

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def run(self, stop_fd: int) -> None:
        """Answer until ``stop_fd`` is readable."""
        self._selector.register(stop_fd, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fd == stop_fd:
                    return
                answer, port = key.data
                answer(key.fileobj, port)

    def _accept(self, sock: socket.socket, port: str) -> None:
        with contextlib.suppress(OSError):  # gone again
            connection, address = sock.accept()
            connection.close()
            self._count("tcp", port, address[0])

    def _echo(self, sock: socket.socket, port: str) -> None:
        with contextlib.suppress(OSError):  # the peer's ICMP, a full queue
            data, ancillary, _flags, address = sock.recvmsg(65535, _ANCILLARY_BYTES, socket.MSG_DONTWAIT)
            if self._count("udp", port, address[0]):
                if data.startswith(MARK) and len(data) > len(MARK):
                    came = str(timestamps.of_received(ancillary)[2] >> 2)
                    self.marks.setdefault(str(data[len(MARK)]), Counter())[came] += 1
                sock.sendto(data, socket.MSG_DONTWAIT, address)
            elif data == _PROBE and (address[0] in self.translated or len(self.translated) < _MOST_STRANGERS):
                self.translated[address[0]] += 1

    def _count(self, protocol: str, port: str, address: str) -> bool:
        """Whether it was the peer."""
        if address != self._peer:
            self.seen["foreign"] += 1
            return False
        self.seen[protocol][port] += 1
        return True


def _tell_tos(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)


def _listen(address: str, peer: str, port: int) -> socket.socket:
    sock = socket.socket(sockets.family_of(address), socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        peerfilter.only(sock, peer)
        sock.bind((address, port))
        sock.listen()
    except OSError as error:
        sock.close()
        raise sockets.bind_fault(address, port, error) from error
    return sock


# --- our side ---------------------------------------------------------------------------------


def scan_tcp(peer: str, source: str, ports: Sequence[int]) -> dict[int, Answer]:
    """What each port answered, all at once. Raises Fault(ADDRESS)."""
    answers: dict[int, Answer] = {}
    sockets_of: dict[socket.socket, int] = {}
    try:
        for port in ports:
            sock = socket.socket(sockets.family_of(peer), socket.SOCK_STREAM)
            sockets_of[sock] = port
            sock.setblocking(False)
            icmp.watch_errors(sock)
            _bind_source(sock, source)
            code = sock.connect_ex((peer, port))
            if code not in (0, errno.EINPROGRESS):  # at once: nobody but this host can have said so
                answers[port] = Answer("refused") if code == errno.ECONNREFUSED else _unsent(code)
        until_s = time.monotonic() + _PATIENCE_S
        while len(answers) < len(ports) and (left_s := until_s - time.monotonic()) > 0:
            waiting = [sock for sock, port in sockets_of.items() if port not in answers]
            for sock in select.select([], waiting, [], left_s)[1]:
                answers[sockets_of[sock]] = _tcp_answer(sock)
    finally:
        for sock in sockets_of:
            sock.close()
    return {port: answers.get(port, Answer("silent")) for port in ports}


def _bind_source(sock: socket.socket, source: str) -> None:
    try:
        sock.bind((source, 0))
    except OSError as error:
        raise Fault(Code.ADDRESS, f"cannot connect from {source}: {error.strerror}") from error


def _unsent(code: int) -> Answer:
    return Answer("unsent", "", os.strerror(code))


def _tcp_answer(sock: socket.socket) -> Answer:
    """Of a socket that has connected or cannot."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # first: to read the queue would clear it
    error = icmp.next_error(sock) if code else None
    if error is not None:
        return Answer("rejected", error.sender, error.name)
    if code in (0, errno.ECONNREFUSED):
        return Answer("refused" if code else "open")
    return Answer("silent") if code == errno.ETIMEDOUT else Answer("rejected", "", os.strerror(code))


def scan_udp(peer: str, source: str, ports: Sequence[int]) -> dict[int, Answer]:
    """As ``scan_tcp``, against the peer's echo: a UDP port that answers nothing is silent, not open."""
    answers: dict[int, Answer] = {}
    probes: dict[int, socket.socket] = {}
    try:
        for port in ports:
            probes[port] = sockets.bind_udp(source)
            if code := _connect_udp(probes[port], peer, port):
                answers[port] = _unsent(code)
        waiting = {port: sock for port, sock in probes.items() if port not in answers}
        start_s = time.monotonic()
        for next_s in (*_UDP_TRIES_S[1:], _PATIENCE_S):
            for sock in waiting.values():
                with contextlib.suppress(OSError):  # told in the error queue
                    sock.send(_PROBE)
            while waiting and (left_s := start_s + next_s - time.monotonic()) > 0:
                for sock in select.select(list(waiting.values()), [], [], left_s)[0]:
                    answer = _udp_answer(sock, peer)
                    if answer is not None:
                        port = sock.getpeername()[1]
                        answers[port] = answer
                        del waiting[port]
    finally:
        for sock in probes.values():
            sock.close()
    return {port: answers.get(port, Answer("silent")) for port in ports}


def _connect_udp(sock: socket.socket, peer: str, port: int) -> int:
    """errno; 0 when all is well."""
    icmp.watch_errors(sock)
    sock.setblocking(False)
    return sock.connect_ex((peer, port))


def _udp_answer(sock: socket.socket, peer: str) -> Answer | None:
    """What has come; None if it says nothing yet."""
    error = icmp.next_error(sock)
    if error is not None:
        refused = error.name == "port unreachable" and error.sender == peer
        return Answer("refused" if refused else "rejected", error.sender, error.name)
    try:
        return Answer("open") if sock.recv(2048) == _PROBE else None
    except OSError:
        return None  # the error that comes with the queue's


def send_marked(peer: str, source: str, port: int, dscps: Sequence[int], count: int, interval_s: float) -> Counter[int]:
    """``count`` datagrams of each DSCP in turn to a ``Listener``; how many of each the kernel took. Raises Fault."""
    sent: Counter[int] = Counter()
    with sockets.bind_udp(source) as sock:
        for number in range(count):
            for dscp in dscps:
                sockets.set_dscp(sock, dscp)
                with contextlib.suppress(OSError):  # no route, or the error of an earlier one
                    sock.sendto(MARK + bytes([dscp]), (peer, port))
                    sent[dscp] += 1
            if number < count - 1:
                time.sleep(interval_s)
    return sent
