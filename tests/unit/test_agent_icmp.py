"""perfagent.icmp: the error queue's structures."""

from __future__ import annotations

import socket
import struct

from perfagent import icmp


def queued(origin: int, kind: int, code: int, sender: bytes) -> bytes:
    return struct.pack("=IBBBBII", 111, origin, kind, code, 0, 0, 0) + sender


def test_an_ipv4_error_names_its_sender() -> None:
    """The offender's sockaddr_in follows the structure."""
    sender = struct.pack("=H2x4s8x", socket.AF_INET, socket.inet_aton("192.0.2.9"))
    assert icmp.parse_error(queued(2, 11, 0, sender), b"xy") == icmp.Error("time exceeded", "192.0.2.9", b"xy")


def test_an_ipv6_error_has_other_numbers() -> None:
    """Type 1 code 4 of ICMPv6 is what type 3 code 3 is of ICMP."""
    sender = struct.pack("=H2x4x16s4x", socket.AF_INET6, socket.inet_pton(socket.AF_INET6, "2001:db8::9"))
    error = icmp.parse_error(queued(3, 1, 4, sender), b"")
    assert error == icmp.Error("port unreachable", "2001:db8::9", b"")


def test_an_error_of_this_hosts_own_kernel_is_not_from_icmp() -> None:
    """Origin 1 is a local error, such as a packet beyond the MTU."""
    assert icmp.parse_error(queued(1, 0, 0, bytes(16)), b"") is None


def test_a_rare_error_is_named_by_its_numbers() -> None:
    """Nothing is called unknown."""
    sender = struct.pack("=H2x4s8x", socket.AF_INET, socket.inet_aton("192.0.2.9"))
    error = icmp.parse_error(queued(2, 12, 1, sender), b"")
    assert error is not None
    assert error.name == "12/1"


def test_checksum_of_a_packet_with_its_checksum_is_zero() -> None:
    """RFC 1071."""
    packet = bytes.fromhex("0800000000010002") + b"perfharness!"
    whole = packet[:2] + icmp.checksum(packet).to_bytes(2, "big") + packet[4:]
    assert icmp.checksum(whole) == 0
