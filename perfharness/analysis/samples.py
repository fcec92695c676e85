"""The packets of one probe stream as columns: what the sender noted, joined with the reflector's log.

Only packets that were really sent are here: what the schedule asked for and the sender missed was not
offered to the path, so it can be neither lost nor late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perfagent import records
from perfagent.schedule import offsets_ns
from perfharness.analysis.statistics import Bools, Ints
from perfharness.errors import EvidenceBroken
from perfharness.model import Direction

BLOCK_NS = 1_000_000_000
"""Length of the blocks from which the correlation of packets is estimated."""

Sources = npt.NDArray[np.uint8]
Records = npt.NDArray[Any]

_DTYPE = np.dtype(records.DTYPE_FIELDS)


@dataclass(frozen=True, slots=True)
class Samples:
    """n packets in the order of sending. Stamps are ns since the Unix epoch by the clock of their own host."""

    seq: Ints
    t1: Ints
    t2: Ints
    t3: Ints
    t4: Ints
    s1: Sources
    s2: Sources
    s3: Sources
    s4: Sources
    """Who took each stamp (``perfagent.records``); where ABSENT, the stamp means nothing."""
    replied: Bools
    """A reply came back within the waiting time."""
    seen: Bools
    """The packet is known to have reached the reflector."""
    reflected: Bools
    """... and the reflector is known to have answered it."""
    logged: Bools
    """The reflector's log can tell of this packet; where False, only a reply proves that it was seen."""
    arrivals: Ints
    """Sequence numbers as they arrived at the reflector, duplicates included; empty without its log."""
    duplicates: int
    """Replies that came again at the sender."""
    schedule_ns: Ints | None
    """When each packet was due, CLOCK_MONOTONIC of the sender; None if its result is lost."""
    clock: Ints
    """(k, 2): CLOCK_MONOTONIC and Unix time of the sender, read together about once a second."""

    @property
    def block(self) -> Ints:
        """Index of the 1 s block of each packet; never decreases."""
        when = np.maximum.accumulate(self.t1) if self.schedule_ns is None else self.schedule_ns
        return (when - when[0]) // BLOCK_NS if len(when) else when

    @property
    def lost(self) -> Bools:
        """No reply within the waiting time."""
        return ~self.replied

    @property
    def lost_forward(self) -> Bools:
        """Not seen by the reflector, where that can be told."""
        return ~self.seen & self.logged

    @property
    def lost_backward(self) -> Bools:
        """Answered by the reflector, but no reply arrived."""
        return self.reflected & ~self.replied

    def untransmitted(self, direction: Direction) -> int:
        """Packets lost in this direction without a kernel's transmit stamp: only these may still have been lost
        in their sender's queue."""
        if direction is Direction.Z_A:
            return int((self.lost_backward & (self.s3 != records.KERNEL) & (self.s3 != records.HARDWARE)).sum())
        return int((self.lost_forward & (self.s1 != records.KERNEL) & (self.s1 != records.HARDWARE)).sum())

    @property
    def kernel_share(self) -> float | None:
        """Share of round trips with all four stamps from the kernel or the card; None without any reply."""
        good = np.ones(len(self.seq), np.bool_)
        for source in (self.s1, self.s2, self.s3, self.s4):
            good &= (source == records.KERNEL) | (source == records.HARDWARE)
        return float(good[self.replied].mean()) if self.replied.any() else None


def join(
    sender: bytes, reflector: bytes | None, result: Mapping[str, Any], *, reflector_complete: bool = True
) -> Samples:
    """The samples of ``sender.rec``, joined by sequence number with ``reflector.rec`` where there is one.

    ``result`` is the ``data`` of the sender's result. ``reflector_complete``: the reflector ended tidily. Else,
    or when its file ends within a record, its log says nothing of packets after the last one in it.
    T2 and T3 are the log's (kernel stamps), unless they are of two sources and the reply's are not.
    Raises EvidenceBroken.
    """
    mine = _read(sender, "sender.rec")
    if mine["seq"].max(initial=0) >= max(len(mine), 1):
        raise EvidenceBroken("sender.rec cannot be read: it has sequence numbers beyond its own length.")
    sent = mine[(mine["flags"] & records.SENT) != 0]
    s1, s2 = _nibbles(sent["sources12"])
    s3, s4 = _nibbles(sent["sources34"])
    t2, t3 = sent["t2"].copy(), sent["t3"].copy()
    seen = (sent["flags"] & records.REPLIED) != 0
    reflected = seen.copy()

    log = _read(reflector or records.HEADER, "reflector.rec")
    entry = _first_entry(sent["seq"], log["seq"])
    found = entry >= 0
    his = log[entry[found]]
    log2, log3 = _nibbles(his["sources12"])[1], _nibbles(his["sources34"])[0]
    better = like(log2, log3) | ~like(s2[found], s3[found])
    at = np.flatnonzero(found)[better]
    t2[at], t3[at], s2[at], s3[at] = his["t2"][better], his["t3"][better], log2[better], log3[better]
    reflected[found] |= (his["flags"] & records.SENT) != 0

    whole = reflector is not None and (len(reflector) - records.HEADER_BYTES) % records.RECORD_BYTES == 0
    last = int(log["seq"].max()) if len(log) else -1
    return Samples(
        seq=sent["seq"].astype(np.int64),
        t1=sent["t1"],
        t2=t2,
        t3=t3,
        t4=sent["t4"],
        s1=s1,
        s2=s2,
        s3=s3,
        s4=s4,
        replied=(sent["flags"] & (records.REPLIED | records.LATE)) == records.REPLIED,
        seen=seen | found,
        reflected=reflected,
        logged=(sent["seq"] <= last) | (whole and reflector_complete),
        arrivals=log["seq"].astype(np.int64),
        duplicates=int(result.get("duplicates", 0)),
        schedule_ns=_due(sent["seq"], result),
        clock=np.array(result.get("clock") or np.empty((0, 2)), np.int64).reshape(-1, 2),
    )


def like(one: Sources, other: Sources) -> Bools:
    """Which pairs of stamps were taken by the same kind of source, so that they can be subtracted."""
    same: Bools = (one == other) & (one != records.ABSENT)
    return same


def _read(data: bytes, name: str) -> Records:
    try:
        count = records.count(data)
    except records.BrokenRecords as error:
        raise EvidenceBroken(f"{name} cannot be read: {error}.") from None
    return np.frombuffer(data, _DTYPE, count, records.HEADER_BYTES)


def _nibbles(packed: Sources) -> tuple[Sources, Sources]:
    return packed & np.uint8(0x0F), packed >> np.uint8(4)


def _first_entry(seq: npt.NDArray[np.uint32], log: npt.NDArray[np.uint32]) -> npt.NDArray[np.intp]:
    """For each sequence number its first place in the log, -1 if it is not there."""
    entry = np.full(int(seq.max(initial=0)) + 1, -1, np.intp)
    backwards = np.flatnonzero(log < len(entry))[::-1]  # of duplicates the first is written last, and stays
    entry[log[backwards]] = backwards
    return entry[seq]


def _due(seq: npt.NDArray[np.uint32], result: Mapping[str, Any]) -> Ints | None:
    """When the packets were due: the schedule drawn again from its pattern and seed."""
    if "schedule" not in result or "start_mono_ns" not in result:
        return None
    count = int(seq.max()) + 1 if len(seq) else 0
    schedule = {**result["schedule"], "count": count}
    offsets = np.fromiter(offsets_ns(**schedule), np.int64, count)
    return int(result["start_mono_ns"]) + offsets[seq]
