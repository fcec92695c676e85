"""Counts per 1 s block of a run, gathered piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perfharness.analysis.samples import BLOCK_NS
from perfharness.analysis.statistics import Blocks, Ints


@dataclass(frozen=True, slots=True)
class Spans:
    """Which of (n,) packets in the order of sending are in which 1 s block. (k,) each, for the blocks with packets."""

    block: Ints
    """Its index."""
    starts: Ints
    """Its first packet, for ``ufunc.reduceat``."""
    sizes: Ints

    @classmethod
    def of(cls, since_ns: Ints) -> Spans:
        """(n,) when they were due. Raises ValueError if that ever decreases."""
        if not len(since_ns):
            return cls(since_ns, since_ns, since_ns)
        if (since_ns[1:] < since_ns[:-1]).any():
            raise ValueError("times must not decrease")
        block = np.arange(since_ns[0] // BLOCK_NS, since_ns[-1] // BLOCK_NS + 1)
        starts = np.searchsorted(since_ns, block * BLOCK_NS)
        sizes = np.diff(starts, append=len(since_ns))
        some = sizes > 0
        return cls(block[some], starts[some], sizes[some])

    @property
    def of_each(self) -> Ints:
        """(n,) the block of each packet."""
        return np.repeat(self.block, self.sizes)

    def counts(self, at: Ints) -> Ints:
        """(k,) how many of these packets are in each block."""
        return np.bincount(np.searchsorted(self.starts, at, side="right") - 1, minlength=len(self.block))


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
