"""What a stream of several packet sizes shows of each: round trips by size, and what a byte more costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from perfharness.analysis.delay import rtt_ns
from perfharness.analysis.statistics import Floats, Ints
from perfharness.analysis.summary import MOST_HELD
from perfharness.measurements.probe import Probe
from perfharness.order.packets import frame_bytes


def facts(found: Probe) -> dict[str, Any]:
    """For the report: each size with its share of the packets, its least and median round trip in ns, lost packets
    left out; and the slope of the least ones, ns a byte there and back. Nothing for a stream of one size."""
    sizes = np.array(found.packet_bytes, np.int64)
    several = np.unique(sizes)
    if len(several) < 2:
        return {}
    trips = _round_trips(found, sizes) if found.pieces.packets <= MOST_HELD else {}
    least = {size: float(values.min()) for size, values in trips.items() if len(values)}
    told = [
        {
            "payload_bytes": size,
            "frame_bytes": frame_bytes(size),
            "share": float((sizes == size).mean()),
            "rtt_ns": {"min": least[size], "p50": float(np.median(trips[size]))} if size in least else None,
        }
        for size in several.tolist()
    ]
    if len(least) < 2:
        return {"sizes": told}
    return {"sizes": told, "ns_per_byte": float(np.polyfit(list(least), list(least.values()), 1)[0])}


def _round_trips(found: Probe, sizes: Ints) -> dict[int, Floats]:
    """Of the packets of each size that came back, ns."""
    samples = found.pieces.whole()
    rtt, of = rtt_ns(samples), sizes[found.pieces.turn.number(samples.seq) % len(sizes)]
    came = np.isfinite(rtt)
    return {size: rtt[came & (of == size)] for size in np.unique(sizes).tolist()}
