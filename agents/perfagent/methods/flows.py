"""flows: one probe stream spread over many UDP source ports, so that it meets every member of a link group.

A router picks the member of an ECMP or LAG group by a hash of addresses and ports. The reply goes the way of the
reversed ports, which may be another member. The far end is ``stamp.reflect``: it answers one session from any port,
and its log tells each packet by its number. A packet may leave up to a round late, a round being one packet of every
flow: what matters here is that all flows are treated alike, not the beat.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Any

from perfagent import clock, schedule, sockets
from perfagent.jobs import Job
from perfagent.sender import Sender
from perfagent.signing import UNSIGNED, form_of
from perfagent.stamp.packet import OPEN
from perfagent.stamp.sending import Stream
from perfagent.stamp.times import ErrorEstimate
from perfagent.wire import Code, Fault

_LARGEST_PAYLOAD = 65_487


def send(
    job: Job,
    *,
    peer: str,
    port: int,
    source: str,
    first_port: int,
    flows: int,
    ssid: int,
    interval_ns: int,
    rounds: int,
    packet_bytes: int,
    dscp: int,
    wait_ns: int,
    seed: int,
    signed: str = UNSIGNED,
    in_turn: bool = False,
) -> dict[str, Any]:
    """Send ``rounds`` packets of each flow, one of all flows every ``interval_ns``, and read what comes back.

    Flow i has the i-th free source port from ``first_port`` on: the same flows in every run. The packet numbered s
    is of flow ``schedule.flow_order(flows, rounds, seed)[s]``, or s modulo ``flows`` where they go ``in_turn``, so that
    each flow is strictly periodic. Writes ``sender.rec``, and ``duplicates.rec`` if there
    are any. ``signed`` as in ``stamp.send``. Raises Fault(BAD_ARGUMENT, ADDRESS, PORT_IN_USE, TOOL_FAILED).
    """
    _within("port", port, 1, 65_535)
    _within("first_port", first_port, 1, 65_535)
    _within("flows", flows, 1, 512)
    _within("ssid", ssid, 1, 65_535)
    _within("interval_ns", interval_ns, 10_000, 1_000_000_000)
    _within("rounds", rounds, 1, 1_000_000)
    _within("packet_bytes", packet_bytes, OPEN.base_bytes, _LARGEST_PAYLOAD)
    _within("dscp", dscp, 0, 63)
    _within("wait_ns", wait_ns, 0, 60_000_000_000)
    form, tlv_key = form_of(signed)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(sock) for sock in bind_flows(source, first_port, flows)]
        for sock in socks:
            sockets.set_dscp(sock, dscp)
        order = [] if in_turn else list(schedule.flow_order(flows, rounds, seed))
        stream = Stream(
            peer=(sockets.canonical(peer), port),
            ssid=ssid,
            packet_bytes=(packet_bytes,),
            packets=flows * rounds,
            interval_ns=interval_ns,
            wait_ns=wait_ns,
            error_word=ErrorEstimate.of_clock(clock.state()).word,
            tlv_key=tlv_key,
        )
        sender = stack.enter_context(
            contextlib.closing(Sender(job, socks, stream, form, None if in_turn else order.__getitem__))
        )
        drawn = {"pattern": schedule.PERIODIC, "interval_ns": interval_ns, "count": flows * rounds, "seed": seed}
        return sender.play(drawn, patience_ns=interval_ns * flows)


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise Fault(Code.BAD_ARGUMENT, f"{name} is {value}, not within {least} to {most}")


def bind_flows(source: str, first_port: int, flows: int) -> list[socket.socket]:
    """A socket for each flow, on the free ports of ``source`` from ``first_port`` on, in their order.

    Raises Fault(ADDRESS, NOT_PERMITTED); PORT_IN_USE when there are too few; TOOL_FAILED when the host allows this
    process too few files.
    """
    found: list[socket.socket] = []
    try:
        for port in range(first_port, 65_536):
            if len(found) == flows:
                break
            try:
                found.append(sockets.bind_udp(source, port))
            except Fault as fault:
                if fault.code != Code.PORT_IN_USE:
                    raise
        if len(found) < flows:
            reason = f"{source} has {len(found)} free ports from {first_port} on; {flows} flows need one each"
            raise Fault(Code.PORT_IN_USE, reason)
    except BaseException as error:
        for sock in found:
            sock.close()
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            reason = f"{flows} flows need as many open files and this host allows {len(found)} (ulimit -n)"
            raise Fault(Code.TOOL_FAILED, reason) from error
        raise
    return found
