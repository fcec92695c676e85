"""Builds the record files of a probe stream, packet by packet, as the agents would write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perfagent import records, schedule
from perfagent.records import KERNEL, REMOTE, SENT, USER

INTERVAL_NS = 1_000_000
START_MONO_NS = 5_000_000_000_000
START_UNIX_NS = 1_795_375_078_000_000_000
"""Larger than what a float holds to the nanosecond."""
SEED = 7


@dataclass
class Packet:
    """One probe; times in ns. The cloud's clock is ``offset_ns`` ahead of ours."""

    seq: int
    forward_ns: int | None = 10_000_000
    """None: lost on the way there."""
    backward_ns: int | None = 12_000_000
    """None: lost on the way back."""
    late_by_ns: int = 20_000
    """After its deadline, by the kernel's stamp."""
    turnaround_ns: int = 50_000
    offset_ns: int = 3_000_000_000
    sources: tuple[int, int, int, int] = (KERNEL, KERNEL, KERNEL, KERNEL)
    """T1 and T4 at the sender, T2 and T3 in the reflector's log."""
    sent: bool = True
    late: bool = False
    answered: bool = True
    ttls: tuple[int, int] = (60, 61)
    """On arrival there and back."""


def due_ns(seq: int, interval_ns: int = INTERVAL_NS) -> int:
    """CLOCK_MONOTONIC deadline, less the random start of a periodic stream."""
    return START_MONO_NS + list(schedule.offsets_ns("periodic", interval_ns, seq + 1, SEED))[seq]


def files(
    packets: list[Packet], interval_ns: int = INTERVAL_NS, every: Sequence[int] = (1,)
) -> tuple[bytes, bytes, dict[str, Any]]:
    """(sender.rec, reflector.rec in order of arrival, the sender's result data); ``every`` as in ``schedule.slots``."""
    sender, log = [], []
    last = max((p.seq for p in packets), default=0)
    offsets_ns = list(schedule.offsets_ns("periodic", interval_ns, last + 1, SEED, every))
    for p in packets:
        if not p.sent:
            sender.append(records.RECORD.pack(p.seq, 0, 0, 0, 0, 0, 0, 0, 0))
            continue
        s1, s2, s3, s4 = p.sources
        t1 = START_UNIX_NS + offsets_ns[p.seq] + p.late_by_ns
        t2 = t1 + (p.forward_ns or 0) + p.offset_ns
        t3 = t2 + p.turnaround_ns
        t4 = t3 - p.offset_ns + (p.backward_ns or 0)
        if p.forward_ns is not None:
            flags = SENT if p.answered else records.SEND_ERROR
            log.append((t2, records.RECORD.pack(p.seq, s2 << 4, s3, flags, p.ttls[0], 0, t2, t3, 0)))
        if p.forward_ns is None or p.backward_ns is None or not p.answered:
            sender.append(records.RECORD.pack(p.seq, s1, 0, SENT, 0, t1, 0, 0, 0))
            continue
        flags = SENT | records.REPLIED | (records.LATE if p.late else 0)
        # What the reply carries was taken by the reflector's user clock a little off the kernel's.
        carried = (t2 + 7_000, t3 - 9_000)
        sender.append(
            records.RECORD.pack(p.seq, s1 | REMOTE << 4, REMOTE | s4 << 4, flags, p.ttls[1], t1, *carried, t4)
        )
    log.sort(key=lambda entry: entry[0])
    count = len(packets)
    own = {"every": list(every)} if max(every) > 1 else {}
    result = {
        "duplicates": 0,
        "start_mono_ns": START_MONO_NS,
        "schedule": {"pattern": "periodic", "interval_ns": interval_ns, "count": count, "seed": SEED, **own},
        "clock": [
            [START_MONO_NS + second * 1_000_000_000, START_UNIX_NS + second * 1_000_000_000]
            for second in range(-1, count * interval_ns // 1_000_000_000 + 3)
        ],
    }
    return records.HEADER + b"".join(sender), records.HEADER + b"".join(entry for _, entry in log), result


__all__ = ["INTERVAL_NS", "KERNEL", "REMOTE", "START_MONO_NS", "START_UNIX_NS", "USER", "Packet", "due_ns", "files"]
