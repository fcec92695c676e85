"""Do no harm while running: what holds on a circuit in service from the first load of a run to its end.

The agents keep the change window and heed their guards by themselves; here is what needs to see all hosts: a guard that
trips on one ends the load of the others, others' traffic is compared, and after harm nothing is loaded again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from perfharness.analysis.background import WAYS, Background
from perfharness.measurements.base import COUNTERS, WAN_COUNTERS
from perfharness.measurements.guarding import unwatched
from perfharness.model import Direction, Job, Task
from perfharness.order.circuit import Circuit
from perfharness.plan import BETWEEN_TASKS_S, needs_window

MARGIN_S = 1.0
"""Before its end the window is over for us: for a request on its way, and for ending."""
EventHandler = Callable[[str, Mapping[str, Any]], None]
SUFFERED = "the circuit suffered under an earlier load"


class Harm(Exception):
    """The load of this task must end now; the sentence says why."""


def _now() -> datetime:
    return datetime.now(UTC)


class Care:
    """One for a run; without a circuit, or for one not in service, it lets everything pass."""

    def __init__(
        self,
        circuit: Circuit | None = None,
        pass_on: EventHandler = lambda host, event: None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._circuit = circuit if circuit is not None and circuit.in_service else None
        self._pass_on = pass_on
        self._now = now
        self._lock = threading.Lock()
        self._task: Task | None = None
        self._background: Background | None = None
        self._counting: tuple[tuple[str, str], ...] = ()
        self._loaded = self._unseen = self._suffered = False
        self._tripped = ""

    def heard(self, host: str, event: Mapping[str, Any]) -> None:
        """An agent's event, in a thread of its session."""
        kind, (task, _, job) = event["event"], str(event["job"]).rpartition(".")
        with self._lock:
            if self._task is not None and self._task.id == task:
                if kind == "tripped":
                    self._tripped = self._tripped or str(event["data"]["reason"])
                elif kind == "counted" and self._background is not None and (host, job) in self._counting:
                    self._background.add(host, time.monotonic_ns(), event["data"])
        if kind not in ("tripped", "counted"):
            self._pass_on(host, event)

    # --- before

    def notes(self, tasks: Sequence[Task]) -> list[str]:
        """What will not be watched."""
        return list(unwatched(tasks, self._circuit)) if self._circuit else []

    def refuses(self, task: Task) -> str:
        """Why this task must not begin, or must not begin any more; empty where it may."""
        if self._suffered and any(job.load for job in task.jobs):
            return SUFFERED
        left_s = self.window_s(task)
        if left_s is None:
            return ""
        if left_s <= 0:
            return "the change window is over"
        if left_s < task.duration_s + BETWEEN_TASKS_S:
            return f"it takes {task.duration_s:.0f} s, and the change window ends in {left_s:.0f} s"
        return ""

    def window_s(self, task: Task) -> float | None:
        """How long its jobs may run from now on; None where no window limits them."""
        circuit = self._circuit
        if circuit is None or circuit.change is None or circuit.change.window_end is None:
            return None
        if not needs_window(task, circuit):
            return None
        return (circuit.change.window_end - self._now()).total_seconds() - MARGIN_S

    # --- beside

    def begin(self, task: Task) -> None:
        """Before the first job of a task is started."""
        with self._lock:
            self._task, self._tripped, self._loaded, self._unseen = task, "", False, False
            self._background = None
            if task.guard is not None and task.guard.wan:
                hosts = dict.fromkeys(a for a, _ in task.scope.pairs)
                self._background = Background(task.guard, hosts)
                self._counting = ((task.guard.wan, WAN_COUNTERS), *((host, COUNTERS) for host in hosts))

    def before(self, job: Job) -> None:
        """Before a job of the task is started that drives it. Raises Harm."""
        if not job.load or self._loaded:
            return
        self.check()
        with self._lock:
            self._loaded = True
            if self._background is not None and self._task is not None:
                says = self._background.begin(time.monotonic_ns(), _ways(self._task))
                if says:
                    raise Harm(f"no load was begun: {says}")

    def check(self) -> None:
        """Raises Harm when the load must end."""
        now_ns = time.monotonic_ns()
        with self._lock:
            if self._tripped:
                self._suffered |= self._loaded
                raise Harm(self._tripped)
            if self._loaded and self._background is not None:
                says = self._background.judge(now_ns)
                self._unseen = self._unseen or self._background.stale(now_ns)
                if says:
                    self._suffered = True
                    raise Harm(f"the load was ended: {says}")

    def ended_by_guard(self) -> None:
        """An agent said so of a job."""
        with self._lock:
            self._suffered |= self._loaded

    def blind(self) -> str:
        """What of the last task was to be watched and was not, a sentence; empty where all was."""
        with self._lock:
            if self._task is None or not self._unseen:
                return ""
            return f"Others' traffic was not watched all through {self._task.id}: counters of the CE were missing."


def _ways(task: Task) -> tuple[Direction, ...]:
    return WAYS if task.scope.direction not in WAYS else (task.scope.direction,)
