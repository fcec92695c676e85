"""Layer arithmetic against the published tables."""

from __future__ import annotations

import pytest

from perfharness.analysis import capacity
from perfharness.model import Layer

GOODPUT = {
    (1500, False): (941.48, 928.48, 957.09, 944.08),
    (1500, True): (939.04, 926.07, 954.60, 941.63),
    (8500, False): (989.46, 987.12, 992.27, 989.93),
    (8500, True): (989.00, 986.65, 991.81, 989.46),
    (9000, False): (990.04, 987.83, 992.70, 990.48),
    (9000, True): (989.60, 987.39, 992.26, 990.05),
}
"""Mbit/s at a 1 Gbit/s line: TCP over IPv4 and IPv6, UDP over IPv4 and IPv6."""


@pytest.mark.parametrize(("mtu", "tagged"), GOODPUT)
def test_goodput_of_a_gigabit_line(mtu: int, tagged: bool):
    """Every cell of the table, to the two digits that it has."""
    tcp4, tcp6, udp4, udp6 = GOODPUT[mtu, tagged]
    for family, tcp, udp in (("ipv4", tcp4, udp4), ("ipv6", tcp6, udp6)):
        for protocol, told in (("tcp", tcp), ("udp", udp)):
            found = capacity.convert(1e3, Layer.L1, Layer.L4, mtu, tagged=tagged, family=family, protocol=protocol)
            assert found == pytest.approx(told, abs=0.0051)


@pytest.mark.parametrize(
    ("layer", "goodput"), [(Layer.L1, 93.90), (Layer.L2_FCS, 95.14), (Layer.L2, 95.39), (Layer.L3, 96.53)]
)
def test_goodput_depends_on_the_layer_that_meters(layer: Layer, goodput: float):
    """100 Mbit/s tagged at MTU 1500 carry between 93.90 and 96.53 Mbit/s of TCP, by the metering layer."""
    found = capacity.convert(100, layer, Layer.L4, 1500, tagged=True, protocol="tcp")
    assert found == pytest.approx(goodput, abs=0.0051)


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("target", Layer)
def test_conversion_there_and_back(target: Layer, tagged: bool):
    """A rate converted to another layer and back is the same rate."""
    there = capacity.convert(1e9, Layer.L2, target, 1428, tagged=tagged)
    assert capacity.convert(there, target, Layer.L2, 1428, tagged=tagged) == pytest.approx(1e9)


def test_small_frames_are_padded():
    """A 12-byte datagram fills a frame of 64 bytes, 84 on the wire, with or without tag; L3 counts its 40."""
    for tagged in (False, True):
        assert capacity.counted_bytes(40, Layer.L2_FCS, tagged=tagged) == 64
        assert capacity.counted_bytes(40, Layer.L1, tagged=tagged) == 84
    assert capacity.counted_bytes(40, Layer.L3, tagged=False) == 40


def test_overhead_of_a_full_packet():
    """MTU 1500, UDP over IPv4: 28 at L3, 42 at L2, 46 with FCS, 66 on the wire; a tag adds 4."""
    assert [capacity.overhead_bytes(layer, tagged=False) for layer in Layer] == [66, 46, 42, 28, 0]
    assert [capacity.overhead_bytes(layer, tagged=True) for layer in Layer] == [70, 50, 46, 28, 0]
