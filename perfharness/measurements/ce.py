"""What the customer's router said beside a task, and how its clock is held against the on-prem host's.

Nobody compares the two clocks directly. But the coordinator knows when each watcher wrote its first row and its last:
that puts the difference of the clocks between two bounds, a second apart or less, and a counter is looked at within
all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfharness.analysis import ledger
from perfharness.analysis.counters import Moments, Recording, record
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import COUNTERS, LAN_COUNTERS, WAN_COUNTERS, Ends
from perfharness.model import Direction, LedgerRow, Scope, Segment, Window

_FILE = "counters.jsonl"
_OTHERS = 0.1
"""Of the missing packets: with more of others' traffic than that, a count of all packets proves nothing."""


@dataclass(frozen=True, slots=True)
class CeCounters:
    """The CE's counters beside a task."""

    lan: Recording
    wan: Recording
    evidence: tuple[str, str]
    shift_ns: tuple[int, int] | None
    """(least, most) by which its clock is ahead of the on-prem host's; None = unknown."""

    def book(self, scope: Scope, missing: ledger.Missing) -> tuple[LedgerRow, ...]:
        """Its stages in one direction."""
        outward = scope.direction is Direction.A_Z
        into, out = (self.lan, self.wan) if outward else (self.wan, self.lan)
        near = missing.at_sender if outward else missing.at_receiver
        return ledger.book_ce(missing, into, out, self._moments(near), scope=scope, evidence=self.evidence)

    def _moments(self, near: Moments | None) -> Moments | None:
        if near is None or self.shift_ns is None:
            return None
        least, most = self.shift_ns
        return Moments(near.start_ns + least, near.end_ns + most, near.packets)

    def book_lan(
        self, scope: Scope, window: Window, sent: int, lost: int, rows: tuple[LedgerRow, ...]
    ) -> tuple[LedgerRow, ...]:
        """What was lost between the on-prem host and the circuit, and neither that host nor this router counts as
        dropped (``rows``): of the packets that were ``sent`` in a direction the WAN interface saw these, or did not.

        It counts others' packets too, so as many as it did not count were never there. No row where none is certain.
        """
        way = scope.direction or Direction.A_Z
        crossed = self.crossed(way, window, lost) if lost else None
        if crossed is None or not 0 <= sent - crossed <= lost:
            return ()
        unseen, others = sent - crossed, math.ceil(_OTHERS * lost)
        least, most = (unseen, unseen + others) if way is Direction.A_Z else (lost - unseen - others, lost - unseen)
        here = (Segment.HOST_A, Segment.LAN, Segment.CE)
        # What came damaged came: the way that damaged it may lie on either side of this router.
        near = [row for row in rows if row.missing and (row.segment in here or row.stage == ledger.DAMAGED)]
        least, most = least - sum(row.packets_hi for row in near), most - sum(row.packets_lo for row in near)
        if least <= 0:
            return ()
        counter = f"of {sent:,} packets {crossed:,} counted on the CE's WAN interface"
        return (LedgerRow(scope, ledger.LAN, Segment.LAN, least, min(most, lost), counter, False, self.evidence),)

    def crossed(self, way: Direction, window: Window, missing: int) -> int | None:
        """Packets of all kinds that crossed the WAN interface in this direction during ``window`` (of the on-prem
        host's clock); None where others' traffic, as much of it as before and after, would leave it without meaning.
        """
        column = self.wan.counters.get(("nic", "tx_packets" if way is Direction.A_Z else "rx_packets"))
        if column is None or self.shift_ns is None or len(column[0]) < len(self.wan.t_ns):
            return None
        t_ns, packets = self.wan.t_ns, column[1]
        first = int(np.searchsorted(t_ns, window.start_ns + self.shift_ns[0], "right")) - 1
        last = int(np.searchsorted(t_ns, window.end_ns + self.shift_ns[1], "left"))
        if not 0 < first < last < len(t_ns) - 1:
            return None  # there must be rows before and after
        quiet_ns = t_ns[first] - t_ns[0] + t_ns[-1] - t_ns[last]
        others = packets[first] - packets[0] + packets[-1] - packets[last]
        if others / quiet_ns * (t_ns[last] - t_ns[first]) > _OTHERS * missing:
            return None
        return int(packets[last] - packets[first])


def read_ce(files: TaskFiles, context: Ends) -> CeCounters | None:
    """None where the order names no CE that can be read, or it left nothing."""
    router = context.circuit.ce_host
    if router is None:
        return None
    lan, wan = (record(files.each_row(router.name, job, _FILE)) for job in (LAN_COUNTERS, WAN_COUNTERS))
    if not len(lan.t_ns) or not len(wan.t_ns):
        return None
    watched: Mapping[str, Any] = (files.outcome() or {}).get("watched", {})
    near = record(files.each_row(context.a.name, COUNTERS, _FILE))
    return CeCounters(
        lan,
        wan,
        (files.path(router.name, LAN_COUNTERS, _FILE), files.path(router.name, WAN_COUNTERS, _FILE)),
        _shift_ns(
            _offset_ns(wan, watched.get(f"{router.name}.{WAN_COUNTERS}")),
            _offset_ns(near, watched.get(f"{context.a.name}.{COUNTERS}")),
        ),
    )


def _offset_ns(rows: Recording, brackets: Any) -> list[tuple[int, int]]:
    """(least, most) by which this host's clock is ahead of the coordinator's, when it began and when it ended."""
    if not brackets or not len(rows.t_ns):
        return []
    ends = (int(rows.t_ns[0]), int(rows.t_ns[-1]))
    return [(at - int(after), at - int(before)) for at, (before, after) in zip(ends, brackets, strict=False)]


def _shift_ns(router: list[tuple[int, int]], near: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Both bounds over the whole task; None unless its begin and its end are known."""
    if len(router) < 2 or len(near) < 2:
        return None
    both = [(there[0] - here[1], there[1] - here[0]) for there, here in zip(router, near, strict=True)]
    return min(least for least, _ in both), max(most for _, most in both)
