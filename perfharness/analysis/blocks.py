"""Counts per 1 s block of a run, gathered piece by piece."""

from __future__ import annotations

import numpy as np

from perfharness.analysis.statistics import Blocks, Ints


class Blocked:
    """A count for each block; pieces may share one."""

    def __init__(self) -> None:
        self._counts = np.zeros(1024, np.int64)

    def add(self, block: Blocks, counts: Ints) -> None:
        """``block``: (k,) increasing indices."""
        if not len(block):
            return
        if (last := int(block[-1])) >= len(self._counts):
            self._counts = np.concatenate((self._counts, np.zeros(max(last + 1, len(self._counts)), np.int64)))
        self._counts[block] += counts

    def blocks(self) -> Ints:
        """Indices of the blocks that have any."""
        return np.flatnonzero(self._counts)

    def of(self, packets: Blocked) -> Ints:
        """The counts of those blocks in which there are ``packets``."""
        return self.at(packets.blocks())

    def at(self, block: Blocks) -> Ints:
        """The counts of these blocks."""
        counts = np.zeros(len(block), np.int64)
        known = block < len(self._counts)
        counts[known] = self._counts[block[known]]
        return counts
