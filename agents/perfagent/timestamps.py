"""Kernel timestamps of UDP packets (SO_TIMESTAMPING; Linux, Documentation/networking/timestamping.rst).

Received packets carry their stamp as ancillary data; the stamp of a sent packet comes back through the
socket's error queue.

The kernel's own stamps are Unix time. A card's are of its own clock (``phc`` leads them to Unix time) and come
beside the kernel's: of an arriving packet in the same message, of a departing one in a message of their own.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable
from sys import byteorder

from perfagent.sockets import announce_errors

_SO_TIMESTAMPING = 37
_TX_SOFTWARE, _RX_SOFTWARE, _REPORT_SOFTWARE = 1 << 1, 1 << 3, 1 << 4
_TX_CARD, _RX_CARD, _REPORT_CARD, _BOTH_OF_TX = 1 << 0, 1 << 2, 1 << 6, 1 << 14
_BY_KERNEL = _TX_SOFTWARE | _RX_SOFTWARE | _REPORT_SOFTWARE
_BY_CARD = _TX_CARD | _RX_CARD | _REPORT_CARD | _BOTH_OF_TX

_IP_TTL, _IP_TOS, _IP_RECVTTL = 2, 1, 12
_SOCKET, _IP, _IPV6 = socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_IPV6
_HOPLIMIT, _TCLASS = socket.IPV6_HOPLIMIT, socket.IPV6_TCLASS
_LOW = 0 if byteorder == "little" else 3  # of an int that fits into a byte: this is asked for each packet

_TIMESPEC = struct.Struct("@2l")  # seconds and ns; the kernel's, an unused one, the card's
_CARD_AT = 2 * _TIMESPEC.size
_NS = 1_000_000_000

_LARGEST_PACKET = 66_000  # of IP, and the link's headers

ANCILLARY_BYTES = 256
"""Room for all that ``enable`` asks for."""

Ancillary = Iterable["tuple[int, int, bytes]"]


def enable(sock: socket.socket, *, by_card: bool = False) -> None:
    """Ask for stamps of sent and received packets, ``by_card`` as well, and for the TTL and TOS of received ones."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _BY_KERNEL)
    if by_card:
        with contextlib.suppress(OSError):  # a kernel (< 4.13) that would tell of the one stamp or the other
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _BY_KERNEL | _BY_CARD)
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
        if level == _SOCKET:
            if kind == _SO_TIMESTAMPING:
                seconds, ns = _TIMESPEC.unpack_from(data)
                stamp_ns = seconds * _NS + ns
        elif level == _IP:
            if kind == _IP_TTL:
                ttl = data[_LOW]
            elif kind == _IP_TOS:
                tos = data[0]
        elif level == _IPV6:
            if kind == _HOPLIMIT:
                ttl = data[_LOW]
            elif kind == _TCLASS:
                tos = data[_LOW]
    return stamp_ns, ttl, tos


def of_card(ancillary: Ancillary) -> int:
    """The card's stamp of a packet in ns of its own clock; 0 where there is none."""
    for level, kind, data in ancillary:
        if level == _SOCKET and kind == _SO_TIMESTAMPING:
            seconds, ns = _TIMESPEC.unpack_from(data, _CARD_AT)
            return int(seconds * _NS + ns)
    return 0


class TransmitStamps:
    """The stamps of packets that were sent, as ``(number, the kernel's in ns, the card's in ns of its own clock)``; a
    stamp of 0 was not given.

    A stamp comes back with its packet, headers in front, and the packet says which one it is: counting
    packets (OPT_ID) goes wrong by one whenever the kernel refuses to send one. Needs the sysctl
    ``net.core.tstamp_allow_data`` at its default of 1, or CAP_NET_RAW; otherwise there are no stamps.
    """

    def __init__(self, sock: socket.socket, mark: bytes, mark_at: int, *, by_card: bool = False) -> None:
        """Packets carry ``mark`` at ``mark_at`` of their payload, and their number in its first four bytes."""
        self._sock = sock
        self._by_card = by_card
        self._mark = mark
        self._mark_at = mark_at
        self._sizes: set[int] = set()
        self._buffer = bytearray(_LARGEST_PACKET)
        self._buffers = (self._buffer,)

    def expect(self, payload_bytes: int) -> None:
        """Packets of this size are sent."""
        self._sizes.add(payload_bytes)

    def read(self) -> tuple[int, int, int] | None:
        """The next stamp that has come back; None when there is none now."""
        while True:
            try:
                size, ancillary, _, _ = self._sock.recvmsg_into(self._buffers, ANCILLARY_BYTES, socket.MSG_ERRQUEUE)
            except BlockingIOError:
                return None
            stamp_ns, _, _ = of_received(ancillary)
            card_ns = of_card(ancillary) if self._by_card else 0
            if not (stamp_ns or card_ns):
                continue
            for payload_bytes in self._sizes:
                start = size - payload_bytes
                if start < 8 or not self._buffer.startswith(self._mark, start + self._mark_at):
                    continue
                if int.from_bytes(self._buffer[start - 4 : start - 2], "big") == payload_bytes + 8:  # the UDP header
                    return int.from_bytes(self._buffer[start : start + 4], "big"), stamp_ns, card_ns
