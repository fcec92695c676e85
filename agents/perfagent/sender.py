"""The sending end of a probe stream, over one flow or many: one loop with absolute deadlines around ``stamp.sending``.

It wakes once a packet. The kernel has stamped what came meanwhile, so that it can be read when the packet is out,
which spares the CPU a second wake-up beside a load.
"""

from __future__ import annotations

import select
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from errno import errorcode
from time import monotonic_ns, time_ns
from typing import Any

from perfagent import phc, realtime, records, schedule, sockets, timestamps
from perfagent.jobs import Job
from perfagent.realtime import clock_pair
from perfagent.record_files import RecordsInPlace
from perfagent.records import KERNEL, USER
from perfagent.stamp.packet import OPEN, Form
from perfagent.stamp.sending import Sending, Stream
from perfagent.watchman import Watchman
from perfagent.wire import Code, Fault

PRIORITY = 10
"""Of both ends: where sender and reflector share a host, the kernel wakes the one on a CPU that the other is not on.
Did the reflector outrank the sender, it would stay on the same CPU and push each packet of it out of time."""
_HEAD_START_NS = 5_000_000
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
_FIRST_LEAD_NS = 1_000_000
"""Out of the long sleep before the first packet a CPU comes later than out of any other."""
_QUIET_NS = 40_000
"""Before a packet is due nothing else is begun: a heap of replies must not delay it."""
_MOST_PUT_OFF = 16
"""Packets sent one after the other without reading what came, to catch up after a stall."""

OTHER_FLOW = "other flow"
"""Why a packet is no reply of ours, beside the reasons of ``stamp.sending``."""


class Sender:
    """Sends what is due through the socket of its flow, reads what comes, and counts what is neither sent nor ours."""

    def __init__(
        self,
        job: Job,
        socks: Sequence[socket.socket],
        stream: Stream,
        form: Form = OPEN,
        flow_of: Callable[[int], int] | None = None,
        error_word: Callable[[], int] | None = None,
        watchman: Watchman | None = None,
    ) -> None:
        """``flow_of(seq)`` is the flow, an index of ``socks``, of the packet of that number; without it, each in turn.
        ``error_word`` tells the error estimate of the packets to come, at no cost. A ``watchman`` is told of each.

        Raises Fault(BAD_ARGUMENT, TOOL_FAILED).
        """
        self._job = job
        self._socks = socks
        self._stream = stream
        self._form = form
        self._flow_of = flow_of or (lambda seq: seq % len(socks))
        self._error_word = error_word
        self._watchman = watchman
        self._reply = bytearray(max(stream.packet_bytes))
        self._buffers = (self._reply,)
        self._records = RecordsInPlace(job.folder / "sender.rec", stream.packets)
        try:
            self.session = Sending(form, stream, self._records.map)
        except ValueError as error:
            raise Fault(Code.BAD_ARGUMENT, str(error)) from error
        self._duplicates_path = job.folder / "duplicates.rec"
        mark = form.mark(stream.ssid)
        self._card = phc.of_address(socks[0].getsockname()[0])
        self._stamps = [timestamps.TransmitStamps(sock, *mark, by_card=self._card.on) for sock in socks]
        self._poll = select.epoll()
        self._flow_at = {}
        for flow, sock in enumerate(socks):
            timestamps.enable(sock, by_card=self._card.on)
            sockets.set_ttl(sock, sockets.PROBE_TTL)
            sockets.send_whole(sock)
            for packet_bytes in stream.packet_bytes:
                self._stamps[flow].expect(packet_bytes)
            self._flow_at[sock.fileno()] = flow
            self._poll.register(sock.fileno(), select.EPOLLIN)  # errors are always told
        self._next_tick_ns = self._put_off = 0
        self._lead_ns = _FIRST_LEAD_NS
        self._chores = self._each_second()
        self._most_lead_ns = min(_MOST_LEAD_NS, stream.interval_ns // 2)
        self._rtts: deque[int] = deque(maxlen=_LIVE_REPLIES)
        self.clock: list[tuple[int, int]] = []
        self.attempted = self.sent = self.missed = 0
        self.send_errors: Counter[str] = Counter()

    def close(self) -> None:
        self._poll.close()

    # --- the loop

    def play(self, drawn: Mapping[str, Any], patience_ns: int) -> dict[str, Any]:
        """``run`` the schedule drawn from these arguments of ``schedule.offsets_ns``, in real time where that may be;
        returns the account, for ``result.json``."""
        offsets_ns = schedule.offsets_ns(**drawn)
        got = realtime.enter(PRIORITY)
        start_mono_ns, start_unix_ns = (now_ns + _HEAD_START_NS for now_ns in clock_pair())
        self.run((start_mono_ns + offset_ns for offset_ns in offsets_ns), patience_ns)
        drops = [sockets.receive_drops(sock) for sock in self._socks]
        known = [count for count in drops if count is not None]
        if self.attempted < self._stream.packets:
            self._records.trim(self.attempted)
        return {
            "source_ports": [sock.getsockname()[1] for sock in self._socks],
            "start_mono_ns": start_mono_ns,
            "start_unix_ns": start_unix_ns,
            "schedule": dict(drawn),
            **self.figures(),
            "rxq_dropped": sum(known) if len(known) == len(drops) else None,
            "unread": sum(sockets.drain(sock) for sock in self._socks),
            "realtime": got,
        }

    def run(self, due: Iterable[int], patience_ns: int) -> None:
        """Send packet i at ``due[i]`` (CLOCK_MONOTONIC) or, if later than ``patience_ns`` after it, not at all."""
        self.session.write(0, time_ns())  # what runs for the first time is slow: better now than when a packet is due
        next(self._chores)
        self._read_round()
        for seq, due_ns in enumerate(due):
            if seq > 0:
                self._work_until(due_ns - _QUIET_NS)
            self._wait_until(due_ns)
            if self._job.stopping:
                break
            self.attempted += 1
            if monotonic_ns() - due_ns > patience_ns:
                self.missed += 1
            else:
                self._send(seq)
        self._serve_stragglers()
        self.clock.append(clock_pair())

    def _wait_until(self, due_ns: int) -> None:
        """Sleep until then, or until asked to stop.

        A sleeping CPU wakes late by tens of microseconds. So the sleep ends a little early and the rest is
        spent looking at the clock; how early is learnt from how late the wake-ups are.
        """
        stop_fd = self._job.stop_fd
        readers: tuple[Any, ...] = (stop_fd,) if self.session.kernel_t4 else (stop_fd, self._poll)
        wake_ns = due_ns - self._lead_ns
        while not self._job.stopping:
            left_ns = wake_ns - monotonic_ns()
            if left_ns <= 0:
                break
            if any(select.select(readers, (), (), left_ns / 1e9)):
                self._read_round()  # at once as long as the kernel does not say when a packet came
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
        now_ns, wait_ns = monotonic_ns(), self._stream.wait_ns
        settled_ns = now_ns + min(_SETTLED_WAIT_NS, wait_ns)
        while True:
            end_ns = settled_ns
            if self.session.received < self.sent:
                end_ns = now_ns + (min(_STOPPED_WAIT_NS, wait_ns) if self._job.stopping else wait_ns)
            left_ns = end_ns - monotonic_ns()
            if left_ns <= 0:
                return
            readers: tuple[Any, ...] = (self._poll,) if self._job.stopping else (self._poll, self._job.stop_fd)
            if self._poll in select.select(readers, (), (), left_ns / 1e9)[0]:
                self._read_round()

    def _work_until(self, end_ns: int) -> None:
        """What is to be done between two packets, as far as there is time. Who is late reads later, but not for ever:
        after so many packets all that came is read whatever the time, with the card's up to two stamps of each."""
        self._put_off += 1
        must = self._put_off >= _MOST_PUT_OFF or not self.session.kernel_t4
        owed = 2 * self._put_off if must else 0
        while (owed > 0 or monotonic_ns() < end_ns) and not self._job.stopping:
            if monotonic_ns() >= self._next_tick_ns:
                next(self._chores)
            elif not self._read_round():
                self._put_off = 0
                if self._watchman is not None:
                    self._watchman.look()
                return
            owed -= 1
            self._put_off = max(self._put_off - 1, 0)

    def _read_round(self) -> bool:
        """Read a transmit stamp and a reply of each flow that has any; whether there was one."""
        ready = self._poll.poll(0)
        for descriptor, events in ready:
            flow = self._flow_at[descriptor]
            if events & ~select.EPOLLIN:
                self._join_transmit_stamp(flow)
            if events & select.EPOLLIN:
                self._read_reply(flow)
        return bool(ready)

    def _each_second(self) -> Iterator[None]:
        """What is done once a second, in pieces that fit between two packets."""
        while True:
            self._note_clock()
            yield
            self._records.release(self.attempted - 1)
            yield
            live = self._live()
            yield
            self._next_tick_ns = self.clock[-1][0] + _TICK_NS
            self._job.live(live)
            yield

    def _note_clock(self) -> None:
        self.clock.append(clock_pair())
        if self._error_word is not None:
            self.session.error_word = self._error_word()
        self._card.tick(self.session.card_pairs, self.session.received)

    def _live(self) -> dict[str, int]:
        """The figures for who watches."""
        live = {"sent": self.sent, "received": self.session.received}
        if self._rtts:
            live["rtt_ns_p50"] = sorted(self._rtts)[len(self._rtts) // 2]
        return live

    # --- one packet

    def _send(self, seq: int) -> None:
        flow = self._flow_of(seq)
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
            if self._watchman is not None:
                self._watchman.sent(seq, monotonic_ns())

    def _join_transmit_stamp(self, flow: int) -> None:
        joined = self._stamps[flow].read()
        if joined is None:
            return
        seq, kernel_ns, raw_ns = joined
        if kernel_ns:
            self.session.transmitted(seq, kernel_ns)
        if card_ns := self._card.unix_ns(raw_ns):
            self.session.stamped_by_card(seq, t1_ns=card_ns, error_ns=self._card.error_ns)

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
        before = self.session.received
        duplicate = self.session.take(self._reply, size, address, t4_ns, source, ttl, tos)
        if duplicate is not None:
            self._keep_duplicate(duplicate)
        elif self.session.received > before:
            self._rtts.append(self.session.last_rtt_ns)
            if self._watchman is not None:
                self._watchman.answered(self.session.last_seq, self.session.last_rtt_ns)
            if self._card.on and (card_ns := self._card.unix_ns(timestamps.of_card(ancillary))):
                self.session.stamped_by_card(self.session.last_seq, t4_ns=card_ns, error_ns=self._card.error_ns)

    def _is_of(self, flow: int, size: int) -> bool:
        """Whether the reply names a packet that was sent through the socket that it came to."""
        if len(self._socks) == 1 or size < self._form.base_bytes or not self._form.genuine(self._reply):
            return True  # the session says what is wrong with it
        seq = self._form.read_reply(self._reply).sender_seq
        return seq >= self._stream.packets or self._flow_of(seq) == flow

    def _keep_duplicate(self, record: bytes) -> None:
        """Rare enough to open the file each time."""
        with self._duplicates_path.open("ab") as file:
            file.write(record if file.tell() else records.HEADER + record)

    # --- the account

    def figures(self) -> dict[str, Any]:
        """The counts, for ``result.json``. ``sent`` + ``missed`` + ``send_errors`` = ``attempted``."""
        session = self.session
        replies = session.received + session.duplicates
        pairs = session.card_pairs
        return {
            "attempted": self.attempted,
            "sent": self.sent,
            "missed": self.missed,
            "send_errors": sum(self.send_errors.values()),
            "send_error_names": dict(self.send_errors),
            **session.figures(),
            "stamps": {
                "t1": phc.shares(self.sent, session.kernel_t1, pairs),
                "t4": phc.shares(replies, session.kernel_t4, pairs),
            },
            "card": self._card.figures(pairs),
            "error_word": session.error_word,
            "clock": self.clock,
        }
