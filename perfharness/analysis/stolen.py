"""CPU time that a hypervisor withheld from a host: what it delays looks like a delay of the path.

A packet that arrives while its CPU is withheld gets its time stamp when the CPU comes back, and one that is to leave
leaves then. A host cannot tell which packets these were; it can tell how much time that was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PASSAGES = 2
"""A round trip passes each end twice."""


def share(first: Mapping[str, Any], last: Mapping[str, Any]) -> float:
    """Share of the time between two rows of ``counters.jsonl`` for which a hypervisor withheld the CPU that it withheld
    most; 0 where that is not told (a host of its own has no such count)."""
    before, after = (row.get("cpu", {}).get("per_cpu", ()) for row in (first, last))
    return max((_share(*each) for each in zip(before, after, strict=False)), default=0.0)


def _share(first: Mapping[str, int], last: Mapping[str, int]) -> float:
    spent = {key: last[key] - first[key] for key in first}
    total = sum(spent.values())
    return max(0, spent.get("steal", 0)) / total if total > 0 else 0.0


def most_late(shares: Iterable[float]) -> float:
    """The largest share of round trips that the hosts' hypervisors can have delayed."""
    return min(1.0, PASSAGES * sum(shares))
