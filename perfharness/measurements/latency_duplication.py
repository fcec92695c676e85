"""Replies that came more than once (RFC 5560 calls it duplication)."""

from __future__ import annotations

import numpy as np

from perfharness.analysis.blocks import Blocked
from perfharness.analysis.samples import BLOCK_NS
from perfharness.analysis.statistics import CONFIDENCE, Ints, clopper_pearson, effective_n
from perfharness.evidence import TaskFiles
from perfharness.measurements import probe
from perfharness.measurements.base import Ends
from perfharness.model import Interval, Observation, Scope


def duplication(scope: Scope, files: TaskFiles, sender: str, context: Ends, found: probe.Probe) -> Observation:
    """Replies that came twice; where nobody noted which, they may all be one burst."""
    n, twice = found.summary.replied, found.summary.duplicates
    share = min(1.0, twice / n) if n else None
    interval = None
    if share is not None:
        answered = found.summary.round_trip.offered - found.summary.round_trip.lost
        again = _again(files, sender, found) if twice else np.zeros_like(answered)
        n_eff = 0.0 if again is None else effective_n(again, answered)
        method = "Clopper–Pearson, design effect from blocks"
        interval = Interval(*clopper_pearson(share, n_eff), CONFIDENCE, "one", method, n_eff)
    return Observation(
        metric="duplication",
        statistic="ratio",
        scope=scope,
        unit="1",
        value=share,
        n=n,
        interval=interval,
        evidence=found.evidence,
        reason=f"{twice:,} of {n:,} replies came again." if n else "No reply arrived.",
        hosts=context.hosts,
    )


def _again(files: TaskFiles, sender: str, found: probe.Probe) -> Ints | None:
    """Per block the packets of which a reply came again, by the schedule; None without the sender's note of them."""
    noted = files.recording(sender, probe.SENDER, "duplicates")
    if noted is None:
        return None
    turn = found.pieces.turn
    seq = np.unique(np.concatenate([noted.chunk(number).seq for number in range(len(noted.index))])).astype(np.int64)
    due_ns = turn.number(seq[turn.mine(seq)]) * found.interval_ns
    second, count = np.unique(due_ns // BLOCK_NS, return_counts=True)
    counted = Blocked()
    counted.add(second, count)
    return counted.at(found.summary.round_trip.block)
