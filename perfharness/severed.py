"""Pairs of hosts that do not reach one another: what would only wait for them is left out, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from perfharness.model import Task

LOOKS = "path"
"""The metric of tasks that find out; they are always run, and have the last word."""


@dataclass(slots=True)
class Severed:
    why: Callable[[Task], str] = lambda _: ""
    """Why nothing passes between the pair of a task that looked and was completed; empty where something does."""
    _pairs: dict[str, str] = field(default_factory=dict)
    """By pair, the reason."""

    def learn(self, task: Task) -> None:
        """After this task was completed."""
        if LOOKS in task.yields and task.scope.family == "ipv4":  # over which all that loads runs
            self._pairs[task.scope.pair] = self.why(task)

    def refuses(self, task: Task) -> str:
        """Why this task is not run; empty where it is. What sends nothing over the circuit is."""
        crosses = task.load_bps > 0 and not task.scope.host and LOOKS not in task.yields
        dead = next(filter(None, (self._pairs.get(":".join(pair)) for pair in task.scope.pairs)), "")
        return f"It was left out. {dead}" if crosses and dead else ""
