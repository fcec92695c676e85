"""ICMP as an ordinary socket sees it: echo requests, and the errors in a UDP socket's error queue.

Sources: RFC 792, RFC 4443; struct sock_extended_err of linux/errqueue.h.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from perfagent import sockets
from perfagent.wire import Code, Fault

_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}
"""Types of request and reply."""
_ECHO_HEADER = struct.Struct("!BBHHH")

_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ORIGIN_ICMP, _ORIGIN_ICMP6 = 2, 3

_NAMES = {
    (4, 11, 0): "time exceeded",
    (4, 3, 0): "net unreachable",
    (4, 3, 1): "host unreachable",
    (4, 3, 2): "protocol unreachable",
    (4, 3, 3): "port unreachable",
    (4, 3, 4): "fragmentation needed",
    (4, 3, 9): "net prohibited",
    (4, 3, 10): "host prohibited",
    (4, 3, 13): "admin prohibited",
    (6, 3, 0): "time exceeded",
    (6, 1, 0): "no route",
    (6, 1, 1): "admin prohibited",
    (6, 1, 3): "address unreachable",
    (6, 1, 4): "port unreachable",
    (6, 1, 5): "policy prohibited",
    (6, 1, 6): "route rejected",
    (6, 2, 0): "packet too big",
}


class Error(NamedTuple):
    """An ICMP error that came back for a packet of ours."""

    name: str
    """In words, or ``type/code`` for a rare one."""
    sender: str
    payload: bytes
    """As much of our packet's payload as the error quoted; may be empty."""


def watch_errors(sock: socket.socket) -> None:
    """Have the ICMP errors for this UDP socket queued, with their senders; since Linux 5.8 for a TCP socket that
    connects, too."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, sockets.IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, sockets.IP_RECVERR, 1)


def next_error(sock: socket.socket) -> Error | None:
    """The next ICMP error in the queue; ``None`` when it is empty. Errors of this host's own kernel are skipped."""
    while True:
        try:
            payload, ancillary, _flags, _address = sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        for level, kind, data in ancillary:
            if (level, kind) in (
                (socket.IPPROTO_IP, sockets.IP_RECVERR),
                (socket.IPPROTO_IPV6, sockets.IPV6_RECVERR),
            ):
                error = parse_error(data, payload)
                if error is not None:
                    return error


def parse_error(data: bytes, payload: bytes) -> Error | None:
    """From a struct sock_extended_err followed by the sender's address; ``None`` if it is not from ICMP."""
    _errno, origin, kind, code, _pad, _info, _data = _EXTENDED_ERROR.unpack_from(data)
    after = data[_EXTENDED_ERROR.size :]
    if origin == _ORIGIN_ICMP:
        version, sender = 4, socket.inet_ntop(socket.AF_INET, after[4:8])
    elif origin == _ORIGIN_ICMP6:
        version, sender = 6, socket.inet_ntop(socket.AF_INET6, after[8:24])
    else:
        return None
    return Error(_NAMES.get((version, kind, code), f"{kind}/{code}"), sender, payload)


# --- echo -------------------------------------------------------------------------------------


class Echo:
    """Echo requests from ``source`` to ``peer``: over an ICMP datagram socket where this user may, else a raw one."""

    def __init__(self, source: str, peer: str) -> None:
        """Raises Fault(NOT_PERMITTED, ADDRESS)."""
        family = sockets.family_of(peer)
        protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        self.method, self._socket = _open(family, protocol)
        self._raw = self.method == "raw socket"
        self._request, self._reply = _ECHO[socket.AddressFamily(family)]
        self._peer = peer
        try:
            self._socket.bind((source, 0))
        except OSError as error:
            self._socket.close()
            raise Fault(Code.ADDRESS, f"cannot send from {source}: {error.strerror}") from error
        # A datagram socket's identifier is its port, and the kernel sorts the replies by it.
        self._identifier = id(self) >> 4 & 0xFFFF if self._raw else self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, sequence: int) -> None:
        """Raises OSError, e.g. when there is no route."""
        body = sequence.to_bytes(8, "big").ljust(56, b"\0")
        head = _ECHO_HEADER.pack(self._request, 0, 0, self._identifier, sequence & 0xFFFF)
        head = _ECHO_HEADER.pack(self._request, 0, checksum(head + body), self._identifier, sequence & 0xFFFF)
        self._socket.sendto(head + body, (self._peer, 0))

    def receive(self) -> int | None:
        """Sequence of the reply that waits; ``None`` when none does, or it is something else."""
        try:
            data, address = self._socket.recvfrom(2048, socket.MSG_DONTWAIT)
        except OSError:
            return None
        if self._raw and self._socket.family == socket.AF_INET:
            data = data[(data[0] & 0x0F) * 4 :]  # a raw IPv4 socket hands out the IP header, too
        if len(data) < 16 or data[0] != self._reply or sockets.canonical(address[0]) != self._peer:
            return None
        if self._raw and _ECHO_HEADER.unpack_from(data)[3] != self._identifier:
            return None
        return int.from_bytes(data[8:16], "big")


def _open(family: int, protocol: int) -> tuple[str, socket.socket]:
    try:
        return "icmp socket", socket.socket(family, socket.SOCK_DGRAM, protocol)
    except PermissionError:
        pass  # not in net.ipv4.ping_group_range
    try:
        return "raw socket", socket.socket(family, socket.SOCK_RAW, protocol)
    except PermissionError as error:
        words = "ping needs CAP_NET_RAW, or a group within net.ipv4.ping_group_range"
        raise Fault(Code.NOT_PERMITTED, words) from error


def checksum(data: bytes) -> int:
    """RFC 1071; the kernel computes that of ICMPv6 itself."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
