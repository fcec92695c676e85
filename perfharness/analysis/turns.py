"""The packets of one kind in a stream in which several kinds take turns (``perfagent.schedule.turns``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perfharness.analysis.statistics import Bools, Ints


@dataclass(frozen=True, slots=True)
class Turn:
    """One kind among the packets of a cycle, which comes again and again."""

    which: int = 0
    kinds: tuple[int, ...] = (0,)
    """Of each packet of a cycle."""

    @property
    def alone(self) -> bool:
        return set(self.kinds) == {self.which}

    def mine(self, seq: Ints) -> Bools:
        """(n,) which of these packets of the stream are of the kind."""
        mine: Bools = self._in_cycle()[seq % len(self.kinds)]
        return mine

    def number(self, seq: Ints) -> Ints:
        """(n,) of packets of the kind, their numbers among themselves, from 0 on."""
        mine = self._in_cycle()
        return seq // len(mine) * int(mine.sum()) + (np.cumsum(mine) - 1)[seq % len(mine)]

    def count(self, packets: int) -> int:
        """How many of the first so many of the stream are of the kind."""
        mine = self._in_cycle()
        cycles, rest = divmod(packets, len(mine))
        return cycles * int(mine.sum()) + int(mine[:rest].sum())

    def _in_cycle(self) -> Bools:
        mine: Bools = np.array(self.kinds) == self.which
        return mine


ALL = Turn()
