"""What the agent can do: a closed, literal table. A method is imported only when it is asked for.

A method is ``def name(job: Job, *, argument: type, ...) -> dict``; what it returns becomes ``data`` of
the job's ``result.json``. Arguments are keyword-only and checked against the signature before it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from perfagent.wire import Code, Fault

METHODS = {
    "host.facts": ("perfagent.methods.host", "facts"),
    "host.counters": ("perfagent.methods.host", "counters"),
    "host.clock": ("perfagent.methods.clock", "watch"),
    "path.route": ("perfagent.methods.path", "route"),
    "path.ping": ("perfagent.methods.path", "ping"),
    "path.hops": ("perfagent.methods.path", "hops"),
    "path.listen": ("perfagent.methods.path", "listen"),
    "path.ports": ("perfagent.methods.path", "ports"),
    "path.mark": ("perfagent.methods.path", "mark"),
    "link.neighbour": ("perfagent.methods.link", "neighbour"),
    "link.next_hop": ("perfagent.methods.link", "next_hop"),
    "link.tagged": ("perfagent.methods.link", "tagged"),
    "edge.read": ("perfagent.methods.edge", "read"),
    "pmtu.echo": ("perfagent.methods.pmtu", "echo"),
    "pmtu.search": ("perfagent.methods.pmtu", "search"),
    "stamp.reflect": ("perfagent.methods.stamp", "reflect"),
    "stamp.send": ("perfagent.methods.stamp", "send"),
    "flows.send": ("perfagent.methods.flows", "send"),
    "load.serve": ("perfagent.methods.load", "serve"),
    "load.drive": ("perfagent.methods.load", "drive"),
    "edge.watch": ("perfagent.methods.watch", "edge"),
    "tune.socket_buffers": ("perfagent.methods.tune", "socket_buffers"),
    "iperf3.serve": ("perfagent.methods.iperf3", "serve"),
    "iperf3.drive": ("perfagent.methods.iperf3", "drive"),
}


def resolve(method: str) -> Callable[..., dict[str, Any]]:
    """The function behind a method's name. Raises Fault(UNKNOWN_METHOD)."""
    if method not in METHODS:
        raise Fault(Code.UNKNOWN_METHOD, f"the agent has no method {method!r:.80}")
    module, name = METHODS[method]
    function: Callable[..., dict[str, Any]] = getattr(import_module(module), name)
    return function
