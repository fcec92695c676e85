"""Measurements made up for the report's tests: series, percentiles, host facts, an empty ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from perfharness.model import (
    Direction,
    Fitness,
    LedgerRow,
    Measurement,
    Scope,
    Segment,
    Series,
    Status,
    Task,
    Window,
)

START_NS = 1_803_634_205 * 10**9
A_Z, Z_A = Direction.A_Z, Direction.Z_A
PAIR = "onprem:ecs"
CIRCUIT_ID = "ec-cn-hangzhou-xs-a-lab-exampletel-ext-0042"
GBIT = 1_000_000_000
PROBER = {
    "sent": 30_000,
    "missed": 0,
    "send_errors": 0,
    "replied": 30_000,
    "stamps": {"hardware/kernel": 29_970, "unlike sources": 30},
    "timer_error_ns": {"p50": 3_100.0, "p99": 21_400.0},
}
CLAMPS = [{"job": "ecs.server-0", "what": "window_bytes", "asked": 8_388_608, "got": 4_194_304, "why": "wmem_max"}]


def scope(direction: Direction | None, load: str = "idle", **more: Any) -> Scope:
    return Scope(circuit=CIRCUIT_ID, pair=PAIR, direction=direction, load=load, **more)


def sender(way: Direction) -> str:
    return "onprem" if way is A_Z else "ecs"


def measurements(share: float) -> tuple[Measurement, ...]:
    return (
        _measurement("host", "host", None, facts={name: _host(name) for name in ("onprem", "ecs")}),
        *(_measurement(f"path-{way}", "path", way, facts={str(way): _path(way)}) for way in (A_Z, Z_A)),
        *(_measurement(f"pmtu-{way}", "pmtu", way, facts={str(way): {"pmtu": 1500}}) for way in (A_Z, Z_A)),
        _latency("latency", "idle", 4.06e6, 30_000, 1),
        *(_load("udp", way, share, number) for number, way in enumerate((A_Z, Z_A))),
        *(_load("tcp", way, share * 0.955, number + 2) for number, way in enumerate((A_Z, Z_A))),
        _both(share * 0.94),
        _measurement(
            "failover",
            "failover",
            None,
            status=Status.SKIPPED,
            reason="The lab has no second circuit, so there is nothing to fail over to.",
        ),
    )


def _measurement(
    task: str,
    kind: str,
    direction: Direction | None,
    load: str = "idle",
    status: Status = Status.COMPLETED,
    reason: str = "",
    **more: Any,
) -> Measurement:
    step = task.removesuffix("-a-z").removesuffix("-z-a").removesuffix("-both")
    return Measurement(
        task=Task(id=task, step=step, measurement=kind, scope=scope(direction, load), jobs=(), duration_s=10.0),
        status=status,
        reason=reason,
        window=Window(START_NS, START_NS + 10 * 10**9),
        **{
            "fitness": tuple(Fitness(host, task, True, ()) for host in ("onprem", "ecs")) if kind != "failover" else (),
            **more,
        },
    )


def _latency(task: str, load: str, floor_ns: float, count: int, seed: int) -> Measurement:
    series, percentiles = _stream(floor_ns, count, seed)
    none = tuple(
        LedgerRow(scope(way), stage, segment, 0, 0, counter, False)
        for way, segment in ((A_Z, Segment.HOST_Z), (Z_A, Segment.HOST_A))
        for stage, counter in (("receiver NIC", "rx_dropped"), ("receiver socket buffer", "SO_RXQ_OVFL"))
    )
    return _measurement(
        task,
        "latency",
        Direction.ROUND_TRIP,
        load,
        series=series,
        ledger=none,
        facts={"percentiles": percentiles, "prober": PROBER},
    )


def _stream(
    floor_ns: float, count: int, seed: int, lost: tuple[int, ...] = ()
) -> tuple[tuple[Series, ...], dict[str, float]]:
    random = np.random.default_rng(seed)
    x = np.arange(count) / 1000
    y = floor_ns + random.gamma(2.0, 2.2e4, count)
    y[random.integers(0, count, 14)] += random.gamma(2.0, 3e5, 14)
    y[list(lost)] = np.inf
    ordered = np.sort(y)
    tail = 1 - np.arange(1, count + 1) / count
    trip = Direction.ROUND_TRIP
    series = [
        Series("RTT", x, y, "ns", "delay", trip, START_NS),
        Series("RTT", ordered, tail, "1", "ccdf", trip, x_unit="ns"),
    ]
    if lost:
        series.append(Series("lost", x[list(lost)], np.ones(len(lost)), "packets", "loss", A_Z, START_NS))
    quantiles = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
    percentiles = {name: float(ordered[int(q * count)]) for name, q in quantiles.items()}
    return tuple(series), percentiles


def _load(kind: str, way: Direction, share: float, seed: int) -> Measurement:
    random = np.random.default_rng(seed)
    x = np.arange(10) + 1.0
    rate = 0.998e9 * share + random.normal(0, 1.5e6 if kind == "udp" else 9e6, 10)
    slow = share < 0.7
    series, percentiles = _stream(
        52e6 if slow else 4.3e6, 10_000, seed + 10, (1_203, 1_204, 1_205, 7_300) if slow else ()
    )
    start_ns = START_NS + seed * 20 * 10**9
    rates = Series(f"{kind.upper()} {way}", x, rate, "bit/s", "rate", way, start_ns)
    series = tuple(replace(one, start_ns=start_ns - 400_000_000) for one in series)  # the probes begin before the load
    udp = "-u -b 957M " if kind == "udp" else ""
    called = {
        f"{sender(way)}.client-{way}-0": f"iperf3 -c 192.168.10.10 -p 5201 {udp}-t 10 -J",
        f"ecs.server-{way}-0": "iperf3 -s -1 -B 192.168.10.10 -p 5201 -J",
    }
    argv = {name: line.split() for name, line in called.items()}
    sent = {"processes": 1, "rate_bps": 957_000_000, "burst_packets": 8, "counters_64bit": True, "tail_packets": 3}
    buffer = {"buffer_asked_bytes": 16 << 20, "buffer_got_bytes": 4 << 20, "buffer_forced": False}
    facts = {"percentiles": percentiles, "argv": argv, "clamps": CLAMPS if kind == "tcp" else []}
    return _measurement(
        f"{kind}-{way}",
        "throughput",
        way,
        kind,
        series=(rates, *series),
        facts={**facts, "udp": {way.value: {**sent, **buffer}} if kind == "udp" else {}},
    )


def _both(share: float) -> Measurement:
    random = np.random.default_rng(9)
    series = tuple(
        Series(
            f"TCP {way}",
            np.arange(10) + 1.0,
            1e9 * share + random.normal(0, 1.2e7, 10),
            "bit/s",
            "rate",
            way,
            START_NS + 90 * 10**9,
        )
        for way in (A_Z, Z_A)
    )
    return _measurement("tcp-both", "throughput", Direction.BOTH, "tcp both ways", series=series)


def _path(way: Direction) -> dict[str, Any]:
    """As the path measurement leaves it: three hops, of which the middle one is silent."""
    near, far = ("10.10.0.1", "192.168.10.10") if way is A_Z else ("192.168.10.1", "10.10.0.10")
    hops = [
        {"ttl": 1, "answers": [{"address": near, "rtt_ns": 61_000}, {"address": near, "rtt_ns": 58_000}]},
        {"ttl": 2, "answers": []},
        {"ttl": 3, "answers": [{"address": far, "rtt_ns": 4_071_000}]},
    ]
    states = {"5201": "open", "5202": "open", "862": "silent"}
    return {
        "route": {"route": {"gateway": near, "interface": "eth0", "prefsrc": None}},
        "ping": {"sent": 100, "received": 100},
        "hops": {"hops": hops, "reached": True},
        "ports": {"tcp": states, "udp": {"5201": "open"}},
    }


def _host(name: str) -> Mapping[str, Any]:
    return MappingProxyType(
        {
            "python": "3.11.2",
            "kernel": "6.1.0-28-amd64",
            "hostname": name,
            "machine": "x86_64",
            "cpus": {"count": 2, "model": "Intel Xeon Platinum 8369B"},
            "memory_bytes": 8 * 2**30,
            "virtual": "kvm",
            "iperf3": {"path": "/usr/bin/iperf3", "version": "3.12"},
            "nic": {
                "name": "eth0",
                "mtu": 1500,
                "speed_bps": 10 * GBIT,
                "duplex": "full",
                "driver": "veth",
                "offloads": {"gro": True, "gso": True, "tso": True, "lro": False},
                "stamping": {"ability": "none", "clock": None, "reason": "the card has no clock that stamps packets"},
                "rings": None,
                "queues": {"rx": 2, "tx": 2},
            },
            "qdisc": [{"kind": "fq_codel"}],
            "congestion": {"current": "cubic", "available": ["reno", "cubic", "bbr"]},
            "sysctls": {
                "net.core.rmem_max": 4_194_304,
                "net.core.wmem_max": 4_194_304,
                "net.ipv4.tcp_rmem": [4096, 131072, 6291456],
            },
            "clock": {
                "source": "chrony" if name == "onprem" else "timesyncd",
                "synchronised": True,
                "root_distance_ns": 1_210_000 if name == "onprem" else None,
                "reason": "timesyncd keeps no error bound",
            },
        }
    )
