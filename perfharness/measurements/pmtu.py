"""pmtu: the largest IP packet with DF that arrives, in both directions at once, ICMP not trusted (RFC 4821, 8899).

Where both hosts have an IPv6 address it is a task of its own; there no router fragments, and there is no DF to set.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from perfharness.evidence import TaskFiles
from perfharness.measurements import pmtu_result
from perfharness.measurements.base import (
    SETUP_S,
    V4,
    V6,
    Context,
    Params,
    address_of,
    failed,
    not_completed,
    window_of,
)
from perfharness.model import Direction, Job, Measurement, PortUse, Role, Status, Task

ECHO, SEARCH = "pmtu.echo", "pmtu.search"
"""Methods of the agent."""
WAYS = (Direction.A_Z, Direction.Z_A)
FLOOR = 576
"""Every IPv4 host accepts a packet of this size (RFC 791, section 3.1)."""
LEAST_V6 = 1280
"""RFC 8200, section 5: every link carries it."""
CEILING = pmtu_result.CEILING
DEADLINE_S = 20.0
"""On top of the time that the probes take at their pace."""
MOST_BPS = 20_000_000
SHARE = 20
"""Its pace is this part of the ordered rate: half of what a circuit in service carries without a change record."""
MOST_BYTES = 1_000_000
"""Of a search among jumbo packets in which all too large ones vanish; one at 1500 bytes sends a tenth of it."""


def pace_bps(context: Context) -> int:
    return min(MOST_BPS, context.committed_bps // SHARE)


def duration_s(context: Context) -> float:
    """In which a search ends on any but a very lossy path."""
    return max(2.0, MOST_BYTES * 8 / pace_bps(context))


def jobs(
    context: Context,
    direction: Direction,
    port: int,
    beside_s: float = 0.0,
    family: str = V4,
    syn: bool = False,
) -> tuple[Job, Job]:
    """(who answers, who searches); the former stays for ``beside_s`` more where the task goes on without it.

    ``syn``: a TCP connection to the same port tells what becomes of the MSS.
    """
    source, target = context.ends(direction)
    deadline_s = DEADLINE_S + MOST_BYTES * 8 / pace_bps(context)
    ends = {"port": port, "syn": syn}
    echo = Job(
        id=f"echo-{direction.value}",
        endpoint=target.name,
        method=ECHO,
        args={"address": address_of(target, family), "peer": address_of(source, family), **ends},
        role=Role.SERVE,
        deadline_s=deadline_s + SETUP_S + beside_s,
    )
    search = Job(
        id=f"search-{direction.value}",
        endpoint=source.name,
        method=SEARCH,
        args={
            "peer": address_of(target, family),
            "source": address_of(source, family),
            "floor": FLOOR if family == V4 else LEAST_V6,
            "ceiling": CEILING,
            "pace_bps": pace_bps(context),
            **ends,
        },
        role=Role.DRIVE,
        deadline_s=deadline_s,
    )
    return echo, search


class PathMtu:
    name = "pmtu"
    parameters = Params
    statistics: Mapping[str, Collection[str]] = {"pmtu": pmtu_result.STATISTICS}

    def tasks(self, params: Params, step: str, context: Context) -> tuple[Task, ...]:
        both = context.a.address6 and context.z.address6
        return (self._task(step, step, context, V4), *([self._task(f"{step}-v6", step, context, V6)] if both else []))

    def _task(self, name: str, step: str, context: Context, family: str) -> Task:
        ports = {Direction.A_Z: context.probe_port(), Direction.Z_A: next(iter(context.a.ports))}
        return Task(
            id=name,
            step=step,
            measurement=self.name,
            scope=context.scope(Direction.BOTH, family=family),
            jobs=tuple(job for way in WAYS for job in jobs(context, way, ports[way], family=family, syn=True)),
            duration_s=duration_s(context),
            load_bps=pace_bps(context),
            load_bytes=2 * MOST_BYTES,
            ports=tuple(use for way in WAYS for use in _ports_used(context, way, ports[way])),
            yields={"pmtu": WAYS},
        )

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        observations, facts = [], {}
        for echo, search in zip(task.jobs[::2], task.jobs[1::2], strict=True):
            result = files.result(search.endpoint, search.id)
            if result is None or result["status"] != "completed":
                return failed(task, files, f"{search.endpoint} left no result of the search.")
            way = next(way for way in WAYS if search.id.endswith(way.value))
            answered = (files.result(echo.endpoint, echo.id) or {}).get("data", {})
            evidence = (files.path(search.endpoint, search.id), files.path(echo.endpoint, echo.id))
            found = pmtu_result.Found(context, way, task.scope.family, result["data"], answered)
            observations += pmtu_result.observations(found, evidence)
            facts[way.value] = pmtu_result.facts(found)
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=tuple(observations),
            facts=facts,
        )


def _ports_used(context: Context, way: Direction, port: int) -> Iterator[PortUse]:
    source, target = context.ends(way)
    yield PortUse(source.name, target.name, "udp", port, "packets of growing size with DF")
    yield PortUse(source.name, target.name, "tcp", port, "a connection for its MSS")
