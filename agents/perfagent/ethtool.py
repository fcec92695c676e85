"""What a network card says of itself: the SIOCETHTOOL requests that a test's reader asks for.

By ioctl on a socket, so it is the caller's network namespace that answers. What a driver does not implement
is ``None`` or absent. Layouts: linux/ethtool.h.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import Any

_SIOCETHTOOL = 0x8946
_GSET = 0x01
_GDRVINFO = 0x03
_GRINGPARAM = 0x10
_GFLAGS = 0x25
_GCHANNELS = 0x3C

_FLAG_LRO = 1 << 15
_SWITCHES = {"rx_checksum": 0x14, "tx_checksum": 0x16, "sg": 0x18, "tso": 0x1E, "gso": 0x23, "gro": 0x2B}
_SPEED_UNKNOWN = (0, 0xFFFF, 0xFFFFFFFF)
_DUPLEX = {0: "half", 1: "full"}


class Card:
    """One interface; close it after use."""

    def __init__(self, interface: str) -> None:
        self._interface = interface.encode()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        self._socket.close()

    def _ask(self, command: int, size: int) -> bytes | None:
        """The structure of ``size`` bytes that ``command`` fills in; ``None`` where the driver does not."""
        buffer = array.array("B", struct.pack("=I", command).ljust(size, b"\0"))
        request = struct.pack("16sP16x", self._interface, buffer.buffer_info()[0])
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, request)
        except OSError:
            return None
        return buffer.tobytes()

    def link(self) -> dict[str, Any]:
        """``{speed_bps, duplex}``; ``None`` each where there is none to speak of, as on virtio without a setting."""
        raw = self._ask(_GSET, 44)
        if raw is None:
            return {"speed_bps": None, "duplex": None}
        speed_mbps = struct.unpack_from("=H", raw, 12)[0] | struct.unpack_from("=H", raw, 28)[0] << 16
        speed_bps = None if speed_mbps in _SPEED_UNKNOWN else speed_mbps * 1_000_000
        return {"speed_bps": speed_bps, "duplex": _DUPLEX.get(raw[14])}

    def driver(self) -> str | None:
        raw = self._ask(_GDRVINFO, 196)
        return raw[4:36].rstrip(b"\0").decode(errors="replace") if raw else None

    def offloads(self) -> dict[str, bool]:
        """Which offloads are on; one that cannot be asked is absent."""
        switches = {name: self._ask(command, 8) for name, command in _SWITCHES.items()}
        found = {name: raw[4:8] != bytes(4) for name, raw in switches.items() if raw}
        flags = self._ask(_GFLAGS, 8)
        if flags:
            found["lro"] = bool(struct.unpack_from("=I", flags, 4)[0] & _FLAG_LRO)
        return found

    def rings(self) -> dict[str, int] | None:
        """Descriptors of the receive and transmit rings, and how many there can be."""
        raw = self._ask(_GRINGPARAM, 36)
        if raw is None:
            return None
        rx_max, _mini, _jumbo, tx_max, rx, _mini, _jumbo, tx = struct.unpack_from("=8I", raw, 4)
        return {"rx": rx, "tx": tx, "rx_max": rx_max, "tx_max": tx_max}

    def queues(self) -> dict[str, int] | None:
        """Channels in use; ``combined`` serve both directions."""
        raw = self._ask(_GCHANNELS, 36)
        if raw is None:
            return None
        rx, tx, _other, combined = struct.unpack_from("=4I", raw, 20)
        return {"rx": rx, "tx": tx, "combined": combined}
