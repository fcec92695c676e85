"""The sizes of a probe stream's packets: one, several in turn, or an Internet mix (IMIX).

A size alone is the UDP payload, as tools that send UDP count it. A mix counts Ethernet frames as RFC 2544 does: with
header and FCS, without a VLAN tag, so that 1518 bytes hold an IP packet of 1500. ``imix`` is the simple one, 64, 594
and 1518 bytes as 7 to 4 to 1; ``imix aaaaaaabbbbg`` is RFC 6985's genome, a letter for each frame. Either is sent in
its own order, again and again. STAMP needs 44 bytes of payload: a smaller frame is sent with 90 bytes, the least that
holds them, and one of authenticated packets with 158.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from perfharness.order.units import size
from perfharness.order.wrong import wrong

LEAST_BYTES, MOST_BYTES = 44, 8972
"""UDP payload: STAMP's base packet, and a jumbo frame of 9000 bytes of IP."""
MOST_IN_TURN = 64
_FRAME = 14 + 4
_HEADERS = 20 + 8
_GENOME = {"a": 64, "b": 128, "c": 256, "d": 512, "e": 1024, "f": 1280, "g": 1518, "h": 2112}
"""RFC 6985, section 3; its i and j, 9000 and 16000, are no frames of this kind of circuit; z is the MTU's."""
_SIMPLE = (64, 594, 64, 64, 594, 64, 1518, 64, 594, 64, 594, 64)
_REMEDY = "Write 64B, a list of sizes, `imix`, or `imix` and RFC 6985's letters a to h and z, as in imix aaaadddg."


@dataclass(frozen=True, slots=True)
class Packets:
    """UDP payloads in bytes, in the order of sending; None = what fills the ordered MTU."""

    sizes: tuple[int | None, ...]
    mixed: bool = False
    """An IMIX: a frame of it that is too small for a packet is sent as large as it must be."""

    def payloads(self, mtu: int) -> tuple[int, ...]:
        """On a circuit that carries IP packets of ``mtu`` bytes."""
        return tuple(mtu - _HEADERS if size is None else size for size in self.sizes)

    def with_room(self, least_bytes: int) -> Packets:
        """For packets that have at least so many bytes. Raises ``wrong`` for a size that was asked for and has not."""
        small = [size for size in self.sizes if size is not None and size < least_bytes]
        if small and not self.mixed:
            said = f"An authenticated packet has at least {least_bytes} B of payload, not {small[0]} B."
            raise wrong(said, f"Write `packet: {least_bytes}B` or more, or leave it out.")
        return replace(self, sizes=tuple(None if size is None else max(size, least_bytes) for size in self.sizes))


def frame_bytes(payload_bytes: int) -> int:
    """Of the Ethernet frame, FCS included."""
    return payload_bytes + _HEADERS + _FRAME


def packets(value: Any) -> Packets:
    """What stands in a file. Raises ``wrong``."""
    if isinstance(value, Packets):
        return value
    if isinstance(value, str) and value.split()[:1] == ["imix"]:
        return Packets(tuple(map(_payload, _frames(value))), mixed=True)
    several = value if isinstance(value, list) else [value]
    if not 1 <= len(several) <= MOST_IN_TURN:
        raise wrong(f"A stream has 1 to {MOST_IN_TURN} sizes in turn, not {len(several)}.", _REMEDY)
    return Packets(tuple(map(_size, several)))


def _size(value: Any) -> int:
    found = size(value) if isinstance(value, str) else value
    if not isinstance(found, int):
        raise wrong("This is not a size.", _REMEDY)
    if not LEAST_BYTES <= found <= MOST_BYTES:
        said = f"A payload of {found} B is not within {LEAST_BYTES} and {MOST_BYTES} B."
        raise wrong(said, "STAMP needs the one, a jumbo frame holds the other.")
    return found


def _frames(text: str) -> tuple[int | None, ...]:
    genome = "".join(text.split()[1:])
    if not genome:
        return _SIMPLE
    if not re.fullmatch(r"[a-hz]+", genome) or len(genome) > MOST_IN_TURN:
        said = f"{text!r} is no IMIX genome of at most {MOST_IN_TURN} letters."
        raise wrong(said, _REMEDY)
    return tuple(_GENOME.get(letter) for letter in genome)


def _payload(frame: int | None) -> int | None:
    return None if frame is None else max(LEAST_BYTES, frame - _FRAME - _HEADERS)


PacketSizes = Annotated[
    Packets,
    PlainValidator(packets),
    WithJsonSchema({"type": ["string", "integer", "array"], "examples": ["64B", "imix"]}),
]
"""Of a probe stream."""
