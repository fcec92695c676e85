"""A receiver whose own interface was full: the last link is its own, and what it had no room for is not the circuit's.

A rate is ordered by the bits of some layer, and an interface runs at all that is on the wire: 1 Gbit/s at L2 do not fit
into a host's port of 1 Gbit/s. The sender's shows by what it did not offer, the receiver's by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perfharness.analysis.capacity import counted_bytes
from perfharness.judge.ceiling import EXCUSED, offered_bps
from perfharness.model import Direction, Fitness, Layer, Measurement, Observation
from perfharness.order.circuit import Circuit
from perfharness.order.units import rate_text

MAC_BYTES = 14
FULL = 0.99
"""Of an interface: one that has more to carry than it can leaves hardly a gap."""


def full(
    seen: Observation, measurement: Measurement, run: Sequence[Measurement], circuit: Circuit
) -> Iterator[Fitness]:
    """The receiving hosts of a paced load of one pair whose interfaces carried all that they can."""
    task, way = measurement.task, seen.scope.direction
    frame, interval = seen.scope.frame_bytes, seen.interval
    if seen.metric not in EXCUSED or frame is None or interval is None or len(task.scope.pairs) != 1:
        return
    pair = task.scope.pairs[0]
    receiver = pair[0] if way is Direction.Z_A else pair[1]
    speed = _speed_bps(receiver, run)
    if speed is None:
        return
    layer = circuit.rate_layer or Layer.L2
    counted = counted_bytes(frame - MAC_BYTES, layer, tagged=circuit.vbr_of(pair).vlan != 0)
    on_wire = counted_bytes(frame - MAC_BYTES, Layer.L1, tagged=False) / counted
    if seen.metric == "loss":
        offered = (offered_bps(seen.scope, measurement) or 0.0) * on_wire
        was_full = offered > speed and interval.lo <= 1 - FULL * speed / offered
    else:
        was_full = interval.hi * on_wire >= FULL * speed
    if was_full:
        yield Fitness(receiver, task.id, False, (f"its interface of {rate_text(speed)} was full",), metrics=EXCUSED)


def _speed_bps(host: str, run: Sequence[Measurement]) -> int | None:
    """As the host says; None where it was not asked, or does not know."""
    told = (item.facts.get(host) or {} for item in run if item.task.measurement == "host")
    return next((speed for facts in told if (speed := (facts.get("nic") or {}).get("speed_bps"))), None)
