"""How evenly a sender offered its load: what it sent above the intended rate, a policer may rightly drop.

iperf3 paces UDP in bursts, and one that was kept from the CPU catches up. Loss of the packets above the rate is
the sender's doing and not the circuit's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perfharness.analysis.statistics import Ints

_GAP = 3
"""Periods; where rows are missing for longer, nobody saw how evenly the packets left."""
MOST_ROWS = 100_000
_FRAGMENT_HEADERS = {"Ip": 14 + 20, "Ip6": 14 + 40 + 8}
"""Bytes of Ethernet and IP before each fragment."""


def excess_packets(rows: Sequence[Mapping[str, Any]], rate_bps: float, packet_bytes: int) -> int | None:
    """Packets of ``packet_bytes`` that left the interface above ``rate_bps``: the sum over the sampling periods of
    ``rows`` (counters.jsonl of the sender; both figures at the layer of ``tx_bytes``, L2). Quiet periods add nothing,
    so the rows of a whole task will do, whatever the host's clock says. All that left in a gap between the rows may
    have left at once.

    None when the rows do not tell.
    """
    clock = "mono_ns" if all("mono_ns" in row for row in rows) else "t_ns"
    points = [
        (row[clock], row["nic"]["tx_bytes"])
        for row in rows
        if isinstance(row.get(clock), int) and isinstance(row.get("nic", {}).get("tx_bytes"), int)
    ]
    if len(points) < 2:
        return None
    took, sent = np.diff(np.array(points, np.int64), axis=0).T
    if (sent < 0).any():  # reset, or run over
        return None
    allowed = np.where((took > _GAP * np.median(took)) | (took < 0), 0.0, rate_bps / 8 * took / 1e9)
    above = sent - allowed
    return int(np.ceil(above[above > 0].sum() / packet_bytes))


def fragment_bytes(rows: Sequence[Mapping[str, Any]]) -> int:
    """What the sender's kernel added at L2 by cutting packets into fragments, each with headers of its own, by its
    counters (RFC 4293: ipSystemStatsOutFragOKs, OutFragCreates); 0 where they do not tell."""
    added = 0
    for family, header_bytes in _FRAGMENT_HEADERS.items():
        told = [row["snmp"][family] for row in rows if family in row.get("snmp", {})]
        if told and all(name in each for each in (told[0], told[-1]) for name in ("FragOKs", "FragCreates")):
            cut, parts = (told[-1][name] - told[0][name] for name in ("FragOKs", "FragCreates"))
            added += max(0, parts - cut) * header_bytes
    return added


def transmitted_bytes(rows: Sequence[Mapping[str, Any]], start_ns: int, end_ns: int) -> float | None:
    """Bytes/s that the interface sent between two moments of the host's clock, at the layer of ``tx_bytes`` (L2).

    Segments that the card itself cuts may be counted with one header in all, so it may be a few percent more. None
    unless two rows lie within, and most of the time between them.
    """
    points = [
        (row["t_ns"], row["nic"]["tx_bytes"])
        for row in rows
        if isinstance(row.get("t_ns"), int)
        and isinstance(row.get("nic"), Mapping)
        and isinstance(row["nic"].get("tx_bytes"), int)
        and start_ns <= row["t_ns"] <= end_ns
    ]
    if len(points) < 2 or points[-1][0] - points[0][0] < (end_ns - start_ns) / 2:
        return None
    (began, before), (ended, after) = points[0], points[-1]
    return None if after < before else (after - before) * 1e9 / (ended - began)


def overflow_packets(t_ns: Ints, packets: Ints, per_second: float, depth: float) -> int:
    """Packets that did not fit into a bucket of ``depth`` packets that drains at ``per_second``, from (n,) times and
    how many had left by then: what a sender that knows its own pace offered above it."""
    every = max(1, len(t_ns) // MOST_ROWS)
    sent, took = np.diff(packets[::every]), np.maximum(0, np.diff(t_ns[::every]))
    level = over = 0.0
    for came, drained in zip(sent.tolist(), (took * per_second / 1e9).tolist(), strict=True):
        level = max(0.0, level + came - drained)
        if level > depth:
            over, level = over + level - depth, depth
    return int(np.ceil(over))
