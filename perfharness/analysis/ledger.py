"""The ledger: which stage of which host lost packets, so that the circuit is blamed only for its own.

Counters of an interface, a queue or a whole host also count other traffic: what they saw in the moments of the loss
is the most that they can have lost of ours, the least is 0. What our own program counts is exact, and what a socket
counts as well, less the corrupted packets that the way damaged and the socket only threw away. What a
host cannot tell is unknown, not zero: such a stage may have lost all that is missing. Not seen at all: what XDP or a
netdev-family rule of netfilter drops before the IP layer, unless the driver counts it, and what a hypervisor drops
outside its guest.

The customer's router, where it can be read, explains losses as a host does, but never more than its counters say:
all traffic of the site passes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfharness.analysis.counters import (
    INGRESS,
    UNACCOUNTED,
    UNACCOUNTED6,
    UNTRANSMITTED,
    UNTRANSMITTED6,
    Moments,
    Path,
    Recording,
    Rises,
)
from perfharness.analysis.statistics import CONFIDENCE, Ints, clopper_pearson
from perfharness.model import Direction, Interval, LedgerRow, Scope, Segment, Window

Row = Mapping[str, Any]
Found = tuple[Ints, str] | None
"""The most packets a stage can have lost in each run of time, and the counter that says so; None when none does."""

SENDER_APPLICATION = "sender application"
SENDER_HELD = "sender application (answered too late)"
SENDER_IP = "sender ip"
SENDER_QDISC = "sender qdisc"
SENDER_NIC = "sender nic"
RECEIVER_NIC = "receiver nic"
RECEIVER_DAMAGED = "receiver nic (damaged frames)"
RECEIVER_SOFTNET = "receiver softnet"
RECEIVER_IP = "receiver ip"
RECEIVER_FIREWALL = "receiver firewall"
RECEIVER_PORT = "receiver udp (no socket)"
RECEIVER_BUFFERS = "receiver udp buffers (namespace)"
RECEIVER_SOCKET = "receiver socket"
BURSTS = "sender pacing"
"""What a load's sender sent faster than asked for moments: a queue or policer on the way may have dropped it."""
FRAGMENTS = "sender fragments"
"""The same of a sender that cut packets: each part has headers of its own, which nobody asked for."""
RECEIVER_APPLICATION = "receiver application"
CE_IN = "CE nic in"
CE_DAMAGED = "CE nic in (damaged frames)"
CE_SOFTNET = "CE softnet"
CE_IP = "CE ip"
CE_FIREWALL = "CE firewall"
CE_QDISC = "CE qdisc"
CE_OUT = "CE nic out"
LAN = "LAN (by the count of the CE's WAN interface)"
DAMAGED = "arrived damaged (UDP checksum)"
BETWEEN = "between the hosts"


@dataclass(frozen=True, slots=True)
class Missing:
    """The packets that one direction of a UDP stream lost, and what its own programs know of them."""

    packets: int
    window: Window
    """Of the stream."""
    sockets: Sequence[Row] = ()
    """What the receiving sockets say of themselves: ``drops``, exact (None if it could not be read), and whether
    ``others`` sent to them too; empty = nothing known."""
    at_sender: Moments | None = None
    at_receiver: Moments | None = None
    """When they were lost, by each host's clock; None = at any time of the recording."""
    untransmitted: int | None = None
    """Of them, those without a transmit stamp of the kernel, when stamps were asked for: the others have left the
    sender's queue."""
    held: int = 0
    """Of them, those that their sender kept for longer than a packet may take."""
    unread: int = 0
    """What waited in the receiving socket when nobody read it any more."""
    part: bool = False
    """There were others: counts without a time are those of all together."""


def book(
    missing: Missing,
    sender: Recording,
    receiver: Recording,
    *,
    scope: Scope,
    sender_segment: Segment,
    receiver_segment: Segment,
    evidence: tuple[str, ...] = (),
) -> tuple[LedgerRow, ...]:
    """The stages of one direction, from the sender's application to the receiver's."""
    out = sender.rises(missing.window, missing.packets, missing.at_sender)
    into = receiver.rises(missing.window, missing.packets, missing.at_receiver)

    def row(stage: str, segment: Segment, rises: Rises, found: Found, most: int | None = None) -> LedgerRow:
        if found is None:
            host = "sender" if rises is out else "receiver"
            high, counter = missing.packets, f"unknown: no such counters of the {host}"
        else:
            high, counter = min(missing.packets, int(np.minimum(found[0], rises.lost).sum())), found[1]
        if most is not None and most < high:
            high, counter = most, f"lost packets without a transmit stamp ({counter})"
        return LedgerRow(scope, stage, segment, 0, high, counter, True, evidence)

    def exact(stage: str, segment: Segment, least: int, most: int, counter: str) -> LedgerRow:
        least, most = min(least, missing.packets), min(most, missing.packets)
        return LedgerRow(scope, stage, segment, least, most, counter, False, evidence)

    untransmitted, v6 = missing.untransmitted, scope.family == "ipv6"
    own = _own(missing.sockets, into, v6)
    rows = [
        row(SENDER_IP, sender_segment, out, _sent_by_ip(out, v6), untransmitted),
        row(SENDER_QDISC, sender_segment, out, _qdisc(out), untransmitted),
        row(SENDER_NIC, sender_segment, out, _transmit(out)),
        row(RECEIVER_NIC, receiver_segment, into, _receive(into)),
        row(RECEIVER_DAMAGED, receiver_segment, into, _damaged_frames(into)),
        row(RECEIVER_SOFTNET, receiver_segment, into, _softnet(into)),
        row(RECEIVER_IP, receiver_segment, into, _ip(into, v6)),
        row(RECEIVER_FIREWALL, receiver_segment, into, _firewall(into, v6)),
        row(RECEIVER_PORT, receiver_segment, into, _udp(into, v6, "NoPorts")),
        row(DAMAGED, Segment.BETWEEN, into, _udp(into, v6, "InCsumErrors")),
        row(RECEIVER_BUFFERS, receiver_segment, into, _buffers(into, v6, None if own is None else own[1])),
    ]
    if missing.held:
        said = "time between arrival and answer, exact"
        rows.insert(0, exact(SENDER_HELD, sender_segment, missing.held, missing.held, said))
    if own is not None:
        counted = socket_drops(missing.sockets)
        said = ", exact" if own == (counted, counted) else f" ({counted:,}) less what was corrupted or filtered"
        least, most = _of_these(own, missing, into, v6)
        rows.append(exact(RECEIVER_SOCKET, receiver_segment, least, most, f"drops of the receiving sockets{said}"))
    if missing.unread:
        said = "packets left in the socket unread, exact"
        least = 0 if missing.part or _others(missing.sockets) else missing.unread
        rows.append(exact(RECEIVER_APPLICATION, receiver_segment, least, missing.unread, said))
    return tuple(rows)


def book_ce(
    missing: Missing,
    into: Recording,
    out: Recording,
    at_router: Moments | None,
    *,
    scope: Scope,
    evidence: tuple[str, ...] = (),
) -> tuple[LedgerRow, ...]:
    """What the customer's router may have dropped in one direction, by the interface that packets come in by and the
    one that they leave by; ``at_router``: when they were lost, by its own clock.

    A stage that it cannot tell has no row: a router that tells little must not excuse more than one that is not read.
    Frames are damaged on the link that they came by: the LAN's is the customer's, the circuit's is not.
    """
    came, gone = (each.rises(missing.window, missing.packets, at_router) for each in (into, out))
    link = Segment.LAN if scope.direction is Direction.A_Z else Segment.BETWEEN
    stages = (
        (CE_IN, Segment.CE, came, _receive(came)),
        (CE_DAMAGED, link, came, _damaged_frames(came)),
        (CE_SOFTNET, Segment.CE, came, _softnet(came)),
        (CE_IP, Segment.CE, came, _ip(came, scope.family == "ipv6")),
        (CE_FIREWALL, Segment.CE, came, _filtered(came, scope.family == "ipv6")),
        (CE_QDISC, Segment.CE, gone, _qdisc(gone)),
        (CE_OUT, Segment.CE, gone, _transmit(gone)),
    )
    rows = []
    for stage, segment, rises, found in stages:
        if found is not None:
            most = min(missing.packets, int(np.minimum(found[0], rises.lost).sum()))
            rows.append(LedgerRow(scope, stage, segment, 0, most, found[1], True, evidence))
    return tuple(rows)


def unsent(packets: int, scope: Scope, segment: Segment, counter: str, evidence: tuple[str, ...]) -> LedgerRow:
    """What the schedule asked for and the sender's program did not hand to the kernel, or the kernel refused: never
    offered to the path."""
    return LedgerRow(scope, SENDER_APPLICATION, segment, packets, packets, counter, False, evidence, missing=False)


def rest(lost: int, rows: Sequence[LedgerRow], scope: Scope) -> LedgerRow:
    """What none of these rows explains was lost between the hosts."""
    evidence = tuple(dict.fromkeys(path for row in rows for path in row.evidence))
    least, most = remaining(lost, host_loss(rows))
    return LedgerRow(scope, BETWEEN, Segment.BETWEEN, least, most, "what no host explains", False, evidence)


def socket_drops(sockets: Sequence[Row]) -> int | None:
    """What the receiving sockets dropped altogether; None if one of them, or all, could not be read."""
    drops = [socket.get("drops") for socket in sockets]
    known = [count for count in drops if isinstance(count, int)]
    return sum(known) if drops and len(known) == len(drops) else None


def host_loss(rows: Sequence[LedgerRow]) -> tuple[int, int]:
    """(least, most) packets that the hosts themselves, or the customer's router, lost of those that are missing."""
    own = [row for row in rows if row.missing and row.segment is not Segment.BETWEEN]
    return sum(row.packets_lo for row in own), sum(row.packets_hi for row in own)


def who(rows: Sequence[LedgerRow]) -> str:
    """Whose counters explain something of the loss, in words."""
    router = any(row.packets_hi and row.segment in (Segment.CE, Segment.LAN) for row in rows if row.missing)
    return "the hosts and the CE" if router else "the hosts"


def remaining(lost: int, host: tuple[int, int]) -> tuple[int, int]:
    """(least, most) of the lost packets that were lost between the hosts."""
    least, most = host
    return max(0, lost - most), max(0, lost - least)


def loss_interval(
    lost: int, sent: int, host: tuple[int, int], n_eff: float | None = None, confidence: float = CONFIDENCE
) -> Interval:
    """Where the share of packets lost between the hosts lies.

    From the lower bound on the least that remains to the upper bound on the most that remains, so that
    neither chance nor a host can explain a verdict away. ``n_eff`` = ``statistics.effective_n`` of the losses
    per block; None takes all packets as independent. Nothing left to the path: all packets count, since there
    is nothing that could be correlated. The interval's ``n_eff`` is None when the hosts' range, not chance,
    keeps it open: more packets would not decide. Raises ValueError for counts that cannot be.
    """
    if not 0 <= lost <= sent or sent == 0:
        raise ValueError(f"{lost} packets cannot be lost of {sent} sent")
    least, most = remaining(lost, host)

    def bounds(count: int) -> tuple[float, float]:
        return clopper_pearson(count / sent, sent if n_eff is None or count in (0, sent) else n_eff, confidence)

    known = least == most
    method = "Clopper–Pearson, design effect from blocks" if n_eff is not None else "Clopper–Pearson"
    if not known:
        method += f", on {least} to {most} packets that no counter explains"
    effective = float(sent) if n_eff is None or most in (0, sent) else n_eff
    return Interval(bounds(least)[0], bounds(most)[1], confidence, "one", method, effective if known else None)


# --- stages ---------------------------------------------------------------------------------------


def _paths(group: str, *names: str) -> tuple[Path, ...]:
    return tuple((group, name) for name in names)


def _of(table: str, *names: str) -> tuple[Path, ...]:
    return tuple(("snmp", table, name) for name in names)


def _sent_by_ip(gone: Rises, v6: bool) -> Found:
    """IP's and UDP's own counts hold what the queue dropped as well, which is booked there."""
    ip, udp = ("Ip6", "Udp6") if v6 else ("Ip", "Udp")
    discarded, refused = gone.total(_of(ip, "OutDiscards")), gone.total(_of(udp, "SndbufErrors"))
    homeless, queue = gone.total(_of(ip, "OutNoRoutes")), gone.total((("qdisc", "drops"), INGRESS))
    if discarded is None or refused is None or homeless is None or queue is None:
        return None
    said = f"{ip} OutDiscards, {udp} SndbufErrors (less qdisc) + OutNoRoutes"
    return np.maximum(0, np.maximum(discarded, refused) - queue) + homeless, said


def _qdisc(gone: Rises) -> Found:
    """A clsact qdisc counts what it drops on the way out with what it drops on the way in."""
    drops = gone.total((("qdisc", "drops"), INGRESS))
    if drops is None:
        return None
    requeues = gone.whole.get(("qdisc", "requeues"), 0)
    return drops, f"qdisc drops: {int(drops.sum())}" + (f", requeues: {requeues}" if requeues else "")


def _transmit(gone: Rises) -> Found:
    driver = gone.driver("tx", "bw_out", "pps_allowance", "ring full")
    dropped = gone.total(_paths("nic", "tx_dropped"), (("nic", "tx_errors"), *driver))
    return (
        None if dropped is None else (dropped, " + ".join(("tx_dropped", "tx_errors", *(path[1] for path in driver))))
    )


def _receive(gone: Rises) -> Found:
    """``rx_dropped`` holds the backlog's drops as well, which are booked at softnet."""
    driver = gone.driver("rx", "bw_in", "pps_allowance")
    dropped, softnet = gone.total(_paths("nic", "rx_dropped")), gone.total((), (("softnet", "dropped"),))
    missed = gone.total((("nic", "rx_missed_errors"), INGRESS), driver)
    # Drivers use fifo and over for the same event.
    fifo, over = (gone.total((), (("nic", name),)) for name in ("rx_fifo_errors", "rx_over_errors"))
    if dropped is None or softnet is None or missed is None or fifo is None or over is None:
        return None
    names = (
        "rx_dropped (less softnet)",
        "rx_missed_errors",
        "rx_fifo_errors",
        "ingress",
        *(path[1] for path in driver),
    )
    return np.maximum(0, dropped - softnet) + missed + np.maximum(fifo, over), " + ".join(names)


def _damaged_frames(gone: Rises) -> Found:
    """A frame check sequence is checked on every link anew: it was damaged on the host's own."""
    parts = gone.total((), _paths("nic", "rx_length_errors", "rx_crc_errors", "rx_frame_errors"))
    errors = gone.total((("nic", "rx_errors"),))
    return None if errors is None or parts is None else (np.maximum(errors, parts), "rx_errors (length, CRC, frame)")


def _softnet(gone: Rises) -> Found:
    dropped = gone.total((("softnet", "dropped"),))
    return None if dropped is None else (dropped, "softnet_stat dropped, all CPUs and interfaces")


def _ip(gone: Rises, v6: bool) -> Found:
    name = "Ip6" if v6 else "Ip"
    more = _of("Ip6", "InTruncatedPkts", "InNoRoutes") if v6 else _of("IpExt", "InNoRoutes", "InTruncatedPkts")
    filtered = () if v6 else _of("TcpExt", "IPReversePathFilter")
    told = _of(name, "InDiscards", "InHdrErrors", "InAddrErrors", "ReasmFails")
    discarded = gone.total(told, (*more, *filtered))
    said = f"{name} InDiscards + InHdrErrors + InAddrErrors + ReasmFails + InNoRoutes + reverse path filter"
    return None if discarded is None else (discarded, said)


def _firewall(gone: Rises, v6: bool) -> Found:
    vanished = gone.total((UNACCOUNTED6 if v6 else UNACCOUNTED,))
    said = "received by IP and neither delivered, forwarded nor discarded (netfilter)"
    return None if vanished is None else (vanished, said)


def _filtered(gone: Rises, v6: bool) -> Found:
    """On the way through, too."""
    vanished = gone.total((UNACCOUNTED6 if v6 else UNACCOUNTED,), (UNTRANSMITTED6 if v6 else UNTRANSMITTED,))
    return None if vanished is None else (vanished, "came to IP, or was to leave it, and vanished there (netfilter)")


def _udp(gone: Rises, v6: bool, counter: str) -> Found:
    name = "Udp6" if v6 else "Udp"
    rose = gone.total(_of(name, counter))
    return None if rose is None else (rose, f"{name} {counter}")


def _buffers(gone: Rises, v6: bool, drops: int | None) -> Found:
    """The namespace's count holds our sockets' own drops too: what is booked there is not booked again."""
    name = "Udp6" if v6 else "Udp"
    told, more = _of(name, "RcvbufErrors"), _of(name, "MemErrors")  # the latter not before Linux 5.11
    full = gone.total(told, more)
    if full is None:
        return None if drops is None else (np.zeros_like(gone.lost), "our sockets count their own drops")
    if drops is None:
        return full, f"{name} RcvbufErrors"
    others = max(0, sum(gone.whole.get(path, 0) for path in (*told, *more)) - drops)
    return np.minimum(full, others), f"{name} RcvbufErrors less our sockets' own drops"


def _others(sockets: Sequence[Row]) -> bool:
    return any(socket.get("others") for socket in sockets)


def _own(sockets: Sequence[Row], gone: Rises, v6: bool) -> tuple[int, int] | None:
    """(least, most) packets of the stream for which our sockets had no room, of all that they dropped.

    The kernel counts there as well what the checksum gives away, if it looks at it only when the program reads
    (packets above 76 bytes), and what a filter keeps from the socket: neither is the host's loss.
    """
    drops = socket_drops(sockets)
    if drops is None:
        return None
    table = "Udp6" if v6 else "Udp"
    corrupted, full = _of(table, "InCsumErrors"), _of(table, "RcvbufErrors", "MemErrors")
    known = gone.total(corrupted) is not None and not _others(sockets)
    least = max(0, drops - gone.whole[corrupted[0]]) if known else 0
    # MemErrors: not counted before Linux 5.11.
    most = drops if gone.total(full) is None else min(drops, sum(gone.whole[path] for path in full))
    return min(least, most), most


def _of_these(own: tuple[int, int], missing: Missing, gone: Rises, v6: bool) -> tuple[int, int]:
    """(least, most) of the missing packets. A socket's count has no times: the namespace's, which holds it, says
    when."""
    least, most = own
    if not missing.part:
        return own
    errors = _of("Udp6" if v6 else "Udp", "RcvbufErrors")
    here, whole = gone.total(errors), gone.whole.get(errors[0], 0)
    if here is None or most > whole or not gone.timed:
        return 0, most
    return max(0, int(here.sum()) - (whole - least)), min(int(here.sum()), most)
