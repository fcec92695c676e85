"""The words that all stages share: directions, layers, segments, verdicts, and what a figure speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """a = on-prem, z = cloud."""

    A_Z = "a-z"
    Z_A = "z-a"
    ROUND_TRIP = "round-trip"
    BOTH = "both"


class Layer(StrEnum):
    """Which bits of a packet a rate counts; L2 is the frame without FCS."""

    L1 = "L1"
    L2_FCS = "L2+FCS"
    L2 = "L2"
    L3 = "L3"
    L4 = "L4"


class Segment(StrEnum):
    """Where on the path something happened; ``BETWEEN`` when not narrowed further."""

    HOST_A = "host-a"
    LAN = "lan"
    CE = "ce"
    CARRIER = "carrier"
    CLOUD_EDGE = "cloud-edge"
    HOST_Z = "host-z"
    BETWEEN = "between-hosts"


class Verdict(StrEnum):
    """Verdict of a finding; a run has only PASS, FAIL or INCONCLUSIVE."""

    PASS = "PASS"
    WARN = "WARN"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"
    NOT_RUN = "NOT_RUN"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    WAIVED = "WAIVED"


class Status(StrEnum):
    """How a measurement ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Window:
    """From and to, ns since the Unix epoch."""

    start_ns: int
    end_ns: int


TOGETHER = "+"  # between names of several pairs that are measured together; in no name of an endpoint


@dataclass(frozen=True, slots=True)
class Scope:
    """What a figure speaks of."""

    circuit: str
    pair: str = ""
    """``<a endpoint>:<z endpoint>``, of several pairs at once ``a1+a2:z1+z2``; empty when the figure is of no pair."""
    direction: Direction | None = None
    family: str = "ipv4"
    service: str = ""
    """Class of service, e.g. ``EF``; empty = best effort, and no other beside it."""
    frame_bytes: int | None = None
    load: str = "idle"
    """What else was on the path: ``idle``, ``tcp``, ``udp``, ``tcp both ways``; in a service's test the step, as
    ``75% CIR``."""
    window: Window | None = None
    host: str = ""
    bracket: str = ""
    """Of no circuit: what this host can do by itself, and against whom it was tried, a neighbour or itself."""

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(on-prem, cloud) of each pair; more than one where they were measured together."""
        sides = [side.split(TOGETHER) for side in self.pair.split(":")]
        return tuple(zip(*sides, strict=True)) if len(sides) == 2 else ()
