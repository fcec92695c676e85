"""What the kernel told of the connections of a TCP load while it ran: TCP_INFO once a second, after the warm-up.

Each figure is that of the rows that have it: an older kernel tells less. Rows are placed by the time since the first
one of their connection, which comes within a second of its begin, so no clock of another host matters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perfharness.analysis.statistics import Ints

Row = Mapping[str, Any]
_SLACK_NS = 500_000_000
_BUSY = ("busy_time_ns", "rwnd_limited_ns", "sndbuf_limited_ns")


@dataclass(frozen=True, slots=True)
class Connections:
    """The connections of one direction at one of its ends, all processes together."""

    count: int
    sent: Ints
    resent: Ints
    """(k,) segments of each second."""
    sent_bytes: int
    resent_bytes: int
    """By segments and their size where the kernel counts no bytes."""
    limited: Mapping[str, int]
    """Time in which data waited to be acknowledged (``busy_time_ns``), and the parts of it in which the other end's
    window or the own buffer held it back; all connections together. Empty where it is not told."""
    cwnd_bytes: float | None
    """On average, all connections together."""
    mss: int | None
    """Live: what a full segment carries beside its options."""
    rtt_ns: float | None
    """The smoothed round trip of the kernel, on average."""
    min_rtt_ns: int | None
    acked_bytes: tuple[int, ...]
    received_bytes: tuple[int, ...]
    """Of each connection."""
    pacing_bps: int | None
    """The most that any of them may send, where it is limited; all connections together."""
    seconds: float = field(default=0.0)

    def share(self, name: str) -> float | None:
        """Of its busy time, for one of :attr:`limited`."""
        busy = self.limited.get("busy_time_ns")
        return None if not busy or name not in self.limited else self.limited[name] / busy


def connections(files: Sequence[Sequence[Row]], warm_up_s: float, seconds: float) -> Connections | None:
    """From the rows of each process's ``tcpinfo.jsonl``; None where no connection left two rows."""
    each: dict[tuple[int, Any], list[Row]] = defaultdict(list)
    for process, rows in enumerate(files):
        for row in rows:
            if isinstance(row.get("mono_ns"), int) and "inode" in row:
                each[process, row["inode"]].append(row)
    kept = [part for rows in each.values() if len(part := _kept(rows, warm_up_s, seconds)) > 1]
    if not kept:
        return None
    blocks = [_blocks(rows) for rows in kept]
    longest = max(len(sent) for sent, _ in blocks)
    sent, resent = (sum(np.pad(pair[which], (0, longest - len(pair[which]))) for pair in blocks) for which in (0, 1))
    mss = _median([row["snd_mss"] for rows in kept for row in rows if "snd_mss" in row])
    return Connections(
        count=len(kept),
        sent=np.asarray(sent, np.int64),
        resent=np.asarray(resent, np.int64),
        sent_bytes=_bytes(kept, "bytes_sent", int(np.sum(sent)), mss),
        resent_bytes=_bytes(kept, "bytes_retrans", int(np.sum(resent)), mss),
        limited={name: total for name in _BUSY if (total := _rise(kept, name)) is not None},
        cwnd_bytes=_sum_of_means([[_cwnd(row) for row in rows] for rows in kept]),
        mss=mss,
        rtt_ns=_mean([row["rtt_ns"] for rows in kept for row in rows if row.get("rtt_ns")]),
        min_rtt_ns=min((row["min_rtt_ns"] for rows in kept for row in rows if row.get("min_rtt_ns")), default=None),
        acked_bytes=_each(kept, "bytes_acked"),
        received_bytes=_each(kept, "bytes_received"),
        pacing_bps=_pacing(kept),
        seconds=max((rows[-1]["mono_ns"] - rows[0]["mono_ns"]) / 1e9 for rows in kept),
    )


def _kept(rows: Sequence[Row], warm_up_s: float, seconds: float) -> list[Row]:
    first = rows[0]["mono_ns"]
    since, until = warm_up_s * 1e9 - _SLACK_NS, (warm_up_s + seconds) * 1e9 + _SLACK_NS
    return [row for row in rows if since <= row["mono_ns"] - first <= until]


def _blocks(rows: Sequence[Row]) -> tuple[Ints, Ints]:
    """(sent, sent again) segments from row to row."""
    found = [[row.get(name, 0) for row in rows] for name in ("data_segs_out", "total_retrans")]
    sent, resent = (np.maximum(np.diff(np.array(each, np.int64)), 0) for each in found)
    return sent, resent


def _rise(kept: Sequence[Sequence[Row]], name: str) -> int | None:
    """Over all connections; None where one does not tell."""
    if not all(name in rows[0] and name in rows[-1] for rows in kept):
        return None
    return sum(int(rows[-1][name] - rows[0][name]) for rows in kept)


def _bytes(kept: Sequence[Sequence[Row]], name: str, segments: int, mss: int | None) -> int:
    told = _rise(kept, name)
    return told if told is not None else segments * (mss or 1)


def _each(kept: Sequence[Sequence[Row]], name: str) -> tuple[int, ...]:
    return tuple(int(rows[-1][name] - rows[0][name]) for rows in kept) if _rise(kept, name) is not None else ()


def _cwnd(row: Row) -> float | None:
    return row["snd_cwnd"] * row["snd_mss"] if "snd_cwnd" in row and "snd_mss" in row else None


def _pacing(kept: Sequence[Sequence[Row]]) -> int | None:
    told = [rows[-1].get("max_pacing_rate_bps") for rows in kept]
    return None if None in told else sum(int(rate or 0) for rate in told)


def _sum_of_means(each: Sequence[Sequence[float | None]]) -> float | None:
    means = [_mean([value for value in values if value is not None]) for values in each]
    return None if None in means else sum(mean or 0.0 for mean in means)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _median(values: Sequence[int]) -> int | None:
    return int(np.median(values)) if values else None
