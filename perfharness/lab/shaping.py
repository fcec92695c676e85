"""The rate of a veth circuit: a token bucket of the kernel on the egress of both ``wan`` ends.

By ``tc`` and not through netlink: pyroute2's tbf has no ``overhead``, which counts the tag that the order
speaks of, and a person changes the rate with the same words
(``tc -n ph-ce-a qdisc change dev wan root tbf …``). It is counted once for what TCP's segmentation offload hands on
in one piece: TCP then gets up to 4 bytes in 1514 more than ordered.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from perfharness.errors import LabFault
from perfharness.lab.spec import BEYOND_L2_BYTES, QUEUE_NS, TAG_BYTES, LabSpec
from perfharness.lab.topology import End

BURST_BYTES = 256 * 1024
"""2 ms at 1 Gbit/s: enough for the kernel's timer, and for a sender that paces in milliseconds."""


def shape(end: End, spec: LabSpec) -> None:
    """Shape what leaves ``end`` at the ordered rate."""
    overhead = BEYOND_L2_BYTES[spec.rate_layer] + TAG_BYTES
    if overhead < 0:
        raise LabFault(
            f"The kernel's shaper cannot meter at {spec.rate_layer}.",
            "Bring the lab up with the user-space wire, or order the rate at L1 or L2.",
        )
    words = f"tbf rate {spec.rate_bps}bit burst {BURST_BYTES} latency {QUEUE_NS // 1000}us overhead {overhead}"
    _tc(end, "replace", f"root {words}")


def discipline(end: End) -> dict[str, Any]:
    """The root qdisc with its counters as ``tc`` tells them, and ``rate_bps``: ``None`` when not shaped."""
    found = json.loads(_tc(end, "show", "root"))
    qdisc: dict[str, Any] = found[0] if found else {"kind": "noqueue"}
    rate = qdisc.get("options", {}).get("rate") if qdisc["kind"] == "tbf" else None
    return {**qdisc, "rate_bps": None if rate is None else int(rate) * 8}


def _tc(end: End, verb: str, words: str) -> str:
    command = ["tc", "-n", end.namespace, "-j", "-s", "qdisc", verb, "dev", end.interface, *words.split()]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout
    except subprocess.CalledProcessError as error:
        raise LabFault(f"{' '.join(command)} failed: {error.stderr.strip()}.") from error
