"""Why a TCP load carried no more: what its kernel, its hosts and its round trips say, each claim with its numbers.

Every rule looks at one possible limit and is silent where it has nothing to go by. The result is in the order of the
rules: what was counted first, then what is concluded; ``unknown`` where no rule speaks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from perfharness.analysis.tcpinfo import Connections
from perfharness.model import Interval
from perfharness.order.units import duration_text, rate_text, ratio_text, size_text

CIRCUIT, POLICER, WINDOW, CONGESTION = "circuit", "policer-burst", "window", "congestion-control"
SENDER_CPU, RECEIVER_CPU, NIC, INSTANCE, UNKNOWN = "sender-cpu", "receiver-cpu", "nic", "instance", "unknown"
OFFERED, SENDER, HOSTS = "offered", "sender", "hosts"
"""Of a paced load alone."""

REACHED = 0.97
"""Share of the ideal goodput from which on a load fills the circuit: the rest is TCP's own to and fro."""
HELD = 0.2
"""Share of its busy time for which a window must have held a sender back."""
BUSY = 0.95
"""Of a CPU, from which on it may be what limits; of an interface or an instance, of what it can carry."""
WAITED = 0.1
"""Share of a test for which a program may wait for a CPU; and which a hypervisor may withhold."""
OF_NETWORK = 0.3
"""Share of a busy CPU's time in the network's own work, from which on it may limit a load: others' programs may keep it
as busy, and where they took it from iperf3 that has waited."""
QUEUE_NS, QUEUE = 1_000_000, 0.25
"""A queue is a rise of the median round trip by more than both: 1 ms, and this share of the idle one."""
RESENT = 1e-4
"""Share of segments sent again that TCP's rate begins to suffer from."""
BEYOND_UDP = 3.0
"""TCP loses by its bursts where it resends this many times the share that paced UDP can have lost."""
BEYOND_RESPONSE = 2.0
"""... or where it would carry this many times more if it lost no more than paced UDP can have lost."""
SHORT_CWND = 0.8
"""Of bandwidth times delay: a congestion window below it cannot fill the path."""
OWN_LOSS = 0.1
"""Of the segments that were sent again, from which on a host's own drops may be why a load carried no more."""
HANDED_BYTES = 65_536
"""To an interface that cuts segments by itself, at most at once; drops count such a packet once."""
PER_FLOW = 0.5
"""A single stream below this share of what several carried is limited by itself."""


@dataclass(frozen=True, slots=True)
class Host:
    """One end's part while the load ran; None = not known."""

    name: str
    cpu: float | None = None
    """Share of one CPU that the busiest iperf3 process took."""
    waited: float | None = None
    """Share of the time for which iperf3 was ready to run and had no CPU."""
    busiest: float | None = None
    """Share of the time for which its busiest CPU was not idle."""
    softirq: float | None = None
    """Part of it for the network's own work."""
    stolen: float | None = None
    """Share of its time that a hypervisor gave to others."""
    backlog_drops: int | None = None
    """Packets that its CPUs dropped before the protocol saw them."""
    nic_drops: int | None = None
    """Packets that its own queue or interface dropped on sending."""
    queued_bytes: float | None = None
    """Median of what waited in its own queue to be sent."""
    speed_bps: int | None = None
    """Of its interface."""
    ceiling_bps: int | None = None
    """The most that the order's owner says it can do."""


@dataclass(frozen=True, slots=True)
class Load:
    """One direction of a TCP load; None = not known."""

    streams: int
    goodput_bps: float
    wire_bps: float
    """With all that Ethernet adds (L1)."""
    sender: Host
    receiver: Host
    ideal_bps: float | None = None
    """Goodput at which it would fill the circuit."""
    connections: Connections | None = None
    """At the sending end."""
    bdp_bytes: float | None = None
    window_bytes: int | None = None
    """Of all streams together, as far as it was set."""
    idle_ns: float | None = None
    loaded_ns: float | None = None
    """Median round trips of the probes."""
    congestion: str = ""
    udp_loss: Interval | None = None
    """Of paced UDP at the ordered rate in the same direction."""
    several_bps: float | None = None
    """Goodput of several streams, where this is a single one."""


@dataclass(frozen=True, slots=True)
class Limit:
    limit: str
    reasons: tuple[str, ...] = field(default=())


def limits(load: Load) -> tuple[Limit, ...]:
    """What kept this load from carrying more; never empty."""
    full = filled(load)
    if full is not None:
        return (full,)
    found = tuple(limit for rule in RULES if (limit := rule(load)) is not None)
    return found or (Limit(UNKNOWN, (_nothing(load),)),)


def of_hosts(load: Load) -> tuple[Limit, ...]:
    """What in the hosts may have kept this load from carrying more, whatever else did too.

    A window is not it where packets queue on the way: in a larger one they would only wait longer. Nor are a few drops
    of a host beside many more elsewhere.
    """
    sender = replace(load.sender, nic_drops=_material(load, load.sender.nic_drops))
    receiver = replace(load.receiver, backlog_drops=_material(load, load.receiver.backlog_drops))
    rules = OF_HOSTS[1:] if _queue(load) else OF_HOSTS
    told = (rule(replace(load, sender=sender, receiver=receiver)) for rule in rules)
    return tuple(limit for limit in told if limit is not None)


def filled(load: Load) -> Limit | None:
    """The circuit, where this load filled it."""
    if load.ideal_bps is None or load.goodput_bps < REACHED * load.ideal_bps:
        return None
    share = load.goodput_bps / load.ideal_bps
    return Limit(CIRCUIT, (f"{rate_text(load.goodput_bps)} are {share:.1%} of the goodput that fills it.",))


def window(load: Load) -> Limit | None:
    """The receiver's window or the sender's buffer was full while more was to be sent."""
    told = load.connections
    if told is None:
        return None
    reasons = []
    for name, what in (("rwnd_limited_ns", "the receiver's window"), ("sndbuf_limited_ns", "the sender's buffer")):
        share = told.share(name)
        if share is not None and share >= HELD:
            reasons.append(f"{what[0].upper()}{what[1:]} held it back for {share:.0%} of the time.")
    if reasons and load.window_bytes is not None and load.bdp_bytes is not None:
        sizes = f"{size_text(load.window_bytes)} of window, bandwidth times delay {size_text(round(load.bdp_bytes))}"
        reasons.append(f"All streams together had {sizes}.")
    return Limit(WINDOW, tuple(reasons)) if reasons else None


def nic(load: Load) -> Limit | None:
    """An interface was full, or the sender's own queue dropped."""
    reasons = [
        f"The interface of {host.name} runs at {rate_text(host.speed_bps)} and was full."
        for host in (load.sender, load.receiver)
        if host.speed_bps and load.wire_bps >= BUSY * host.speed_bps
    ]
    if load.sender.nic_drops and _resent(load) > 0:
        reasons.append(f"{load.sender.name} itself dropped {load.sender.nic_drops:,} packets on sending.")
    if _queue(load) and _waits_at_sender(load):
        waits = f"{size_text(round(load.sender.queued_bytes or 0))} waited in the queue of {load.sender.name} itself"
        reasons.append(f"{_rise(load)[0].upper()}{_rise(load)[1:]}, and {waits}.")
    return Limit(NIC, tuple(reasons)) if reasons else None


def instance(load: Load) -> Limit | None:
    """A machine was at the end of what it is allowed."""
    reasons = []
    for host in (load.sender, load.receiver):
        if host.ceiling_bps and load.wire_bps >= BUSY * host.ceiling_bps:
            reasons.append(f"{host.name} can do {rate_text(host.ceiling_bps)} by the circuit file.")
        if host.stolen is not None and host.stolen > WAITED:
            reasons.append(f"The hypervisor of {host.name} withheld {host.stolen:.0%} of its CPU time.")
    return Limit(INSTANCE, tuple(reasons)) if reasons else None


def sender_cpu(load: Load) -> Limit | None:
    return _cpu(SENDER_CPU, load.sender)


def receiver_cpu(load: Load) -> Limit | None:
    return _cpu(RECEIVER_CPU, load.receiver)


def _cpu(limit: str, host: Host) -> Limit | None:
    reasons = []
    if host.cpu is not None and host.cpu >= BUSY:
        reasons.append(f"iperf3 on {host.name} kept a CPU {host.cpu:.0%} busy.")
    if host.waited is not None and host.waited > WAITED:
        reasons.append(f"iperf3 on {host.name} waited {host.waited:.0%} of the time for a CPU.")
    if host.busiest is not None and host.busiest >= BUSY and (host.softirq or 0.0) >= OF_NETWORK:
        softirq = f"{host.softirq:.0%} of it in the network's own work"
        reasons.append(f"One CPU of {host.name} was {host.busiest:.0%} busy, {softirq}.")
    if host.backlog_drops and limit == RECEIVER_CPU:
        reasons.append(f"The CPUs of {host.name} dropped {host.backlog_drops:,} packets that had arrived.")
    return Limit(limit, tuple(reasons)) if reasons else None


def of_sender(sender: Host, wire_bps: float) -> Limit | None:
    """Why it offered less of a paced load than it was asked for, ``wire_bps`` with all that Ethernet adds: packets
    stood in its own queue, which a pace that the interface keeps leaves empty, or it had no CPU. None where neither
    shows."""
    waits_ns = (sender.queued_bytes or 0.0) * 8e9 / wire_bps if wire_bps > 0 else 0.0
    if waits_ns > QUEUE_NS:
        waits = duration_text(waits_ns)
        return Limit(NIC, (f"Packets waited {waits} in the queue of {sender.name} itself.",))
    return _cpu(SENDER_CPU, sender)


def policer(load: Load) -> Limit | None:
    """Loss without a queue before it, and more of it than evenly sent packets suffer."""
    resent, queue = _resent(load), _queue(load)
    if resent < RESENT or queue is None or queue or _lost_by_hosts(load):
        return None
    udp = load.udp_loss
    if udp is not None and _as_paced(load, udp):
        return None  # that is the circuit's loss, whatever is sent
    reasons = [f"{ratio_text(resent)} of its segments were sent again while {_rise(load)}: lost without a queue."]
    if udp is not None:
        reasons.append(f"Of paced UDP at most {ratio_text(udp.hi)} were lost: what comes in bursts is dropped.")
    else:
        reasons.append("Whether paced packets are lost as well this load does not tell.")
    return Limit(POLICER, tuple(reasons))


def circuit(load: Load) -> Limit | None:
    """A queue on the way, loss that paced packets suffer too, or a limit of each flow."""
    reasons = []
    queue, resent, udp = _queue(load), _resent(load), load.udp_loss
    if queue and not _waits_at_sender(load):
        reasons.append(f"{_rise(load)[0].upper()}{_rise(load)[1:]}: packets queue at its narrowest place.")
    if udp is not None and resent >= RESENT and _as_paced(load, udp) and udp.lo > 0:
        lost = f"{ratio_text(udp.lo)} to {ratio_text(udp.hi)}"
        reasons.append(f"{ratio_text(resent)} of its segments were sent again, and of paced UDP {lost} were lost too.")
    if load.several_bps and load.goodput_bps < PER_FLOW * load.several_bps and not _explained(load):
        several = rate_text(load.several_bps)
        reasons.append(
            f"A single stream carries {rate_text(load.goodput_bps)}, several {several}: a limit of each flow."
        )
    return Limit(CIRCUIT, tuple(reasons)) if reasons else None


def congestion_control(load: Load) -> Limit | None:
    """The sender itself kept less under way than the path holds."""
    told = load.connections
    if told is None or told.cwnd_bytes is None or not load.bdp_bytes or told.cwnd_bytes >= SHORT_CWND * load.bdp_bytes:
        return None
    if window(load) is not None:
        return None  # it need not have opened its own
    share = told.cwnd_bytes / load.bdp_bytes
    name = f" ({load.congestion})" if load.congestion else ""
    said = f"The congestion window{name} was {size_text(round(told.cwnd_bytes))} on average, {share:.0%} of bandwidth "
    reasons = [f"{said}times delay."]
    if _resent(load) > 0:
        reasons.append(f"It shrank upon loss: {ratio_text(_resent(load))} of the segments were sent again.")
    return Limit(CONGESTION, tuple(reasons))


OF_HOSTS: tuple[Callable[[Load], Limit | None], ...] = (window, nic, instance, sender_cpu, receiver_cpu)
RULES = (*OF_HOSTS, policer, circuit, congestion_control)


def _explained(load: Load) -> bool:
    """Whether something else than the path limits this stream."""
    return any(rule(load) is not None for rule in OF_HOSTS)


def _material(load: Load, drops: int | None) -> int | None:
    """These drops, where they are a part to speak of of what was sent again, or nobody tells how much that was."""
    told = load.connections
    return drops if drops is None or told is None or drops >= OWN_LOSS * int(told.resent.sum()) else 0


def _resent(load: Load) -> float:
    """Share of the segments that were sent again; 0 also where nobody tells."""
    told = load.connections
    sent = int(told.sent.sum()) if told is not None else 0
    return int(told.resent.sum()) / sent if told is not None and sent else 0.0


def _lost_by_hosts(load: Load) -> bool:
    """Whether what the hosts themselves dropped may be all that was sent again: a packet of theirs is as long as what
    the sender hands to its interface at once."""
    told = load.connections
    own = (load.sender.nic_drops or 0) + (load.receiver.backlog_drops or 0)
    segments = max(1, HANDED_BYTES // told.mss) if told is not None and told.mss else 1
    return told is not None and own > 0 and own * segments >= int(told.resent.sum())


def _as_paced(load: Load, udp: Interval) -> bool:
    """Whether the loss that evenly sent packets suffer explains what TCP resent, and its rate."""
    if _resent(load) >= BEYOND_UDP * udp.hi:
        return False
    carried = _response_bps(load, udp.hi)
    return carried is None or carried < BEYOND_RESPONSE * load.goodput_bps


def _response_bps(load: Load, loss: float) -> float | None:
    """What these streams carry while packets are lost at random, by the macroscopic model of congestion avoidance
    (Mathis, Semke, Mahdavi, Ott 1997, equation 3); cubic carries no less. None where it cannot be told."""
    told = load.connections
    if told is None or not told.mss or not load.idle_ns or loss <= 0:
        return None
    window = math.sqrt(1.5 / loss) * told.mss
    return load.streams * window * 8e9 / load.idle_ns


def _queue(load: Load) -> bool | None:
    """Whether packets queued on the way; None where that is not known."""
    if load.idle_ns is None or load.loaded_ns is None:
        return None
    return load.loaded_ns - load.idle_ns > max(QUEUE_NS, QUEUE * load.idle_ns)


def _waits_at_sender(load: Load) -> bool:
    """Whether most of the rise of the round trip is what waited in the sender's own queue."""
    if load.sender.queued_bytes is None or load.idle_ns is None or load.loaded_ns is None or load.wire_bps <= 0:
        return False
    return load.sender.queued_bytes * 8e9 / load.wire_bps >= (load.loaded_ns - load.idle_ns) / 2


def _rise(load: Load) -> str:
    assert load.idle_ns is not None and load.loaded_ns is not None
    rise = duration_text(max(0.0, load.loaded_ns - load.idle_ns))
    return f"the median round trip rose by {rise} from {duration_text(load.idle_ns)}"


def _nothing(load: Load) -> str:
    known: Mapping[str, object] = {
        "TCP_INFO of its connections": load.connections,
        "the round trip under load": load.loaded_ns,
        "the sender's CPU": load.sender.cpu,
        "the receiver's CPU": load.receiver.cpu,
    }
    missing = [what for what, value in known.items() if value is None]
    said = "Nothing that was looked at explains it"
    return f"{said}; not known are {_listed(missing)}." if missing else f"{said}."


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
