"""ARP on chosen VLANs of a port: frames with a tag of our own go out, and the tags of the answers are read.

The kernel strips the tag of what arrives and tells it beside the frame (packet(7), PACKET_AUXDATA); a sub-interface for
the VLAN is not needed. The socket hears every protocol, since for ARP alone the kernel forgets the tag of a VLAN that
it does not know; a BPF program keeps all but ARP away from this process, however busy the port is.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Sequence

from perfagent import peerfilter

LAST_VLAN = 2999
"""The provider's highest."""
PACE_S = 0.002
"""Between two questions: 500 a second, 340 kbit/s."""

_ETH_P_ALL, _ETH_P_IP, _ETH_P_ARP, _ETH_P_8021Q = 0x0003, 0x0800, 0x0806, 0x8100
_SOL_PACKET, _PACKET_AUXDATA, _PACKET_OUTGOING = 263, 8, 4
_AUXDATA = struct.Struct("=IIIHHHH")
_VLAN_VALID = 1 << 4
_VID = 0x0FFF
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHER, _REQUEST, _REPLY = 1, 1, 2
_EVERYBODY, _NOBODY = b"\xff" * 6, bytes(6)
_ETHERNET = 14

_ONLY_ARP = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x28, 0, 0, 12),  # the type of the frame,
        (0x15, 3, 0, _ETH_P_ARP),
        (0x15, 0, 3, _ETH_P_8021Q),  # or behind a tag that is still in it
        (0x28, 0, 0, 16),
        (0x15, 0, 1, _ETH_P_ARP),
        (0x06, 0, 0, 0xFFFFFFFF),
        (0x06, 0, 0, 0),
    )
)


class Probe:
    """Asks on one port for one address, as ``source``; close it after use."""

    def __init__(self, interface: str, address: str, source: str) -> None:
        """IPv4 addresses. Raises OSError, PermissionError without CAP_NET_RAW."""
        self.answers: set[tuple[int, str]] = set()
        """(VLAN, MAC) of each answer."""
        self._address = socket.inet_aton(address)
        self._source = socket.inet_aton(source)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            peerfilter.attach(self._socket, _ONLY_ARP)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            self._socket.bind((interface, _ETH_P_ALL))
        except OSError:
            self._socket.close()
            raise
        self._mac: bytes = self._socket.getsockname()[4]

    def close(self) -> None:
        self._socket.close()

    def ask(self, vlans: Sequence[int], patience_s: float, stop_fd: int) -> None:
        """Once on each (0 = without a tag), paced, and hear the answers until ``patience_s`` after the last. Raises
        OSError."""
        for vlan in vlans:
            self._socket.send(question(self._mac, self._source, self._address, vlan))
            if self._hear(PACE_S, stop_fd):
                return
        self._hear(patience_s, stop_fd)

    def _hear(self, seconds: float, stop_fd: int) -> bool:
        """Whether the job was asked to stop."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            ready = select.select([self._socket.fileno(), stop_fd], [], [], left_s)[0]
            if stop_fd in ready:
                return True
            if ready:
                data, beside, _, where = self._socket.recvmsg(2048, socket.CMSG_SPACE(_AUXDATA.size))
                if where[2] != _PACKET_OUTGOING:
                    found = answer(data, _tag_of(beside), self._address)
                    self.answers |= {found} if found else set()
        return False


def question(mac: bytes, source: bytes, address: bytes, vlan: int) -> bytes:
    """The frame that asks who has the IPv4 address (RFC 826), on a VLAN (IEEE 802.1Q) or, 0, without a tag."""
    tag = struct.pack("!HH", _ETH_P_8021Q, vlan) if vlan else b""
    ask = _ARP.pack(_ETHER, _ETH_P_IP, 6, 4, _REQUEST, mac, source, _NOBODY, address)
    return _EVERYBODY + mac + tag + struct.pack("!H", _ETH_P_ARP) + ask


def answer(frame: bytes, tag: int | None, address: bytes) -> tuple[int, str] | None:
    """(VLAN, MAC) where this frame is an ARP reply for the IPv4 address; ``tag``: what the kernel stripped off it."""
    kind, start = int.from_bytes(frame[12:14], "big"), _ETHERNET
    if kind == _ETH_P_8021Q:
        if tag is None:
            tag = int.from_bytes(frame[14:16], "big") & _VID
        start += 4
        kind = int.from_bytes(frame[16:18], "big")
    if kind != _ETH_P_ARP or len(frame) < start + _ARP.size:
        return None
    *_, operation, mac, sender, _mac, _target = _ARP.unpack_from(frame, start)
    if operation != _REPLY or sender != address:
        return None
    return tag or 0, ":".join(f"{byte:02x}" for byte in mac)


def _tag_of(beside: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in beside:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(data) >= _AUXDATA.size:
            status, *_, tci, _tpid = _AUXDATA.unpack_from(data)
            return tci & _VID if status & _VLAN_VALID else None
    return None
