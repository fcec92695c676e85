"""What the circuit really did, told by who played it: the wire, or the kernel's counters at both ends.

Both tell it in the same words: for each direction packets and bytes ``in`` and ``out``, and what was
``dropped`` by cause. Bytes are of untagged Ethernet frames without FCS.
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
from perfharness.lab.topology import End, Plan, counters
from perfharness.model import Direction

FORMAT_VERSION = 1
PATIENCE_S = 5.0
VETH_CANNOT = (
    "no VLAN tag is on the wire: its bytes are counted in the rate, but no end compares it",
    "no delay, jitter, random loss, duplication or reordering: only the rate and the MTU are played",
    "a rate is shaped, not policed",
    "TCP crosses in segments of up to 64 KiB: each counts as one packet, and its tag once",
)


def of_veth(plan: Plan) -> dict[str, Any]:
    customer, cloud = plan.circuit
    return {
        "format_version": FORMAT_VERSION,
        "mode": "veth",
        "directions": {
            str(Direction.A_Z): _kernel(customer, cloud),
            str(Direction.Z_A): _kernel(cloud, customer),
        },
        "cannot": list(VETH_CANNOT),
    }


def of_wire(plan: Plan, path: Path) -> dict[str, Any]:
    """The wire's own account, and what the kernel dropped because the wire did not read it in time."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LabFault("The wire has not written its truth yet.", "Try again in a second.") from error
    if told["format_version"] != FORMAT_VERSION:
        raise LabFault(f"{path} has format version {told['format_version']}, not {FORMAT_VERSION}.")
    for direction, end in zip((Direction.A_Z, Direction.Z_A), plan.circuit, strict=True):
        told["directions"][direction]["dropped"]["unread"] = _egress_drops(end)
    return {**told, "mode": "wire", "cannot": []}


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


def _kernel(source: End, target: End) -> dict[str, Any]:
    left, arrived, qdisc = counters(source), counters(target), discipline(source)
    waiting, queue = qdisc.get("qlen", 0), qdisc.get("drops", 0)
    return {
        "in": {"packets": left["tx_packets"] + left["tx_dropped"] + waiting + queue},
        "out": {"packets": arrived["rx_packets"], "bytes": arrived["rx_bytes"]},
        "waiting": waiting,
        "dropped": {"queue": queue, "device": left["tx_dropped"]},
        "rate_bps": qdisc["rate_bps"],
    }


def _egress_drops(end: End) -> int:
    return int(counters(end)["tx_dropped"] + discipline(end).get("drops", 0))
