"""The sending end of a probe stream: one loop with absolute deadlines around ``stamp.sending``."""

from __future__ import annotations

import mmap
import os
import socket
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from errno import errorcode
from pathlib import Path
from select import select
from time import monotonic_ns, time_ns
from typing import Any

from perfagent import records, sockets, timestamps
from perfagent.jobs import Job
from perfagent.realtime import clock_pair
from perfagent.records import HEADER_BYTES, KERNEL, RECORD_BYTES, USER
from perfagent.stamp.packet import OPEN, Form
from perfagent.stamp.sending import Sending, Stream
from perfagent.wire import Code, Fault

_TICK_NS = 1_000_000_000
_SETTLED_WAIT_NS = 200_000_000
"""How long a duplicate is waited for when all answers are there."""
_STOPPED_WAIT_NS = 3_000_000_000
"""For stragglers after a request to stop: the agent kills a job that has not ended 5 s after it."""
_LIVE_REPLIES = 101
"""Of which the live figure is the median: sorting them must not delay the next packet."""
_LEAD_STEP_NS = 500
_MOST_LEAD_NS = 80_000
"""Wake-ups of an idle virtual CPU are 50 to 60 µs late; at 1 kHz this costs at most 8 % of a core."""


class RecordsInPlace:
    """``sender.rec``: room for all records from the start, written through a mapping.

    What was written is in the kernel's hands at once, so that a killed prober loses nothing. Pages that are
    written out of memory again keep the process small on long streams.
    """

    def __init__(self, path: Path, count: int) -> None:
        """Raises Fault(TOOL_FAILED) when the disk cannot hold it."""
        size = HEADER_BYTES + count * RECORD_BYTES
        with path.open("w+b") as file:
            try:  # a disk that is full later would end us by SIGBUS
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                reason = f"no room for {size} bytes of samples: {error.strerror}"
                raise Fault(Code.TOOL_FAILED, reason) from error
            file.write(records.HEADER)
            file.flush()
            self.map = mmap.mmap(file.fileno(), size)
        self._released = 0

    def release(self, seq: int) -> None:
        """Let go of the memory (not of the data) of all records before ``seq``."""
        end = (HEADER_BYTES + seq * RECORD_BYTES) // mmap.PAGESIZE * mmap.PAGESIZE
        if end > self._released:
            self.map.madvise(mmap.MADV_DONTNEED, self._released, end - self._released)
            self._released = end


class Sender:
    """Sends what is due, reads what comes, and counts what is neither sent nor ours."""

    def __init__(self, job: Job, sock: socket.socket, stream: Stream, form: Form = OPEN) -> None:
        """Raises Fault(BAD_ARGUMENT, TOOL_FAILED)."""
        timestamps.enable(sock)
        sockets.set_ttl(sock, sockets.PROBE_TTL)
        self._job = job
        self._sock = sock
        self._stream = stream
        self._reply = bytearray(stream.packet_bytes)
        self._buffers = (self._reply,)
        self._records = RecordsInPlace(job.folder / "sender.rec", stream.packets)
        try:
            self.session = Sending(form, stream, self._records.map)
        except ValueError as error:
            raise Fault(Code.BAD_ARGUMENT, str(error)) from error
        self._packet = self.session.packet
        self._duplicates_path = job.folder / "duplicates.rec"
        self._stamps = timestamps.TransmitStamps(sock, *form.mark(stream.error_word, stream.ssid))
        self._stamps.expect(stream.packet_bytes)
        self._next_tick_ns = 0
        self._most_lead_ns = self._lead_ns = min(_MOST_LEAD_NS, stream.interval_ns // 2)
        self._rtts: deque[int] = deque(maxlen=_LIVE_REPLIES)
        self.clock: list[tuple[int, int]] = []
        self.attempted = self.sent = self.missed = 0
        self.send_errors: Counter[str] = Counter()

    # --- the loop

    def run(self, due: Iterable[int]) -> None:
        """Send packet i at ``due[i]`` (CLOCK_MONOTONIC) or, if an interval too late, not at all."""
        for seq, due_ns in enumerate(due):
            self._serve_until(due_ns)
            if self._job.stopping:
                break
            self.attempted += 1
            if monotonic_ns() - due_ns > self._stream.interval_ns:
                self.missed += 1
                continue
            self._send(seq)
            if due_ns >= self._next_tick_ns:
                self._tick(seq)
        self._serve_stragglers()
        self.clock.append(clock_pair())

    def _serve_until(self, due_ns: int) -> None:
        """Read replies and transmit stamps until then, or until asked to stop.

        A sleeping CPU wakes late by tens of microseconds. So the sleep ends a little early and the rest is
        spent looking at the clock; how early is learnt from how late the wake-ups are.
        """
        readers: tuple[Any, ...] = (self._sock, self._job.stop_fd)
        stamped = (self._sock,)
        wake_ns = due_ns - self._lead_ns
        while not self._job.stopping:
            left_ns = wake_ns - monotonic_ns()
            if left_ns <= 0:
                break
            ready = select(readers, (), stamped, left_ns / 1e9)
            if any(ready):
                self._read(*ready)
            else:
                self._learn_lead(monotonic_ns() > due_ns)
        while monotonic_ns() < due_ns and not self._job.stopping:
            pass

    def _learn_lead(self, late: bool) -> None:
        """Settle where one wake-up in four comes after its packet was due."""
        lead_ns = self._lead_ns + (3 * _LEAD_STEP_NS if late else -_LEAD_STEP_NS)
        self._lead_ns = min(max(lead_ns, 0), self._most_lead_ns)

    def _serve_stragglers(self) -> None:
        """The last packets have as long to come back as all others, also if asked to stop.

        When every packet has its answer, only a duplicate can still come: that is not waited for as long.
        """
        end_ns = monotonic_ns() + min(_SETTLED_WAIT_NS, self._stream.wait_ns)
        self._serve_until(end_ns)
        if self.session.received < self.sent:
            end_ns += max(0, self._stream.wait_ns - _SETTLED_WAIT_NS)
            self._serve_until(end_ns)
        end_ns = min(end_ns, monotonic_ns() + _STOPPED_WAIT_NS)
        while (left_ns := end_ns - monotonic_ns()) > 0:
            self._read(*select((self._sock,), (), (self._sock,), left_ns / 1e9))

    def _read(self, readable: Sequence[Any], _: Sequence[Any], stamped: Sequence[Any]) -> None:
        if stamped:
            self._join_transmit_stamps()
        if self._sock in readable:
            self._read_reply()

    def _tick(self, seq: int) -> None:
        """Once a second, right after a packet, when the next one is farthest away."""
        pair = clock_pair()
        self.clock.append(pair)
        self._next_tick_ns = pair[0] + _TICK_NS
        self._records.release(seq)
        live = {"sent": self.sent, "received": self.session.received}
        if self._rtts:
            live["rtt_ns_p50"] = sorted(self._rtts)[len(self._rtts) // 2]
        self._job.live(live)

    # --- one packet

    def _send(self, seq: int) -> None:
        now_ns = time_ns()
        self.session.write(seq, now_ns)
        try:
            self._sock.sendto(self._packet, socket.MSG_DONTWAIT, self._stream.peer)
        except OSError as error:
            self.session.sent(seq, now_ns, failed=True)
            self.send_errors[errorcode.get(error.errno or 0, str(error.errno))] += 1
        else:
            self.session.sent(seq, now_ns)
            self.sent += 1
            self._join_transmit_stamp()  # most often it is back already: spares a turn of the loop

    def _join_transmit_stamps(self) -> None:
        while self._join_transmit_stamp():
            pass

    def _join_transmit_stamp(self) -> bool:
        joined = self._stamps.read()
        if joined is None:
            return False
        self.session.transmitted(*joined)
        return True

    def _read_reply(self) -> None:
        try:
            size, ancillary, _, address = self._sock.recvmsg_into(
                self._buffers, timestamps.ANCILLARY_BYTES, socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return
        now_ns = time_ns()
        kernel_ns, ttl, tos = timestamps.of_received(ancillary)
        t4_ns, source = (kernel_ns, KERNEL) if kernel_ns else (now_ns, USER)
        before = self.session.received
        duplicate = self.session.take(self._reply, size, address, t4_ns, source, ttl, tos)
        if duplicate is not None:
            self._keep_duplicate(duplicate)
        elif self.session.received > before:
            self._rtts.append(self.session.last_rtt_ns)

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
            "error_word": self._stream.error_word,
            "clock": self.clock,
        }
