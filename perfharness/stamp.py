"""The verbs `stamp sender` and `stamp reflector`: one probe stream by hand, by the agent's own engine."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from perfagent import records
from perfagent.stamp.packet import OPEN, PORT, Form
from perfagent.wire import Code, Event
from perfharness.analysis.samples import join
from perfharness.analysis.stream import Figures, figures
from perfharness.errors import HostUnusable, PerfharnessError, Refused
from perfharness.fleet import local
from perfharness.order import units
from perfharness.view import live_text

_FOREVER_S = 10 * 365 * 86_400.0
_SETUP_S = 60.0
_EXTENSIONS = re.compile(r"(cos)(?:=(\d{1,2}))?|follow-up|hmac")
_OF_THE_USER = (Code.BAD_ARGUMENT, Code.ADDRESS)


@dataclass(frozen=True, slots=True)
class Mode:
    """What both ends must agree on."""

    key_file: Path | None = None
    ptp: bool = False
    ssid: int | None = None
    extensions: tuple[str, ...] = ()

    def key(self) -> bytes:
        """Of the file, without the newline at its end; empty without a file. Raises Refused."""
        if self.key_file is None:
            if "hmac" in self.extensions:
                raise Refused("--tlv hmac signs with a key.", "Name its file with --key-file.")
            return b""
        try:
            key = self.key_file.read_bytes()
        except OSError as error:
            raise Refused(f"The key file {self.key_file} cannot be read: {error.strerror}.") from None
        key = key.removesuffix(b"\n").removesuffix(b"\r")
        if not 1 <= len(key) <= 4096:
            raise Refused(f"The key file {self.key_file} holds {len(key)} bytes; a key has 1 to 4096.")
        return key

    @property
    def signed(self) -> str:
        if self.key_file is None:
            return "unsigned"
        return "extensions" if "hmac" in self.extensions else "authenticated"


@dataclass(frozen=True, slots=True)
class SenderOrder:
    """What `stamp sender` was asked for, as it was written."""

    target: str
    mode: Mode
    count: int | None
    duration: str | None
    interval: str
    size: int | None
    dscp: int
    source: str | None
    pattern: str
    wait: str
    strict_ssid: bool


@dataclass(frozen=True, slots=True)
class ReflectorOrder:
    """What `stamp reflector` was asked for, as it was written."""

    address: str
    mode: Mode
    peer: str | None
    stateless: bool
    duration: str | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a sender: its result's ``data``, the figures, and whom it asked."""

    target: str
    data: Mapping[str, Any]
    args: Mapping[str, Any]
    figures: Figures


def send(order: SenderOrder, console: Console) -> Measured:
    """Send and analyse. Raises Refused for what cannot be sent, HostUnusable when nobody answers."""
    args = sender_args(order)
    where = _text(args["peer"], args["port"])
    seconds = args["interval_ns"] * args["count"] / 1e9
    with _progress(console, f"{args['count']:,} packets to {where}, {units.duration_text(seconds * 1e9)}") as listen:
        deadline_s = seconds * 2 + args["wait_ns"] / 1e9 + _SETUP_S
        outcome = local.run("stamp.send", args, deadline_s, listen, order.mode.key())
    data = _data(outcome.result, where)
    if not data["sent"]:
        errors = ", ".join(data["send_error_names"]) or "it was interrupted"
        remedy = "A packet is larger than the MTU here: choose a smaller --size." if errors == "EMSGSIZE" else ""
        raise HostUnusable(where, f"nothing could be sent: {errors}.", remedy)
    if not data["received"]:
        raise HostUnusable(where, _silence(data), "Is a reflector there, on this port, in this mode, and no firewall?")
    samples = join(outcome.files["sender.rec"], None, data)
    return Measured(where, data, args, figures(samples, _ttl(outcome.files["sender.rec"]), data["reflector"]))


def reflect(order: ReflectorOrder, console: Console) -> Mapping[str, Any]:
    """Answer until interrupted, or for the duration asked for; returns the result's ``data``. Raises Refused."""
    address, port = _endpoint(order.address, PORT)
    peer, peer_port = _endpoint(order.peer, 0) if order.peer else (None, 0)
    args = {
        "address": address,
        "port": port,
        "peer": peer,
        "peer_port": peer_port or None,
        "ssid": order.mode.ssid,
        "signed": order.mode.signed,
        "ptp": order.mode.ptp,
        "stateless": order.stateless,
        "record": False,
        "for_ns": _duration(order.duration, "--duration") if order.duration else None,
    }
    for word in order.mode.extensions:
        if word != "hmac":
            raise Refused(
                f"A reflector has no extension {word!r}: it answers what it is asked.", "Only hmac is its own."
            )
    whom = f"packets of {order.peer}" if order.peer else "anybody's packets (--peer names one)"
    with _progress(console, f"Answering {whom} on {_text(address, port)}; Ctrl-C ends it") as listen:
        outcome = local.run("stamp.reflect", args, _FOREVER_S, listen, order.mode.key())
    return _data(outcome.result, _text(address, port))


# --- what is asked for ------------------------------------------------------------------------


def sender_args(order: SenderOrder) -> dict[str, Any]:
    """The arguments of the agent's method. Raises Refused."""
    peer, port = _endpoint(order.target, PORT)
    interval_ns = _duration(order.interval, "--interval")
    if order.count is not None and order.duration is not None:
        raise Refused("--count and --duration say the same twice.", "Give one of them.")
    count = order.count or 100
    if order.duration is not None:
        count = max(1, _duration(order.duration, "--duration") // interval_ns)
    reply_dscp, follow_up = _extensions(order)
    signed = order.mode.signed
    base = Form(b"k").base_bytes if signed == "authenticated" else OPEN.base_bytes
    needed = base + (8 if reply_dscp is not None else 0) + (20 if follow_up else 0)
    if signed == "extensions" or (signed == "authenticated" and needed > base):
        needed += 20
    if order.size is not None and order.size < needed:
        raise Refused(f"--size {order.size} is too small: this mode and its extensions need {needed} bytes.")
    return {
        "peer": peer,
        "port": port,
        "source": order.source or _source_for(peer, port),
        "ssid": order.mode.ssid or 0,
        "interval_ns": interval_ns,
        "count": count,
        "packet_bytes": order.size or needed,
        "dscp": order.dscp,
        "wait_ns": _duration(order.wait, "--wait"),
        "pattern": order.pattern,
        "seed": 1,
        "signed": signed,
        "ptp": order.mode.ptp,
        "reply_dscp": reply_dscp,
        "follow_up": follow_up,
        "zero_ssid": not order.strict_ssid,
    }


def _extensions(order: SenderOrder) -> tuple[int | None, bool]:
    """The DSCP asked for by the class-of-service extension, and whether follow-up is asked for."""
    reply_dscp = None
    for word in order.mode.extensions:
        found = _EXTENSIONS.fullmatch(word)
        if not found or int(found[2] or 0) > 63:
            raise Refused(
                f"--tlv {word}: there is no such extension.", "It is cos, cos=DSCP (0..63), follow-up or hmac."
            )
        if found[1]:
            reply_dscp = int(found[2]) if found[2] else order.dscp
    return reply_dscp, "follow-up" in order.mode.extensions


def _endpoint(text: str, port: int) -> tuple[str, int]:
    """``ADDRESS``, ``NAME``, either with ``:PORT``, ``[IPV6]:PORT``. Raises Refused."""
    found = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?|([^:]+)(?::(\d{1,5}))?|(.*:.*:.*)", text)
    name = (found[1] or found[3] or found[5]) if found else ""
    given = (found[2] or found[4]) if found else None
    if not name or (given is not None and not 1 <= int(given) <= 65_535):
        raise Refused(
            f"{text!r} is no address with a port.", "Write 192.0.2.1, 192.0.2.1:862, [2001:db8::1]:862 or a name."
        )
    try:
        return str(ipaddress.ip_address(name)), int(given or port)
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)[0][4][0]), int(given or port)
    except OSError as error:
        raise Refused(f"{name!r} is neither an IP address nor a name that can be looked up: {error}.") from None


def _source_for(peer: str, port: int) -> str:
    """The address that the kernel would send from."""
    with socket.socket(socket.AF_INET6 if ":" in peer else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((peer, port))
        except OSError as error:
            raise HostUnusable(peer, f"there is no way to it from here: {error.strerror}.") from None
        return str(sock.getsockname()[0])


def _duration(text: str, option: str) -> int:
    try:
        ns = units.duration(text)
    except ValueError as error:
        raise Refused(f"{option} {text}: {error}") from None
    if ns <= 0:
        raise Refused(f"{option} {text} is no time.", "Write a number and its unit, as 10ms.")
    return ns


# --- what came back ---------------------------------------------------------------------------


def _data(result: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Of a job that did its work. Raises Refused, HostUnusable or PerfharnessError for one that did not."""
    error = result["error"]
    if result["status"] == "completed" and not error:
        data: Mapping[str, Any] = result["data"]
        return data
    sentence = f"{error['message'][0].upper()}{error['message'][1:]}."
    if error["code"] in _OF_THE_USER:
        raise Refused(sentence)
    if error["code"] in (Code.PORT_IN_USE, Code.NOT_PERMITTED):
        raise HostUnusable(where, sentence, "Name another port as ADDRESS:PORT.")
    raise PerfharnessError(sentence)


def _silence(data: Mapping[str, Any]) -> str:
    """That nobody answered, and what came instead."""
    text = f"none of {data['sent']:,} packets was answered"
    if data["refused"]:
        text += "; packets came that are no replies of this session: "
        text += ", ".join(f"{n:,} {reason}" for reason, n in data["refused"].items())
    return text + "."


def _ttl(raw: bytes) -> dict[int, int]:
    """TTLs or hop limits of the replies; 0 could not be told."""
    table = np.frombuffer(raw, np.dtype(records.DTYPE_FIELDS), records.count(raw), records.HEADER_BYTES)
    values, counts = np.unique(table["ttl"][(table["flags"] & records.REPLIED) != 0], return_counts=True)
    return {int(value): int(n) for value, n in zip(values, counts, strict=True)}


def _text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@contextmanager
def _progress(console: Console, text: str) -> Iterator[Callable[[Event], None]]:
    """A line with the live figures on a terminal, a plain one elsewhere; gives what to call with each event."""
    if not console.is_terminal:
        console.print(text, highlight=False, soft_wrap=True)
        yield lambda _: None
        return
    with console.status(text) as status:

        def hear(event: Event) -> None:
            if event.kind == "live":
                status.update(f"{text} · {live_text(event.data)}")

        yield hear
