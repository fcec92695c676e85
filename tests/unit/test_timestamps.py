"""perfagent.timestamps: what the kernel says about a packet, in ancillary data."""

from __future__ import annotations

import socket
import struct
from sys import byteorder

from perfagent import realtime, timestamps

SO_TIMESTAMPING = 37
STAMP = (socket.SOL_SOCKET, SO_TIMESTAMPING, struct.pack("@6l", 1_700_000_000, 5, 0, 0, 0, 0))


def test_an_ipv4_packet() -> None:
    """Stamp, TTL and TOS of a received IPv4 packet."""
    ancillary = [
        STAMP,
        (socket.IPPROTO_IP, socket.IP_TTL, (61).to_bytes(4, byteorder)),
        (socket.IPPROTO_IP, socket.IP_TOS, b"\xb8"),
    ]
    assert timestamps.of_received(ancillary) == (1_700_000_000_000_000_005, 61, 0xB8)


def test_an_ipv6_packet() -> None:
    """Stamp, hop limit and traffic class of a received IPv6 packet."""
    ancillary = [
        (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, (255).to_bytes(4, byteorder)),
        STAMP,
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, (0xB8).to_bytes(4, byteorder)),
    ]
    assert timestamps.of_received(ancillary) == (1_700_000_000_000_000_005, 255, 0xB8)


def test_the_stamp_of_a_card_stands_beside_the_kernels() -> None:
    """The third time of struct scm_timestamping, in the epoch of the card's clock; of a sent packet often alone."""
    both = struct.pack("@6l", 1_700_000_000, 5, 0, 0, 1_700_000_037, 6)
    alone = struct.pack("@6l", 0, 0, 0, 0, 7, 8)
    of_level = [(socket.SOL_SOCKET, SO_TIMESTAMPING, data) for data in (both, alone)]
    assert timestamps.of_received(of_level[:1])[0] == 1_700_000_000_000_000_005
    assert timestamps.of_card(of_level[:1]) == 1_700_000_037_000_000_006
    assert (timestamps.of_received(of_level[1:])[0], timestamps.of_card(of_level[1:])) == (0, 7_000_000_008)
    assert timestamps.of_card([STAMP]) == timestamps.of_card([]) == 0


def test_nothing_said() -> None:
    """Without ancillary data there is no stamp: the caller takes its own clock and says so."""
    assert timestamps.of_received([]) == (0, 0, 0)


def test_clock_pairs_belong_together() -> None:
    """Two pairs taken in a row have the same difference between the clocks, apart from the reading itself."""
    differences = [unix - mono for mono, unix in (realtime.clock_pair() for _ in range(20))]
    assert max(differences) - min(differences) < 1_000_000_000
