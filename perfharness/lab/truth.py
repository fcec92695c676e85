"""What the circuit really did, told by who played it: the wire, or the kernel's counters at both ends.

Both tell it in the same words: for each direction packets and bytes ``in`` and ``out``, and what was
``dropped`` by cause. Bytes are of Ethernet frames without FCS and without their VLAN tag; ``tagged_by`` says who puts
that on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfharness.errors import LabFault
from perfharness.lab.linespec import LineSpec
from perfharness.lab.shaping import discipline
from perfharness.lab.spec import LabSpec
from perfharness.lab.topology import Crossing, End, counters, tagged
from perfharness.model import Direction

FORMAT_VERSION = 1
PATIENCE_S = 5.0
NOBODY = "nobody"
NO_TAG = "no VLAN tag is on the wire (the kernel has no 8021q): the rate counts its bytes, but no end compares it"
NO_DELAY = "no delay, jitter, duplication or reordering: the rate, the MTU and what faults drop are played"
IN_PIECES = "TCP crosses in segments of up to 64 KiB: each counts as one packet, and its tag once"
NO_DROPPED_BYTES = "of what the kernel's meter drops it counts the packets, not their bytes"


def of_veth(way: Crossing, spec: LabSpec) -> dict[str, Any]:
    customer, cloud = way.circuit
    policed, tagger = spec.policer_bytes is not None, tagged_by(way, "veth")
    untagged = [NO_TAG] if spec.vlan and tagger == NOBODY else []
    return {
        "format_version": FORMAT_VERSION,
        "mode": "veth",
        "tagged_by": tagger,
        "directions": {
            str(Direction.A_Z): _kernel(customer, cloud, spec),
            str(Direction.Z_A): _kernel(cloud, customer, spec),
        },
        "cannot": untagged + [NO_DELAY, NO_DROPPED_BYTES] + ([] if policed else [IN_PIECES]),
    }


def of_wire(way: Crossing, path: Path, spec: LabSpec, mode: str) -> dict[str, Any]:
    """The wire's own account, and what the kernel dropped because the wire did not read it in time.

    Where the kernel meters (``metered-wire``), its ``meter`` is told too: it comes before the wire's ``in``.
    Raises LabFault where there is none yet, or of another format.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LabFault("The wire has not written its truth yet.", "Try again in a second.") from error
    if told["format_version"] != FORMAT_VERSION:
        raise LabFault(f"{path} has format version {told['format_version']}, not {FORMAT_VERSION}.")
    kernel_meters = mode == "metered-wire"
    for direction, end in zip((Direction.A_Z, Direction.Z_A), way.circuit, strict=True):
        here = told["directions"][direction]
        qdisc = discipline(end)
        if kernel_meters:
            here["meter"] = _meter(qdisc, spec)
        here["dropped"]["unread"] = counters(end)["tx_dropped"] + (0 if kernel_meters else qdisc.get("drops", 0))
    return {
        **told,
        "mode": mode,
        "tagged_by": tagged_by(way, mode),
        "cannot": [NO_DROPPED_BYTES] if kernel_meters else [],
    }


def tagged_by(way: Crossing, mode: str) -> str:
    """Who puts the tag on what crosses this circuit: "kernel", "wire" or "nobody"."""
    if mode != "veth":
        return "wire" if way.circuit[0].vlan else NOBODY
    return "kernel" if tagged(way.circuit[0]) else NOBODY


def await_lines(path: Path, lines: Mapping[Direction, LineSpec]) -> None:
    """Until the wire says that it plays these. Raises LabFault if it will not."""
    wanted = {str(direction): json.loads(json.dumps(line.to_json())) for direction, line in lines.items()}
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        told = json.loads(path.read_text(encoding="utf-8"))
        if all(told["directions"][direction]["line"] == line for direction, line in wanted.items()):
            return
        time.sleep(0.005)
    raise LabFault(f"The wire does not play what it was asked to: {told['refused_config'] or 'it says nothing'}.")


def _kernel(source: End, target: End, spec: LabSpec) -> dict[str, Any]:
    left, arrived, qdisc = counters(source), counters(target), discipline(source)
    waiting, dropped = qdisc.get("qlen", 0), qdisc.get("drops", 0)
    cause = "queue" if spec.policer_bytes is None else "policer"
    return {
        "in": {"packets": left["tx_packets"] + left["tx_dropped"] + waiting + dropped},
        "out": {"packets": arrived["rx_packets"], "bytes": arrived["rx_bytes"]},
        "waiting": waiting,
        "dropped": {cause: dropped, "device": left["tx_dropped"]},
        "rate_bps": qdisc["rate_bps"],
        "meter": _meter(qdisc, spec),
    }


def _meter(qdisc: Mapping[str, Any], spec: LabSpec) -> dict[str, Any] | None:
    """What the kernel's token bucket passed and dropped since it was made; bytes as it counts them."""
    if qdisc["rate_bps"] is None:
        return None
    policed = spec.policer_bytes is not None
    passed_bytes = qdisc["bytes"] + max(spec.overhead_bytes, 0) * qdisc["packets"]  # less than nothing it counts itself
    return {
        "kind": "policer" if policed else "shaper",
        "rate_bps": qdisc["rate_bps"],
        "layer": spec.rate_layer,
        **({"bucket_bytes": spec.policer_bytes} if policed else {"queue_ns": spec.queue_ns}),
        "passed": {"packets": qdisc["packets"], "bytes": passed_bytes},
        "dropped": {"packets": qdisc["drops"]},
        "waiting": {"packets": qdisc["qlen"], "bytes": qdisc["backlog"]},
    }
