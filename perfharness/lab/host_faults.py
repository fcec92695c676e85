"""What can be wrong with a host."""

from __future__ import annotations

from perfharness.errors import LabFault
from perfharness.lab import topology, trouble
from perfharness.lab.filters import Chain, Filter
from perfharness.lab.places import anywhere
from perfharness.lab.spec import LabSpec
from perfharness.lab.topology import End
from perfharness.lab.trouble import Trouble, filtered
from perfharness.lab.wish import Fault, Wish

SHARE = 0.8
JUMBO = 8500
"""What newer instances come up with, on a circuit of 1500."""
PORT = 5201
ANSWERS = {"none": "drop", "reset": "reject with tcp reset", "prohibited": "reject with icmp type admin-prohibited"}


def half(spec: LabSpec, wish: Wish) -> int:
    return wish.rate_bps or (spec.rate_bps or 0) // 2


def _slow_nic(end: End, spec: LabSpec, wish: Wish) -> Trouble:
    return trouble.slow_nic(end, half(spec, wish))


def _busy_cpu(end: End, _: LabSpec, wish: Wish) -> Trouble:
    return trouble.busy_cpu(end.namespace, wish.share or SHARE)


def _small_buffers(end: End, _: LabSpec, wish: Wish) -> Trouble:
    return trouble.small_buffers(end, str(wish.at))


def _nic_mtu(end: End, spec: LabSpec, wish: Wish) -> Trouble:
    """Above the circuit's MTU the whole site up to the circuit takes that; below, the host alone does not."""
    mtu = wish.mtu or JUMBO
    if mtu == spec.mtu:
        raise LabFault(f"The host's MTU is {mtu} as it is.", "Choose another: --mtu.")
    ends = topology.site(topology.plan(spec), end) if mtu > spec.mtu else (end,)

    def resize(size: int) -> None:
        for each in ends:
            topology.resize(each, size)

    return Trouble(lambda: resize(mtu), lambda: resize(spec.mtu))


def _port_blocked(spec: LabSpec, wish: Wish) -> Trouble:
    namespace, routes = anywhere(wish.at or spec.ecs.alias, spec)
    protocol, answer, port = wish.protocol or "tcp", wish.answer or "none", wish.port or PORT
    if protocol not in ("tcp", "udp"):
        raise LabFault(f"{protocol} has no ports here.", "Choose --protocol tcp or udp.")
    if answer not in ANSWERS or (protocol, answer) == ("udp", "reset"):
        raise LabFault(f"A blocked {protocol} port does not answer by {answer}.", f"Choose {', '.join(ANSWERS)}.")
    rule = f"{protocol} dport {port} counter name blocked {ANSWERS[answer]}"
    chain = Chain("forward" if routes else "input", (rule,))
    return filtered(Filter(namespace, f"ph_port_blocked_{protocol}_{port}", (chain,), ("blocked",)))


def _icmp_dropped(spec: LabSpec, wish: Wish) -> Trouble:
    namespace, routes = anywhere(wish.at or spec.ecs.alias, spec)
    hooks = ("input", "output", *(("forward",) if routes else ()))
    chains = tuple(Chain(hook, ("ip protocol icmp counter name dropped drop",)) for hook in hooks)
    return filtered(Filter(namespace, "ph_icmp_dropped", chains, ("dropped",)))


HOST_FAULTS = {
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
    "host-nic-mtu": Fault(
        "The host's MTU is not the circuit's: at 8500 its large packets end before the circuit; below, it takes none.",
        ("at", "mtu"),
        on_host=_nic_mtu,
    ),
    "port-blocked": Fault(
        "One port of a host does not connect, or is refused; everything else works. At a router: of all behind it.",
        ("at", "port", "protocol", "answer"),
        on_router=_port_blocked,
    ),
    "icmp-dropped": Fault(
        "Pings die and traces have a gap, while TCP and UDP work; a smaller MTU behind it becomes a black hole.",
        ("at",),
        on_router=_icmp_dropped,
    ),
}
