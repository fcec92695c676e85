"""Consecutively numbered packets, several by one system call: UDP_SEGMENT (Linux 4.18), else one by one."""

from __future__ import annotations

import errno
import socket
import struct
from time import time_ns

from perfagent.load.packet import DATA, HEADER, LARGEST
from perfagent.wire import Code, Fault

_SOL_UDP, _UDP_SEGMENT = 17, 103
_MOST_SEGMENTS = 64
_NUMBERED, _NUMBERED_AT = struct.Struct("<qQ"), 8
"""The sender's clock and the number, where the header has them."""
_NOT_NOW = (errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)
"""The socket is full, or tells of an ICMP error that was pending instead of sending."""
_CANNOT_SEGMENT = (errno.EIO, errno.EINVAL, errno.EOPNOTSUPP)


class Volley:
    """Packets of one size and phase, to the socket's peer."""

    def __init__(self, sock: socket.socket, token: int, phase: int, packet_bytes: int) -> None:
        self._sock = sock
        self._size = packet_bytes
        self.most = min(_MOST_SEGMENTS, LARGEST // packet_bytes) if _segments(sock, packet_bytes) else 1
        """Packets that one call can take."""
        self.refused = False
        """Whether the peer's host said, when the last could not be sent, that nobody has the port open."""
        self._buffer = bytearray(self.most * packet_bytes)
        self._view = memoryview(self._buffer)
        for i in range(self.most):
            HEADER.pack_into(self._buffer, i * packet_bytes, token, 0, 0, phase, DATA)

    def send(self, first: int, count: int) -> bool:
        """Packets ``first`` to ``first + count - 1`` (up to ``most``); False when the socket can take none now.

        Raises Fault(TOOL_FAILED) when the host cannot send such packets.
        """
        now_ns = time_ns()
        size = self._size
        for i in range(count):
            _NUMBERED.pack_into(self._buffer, i * size + _NUMBERED_AT, now_ns, first + i)
        try:
            self._sock.send(self._view[: count * size], socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno in _NOT_NOW:
                self.refused = error.errno == errno.ECONNREFUSED
                return False
            if error.errno in _CANNOT_SEGMENT and self.most > 1:
                self.most = 1
                _segments(self._sock, 0)
                return False
            said = f"packets with {size} bytes of payload cannot be sent: {error.strerror}"
            raise Fault(Code.TOOL_FAILED, said) from error
        return True


def _segments(sock: socket.socket, size: int) -> bool:
    try:
        sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, size)
    except OSError:
        return False
    return True
