"""Which ports of the peer can be reached: a listener for its side, and a scan that tells four answers apart.

open      our listener, or another, answered
refused   the peer itself said that nothing listens: the path is free
rejected  somebody on the way, or the peer's firewall, said no
silent    no answer: filtered, or lost

TCP cannot tell a peer's refusal from a firewall that imitates it, by a reset or a port-unreachable.
"""

from __future__ import annotations

import contextlib
import errno
import select
import selectors
import socket
import time
from collections.abc import Sequence
from typing import Any

from perfagent import icmp, peerfilter, sockets
from perfagent.wire import Code, Fault

_PATIENCE_S = 3.5
"""Long enough for the kernel to repeat a SYN after 1 s and 3 s."""
_UDP_TRIES_S = (0.0, 0.3, 1.0, 2.0)
_PROBE = b"perfharness port probe"


# --- the peer's side --------------------------------------------------------------------------


class Listener:
    """Accepts TCP connections and echoes UDP on the given ports, for one peer only."""

    def __init__(self, address: str, peer: str, tcp: Sequence[int], udp: Sequence[int]) -> None:
        """Raises Fault(ADDRESS, PORT_IN_USE, NOT_PERMITTED)."""
        self._peer = peer
        self.seen: dict[str, Any] = {"tcp": dict.fromkeys(map(str, tcp), 0), "udp": dict.fromkeys(map(str, udp), 0)}
        self.seen["foreign"] = 0
        self._selector = selectors.DefaultSelector()
        try:
            for port in tcp:
                self._selector.register(_listen(address, peer, port), selectors.EVENT_READ, (self._accept, str(port)))
            for port in udp:
                self._selector.register(sockets.bind_udp(address, port), selectors.EVENT_READ, (self._echo, str(port)))
        except Fault:
            self.close()
            raise

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
            data, address = sock.recvfrom(65535, socket.MSG_DONTWAIT)
            if self._count("udp", port, address[0]):
                sock.sendto(data, socket.MSG_DONTWAIT, address)

    def _count(self, protocol: str, port: str, address: str) -> bool:
        """Whether it was the peer."""
        if address != self._peer:
            self.seen["foreign"] += 1
            return False
        self.seen[protocol][port] += 1
        return True


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


def scan_tcp(peer: str, source: str, ports: Sequence[int]) -> dict[str, str]:
    """``{"5201": "open|refused|rejected|silent"}``, all ports at once. Raises Fault(ADDRESS)."""
    answers: dict[int, str] = {}
    sockets_of: dict[socket.socket, int] = {}
    try:
        for port in ports:
            sock = socket.socket(sockets.family_of(peer), socket.SOCK_STREAM)
            sockets_of[sock] = port
            sock.setblocking(False)
            _bind_source(sock, source)
            sock.connect_ex((peer, port))  # a failure at once is told by SO_ERROR as well
        until_s = time.monotonic() + _PATIENCE_S
        while len(answers) < len(ports) and (left_s := until_s - time.monotonic()) > 0:
            waiting = [sock for sock, port in sockets_of.items() if port not in answers]
            for sock in select.select([], waiting, [], left_s)[1]:
                answers[sockets_of[sock]] = _verdict(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    finally:
        for sock in sockets_of:
            sock.close()
    return {str(port): answers.get(port, "silent") for port in ports}


def _bind_source(sock: socket.socket, source: str) -> None:
    try:
        sock.bind((source, 0))
    except OSError as error:
        raise Fault(Code.ADDRESS, f"cannot connect from {source}: {error.strerror}") from error


def _verdict(code: int) -> str:
    if code in (0, errno.ECONNREFUSED):
        return "refused" if code else "open"
    return "silent" if code == errno.ETIMEDOUT else "rejected"


def scan_udp(peer: str, source: str, ports: Sequence[int]) -> dict[str, str]:
    """As ``scan_tcp``, against the peer's echo: a UDP port that answers nothing is silent, not open."""
    answers = {}
    probes = {port: _connect_udp(peer, source, port) for port in ports}
    waiting = dict(probes)
    try:
        start_s = time.monotonic()
        for next_s in (*_UDP_TRIES_S[1:], _PATIENCE_S):
            for sock in waiting.values():
                with contextlib.suppress(OSError):  # told in the error queue
                    sock.send(_PROBE)
            while waiting and (left_s := start_s + next_s - time.monotonic()) > 0:
                for sock in select.select(list(waiting.values()), [], [], left_s)[0]:
                    answer = _udp_answer(sock, peer)
                    if answer:
                        port = sock.getpeername()[1]
                        answers[port] = answer
                        del waiting[port]
    finally:
        for sock in probes.values():
            sock.close()
    return {str(port): answers.get(port, "silent") for port in ports}


def _connect_udp(peer: str, source: str, port: int) -> socket.socket:
    sock = sockets.bind_udp(source)
    icmp.watch_errors(sock)
    sock.connect((peer, port))
    sock.setblocking(False)
    return sock


def _udp_answer(sock: socket.socket, peer: str) -> str:
    """What has come; empty if it says nothing yet."""
    error = icmp.next_error(sock)
    if error is not None:
        return "refused" if error.name == "port unreachable" and error.sender == peer else "rejected"
    try:
        return "open" if sock.recv(2048) == _PROBE else ""
    except OSError:
        return ""  # the error that comes with the queue's
