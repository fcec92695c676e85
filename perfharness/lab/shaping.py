"""The rate of a circuit that the kernel meters: a token bucket (tbf) on the egress of both ``wan`` ends.

A shaper's queue holds what waits for its turn. A policer is the same with next to no queue: what finds the bucket
empty is dropped. Played to within a frame, at 1500 and at 8500 bytes: its bucket is the tokens and the little
queue together, which holds one frame, or what the rate takes away in 250 µs if that is more. With less, a second
processor's packets find the queue taken while the first sends, and are dropped although the bucket would pay (12 of
214,000 at 600 Mbit/s of 1000; none with 250 µs). So a policed packet waits 250 µs at the most, or one frame's time.

By ``tc`` and not through netlink: pyroute2's tbf has no ``overhead``, which counts the tag that the order
speaks of, and a person changes the rate with the same words
(``tc -n ph-ce-a qdisc change dev wan root tbf …``). It is counted once for what TCP's segmentation offload hands on
in one piece: a shaped TCP gets up to 4 bytes in 1514 more than ordered. L3 is less than the frame: ``stab`` takes the
header off, but sees a piece's first header only. A policer would drop such a piece of 64 KiB whole (TCP then gets
3 Mbit/s of 1000). So before both they are taken apart (``topology.segment``).
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from perfharness.errors import LabFault
from perfharness.lab.spec import LEAST_BUCKET_PACKETS, LabSpec
from perfharness.lab.topology import Crossing, End, segment

NS_PER_S = 1_000_000_000
SHAPER_BURST_NS = 2_000_000
"""Enough for the kernel's timer, and for a sender that paces in milliseconds."""
POLICER_QUEUE_NS = 250_000


def meter(way: Crossing, spec: LabSpec, *, apart: bool = False) -> None:
    """Meter both directions as ``spec`` says, from now on; a rate of ``None`` is none.

    ``apart``: TCP crosses packet by packet, whatever the meter needs.
    """
    segmenting = spec.policer_bytes is not None or spec.overhead_bytes < 0
    segment(way.before, apart or (spec.rate_bps is not None and segmenting))
    for end in way.circuit:
        shape(end, spec)


def shape(end: End, spec: LabSpec) -> None:
    """Shape or police what leaves ``end``."""
    if spec.rate_bps is None:
        free(end)
    else:
        _tc(end, "replace", f"root {words(spec, spec.rate_bps)}")


def free(end: End) -> None:
    """No meter any more."""
    if discipline(end)["kind"] == "tbf":
        _tc(end, "delete", "root")


def words(spec: LabSpec, rate_bps: int) -> str:
    """What ``tc`` is told."""
    if spec.policer_bytes is None:
        burst = max(_bytes_in(SHAPER_BURST_NS, rate_bps), 2 * spec.metered_bytes)
        queue = f"latency {spec.queue_ns // 1000}us"
    else:
        limit = min(
            max(_bytes_in(POLICER_QUEUE_NS, rate_bps), spec.metered_bytes), spec.policer_bytes // LEAST_BUCKET_PACKETS
        )
        burst = spec.policer_bytes - limit
        queue = f"limit {limit}"
    overhead = spec.overhead_bytes
    less, more = (f"stab overhead {overhead} ", "") if overhead < 0 else ("", f" overhead {overhead}")
    return f"{less}tbf rate {rate_bps}bit burst {burst} {queue}{more}"


def discipline(end: End) -> dict[str, Any]:
    """The root qdisc with its counters as ``tc`` tells them, and ``rate_bps``: ``None`` when not metered."""
    found = json.loads(_tc(end, "show", "root"))
    qdisc: dict[str, Any] = found[0] if found else {"kind": "noqueue"}
    rate = qdisc.get("options", {}).get("rate") if qdisc["kind"] == "tbf" else None
    return {**qdisc, "rate_bps": None if rate is None else int(rate) * 8}


def _bytes_in(time_ns: int, rate_bps: int) -> int:
    return rate_bps * time_ns // (8 * NS_PER_S)


def _tc(end: End, verb: str, words: str) -> str:
    command = ["tc", "-n", end.namespace, "-j", "-s", "qdisc", verb, "dev", end.interface, *words.split()]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout
    except subprocess.CalledProcessError as error:
        raise LabFault(f"{' '.join(command)} failed: {error.stderr.strip()}.") from error
