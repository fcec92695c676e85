"""CPU time that a hypervisor withheld from a host: what it delays looks like a delay of the path.

A packet that arrives while its CPU is withheld gets its time stamp when the CPU comes back, and one that is to leave
leaves then. A host cannot tell which packets these were; it can tell how much time that was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PASSAGES = 2
"""A round trip passes each end twice."""


def share(rows: Sequence[Mapping[str, Any]]) -> float:
    """Share of the time between the first and the last row of ``counters.jsonl`` for which a hypervisor withheld the
    CPU that it withheld most; 0 where that is not told (a host of its own has no such count)."""
    told = [row["cpu"]["per_cpu"] for row in rows if "cpu" in row]
    if len(told) < 2:
        return 0.0
    return max((_share(first, last) for first, last in zip(told[0], told[-1], strict=False)), default=0.0)


def _share(first: Mapping[str, int], last: Mapping[str, int]) -> float:
    spent = {key: last[key] - first[key] for key in first}
    total = sum(spent.values())
    return max(0, spent.get("steal", 0)) / total if total > 0 else 0.0


def most_late(packets: int, shares: Iterable[float]) -> int:
    """The most of so many round trips that the hosts' hypervisors can have delayed."""
    return math.ceil(packets * min(1.0, PASSAGES * sum(shares)))
