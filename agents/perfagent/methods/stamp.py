"""stamp: a stream of STAMP probes (RFC 8762) and its stateful reflector, with kernel timestamps at both ends.

The sender keeps absolute deadlines. A packet that could not go out within one interval of its deadline is not
sent but counted as missed: sent late it would belong to a burst that nobody ordered.
"""

from __future__ import annotations

from typing import Any

from perfagent import realtime, schedule, sockets, stamp
from perfagent.jobs import Job
from perfagent.reflector import Reflector
from perfagent.sender import Sender, Stream
from perfagent.wire import Code, Fault

_PRIORITY = 10
"""One for both: where sender and reflector share a host, the kernel wakes the one on a CPU that the other is not on.
Did the reflector outrank the sender, it would stay on the same CPU and push each packet of it out of time."""
_HEAD_START_NS = 5_000_000
_LARGEST_PAYLOAD = 65_487
"""A UDP payload that fits an IP packet of either family, with options."""


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
) -> dict[str, Any]:
    """Send ``count`` probes and read what comes back, up to ``wait_ns`` after the last one.

    ``packet_bytes`` counts the UDP payload. Writes ``sender.rec``, and ``duplicates.rec`` if there are any.
    Raises Fault(BAD_ARGUMENT, ADDRESS, TOOL_FAILED).
    """
    _within("port", port, 1, 65_535)
    _within("ssid", ssid, 1, 65_535)
    _within("interval_ns", interval_ns, 1_000, 3_600_000_000_000)
    _within("count", count, 1, (1 << 32) - 1)
    _within("packet_bytes", packet_bytes, stamp.BASE_BYTES, _LARGEST_PAYLOAD)
    _within("dscp", dscp, 0, 63)
    _within("wait_ns", wait_ns, 0, 3_600_000_000_000)
    try:
        offsets_ns = schedule.offsets_ns(pattern, interval_ns, count, seed)
    except ValueError as error:
        raise Fault(Code.BAD_ARGUMENT, str(error)) from error
    stream = Stream((sockets.canonical(peer), port), ssid, packet_bytes, count, interval_ns, wait_ns)
    with sockets.bind_udp(source) as sock:
        sockets.set_dscp(sock, dscp)
        sender = Sender(job, sock, stream)
        got = realtime.enter(_PRIORITY)
        start_mono_ns, start_unix_ns = (now_ns + _HEAD_START_NS for now_ns in realtime.clock_pair())
        sender.run(start_mono_ns + offset_ns for offset_ns in offsets_ns)
        return {
            "source_port": sock.getsockname()[1],
            "start_mono_ns": start_mono_ns,
            "start_unix_ns": start_unix_ns,
            "schedule": {"pattern": pattern, "interval_ns": interval_ns, "count": count, "seed": seed},
            **sender.figures(),
            "rxq_dropped": sockets.receive_drops(sock),
            "realtime": got,
        }


def reflect(job: Job, *, address: str, port: int, peer: str, ssid: int) -> dict[str, Any]:
    """Answer the probes of ``peer`` with this session id until asked to stop. Writes ``reflector.rec``.

    Raises Fault(BAD_ARGUMENT, ADDRESS, PORT_IN_USE, NOT_PERMITTED).
    """
    _within("port", port, 0, 65_535)
    _within("ssid", ssid, 1, 65_535)
    with sockets.bind_udp(address, port) as sock:
        reflector = Reflector(job, sock, sockets.canonical(peer), ssid)
        got = realtime.enter(_PRIORITY)
        job.ready({"address": address, "port": sock.getsockname()[1]})
        reflector.run()
        return {**reflector.figures(), "rxq_dropped": sockets.receive_drops(sock), "realtime": got}


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise Fault(Code.BAD_ARGUMENT, f"{name} is {value}, not within {least} to {most}")
