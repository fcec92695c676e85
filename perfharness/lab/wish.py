"""What is asked of a fault, and what a fault is: the words in which the tables of faults are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from perfharness.lab.linespec import LineSpec
from perfharness.lab.spec import LabSpec
from perfharness.lab.trouble import Trouble
from perfharness.model import Direction


@dataclass(frozen=True, slots=True)
class Wish:
    """A fault and what was asked of it; ``None``: its usual value. A field is an option: ``rate_bps`` is ``--rate``."""

    name: str
    at: str | None = None
    """A host by its alias, or a router: core, ce-a, vbr-a, vpc, ce-b, vbr-b."""
    rate_bps: int | None = None
    bucket_bytes: int | None = None
    share: float | None = None
    circuit: str | None = None
    """``a``, which is the usual one, or ``b``."""
    direction: Direction | None = None
    burst_packets: int | None = None
    delay_ns: int | None = None
    mtu: int | None = None
    dscp: int | None = None
    vlan: int | None = None
    members: int | None = None
    every_ns: int | None = None
    down_ns: int | None = None
    mss: int | None = None
    port: int | None = None
    protocol: str | None = None
    answer: str | None = None
    prefix: str | None = None

    @property
    def letter(self) -> str:
        """Of the circuit."""
        return self.circuit or "a"

    def ways(self) -> tuple[Direction, ...]:
        """The directions that it concerns."""
        direction = self.direction or Direction.BOTH
        return (Direction.A_Z, Direction.Z_A) if direction is Direction.BOTH else (direction,)

    def to_json(self) -> dict[str, Any]:
        """What was asked, and nothing else."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Wish:
        """Raises TypeError for what it does not know."""
        direction = {"direction": Direction(data["direction"])} if "direction" in data else {}
        return cls(**{**data, **direction})


@dataclass(frozen=True, slots=True)
class Fault:
    """Each is made in one of three ways, none of which minds what else is on. What cannot be made raises LabFault."""

    seen: str
    """What a user sees."""
    takes: tuple[str, ...]
    """The fields of a wish that mean something to it."""
    trouble: Callable[[LabSpec, Wish], Trouble] | None = None
    """In hosts and routers: what begins it, and what undoes it. The wish has a direction."""
    on_circuit: Callable[[LabSpec, Wish], LabSpec] | None = None
    """Another order for the kernel to play."""
    on_line: Callable[[LineSpec, LabSpec, Wish, Direction], LineSpec] | None = None
    """Another line for the wire to play: where there is none, the circuit is rebuilt with one."""
    usual: Direction = Direction.BOTH
    """Directions, unless others are asked for."""
    needs_rate: bool = False
    needs_bgp: bool = False
    packetwise: bool = False
    """It tells packets apart: TCP crosses in single ones, and not in pieces of up to 64 KiB."""
    drops: bool = False
    """What its filters count is lost on the circuit."""
