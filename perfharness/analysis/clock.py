"""Clocks: steps of one, and how far two may be apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfharness.analysis.statistics import Bools, Ints

STEP_NS = 100_000
"""Slewing moves both clocks alike; a smaller change of their difference is the jitter of reading them."""
IN_FLIGHT_NS = 2_000_000_000
"""How long before a step a packet may have been sent that it still disturbs; later replies are lost ones."""


@dataclass(frozen=True, slots=True)
class Step:
    """Somebody set the clock forward by ``size_ns``, between two readings of CLOCK_MONOTONIC."""

    after_ns: int
    before_ns: int
    size_ns: int


@dataclass(frozen=True, slots=True)
class Bound:
    """The clocks of two hosts differ by at most ``error_ns``; None when nobody can say, and why."""

    error_ns: int | None
    reason: str


def steps(clock: Ints) -> tuple[Step, ...]:
    """Steps in (k, 2) readings of CLOCK_MONOTONIC and Unix time taken together."""
    mono, unix = clock[:, 0], clock[:, 1]
    jumps = np.diff(unix - mono)
    return tuple(
        Step(int(mono[at]), int(mono[at + 1]), int(jumps[at])) for at in np.flatnonzero(np.abs(jumps) > STEP_NS)
    )


def disturbed(due_ns: Ints, clock: Ints) -> Bools:
    """Which packets, due at these CLOCK_MONOTONIC times, may have been under way while the clock stepped."""
    hit = np.zeros(len(due_ns), np.bool_)
    for step in steps(clock):
        hit |= (due_ns >= step.after_ns - IN_FLIGHT_NS) & (due_ns <= step.before_ns)
    return hit


def bound(a: Mapping[str, Any], z: Mapping[str, Any]) -> Bound:
    """How far two hosts' clocks may differ, from the ``clock`` part of their facts.

    Both root distances together: each host is at most its own away from UTC.
    """
    total = 0
    for name, facts in (("on-prem", a), ("cloud", z)):
        distance = facts.get("root_distance_ns")
        if facts.get("synchronised") is not True or distance is None:
            why = f" ({facts['reason']})" if facts.get("reason") else ""
            return Bound(None, f"the {name} host's clock is not synchronised with a known bound{why}")
        total += int(distance)
    return Bound(total, f"the clocks differ by at most {total / 1e6:.3f} ms: the sum of their root distances")
