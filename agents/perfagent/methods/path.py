"""What lies between two hosts: the route, ping, the hops, the ports that are let through."""

from __future__ import annotations

import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from perfagent import ports as scanner
from perfagent.hops import Trace
from perfagent.icmp import Echo
from perfagent.jobs import Job
from perfagent.sockets import canonical, family_of
from perfagent.wire import Code, Fault

_LAST_WAIT_S = 1.0


def route(job: Job, *, peer: str, source: str) -> dict[str, Any]:
    """How this host's kernel would send from ``source`` to ``peer``; ``route`` is ``None`` when it would not."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    peer, source = canonical(peer), canonical(source)
    with IPRoute() as netlink:
        try:
            found = netlink.route("get", family=int(family_of(peer)), dst=peer, src=source)[0]
        except NetlinkError as error:
            return {"route": None, "reason": f"the kernel has no route to {peer}: {error.args[-1]}"}
        index = found.get("oif")
        metrics = found.get("metrics")
        link = netlink.get_links(index)[0]
        return {
            "route": {
                "gateway": found.get("gateway"),
                "interface": socket.if_indextoname(index),
                "prefsrc": found.get("prefsrc") or source,
                "mtu": metrics.get("mtu") if metrics else None,
                "interface_mtu": link.get("mtu"),
                "table": found.get("table"),
            },
            "reason": "",
        }


def ping(job: Job, *, peer: str, source: str, count: int, interval_ms: int) -> dict[str, Any]:
    """ICMP echo: ``rtt_ns`` by probe in the order sent, ``null`` where no answer came.

    Times are those of this program, not of the kernel: good for "is it there", not for a verdict on delay.
    """
    echo = Echo(canonical(source), canonical(peer))
    sent_ns: list[int] = []
    rtt_ns: list[int | None] = []
    start_ns = time.monotonic_ns()
    try:
        while not job.stopping:
            now_ns = time.monotonic_ns()
            next_ns = start_ns + len(sent_ns) * interval_ms * 1_000_000
            if len(sent_ns) == count:
                next_ns = sent_ns[-1] + int(_LAST_WAIT_S * 1e9)
                if now_ns >= next_ns or None not in rtt_ns:
                    break
            elif now_ns >= next_ns:
                rtt_ns.append(None)
                sent_ns.append(now_ns)
                _send(echo, len(sent_ns) - 1)
                continue
            if echo.fileno() in select.select([echo.fileno(), job.stop_fd], [], [], (next_ns - now_ns) / 1e9)[0]:
                sequence = echo.receive()
                if sequence is not None and sequence < len(rtt_ns) and rtt_ns[sequence] is None:
                    rtt_ns[sequence] = time.monotonic_ns() - sent_ns[sequence]
    finally:
        echo.close()
    received = sum(rtt is not None for rtt in rtt_ns)
    return {"sent": len(sent_ns), "received": received, "rtt_ns": rtt_ns, "method": echo.method}


def _send(echo: Echo, sequence: int) -> None:
    try:
        echo.send(sequence)
    except OSError as error:
        if sequence == 0:
            raise Fault(Code.PEER_SILENT, f"this host cannot send to the peer: {error.strerror}") from error


def hops(job: Job, *, peer: str, source: str, port: int, max_ttl: int, tries: int) -> dict[str, Any]:
    """The routers towards UDP ``port`` of the peer: see ``perfagent.hops``."""
    trace = Trace(canonical(peer), canonical(source), port)
    try:
        return {"hops": trace.run(max_ttl, tries), "reached": trace.reached}
    finally:
        trace.close()


def listen(job: Job, *, address: str, peer: str, tcp: list[int], udp: list[int]) -> dict[str, Any]:
    """Accept and echo for ``peer`` on these ports until stopped."""
    listener = scanner.Listener(canonical(address), canonical(peer), tcp, udp)
    try:
        job.ready({"tcp": tcp, "udp": udp})
        listener.run(job.stop_fd)
        return {"seen": listener.seen}
    finally:
        listener.close()


def ports(job: Job, *, peer: str, source: str, tcp: list[int], udp: list[int]) -> dict[str, Any]:
    """Try these ports of ``peer``: see ``perfagent.ports``."""
    peer, source = canonical(peer), canonical(source)
    with ThreadPoolExecutor() as both:
        answers = both.submit(scanner.scan_tcp, peer, source, tcp), both.submit(scanner.scan_udp, peer, source, udp)
    return {"tcp": answers[0].result(), "udp": answers[1].result()}
