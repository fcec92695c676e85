"""The ledger: which stage of which host lost packets, so that the circuit is blamed only for its own.

Counters of an interface, a queue or a whole host also count other traffic: what they saw is the most that
they can have lost of ours, the least is 0. A socket's own drop counter counts ours alone, but corrupted packets
too, which the way damaged and the host only threw away. What a host cannot tell is unknown, not zero: such a
stage may have lost all that is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perfharness.analysis.statistics import CONFIDENCE, clopper_pearson
from perfharness.model import Interval, LedgerRow, Scope, Segment, Window

Row = Mapping[str, Any]
Gone = Mapping[tuple[str, ...], int]
"""What each counter, named by its path in a row, rose by."""
Found = tuple[int, str] | None
"""The most packets a stage can have lost and the counter that says so; None when none does."""

SENDER_QDISC = "sender qdisc"
SENDER_NIC = "sender nic"
RECEIVER_NIC = "receiver nic"
RECEIVER_SOFTNET = "receiver softnet"
RECEIVER_BUFFERS = "receiver udp buffers (namespace)"
RECEIVER_SOCKET = "receiver socket"

INGRESS = ("ingress", "drops")
COUNTED = (
    ("qdisc", "drops"),
    INGRESS,
    *(("nic", name) for name in ("tx_dropped", "tx_errors", "rx_dropped", "rx_missed_errors")),
    *(("nic", name) for name in ("rx_fifo_errors", "rx_over_errors")),
    ("softnet", "dropped"),
    *(("snmp", family, name) for family in ("Udp", "Udp6") for name in ("RcvbufErrors", "MemErrors", "InCsumErrors")),
)
"""The counters that the stages read, by their path in a row."""


def book(
    *,
    sender: Sequence[Row],
    receiver: Sequence[Row],
    window: Window,
    sockets: Sequence[Row],
    lost: int,
    scope: Scope,
    sender_segment: Segment,
    receiver_segment: Segment,
    untransmitted: int | None = None,
    evidence: tuple[str, ...] = (),
) -> tuple[LedgerRow, ...]:
    """The stages of one direction of a UDP stream that lost ``lost`` packets.

    ``sender``, ``receiver``: rows of counters.jsonl. ``sockets``: what the receiving sockets say of
    themselves, each with its own ``drops`` (None if it could not be read); empty = nothing known.
    ``untransmitted``: lost packets without a transmit stamp of the kernel, when stamps were asked for:
    the others have left the sender's queue.
    """
    out, into = _gone(sender, window), _gone(receiver, window)
    drops = socket_drops(sockets)
    own = None if drops is None else _own(drops, into, scope.family)

    def row(stage: str, segment: Segment, found: Found, missing: str) -> LedgerRow:
        most, counter = (lost, f"unknown: {missing}") if found is None else found
        return LedgerRow(scope, stage, segment, 0, most, counter, True, evidence)

    rows = [
        row(SENDER_QDISC, sender_segment, _qdisc(out, untransmitted), "no queue counters of the sender"),
        row(SENDER_NIC, sender_segment, _transmit(out), "no interface counters of the sender"),
        row(RECEIVER_NIC, receiver_segment, _receive(into), "no interface counters of the receiver"),
        row(RECEIVER_SOFTNET, receiver_segment, _softnet(into), "no softnet counters of the receiver"),
        row(
            RECEIVER_BUFFERS,
            receiver_segment,
            _buffers(into, scope.family, own),
            "no UDP counters of the receiver",
        ),
    ]
    if own is not None:
        least, most = own
        counter = "drops of the receiving sockets" + (
            ", exact" if least == most == drops else f" ({drops:,}) less what was corrupted or filtered"
        )
        rows.append(LedgerRow(scope, RECEIVER_SOCKET, receiver_segment, least, most, counter, least < most, evidence))
    return tuple(rows)


def socket_drops(sockets: Sequence[Row]) -> int | None:
    """What the receiving sockets dropped altogether; None if one of them, or all, could not be read."""
    drops = [socket.get("drops") for socket in sockets]
    known = [count for count in drops if isinstance(count, int)]
    return sum(known) if drops and len(known) == len(drops) else None


def host_loss(rows: Sequence[LedgerRow]) -> tuple[int, int]:
    """(least, most) packets that the hosts themselves lost."""
    return sum(row.packets_lo for row in rows), sum(row.packets_hi for row in rows)


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
        method += f", on {least} to {most} packets that the hosts did not lose"
    effective = float(sent) if n_eff is None or most in (0, sent) else n_eff
    return Interval(bounds(least)[0], bounds(most)[1], confidence, "one", method, effective if known else None)


# --- stages ---------------------------------------------------------------------------------------


def _qdisc(gone: Gone, untransmitted: int | None) -> Found:
    drops = gone.get(("qdisc", "drops"))
    if drops is None:
        return None if untransmitted is None else (untransmitted, "lost packets without a transmit stamp")
    if untransmitted is not None and untransmitted < drops:
        return untransmitted, f"lost packets without a transmit stamp (qdisc drops: {drops})"
    return drops, "qdisc drops"


def _transmit(gone: Gone) -> Found:
    dropped = gone.get(("nic", "tx_dropped"))
    if dropped is None:
        return None
    return dropped + (gone.get(("nic", "tx_errors")) or 0), "tx_dropped + tx_errors"


def _receive(gone: Gone) -> Found:
    """``rx_dropped`` holds the backlog's drops as well, which are booked at softnet."""
    dropped, missed = gone.get(("nic", "rx_dropped")), gone.get(("nic", "rx_missed_errors"))
    filtered = gone.get(INGRESS)
    if dropped is None or missed is None or filtered is None:
        return None
    # Drivers use fifo and over for the same event.
    full = max(gone.get(("nic", name)) or 0 for name in ("rx_fifo_errors", "rx_over_errors"))
    rest = max(0, dropped - (gone.get(("softnet", "dropped")) or 0))
    return rest + missed + full + filtered, "rx_dropped (less softnet) + rx_missed_errors + rx_fifo_errors + ingress"


def _softnet(gone: Gone) -> Found:
    dropped = gone.get(("softnet", "dropped"))
    return None if dropped is None else (dropped, "softnet_stat dropped, all interfaces")


def _own(drops: int, gone: Gone, family: str) -> tuple[int, int]:
    """(least, most) packets for which our sockets had no room, of all that they dropped.

    The kernel counts there as well what the checksum gives away, if it looks at it only when the program reads
    (packets above 76 bytes), and what a filter keeps from the socket: neither is the host's loss.
    """
    corrupted, full = gone.get(("snmp", _table(family), "InCsumErrors")), _full(gone, family)
    least = 0 if corrupted is None else max(0, drops - corrupted)
    if full is None or ("snmp", _table(family), "MemErrors") not in gone:
        return least, drops
    most = min(drops, full)
    return min(least, most), most


def _buffers(gone: Gone, family: str, own: tuple[int, int] | None) -> Found:
    """The namespace's count holds our sockets' own drops too: what is booked there is not booked again."""
    full = _full(gone, family)
    if full is None:
        return None if own is None else (0, "our sockets count their own drops")
    if own is None:
        return full, f"{_table(family)} RcvbufErrors"
    return max(0, full - own[1]), f"{_table(family)} RcvbufErrors less our sockets' own drops"


def _full(gone: Gone, family: str) -> int | None:
    """Packets for which no socket of the namespace had room."""
    full = gone.get(("snmp", _table(family), "RcvbufErrors"))
    # MemErrors: not counted before Linux 5.11.
    return None if full is None else full + (gone.get(("snmp", _table(family), "MemErrors")) or 0)


def _table(family: str) -> str:
    return "Udp6" if family == "ipv6" else "Udp"


# --- counters over a window -----------------------------------------------------------------------


def _gone(rows: Sequence[Row], window: Window) -> Gone:
    """What each counter rose by over the recording; empty if that is shorter than the window.

    The recording is not clipped to the window: the window may be told by another host's clock, and a task has
    its hosts to itself. So a bound may be a little loose, but no drop is missed.
    """
    clock = "mono_ns" if all("mono_ns" in row for row in rows) else "t_ns"  # Unix time may be set meanwhile
    timed = [row for row in rows if isinstance(row.get(clock), int)]
    if len(timed) < 2 or timed[-1][clock] - timed[0][clock] < abs(window.end_ns - window.start_ns):
        return {}
    first, last = _read(timed[0]), _read(timed[-1])
    before, fell = first, set()
    for row in timed[1:]:
        now = {**before, **_read(row)}
        fell |= {key for key, was in before.items() if now[key] < was}
        before = now
    # There is no row of the ingress qdisc where none is attached: one that comes begins at 0.
    first, last = {INGRESS: 0, **first}, {INGRESS: before.get(INGRESS, 0), **last}
    # A counter that fell on the way was reset, or is 32 bits wide and ran over: what it missed is unknown.
    return {key: last[key] - was for key, was in first.items() if key in last and key not in fell}


def _read(row: Row) -> dict[tuple[str, ...], int]:
    """The counters of :data:`COUNTED` that this row has."""
    found: dict[tuple[str, ...], int] = {}
    for key in COUNTED:
        value: Any = row
        for name in key:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, int):
            found[key] = value
    return found
