"""pmtu: the largest IP packet with DF that arrives, found by packets that arrive (RFC 4821), not by ICMP.

Probes are UDP packets of a given size (``perfagent.sized``). Messages "Packet Too Big" are written down, and believed
by nobody. Where nobody says what the answer says, TTL-limited probes find out how far too large a packet gets.
"""

from __future__ import annotations

from select import select
from socket import MSG_DONTWAIT
from time import monotonic_ns
from typing import Any

from perfagent import hole, mss, sockets
from perfagent.bracket import Bracket
from perfagent.jobs import Job
from perfagent.sized import HEADER, MAGIC, MAX_IP_BYTES, OVERHEAD, Prober
from perfagent.wire import Code, Fault

_LEAST_PACE_BPS = 10_000
_SILENT_PASSES = 10
"""Passes without any answer after which the other end counts as gone."""


# --- the answering end ------------------------------------------------------------------------


def echo(job: Job, *, address: str, port: int, peer: str, syn: bool = False) -> dict[str, Any]:
    """Answer the probes of ``peer`` until asked to stop, never with more bytes than were received.

    With ``syn`` it takes TCP connections on the same port as well, and notes the MSS that their SYNs arrive with.
    Raises Fault(ADDRESS, PORT_IN_USE, NOT_PERMITTED).
    """
    peer = sockets.canonical(peer)
    answered = foreign = 0
    buffer = bytearray(MAX_IP_BYTES)
    with sockets.bind_udp(address, port) as sock:
        overhead, port = OVERHEAD[sock.family], sock.getsockname()[1]
        listener, refused = _listener(address, port, peer) if syn else (None, "")
        reading = [sock.fileno(), job.stop_fd, *([listener.fileno()] if listener else [])]
        job.ready({"address": address, "port": port})
        while not job.stopping:
            readable, _, _ = select(reading, [], [])
            if listener and listener.fileno() in readable:
                listener.accept()
            try:
                size, sender = sock.recvfrom_into(buffer, 0, MSG_DONTWAIT)
            except BlockingIOError:
                continue
            if sender[0] != peer or size < HEADER.size or not buffer.startswith(MAGIC):
                foreign += 1
                continue
            _, session, number, _ = HEADER.unpack_from(buffer)
            try:
                sock.sendto(HEADER.pack(MAGIC, session, number, size + overhead), MSG_DONTWAIT, sender)
                answered += 1
            except OSError:
                pass  # what ICMP said about an earlier answer, or a full queue: one that is lost
    arrived = {"arrived": listener.arrived if listener else [], "reason": refused}
    told = {"answered": answered, "foreign": foreign, "local_mtu": _interface_mtu(address, peer, port)}
    return {**told, "syn": arrived} if syn else told


def _listener(address: str, port: int, peer: str) -> tuple[mss.Listener | None, str]:
    """... and why there is none: another program's port must not end the search."""
    try:
        return mss.Listener(address, port, peer), ""
    except Fault as fault:
        return None, fault.message


def _interface_mtu(source: str, peer: str, port: int) -> int | None:
    """Of the interface towards ``peer``, which may take no larger packet in than out; None if that cannot be told."""
    try:
        with sockets.bind_udp(source) as sock:
            return Prober(sock, (peer, port), _LEAST_PACE_BPS).ask_local_mtu()
    except Fault:
        return None


# --- the searching end ------------------------------------------------------------------------


def search(
    job: Job, *, peer: str, port: int, source: str, floor: int, ceiling: int, pace_bps: int, syn: bool = False
) -> dict[str, Any]:
    """Find the path MTU towards ``peer``, exact to the byte; sizes are of IP packets.

    ``floor`` and ``ceiling`` say where to look first and where to stop; an answer below ``floor`` is found too.
    Probes go out at ``pace_bps`` at most: the circuit may be in use, and the token bucket of a small one must not take
    large probes for too many. With ``syn`` a TCP connection is opened to the same port beside it, and what its SYN
    advertised is noted.
    Raises Fault(PEER_SILENT, BAD_ARGUMENT, ADDRESS, DEADLINE).
    """
    if pace_bps < _LEAST_PACE_BPS:
        raise Fault(Code.BAD_ARGUMENT, f"at {pace_bps} bit/s a search would not end; {_LEAST_PACE_BPS} is the least")
    peer = sockets.canonical(peer)
    with sockets.bind_udp(source) as sock:
        prober = Prober(sock, (peer, port), pace_bps)
        if not prober.control_bytes < floor <= ceiling <= MAX_IP_BYTES:
            raise Fault(
                Code.BAD_ARGUMENT,
                f"floor {floor} and ceiling {ceiling} do not lie within {prober.control_bytes} to {MAX_IP_BYTES}",
            )
        local_mtu = prober.ask_local_mtu()
        allowed = min(ceiling, local_mtu or ceiling)
        began_ns = monotonic_ns()
        dial = mss.Dial(peer, port, source) if syn else None
        prober.meet(job)
        bracket = Bracket(prober.control_bytes, min(floor, allowed), allowed)
        _narrow(job, prober, bracket)
        found = {
            "pmtu": bracket.largest,
            "elapsed_ns": monotonic_ns() - began_ns,
            "confirmed": sorted(bracket.arrived),
            "failed": bracket.failed,
            "rounds": bracket.rounds,
            "tries": prober.sent - prober.control_sent,
            "control_sent": prober.control_sent,
            "control_answered": prober.control_answered,
            "local_mtu": local_mtu,
            "rtt_ns": prober.least_rtt_ns,
        }
        said = any(message["mtu"] == bracket.largest for message in prober.too_big)
        if bracket.largest < allowed and not said:
            found["stops"] = hole.walk(job, prober, bracket.largest + 1, peer)
    if dial:
        found["syn"] = dial.result(job.stop_fd)
    return {**found, "ptb": prober.too_big, "blackhole": bracket.largest < allowed and not prober.too_big}


def _narrow(job: Job, prober: Prober, bracket: Bracket) -> None:
    """Ask until the bracket is closed. Raises Fault(PEER_SILENT, DEADLINE)."""
    silent_passes = 0
    while sizes := bracket.wanted():
        if job.stopping:
            raise Fault(Code.DEADLINE, f"stopped before the search was over, at {bracket.largest} bytes or more")
        fair = prober.ask(sizes)
        bracket.arrived |= prober.arrived
        for size in fair:
            if size not in prober.arrived:
                bracket.unanswered(size)
        silent_passes = 0 if fair else silent_passes + 1
        if silent_passes == _SILENT_PASSES:
            raise Fault(Code.PEER_SILENT, f"{prober.peer_name} answered at first, then no more")
