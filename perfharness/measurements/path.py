"""path: does each end reach the other, by which hops, and are the agreed ports open."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import Field

from perfharness.analysis.capacity import counted_bytes
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
from perfharness.model import Direction, Interval, Job, Measurement, Observation, PortUse, Role, Scope, Status, Task

LISTEN, ROUTE, PING, HOPS, PORTS, NEXT_HOP = "listen", "route", "ping", "hops", "ports", "next_hop"
WAYS = (Direction.A_Z, Direction.Z_A)
PING_INTERVAL_MS = 10
"""What an unprivileged user may send at, and little enough for any link."""

PING_IP_BYTES = 84
"""Each end's request and the reply to it; the other end asks at the same time."""


class PathParams(NoParams):
    ping_count: int = Field(default=100, ge=1, le=100_000)
    hops: bool = True


class Path:
    name = "path"
    parameters = PathParams
    statistics: Mapping[str, Collection[str]] = {"path": ("reachable",), "port": ("blocked",)}

    def tasks(self, params: PathParams, step: str, context: Context) -> tuple[Task, ...]:
        seconds = params.ping_count * PING_INTERVAL_MS / 1000
        ping_bytes = counted_bytes(PING_IP_BYTES, context.layer, tagged=context.tagged)
        return (
            Task(
                id=step,
                step=step,
                measurement=self.name,
                scope=context.scope(Direction.BOTH),
                jobs=tuple(job for way in WAYS for job in self._jobs(params, context, way, seconds + 20.0)),
                duration_s=max(seconds, 2.0),
                load_bps=2 * ping_bytes * 8 * 1000 // PING_INTERVAL_MS,
                load_bytes=params.ping_count * ping_bytes * 4,
                ports=tuple(use for way in WAYS for use in self._ports_used(context, way)),
                privileges=("CAP_NET_RAW for the ARP probe of the next hop",),
                yields={"path": WAYS, "port": WAYS},
            ),
        )

    @staticmethod
    def _jobs(params: PathParams, context: Context, way: Direction, deadline: float) -> list[Job]:
        source, target = context.ends(way)
        ports = list(target.ports)[:MOST_PORTS]
        ends = {"peer": str(target.address), "source": str(source.address)}
        port_lists = {"tcp": ports, "udp": ports}

        def drive(job: str, method: str, args: dict[str, Any], optional: bool = False) -> Job:
            return Job(_id(job, way), source.name, method, args, Role.DRIVE, deadline, optional=optional)

        listen = {"address": str(target.address), "peer": str(source.address), **port_lists}
        jobs = [
            Job(_id(LISTEN, way), target.name, "path.listen", listen, Role.SERVE, deadline + SETUP_S),
            drive(ROUTE, "path.route", ends, True),
            drive(PING, "path.ping", {**ends, "count": params.ping_count, "interval_ms": PING_INTERVAL_MS}),
            drive(PORTS, "path.ports", {**ends, **port_lists}),
            drive(NEXT_HOP, "link.next_hop", ends, True),
        ]
        if params.hops:
            jobs.append(drive(HOPS, "path.hops", {**ends, "port": ports[0], "max_ttl": 30, "tries": 3}, True))
        return jobs

    @staticmethod
    def _ports_used(context: Context, way: Direction) -> Iterator[PortUse]:
        source, target = context.ends(way)
        for protocol in ("tcp", "udp"):
            for port in list(target.ports)[:MOST_PORTS]:
                yield PortUse(source.name, target.name, protocol, port, "port matrix")
        yield PortUse(source.name, target.name, "icmp", None, "ping")

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        observations, facts = [], {}
        for way in WAYS:
            source = context.ends(way)[0].name
            data = self._data(files, source, way)
            if PING not in data or PORTS not in data:
                return failed(task, files, f"{source} left no result of {'ping' if PING not in data else 'its ports'}.")
            scope = context.scope(way)
            observations.append(self._reachable(scope, data, files.path(source, _id(PING, way))))
            observations.append(self._ports(scope, data[PORTS], files.path(source, _id(PORTS, way))))
            ping = {"sent": data[PING]["sent"], "received": data[PING]["received"]}
            facts[way.value] = {**data, PING: ping}
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=tuple(observations),
            facts=facts,
        )

    @staticmethod
    def _data(files: TaskFiles, source: str, way: Direction) -> dict[str, Any]:
        """What each driver of one direction found, by kind of job; what failed is not there."""
        found = {}
        for kind in (ROUTE, PING, PORTS, NEXT_HOP, HOPS):
            result = files.result(source, _id(kind, way))
            if result is not None and result["status"] == "completed":
                found[kind] = result["data"]
        return found

    @staticmethod
    def _reachable(scope: Scope, data: dict[str, Any], evidence: str) -> Observation:
        """Reached = anything came back: many hosts keep silent to ping, or to all but the agreed ports."""
        ping = data[PING]
        answered = [name for name, state in _states(data[PORTS]).items() if state in ("open", "refused")]
        return Observation(
            metric="path",
            statistic="reachable",
            scope=scope,
            unit="",
            value=bool(ping["received"] or answered),
            n=ping["sent"] + len(_states(data[PORTS])),
            evidence=(evidence,),
            reason=f"{ping['received']} of {ping['sent']} echo requests and {len(answered)} ports answered.",
        )

    @staticmethod
    def _ports(scope: Scope, ports: dict[str, Any], evidence: str) -> Observation:
        states = _states(ports)
        closed = {name: state for name, state in states.items() if state != "open"}
        return Observation(
            metric="port",
            statistic="blocked",
            scope=scope,
            unit="",
            value=len(closed),
            n=len(states),
            interval=Interval(len(closed), len(closed), 1.0, "exact", "each port tried"),
            evidence=(evidence,),
            reason=", ".join(f"{name} {state}" for name, state in closed.items()),
        )


def _id(kind: str, way: Direction) -> str:
    return f"{kind}-{way.value}"


def _states(ports: dict[str, Any]) -> dict[str, str]:
    """``{"tcp/5201": "open", …}``"""
    return {f"{protocol}/{port}": state for protocol in ("tcp", "udp") for port, state in ports[protocol].items()}
