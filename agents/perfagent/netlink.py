"""Interfaces, their counters and qdiscs, addresses and routes by raw rtnetlink: small requests, cheap enough for ten a
second.

pyroute2 knows all of this and more, but takes a second and 40 MB to load. /sys/class/net is no substitute: it
shows the namespace that mounted it, netlink always the caller's own. Layouts: linux/rtnetlink.h, if_link.h,
pkt_sched.h, gen_stats.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from sys import byteorder
from typing import Any, NamedTuple

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST = 1
_NLM_F_DUMP = 0x300
_RTM_GETLINK = 18
_RTM_GETADDR = 22
_RTM_GETROUTE = 26
_RTM_GETQDISC = 38
_RTM_GETSTATS = 94
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU = 1, 3, 4
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES, _IFLA_CARRIER = 31, 32, 33
_IFLA_STATS_LINK_64 = 1
_TCA_KIND, _TCA_OPTIONS, _TCA_STATS2 = 1, 2, 7
_TCA_STATS_QUEUE = 3
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_METRICS, _RTA_TABLE = 1, 2, 4, 5, 7, 8, 15
_RTAX_MTU = 2
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_TYPE_MASK = 0x3FFF
"""The upper two bits of an attribute's type are flags."""

ROOT = 0xFFFFFFFF
"""Parent of the qdisc that packets leave by; that of a classful one counts its children's drops too."""
INGRESS = 0xFFFFFFF1

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BBHiII")
_STATS_REQUEST = struct.Struct("=BBHII")
_QDISC = struct.Struct("=BBHiIII")
_ATTRIBUTE = struct.Struct("=HH")
_ROUTE = struct.Struct("=BBBBBBBBI")
_QUEUE = struct.Struct("=5I")
_ADDRESS = struct.Struct("=BBBBI")

LINK_FIELDS = (
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "collisions",
    "rx_length_errors",
    "rx_over_errors",
    "rx_crc_errors",
    "rx_frame_errors",
    "rx_fifo_errors",
    "rx_missed_errors",
    "tx_aborted_errors",
    "tx_carrier_errors",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_window_errors",
    "rx_compressed",
    "tx_compressed",
    "rx_nohandler",
    "rx_otherhost_dropped",
)
"""Of struct rtnl_link_stats64; an older kernel's is shorter. Bytes count L2 without FCS."""


class _Netlink:
    """A netlink socket of the caller's network namespace. Methods raise OSError as the kernel answers."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(1.0)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def _ask(self, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        """One request; the answers without their headers."""
        self._sequence += 1
        size = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(size, kind, _NLM_F_REQUEST | flags, self._sequence, 0) + body)
        answers: list[bytes] = []
        while True:
            data = self._socket.recv(65536)
            offset = 0
            while offset < len(data):
                size, kind, _flags, sequence, _port = _HEADER.unpack_from(data, offset)
                answer = data[offset + _HEADER.size : offset + size]
                offset += (size + 3) & ~3
                if sequence != self._sequence:
                    continue
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", answer)[0]
                    raise OSError(code, os.strerror(code))
                if kind == _NLMSG_DONE:
                    return answers
                answers.append(answer)
            if answers and not flags:
                return answers


class Link(NamedTuple):
    """An interface; ``None`` what the kernel does not tell."""

    name: str
    mac: str | None
    mtu: int | None
    carrier: bool
    rx_queues: int | None
    tx_queues: int | None


class Links(_Netlink):
    """What ``ip link`` and ``tc qdisc`` say."""

    def all(self) -> dict[int, Link]:
        """By index."""
        found = {}
        for body in self._ask(_RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0, 0), _NLM_F_DUMP):
            told = dict(attributes(body[_LINK.size :]))
            found[_LINK.unpack_from(body)[3]] = Link(
                told[_IFLA_IFNAME].rstrip(b"\0").decode(errors="replace"),
                told[_IFLA_ADDRESS].hex(":") if _IFLA_ADDRESS in told else None,
                _number(told, _IFLA_MTU),
                bool(_number(told, _IFLA_CARRIER)),
                _number(told, _IFLA_NUM_RX_QUEUES),
                _number(told, _IFLA_NUM_TX_QUEUES),
            )
        return found

    def qdiscs(self, index: int) -> list[dict[str, str | None]]:
        """Kind, parent and, as the kernel has them, the options of each qdisc of an interface."""
        found = []
        for body in self._ask(_RTM_GETQDISC, _QDISC.pack(0, 0, 0, index, 0, 0, 0), _NLM_F_DUMP):
            _family, _pad, _pad2, interface, _handle, parent, _info = _QDISC.unpack_from(body)
            if interface == index:
                told = dict(attributes(body[_QDISC.size :]))
                kind, options = told[_TCA_KIND].rstrip(b"\0").decode(errors="replace"), told.get(_TCA_OPTIONS)
                found.append({"kind": kind, "parent": f"{parent:#x}", "options": options.hex() if options else None})
        return found


class Counters(_Netlink):
    """Of one interface."""

    def link(self, index: int) -> dict[str, int]:
        """64-bit counters of the interface, as many as this kernel has."""
        body = self._ask(_RTM_GETSTATS, _STATS_REQUEST.pack(0, 0, 0, index, _IFLA_STATS_LINK_64))[0]
        raw = dict(attributes(body[_STATS_REQUEST.size :]))[_IFLA_STATS_LINK_64]
        return dict(zip(LINK_FIELDS, struct.unpack(f"={len(raw) // 8}Q", raw)))

    def qdiscs(self, index: int) -> dict[int, dict[str, int]]:
        """Counters of the interface's qdiscs by parent, ``ROOT`` and ``INGRESS``, as far as it has them.

        An interface that is down may have none. ``noqueue`` of virtual ones is there, and stays at 0.
        """
        found = {}
        for body in self._ask(_RTM_GETQDISC, _QDISC.pack(0, 0, 0, index, 0, 0, 0), _NLM_F_DUMP):
            _family, _pad, _pad2, interface, _handle, parent, _info = _QDISC.unpack_from(body)
            if interface == index and parent in (ROOT, INGRESS):
                statistics = dict(attributes(body[_QDISC.size :])).get(_TCA_STATS2, b"")
                raw = dict(attributes(statistics)).get(_TCA_STATS_QUEUE)
                if raw is not None:
                    _length, backlog, drops, requeues, overlimits = _QUEUE.unpack_from(raw)
                    found[parent] = {
                        "drops": drops, "overlimits": overlimits, "backlog_bytes": backlog, "requeues": requeues,
                    }  # fmt: skip
        return found


class Routes(_Netlink):
    """What ``ip route get`` says."""

    def to(self, address: str, source: str | None = None) -> dict[str, str | None]:
        """``{interface, gateway, source}`` that this host would use towards an IP address, from ``source`` if given."""
        found = self.details(address, source)
        return {"interface": str(found["interface"]), "gateway": found["gateway"], "source": found["source"]}

    def details(self, address: str, source: str | None = None) -> dict[str, Any]:
        """The same with ``mtu``, where the route has one of its own, and the ``table`` that it is in."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        ends = {_RTA_DST: socket.inet_pton(family, address)}
        if source is not None:
            ends[_RTA_SRC] = socket.inet_pton(family, source)
        bits = [8 * len(ends.get(end, b"")) for end in (_RTA_DST, _RTA_SRC)]
        request = _ROUTE.pack(family, *bits, 0, 0, 0, 0, 0, 0)
        for end, packed in ends.items():
            request += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), end) + packed
        answer = self._ask(_RTM_GETROUTE, request)[0]
        found = dict(attributes(answer[_ROUTE.size :]))
        metrics = dict(attributes(found.get(_RTA_METRICS, b"")))
        table = _number(found, _RTA_TABLE)

        def named(attribute: int) -> str | None:
            return socket.inet_ntop(family, found[attribute]) if attribute in found else None

        return {
            "interface": socket.if_indextoname(int.from_bytes(found[_RTA_OIF], byteorder)),
            "gateway": named(_RTA_GATEWAY),
            "source": named(_RTA_PREFSRC),
            "mtu": _number(metrics, _RTAX_MTU),
            "table": _ROUTE.unpack_from(answer)[4] if table is None else table,
        }


class Addresses(_Netlink):
    """What ``ip address`` says."""

    @classmethod
    def holder(cls, address: str) -> str | None:
        """The interface that holds this IP address; ``None`` if not exactly one does."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        packed = socket.inet_pton(family, address)
        found = set()
        with closing(cls()) as asking:
            for body in asking._ask(_RTM_GETADDR, _ADDRESS.pack(family, 0, 0, 0, 0), _NLM_F_DUMP):
                told = dict(attributes(body[_ADDRESS.size :]))
                if told.get(_IFA_LOCAL, told.get(_IFA_ADDRESS)) == packed:
                    found.add(_ADDRESS.unpack_from(body)[4])
        return socket.if_indextoname(found.pop()) if len(found) == 1 else None

    def all(self) -> list[tuple[int, str]]:
        """(index of the interface, address/bits) of each; on a point-to-point link the host's own end."""
        held = []
        for body in self._ask(_RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), _NLM_F_DUMP):
            family, bits, _flags, _scope, index = _ADDRESS.unpack_from(body)
            told = dict(attributes(body[_ADDRESS.size :]))
            packed = told.get(_IFA_LOCAL, told.get(_IFA_ADDRESS))
            if family in (socket.AF_INET, socket.AF_INET6) and packed is not None:
                held.append((index, f"{socket.inet_ntop(family, packed)}/{bits}"))
        return held


def _number(told: dict[int, bytes], attribute: int) -> int | None:
    return int.from_bytes(told[attribute], byteorder) if attribute in told else None


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each attribute in ``data``; ends at the first that is cut short."""
    offset = 0
    while offset + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, offset)
        if size < 4 or offset + size > len(data):
            return
        yield kind & _TYPE_MASK, data[offset + 4 : offset + size]
        offset += (size + 3) & ~3
