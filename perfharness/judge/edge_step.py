"""What one step `edge` found, for the rules that read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from perfharness.model import Finding, Measurement

ANNOUNCED, RECEIVED = "announced", "received"


class Step(NamedTuple):
    """One step `edge`: what it found broken, by ``metric.statistic``, and what it knows."""

    item: Measurement
    broken: Mapping[str, Finding]
    facts: Mapping[str, Any]

    def because(self, *names: str) -> tuple[str, ...]:
        return tuple(
            f"{self.facts['router']['name']}: {self.broken[name].reason}" for name in names if name in self.broken
        )

    def ids(self, *names: str) -> tuple[str, ...]:
        return tuple(self.broken[name].id for name in names if name in self.broken)
