"""path: does each end reach the other, by which hops, and are the agreed ports open."""

from __future__ import annotations

from typing import Any

from perfharness.evidence import TaskFiles
from perfharness.measurements.base import (
    MOST_PORTS,
    SETUP_S,
    Context,
    failed,
    not_completed,
    window_of,
)
from perfharness.measurements.base import Params as NoParams
from perfharness.model import Direction, Interval, Job, Measurement, Observation, PortUse, Role, Status, Task

LISTEN, ROUTE, PING, HOPS, PORTS, NEXT_HOP = "listen", "route", "ping", "hops", "ports", "next_hop"
PING_INTERVAL_MS = 10
"""What an unprivileged user may send at, and little enough for any link."""


class PathParams(NoParams):
    ping_count: int = 100
    hops: bool = True


class Path:
    name = "path"
    parameters = PathParams

    def tasks(self, params: PathParams, step: str, context: Context) -> tuple[Task, ...]:
        return tuple(self._task(params, step, context, d) for d in (Direction.A_Z, Direction.Z_A))

    def _task(self, params: PathParams, step: str, context: Context, direction: Direction) -> Task:
        source, target = context.ends(direction)
        ports = list(target.ports)[:MOST_PORTS]
        ends = {"peer": str(target.address), "source": str(source.address)}
        seconds = params.ping_count * PING_INTERVAL_MS / 1000
        deadline = seconds + 20.0
        port_lists = {"tcp": ports, "udp": ports}

        def drive(job: str, method: str, args: dict[str, Any], optional: bool = False) -> Job:
            return Job(job, source.name, method, args, Role.DRIVE, deadline, optional=optional)

        jobs = [
            Job(
                id=LISTEN,
                endpoint=target.name,
                method="path.listen",
                args={"address": str(target.address), "peer": str(source.address), **port_lists},
                role=Role.SERVE,
                deadline_s=deadline + SETUP_S,
            ),
            drive(ROUTE, "path.route", ends, True),
            drive(PING, "path.ping", {**ends, "count": params.ping_count, "interval_ms": PING_INTERVAL_MS}),
            drive(PORTS, "path.ports", {**ends, **port_lists}),
            drive(NEXT_HOP, "link.next_hop", ends, True),
        ]
        if params.hops:
            jobs.append(drive(HOPS, "path.hops", {**ends, "port": ports[0], "max_ttl": 30, "tries": 3}, True))
        return Task(
            id=f"{step}-{direction.value}",
            step=step,
            measurement=self.name,
            scope=context.scope(direction),
            jobs=tuple(jobs),
            duration_s=max(seconds, 3.0),
            load_bytes=params.ping_count * 98 * 2,
            ports=(
                *(
                    PortUse(source.name, target.name, protocol, port, "port matrix")
                    for protocol in ("tcp", "udp")
                    for port in ports
                ),
                PortUse(source.name, target.name, "icmp", None, "ping; TTL-exceeded answers of the hops"),
            ),
            privileges=("CAP_NET_RAW for the ARP probe of the next hop",),
            yields={"path": (direction,), "port": (direction,)},
        )

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        source = next(job.endpoint for job in task.jobs if job.id == PING)
        results = {job.id: files.result(source, job.id) for job in task.jobs if job.role is Role.DRIVE}
        data = {job: result["data"] for job, result in results.items() if result and result["status"] == "completed"}
        if PING not in data or PORTS not in data:
            return failed(task, files, f"{source} left no result of {'ping' if PING not in data else 'the ports'}.")
        observations = [self._reachable(task, data, files.path(source, PING))]
        observations.append(self._ports(task, data[PORTS], files.path(source, PORTS)))
        facts = {job: value for job, value in data.items() if job != PING}
        facts[PING] = {"sent": data[PING]["sent"], "received": data[PING]["received"]}
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=tuple(observations),
            facts={str(task.scope.direction): facts},
        )

    @staticmethod
    def _reachable(task: Task, data: dict[str, Any], evidence: str) -> Observation:
        """Reached = anything came back: many hosts keep silent to ping, or to all but the agreed ports."""
        ping = data[PING]
        answered = [name for name, state in _states(data[PORTS]).items() if state in ("open", "refused")]
        return Observation(
            metric="path",
            statistic="reachable",
            scope=task.scope,
            unit="",
            value=bool(ping["received"] or answered),
            n=ping["sent"] + len(_states(data[PORTS])),
            evidence=(evidence,),
            reason=f"{ping['received']} of {ping['sent']} echo requests and {len(answered)} ports answered.",
        )

    @staticmethod
    def _ports(task: Task, ports: dict[str, Any], evidence: str) -> Observation:
        states = _states(ports)
        closed = {name: state for name, state in states.items() if state != "open"}
        return Observation(
            metric="port",
            statistic="blocked",
            scope=task.scope,
            unit="",
            value=len(closed),
            n=len(states),
            interval=Interval(len(closed), len(closed), 1.0, "exact", "each port tried"),
            evidence=(evidence,),
            reason=", ".join(f"{name} {state}" for name, state in closed.items()),
        )


def _states(ports: dict[str, Any]) -> dict[str, str]:
    """``{"tcp/5201": "open", …}``"""
    return {f"{protocol}/{port}": state for protocol in ("tcp", "udp") for port, state in ports[protocol].items()}
