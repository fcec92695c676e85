"""What lies between two hosts: the route, ping, the hops, the ports that are let through."""

from __future__ import annotations

import select
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from perfagent import ports as scanner
from perfagent.hops import Trace
from perfagent.icmp import Echo
from perfagent.jobs import Job
from perfagent.netlink import Links, Routes
from perfagent.sockets import canonical

_LAST_WAIT_S = 1.0


def route(job: Job, *, peer: str, source: str) -> dict[str, Any]:
    """How this host's kernel would send from ``source`` to ``peer``; ``route`` is ``None`` when it would not."""
    peer, source = canonical(peer), canonical(source)
    try:
        with closing(Routes()) as routes:
            found = routes.details(peer, source)
    except OSError as error:
        return {"route": None, "reason": f"the kernel has no route to {peer}: {error.strerror}"}
    with closing(Links()) as links:
        mtu = next((link.mtu for link in links.all().values() if link.name == found["interface"]), None)
    return {
        "route": {
            "gateway": found["gateway"],
            "interface": found["interface"],
            "prefsrc": found["source"] or source,
            "mtu": found["mtu"],
            "interface_mtu": mtu,
            "table": found["table"],
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
    reason = ""
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
                reason = _send(echo, len(sent_ns) - 1) or reason
                continue
            if echo.fileno() in select.select([echo.fileno(), job.stop_fd], [], [], (next_ns - now_ns) / 1e9)[0]:
                sequence = echo.receive()
                if sequence is not None and sequence < len(rtt_ns) and rtt_ns[sequence] is None:
                    rtt_ns[sequence] = time.monotonic_ns() - sent_ns[sequence]
    finally:
        echo.close()
    received = sum(rtt is not None for rtt in rtt_ns)
    return {"sent": len(sent_ns), "received": received, "rtt_ns": rtt_ns, "method": echo.method, "reason": reason}


def _send(echo: Echo, sequence: int) -> str:
    """Why this host could not send it; empty where it did. Not to have a route is a result like another."""
    try:
        echo.send(sequence)
    except OSError as error:
        return f"this host cannot send to the peer: {error.strerror}"
    return ""


def hops(job: Job, *, peer: str, source: str, port: int, max_ttl: int, tries: int, flows: int = 1) -> dict[str, Any]:
    """The routers towards UDP ``port`` of the peer: see ``perfagent.hops``.

    ``others`` are those of further flows, which differ in their source port; each of their hops is asked once, since
    routers limit how many errors they send.
    """
    peer, source = canonical(peer), canonical(source)
    first = _trace(peer, source, port, max_ttl, tries)
    with ThreadPoolExecutor() as all_at_once:
        others = list(all_at_once.map(lambda _: _trace(peer, source, port, max_ttl, 1), range(flows - 1)))
    return {**first, "others": others}


def _trace(peer: str, source: str, port: int, max_ttl: int, tries: int) -> dict[str, Any]:
    trace = Trace(peer, source, port)
    try:
        return {"source_port": trace.source_port, "hops": trace.run(max_ttl, tries), "reached": trace.reached}
    finally:
        trace.close()


def listen(
    job: Job,
    *,
    address: str,
    peer: str,
    tcp: list[int],
    udp: list[int],
    spare_tcp: list[int] | None = None,
    spare_udp: list[int] | None = None,
) -> dict[str, Any]:
    """Accept and echo for ``peer`` on these ports until stopped; on the spare ones only where they are free, else
    ``closed`` says why not, as ``{"tcp/22": "another program uses this port"}``."""
    listener = scanner.Listener(canonical(address), canonical(peer), tcp, udp)
    try:
        spare = {
            **{f"tcp/{port}": port for port in spare_tcp or ()},
            **{f"udp/{port}": port for port in spare_udp or ()},
        }
        tried = {name: listener.open_if_free(name[:3], port) for name, port in spare.items()}
        job.ready({"tcp": tcp, "udp": udp})
        listener.run(job.stop_fd)
        return {
            "seen": listener.seen,
            "marks": listener.marks,
            "translated": listener.translated,
            "closed": {name: why for name, why in tried.items() if why},
        }
    finally:
        listener.close()


def ports(job: Job, *, peer: str, source: str, tcp: list[int], udp: list[int]) -> dict[str, Any]:
    """Try these ports of ``peer``: their states (see ``perfagent.ports``), and what was said where an error came.

    ``{"tcp": {"5201": "rejected"}, "udp": {}, "errors": {"tcp/5201": {"from": "192.0.2.1", "said": "no route"}}}``
    """
    peer, source = canonical(peer), canonical(source)
    with ThreadPoolExecutor() as both:
        tried = both.submit(scanner.scan_tcp, peer, source, tcp), both.submit(scanner.scan_udp, peer, source, udp)
    answers = {"tcp": tried[0].result(), "udp": tried[1].result()}
    errors = {
        f"{protocol}/{port}": {"from": answer.sender, "said": answer.said}
        for protocol, found in answers.items()
        for port, answer in found.items()
        if answer.said
    }
    states = {name: {str(port): answer.state for port, answer in found.items()} for name, found in answers.items()}
    return {**states, "errors": errors}


def mark(
    job: Job, *, peer: str, source: str, port: int, dscps: list[int], count: int, interval_ms: int
) -> dict[str, Any]:
    """Send marked datagrams to a ``listen`` of the peer, which tells how they came; ``sent``: DSCP → how many."""
    sent = scanner.send_marked(canonical(peer), canonical(source), port, dscps, count, interval_ms / 1000)
    return {"sent": {str(dscp): packets for dscp, packets in sent.items()}}
