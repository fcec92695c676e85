"""The receiving end of a load: counts what comes by phase, writes down when, and reports back."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from time import monotonic_ns, time_ns
from typing import Any

from perfagent import sockets
from perfagent.jobs import Job
from perfagent.load import packet
from perfagent.load.batches import MOST, Batch, Batches
from perfagent.load.packet import Report
from perfagent.load.phases import MOST_PHASES, Phase, seconds_of
from perfagent.load.rows import Rows
from perfagent.load.seen import Seen

COLUMNS = ("t_ns", "phase", "packets", "bytes", "highest", "delay_ns", "drops")
REPORT_NS = 50_000_000
_GATHER_S = 0.0005
"""Packets may wait this long to be read together; their stamps are the kernel's."""
_LATE_NS = 200_000_000
"""After the end was told, for what was overtaken by it."""
MARGIN_S = 5.0
"""After the planned end of the load, for a sender that is late; what tells the end may all be lost."""


class Receiver:
    """Reads one session from a socket that is connected to the sender."""

    def __init__(self, job: Job, sock: socket.socket, token: int, phases: Sequence[Phase], row_ns: int) -> None:
        sock.setblocking(False)
        self._job = job
        self._sock = sock
        self._token = token
        self._batches = Batches(sock, token)
        self._rows = Rows(job.folder / "arrivals.jsonl", COLUMNS)
        self._row_ns = row_ns
        self._next_row_ns = 0
        self._phase = 0
        self._lasts_ns = round((seconds_of(phases) + MARGIN_S) * 1e9)
        self._seen = Seen()
        self._packets = self._bytes = 0
        self._last = (0, 0, 0)
        """Stamp, delay, sender's stamp of the last packet."""
        self._end_ns: int | None = None
        self._ended_ns = 0
        self._reports = 0
        self._report_ns = 0
        self.ended = "by itself"
        self.told: list[dict[str, Any]] = []

    def run(self) -> None:
        """Until the sender says that it was all, the job is stopped or the load must be over: silence may be an outage,
        which is to be seen whole."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        until_ns = monotonic_ns() + self._lasts_ns
        with self._rows:
            while True:
                batch = self._batches.read()
                now_ns = monotonic_ns()
                if batch is not None and batch.numbers:
                    began = bool(self._packets)
                    self._take(batch)
                    if self._packets and not began:
                        until_ns = now_ns + self._lasts_ns
                if now_ns >= self._report_ns:
                    self._report(now_ns)
                if self._over(now_ns, until_ns) and batch is None:
                    break
                if batch is None or len(batch.numbers) < MOST:
                    poll.poll(max(1, (self._report_ns - now_ns) // 1_000_000))
                    time.sleep(_GATHER_S)
            self._row(None)
        self._ended_ns = time_ns()

    def _take(self, batch: Batch) -> None:
        for (kind, phase), group in groupby(range(len(batch.numbers)), lambda i: (batch.kinds[i], batch.phases[i])):
            places = list(group)
            if kind == packet.DATA and phase < MOST_PHASES:
                self._count(phase, batch, places)
            elif kind == packet.END and self._end_ns is None:
                self._end_ns = monotonic_ns() + _LATE_NS

    def _count(self, phase: int, batch: Batch, places: list[int]) -> None:
        """Packets of one phase that came one after another."""
        while len(self.told) <= phase:
            self.told.append(
                {"packets": 0, "bytes": 0, "duplicates": 0, "reordered": 0, "first_ns": None, "last_ns": None}
            )
        first, last = places[0], places[-1] + 1
        size = sum(batch.sizes[first:last])
        duplicates, reordered = self._seen.add(batch.numbers[first:last])
        stamp_ns, sent_ns = self._batches.stamps(batch.places[last - 1])
        told = self.told[phase]
        if told["first_ns"] is None:
            told["first_ns"] = self._batches.stamps(batch.places[first])[0]
        told["last_ns"] = stamp_ns
        told["packets"] += len(places)
        told["bytes"] += size
        told["duplicates"] += duplicates
        told["reordered"] += reordered
        self._packets += len(places)
        self._bytes += size
        self._last = stamp_ns, stamp_ns - sent_ns, sent_ns
        if phase != self._phase or stamp_ns >= self._next_row_ns:
            self._row(phase)

    def _row(self, phase: int | None) -> None:
        """As of the last packet; None: once more at the end."""
        stamp_ns, delay_ns, _ = self._last
        self._phase = self._phase if phase is None else phase
        self._next_row_ns = stamp_ns + self._row_ns
        drops = sockets.receive_drops(self._sock)
        if self._packets:
            self._rows.add(stamp_ns, self._phase, self._packets, self._bytes, self._seen.highest, delay_ns, drops)

    def _report(self, now_ns: int) -> None:
        self._report_ns = now_ns + REPORT_NS
        stamp_ns, delay_ns, sent_ns = self._last
        ago_ns = time_ns() - stamp_ns if self._packets else 0
        told = Report(self._packets, self._bytes, self._seen.highest, stamp_ns, delay_ns, sent_ns, ago_ns)
        with suppress(OSError):  # full, or a pending ICMP error: the next one will go
            self._sock.send(packet.report(self._token, self._reports, time_ns(), told))
        self._reports += 1
        self._job.live({"packets": self._packets, "bytes": self._bytes})

    def _over(self, now_ns: int, until_ns: int) -> bool:
        if self._end_ns is not None:
            return now_ns >= self._end_ns
        if self._job.stopping:
            self.ended = "stopped"
        elif now_ns >= until_ns:
            self.ended = f"no end was told until {MARGIN_S:g} s after it was due"
        else:
            return False
        return True

    def figures(self) -> dict[str, Any]:
        """For ``result.json``."""
        return {
            "role": "receiver",
            "phases": self.told,
            "drops": sockets.receive_drops(self._sock),
            "foreign": self._batches.foreign,
            "unread": sockets.drain(self._sock),
            "rcvbuf_bytes": self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
            "cpu_ns": time.process_time_ns(),
            "ended": self.ended,
            "ended_ns": self._ended_ns,
        }
