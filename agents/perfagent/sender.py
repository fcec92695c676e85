"""The sending end of a probe stream: one loop, absolute deadlines, a record a packet written in place."""

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
from typing import Any, NamedTuple

from perfagent import records, sockets, stamp, timestamps
from perfagent.jobs import Job
from perfagent.realtime import clock_pair
from perfagent.records import ABSENT, HEADER_BYTES, KERNEL, RECORD, RECORD_BYTES, REMOTE, STAMP, USER
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


class Stream(NamedTuple):
    """What is sent to whom."""

    peer: tuple[str, int]
    ssid: int
    packet_bytes: int
    """Of the UDP payload."""
    packets: int
    interval_ns: int
    wait_ns: int
    """How long a reply may take."""


class Sender:
    """Sends what is due, reads what comes, and counts what is neither sent nor ours."""

    def __init__(self, job: Job, sock: socket.socket, stream: Stream) -> None:
        timestamps.enable(sock)
        sockets.set_ttl(sock, sockets.PROBE_TTL)
        self._job = job
        self._sock = sock
        self._stream = stream
        self._packet = bytearray(stream.packet_bytes)
        self._reply = bytearray(stream.packet_bytes)
        self._buffers = (self._reply,)
        self._records = RecordsInPlace(job.folder / "sender.rec", stream.packets)
        self._map = self._records.map
        self._duplicates_path = job.folder / "duplicates.rec"
        self._stamps = timestamps.TransmitStamps(sock, *stamp.mark(stream.ssid))
        self._stamps.expect(stream.packet_bytes)
        self._next_tick_ns = 0
        self._most_lead_ns = self._lead_ns = min(_MOST_LEAD_NS, stream.interval_ns // 2)
        self._rtts: deque[int] = deque(maxlen=_LIVE_REPLIES)
        self.clock: list[tuple[int, int]] = []
        self.attempted = self.sent = self.missed = self.received = self.late = 0
        self.duplicates = self.foreign = self.kernel_t1 = self.kernel_t4 = 0
        self.send_errors: Counter[str] = Counter()
        self.tos_seen: Counter[int] = Counter()

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
        if self.received < self.sent:
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
        live = {"sent": self.sent, "received": self.received}
        if self._rtts:
            live["rtt_ns_p50"] = sorted(self._rtts)[len(self._rtts) // 2]
        self._job.live(live)

    # --- one packet

    def _send(self, seq: int) -> None:
        at = HEADER_BYTES + seq * RECORD_BYTES
        now_ns = time_ns()
        stamp.write_request(self._packet, seq, now_ns, stamp.UNSYNCHRONISED, self._stream.ssid)
        try:
            self._sock.sendto(self._packet, socket.MSG_DONTWAIT, self._stream.peer)
        except OSError as error:
            RECORD.pack_into(self._map, at, seq, USER, 0, records.SEND_ERROR, 0, now_ns, 0, 0, 0)
            self.send_errors[errorcode.get(error.errno or 0, str(error.errno))] += 1
        else:
            RECORD.pack_into(self._map, at, seq, USER, 0, records.SENT, 0, now_ns, 0, 0, 0)
            self.sent += 1
            self._join_transmit_stamp()  # most often it is back already: spares a turn of the loop

    def _join_transmit_stamps(self) -> None:
        while self._join_transmit_stamp():
            pass

    def _join_transmit_stamp(self) -> bool:
        joined = self._stamps.read()
        if joined is None:
            return False
        seq, sent_ns = joined
        at = HEADER_BYTES + seq * RECORD_BYTES
        self._map[at + records.SOURCES12] = self._map[at + records.SOURCES12] & 0xF0 | KERNEL
        STAMP.pack_into(self._map, at + records.T1, sent_ns)
        self.kernel_t1 += 1
        return True

    def _read_reply(self) -> None:
        try:
            size, ancillary, _, address = self._sock.recvmsg_into(
                self._buffers, timestamps.ANCILLARY_BYTES, socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return
        now_ns = time_ns()
        reply = self._reply_of_ours(size, address)
        if reply is None:
            self.foreign += 1
            return
        kernel_ns, ttl, tos = timestamps.of_received(ancillary)
        t4_ns, source = (kernel_ns, KERNEL) if kernel_ns else (now_ns, USER)
        self.kernel_t4 += source == KERNEL
        self.tos_seen[tos] += 1
        self._record_reply(reply, t4_ns, source, ttl)

    def _reply_of_ours(self, size: int, address: tuple[Any, ...]) -> stamp.Reply | None:
        """The reply, if it is one to a packet of this session that was sent."""
        if address[:2] != self._stream.peer or size < stamp.BASE_BYTES:
            return None
        reply = stamp.read_reply(self._reply)
        if reply.ssid != self._stream.ssid or reply.sender_seq >= self._stream.packets:
            return None
        at = HEADER_BYTES + reply.sender_seq * RECORD_BYTES
        return reply if self._map[at + records.FLAGS] & records.SENT else None

    def _record_reply(self, reply: stamp.Reply, t4_ns: int, source: int, ttl: int) -> None:
        at = HEADER_BYTES + reply.sender_seq * RECORD_BYTES
        seq, sources12, _, flags, _, t1_ns, *_ = RECORD.unpack_from(self._map, at)
        again = flags & records.REPLIED
        sources12 = sources12 & 0x0F | (REMOTE << 4 if reply.receive_ns else ABSENT)
        sources34 = source << 4 | (REMOTE if reply.transmit_ns else ABSENT)
        flags = records.SENT | records.REPLIED
        if t4_ns - t1_ns > self._stream.wait_ns:
            flags |= records.LATE
        fields = (seq, sources12, sources34, flags, ttl, t1_ns, reply.receive_ns, reply.transmit_ns, t4_ns)
        if again:
            self.duplicates += 1
            self._keep_duplicate(RECORD.pack(*fields))
            return
        RECORD.pack_into(self._map, at, *fields)
        self.received += 1
        self.late += flags & records.LATE > 0
        self._rtts.append(t4_ns - t1_ns - (reply.transmit_ns - reply.receive_ns))

    def _keep_duplicate(self, record: bytes) -> None:
        """Rare enough to open the file each time."""
        with self._duplicates_path.open("ab") as file:
            file.write(record if file.tell() else records.HEADER + record)

    # --- the account

    def figures(self) -> dict[str, Any]:
        """The counts, for ``result.json``. ``sent`` + ``missed`` + ``send_errors`` = ``attempted``."""
        received = self.received + self.duplicates
        return {
            "attempted": self.attempted,
            "sent": self.sent,
            "missed": self.missed,
            "send_errors": sum(self.send_errors.values()),
            "send_error_names": dict(self.send_errors),
            "received": self.received,
            "late": self.late,
            "duplicates": self.duplicates,
            "foreign": self.foreign,
            "tx_stamps": self.kernel_t1,
            "stamps": {
                "t1": {"kernel": self.kernel_t1, "user": self.sent - self.kernel_t1},
                "t4": {"kernel": self.kernel_t4, "user": received - self.kernel_t4},
            },
            "tos_seen": {str(tos): n for tos, n in sorted(self.tos_seen.items())},
            "clock": self.clock,
        }
