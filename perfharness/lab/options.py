"""What a person types after ``lab up`` and ``lab fault``, as what the lab is to play."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from perfharness.errors import LabFault, Refused
from perfharness.lab.faults import Wish
from perfharness.lab.spec import BEYOND_L2_BYTES, LabSpec
from perfharness.model import Layer
from perfharness.order import units
from perfharness.order.circuit import load_circuit

T = TypeVar("T")
MTUS = (576, 9216)
"""What an order may say."""


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

    def spec(self) -> LabSpec:
        """The order, changed by what was asked besides. Raises Refused for what cannot be read, LabFault, BadInput."""
        order = LabSpec.from_circuit(load_circuit(self.circuit)) if self.circuit else LabSpec()
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
        try:
            return replace(order, **{key: value for key, value in changes.items() if value is not None})
        except LabFault as error:
            raise Refused(error.message, error.remedy) from None


def wish(name: str, at: str | None, rate: str | None, bucket: str | None, share: str | None) -> Wish:
    """Raises Refused for what cannot be read."""
    return Wish(
        name,
        at,
        _read("--rate", units.rate, rate),
        _read("--bucket", units.size, bucket),
        _read("--share", units.ratio, share),
    )


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
