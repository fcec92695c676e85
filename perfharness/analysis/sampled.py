"""The packets of a stream of which one-way figures are made: all, or of a very long run some of them.

They come in runs of packets that followed one another, spread evenly over the stream, so that a difference between one
packet and the next is still one. A million of them know a quantile as well as a day's eighty million do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from perfharness.analysis.samples import Samples, near
from perfharness.analysis.statistics import Bools, Floats, Ints
from perfharness.model import Direction

RUN = 64
"""Packets that follow one another."""
SPARSER = 4
"""Of a run that is too long to hold, so much fewer are taken than could be held."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """(n,) each; ``inf`` = lost, ``nan`` = not known, ns."""

    due_ns: Ints
    t2_ns: Ints
    """When each reached the reflector, 0 if it did not."""
    forward: Floats
    backward: Floats
    """As :func:`delay.one_way_raw_ns`: what each way seems to take by the two hosts' clocks."""
    near_there: Bools
    near_back: Bools
    """Its two stamps are of kinds that may be subtracted from one another."""
    follows: Bools
    """It is the packet after the one before it here."""

    def comparable(self) -> tuple[Floats, Floats]:
        """What each way seems to take, ``nan`` where its stamps are of kinds too different."""
        return np.where(self.near_there, self.forward, np.nan), np.where(self.near_back, self.backward, np.nan)


def sampled(samples: Samples, raw: Mapping[Direction, Floats], every: int) -> tuple[Sampled, Ints]:
    """All packets where ``every`` is 1, else one run of RUN packets in SPARSER times as many; and which these are."""
    s, which = samples, np.arange(len(samples.seq))
    if every > 1:
        starts = which[:: RUN * every * SPARSER]
        which = (starts[:, np.newaxis] + np.arange(RUN)).ravel()
        which = which[: np.searchsorted(which, len(s.seq))]
    due = s.t1 if s.schedule_ns is None else s.schedule_ns
    seen, follows = s.seen[which], np.ones(len(which), np.bool_)
    if every > 1:
        follows[::RUN] = False
    found = Sampled(
        due_ns=due[which],
        t2_ns=np.where(seen, s.t2[which], 0),
        forward=raw[Direction.A_Z][which],
        backward=raw[Direction.Z_A][which],
        near_there=near(s.s1[which], s.s2[which]) | ~seen,
        near_back=near(s.s3[which], s.s4[which]) | ~s.replied[which],
        follows=follows,
    )
    return found, which


def joined(parts: Sequence[Sampled]) -> Sampled:
    """All in one."""
    return Sampled(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Sampled)))
