"""How packets were marked on arrival, class by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any


class Marks:
    """Counts the TOS bytes (DSCP << 2 | ECN) of the packets of each class."""

    def __init__(self, turns: Sequence[int] = (0,)) -> None:
        """``turns``: the class of each packet of a cycle (``schedule.turns``)."""
        self._seen: list[Counter[int]] = [Counter() for _ in range(max(turns) + 1)]
        self._turns = turns

    def add(self, seq: int, tos: int) -> None:
        self._seen[self._turns[seq % len(self._turns)]][tos] += 1

    def figures(self) -> dict[str, Any]:
        """For ``result.json``: of all packets, and of each class."""
        return {"tos_seen": _told(sum(self._seen, Counter())), "tos_by_class": [_told(seen) for seen in self._seen]}


def _told(seen: Counter[int]) -> dict[str, int]:
    return {str(tos): n for tos, n in sorted(seen.items())}
