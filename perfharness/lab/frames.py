"""Ethernet frames as bytes: their tag, their size, the flow they belong to, and what a faulty line makes of them."""

from __future__ import annotations

from hashlib import blake2b
from ipaddress import ip_address
from typing import NamedTuple

MAC_BYTES = 14
TAGGED = b"\x81\x00"
"""EtherType of IEEE 802.1Q."""
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
TCP, UDP = 6, 17
FRAGMENT = 0x3FFF
"""More fragments follow, or this is not the first (RFC 791 §3.1)."""


class Flow(NamedTuple):
    """The 5-tuple. Without IP it is the two MAC addresses, and ``protocol`` is ``None``.

    Ports are of TCP and UDP; ``None`` for other protocols, and for every fragment of a fragmented packet,
    so that all of them go one way. Headers between IPv6 and TCP or UDP are not read past.
    """

    protocol: int | None
    source: str
    source_port: int | None
    destination: str
    destination_port: int | None

    def __str__(self) -> str:
        return " ".join("-" if part is None else str(part) for part in self)

    def member(self, count: int) -> int:
        """Of a LAG with so many members, the one that carries it: ``b2sum -l 64`` of its text, modulo count."""
        return int.from_bytes(blake2b(str(self).encode(), digest_size=8).digest(), "big") % count


def flow_key(frame: bytes) -> bytes:
    """Bytes that two frames have in common exactly when they are of one flow; cheap, as each frame needs it."""
    at, version = _ip(frame)
    if version == 4:
        ports = at + (frame[at] & 0x0F) * 4
        whole = not int.from_bytes(frame[at + 6 : at + 8], "big") & FRAGMENT
        key = frame[at + 9 : at + 10] + frame[at + 12 : at + 20]
    elif version == 6:
        ports, whole = at + 40, True
        key = frame[at + 6 : at + 7] + frame[at + 8 : at + 40]
    else:
        return frame[6:12] + frame[:6]
    if whole and key[0] in (TCP, UDP) and len(frame) >= ports + 4:
        key += frame[ports : ports + 4]
    return key


def flow_of(frame: bytes) -> Flow:
    key = flow_key(frame)
    if len(key) == 12:  # no IP key has this length
        return Flow(None, key[:6].hex(":"), None, key[6:].hex(":"), None)
    size = 4 if len(key) < 32 else 16
    source, destination = (str(ip_address(key[at : at + size])) for at in (1, 1 + size))
    ports = key[1 + 2 * size :]
    if not ports:
        return Flow(key[0], source, None, destination, None)
    near, far = int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big")
    return Flow(key[0], source, near, destination, far)


def pushed(frame: bytes, vlan: int) -> bytes:
    return frame[:12] + TAGGED + vlan.to_bytes(2, "big") + frame[12:]


def popped(frame: bytes) -> bytes:
    return frame[:12] + frame[16:]


def vlan_of(frame: bytes) -> int | None:
    """The VLAN id (0–4094) of a tagged frame."""
    if frame[12:14] != TAGGED:
        return None
    return int.from_bytes(frame[14:16], "big") & 0x0FFF


def ip_offset(frame: bytes) -> int:
    """Where what the frame carries begins."""
    return MAC_BYTES + (4 if frame[12:14] == TAGGED else 0)


def packet_bytes(frame: bytes) -> int:
    """Size of what the frame carries: the IP packet."""
    return len(frame) - ip_offset(frame)


def corrupted(frame: bytes) -> bytes:
    """The last byte of the packet inverted, the checksum above IP left as it was: it no longer fits."""
    at, version = _ip(frame)
    end = len(frame)
    if version == 4:  # a short frame may be padded
        end = min(end, at + int.from_bytes(frame[at + 2 : at + 4], "big"))
    elif version == 6:
        end = min(end, at + 40 + int.from_bytes(frame[at + 4 : at + 6], "big"))
    return frame[: end - 1] + bytes([frame[end - 1] ^ 0xFF]) + frame[end:]


def remarked(frame: bytes, dscp: int) -> bytes:
    """The packet with this DSCP (RFC 2474), its ECN bits kept; a frame without IP as it is."""
    at, version = _ip(frame)
    if version == 4:
        old = int.from_bytes(frame[at : at + 2], "big")
        new = (old & 0xFF03) | (dscp << 2)
        return frame[:at] + new.to_bytes(2, "big") + frame[at + 2 : at + 10] + _summed(frame, at, old, new)
    if version == 6:
        first = int.from_bytes(frame[at : at + 2], "big")
        return frame[:at] + ((first & 0xF03F) | (dscp << 6)).to_bytes(2, "big") + frame[at + 2 :]
    return frame


def _ip(frame: bytes) -> tuple[int, int | None]:
    """Where the IP packet begins, and its version; ``None`` for anything that is not a whole IP header."""
    at = ip_offset(frame)
    kind = frame[at - 2 : at]
    if kind == IPV4 and len(frame) >= at + 20:
        return at, 4
    return at, 6 if kind == IPV6 and len(frame) >= at + 40 else None


def _summed(frame: bytes, at: int, old: int, new: int) -> bytes:
    """From the header's checksum on, after one of its words has changed (RFC 1624 §3, equation 3)."""
    total = (~int.from_bytes(frame[at + 10 : at + 12], "big") & 0xFFFF) + (~old & 0xFFFF) + new
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big") + frame[at + 12 :]
