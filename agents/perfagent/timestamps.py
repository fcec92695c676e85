"""Kernel timestamps of UDP packets (SO_TIMESTAMPING; Linux, Documentation/networking/timestamping.rst).

Received packets carry their stamp as ancillary data; the stamp of a sent packet comes back through the
socket's error queue.

Software stamps only. A network card's own clock counts from an epoch of its own (often TAI, often none) and
must be switched on for the whole host: its stamps would not be comparable with anything else recorded here.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from sys import byteorder

from perfagent.sockets import announce_errors

_SO_TIMESTAMPING = 37
_TX_SOFTWARE, _RX_SOFTWARE, _REPORT_SOFTWARE = 1 << 1, 1 << 3, 1 << 4
_FLAGS = _TX_SOFTWARE | _RX_SOFTWARE | _REPORT_SOFTWARE

_IP_TTL, _IP_TOS, _IP_RECVTTL = 2, 1, 12

_TIMESPECS = struct.Struct("@6l")  # software, unused, hardware: seconds and ns each
_NS = 1_000_000_000

_LARGEST_PACKET = 66_000  # of IP, and the link's headers

ANCILLARY_BYTES = 256
"""Room for all that ``enable`` asks for."""

Ancillary = Iterable["tuple[int, int, bytes]"]


def enable(sock: socket.socket) -> None:
    """Ask for stamps of sent and received packets, and for the TTL and TOS of received ones."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _FLAGS)
    announce_errors(sock)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)


def of_received(ancillary: Ancillary) -> tuple[int, int, int]:
    """``(kernel stamp in ns, TTL, TOS byte)`` of a received packet; a stamp or TTL of 0 was not given."""
    stamp_ns = ttl = tos = 0
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET:
            if kind == _SO_TIMESTAMPING:
                seconds, ns, *_ = _TIMESPECS.unpack(data)
                stamp_ns = seconds * _NS + ns
        elif level == socket.IPPROTO_IP:
            if kind == _IP_TTL:
                ttl = int.from_bytes(data, byteorder)
            elif kind == _IP_TOS:
                tos = data[0]
        elif level == socket.IPPROTO_IPV6:
            if kind == socket.IPV6_HOPLIMIT:
                ttl = int.from_bytes(data, byteorder)
            elif kind == socket.IPV6_TCLASS:
                tos = int.from_bytes(data, byteorder)
    return stamp_ns, ttl, tos


class TransmitStamps:
    """The stamps of packets that were sent, as ``(number, stamp in ns)``.

    A stamp comes back with its packet, headers in front, and the packet says which one it is: counting
    packets (OPT_ID) goes wrong by one whenever the kernel refuses to send one. Needs the sysctl
    ``net.core.tstamp_allow_data`` at its default of 1, or CAP_NET_RAW; otherwise there are no stamps.
    """

    def __init__(self, sock: socket.socket, mark: bytes, mark_at: int) -> None:
        """Packets carry ``mark`` at ``mark_at`` of their payload, and their number in its first four bytes."""
        self._sock = sock
        self._mark = mark
        self._mark_at = mark_at
        self._sizes: set[int] = set()
        self._buffer = bytearray(_LARGEST_PACKET)
        self._buffers = (self._buffer,)

    def expect(self, payload_bytes: int) -> None:
        """Packets of this size are sent."""
        self._sizes.add(payload_bytes)

    def read(self) -> tuple[int, int] | None:
        """The next stamp that has come back; None when there is none now."""
        while True:
            try:
                size, ancillary, _, _ = self._sock.recvmsg_into(self._buffers, ANCILLARY_BYTES, socket.MSG_ERRQUEUE)
            except BlockingIOError:
                return None
            stamp_ns, _, _ = of_received(ancillary)
            for payload_bytes in self._sizes:
                start = size - payload_bytes
                if start < 8 or not stamp_ns or not self._buffer.startswith(self._mark, start + self._mark_at):
                    continue
                if int.from_bytes(self._buffer[start - 4 : start - 2], "big") == payload_bytes + 8:  # the UDP header
                    return int.from_bytes(self._buffer[start : start + 4], "big"), stamp_ns
