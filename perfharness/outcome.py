"""How a task goes, and a run: what `collect` learns of it on the way, and notes in task.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from perfharness.acts import Acting
from perfharness.care import Care
from perfharness.errors import HostUnusable
from perfharness.model import Status, Task


@dataclass(slots=True)
class Ending:
    """How the collection ended."""

    how: str = "completed"
    notes: list[str] = field(default_factory=list)
    """What went wrong on the way, one sentence each."""
    lost: HostUnusable | None = None


@dataclass(slots=True)
class Outcome:
    """How a task went, as noted in task.json."""

    status: Status = Status.COMPLETED
    reason: str = ""
    jobs: dict[str, str] = field(default_factory=dict)
    """State of each job that was started, by ``<endpoint>.<job>``."""
    watched: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """By the same, brackets of our clock (ns) in which a watcher's first row was written, and its last."""
    drove: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By the same, when a driver was asked to begin and when its end was heard of: our monotonic clock, ns."""
    lost: set[str] = field(default_factory=set)
    """Hosts that are gone: there is nobody to ask any more."""
    spare: frozenset[str] = frozenset()
    """Hosts without which the task goes on."""
    notes: list[str] = field(default_factory=list)
    care: Care = field(default_factory=Care)
    say: Callable[[str], None] = lambda _: None
    """Tells the person who watches what to do."""
    acts: list[dict[str, Any]] = field(default_factory=list)
    """What was done to the circuit meanwhile (``acts.Acting``)."""
    answered: bool = False
    """A server has said what it knows of its driver's failure."""

    @contextmanager
    def acting(self, task: Task) -> Iterator[Acting]:
        """What is to be done to the circuit is done beside the block, and put back however that ends."""
        acting = Acting(task, self.say)
        try:
            with acting:
                yield acting
        finally:
            self.acts += acting.rows
            if acting.trouble:
                self.fail(Status.FAILED, acting.trouble)
                self.notes.append(acting.trouble)

    def fail(self, status: Status, reason: str) -> None:
        """The first thing that went wrong is the reason; what follows from it is not."""
        if self.status is Status.COMPLETED:
            self.status, self.reason = status, reason

    def answer(self, words: str) -> None:
        """What the other end, too, says went wrong: either may be the cause. One is enough."""
        if not self.answered:
            self.reason, self.answered = f"{self.reason.rstrip('.')}. The other end: {words}.", True

    def noted(self, started_ns: int | None, ended_ns: int | None) -> dict[str, Any]:
        """What task.json holds; the times by our clock, ns, None where the task was not begun."""
        return {
            "format_version": 1,
            "status": self.status.value,
            "reason": self.reason,
            "started_ns": started_ns,
            "ended_ns": ended_ns,
            "jobs": self.jobs,
            "watched": self.watched,
            "drove": self.drove,
            "acts": self.acts,
        }
