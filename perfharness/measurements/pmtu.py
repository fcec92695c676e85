"""pmtu: the largest IP packet with DF that arrives, in each direction, ICMP not trusted (RFC 4821, 8899)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Any

from perfharness.evidence import TaskFiles
from perfharness.measurements.base import SETUP_S, Context, Params, failed, not_completed, window_of
from perfharness.model import Direction, Interval, Job, Measurement, Observation, PortUse, Role, Status, Task

ECHO, SEARCH = "echo", "search"
FLOOR = 576
"""Every IPv4 host accepts a packet of this size (RFC 791, section 3.1)."""
CEILING = 9216
"""Above every MTU that this kind of circuit is sold with."""
DEADLINE_S = 20.0
"""On top of the time that the probes take at their pace."""
MOST_BPS = 20_000_000
SHARE = 20
"""Its pace is this part of the ordered rate: half of what a circuit in service carries without a change record."""
MOST_BYTES = 500_000
"""Of a search in which nothing is told by ICMP; one on a path without a narrow link sends a tenth of it."""


def pace_bps(context: Context) -> int:
    return min(MOST_BPS, context.committed_bps // SHARE)


def duration_s(context: Context) -> float:
    """In which a search ends on any but a very lossy path."""
    return max(2.0, MOST_BYTES * 8 / pace_bps(context))


def jobs(context: Context, direction: Direction, port: int, beside_s: float = 0.0) -> tuple[Job, Job]:
    """(who answers, who searches); the former stays for ``beside_s`` more where the task goes on without it."""
    source, target = context.ends(direction)
    deadline_s = DEADLINE_S + MOST_BYTES * 8 / pace_bps(context)
    echo = Job(
        id=ECHO,
        endpoint=target.name,
        method="pmtu.echo",
        args={"address": str(target.address), "port": port, "peer": str(source.address)},
        role=Role.SERVE,
        deadline_s=deadline_s + SETUP_S + beside_s,
    )
    search = Job(
        id=SEARCH,
        endpoint=source.name,
        method="pmtu.search",
        args={
            "peer": str(target.address),
            "port": port,
            "source": str(source.address),
            "floor": FLOOR,
            "ceiling": CEILING,
            "pace_bps": pace_bps(context),
        },
        role=Role.DRIVE,
        deadline_s=deadline_s,
    )
    return echo, search


class PathMtu:
    name = "pmtu"
    parameters = Params
    statistics: Mapping[str, Collection[str]] = {"pmtu": ("largest",)}

    def tasks(self, params: Params, step: str, context: Context) -> tuple[Task, ...]:
        return tuple(self._task(step, context, direction) for direction in (Direction.A_Z, Direction.Z_A))

    def _task(self, step: str, context: Context, direction: Direction) -> Task:
        source, target = context.ends(direction)
        port = context.probe_port() if target is context.z else next(iter(context.a.ports))
        return Task(
            id=f"{step}-{direction.value}",
            step=step,
            measurement=self.name,
            scope=context.scope(direction),
            jobs=jobs(context, direction, port),
            duration_s=duration_s(context),
            load_bps=pace_bps(context),
            load_bytes=MOST_BYTES,
            ports=(PortUse(source.name, target.name, "udp", port, "packets of growing size with DF"),),
            yields={"pmtu": (direction,)},
        )

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        search = next(job for job in task.jobs if job.id == SEARCH)
        result = files.result(search.endpoint, SEARCH)
        if result is None or result["status"] != "completed":
            return failed(task, files, f"{search.endpoint} left no result of the search.")
        data: dict[str, Any] = result["data"]
        size, narrow = data["pmtu"], _narrow_host(task, files, data)
        # Where a host's own interface or the search ends, the path may carry more.
        most = math.inf if narrow or size >= CEILING else size
        observation = Observation(
            metric="pmtu",
            statistic="largest",
            scope=task.scope,
            unit="B",
            value=size,
            n=data["tries"],
            # Found by packets that arrived and packets that did not, to the byte.
            interval=Interval(size, most, 1.0, "exact", "search with DF, each failing size tried three times"),
            evidence=(files.path(search.endpoint, SEARCH),),
            reason=narrow or _about(data),
            hosts=(),
        )
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=(observation,),
            facts={str(task.scope.direction): {**data, "said_on_side": _side_of_speaker(data, context)}},
        )


def _side_of_speaker(data: dict[str, Any], context: Context) -> str:
    """``onprem`` or ``cloud``: where the order has the router that says Packet Too Big; empty if nobody does, or it has
    it nowhere."""
    ptb, order = data.get("ptb") or [], context.circuit
    speaker = ip_address(ptb[0]["from"]) if ptb else None
    if speaker is None:
        return ""
    ends = {"onprem": [vbr.link.customer.ip for vbr in order.vbrs], "cloud": [vbr.link.cloud.ip for vbr in order.vbrs]}
    sides = {"onprem": order.prefixes.onprem, "cloud": order.prefixes.cloud}
    return next((at for at in sides if speaker in ends[at] or any(speaker in each for each in sides[at])), "")


def _narrow_host(task: Task, files: TaskFiles, data: dict[str, Any]) -> str:
    """Which host itself allows nothing larger than what was found; empty when both do, or a router says that it does
    not."""
    size = data["pmtu"]
    if data.get("local_mtu") is not None and data["local_mtu"] <= size:
        return f"The sender's own interface allows no more than {data['local_mtu']} B."
    echo = next(job for job in task.jobs if job.id == ECHO)
    mtu = (files.result(echo.endpoint, ECHO) or {}).get("data", {}).get("local_mtu")
    if mtu is not None and mtu <= size and not data.get("ptb"):
        return f"The interface of the receiver, {echo.endpoint}, need take no more than its MTU of {mtu} B."
    return ""


def _about(data: dict[str, Any]) -> str:
    """What limits it, as far as the packets and the ICMP messages say."""
    ptb = data.get("ptb") or []
    if data.get("blackhole"):
        return "Larger packets vanish without a Packet Too Big message: a black hole."
    if ptb:
        return f"{ptb[0]['from']} says Packet Too Big, MTU {ptb[0]['mtu']} B."
    return ""
