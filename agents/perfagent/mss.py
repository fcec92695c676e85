"""The MSS that a SYN advertises, and the one that arrives: where they differ, something on the way changed it.

The kernel keeps the headers of the SYN that opened an accepted connection (TCP_SAVE_SYN, Linux 4.2), for whoever
listens: so it takes neither a capture nor a privilege. RFC 9293, section 3.7.1.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from typing import Any

from perfagent import peerfilter, sockets, tcpinfo

_TCP_SAVE_SYN, _TCP_SAVED_SYN = 27, 28
_MOST_HEADER_BYTES = 256
_TCP = 6
_END, _NOTHING, _MSS = 0, 1, 2
"""Kinds of option."""
_INFO_BYTES = 512
_OPTIONS_AT, _WITH_TIMESTAMPS, _TIMESTAMP_BYTES = 5, 1, 12
"""Where struct tcp_info says which options are in use, and what TCP counts for that of time stamps (RFC 7323)."""
_PATIENCE_S = 3.5
"""Long enough for the kernel to repeat a SYN after 1 s and 3 s."""


def of_syn(packet: bytes) -> int | None:
    """From IP header on; None if it carries no such option, or is no plain TCP over IP."""
    if not packet:
        return None
    version = packet[0] >> 4
    start = (packet[0] & 15) * 4 if version == 4 else 40
    protocol = packet[9:10] if version == 4 else packet[6:7]
    if protocol != bytes([_TCP]) or len(packet) < start + 20:
        return None
    end = min(start + (packet[start + 12] >> 4) * 4, len(packet))
    at = start + 20
    while at < end and packet[at] != _END:
        if packet[at] == _NOTHING:
            at += 1
            continue
        length = packet[at + 1] if at + 1 < end else 0
        if packet[at] == _MSS and length == 4 and at + 4 <= end:
            return int.from_bytes(packet[at + 2 : at + 4], "big")
        if length < 2:
            return None
        at += length
    return None


def _advertised(sock: socket.socket) -> int:
    """What the SYN of this connection said: once it is open the kernel has taken off what time stamps cost it."""
    raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    return int(tcpinfo.parse(raw)["advmss"]) + (_TIMESTAMP_BYTES if raw[_OPTIONS_AT] & _WITH_TIMESTAMPS else 0)


class Listener:
    """Takes connections of one peer, notes what their SYNs said, and ends them."""

    def __init__(self, address: str, port: int, peer: str) -> None:
        """Raises Fault(ADDRESS, PORT_IN_USE, NOT_PERMITTED)."""
        self._peer = peer
        self.arrived: list[int | None] = []
        self._sock = socket.socket(sockets.family_of(address), socket.SOCK_STREAM)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):  # an older kernel: the connection is made, its SYN unknown
                self._sock.setsockopt(socket.IPPROTO_TCP, _TCP_SAVE_SYN, 1)
            peerfilter.only(self._sock, peer)
            self._sock.bind((address, port))
            self._sock.listen()
        except OSError as error:
            self._sock.close()
            raise sockets.bind_fault(address, port, error) from error
        self._sock.setblocking(False)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def accept(self) -> None:
        with contextlib.suppress(OSError):  # gone again
            connection, address = self._sock.accept()
            with connection:
                if address[0] == self._peer:
                    saved = connection.getsockopt(socket.IPPROTO_TCP, _TCP_SAVED_SYN, _MOST_HEADER_BYTES)
                    self.arrived.append(of_syn(saved))


class Dial:
    """A connection that is opened beside other work."""

    def __init__(self, peer: str, port: int, source: str) -> None:
        self._until_s = time.monotonic() + _PATIENCE_S
        self._sock = socket.socket(sockets.family_of(peer), socket.SOCK_STREAM)
        self._sock.setblocking(False)
        self._error = 0
        try:
            self._sock.bind((source, 0))
            self._error = self._sock.connect_ex((peer, port))
        except OSError as error:
            self._error = error.errno or errno.EIO

    def result(self, stop_fd: int) -> dict[str, Any]:
        """``{"advertised": bytes | None, "reason"}``, once the peer has taken the connection or time is over."""
        with self._sock:
            reason = self._await(stop_fd)
            return {"advertised": None if reason else _advertised(self._sock), "reason": reason}

    def _await(self, stop_fd: int) -> str:
        """Why there is no connection; empty when there is one."""
        if self._error not in (0, errno.EINPROGRESS):
            return os.strerror(self._error)
        if not self._ready(False, stop_fd):
            return "no answer to a SYN"
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            return os.strerror(error)
        self._ready(True, stop_fd)  # it ends the connection when it has read the SYN
        return ""

    def _ready(self, to_read: bool, stop_fd: int) -> bool:
        left_s, own = max(0.0, self._until_s - time.monotonic()), self._sock.fileno()
        reading, writing = ([own, stop_fd], []) if to_read else ([stop_fd], [own])
        readable, writable, _ = select.select(reading, writing, (), left_s)
        return own in (*readable, *writable)
