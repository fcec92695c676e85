"""What can be wrong with a circuit: its meter, its packets, its link.

What the kernel can do is made in the VBR, where no counter of the customer's is: on the way there when a packet has
just come in, on the way back before it leaves. The rest is the wire's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from perfharness.errors import LabFault
from perfharness.lab import link_flap, places
from perfharness.lab.fault_parts import LOSS, each_way, half
from perfharness.lab.filters import FIRST, LAST, Chain, Filter, some_of
from perfharness.lab.linespec import LineSpec, LinkSpec, Loss
from perfharness.lab.spec import LabSpec
from perfharness.lab.topology import WAN_RULE
from perfharness.lab.trouble import Trouble, filtered
from perfharness.lab.wish import Fault, Wish
from perfharness.model import Direction

BUCKET_NS = 20_000_000
"""A policer's bucket unless another is asked for, as time at its rate; a small one is three packets."""
BURST_PACKETS = 10
DELAY_NS = 20_000_000
JITTER_NS = 5_000_000
HELD_BACK_NS = 1_000_000
SMALL_MTU = 1400
MEMBERS, BAD_SHARE = 4, 0.05
TAGS = range(1, 4095)
EVERY_NS, DOWN_NS = 10_000_000_000, 1_000_000_000
IN_KERNEL = ("circuit", "direction")


# --- the meter --------------------------------------------------------------------------------


def _policed(spec: LabSpec, wish: Wish) -> LabSpec:
    rate = half(spec, wish)
    bucket = wish.bucket_bytes or max(rate * BUCKET_NS // (8 * 10**9), spec.least_bucket_bytes)
    return replace(spec, rate_bps=rate, policer_bytes=bucket)


def _shaped(spec: LabSpec, wish: Wish) -> LabSpec:
    return replace(spec, rate_bps=half(spec, wish), policer_bytes=None)


def _small_burst(spec: LabSpec, wish: Wish) -> LabSpec:
    return replace(spec, policer_bytes=wish.bucket_bytes or spec.least_bucket_bytes)


# --- the kernel, in the VBR -------------------------------------------------------------------


def _at_vbr(spec: LabSpec, wish: Wish, rule: Callable[[str], str]) -> Filter:
    """``rule``: what befalls a packet, after the name of its counter was put in."""
    way = places.crossing(wish.letter, spec)
    chains = {
        Direction.A_Z: Chain("prerouting", (f"iifname {WAN_RULE} {rule('a_z')}",), FIRST),
        Direction.Z_A: Chain("postrouting", (f"oifname {WAN_RULE} {rule('z_a')}",), LAST),
    }
    return each_way(wish, way.vbr, (chains[each] for each in wish.ways()))


def _loses(spec: LabSpec, wish: Wish) -> Trouble:
    some = some_of(wish.share or LOSS)
    return filtered(_at_vbr(spec, wish, lambda counter: f"{some}counter name {counter} drop"))


def _swallows(spec: LabSpec, wish: Wish) -> Trouble:
    mtu = wish.mtu or SMALL_MTU
    return filtered(_at_vbr(spec, wish, lambda counter: f"meta length > {mtu} counter name {counter} drop"))


def _remarks(spec: LabSpec, wish: Wish) -> Trouble:
    dscp = wish.dscp or 0
    table = _at_vbr(spec, wish, lambda counter: f"ip dscp != {dscp} counter name {counter} ip dscp set {dscp}")
    return filtered(table)


def _cut(spec: LabSpec, wish: Wish) -> Trouble:
    """IP and, so that nobody answers for an address, ARP."""
    packets = _at_vbr(spec, wish, lambda counter: f"counter name {counter} drop")
    chains = {
        Direction.A_Z: Chain("input", (f"iifname {WAN_RULE} drop",), 0),
        Direction.Z_A: Chain("output", (f"oifname {WAN_RULE} drop",), 0),
    }
    arp = Filter(packets.namespace, packets.name, tuple(chains[way] for way in wish.ways()), family="arp")
    return filtered(packets, arp)


def _low_mtu(spec: LabSpec, wish: Wish) -> LabSpec:
    mtu = wish.mtu or SMALL_MTU
    if mtu >= spec.mtu:
        raise LabFault(f"An MTU of {mtu} is not below the order's {spec.mtu}.", "Choose a smaller one: --mtu.")
    return replace(spec, mtu=mtu)


def _down(spec: LabSpec, wish: Wish) -> Trouble:
    return link_flap.down(spec, places.crossing(wish.letter, spec))


def _flap(spec: LabSpec, wish: Wish) -> Trouble:
    way = places.crossing(wish.letter, spec)
    return link_flap.flapping(spec, way, wish.every_ns or EVERY_NS, wish.down_ns or DOWN_NS)


# --- the wire ---------------------------------------------------------------------------------


def _bursts(line: LineSpec, _: LabSpec, wish: Wish, way: Direction) -> LineSpec:
    share, to_good = wish.share or LOSS, 1 / (wish.burst_packets or BURST_PACKETS)
    return replace(line, loss=Loss(bad=1.0, to_bad=min(1.0, share * to_good / (1 - share)), to_good=to_good))


def _delays(line: LineSpec, _: LabSpec, wish: Wish, way: Direction) -> LineSpec:
    return replace(line, delay_ns=line.delay_ns + (wish.delay_ns or DELAY_NS))


def _jitters(line: LineSpec, _: LabSpec, wish: Wish, way: Direction) -> LineSpec:
    return replace(line, jitter_ns=wish.delay_ns or JITTER_NS)


def _reorders(line: LineSpec, _: LabSpec, wish: Wish, way: Direction) -> LineSpec:
    return replace(line, reorder=wish.share or LOSS, reorder_ns=wish.delay_ns or HELD_BACK_NS)


def _doubles(line: LineSpec, _: LabSpec, wish: Wish, way: Direction) -> LineSpec:
    return replace(line, duplicate=wish.share or LOSS)


def _corrupts(line: LineSpec, _: LabSpec, wish: Wish, way: Direction) -> LineSpec:
    return replace(line, corrupt=wish.share or LOSS)


def _bad_member(line: LineSpec, _: LabSpec, wish: Wish, way: Direction) -> LineSpec:
    bad = LinkSpec(loss=Loss(good=wish.share or BAD_SHARE))
    return replace(line, members=(bad,) + (LinkSpec(),) * ((wish.members or MEMBERS) - 1))


def _other_tag(line: LineSpec, spec: LabSpec, wish: Wish, way: Direction) -> LineSpec:
    """The far side drops what is not its own; what it sends itself reaches the CE's port, with its tag."""
    tag = wish.vlan or spec.vlan + 1
    if tag == spec.vlan or tag not in TAGS:
        raise LabFault(f"The CE sends VLAN {spec.vlan}; {tag} is no other.", "Choose one of 1 to 4094: --vlan.")
    if way is Direction.A_Z:
        return replace(line, vlan_expect=tag)
    return replace(line, vlan_push=tag, vlan_trunk=True)


CIRCUIT_FAULTS = {
    "policed-below-order": Fault(
        "Above half of the order packets are lost without delay; TCP gets less than that.",
        ("rate_bps", "bucket_bytes", "circuit"),
        on_circuit=_policed,
        needs_rate=True,
    ),
    "shaped-below-order": Fault(
        "Above half of the order delay grows by the queue, and then packets are lost; TCP gets that rate.",
        ("rate_bps", "circuit"),
        on_circuit=_shaped,
        needs_rate=True,
    ),
    "policer-small-burst": Fault(
        "Evenly paced UDP passes at the ordered rate; bursts lose packets, and TCP gets far less.",
        ("bucket_bytes", "circuit"),
        on_circuit=_small_burst,
        needs_rate=True,
    ),
    "loss-random": Fault(
        "A hundredth of the packets is lost, each way, whatever the load; TCP is slow.",
        ("share", *IN_KERNEL),
        trouble=_loses,
        packetwise=True,
        drops=True,
    ),
    "loss-one-way": Fault(
        "A hundredth is lost towards the cloud and nothing on the way back.",
        ("share", *IN_KERNEL),
        trouble=_loses,
        usual=Direction.A_Z,
        packetwise=True,
        drops=True,
    ),
    "loss-burst": Fault(
        "A hundredth is lost, ten packets in a row at a time on average (Gilbert-Elliott).",
        ("share", "burst_packets", *IN_KERNEL),
        on_line=_bursts,
    ),
    "delay": Fault("Every packet takes 20 ms longer each way.", ("delay_ns", *IN_KERNEL), on_line=_delays),
    "jitter": Fault(
        "Packets take up to 5 ms longer, each another time; none overtakes.",
        ("delay_ns", *IN_KERNEL),
        on_line=_jitters,
    ),
    "reordering": Fault(
        "A hundredth of the packets is overtaken: it comes 1 ms later.",
        ("share", "delay_ns", *IN_KERNEL),
        on_line=_reorders,
    ),
    "duplication": Fault("A hundredth of the packets comes twice.", ("share", *IN_KERNEL), on_line=_doubles),
    "corruption": Fault(
        "A hundredth of the packets comes with a wrong byte: hosts drop it, their checksum counters rise.",
        ("share", *IN_KERNEL),
        on_line=_corrupts,
    ),
    "lag-member-bad": Fault(
        "One flow in four loses a twentieth of its packets, always the same flows; the others nothing.",
        ("share", "members", *IN_KERNEL),
        on_line=_bad_member,
    ),
    "mtu-low": Fault(
        "Packets above 1400 bytes do not pass; a router says so (Packet Too Big), so TCP adapts and works.",
        ("mtu", "circuit"),
        on_circuit=_low_mtu,
    ),
    "mtu-black-hole": Fault(
        "Packets above 1400 bytes vanish in silence: ping works, TCP connects and then hangs.",
        ("mtu", *IN_KERNEL),
        trouble=_swallows,
        packetwise=True,
        drops=True,
    ),
    "dscp-rewrite": Fault(
        "Whatever was marked arrives as best effort, or with the DSCP asked for.",
        ("dscp", *IN_KERNEL),
        trouble=_remarks,
    ),
    "vlan-mismatch": Fault(
        "The link is up and nothing passes: the circuit expects another tag than the CE sends.",
        ("vlan", "circuit"),
        on_line=_other_tag,
    ),
    "link-down": Fault("The CE's port has no carrier.", ("circuit",), trouble=_down),
    "link-flap": Fault(
        "The CE's carrier is gone for 1 s, every 10 s; sessions break.",
        ("every_ns", "down_ns", "circuit"),
        trouble=_flap,
    ),
    "cut": Fault(
        "Nothing passes and the CE's port stays up, as behind a carrier's switch: only BFD, BGP or probes notice.",
        IN_KERNEL,
        trouble=_cut,
        drops=True,
    ),
    "one-way-cut": Fault(
        "Nothing passes towards the cloud; what the cloud sends still comes.",
        IN_KERNEL,
        trouble=_cut,
        usual=Direction.A_Z,
        drops=True,
    ),
}
