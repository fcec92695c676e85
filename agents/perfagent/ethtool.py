"""What a network card says of itself: the SIOCETHTOOL requests that a test's reader asks for.

By ioctl on a socket, so it is the caller's network namespace that answers. What a driver does not implement
is ``None`` or absent. Layouts: linux/ethtool.h, linux/net_tstamp.h.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Container
from typing import Any

_SIOCETHTOOL = 0x8946
_GSET = 0x01
_GDRVINFO = 0x03
_GRINGPARAM = 0x10
_GFLAGS = 0x25
_GCHANNELS = 0x3C
_GSTRINGS = 0x1B
_GSTATS = 0x1D
_GSSET_INFO = 0x37
_GET_TS_INFO = 0x41
_GMODULEINFO = 0x42
_GMODULEEEPROM = 0x43
_SIOCGHWTSTAMP = 0x89B1

_STAMPS_BY_CARD = 1 << 0 | 1 << 2 | 1 << 6  # of departing and of arriving packets, told as they are
_TX_OFF, _TX_ON, _RX_ALL = 0, 1, 1
_OF_A_BOND = 1 << 0

_NO_MODULE = {
    errno.EPERM: "reading its module needs root or CAP_NET_ADMIN there",
    errno.EOPNOTSUPP: "its driver tells of no optical module",
    errno.ENODEV: "there is no such interface",
}
_MOST_MEMORY = 640
"""Bytes of an optical module's memory: the pages that a QSFP has (SFF-8636)."""

_SET_STATS = 1
_NAME_BYTES = 32
_MOST_STATISTICS = 4096
"""More than any driver has; a larger answer is not believed."""

_FLAG_LRO = 1 << 15
_SWITCHES = {"rx_checksum": 0x14, "tx_checksum": 0x16, "sg": 0x18, "tso": 0x1E, "gso": 0x23, "gro": 0x2B}
_SPEED_UNKNOWN = (0, 0xFFFF, 0xFFFFFFFF)
_DUPLEX = {0: "half", 1: "full"}

_LOST = re.compile(
    r"(?:\[\d+\]: )?[rt]x(?:_queue_)?\d*_(?:drops|xdp_drops?|out_of_buffer|discards(?:_phy)?|no_buffer_count"
    r"|no_dma_resources|dropped_pkts?(?:\[\d+\])?|no_memory|buf_alloc_fail)"
    r"|pkts rx OOB|drv dropped [rt]x total|ring full|(?:bw_in|bw_out|pps)_allowance_exceeded"
)
"""Driver statistics that count lost packets: of virtio, veth, mlx5, bnxt, igb, ixgbe, gve, netvsc, vmxnet3, ena.
Copies of the standard counters (``rx_missed_errors`` …) are not read twice."""
_QUEUE_NUMBER = re.compile(r"(?<=[rt]x)(?:_queue_)?\d+")


class Card:
    """One interface; close it after use."""

    def __init__(self, interface: str) -> None:
        self._interface = interface.encode()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._chosen: dict[str, int] | None = None
        self._statistics = 0

    def close(self) -> None:
        self._socket.close()

    def _ask(self, command: int, size: int, given: bytes = b"") -> bytes | None:
        """The structure of ``size`` bytes that ``command`` fills in, beginning with ``given``; ``None`` where the
        driver does not."""
        buffer = array.array("B", (struct.pack("=I", command) + given).ljust(size, b"\0"))
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, self._request(buffer))
        except OSError:
            return None
        return buffer.tobytes()

    def _request(self, buffer: array.array[int]) -> bytes:
        """struct ifreq that points to the buffer."""
        return struct.pack("16sP16x", self._interface, buffer.buffer_info()[0])

    def link(self) -> dict[str, Any]:
        """``{speed_bps, duplex, autoneg}``; ``None`` each where there is none to speak of, as on virtio without a
        setting."""
        raw = self._ask(_GSET, 44)
        if raw is None:
            return {"speed_bps": None, "duplex": None, "autoneg": None}
        speed_mbps = struct.unpack_from("=H", raw, 12)[0] | struct.unpack_from("=H", raw, 28)[0] << 16
        speed_bps = None if speed_mbps in _SPEED_UNKNOWN else speed_mbps * 1_000_000
        return {"speed_bps": speed_bps, "duplex": _DUPLEX.get(raw[14]), "autoneg": bool(raw[18])}

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

    def stamping(self) -> dict[str, Any]:
        """See :func:`stamping`. A VLAN's answer is that of the card under it."""
        config = array.array("B", bytes(12))
        told: bytes | None = None
        try:
            fcntl.ioctl(self._socket, _SIOCGHWTSTAMP, self._request(config))
            told = config.tobytes()
        except OSError:
            pass
        found = stamping(self._ask(_GET_TS_INFO, 44), told, self._interface.decode())
        device = f"/dev/ptp{found['clock']}"
        if found["ability"] == "on" and not os.access(device, os.R_OK):
            found["reason"] = f"but {device}, the card's clock, may not be read by this user"
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

    def module(self) -> dict[str, Any]:
        """The memory of the optical module in the port, as it is: ``{kind, memory}`` (ETH_MODULE_SFF_*, hex), or
        ``{reason}`` why it is not told."""
        info = array.array("B", struct.pack("=I", _GMODULEINFO).ljust(44, b"\0"))
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, self._request(info))
            kind, size = struct.unpack_from("=II", info.tobytes(), 4)
            size = min(size, _MOST_MEMORY)
            dump = array.array("B", struct.pack("=4I", _GMODULEEEPROM, 0, 0, size) + bytes(size))
            fcntl.ioctl(self._socket, _SIOCETHTOOL, self._request(dump))
        except OSError as error:
            return {"reason": _NO_MODULE.get(error.errno or 0, f"its module does not answer: {error.strerror}")}
        return {"kind": kind, "memory": dump.tobytes()[16:].hex()}

    def statistics_of_loss(self) -> dict[str, int]:
        """Driver statistics (``ethtool -S``) that count lost packets, by name; empty where none is known."""
        if self._chosen is None:
            names = self._statistic_names()
            known = {name: place for place, name in enumerate(names) if _LOST.fullmatch(name)}
            self._chosen = {name: place for name, place in known.items() if not _is_part(name, known)}
            self._statistics = len(names)
        if not self._chosen:
            return {}
        raw = self._ask(_GSTATS, 8 + 8 * self._statistics)
        if raw is None or struct.unpack_from("=I", raw, 4)[0] != self._statistics:
            return {}  # the queues were set anew: other names now
        values = struct.unpack_from(f"={self._statistics}Q", raw, 8)
        return {name: values[place] for name, place in self._chosen.items()}

    def _statistic_names(self) -> list[str]:
        raw = self._ask(_GSSET_INFO, 20, struct.pack("=IQ", 0, 1 << _SET_STATS))
        if raw is None or not struct.unpack_from("=Q", raw, 8)[0]:
            return []
        count = min(struct.unpack_from("=I", raw, 16)[0], _MOST_STATISTICS)
        raw = self._ask(_GSTRINGS, 12 + _NAME_BYTES * count, struct.pack("=I", _SET_STATS))
        if raw is None:
            return []
        cut = (raw[at : at + _NAME_BYTES] for at in range(12, 12 + _NAME_BYTES * count, _NAME_BYTES))
        return [name.partition(b"\0")[0].decode(errors="replace") for name in cut]


def _is_part(name: str, known: Container[str]) -> bool:
    """A queue's part of a sum that the driver gives as well."""
    total = _QUEUE_NUMBER.sub("", name)
    return total != name and total in known


def stamping(info: bytes | None, config: bytes | None, interface: str) -> dict[str, Any]:
    """``{ability, clock, reason}``: whether the card stamps all packets: ``"none"``, ``"off"`` (it could) or ``"on"``;
    N of its /dev/ptpN or ``None``; why not.

    From struct ethtool_ts_info and struct hwtstamp_config as the driver filled them in; ``None`` where it did not.
    """
    flags, clock, tx_types, rx_filters = struct.unpack_from("=IiI12xI", info, 4) if info else (0, -1, 0, 0)
    bits, tx_type, rx_filter = struct.unpack("=3i", config) if config else (0, _TX_OFF, 0)
    ability, reason = "none", ""
    if clock < 0 or flags & _STAMPS_BY_CARD != _STAMPS_BY_CARD or not tx_types >> _TX_ON & 1:
        reason = "the card has no clock that stamps packets"
    elif config is None:
        reason = "the driver does not tell whether the card stamps packets"
    elif bits & _OF_A_BOND:
        reason = "of a bond nobody can tell whose clock stamped a packet"
    elif tx_type != _TX_OFF and rx_filter == _RX_ALL:
        ability = "on"
    elif rx_filters >> _RX_ALL & 1:
        ability = "off"
        reason = f"it could; `hwstamp_ctl -i {interface} -t 1 -r 1` (linuxptp) switches it on for the whole host"
    else:
        reason = "the card stamps no arriving packets but those of PTP"
    return {"ability": ability, "clock": clock if clock >= 0 else None, "reason": reason}
