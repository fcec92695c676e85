"""The sending end of a load: phase after phase, paced.

A phase whose rate the receiver steers goes on as long as that reports. One of a rate that is ordered goes through an
outage to its end, as that is what it is there to see; its plan, the change window, the guard and the lease bound it.

Packets that are due go out together, as many as a quarter of a millisecond holds; what could not be sent within the
phase's patience, two milliseconds if nothing is said, is not sent later, in a burst that nobody ordered, but counted
(``shed``). A burst that is ordered is a number of packets: what is late in it moves the rest of it.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic_ns, time_ns
from typing import Any

from perfagent.jobs import Job
from perfagent.load import packet
from perfagent.load.phases import Bursts, Phase
from perfagent.load.rows import Rows
from perfagent.load.search import Search
from perfagent.load.volley import Volley
from perfagent.wire import Code, Fault

COLUMNS = ("t_ns", "phase", "packets", "rate_bps")
SILENCE_NS = 500_000_000
"""Without a report for so long nobody is there, or the way back is cut: a load that is steered ends."""
_WAKE_NS = 250_000
_ROW_NS = 10_000_000
_LISTEN_NS = 5_000_000
_LINGER_NS = 300_000_000
_ENDS = 5
"""Packets that say that all has been sent; any of them may be lost."""
_CONTACT_NS = 100_000_000
CONTACT_S = 5.0
_SEND_BUFFER_BYTES = 1 << 20


class Sender:
    """Plays the phases over a socket that is connected to the receiver."""

    def __init__(
        self,
        job: Job,
        sock: socket.socket,
        token: int,
        phases: Sequence[Phase],
        overhead_bytes: int,
        row_ns: int,
    ) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        sock.setblocking(False)
        self._job = job
        self._sock = sock
        self._token = token
        self._phases = phases
        self._overhead_bytes = overhead_bytes
        self._row_ns = max(row_ns, _ROW_NS)
        self._rows = Rows(job.folder / "sent.jsonl", COLUMNS)
        self._search: Search | None = None
        self._searching = False
        self._number = 0
        """Of the next packet."""
        self._heard_ns = monotonic_ns()
        self._unheard_ns = 0
        """The longest time without a report, where that was longer than SILENCE_NS."""
        self._refused = False
        """Since the last report the peer's host said that nobody has the port open."""
        self._listen_ns = 0
        self.rtt_ns: int | None = None
        self.ended = "by itself"
        self.told: list[dict[str, Any]] = []

    def play(self) -> None:
        """All phases, or until the job is stopped, or nobody reports any more to one that is steered."""
        with self._rows:
            for index, phase in enumerate(self._phases):
                if not self._goes_on(phase):
                    break
                self._play(index, phase)
        for _ in range(_ENDS):
            self._tell(packet.END)
            time.sleep(_LINGER_NS / _ENDS / 1e9)

    def call(self) -> None:
        """Say hello until the receiver reports. Raises Fault(TOOL_FAILED) when it does not."""
        until_s = time.monotonic() + CONTACT_S
        while not self._job.stopping and time.monotonic() < until_s:
            self._tell(packet.HELLO)
            if select.select([self._sock], [], [], _CONTACT_NS / 1e9)[0] and self._listen():
                return
        raise Fault(Code.TOOL_FAILED, f"the receiver of the load did not answer within {CONTACT_S:g} s")

    def _play(self, index: int, phase: Phase) -> None:
        if phase.search is not None:
            self._search = Search(phase.search, (phase.packet_bytes + self._overhead_bytes) * 8)
            self._searching = True
        first = self._number
        told: dict[str, Any] = {"name": phase.name, "packet_bytes": phase.packet_bytes, "rate_bps": self._rate(phase)}
        told.update(first=first, packets=0, started_ns=time_ns(), ended_ns=0, late_ns=0, shed=0, blocked=0)
        self.told.append(told)
        self._listen()
        self._row(index, phase)
        if phase.idle:
            self._rest(phase, monotonic_ns() + round(phase.seconds * 1e9))
        elif phase.bursts is not None:
            self._bursts(index, phase, phase.bursts, told)
        else:
            self._load(index, phase, told)
        if self._searching and self._search is not None:
            self._search.out_of_time()
            self._searching = False
        told.update(rate_bps=self._rate(phase), packets=self._number - first, ended_ns=time_ns())
        self._row(index, phase)

    def _rest(self, phase: Phase, end_ns: int) -> None:
        while self._goes_on(phase) and monotonic_ns() < end_ns:
            time.sleep(max(0.0, min(end_ns - monotonic_ns(), _ROW_NS)) / 1e9)
            self._listen()

    def _load(self, index: int, phase: Phase, told: dict[str, Any]) -> None:
        volley = Volley(self._sock, self._token, index, phase.packet_bytes)
        now_ns = monotonic_ns()
        end_ns, row_ns = now_ns + round(phase.seconds * 1e9), now_ns + self._row_ns
        rate_bps, since_ns, done = 0, now_ns, 0
        """``done``: packets of this rate that were sent or shed."""
        packets_per_ns, most_late = 0.0, 0
        while now_ns < end_ns and self._goes_on(phase):
            if (wanted := self._rate(phase)) != rate_bps:
                rate_bps, since_ns, done = wanted, now_ns, 0
                packets_per_ns = rate_bps / 8e9 / (phase.packet_bytes + self._overhead_bytes)
                burst = max(1, int(packets_per_ns * _WAKE_NS))
                most_late = max(burst * 2, int(packets_per_ns * phase.patience_s * 1e9))
            due = int((now_ns - since_ns) * packets_per_ns) - done
            if due > most_late:
                told["late_ns"] = max(told["late_ns"], round(due / packets_per_ns))
                told["shed"] += due - most_late
                done += due - most_late
                due = most_late
            sent = self._send(volley, due, told) if due >= burst else 0
            done += sent
            now_ns = monotonic_ns()
            if now_ns >= row_ns:
                row_ns = now_ns + self._row_ns
                self._row(index, phase)
                self._job.live({"phase": phase.name, "rate_bps": rate_bps})
            if now_ns >= self._listen_ns:
                self._listen()
                if self._searching and self._search is not None and self._search.ended:
                    return
            next_ns = since_ns + int((done + burst) / packets_per_ns)
            if next_ns > now_ns:
                time.sleep(min(next_ns - now_ns, _ROW_NS) / 1e9)
                now_ns = monotonic_ns()

    def _bursts(self, index: int, phase: Phase, bursts: Bursts, told: dict[str, Any]) -> None:
        volley = Volley(self._sock, self._token, index, phase.packet_bytes)
        end_ns = monotonic_ns() + round(phase.seconds * 1e9)
        told["burst_ns"] = 0
        for _ in range(bursts.times):
            told["burst_ns"] += self._burst(volley, phase, bursts.packets, end_ns, told)
            self._row(index, phase)
            self._rest(phase, min(end_ns, monotonic_ns() + round(bursts.rest_s * 1e9)))

    def _burst(self, volley: Volley, phase: Phase, packets: int, end_ns: int, told: dict[str, Any]) -> int:
        """How long it took from its first packet to its last. It is never ahead of its rate, reckoned from the first
        packet: no bucket has to hold more than was ordered."""
        packets_per_ns = self._rate(phase) / 8e9 / (phase.packet_bytes + self._overhead_bytes)
        together = max(1, int(packets_per_ns * _WAKE_NS))
        most_late = max(together * 2, int(packets_per_ns * phase.patience_s * 1e9))
        first_ns = since_ns = last_ns = now_ns = monotonic_ns()
        sent = 0
        while sent < packets and now_ns < end_ns and self._goes_on(phase):
            if not sent:
                first_ns = since_ns = last_ns = now_ns
            due = min(packets, 1 + int((now_ns - since_ns) * packets_per_ns)) - sent
            if due > most_late:
                late_ns = int((due - most_late) / packets_per_ns)
                told["late_ns"] = max(told["late_ns"], late_ns)
                since_ns, due = since_ns + late_ns, most_late
            if not sent or due >= min(together, packets - sent):
                took = self._send(volley, due, told)
                sent, last_ns = sent + took, now_ns if took else last_ns
            now_ns = monotonic_ns()
            if now_ns >= self._listen_ns:
                self._listen()
            next_ns = since_ns + int((min(packets, sent + together) - 1) / packets_per_ns)
            if sent < packets and next_ns > now_ns:
                time.sleep(min(next_ns - now_ns, _ROW_NS) / 1e9)
                now_ns = monotonic_ns()
        return last_ns - first_ns

    def _send(self, volley: Volley, due: int, told: dict[str, Any]) -> int:
        """How many of ``due`` the socket took."""
        left = due
        while left:
            count = min(left, volley.most)
            if not volley.send(self._number, count):
                self._refused |= volley.refused
                told["blocked"] += 1
                select.select([], [self._sock], [], 0.001)
                break
            self._number += count
            left -= count
        return due - left

    def _rate(self, phase: Phase) -> int:
        """What to aim at now; 0 while resting."""
        if phase.rate_bps is not None:
            return phase.rate_bps
        if self._search is None:
            return 0
        if phase.times_found is not None:
            times = round((self._search.found_bps or self._search.rate_bps) * phase.times_found)
            return times if phase.most_bps is None else min(times, phase.most_bps)
        return self._search.rate_bps

    def _listen(self) -> bool:
        """Read the reports that wait; whether there was one."""
        now_ns = monotonic_ns()
        self._listen_ns = now_ns + _LISTEN_NS
        found = False
        while True:
            try:
                data = self._sock.recv(packet.REPORT_BYTES + 1)
            except BlockingIOError:
                return found
            except OSError as error:  # an ICMP error that was pending
                self._refused |= isinstance(error, ConnectionRefusedError)
                continue
            report = packet.read_report(data, self._token)
            if report is None:
                continue
            found, self._heard_ns, self._refused = True, now_ns, False
            if report.highest:
                rtt_ns = time_ns() - report.sent_ns - report.ago_ns
                self.rtt_ns = rtt_ns if self.rtt_ns is None else min(self.rtt_ns, rtt_ns)
            if self._searching and self._search is not None:
                self._search.heard(report, self._number)

    def _goes_on(self, phase: Phase) -> bool:
        if self._job.stopping:
            self.ended = "stopped"
            return False
        silent_ns = monotonic_ns() - self._heard_ns
        if silent_ns <= SILENCE_NS or self._listen():
            return True
        self._unheard_ns = max(self._unheard_ns, silent_ns)
        if phase.rate_bps is not None and not self._refused:
            return True
        self.ended = f"the receiver reported nothing for {SILENCE_NS / 1e9:g} s"
        return False

    def _tell(self, kind: int) -> None:
        with suppress(OSError):  # full, or a pending ICMP error: there will be others
            self._sock.send(packet.control(self._token, kind, self._number, time_ns()))

    def _row(self, index: int, phase: Phase) -> None:
        self._rows.add(time_ns(), index, self._number, self._rate(phase))

    def figures(self) -> dict[str, Any]:
        """For ``result.json``."""
        return {
            "role": "sender",
            "phases": self.told,
            "search": None if self._search is None else self._search.figures(),
            "rtt_ns": self.rtt_ns,
            "unheard_ns": self._unheard_ns,
            "cpu_ns": time.process_time_ns(),
            "ended": self.ended,
        }
