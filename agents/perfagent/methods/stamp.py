"""stamp: a stream of STAMP probes (RFC 8762) and its reflector, with kernel timestamps at both ends.

The sender keeps absolute deadlines. A packet that could not go out within one interval of its deadline (of its class,
where several take turns) is not sent but counted as missed: sent late it would belong to a burst that nobody ordered.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from math import lcm
from typing import Any

from perfagent import realtime, schedule, sockets
from perfagent.clockword import ClockWord
from perfagent.guard import Limits
from perfagent.jobs import Job
from perfagent.reflector import Reflector
from perfagent.sender import PRIORITY, Sender
from perfagent.signing import UNSIGNED, form_of
from perfagent.stamp.packet import OPEN, Form
from perfagent.stamp.reflecting import Reflecting
from perfagent.stamp.sending import Stream
from perfagent.watchman import Watchman
from perfagent.wire import Code, Fault

_LARGEST_PAYLOAD = 65_487
"""A UDP payload that fits an IP packet of either family, with options."""
_HOUR_NS = 3_600_000_000_000
_MOST_IN_TURN = 1024

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
    "classes": (1, _MOST_IN_TURN),
    "every": (1, 1_000_000),
    "wait_ns": (0, _HOUR_NS),
    "for_ns": (1, 100 * 365 * 24 * _HOUR_NS),
}


def send(
    job: Job,
    *,
    peer: str,
    port: int,
    source: str,
    ssid: int,
    interval_ns: int,
    count: int,
    packet_bytes: int | list[int],
    dscp: int | list[int],
    wait_ns: int,
    pattern: str,
    seed: int,
    signed: str = UNSIGNED,
    ptp: bool = False,
    reply_dscp: int | None = None,
    follow_up: bool = False,
    zero_ssid: bool = False,
    every: list[int] | None = None,
    guard: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Send ``count`` probes and read what comes back, up to ``wait_ns`` after the last one.

    ``packet_bytes`` counts the UDP payload. Of several sizes or DSCPs packet i has the one numbered i modulo their
    number; ``every`` tells which of its turns each DSCP of a periodic stream uses (``schedule.slots``), where that is
    not all. Each DSCP has a socket, and so a source port, of its own. ``reply_dscp`` asks for the class of service of
    the path there, and for replies in this one; ``follow_up`` for true transmit times; ``zero_ssid`` takes replies of
    reflectors that know no SSID. A ``guard`` (``perfagent.guard.Limits`` by name) says when what loads the circuit must
    end. Writes ``sender.rec``, and ``duplicates.rec`` if there are any.
    Raises Fault(BAD_ARGUMENT, ADDRESS, TOOL_FAILED, PEER_SILENT).
    """
    _check(port=port, ssid=ssid, interval_ns=interval_ns, count=count, reply_dscp=reply_dscp, wait_ns=wait_ns)
    _check_pattern(pattern, every)
    sizes, dscps = _several("packet_bytes", packet_bytes), _several("dscp", dscp)
    turns = _turns(len(dscps), every)
    (form, tlv_key), told = form_of(signed), ClockWord(ptp=ptp)
    stream = Stream(
        peer=(sockets.canonical(peer), port),
        ssid=ssid,
        packet_bytes=sizes,
        packets=count,
        interval_ns=interval_ns,
        wait_ns=wait_ns,
        error_word=told.word(),
        zero_ssid=zero_ssid,
        ask_dscp=reply_dscp,
        follow_up=follow_up,
        tlv_key=tlv_key,
        turns=turns,
    )
    drawn: dict[str, Any] = {"pattern": pattern, "interval_ns": interval_ns, "count": count, "seed": seed}
    if every is not None:
        drawn["every"] = every
    return _played(job, stream, form, told, source, dscps, drawn, None if guard is None else _limits(guard))


def _played(
    job: Job,
    stream: Stream,
    form: Form,
    told: ClockWord,
    source: str,
    dscps: tuple[int, ...],
    drawn: dict[str, Any],
    limits: Limits | None,
) -> dict[str, Any]:
    """The stream through a socket for each DSCP, watched where there are ``limits``: what is to be said at its end.
    ``drawn``: what its schedule is drawn by."""
    turns = stream.turns
    watchman = None if limits is None else Watchman(job, limits)
    with told, ExitStack() as stack:
        socks = [stack.enter_context(_bound(source, each)) for each in dscps]
        sender = Sender(job, socks, stream, form, lambda seq: turns[seq % len(turns)], told.word, watchman)
        stack.enter_context(closing(sender))
        data = sender.play(drawn, patience_ns=stream.interval_ns * len(dscps) * min(drawn.get("every", [1])))
    return data if watchman is None else _watched(data, watchman)


def _bound(source: str, dscp: int) -> socket.socket:
    sock = sockets.bind_udp(source)
    sockets.set_dscp(sock, dscp)
    return sock


def _watched(data: dict[str, Any], watchman: Watchman) -> dict[str, Any]:
    """What a guard's stream says at its end. Raises Fault for what kept it from watching."""
    if watchman.fault is not None:
        raise watchman.fault
    return {**data, "tripped": watchman.tripped}


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
    answer: bool = True,
    for_ns: int | None = None,
    classes: int = 1,
    every: list[int] | None = None,
) -> dict[str, Any]:
    """Answer probes until asked to stop, or for ``for_ns``: those of ``peer``, its port and this session id, as far as
    they are given. How they were marked is counted in so many ``classes``, as ``send`` sends them with ``every``.

    Writes ``reflector.rec``, if asked to ``record``; without ``answer`` what comes is noted and nothing is sent.
    Raises Fault(BAD_ARGUMENT, ADDRESS, PORT_IN_USE, NOT_PERMITTED).
    """
    _check(bind_port=port, ssid=ssid, peer_port=peer_port, for_ns=for_ns, classes=classes)
    turns = _turns(classes, every)
    form, tlv_key = form_of(signed)
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
        mark = form.mark(ssid)
        reflector = Reflector(job, sock, rules, mark, record=record, answer=answer, turns=turns, error_word=told.word)
        got = realtime.enter(PRIORITY)
        job.ready({"address": address, "port": sock.getsockname()[1]})
        reflector.run(for_ns)
        drops, unread = sockets.receive_drops(sock), sockets.drain(sock)
        return {
            **reflector.figures(),
            "rxq_dropped": drops,
            "unread": unread,
            "realtime": got,
        }


def _limits(guard: dict[str, Any]) -> Limits:
    """Raises Fault(BAD_ARGUMENT)."""
    try:
        return Limits(**guard)
    except TypeError as error:
        raise Fault(Code.BAD_ARGUMENT, f"a guard has {', '.join(Limits._fields)}: {error}") from None


def _several(name: str, value: int | list[int]) -> tuple[int, ...]:
    """What the packets have in turn, each held against the limits of this name. Raises Fault(BAD_ARGUMENT)."""
    values = (value,) if isinstance(value, int) else tuple(value)
    if not 1 <= len(values) <= _MOST_IN_TURN or not all(isinstance(each, int) for each in values):
        raise Fault(Code.BAD_ARGUMENT, f"{name} is a number or a list of 1 to {_MOST_IN_TURN} numbers")
    for each in values:
        _check(**{name: each})
    return values


def _turns(classes: int, every: list[int] | None) -> tuple[int, ...]:
    """Whose turn each packet of a cycle is. Raises Fault(BAD_ARGUMENT)."""
    if every is None:
        return tuple(range(classes))
    steps = _several("every", every)
    if len(steps) != classes or sum(lcm(*steps) // each for each in steps) > _MOST_IN_TURN:
        said = f"one number for each of {classes} classes, which come again after {_MOST_IN_TURN} packets at most"
        raise Fault(Code.BAD_ARGUMENT, f"every is {every!r:.80}, not {said}")
    return schedule.turns(steps)


def _check_pattern(pattern: str, every: list[int] | None) -> None:
    """Raises Fault(BAD_ARGUMENT) for one that is unknown, or that leaves no turn out."""
    if pattern not in schedule.PATTERNS:
        known = ", ".join(schedule.PATTERNS)
        raise Fault(Code.BAD_ARGUMENT, f"the pattern of a stream is one of {known}, not {pattern!r:.40}")
    if every is not None and pattern != schedule.PERIODIC:
        raise Fault(Code.BAD_ARGUMENT, f"all turns of a {pattern} stream are used")


def _check(**values: int | None) -> None:
    """Hold each value that is given against its limits. Raises Fault(BAD_ARGUMENT)."""
    for name, value in values.items():
        least, most = _LIMITS[name]
        if value is not None and not least <= value <= most:
            raise Fault(Code.BAD_ARGUMENT, f"{name} is {value}, not within {least} to {most}")
