"""A step without the circuit: what it shows of the other one, it shows only if the circuit really was gone."""

from __future__ import annotations

from dataclasses import replace

from perfharness.evidence import TaskFiles
from perfharness.measurements.base import COUNTERS, WAN_COUNTERS, Ends
from perfharness.model import Measurement

LEFT = 0.01
"""Of what both hosts sent: what routers say to nobody while their circuit is cut is far less."""
UNSEEN = "That the circuit was gone is the word of who cut it: no CE was read that could tell."


def held(measurement: Measurement, files: TaskFiles, context: Ends) -> Measurement:
    """The same, without its figures where the CE counted that the circuit carried them; where no CE was read, each says
    so. The counters begin when it was cut and end before it is given back."""
    ce = context.circuit.ce_host
    hosts = [_risen(files, host, COUNTERS) for host in context.hosts]
    wan = _risen(files, ce.name, WAN_COUNTERS) if ce else None
    if ce is None or wan is None or None in hosts:
        seen = (replace(each, reason=f"{each.reason} {UNSEEN}".strip()) for each in measurement.observations)
        return replace(measurement, observations=tuple(seen))
    sent, arrived = (sum(host[at] for host in hosts if host) for at in (0, 1))
    out, back = wan
    carried = max(out - max(0, sent - arrived), back)  # what left into a circuit that is gone never arrived
    if carried <= LEFT * sent:
        return measurement
    why = (
        f"The circuit was not gone: about {carried:,} bytes crossed {ce.wan} of {ce.name} meanwhile, of {sent:,} that "
        "the hosts sent. Look whether the hook cut this circuit."
    )
    gone = (replace(each, value=None, interval=None, reason=why) for each in measurement.observations)
    return replace(measurement, observations=tuple(gone))


def _risen(files: TaskFiles, host: str, job: str) -> tuple[int, int] | None:
    """Bytes that an interface sent and took; None where nobody counted them."""
    counted = [row.get("nic", {}) for row in files.each_row(host, job, "counters.jsonl")]
    told = [nic for nic in counted if {"tx_bytes", "rx_bytes"} <= nic.keys()]
    if len(told) < 2:
        return None
    return int(told[-1]["tx_bytes"] - told[0]["tx_bytes"]), int(told[-1]["rx_bytes"] - told[0]["rx_bytes"])
