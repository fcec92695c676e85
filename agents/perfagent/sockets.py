"""UDP sockets for probes: bound to the test address, IPv4 or IPv6, with errors that a person can act on."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from sys import byteorder
from typing import NamedTuple

from perfagent.wire import Code, Fault

# Absent from Python's socket module; the values of Linux on every architecture that Python is packaged for.
_SO_RCVBUFFORCE = 33
_SO_MEMINFO, _SK_MEMINFO_RMEM_ALLOC, _SK_MEMINFO_DROPS, _SK_MEMINFO_FIELDS = 55, 0, 8, 9
_SO_SELECT_ERR_QUEUE = 45
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE = 10, 23, 3
IP_RECVERR, IPV6_RECVERR = 11, 25

EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""struct sock_extended_err: error number, origin, type, code, padding, info, data. An address may follow."""
_ORIGIN_LOCAL = 1
_EXPIRED = ((2, 11), (3, 3))
"""(origin, type) of Time Exceeded: ICMP (RFC 792), ICMPv6 (RFC 4443)."""

_MOST_QUEUED = 1 << 20
"""Packets; no receive buffer holds as many, so that whoever goes on sending does not keep us."""

RECEIVE_BUFFER_BYTES = 4 << 20
"""Asked for; the kernel grants it to root, and up to ``net.core.rmem_max`` to others."""

PROBE_TTL = 255
"""As OWAMP and TWAMP have it: what is missing on arrival is the number of routers passed."""

_FAULTS = {
    errno.EADDRINUSE: (Code.PORT_IN_USE, "another program uses this port"),
    errno.EADDRNOTAVAIL: (Code.ADDRESS, "no interface of this host holds this address"),
    errno.EACCES: (Code.NOT_PERMITTED, "a port below 1024 needs root or CAP_NET_BIND_SERVICE"),
}


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def canonical(address: str) -> str:
    """The spelling in which the kernel's answers name it. Raises Fault(ADDRESS) if it is no IP address."""
    family = family_of(address)
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, address))
    except (OSError, ValueError) as error:
        raise Fault(Code.ADDRESS, f"{address!r:.60} is not an IP address") from error


def bind_udp(address: str, port: int = 0) -> socket.socket:
    """A blocking socket on exactly this address. Raises Fault(ADDRESS, PORT_IN_USE, NOT_PERMITTED)."""
    address = canonical(address)
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    try:
        _enlarge_receive_buffer(sock)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # "::" means IPv6, as 0.0.0.0 means IPv4
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise bind_fault(address, port, error) from error
    return sock


def bind_fault(address: str, port: int, error: OSError) -> Fault:
    """Why binding failed, in words for a person."""
    code, reason = _FAULTS.get(error.errno or 0, (Code.ADDRESS, os.strerror(error.errno or 0)))
    return Fault(code, f"cannot use {address} port {port or 'any'}: {reason}")


def _enlarge_receive_buffer(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


def receive_drops(sock: socket.socket) -> int | None:
    """Packets that reached this socket and were dropped there so far; None if the kernel (< 4.12) cannot say.

    The counter of SO_RXQ_OVFL, but read at any time: that option tells only with the next packet, so that
    drops at the end would stay unknown.
    """
    fields = _memory(sock)
    return None if fields is None else fields[_SK_MEMINFO_DROPS]


def receive_queue_bytes(sock: socket.socket) -> int | None:
    """What waits to be read, as the kernel books it; None if it (< 4.12) cannot say."""
    fields = _memory(sock)
    return None if fields is None else fields[_SK_MEMINFO_RMEM_ALLOC]


def _memory(sock: socket.socket) -> tuple[int, ...] | None:
    """The fields of SO_MEMINFO."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _SK_MEMINFO_FIELDS)
    except OSError:
        return None
    fields = struct.unpack(f"={len(raw) // 4}I", raw)
    return fields if len(fields) >= _SK_MEMINFO_FIELDS else None


def drain(sock: socket.socket) -> int:
    """Take what waits in a socket that nobody reads any more; how many packets had arrived and were never read."""
    count = 0
    while count < _MOST_QUEUED:
        try:
            sock.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            break
        except OSError:
            continue  # an ICMP error that was pending
        count += 1
    return count


def set_receive_timeout(sock: socket.socket, seconds: float) -> None:
    """Let a blocking receive end with BlockingIOError; one system call a packet where a poll makes it two."""
    whole, fraction = divmod(seconds, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(whole), int(fraction * 1e6)))


def announce_errors(sock: socket.socket) -> None:
    """Have ``select`` report what waits in the error queue as an exceptional condition."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_SELECT_ERR_QUEUE, 1)


def set_ttl(sock: socket.socket, ttl: int) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)


def set_dscp(sock: socket.socket, dscp: int) -> None:
    """Mark what this socket sends from now on; ``dscp`` is 0..63."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)


def send_whole(sock: socket.socket) -> None:
    """Send with DF and whatever the kernel believes of the path: else it cuts larger packets up, which says nothing of
    packets of their size, and stamps the pieces."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)


# --- what ICMP says about packets ------------------------------------------------------------------


class PacketError(NamedTuple):
    """One entry of a socket's error queue."""

    number: int
    """errno."""
    info: int
    """The MTU, with EMSGSIZE."""
    reporter: str | None
    """The address that sent the ICMP message; None for our own kernel."""
    payload: bytes
    """The start of our packet's payload, as far as it was quoted."""
    expired: bool = False
    """It says that the packet's TTL (IPv6: hop limit) was over there."""


def probe_with_df(sock: socket.socket) -> None:
    """Send all packets whole, and queue errors about them."""
    send_whole(sock)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    announce_errors(sock)


def read_errors(sock: socket.socket, payload_bytes: int) -> Iterator[PacketError]:
    """Take what waits in the error queue."""
    while True:
        try:
            payload, ancillary, _, _ = sock.recvmsg(payload_bytes, 512, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            return
        for level, kind, data in ancillary:
            if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
                number, origin, kind, _, _, info, _ = EXTENDED_ERROR.unpack_from(data)
                reporter = None if origin == _ORIGIN_LOCAL else _address(data[EXTENDED_ERROR.size :])
                yield PacketError(number, info, reporter, payload, (origin, kind) in _EXPIRED)


def _address(raw: bytes) -> str:
    """Of a struct sockaddr_in or sockaddr_in6."""
    if int.from_bytes(raw[:2], byteorder) == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, raw[8:24])
    return socket.inet_ntop(socket.AF_INET, raw[4:8])
