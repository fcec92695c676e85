"""The sending end of a flow sweep: one stream of probes over many sockets, a record a packet.

As in ``sender`` the deadlines are absolute. But a packet may leave up to a round late, a round being one packet of
every flow: what matters here is that all flows are treated alike, not the beat.
"""

from __future__ import annotations

import errno
import select
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from errno import errorcode
from time import monotonic_ns, time_ns
from typing import Any

from perfagent import records, sockets, timestamps
from perfagent.jobs import Job
from perfagent.realtime import clock_pair
from perfagent.records import KERNEL, USER
from perfagent.sender import RecordsInPlace
from perfagent.stamp.packet import OPEN
from perfagent.stamp.sending import Sending, Stream
from perfagent.wire import Code, Fault

_TICK_NS = 1_000_000_000
_SETTLED_WAIT_NS = 200_000_000
"""How long a duplicate is waited for when all answers are there."""
_STOPPED_WAIT_NS = 3_000_000_000
"""For stragglers after a request to stop: the agent kills a job that has not ended 5 s after it."""

OTHER_FLOW = "other flow"
"""Why a packet is no reply of ours, beside the reasons of ``stamp.sending``."""


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


class Sweep:
    """Sends each packet through the socket of its flow, reads what comes, and counts what is not ours."""

    def __init__(self, job: Job, socks: Sequence[socket.socket], order: Sequence[int], stream: Stream) -> None:
        """``order[seq]`` is the flow, an index of ``socks``, of the packet of that number."""
        self._job = job
        self._socks = socks
        self._order = order
        self._stream = stream
        self._reply = bytearray(stream.packet_bytes)
        self._buffers = (self._reply,)
        self._records = RecordsInPlace(job.folder / "sender.rec", stream.packets)
        self.session = Sending(OPEN, stream, self._records.map)
        self._duplicates_path = job.folder / "duplicates.rec"
        mark = OPEN.mark(stream.error_word, stream.ssid)
        self._stamps = [timestamps.TransmitStamps(sock, *mark) for sock in socks]
        self._poll = select.epoll()
        self._flow_of = {}
        for flow, sock in enumerate(socks):
            timestamps.enable(sock)
            sockets.set_ttl(sock, sockets.PROBE_TTL)
            self._stamps[flow].expect(stream.packet_bytes)
            self._flow_of[sock.fileno()] = flow
            self._poll.register(sock.fileno(), select.EPOLLIN)  # errors are always told
        self._next_tick_ns = 0
        self.clock: list[tuple[int, int]] = []
        self.attempted = self.sent = self.missed = 0
        self.send_errors: Counter[str] = Counter()

    def close(self) -> None:
        self._poll.close()

    # --- the loop

    def run(self, due: Iterable[int], patience_ns: int) -> None:
        """Send packet i at ``due[i]`` (CLOCK_MONOTONIC) or, if later than ``patience_ns`` after it, not at all."""
        for seq, due_ns in enumerate(due):
            self._serve_until(due_ns)
            if self._job.stopping:
                break
            self.attempted += 1
            if monotonic_ns() - due_ns > patience_ns:
                self.missed += 1
                continue
            self._send(seq)
            if due_ns >= self._next_tick_ns:
                self._tick(seq)
        self._serve_stragglers()
        self.clock.append(clock_pair())

    def _serve_until(self, due_ns: int) -> None:
        """Read what comes until then, or until asked to stop. At least one look, so that a late sender still reads."""
        # epoll itself knows only whole milliseconds; its descriptor can be waited for with a finer clock.
        waiting: tuple[Any, ...] = (self._poll, self._job.stop_fd)
        while not self._job.stopping:
            left_ns = due_ns - monotonic_ns()
            ready, _, _ = select.select(waiting, (), (), max(left_ns, 0) / 1e9)
            if self._poll in ready:
                self._read_all()
            elif left_ns <= 0:
                return
            if monotonic_ns() >= due_ns:
                return

    def _read_all(self) -> None:
        for descriptor, events in self._poll.poll(0):
            flow = self._flow_of[descriptor]
            if events & ~select.EPOLLIN:
                while self._join_transmit_stamp(flow):
                    pass
            if events & select.EPOLLIN:
                self._read_reply(flow)

    def _serve_stragglers(self) -> None:
        """The last packets have as long to come back as all others, also if asked to stop."""
        now_ns = monotonic_ns()
        end_ns = now_ns + (min(self._stream.wait_ns, _STOPPED_WAIT_NS) if self._job.stopping else self._stream.wait_ns)
        settled_ns = now_ns + min(_SETTLED_WAIT_NS, self._stream.wait_ns)
        while (left_ns := (end_ns if self.session.received < self.sent else settled_ns) - monotonic_ns()) > 0:
            if select.select((self._poll,), (), (), left_ns / 1e9)[0]:
                self._read_all()

    def _tick(self, seq: int) -> None:
        pair = clock_pair()
        self.clock.append(pair)
        self._next_tick_ns = pair[0] + _TICK_NS
        self._records.release(seq)
        self._job.live({"sent": self.sent, "received": self.session.received})

    # --- one packet

    def _send(self, seq: int) -> None:
        flow = self._order[seq]
        now_ns = time_ns()
        self.session.write(seq, now_ns)
        try:
            self._socks[flow].sendto(self.session.packet, socket.MSG_DONTWAIT, self._stream.peer)
        except OSError as error:
            self.session.sent(seq, now_ns, failed=True)
            self.send_errors[errorcode.get(error.errno or 0, str(error.errno))] += 1
        else:
            self.session.sent(seq, now_ns)
            self.sent += 1
            self._join_transmit_stamp(flow)  # most often it is back already: spares a turn of the loop

    def _join_transmit_stamp(self, flow: int) -> bool:
        joined = self._stamps[flow].read()
        if joined is None:
            return False
        self.session.transmitted(*joined)
        return True

    def _read_reply(self, flow: int) -> None:
        try:
            size, ancillary, _, address = self._socks[flow].recvmsg_into(
                self._buffers, timestamps.ANCILLARY_BYTES, socket.MSG_DONTWAIT
            )
        except OSError:  # nothing there after all, or the peer's ICMP
            return
        now_ns = time_ns()
        if not self._is_of(flow, size):
            self.session.refused[OTHER_FLOW] += 1
            return
        kernel_ns, ttl, tos = timestamps.of_received(ancillary)
        t4_ns, source = (kernel_ns, KERNEL) if kernel_ns else (now_ns, USER)
        duplicate = self.session.take(self._reply, size, address, t4_ns, source, ttl, tos)
        if duplicate is not None:
            self._keep_duplicate(duplicate)

    def _is_of(self, flow: int, size: int) -> bool:
        """Whether the reply names a packet that was sent through the socket that it came to."""
        if size < OPEN.base_bytes:
            return True  # the session says what is wrong with it
        seq = OPEN.read_reply(self._reply).sender_seq
        return seq >= len(self._order) or self._order[seq] == flow

    def _keep_duplicate(self, record: bytes) -> None:
        """Rare enough to open the file each time."""
        with self._duplicates_path.open("ab") as file:
            file.write(record if file.tell() else records.HEADER + record)

    # --- the account

    def figures(self) -> dict[str, Any]:
        """The counts, for ``result.json``. ``sent`` + ``missed`` + ``send_errors`` = ``attempted``."""
        session = self.session
        replies = session.received + session.duplicates
        return {
            "attempted": self.attempted,
            "sent": self.sent,
            "missed": self.missed,
            "send_errors": sum(self.send_errors.values()),
            "send_error_names": dict(self.send_errors),
            **session.figures(),
            "stamps": {
                "t1": {"kernel": session.kernel_t1, "user": self.sent - session.kernel_t1},
                "t4": {"kernel": session.kernel_t4, "user": replies - session.kernel_t4},
            },
            "clock": self.clock,
        }
