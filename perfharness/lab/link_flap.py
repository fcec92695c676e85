"""A circuit's link that goes down: once, or again and again by a process of its own in the VBR.

The VBR's end is switched off; of a veth pair the CE's has no carrier then, as when the access point's port goes. (The
carrier of a TAP is its own: behind a wire the CE sees no more than a cut.)
"""

from __future__ import annotations

import os
from pathlib import Path

from perfharness.lab import namespaces, processes, topology
from perfharness.lab.spec import LabSpec
from perfharness.lab.state import FOLDER
from perfharness.lab.topology import WAN, Crossing, Plan
from perfharness.lab.trouble import Trouble

MARK = "perfharness-link-flap"
NS_PER_S = 1_000_000_000


def down(spec: LabSpec, way: Crossing) -> Trouble:
    """Without a carrier until it is undone."""
    plan = topology.plan(spec)
    return Trouble(lambda: topology.switch_on(way.circuit[1], False), lambda: _restore(plan, way))


def flapping(spec: LabSpec, way: Crossing, every_ns: int, down_ns: int) -> Trouble:
    """Down for ``down_ns``, every ``every_ns``, from now on."""
    plan = topology.plan(spec)
    # With its address the kernel drops the routes behind a link that goes down; FRR brings its own again.
    routes = (route for route in plan.routes if route.namespace == way.vbr)
    again = "".join(f"ip route replace {route.target} via {route.via.address.ip}; " for route in routes)
    up_s, down_s = max(every_ns - down_ns, 0) / NS_PER_S, down_ns / NS_PER_S
    script = f"while :; do ip link set {WAN} down; sleep {down_s}; ip link set {WAN} up; {again}sleep {up_s}; done"

    def begin() -> None:
        argv = ["ip", "netns", "exec", way.vbr, "sh", "-c", script, MARK]
        processes.launch(MARK, argv, FOLDER / f"flap-{way.letter}.log", lambda _: None)

    def undo() -> None:
        found = (processes.identify(MARK, pid) for pid in namespaces.members(way.vbr) if MARK in _words(pid))
        processes.end((process for process in found if process), grace_s=1.0)
        _restore(plan, way)

    return Trouble(begin, undo)


def _restore(plan: Plan, way: Crossing) -> None:
    topology.switch_on(way.circuit[1], True)
    topology.reroute(plan, way.vbr)


def _words(pid: int) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except OSError:  # it has ended
        return []
