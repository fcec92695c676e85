"""An order that does not say which bits of a frame its rate counts: what is short as L2 counts it may be all that was
sold.

A port's own rate, and many a policer, count all that is on the wire (L1): of 1 Gbit/s so counted 984 Mbit/s are left
at L2, and of a load of 1 Gbit/s at L2 the rest is lost by right. Where the order does not say, rates are measured at L2
and pass as such; nothing fails that would not fail by the reading that asks the least.
"""

from __future__ import annotations

from dataclasses import replace

from perfharness.analysis.capacity import counted_bytes
from perfharness.judge.ceiling import offered_bps
from perfharness.model import Criterion, Interval, Layer, Measurement, Observation
from perfharness.order.circuit import Circuit
from perfharness.order.units import rate_text, ratio_text

AROUND_IP = 14
SAID = "The order does not say which bits of a frame its rate counts"
ASK = "Ask the provider and write `rate_layer`."


def read_kindly(seen: Observation, criterion: Criterion, measurement: Measurement, circuit: Circuit) -> Observation:
    """The figure with room for the order's rate counted at L1, where that keeps it from failing; else as it is."""
    interval, required = seen.interval, criterion.threshold
    if circuit.rate_layer is not None or interval is None or not isinstance(required, int | float):
        return seen
    more = _more(seen, measurement, circuit)
    if more is None:
        return seen
    if criterion.layer is not None and criterion.operator == ">=":
        wider, said = replace(interval, hi=interval.hi * more), f"at L1 it is up to {rate_text(interval.hi * more)}"
        held = interval.hi < required <= wider.hi
    elif criterion.layer is None and criterion.operator == "<=":
        wider, said = _under_the_load(seen, interval, more, measurement, circuit)
        held = wider.lo <= required < interval.lo
    else:
        return seen
    return replace(seen, interval=replace(wider, n_eff=None), reason=_with(seen.reason, said)) if held else seen


def _more(seen: Observation, measurement: Measurement, circuit: Circuit) -> float | None:
    """Times L2 that L1 counts for the frames of this load, of several sizes for the largest; None where their size is
    not known."""
    sizes = [each.scope.frame_bytes or 0 for each in measurement.observations if each.layer is Layer.L2]
    frame = seen.scope.frame_bytes if seen.layer is Layer.L2 else max(sizes, default=0)
    if not frame:
        return None
    tagged = circuit.vbr_of(measurement.task.scope.pairs[0]).vlan != 0
    on_wire, counted = (counted_bytes(frame - AROUND_IP, layer, tagged=tagged) for layer in (Layer.L1, Layer.L2))
    return on_wire / counted


def _under_the_load(
    seen: Observation, interval: Interval, more: float, measurement: Measurement, circuit: Circuit
) -> tuple[Interval, str]:
    """What is lost or waits under a load that is more than was ordered, if the order counts L1."""
    offered = offered_bps(seen.scope, measurement)
    beyond = 0.0 if offered is None else 1 - circuit.committed_bps(measurement.task.scope.pairs[0]) / (offered * more)
    if beyond <= 0:
        return interval, ""
    lo = max(0.0, interval.lo - beyond) if seen.metric == "loss" else 0.0
    return replace(interval, lo=lo), f"at L1 the load was {ratio_text(beyond)} too much"


def _with(reason: str, said: str) -> str:
    return f"{SAID}: {said}. {ASK} {reason}".strip()
