"""Layer arithmetic: one rate in the bits of another layer.

Bytes that Ethernet adds to an IP packet (IEEE 802.3): at L1 preamble 8, MAC header 14, FCS 4, gap 12; at L2+FCS
header and FCS; at L2 the header. A VLAN tag adds 4 to each. Frames are padded to 64 bytes with FCS.
L4 counts payload only. Rates are per direction.
"""

from __future__ import annotations

from perfharness.model import Layer

_HEADER, _FCS, _PREAMBLE_AND_GAP, _TAG = 14, 4, 20, 4
_SMALLEST_FRAME = 64
_IP = {"ipv4": 20, "ipv6": 40}
_TRANSPORT = {"udp": 8, "tcp": 32}
"""TCP with the timestamp option, as every Linux sends it."""


def headers_bytes(family: str = "ipv4", protocol: str = "udp") -> int:
    """What IP and transport headers take of an IP packet."""
    return _IP[family] + _TRANSPORT[protocol]


def overhead_bytes(layer: Layer, *, tagged: bool, family: str = "ipv4", protocol: str = "udp") -> int:
    """What a full-sized packet's payload grows by until this layer counts it (0 at L4); no padding."""
    if layer is Layer.L4:
        return 0
    ethernet = {
        Layer.L3: 0,
        Layer.L2: _HEADER,
        Layer.L2_FCS: _HEADER + _FCS,
        Layer.L1: _HEADER + _FCS + _PREAMBLE_AND_GAP,
    }[layer]
    tag = _TAG if tagged and layer is not Layer.L3 else 0
    return headers_bytes(family, protocol) + ethernet + tag


def counted_bytes(ip_bytes: int, layer: Layer, *, tagged: bool, family: str = "ipv4", protocol: str = "udp") -> int:
    """What this layer counts for one IP packet of ``ip_bytes``, padding of small frames included."""
    payload = ip_bytes - headers_bytes(family, protocol)
    plain = payload + overhead_bytes(layer, tagged=tagged, family=family, protocol=protocol)
    if layer in (Layer.L3, Layer.L4):
        return plain
    frame = payload + overhead_bytes(Layer.L2_FCS, tagged=tagged, family=family, protocol=protocol)
    return plain + max(0, _SMALLEST_FRAME - frame)


def convert(
    rate_bps: float,
    source: Layer,
    target: Layer,
    ip_bytes: int,
    *,
    tagged: bool,
    family: str = "ipv4",
    protocol: str = "udp",
) -> float:
    """A rate of packets of ``ip_bytes``, counted at layer ``source``, as layer ``target`` counts it."""
    was, now = (
        counted_bytes(ip_bytes, layer, tagged=tagged, family=family, protocol=protocol) for layer in (source, target)
    )
    return rate_bps * now / was
