"""Ethernet frames made by scapy: what the wire reads of them by hand."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
NEAR, FAR = "10.10.0.10", "192.168.10.10"
PROBE = 862


def udp(source_port: int = 9000, payload: bytes = b"payload", destination_port: int = PROBE, **ip: Any) -> bytes:
    """From on-prem to cloud, IPv4."""
    datagram = UDP(sport=source_port, dport=destination_port) / payload
    return bytes(Ether(**MACS) / IP(src=NEAR, dst=FAR, **ip) / datagram)


def udp6(source_port: int = 9000, payload: bytes = b"payload", **ip: Any) -> bytes:
    datagram = UDP(sport=source_port, dport=PROBE) / payload
    return bytes(Ether(**MACS) / IPv6(src="fd01::1", dst="fd02::2", **ip) / datagram)
