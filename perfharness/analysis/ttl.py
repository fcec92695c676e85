"""With which TTL (IPv6: hop limit) the packets of one direction arrived, over time: another one is another path.

Kept as runs of packets that arrived with the same one, so a day on one path is one run.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perfharness.analysis.statistics import Ints

MOST_RUNS = 200
"""Runs that are told one by one; where packets take turns on paths of unlike length there are as many as packets."""


@dataclass(frozen=True, slots=True)
class Run:
    """Packets one after another in the order of sending, less the lost ones, that arrived with one TTL."""

    since_ns: int
    """When the first of them was due, since the first packet of all."""
    ttl: int
    packets: int


@dataclass(frozen=True, slots=True)
class Ttls:
    """One direction of a stream."""

    seen: Mapping[int, int]
    """TTL → packets."""
    changes: int
    """How often a packet arrived with another TTL than the one before it."""
    runs: tuple[Run, ...]
    """The first MOST_RUNS of them."""


class Gathering:
    """Makes the runs out of pieces, in the order of sending."""

    def __init__(self) -> None:
        self._seen: Tally[int] = Tally()
        self._runs: list[list[int]] = []
        self._changes = 0
        self._last: int | None = None

    def add(self, since_ns: Ints, ttl: npt.NDArray[np.uint8]) -> None:
        """(n,) packets, with a TTL of 0 where none was told."""
        begins = np.flatnonzero(np.append(True, ttl[1:] != ttl[:-1])[: len(ttl)])
        lengths = np.diff(begins, append=len(ttl))
        told = ttl[begins] != 0
        begins, lengths = begins[told], lengths[told]
        if not len(begins):
            return
        runs = ttl[begins]
        anew = np.flatnonzero(np.append(True, runs[1:] != runs[:-1]))  # a lost packet ends no run
        begins, lengths, runs = begins[anew], np.add.reduceat(lengths, anew), runs[anew]
        for value in np.unique(runs).tolist():
            self._seen[value] += int(lengths[runs == value].sum())
        last = int(runs[-1])
        if runs[0] == self._last:
            begins, lengths, goes_on = begins[1:], lengths[1:], int(lengths[0])
            self._extend(goes_on)
        self._changes += len(begins) - (self._last is None)
        room = max(0, MOST_RUNS - len(self._runs))
        kept = zip(begins[:room].tolist(), lengths[:room].tolist(), strict=True)
        self._runs += [[int(since_ns[at]), int(ttl[at]), length] for at, length in kept]
        self._last = last

    def _extend(self, packets: int) -> None:
        """The last run goes on, if it is one of those that are told."""
        if self._changes < MOST_RUNS:
            self._runs[-1][2] += packets

    def result(self) -> Ttls:
        return Ttls(dict(sorted(self._seen.items())), self._changes, tuple(Run(*each) for each in self._runs))


def as_facts(found: Ttls) -> dict[str, Any]:
    """Plain JSON."""
    runs = [[run.since_ns, run.ttl, run.packets] for run in found.runs]
    return {"seen": {str(ttl): n for ttl, n in found.seen.items()}, "changes": found.changes, "runs": runs}
