"""path: does each end reach the other, by which hops, and do ports let through what they should and nothing else.

Where both hosts have an IPv6 address it is a task of its own: firewalls have rules of their own for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from perfharness.analysis.capacity import counted_bytes
from perfharness.evidence import TaskFiles
from perfharness.measurements import path_marks, path_ports, path_reach
from perfharness.measurements.base import SETUP_S, V4, V6, Context, address_of, failed, not_completed, window_of
from perfharness.measurements.base import Params as NoParams
from perfharness.measurements.path_reach import WAYS
from perfharness.model import Direction, Job, Measurement, Observation, PortUse, Role, Status, Task
from perfharness.order.dscp import Dscp

LISTEN, ROUTE, PING, HOPS, PORTS, NEXT_HOP = "listen", "route", "ping", "hops", "ports", "next_hop"
UNDECLARED, FORBIDDEN = "undeclared", "forbidden"
PING_INTERVAL_MS = 10
"""What an unprivileged user may send at, and little enough for any link."""

PING_IP_BYTES = {V4: 84, V6: 104}
"""Each end's request and the reply to it; the other end asks at the same time."""


class PathParams(NoParams):
    ping_count: int = Field(default=100, ge=1, le=100_000)
    hops: bool = True
    flows: int = Field(default=4, ge=1, le=16)
    """Flows that are traced: routers that share flows over several links may send each another way."""
    classes: Annotated[tuple[Dscp, ...], Field(max_length=8)] = ()
    """Classes of service of which a few packets are sent each way."""


class Path:
    name = "path"
    parameters = PathParams
    statistics: Mapping[str, Collection[str]] = {
        "path": ("reachable", "symmetric", "internet", "elsewhere", "this_circuit"),
        "port": ("blocked", "open_undeclared", "forbidden_open"),
        "dscp": ("preserved",),
    }

    def tasks(self, params: PathParams, step: str, context: Context) -> tuple[Task, ...]:
        both = context.a.address6 and context.z.address6
        marks = (path_marks.task(params.classes, step, context),) if params.classes else ()
        over_ipv6 = (self._task(f"{step}-v6", step, params, context, V6),) if both else ()
        return (self._task(step, step, params, context, V4), *over_ipv6, *marks)

    def _task(self, name: str, step: str, params: PathParams, context: Context, family: str) -> Task:
        seconds = params.ping_count * PING_INTERVAL_MS / 1000
        ping_bytes = counted_bytes(PING_IP_BYTES[family], context.layer, tagged=context.tagged)
        jobs = (job for way in WAYS for job in self._jobs(params, context, way, family, seconds + 20.0))
        return Task(
            id=name,
            step=step,
            measurement=self.name,
            scope=context.scope(Direction.BOTH, family=family),
            jobs=tuple(jobs),
            duration_s=max(seconds, 2.0),
            load_bps=2 * ping_bytes * 8 * 1000 // PING_INTERVAL_MS,
            load_bytes=params.ping_count * ping_bytes * 4,
            ports=tuple(use for way in WAYS for use in self._ports_used(context, way)),
            closed=tuple(use for way in WAYS for use in path_ports.announced(context, way, family)),
            privileges=("CAP_NET_RAW for the ARP probe of the next hop",) if family == V4 else (),
            yields={"path": WAYS, "port": WAYS},
        )

    @staticmethod
    def _jobs(params: PathParams, context: Context, way: Direction, family: str, deadline: float) -> list[Job]:
        source, target = context.ends(way)
        ports = path_ports.tried(target)
        ends = {"peer": address_of(target, family), "source": address_of(source, family)}
        closed = path_ports.forbidden(context, way, family)

        def drive(job: str, method: str, args: dict[str, Any], optional: bool = False) -> Job:
            return Job(_id(job, way), source.name, method, args, Role.DRIVE, deadline, optional=optional)

        def scan(job: str, address: str, tcp: Collection[int], udp: Collection[int]) -> Job:
            return drive(job, "path.ports", {**ends, "peer": address, "tcp": list(tcp), "udp": list(udp)})

        listen = {"address": ends["peer"], "peer": ends["source"], "tcp": ports, "udp": ports}
        spare = {
            f"spare_{name}": list(some) for name, some in path_ports.to_target(closed, ends["peer"]).items() if some
        }
        jobs = [
            Job(_id(LISTEN, way), target.name, "path.listen", {**listen, **spare}, Role.SERVE, deadline + SETUP_S),
            drive(ROUTE, "path.route", ends, True),
            drive(PING, "path.ping", {**ends, "count": params.ping_count, "interval_ms": PING_INTERVAL_MS}),
            scan(PORTS, ends["peer"], ports, ports),
        ]
        if family == V4:
            jobs.append(drive(NEXT_HOP, "link.next_hop", ends, True))
        if undeclared := path_ports.undeclared(target):
            jobs.append(scan(UNDECLARED, ends["peer"], undeclared, ()))
        for number, place in enumerate(closed):
            jobs.append(scan(f"{FORBIDDEN}-{number}", place.address, place.ports["tcp"], place.ports["udp"]))
        if params.hops:
            asked = {**ends, "port": ports[0], "max_ttl": 30, "tries": 3, "flows": params.flows}
            jobs.append(drive(HOPS, "path.hops", asked, True))
        return jobs

    @staticmethod
    def _ports_used(context: Context, way: Direction) -> Iterator[PortUse]:
        source, target = context.ends(way)
        for protocol in ("tcp", "udp"):
            for port in path_ports.tried(target):
                yield PortUse(source.name, target.name, protocol, port, "port matrix")
        yield PortUse(source.name, target.name, "icmp", None, "ping")

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        if "dscp" in task.yields:
            return path_marks.analyse(task, files, context)
        broken = not_completed(task, files)
        if broken:
            return broken
        found: dict[Direction, dict[str, Any]] = {}
        for way in WAYS:
            found[way] = self._data(task, files, way, context)
            missing = [kind for kind in (PING, PORTS) if kind not in found[way]]
            if missing:
                return failed(task, files, f"{context.ends(way)[0].name} left no result of its {missing[0]}.")
        observations = [each for way in WAYS for each in self._of_ports(task, files, context, way, found[way])]
        traces = {way: files.path(context.ends(way)[0].name, _id(HOPS, way)) for way in WAYS}
        observations += path_reach.ways_seen(context, task.scope.family, files, found, traces, bool(task.acts))
        facts: dict[str, Any] = {way.value: data for way, data in found.items()}
        far = {way: address_of(context.ends(way)[1], task.scope.family) for way in WAYS}
        dead = path_reach.unreachable(found, far)
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=tuple(observations),
            facts={**facts, "unreachable": dead} if dead else facts,
        )

    @staticmethod
    def _data(task: Task, files: TaskFiles, way: Direction, context: Context) -> dict[str, Any]:
        """What each job of one direction found, by kind of job; what failed is not there."""
        source, target = context.ends(way)

        def told(host: str, job: str) -> dict[str, Any] | None:
            result = files.result(host, job)
            return dict(result["data"]) if result is not None and result["status"] == "completed" else None

        kinds = (ROUTE, PING, PORTS, NEXT_HOP, HOPS, UNDECLARED)
        found: dict[str, Any] = {
            kind: data for kind in kinds if (data := told(source.name, _id(kind, way))) is not None
        }
        if PING in found:
            found[PING] = {name: found[PING].get(name) for name in ("sent", "received", "reason")}
        errors = found.get(PORTS, {}).pop("errors", {})
        found["errors"] = {name: {**said, "segment": _segment(said, context)} for name, said in errors.items()}
        listened = told(target.name, _id(LISTEN, way)) or {}
        seen = listened.get("seen", {})
        found["arrived"] = {name: seen.get(name, {}) for name in ("tcp", "udp")}
        found["translated"] = listened.get("translated", {})
        found |= path_reach.end_of_way(found.get(HOPS), context)
        found[FORBIDDEN] = {}
        for job in _tries(task, way):
            here = job.args["peer"] == address_of(target, task.scope.family)
            tried = told(source.name, job.id)
            states = path_ports.verdicts(tried, listened if here else None) if tried else {}
            name = target.name if here else job.args["peer"]
            found[FORBIDDEN].update({f"{name} {port}": state for port, state in states.items()})
        return found

    @staticmethod
    def _of_ports(
        task: Task, files: TaskFiles, context: Context, way: Direction, data: dict[str, Any]
    ) -> Iterator[Observation]:
        source, target = context.ends(way)
        scope, far = context.scope(way, family=task.scope.family), address_of(target, task.scope.family)
        alive = path_reach.answers(data, far) + path_reach.resets(data) > 0

        def evidence(kind: str) -> str:
            return files.path(source.name, _id(kind, way))

        tries = tuple(files.path(source.name, job.id) for job in _tries(task, way))

        yield path_reach.reachable(scope, data, far, evidence(PING))
        yield path_ports.blocked(scope, data[PORTS], data["errors"], target, evidence(PORTS))
        yield path_ports.open_undeclared(scope, data.get(UNDECLARED), alive, evidence(UNDECLARED))
        yield path_ports.forbidden_open(scope, data[FORBIDDEN], alive, tries)


def _tries(task: Task, way: Direction) -> list[Job]:
    """What tried the forbidden connections; the order by which is judged may say otherwise."""
    return [job for job in task.jobs if job.id.startswith(FORBIDDEN) and job.id.endswith(way.value)]


def _segment(said: Mapping[str, Any], context: Context) -> str:
    return path_reach.whose(said["from"], context).value if said.get("from") else ""


def _id(kind: str, way: Direction) -> str:
    return f"{kind}-{way.value}"
