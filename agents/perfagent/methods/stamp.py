"""stamp: a stream of STAMP probes (RFC 8762) and its reflector, with kernel timestamps at both ends.

The sender keeps absolute deadlines. A packet that could not go out within one interval of its deadline is not
sent but counted as missed: sent late it would belong to a burst that nobody ordered.

A key comes on standard input, so that it is in no argument list, no specification and no result.
"""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Any

from perfagent import realtime, schedule, sockets
from perfagent.clockword import ClockWord
from perfagent.jobs import Job
from perfagent.reflector import Reflector
from perfagent.sender import Sender
from perfagent.stamp.packet import OPEN, Form
from perfagent.stamp.reflecting import Reflecting
from perfagent.stamp.sending import Stream
from perfagent.wire import Code, Fault

_PRIORITY = 10
"""One for both: where sender and reflector share a host, the kernel wakes the one on a CPU that the other is not on.
Did the reflector outrank the sender, it would stay on the same CPU and push each packet of it out of time."""
_HEAD_START_NS = 5_000_000
_LARGEST_PAYLOAD = 65_487
"""A UDP payload that fits an IP packet of either family, with options."""
_MOST_KEY_BYTES = 4096
_HOUR_NS = 3_600_000_000_000

_LIMITS = {
    "port": (1, 65_535),
    "bind_port": (0, 65_535),
    "peer_port": (1, 65_535),
    "ssid": (0, 65_535),
    "interval_ns": (1_000, _HOUR_NS),
    "count": (1, (1 << 32) - 1),
    "packet_bytes": (OPEN.base_bytes, _LARGEST_PAYLOAD),
    "dscp": (0, 63),
    "reply_dscp": (0, 63),
    "wait_ns": (0, _HOUR_NS),
    "for_ns": (1, 100 * 365 * 24 * _HOUR_NS),
}

UNSIGNED, AUTHENTICATED, EXTENSIONS = "unsigned", "authenticated", "extensions"
"""What a key signs: nothing, the base packets and their extensions, or the extensions of open base packets."""


def send(
    job: Job,
    *,
    peer: str,
    port: int,
    source: str,
    ssid: int,
    interval_ns: int,
    count: int,
    packet_bytes: int,
    dscp: int,
    wait_ns: int,
    pattern: str,
    seed: int,
    signed: str = UNSIGNED,
    ptp: bool = False,
    reply_dscp: int | None = None,
    follow_up: bool = False,
    zero_ssid: bool = False,
) -> dict[str, Any]:
    """Send ``count`` probes and read what comes back, up to ``wait_ns`` after the last one.

    ``packet_bytes`` counts the UDP payload. ``reply_dscp`` asks for the class of service of the path there, and for
    replies in this one; ``follow_up`` for true transmit times; ``zero_ssid`` takes replies of reflectors that know
    no SSID. Writes ``sender.rec``, and ``duplicates.rec`` if there are any.
    Raises Fault(BAD_ARGUMENT, ADDRESS, TOOL_FAILED).
    """
    _check(port=port, ssid=ssid, interval_ns=interval_ns, count=count, packet_bytes=packet_bytes)
    _check(dscp=dscp, reply_dscp=reply_dscp, wait_ns=wait_ns)
    try:
        offsets_ns = schedule.offsets_ns(pattern, interval_ns, count, seed)
    except ValueError as error:
        raise Fault(Code.BAD_ARGUMENT, str(error)) from error
    form, tlv_key = _form(signed)
    told = ClockWord(ptp=ptp)
    stream = Stream(
        peer=(sockets.canonical(peer), port),
        ssid=ssid,
        packet_bytes=packet_bytes,
        packets=count,
        interval_ns=interval_ns,
        wait_ns=wait_ns,
        error_word=told.word(),
        zero_ssid=zero_ssid,
        ask_dscp=reply_dscp,
        follow_up=follow_up,
        tlv_key=tlv_key,
    )
    with (
        told,
        sockets.bind_udp(source) as sock,
        closing(Sender(job, [sock], stream, form, error_word=told.word)) as sender,
    ):
        sockets.set_dscp(sock, dscp)
        got = realtime.enter(_PRIORITY)
        start_mono_ns, start_unix_ns = (now_ns + _HEAD_START_NS for now_ns in realtime.clock_pair())
        sender.run((start_mono_ns + offset_ns for offset_ns in offsets_ns), patience_ns=interval_ns)
        return {
            "source_port": sock.getsockname()[1],
            "start_mono_ns": start_mono_ns,
            "start_unix_ns": start_unix_ns,
            "schedule": {"pattern": pattern, "interval_ns": interval_ns, "count": count, "seed": seed},
            **sender.figures(),
            "rxq_dropped": sockets.receive_drops(sock),
            "unread": sockets.drain(sock),
            "realtime": got,
        }


def reflect(
    job: Job,
    *,
    address: str,
    port: int,
    peer: str | None,
    ssid: int | None,
    peer_port: int | None = None,
    signed: str = UNSIGNED,
    ptp: bool = False,
    stateless: bool = False,
    record: bool = True,
    for_ns: int | None = None,
) -> dict[str, Any]:
    """Answer probes until asked to stop, or for ``for_ns``: those of ``peer``, its port and this session id, as far as
    they are given.

    Writes ``reflector.rec``, if asked to ``record``. Raises Fault(BAD_ARGUMENT, ADDRESS, PORT_IN_USE, NOT_PERMITTED).
    """
    _check(bind_port=port, ssid=ssid, peer_port=peer_port, for_ns=for_ns)
    form, tlv_key = _form(signed)
    told = ClockWord(ptp=ptp)
    rules = Reflecting(
        form,
        told.word(),
        peer=None if peer is None else sockets.canonical(peer),
        port=peer_port,
        ssid=ssid,
        stateless=stateless,
        tlv_key=tlv_key,
    )
    with told, sockets.bind_udp(address, port) as sock:
        reflector = Reflector(job, sock, rules, form.mark(ssid), record=record, error_word=told.word)
        got = realtime.enter(_PRIORITY)
        job.ready({"address": address, "port": sock.getsockname()[1]})
        reflector.run(for_ns)
        drops, unread = sockets.receive_drops(sock), sockets.drain(sock)
        return {
            **reflector.figures(),
            "rxq_dropped": drops,
            "unread": unread,
            "realtime": got,
        }


def _form(signed: str) -> tuple[Form, bytes | None]:
    """The form of the base packets, and a key for extensions alone."""
    if signed == UNSIGNED:
        return OPEN, None
    if signed not in (AUTHENTICATED, EXTENSIONS):
        raise Fault(Code.BAD_ARGUMENT, f"a key signs nothing that is called {signed!r:.40}")
    key = sys.stdin.buffer.read(_MOST_KEY_BYTES + 1)
    if not 1 <= len(key) <= _MOST_KEY_BYTES:
        raise Fault(Code.BAD_ARGUMENT, f"a key has 1 to {_MOST_KEY_BYTES} bytes; it comes on standard input")
    return (Form(key), None) if signed == AUTHENTICATED else (OPEN, key)


def _check(**values: int | None) -> None:
    """Hold each value that is given against its limits. Raises Fault(BAD_ARGUMENT)."""
    for name, value in values.items():
        least, most = _LIMITS[name]
        if value is not None and not least <= value <= most:
            raise Fault(Code.BAD_ARGUMENT, f"{name} is {value}, not within {least} to {most}")
