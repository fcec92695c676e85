"""How large a TCP window must be to fill a path: bandwidth times delay (RFC 6349, section 3.3), measured now."""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import Any

from perfagent import sockets
from perfagent.icmp import Echo
from perfagent.wire import Fault

ECHOES, ECHO_INTERVAL_S, ECHO_WAIT_S = 10, 0.02, 1.0
CLOSED_PORT = 9
"""Discard: what refuses a connection there tells as much of the path as what accepts it."""
CONNECTS, CONNECT_WAIT_S = 3, 1.0
HEADROOM = 1.25
"""A window of exactly the product leaves no room for the time that both hosts take to wake up."""
LEAST_BYTES = 64 << 10
"""Of one stream: what a host sends in one piece must fit, however short the path is."""


def of_path(rate_bps: int, streams: int, rtt_ns: int | None) -> dict[str, Any]:
    """``{"rtt_ns", "bdp_bytes", "asked_bytes"}``: what each of ``streams`` should have at this total rate.

    Without a round trip both sizes are ``None``: then the kernel's own choice is better than a guess.
    """
    if rtt_ns is None:
        return {"rate_bps": rate_bps, "streams": streams, "rtt_ns": None, "bdp_bytes": None, "asked_bytes": None}
    bdp = rate_bps * rtt_ns // 8_000_000_000
    asked = max(LEAST_BYTES, int(bdp * HEADROOM) // streams)
    return {"rate_bps": rate_bps, "streams": streams, "rtt_ns": rtt_ns, "bdp_bytes": bdp, "asked_bytes": asked}


def measured(peer: str, source: str, rate_bps: int, streams: int) -> dict[str, Any]:
    """:func:`of_path` with the least round trip to ``peer`` just now, and ``rtt_by``, how that was found."""
    rtt_ns, by = least_rtt_ns(peer, source)
    return {**of_path(rate_bps, streams, rtt_ns), "rtt_by": by}


def least_rtt_ns(peer: str, source: str) -> tuple[int | None, str]:
    """By ICMP echo or, where nobody answers that, by what a TCP connection takes; and which of them, or why neither."""
    try:
        found = _by_echo(peer, source)
    except (Fault, OSError):
        found = None
    if found is not None:
        return found, "ICMP echo"
    found = _by_connecting(peer, source)
    return (found, "TCP connect") if found is not None else (None, "no answer to ICMP echo or a TCP connection")


def _by_echo(peer: str, source: str) -> int | None:
    """Raises Fault, OSError."""
    echo, sent, best = Echo(source, peer), [], None
    try:
        for number in range(ECHOES):
            sent.append(time.monotonic_ns())
            echo.send(number)
            until_s = time.monotonic() + (ECHO_INTERVAL_S if number < ECHOES - 1 else ECHO_WAIT_S)
            while (left_s := until_s - time.monotonic()) > 0 and select.select([echo.fileno()], [], [], left_s)[0]:
                now_ns, which = time.monotonic_ns(), echo.receive()
                if which is not None and which < len(sent):
                    best = min(best or now_ns, now_ns - sent[which])
                    if which == ECHOES - 1:
                        return best
    finally:
        echo.close()
    return best


def _by_connecting(peer: str, source: str) -> int | None:
    """From SYN to whatever answers it, a refusal too; ``None`` where nothing does."""
    taken = []
    for _ in range(CONNECTS):
        with socket.socket(sockets.family_of(peer), socket.SOCK_STREAM) as sock:
            sock.settimeout(CONNECT_WAIT_S)
            try:
                sock.bind((source, 0))
            except OSError:
                return None
            began_ns = time.monotonic_ns()
            code = sock.connect_ex((peer, CLOSED_PORT))
            if code in (0, errno.ECONNREFUSED):
                taken.append(time.monotonic_ns() - began_ns)
    return min(taken, default=None)
