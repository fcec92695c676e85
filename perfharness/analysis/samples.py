"""The packets of one probe stream as columns: what the sender noted, joined with the reflector's log.

Only packets that were really sent are here: what the schedule asked for and the sender missed was not
offered to the path, so it can be neither lost nor late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import islice
from math import lcm
from typing import Any

import numpy as np
import numpy.typing as npt

from perfagent import records
from perfagent.schedule import PERIODIC, offsets_ns, slots
from perfharness.analysis.columns import RECORD_DTYPE, Columns, from_records
from perfharness.analysis.statistics import Bools, Ints
from perfharness.analysis.turns import Turn
from perfharness.errors import EvidenceBroken
from perfharness.model import Direction

BLOCK_NS = 1_000_000_000
"""Length of the blocks from which the correlation of packets is estimated."""

Sources = npt.NDArray[np.uint8]
AnyArray = npt.NDArray[Any]

_READINGS_AROUND_NS = 10_000_000_000
_ENDLESS = 1 << 62


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
    ttl_there: Sources
    ttl_back: Sources
    """TTL or hop limit with which the packet reached the reflector, and its reply the sender; 0 if not told."""
    replied: Bools
    """A reply came back within the waiting time."""
    seen: Bools
    """The packet is known to have reached the reflector."""
    reflected: Bools
    """... and the reflector is known to have answered it."""
    logged: Bools
    """The reflector's log can tell of this packet; where False, only a reply proves that it was seen."""
    log_row: Ints
    """The number of its first row in the reflector's log, -1 without one."""
    arrivals: Ints
    """Sequence numbers as they arrived at the reflector, duplicates included; empty without its log."""
    duplicates: int
    """Replies that came again at the sender."""
    schedule_ns: Ints | None
    """When each packet was due, CLOCK_MONOTONIC of the sender; None if its result is lost."""
    clock: Ints
    """(k, 2): CLOCK_MONOTONIC and Unix time of the sender, read together about once a second."""

    @property
    def when_ns(self) -> Ints:
        """When each packet was due or, where nobody knows, when it left; never decreases."""
        return np.maximum.accumulate(self.t1) if self.schedule_ns is None else self.schedule_ns

    @property
    def block(self) -> Ints:
        """Index of the 1 s block of each packet; never decreases."""
        when = self.when_ns
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
    def mixed(self) -> Bools:
        """Round trips by the card's stamps where most are by others, or the other way, at either end. They differ by
        the time that the host itself takes, which beside the others would look like variation of the path."""
        kind = (self.s1 == records.HARDWARE) << np.uint8(1) | (self.s2 == records.HARDWARE)
        if not kind.any():
            return np.zeros(len(kind), np.bool_)
        usual = np.bincount(kind[self.replied], minlength=1).argmax()
        other: Bools = self.replied & (kind != usual)
        return other

    @property
    def kernel_stamped(self) -> int:
        """Round trips with all four stamps from the kernel or the card."""
        good = self.replied.copy()
        for source in (self.s1, self.s2, self.s3, self.s4):
            good &= (source == records.KERNEL) | (source == records.HARDWARE)
        return int(good.sum())

    @property
    def kernel_share(self) -> float | None:
        """Their share; None without any reply."""
        return self.kernel_stamped / int(self.replied.sum()) if self.replied.any() else None


@dataclass(frozen=True, slots=True)
class Log:
    """What the reflector's log as a whole can tell."""

    last_seq: int = -1
    """The largest number in it; -1 without one."""
    complete: bool = False
    """It tells of every packet. Else it says nothing of packets after its last one."""


def join(
    sender: bytes, reflector: bytes | None, result: Mapping[str, Any], *, reflector_complete: bool = True
) -> Samples:
    """The samples of ``sender.rec``, joined by sequence number with ``reflector.rec`` where there is one.

    ``result`` is the ``data`` of the sender's result. ``reflector_complete``: the reflector ended tidily. Else,
    or when its file ends within a record, its log says nothing of packets after the last one in it.
    Raises EvidenceBroken.
    """
    log = _read(reflector or records.HEADER, "reflector.rec")
    whole = reflector is not None and (len(reflector) - records.HEADER_BYTES) % records.RECORD_BYTES == 0
    told = Log(int(log.seq.max()) if len(log) else -1, whole and reflector_complete)
    mine = _read(sender, "sender.rec")
    due = schedule(result, (len(mine),))
    return match(mine, 0, log, told, result, None if due is None else next(due))


def match(
    mine: Columns,
    first: int,
    log: Columns,
    told: Log,
    result: Mapping[str, Any],
    due_ns: Ints | None,
    log_rows: Ints | None = None,
) -> Samples:
    """The samples among packets ``first``, ``first`` + 1, … of the schedule: ``mine`` as the sender noted them.

    ``log``: of the reflector's log at least all of these packets; others are left alone. ``due_ns``: when these packets
    were due; ``log_rows``: the numbers of these rows of the log, where they are not all of it. T2 and T3 are the log's
    (kernel stamps), unless they are of two sources and the reply's are not.
    Raises EvidenceBroken.
    """
    is_sent = (mine.flags & records.SENT) != 0
    sent = mine if is_sent.all() else _chosen(mine, is_sent)
    place = sent.seq.astype(np.int64) - first
    if len(place) and (place.min() < 0 or place.max() >= len(mine)):
        raise EvidenceBroken("sender.rec cannot be read: it has sequence numbers beyond its own length.")
    s1, s2 = _nibbles(sent.sources12)
    s3, s4 = _nibbles(sent.sources34)
    seen = (sent.flags & records.REPLIED) != 0
    found, at = _entries(place, len(mine), log, first)
    his = log if at is None else _chosen(log, at)
    rows = np.arange(len(log)) if log_rows is None else log_rows
    rows = rows if at is None else rows[at]
    log2, log3 = _nibbles(his.sources12)[1], _nibbles(his.sources34)[0]
    better = like(log2, log3) | ~like(s2[found], s3[found])
    return Samples(
        seq=sent.seq.astype(np.int64),
        t1=sent.t1,
        t2=_replaced(sent.t2, his.t2, found, better),
        t3=_replaced(sent.t3, his.t3, found, better),
        t4=sent.t4,
        s1=s1,
        s2=_replaced(s2, log2, found, better),
        s3=_replaced(s3, log3, found, better),
        s4=s4,
        ttl_there=_replaced(np.zeros(len(place), np.uint8), his.ttl, found),
        ttl_back=sent.ttl,
        replied=(sent.flags & (records.REPLIED | records.LATE)) == records.REPLIED,
        seen=seen | found,
        reflected=seen | _replaced(np.zeros(len(seen), np.bool_), (his.flags & records.SENT) != 0, found),
        logged=(sent.seq <= told.last_seq) | told.complete,
        log_row=_replaced(np.full(len(place), -1, np.int64), rows.astype(np.int64), found),
        arrivals=log.seq.astype(np.int64),
        duplicates=int(result.get("duplicates", 0)),
        schedule_ns=None if due_ns is None else due_ns[place],
        clock=_readings(result.get("clock"), due_ns),
    )


def schedule(result: Mapping[str, Any], sizes: Iterable[int]) -> Iterator[Ints] | None:
    """When packets were due by the sender's CLOCK_MONOTONIC, drawn again from pattern and seed, in pieces of these
    sizes; None when the sender did not say."""
    if "schedule" not in result or "start_mono_ns" not in result:
        return None
    return _due(int(result["start_mono_ns"]), result["schedule"], sizes)


def _due(start_ns: int, drawn: Mapping[str, Any], sizes: Iterable[int]) -> Iterator[Ints]:
    periodic = drawn.get("pattern") == PERIODIC
    offsets = offsets_ns(**{**drawn, "count": 1 if periodic else _ENDLESS})
    if not periodic:
        yield from (start_ns + np.fromiter(islice(offsets, size), np.int64, size) for size in sizes)
        return
    first, interval_ns, every = start_ns + next(offsets), int(drawn["interval_ns"]), drawn.get("every", [1])
    used, cycle = np.array(slots(every)), lcm(*every) * len(every)
    sent = 0
    for size in sizes:
        number = np.arange(sent, sent + size)
        yield first + (number // len(used) * cycle + used[number % len(used)]) * interval_ns
        sent += size


def samples_in_turn(samples: Samples, turn: Turn) -> Samples:
    """The packets of one kind. Its arrivals are numbered among these packets alone, since what overtakes a packet of
    another kind reorders nothing."""
    if turn.alone:
        return samples
    arrivals = samples.arrivals
    return some(samples, turn.mine(samples.seq), turn.number(arrivals[turn.mine(arrivals)]))


def sent_within(samples: Samples, start_ns: int, end_ns: int) -> Samples:
    """The packets that left between these moments, by the sender's clock."""
    left = np.maximum.accumulate(samples.t1)  # one without a stamp left after the one before it
    mine = (left >= start_ns) & (left <= end_ns)
    return some(samples, mine, samples.arrivals[np.isin(samples.arrivals, samples.seq[mine])])


def some(samples: Samples, mine: Bools, arrivals: Ints) -> Samples:
    """Some of the packets, with the arrivals of them."""
    same = {"arrivals", "duplicates", "schedule_ns", "clock"}
    chosen: dict[str, Any] = {
        field.name: getattr(samples, field.name)[mine] for field in fields(Samples) if field.name not in same
    }
    due = samples.schedule_ns
    return replace(samples, **chosen, schedule_ns=None if due is None else due[mine], arrivals=arrivals)


def like(one: Sources, other: Sources) -> Bools:
    """Which pairs of stamps were taken by the same kind of source, so that they can be subtracted."""
    same: Bools = (one == other) & (one != records.ABSENT)
    return same


def near(one: Sources, other: Sources) -> Bools:
    """Which pairs of stamps are of one kind, or one of the card's and one of the kernel's: the kernel's is a little
    farther from the wire, so that a delay between them is never too short."""
    low = [(each == records.KERNEL) | (each == records.HARDWARE) for each in (one, other)]
    close: Bools = low[0] & low[1] | like(one, other)
    return close


def _read(data: bytes, name: str) -> Columns:
    try:
        count = records.count(data)
    except records.BrokenRecords as error:
        raise EvidenceBroken(f"{name} cannot be read: {error}.") from None
    return from_records(np.frombuffer(data, RECORD_DTYPE, count, records.HEADER_BYTES))


def _chosen(columns: Columns, which: Bools | npt.NDArray[np.intp]) -> Columns:
    return Columns(**{field.name: getattr(columns, field.name)[which] for field in fields(columns)})


def _nibbles(packed: Sources) -> tuple[Sources, Sources]:
    return packed & np.uint8(0x0F), packed >> np.uint8(4)


def _entries(place: Ints, count: int, log: Columns, first: int) -> tuple[Bools, Ints | None]:
    """Which of the packets at ``place`` are in the log, and the rows of their first entries there; None = all rows."""
    there = log.seq.astype(np.int64) - first
    if len(log) and there[0] >= 0 and there[-1] < count and (np.diff(there) > 0).all():  # most of the time
        in_log = np.zeros(count, np.bool_)
        in_log[there] = True
        found: Bools = in_log[place]
        if np.count_nonzero(found) == len(log):
            return found, None
    mine = np.flatnonzero((there >= 0) & (there < count))
    entry = np.full(count, -1, np.intp)
    entry[there[mine[::-1]]] = mine[::-1]  # of duplicates the first is written last, and stays
    entries = entry[place]
    found = entries >= 0
    return found, entries[found]


def _replaced(own: AnyArray, his: AnyArray, found: Bools, better: Bools | None = None) -> AnyArray:
    """``own`` with ``his`` values where they were found, and are better."""
    if found.all() and (better is None or better.all()):
        return his
    replaced = own.copy()
    if better is None or better.all():
        replaced[found] = his
    else:
        replaced[np.flatnonzero(found)[better]] = his[better]
    return replaced


def _readings(clock: npt.ArrayLike | None, due_ns: Ints | None) -> Ints:
    """(k, 2): the readings of the sender's clocks that concern packets due then, and those just before and after."""
    read = np.asarray([] if clock is None else clock, np.int64).reshape(-1, 2)
    if due_ns is None or not len(due_ns):
        return read
    ends = due_ns[0] - _READINGS_AROUND_NS, due_ns[-1] + _READINGS_AROUND_NS
    lo, hi = np.searchsorted(read[:, 0], ends)
    return read[max(0, lo - 1) : hi + 1]
