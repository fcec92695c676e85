"""What a person types after ``lab up`` and ``lab fault``, as what the lab is to play."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from perfharness.errors import LabFault, Refused
from perfharness.lab.faults import Wish, option
from perfharness.lab.spec import BEYOND_L2_BYTES, Bgp, LabSpec
from perfharness.model import Direction, Layer
from perfharness.order import units
from perfharness.order.circuit import load_circuit, load_companion
from perfharness.order.dscp import number as dscp

T = TypeVar("T")
MTUS = (576, 9216)
"""What an order may say."""
NUMBERS = ("burst_packets", "mtu", "vlan", "members", "mss", "port")
"""Options of faults that are plain numbers."""


@dataclass(frozen=True, slots=True)
class Asked:
    """In the user's words; ``None``: as ordered."""

    circuit: Path | None = None
    rate: str | None = None
    meter: str | None = None
    policer: str | None = None
    queue: str | None = None
    rtt: str | None = None
    mtu: int | None = None
    untagged: bool = False
    bgp: bool = False
    standby: bool = False

    def spec(self) -> LabSpec:
        """The order, changed by what was asked besides. Raises Refused for what cannot be read, LabFault, BadInput."""
        order = self._order()
        if self.policer and self.queue:
            raise Refused("A policer has no queue: --policer and --queue exclude each other.", "Leave one of them out.")
        if self.mtu is not None and not MTUS[0] <= self.mtu <= MTUS[1]:
            raise Refused(f"--mtu {self.mtu} is no MTU of a circuit.", f"Choose {MTUS[0]} to {MTUS[1]} bytes.")
        changes: dict[str, Any] = {
            "rate_bps": _read("--rate", units.rate, self.rate),
            "rate_layer": _layer(self.meter),
            "policer_bytes": _read("--policer", units.size, self.policer),
            "queue_ns": _read("--queue", units.duration, self.queue),
            "rtt_ns": _read("--rtt", units.duration, self.rtt),
            "mtu": self.mtu,
            "vlan": 0 if self.untagged else None,
        }
        asked = {key: value for key, value in changes.items() if value is not None}
        try:
            both = {letter: replace(circuit, **asked) for letter, circuit in order.circuits.items()}
            return replace(order.with_circuits(both), standby=self.standby)
        except LabFault as error:
            raise Refused(error.message, error.remedy) from None

    def _order(self) -> LabSpec:
        if self.circuit is None:
            order = LabSpec(bgp=Bgp() if self.bgp else None)
        else:
            circuit = load_circuit(self.circuit)
            order = LabSpec.from_circuit(circuit, load_companion(circuit), bgp=self.bgp)
        if self.standby and order.second is None:
            raise Refused("--standby needs a second circuit.", "Name an order with a companion: --circuit FILE.")
        return order


READ: dict[str, Callable[[str], Any]] = {
    "rate_bps": units.rate,
    "bucket_bytes": units.size,
    "share": units.ratio,
    "delay_ns": units.duration,
    "every_ns": units.duration,
    "down_ns": units.duration,
    "dscp": dscp,
    "direction": Direction,
}
"""How the options of a fault are read; the others are words or whole numbers above 0."""
DIRECTIONS = (Direction.A_Z, Direction.Z_A, Direction.BOTH)


def wish(name: str, asked: Mapping[str, str | None]) -> Wish:
    """``asked``: by field of a wish. Raises Refused for what cannot be read."""
    fields: dict[str, Any] = {}
    for field, text in asked.items():
        if text is not None:
            fields[field] = _read(option(field), READ.get(field, _number if field in NUMBERS else str), text)
    if fields.get("direction", Direction.BOTH) not in DIRECTIONS:
        raise Refused(f"--direction {fields['direction']} is none of a circuit.", f"Choose {', '.join(DIRECTIONS)}.")
    return Wish(name, **fields)


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ValueError("a whole number above 0 is needed.")
    return int(text)


def _layer(text: str | None) -> Layer | None:
    if text is None:
        return None
    if text not in BEYOND_L2_BYTES:
        raise Refused(f"--meter {text} is no layer that a circuit meters.", f"Choose {', '.join(BEYOND_L2_BYTES)}.")
    return Layer(text)


def _read(option: str, parse: Callable[[str], T], text: str | None) -> T | None:
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise Refused(f"{option} {text}: {error}") from None
