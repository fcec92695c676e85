"""Faults by name, each with what a user would see: of a host (``trouble``) or of the circuit's meter (another spec)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from perfharness.errors import LabFault, Refused
from perfharness.lab import topology, trouble
from perfharness.lab.spec import Host, LabSpec
from perfharness.lab.trouble import Trouble

BUCKET_NS = 20_000_000
"""A policer's bucket unless another is asked for, as time at its rate; a small one is three packets."""
SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Wish:
    """A fault and what was asked of it; ``None``: its usual value."""

    name: str
    at: str | None = None
    """Alias of a host."""
    rate_bps: int | None = None
    bucket_bytes: int | None = None
    share: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Fault:
    seen: str
    """What a user sees."""
    takes: tuple[str, ...]
    """The fields of a wish that mean something to it."""
    on_host: Callable[[topology.End, LabSpec, Wish], Trouble] | None = None
    on_circuit: Callable[[LabSpec, Wish], LabSpec] | None = None


def check(wish: Wish, spec: LabSpec) -> Fault:
    """Raises Refused for what this lab cannot play, with what it could."""
    fault = FAULTS.get(wish.name)
    if fault is None:
        raise Refused(f"The lab knows no fault {wish.name}.", f"It knows {', '.join(FAULTS)}.")
    given = {key for key, value in wish.to_json().items() if value is not None} - {"name"}
    if senseless := sorted(given - set(fault.takes)):
        raise Refused(f"{wish.name} takes no {_option(senseless[0])}.", f"It takes {_options(fault)}.")
    if spec.rate_bps is None and (fault.on_circuit or (wish.name == "host-slow-nic" and wish.rate_bps is None)):
        raise Refused(f"{wish.name} needs a rate, and this circuit has none.", "Bring the lab up with --rate.")
    try:
        if fault.on_host:
            troubled(wish, spec)
        circuit_with([wish], spec)
    except LabFault as error:
        raise Refused(error.message, error.remedy) from None
    return fault


def troubled(wish: Wish, spec: LabSpec) -> Trouble:
    """Of a fault of a host."""
    hosts = _hosts(spec)
    alias = wish.at or spec.ecs.alias
    if alias not in hosts:
        raise LabFault(f"The lab has no host {alias}.", f"It has {', '.join(hosts)}.")
    make = FAULTS[wish.name].on_host
    assert make is not None
    return make(hosts[alias], spec, replace(wish, at=alias))


def circuit_with(wishes: list[Wish], spec: LabSpec) -> LabSpec:
    """What is played of an order while these faults are on; those of hosts change nothing."""
    for wish in wishes:
        if change := FAULTS[wish.name].on_circuit:
            spec = change(spec, wish)
    return spec


def _hosts(spec: LabSpec) -> dict[str, topology.End]:
    declared: Mapping[str, Host | None] = {
        topology.ONPREM: spec.onprem,
        topology.ECS: spec.ecs,
        topology.ONPREM_B: spec.onprem_b,
        topology.ECS_B: spec.ecs_b,
    }
    return {host.alias: end for end in topology.plan(spec).hosts if (host := declared[end.namespace])}


def _option(field: str) -> str:
    return f"--{field.split('_')[0]}"


def _options(fault: Fault) -> str:
    return ", ".join(_option(field) for field in fault.takes)


# --- the faults -------------------------------------------------------------------------------


def _half(spec: LabSpec, wish: Wish) -> int:
    return wish.rate_bps or (spec.rate_bps or 0) // 2


def _slow_nic(end: topology.End, spec: LabSpec, wish: Wish) -> Trouble:
    return trouble.slow_nic(end, _half(spec, wish))


def _busy_cpu(end: topology.End, _: LabSpec, wish: Wish) -> Trouble:
    return trouble.busy_cpu(end.namespace, wish.share or SHARE)


def _small_buffers(end: topology.End, _: LabSpec, wish: Wish) -> Trouble:
    return trouble.small_buffers(end, str(wish.at))


def _policed(spec: LabSpec, wish: Wish) -> LabSpec:
    rate = _half(spec, wish)
    bucket = wish.bucket_bytes or max(rate * BUCKET_NS // (8 * 10**9), spec.least_bucket_bytes)
    return replace(spec, rate_bps=rate, policer_bytes=bucket)


def _shaped(spec: LabSpec, wish: Wish) -> LabSpec:
    return replace(spec, rate_bps=_half(spec, wish), policer_bytes=None)


def _small_burst(spec: LabSpec, wish: Wish) -> LabSpec:
    return replace(spec, policer_bytes=wish.bucket_bytes or spec.least_bucket_bytes)


FAULTS = {
    "host-slow-nic": Fault(
        "The host sends no faster than half of the order, and says so itself: its own interface holds packets back.",
        ("at", "rate_bps"),
        on_host=_slow_nic,
    ),
    "host-cpu": Fault(
        "Load tests fall short of their rate, probes leave and are read late, delays grow: the CPU is taken.",
        ("at", "share"),
        on_host=_busy_cpu,
    ),
    "host-small-buffers": Fault(
        "UDP at the ordered rate loses packets that reached the host; TCP over a long way is slow.",
        ("at",),
        on_host=_small_buffers,
    ),
    "policed-below-order": Fault(
        "Above half of the order packets are lost without delay; TCP gets less than that.",
        ("rate_bps", "bucket_bytes"),
        on_circuit=_policed,
    ),
    "shaped-below-order": Fault(
        "Above half of the order delay grows by the queue, and then packets are lost; TCP gets that rate.",
        ("rate_bps",),
        on_circuit=_shaped,
    ),
    "policer-small-burst": Fault(
        "Evenly paced UDP passes at the ordered rate; bursts lose packets, and TCP gets far less.",
        ("bucket_bytes",),
        on_circuit=_small_burst,
    ),
}
"""Each with --rate, --bucket, --share, --at where it takes them: at which host, the first ECS instance by default."""
