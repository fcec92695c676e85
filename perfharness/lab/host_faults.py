"""What can be wrong with a host."""

from __future__ import annotations

from perfharness.errors import LabFault
from perfharness.lab import places, topology, trouble
from perfharness.lab.fault_parts import answer, half
from perfharness.lab.filters import Chain, Filter
from perfharness.lab.spec import LabSpec
from perfharness.lab.topology import End
from perfharness.lab.trouble import Trouble, filtered
from perfharness.lab.wish import Fault, Wish

SHARE = 0.8
JUMBO = 8500
"""What newer instances come up with, on a circuit of 1500."""
PORT = 5201


def _at(spec: LabSpec, wish: Wish) -> str:
    """The first ECS instance, unless somebody else is asked for."""
    return wish.at or spec.ecs.alias


def _end(spec: LabSpec, wish: Wish) -> End:
    return places.host(_at(spec, wish), spec)


def _slow_nic(spec: LabSpec, wish: Wish) -> Trouble:
    return trouble.slow_nic(_end(spec, wish), half(spec, wish))


def _busy_cpu(spec: LabSpec, wish: Wish) -> Trouble:
    return trouble.busy_cpu(_end(spec, wish).namespace, wish.share or SHARE)


def _small_buffers(spec: LabSpec, wish: Wish) -> Trouble:
    return trouble.small_buffers(_end(spec, wish), _at(spec, wish))


def _nic_mtu(spec: LabSpec, wish: Wish) -> Trouble:
    """Above the circuit's MTU the whole site up to the circuit takes that; below, the host alone does not."""
    end = _end(spec, wish)
    mtu = wish.mtu or JUMBO
    if mtu == spec.mtu:
        raise LabFault(f"The host's MTU is {mtu} as it is.", "Choose another: --mtu.")
    ends = topology.site(topology.plan(spec), end) if mtu > spec.mtu else (end,)

    def resize(size: int) -> None:
        for each in ends:
            topology.resize(each, size)

    return Trouble(lambda: resize(mtu), lambda: resize(spec.mtu))


def _port_blocked(spec: LabSpec, wish: Wish) -> Trouble:
    namespace, routes = places.anywhere(_at(spec, wish), spec)
    protocol, port = wish.protocol or "tcp", wish.port or PORT
    if protocol not in ("tcp", "udp"):
        raise LabFault(f"{protocol} has no ports here.", "Choose --protocol tcp or udp.")
    rule = f"{protocol} dport {port} counter name blocked {answer(wish, f'{protocol} port', protocol)}"
    chain = Chain("forward" if routes else "input", (rule,))
    return filtered(Filter(namespace, f"ph_port_blocked_{protocol}_{port}", (chain,), ("blocked",)))


def _icmp_dropped(spec: LabSpec, wish: Wish) -> Trouble:
    namespace, routes = places.anywhere(_at(spec, wish), spec)
    hooks = ("input", "output", *(("forward",) if routes else ()))
    chains = tuple(Chain(hook, ("ip protocol icmp counter name dropped drop",)) for hook in hooks)
    return filtered(Filter(namespace, "ph_icmp_dropped", chains, ("dropped",)))


HOST_FAULTS = {
    "host-slow-nic": Fault(
        "The host sends no faster than half of the order, and says so itself: its own interface holds packets back.",
        ("at", "rate_bps"),
        trouble=_slow_nic,
    ),
    "host-cpu": Fault(
        "Load tests fall short of their rate, probes leave and are read late, delays grow: the CPU is taken.",
        ("at", "share"),
        trouble=_busy_cpu,
    ),
    "host-small-buffers": Fault(
        "UDP at the ordered rate loses packets that reached the host; TCP over a long way is slow.",
        ("at",),
        trouble=_small_buffers,
    ),
    "host-nic-mtu": Fault(
        "The host's MTU is not the circuit's: at 8500 its large packets end before the circuit; below, it takes none.",
        ("at", "mtu"),
        trouble=_nic_mtu,
    ),
    "port-blocked": Fault(
        "One port of a host does not connect, or is refused; everything else works. At a router: of all behind it.",
        ("at", "port", "protocol", "answer"),
        trouble=_port_blocked,
    ),
    "icmp-dropped": Fault(
        "Pings die and traces have a gap, while TCP and UDP work; a smaller MTU behind it becomes a black hole.",
        ("at",),
        trouble=_icmp_dropped,
    ),
}
