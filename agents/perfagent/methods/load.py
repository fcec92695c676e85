"""load: our own UDP load, one direction of it, between two ends that know a key (``perfagent.load``).

The end that serves is bound to its test address and port, hears nobody but the peer, and sends nothing before the peer
has shown that it knows the key. Either end may be the one that sends; the receiver reports to it on the same ports.
"""

from __future__ import annotations

import select
import socket
from contextlib import closing, suppress
from typing import Any

from perfagent import realtime, sockets
from perfagent.jobs import Job
from perfagent.load import packet
from perfagent.load.phases import read
from perfagent.load.receiving import Receiver
from perfagent.load.sending import Sender
from perfagent.signing import read_key
from perfagent.wire import Code, Fault

NICE = -10
_SO_RCVBUFFORCE = 33
_DAY = 86_400_000_000_000


def serve(
    job: Job,
    *,
    address: str,
    port: int,
    peer: str,
    sends: bool,
    dscp: int,
    overhead_bytes: int,
    phases: list[Any],
    row_ns: int = 0,
    receive_buffer_bytes: int | None = None,
) -> dict[str, Any]:
    """One session with ``peer``, who drives it. Reads the key; see ``drive`` for the arguments.

    Raises Fault(BAD_ARGUMENT, ADDRESS, PORT_IN_USE, NOT_PERMITTED, TOOL_FAILED, PLATFORM).
    """
    session = _Session(job, sends, dscp, overhead_bytes, phases, row_ns, receive_buffer_bytes)
    with closing(sockets.bind_udp(address, port)) as sock:
        job.ready({"address": address, "port": port})
        if _await_peer(job, sock, sockets.canonical(peer), session.token):
            return session.play(sock)
        raise Fault(Code.TOOL_FAILED, "the other end of the load never came")


def drive(
    job: Job,
    *,
    peer: str,
    port: int,
    source: str,
    sends: bool,
    dscp: int,
    overhead_bytes: int,
    phases: list[Any],
    row_ns: int = 0,
    receive_buffer_bytes: int | None = None,
) -> dict[str, Any]:
    """One session with the end that serves at ``peer`` and ``port``. Reads the key.

    ``sends``: this end sends, the other one receives. ``phases`` are those of ``perfagent.load.phases``; a packet
    counts its UDP payload and ``overhead_bytes`` in all their rates. Between two rows of ``arrivals.jsonl`` lie
    ``row_ns`` or more, of the sender's ``sent.jsonl`` 10 ms or more as well.
    Raises Fault(BAD_ARGUMENT, ADDRESS, TOOL_FAILED, PLATFORM).
    """
    session = _Session(job, sends, dscp, overhead_bytes, phases, row_ns, receive_buffer_bytes)
    with closing(sockets.bind_udp(source)) as sock:
        sock.connect((sockets.canonical(peer), port))
        return session.play(sock, calls=True)


class _Session:
    """What both ends do alike."""

    def __init__(
        self,
        job: Job,
        sends: bool,
        dscp: int,
        overhead_bytes: int,
        given: list[Any],
        row_ns: int,
        receive_buffer_bytes: int | None,
    ) -> None:
        for name, value, most in (
            ("dscp", dscp, 63),
            ("overhead_bytes", overhead_bytes, 1000),
            ("row_ns", row_ns, 1 << 40),
        ):
            if not 0 <= value <= most:
                raise Fault(Code.BAD_ARGUMENT, f"{name} is {value}, not within 0 to {most}")
        self.token = packet.token_of(read_key())
        self._job = job
        self._sends = sends
        self._dscp = dscp
        self._overhead_bytes = overhead_bytes
        self._phases = read(given)
        self._row_ns = row_ns
        self._receive_buffer_bytes = receive_buffer_bytes

    def play(self, sock: socket.socket, *, calls: bool = False) -> dict[str, Any]:
        sockets.set_dscp(sock, self._dscp)
        sockets.send_whole(sock)
        scheduling = realtime.hurry(NICE)
        if self._sends:
            sender = Sender(self._job, sock, self.token, self._phases, self._overhead_bytes, self._row_ns)
            if calls:
                sender.call()
            sender.play()
            return {**sender.figures(), "scheduling": scheduling}
        if self._receive_buffer_bytes is not None:
            _enlarge(sock, self._receive_buffer_bytes)
        receiver = Receiver(self._job, sock, self.token, self._phases, self._row_ns)
        receiver.run()
        return {**receiver.figures(), "scheduling": scheduling}


def _await_peer(job: Job, sock: socket.socket, peer: str, token: int) -> bool:
    """Connect to the peer once it shows that it knows the key; False when it does not come while the job lasts: other
    phases of a task may come first."""
    while not job.stopping:
        if not any(select.select([sock.fileno(), job.stop_fd], [], [], 1.0)) or job.stopping:
            continue
        data, sender = sock.recvfrom(packet.REPORT_BYTES, socket.MSG_DONTWAIT)
        if sender[0] == peer and packet.kind_of(data, token):
            sock.connect(sender)
            return True
    return False


def _enlarge(sock: socket.socket, size: int) -> None:
    """As large as this user may have it; what it became is in the figures."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 2 * size:
        with suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
