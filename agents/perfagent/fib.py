"""The kernel's forwarding table by raw rtnetlink: which entry an address matches, with all its next hops, and a word
when anything changes. Layouts: linux/rtnetlink.h.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from contextlib import suppress
from sys import byteorder
from typing import Any

from perfagent.netlink import _RTM_GETROUTE, _Netlink, attributes

_FIB_MATCH = 0x2000
"""Tell the entry, not what would be done with one packet."""
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH = 1, 4, 5, 9
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEXT_HOP = struct.Struct("=HBBi")
_DEAD = 0x01 | 0x10
"""RTNH_F_DEAD, RTNH_F_LINKDOWN: a next hop that is not used."""
_LINKS_AND_ROUTES = 0x1 | 0x40 | 0x400
_SIOCGIFFLAGS = 0x8913
_UP, _RUNNING = 0x1, 0x40
_PROTOCOLS = {2: "kernel", 3: "boot", 4: "static", 11: "zebra", 186: "bgp"}


class Fib(_Netlink):
    """What ``ip route get fibmatch`` says."""

    def to(self, address: str) -> dict[str, Any] | None:
        """``{prefix, protocol, via: [[gateway or None, interface], …]}`` of the entry that this IP address matches;
        None without one."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        packed = socket.inet_pton(family, address)
        request = _ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, _FIB_MATCH)
        request += struct.pack("=HH", 4 + len(packed), _RTA_DST) + packed
        try:
            body = self._ask(_RTM_GETROUTE, request)[0]
        except OSError:
            return None
        _family, bits, _source, _tos, _table, protocol, _scope, _kind, _flags = _ROUTE.unpack_from(body)
        told = dict(attributes(body[_ROUTE.size :]))
        everything = "::" if family == socket.AF_INET6 else "0.0.0.0"
        network = socket.inet_ntop(family, told[_RTA_DST]) if _RTA_DST in told else everything
        via = _next_hops(family, told[_RTA_MULTIPATH]) if _RTA_MULTIPATH in told else [_next_hop(family, told)]
        return {
            "prefix": f"{network}/{bits}",
            "protocol": _PROTOCOLS.get(protocol, str(protocol)),
            "via": sorted(via, key=str),
        }


class Changes(_Netlink):
    """Readable when a link or a route changes."""

    def __init__(self) -> None:
        super().__init__()
        self._socket.bind((0, _LINKS_AND_ROUTES))
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        with suppress(OSError):  # nothing more, or more than it could hold: whoever drains looks at all of it anyway
            while True:
                self._socket.recv(1 << 16)


def carrier(interface: str) -> str:
    """up, no carrier, down or gone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH14x", interface.encode(), 0))
        except OSError:
            return "gone"
    flags = struct.unpack_from("H", answer, 16)[0]
    return "up" if flags & _UP and flags & _RUNNING else "no carrier" if flags & _UP else "down"


def _next_hops(family: int, data: bytes) -> list[list[str | None]]:
    found, offset = [], 0
    while offset + _NEXT_HOP.size <= len(data):
        size, flags, _weight, index = _NEXT_HOP.unpack_from(data, offset)
        if size < _NEXT_HOP.size:
            break
        told = dict(attributes(data[offset + _NEXT_HOP.size : offset + size]))
        if not flags & _DEAD:
            found.append(_next_hop(family, {**told, _RTA_OIF: index.to_bytes(4, byteorder)}))
        offset += (size + 3) & ~3
    return found


def _next_hop(family: int, told: dict[int, bytes]) -> list[str | None]:
    gateway = socket.inet_ntop(family, told[_RTA_GATEWAY]) if _RTA_GATEWAY in told else None
    interface = None
    with suppress(OSError):  # gone meanwhile
        interface = socket.if_indextoname(int.from_bytes(told.get(_RTA_OIF, b""), byteorder))
    return [gateway, interface]
