"""The jobs of a load: iperf3 servers at the cloud end, clients at the on-prem end, as many as the load needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from perfharness.analysis.capacity import convert
from perfharness.errors import BadInput
from perfharness.measurements.base import SETUP_S, Context
from perfharness.measurements.load_options import of_client
from perfharness.model import Direction, Job, Layer, Role

SERVER, CLIENT = "server", "client"
PROCESS_BPS = 10_000_000_000
"""TCP: one iperf3 process for each started 10 Gbit/s, since before 3.16 one thread serves all its streams."""
PROCESS_PPS = 50_000
"""UDP: one process for each started 50,000 packets/s; one that must send more is often late, and then bursts."""
MOST_BURST = 8
"""UDP packets that iperf3 sends for each look at the clock, at most as many as are due in PACING_S: once ahead of its
rate it waits that long anyway, so the path sees no longer bursts, and a look for each packet costs a sender a fifth of
its CPU time."""
PACING_S = 1e-3


@dataclass(frozen=True, slots=True)
class Load:
    """What each direction runs: ``args`` of each of its clients, a process and a port for each of ``processes``."""

    processes: int
    ports: tuple[int, ...]
    """Of all directions."""
    args: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    """In sentences, what the order's ports keep it from."""


def paced(context: Context, offered_bps: int, payload_bytes: int, ways: int) -> Load:
    """UDP at this rate of the ordered layer, each way. Raises BadInput."""
    goodput = convert(offered_bps, context.layer, Layer.L4, payload_bytes + 28, tagged=context.tagged)
    processes, ports, notes = _spread(context, goodput / 8 / payload_bytes / PROCESS_PPS, ways)
    each = goodput / processes
    args = {
        "streams": 1,
        "udp": True,
        "rate_bps": round(each),
        "burst": max(1, min(MOST_BURST, int(each / 8 / payload_bytes * PACING_S))),
        "length": payload_bytes,
    }
    return Load(processes, ports, args, notes)


def tcp(context: Context, streams: int, ways: int, beside: int = 0) -> Load:
    """TCP with so many streams each way, as fast as it goes; ``beside`` ports of the endpoint are taken. Raises
    BadInput."""
    processes, ports, notes = _spread(context, min(streams, context.committed_bps / PROCESS_BPS), ways, beside)
    args = {"streams": max(1, streams // processes), "udp": False, "rate_bps": None, "burst": 1, "length": None}
    return Load(processes, ports, args, notes)


def jobs(
    context: Context,
    load: Load,
    both: Mapping[str, Any],
    ways: tuple[Direction, ...],
    deadline_s: float,
    after_s: float,
    *,
    hears: bool = False,
    phase: str = "",
) -> tuple[Job, ...]:
    """One server and one client for each direction and process; reverse mode for traffic towards on-prem.

    ``both``: arguments of both ends. ``hears``: clients must know what window the server's host grants. ``phase``: how
    the names of the jobs begin, where a task has several loads.
    """
    found: list[Job] = []
    for way in ways:
        for process in range(load.processes):
            common = {**both, "port": load.ports[len(found) // 2]}
            name = f"{way.value}-{process}"
            server = f"{phase}{SERVER}-{name}"
            found.append(_server(context, server, common, deadline_s + SETUP_S))
            one_way = {**load.args, **common, "reverse": way is Direction.Z_A}
            heard = {"peer_window_bytes": (server, "window_bytes")} if hears else {}
            found.append(_client(context, f"{phase}{CLIENT}-{name}", one_way, deadline_s, after_s, heard))
    return tuple(found)


def free_ports(context: Context, least: int, most: int | None = None, beside: int = 0) -> list[int]:
    """Ports of the cloud end, after ``beside`` for other loads of the task: ``most`` (else ``least``), or as many as
    there are. Raises BadInput for fewer than ``least``."""
    free = context.load_ports((most or least) + beside)[beside:]
    if len(free) < least:
        said = f"{context.z.name} allows {len(free) + beside} ports beside the one for probes; "
        said += f"the load needs {least + beside}."
        raise BadInput([context.circuit.source.problem(("endpoints", context.z.name, "ports"), said, "List more.")])
    return free


def _spread(context: Context, busy: float, ways: int, beside: int = 0) -> tuple[int, tuple[int, ...], tuple[str, ...]]:
    """(processes each way, their ports, what there are too few of), as many as wanted where the endpoint allows them.
    Raises BadInput."""
    wanted = max(1, math.ceil(busy))
    free = free_ports(context, ways, wanted * ways, beside)
    processes = min(wanted, len(free) // ways)
    return processes, tuple(free[: processes * ways]), _few(context, wanted, processes, ways, beside + len(free))


def _few(context: Context, wanted: int, processes: int, ways: int, has: int) -> tuple[str, ...]:
    if processes == wanted:
        return ()
    said = f"{context.z.name} needs {wanted * ways} ports beside the one for probes for a load of {wanted} processes"
    each = " each way" if ways > 1 else ""
    return (f"{said}{each}, has {has}: {processes} must do, and may not keep up. List more under `ports:`.",)


def _server(context: Context, name: str, common: Mapping[str, Any], deadline_s: float) -> Job:
    ends = {"address": str(context.z.address), "peer": str(context.a.address)}
    args = {"iperf3": context.z.iperf3, **ends, **common}
    return Job(name, context.z.name, "iperf3.serve", args, Role.SERVE, deadline_s, one_shot=True, load=True)


def _client(
    context: Context,
    name: str,
    load: Mapping[str, Any],
    deadline_s: float,
    after_s: float,
    hears: Mapping[str, tuple[str, str]],
) -> Job:
    ends = {"peer": str(context.z.address), "source": str(context.a.address)}
    args = of_client({"iperf3": context.a.iperf3, **ends, **load})
    driver = Job(name, context.a.name, "iperf3.drive", args, Role.DRIVE, deadline_s, after_s=after_s, load=True)
    return replace(driver, hears=hears)
