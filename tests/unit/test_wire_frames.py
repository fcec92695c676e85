"""What the wire reads of a frame, and what it may do to it; scapy is the judge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from perfharness.lab.frames import Flow, corrupted, flow_key, flow_of, pushed, remarked
from tests.unit.packets import FAR, MACS, NEAR, udp, udp6


def rebuilt(frame: bytes) -> bytes:
    """The same packet with checksums as they should be."""
    packet = Ether(frame)
    for layer in (IP, UDP):
        if layer in packet:
            del packet[layer].chksum
    return bytes(packet)


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize(
    ("sent", "flow"),
    [
        (udp(), Flow(17, NEAR, 9000, FAR, 862)),
        (udp(options=[b"\x94\x04\x00\x00"]), Flow(17, NEAR, 9000, FAR, 862)),
        (udp6(), Flow(17, "fd01::1", 9000, "fd02::2", 862)),
        (bytes(Ether(**MACS) / IP(src=NEAR, dst=FAR) / TCP(sport=1, dport=2)), Flow(6, NEAR, 1, FAR, 2)),
        (bytes(Ether(**MACS) / IP(src=NEAR, dst=FAR) / ICMP()), Flow(1, NEAR, None, FAR, None)),
        (bytes(Ether(**MACS) / ARP()), Flow(None, MACS["src"], None, MACS["dst"], None)),
        (bytes(Ether(**MACS, type=0x0800)) + b"\x45\x00", Flow(None, MACS["src"], None, MACS["dst"], None)),
    ],
    ids=["udp", "options", "udp6", "tcp", "icmp", "arp", "cut short"],
)
def test_a_frame_belongs_to_its_5_tuple(sent: bytes, flow: Flow, tagged: bool) -> None:
    """IPv4 and IPv6, tagged or not; other protocols without ports; without IP the MAC addresses."""
    assert flow_of(pushed(sent, 100) if tagged else sent) == flow


def test_all_fragments_go_one_way() -> None:
    """Only the first has ports, so none is asked for them."""
    whole = IP(src=NEAR, dst=FAR) / UDP(sport=9000, dport=862) / bytes(3000)
    flows = {flow_of(bytes(Ether(**MACS) / part)) for part in fragment(whole, 1480)}
    assert flows == {Flow(17, NEAR, None, FAR, None)}


@given(st.binary(min_size=14, max_size=80))
def test_no_frame_is_too_odd(sent: bytes) -> None:
    """Whatever stands on the line, it has a flow, and can be remarked and corrupted without a change in length."""
    for kind in (b"\x08\x00", b"\x86\xdd", b"\x81\x00\x00\x64\x08\x00"):
        odd = sent[:12] + kind + sent[14:]
        assert flow_key(odd)
        assert flow_of(odd)
        assert len(remarked(odd, 46)) == len(corrupted(odd)) == len(odd)


def test_the_member_is_a_documented_function_of_the_text() -> None:
    """``printf TEXT | b2sum -l 64`` works it out too; both ways are different flows."""
    there, back = Flow(17, NEAR, 9000, FAR, 862), Flow(17, FAR, 862, NEAR, 9000)
    assert str(there) == "17 10.10.0.10 9000 192.168.10.10 862"
    assert (there.member(8), back.member(8)) == (0x67E74D7150A888CD % 8, 0x05C9260776EDDAC1 % 8)
    assert str(Flow(None, "a", None, "b", None)) == "- a - b -"


@pytest.mark.parametrize("members", [2, 3, 4, 8])
def test_flows_spread_over_all_members(members: int) -> None:
    """1000 neighbouring source ports: each member has its share, within five standard deviations."""
    counts = [0] * members
    for port in range(50_000, 51_000):
        counts[Flow(17, NEAR, port, FAR, 862).member(members)] += 1
    share = 1 / members
    assert all(abs(count - 1000 * share) < 5 * (1000 * share * (1 - share)) ** 0.5 for count in counts)


@given(st.integers(0, 63), st.integers(0, 255), st.integers(0, 65535))
def test_a_remarked_packet_has_its_dscp_and_a_right_checksum(dscp: int, tos: int, number: int) -> None:
    """The ECN bits stay, the rest of the packet too."""
    arrived = remarked(udp(tos=tos, id=number), dscp)
    assert Ether(arrived)[IP].tos == dscp << 2 | tos & 3
    assert arrived == rebuilt(arrived)
    assert Ether(remarked(udp6(tc=tos), dscp))[IPv6].tc == dscp << 2 | tos & 3
    assert remarked(udp6(tc=tos), tos >> 2) == udp6(tc=tos)
    assert remarked(pushed(udp(tos=tos), 100), dscp) == pushed(remarked(udp(tos=tos), dscp), 100)


def test_what_has_no_dscp_is_not_remarked() -> None:
    """ARP passes as it is."""
    sent = bytes(Ether(**MACS) / ARP())
    assert remarked(sent, 46) == sent


@given(st.binary(min_size=1, max_size=40))
def test_a_corrupted_packet_has_a_wrong_udp_checksum(payload: bytes) -> None:
    """And a right one of IP: it reaches the host, which drops it. Padding is not what is changed."""
    for sent in (udp(payload=payload), udp6(payload=payload)):
        arrived = corrupted(sent + bytes(6))
        right = rebuilt(arrived)
        assert Ether(arrived)[UDP].chksum != Ether(right)[UDP].chksum
        assert Ether(arrived)[UDP].chksum == Ether(sent)[UDP].chksum
        assert arrived[:34] == right[:34]
        assert arrived[-6:] == bytes(6)
