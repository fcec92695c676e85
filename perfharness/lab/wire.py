"""The circuit as a process: a TAP in each router, and between them a ``line`` in each direction.

Usage: ``python -m perfharness.lab.wire CONFIG TRUTH``. CONFIG (JSON) is read again on SIGHUP, so that a
fault begins and ends while frames are on the way. TRUTH (JSON) says, about twice a second and at the end, what
was done to how many frames, and how late the wire itself was.

Behind the kernel's meter, 5 ms each way, beside an iperf3 at each end, on 2 cores, one way; in no case was a frame
lost here (``unread``), the sender falls short instead, since the wire has the higher priority:

- 8500 bytes: 50 to 1000 Mbit/s in full (UDP 965, policed TCP 906 of 1000), late by less than 0.6 ms (p99);
- 1500 bytes: 50 and 200 Mbit/s in full (UDP 188, policed TCP 185 of 200), late by 0.1 ms beside UDP, 2 ms beside TCP;
- 1500 bytes, 500 Mbit/s: policed TCP 400 to 440; UDP 470 on an idle machine, 250 to 330 beside other work; late by
  0.4 to 8 ms;
- 1500 bytes, 1000 Mbit/s: policed TCP 630 to 660, UDP 260 to 710: too much. Without a delay the kernel carries that.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import Any

from perfharness.lab.distribution import Distribution, Times
from perfharness.lab.line import Line, Passage
from perfharness.lab.linespec import LineSpec
from perfharness.lab.namespaces import entered
from perfharness.lab.realtime import Timer, keep_processors_awake, prefer_me
from perfharness.lab.scribe import Scribe
from perfharness.model import Direction

FORMAT_VERSION = 1
TAP = "wan"
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
LONGEST_FRAME = 65_550
BATCH = 64
"""Frames read from one TAP before those that are due are let go."""
SPIN_NS = 50_000
"""This close to a release the wire polls instead of sleeping: waking up would take as long."""
SPARSE_NS = 4 * SPIN_NS
"""But only this long after the last: the kernel stops a real-time process that never sleeps for 50 ms."""
TRUTH_EVERY_NS = 500_000_000
TRUTH_SHARE = 400
"""But no more often than costs one such part of the time: with a thousand flows it takes 10 ms to tell."""


@dataclass(frozen=True, slots=True)
class Config:
    seed: int
    near: str
    """Namespace of the on-prem end."""
    far: str
    lines: dict[Direction, LineSpec]

    def to_json(self) -> dict[str, Any]:
        lines = {str(direction): line.to_json() for direction, line in self.lines.items()}
        return {
            "format_version": FORMAT_VERSION,
            "seed": self.seed,
            "near": self.near,
            "far": self.far,
            "lines": lines,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Config:
        """Raises KeyError, TypeError or ValueError for what it does not know."""
        if data["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {data['format_version']} is not {FORMAT_VERSION}")
        lines = {direction: LineSpec.from_json(data["lines"][direction]) for direction in DIRECTIONS}
        return cls(data["seed"], data["near"], data["far"], lines)


DIRECTIONS = (Direction.A_Z, Direction.Z_A)


class Way:
    """One direction: the model, the TAPs it leads from and to, and what happened at its exit."""

    def __init__(self, spec: LineSpec, seed: int, source: int, target: int) -> None:
        self.line = Line(spec, seed)
        self.source = source
        self.target = target
        self.packets = 0
        self.bytes = 0
        self.refused = 0
        self.overtaken = 0
        self.times = Times()
        self._highest = -1

    def deliver(self, passage: Passage) -> None:
        track = passage.track
        try:
            os.write(self.target, passage.frame)
        except OSError:  # the interface at the far end is down
            self.refused += 1
            self.line.note(track, "far-end", passage.ordinal)
            return
        now_ns = monotonic_ns()
        self.packets += 1
        self.bytes += len(passage.frame)
        self.times.add(passage.arrived_ns, passage.release_ns, now_ns)
        if passage.copy:
            return
        if passage.number < self._highest:
            self.overtaken += 1
        else:
            self._highest = passage.number
        if track is not None:
            track.left(passage.ordinal)
            if track.log is not None:
                track.log.times.add(passage.arrived_ns, passage.release_ns, now_ns)

    def truth(self, waiting: int) -> dict[str, Any]:
        """``in`` + ``duplicated`` = ``out`` + all ``dropped`` + ``waiting``; bytes are of untagged frames.

        ``overtaken``: frames that left after one that had entered later. ``loss_runs`` know nothing of what the
        far end refused, for that shows only when a frame leaves.
        """
        line = self.line
        return {
            "in": {"packets": line.packets, "bytes": line.bytes},
            "out": {"packets": self.packets, "bytes": self.bytes},
            "waiting": waiting,
            "dropped": {**line.dropped, "far-end": self.refused},
            "overtaken": self.overtaken,
            **self.times.to_json(),
            **line.to_json(),
        }


class Wire:
    """The loop: frames in, a heap of those on the way, frames out when their time has come."""

    def __init__(self, config: Config, near: int, far: int, scheduler: str) -> None:
        a_z, z_a = (config.lines[direction] for direction in DIRECTIONS)
        self.ways = (Way(a_z, config.seed, near, far), Way(z_a, config.seed + 1, far, near))
        self.scheduler = scheduler
        self.started_ns = time_ns()
        self.refused_config: str | None = None
        self.away = Distribution()
        """For how long at a time the TAPs were not looked at: a frame may have waited so before it was seen."""
        self._due: list[tuple[int, int, Way, Passage]] = []
        """(release, number, …): the number keeps equal releases in order."""
        self._number = 0
        self._timer = Timer()
        self._armed_ns = 0
        self._last_ns = 0

    def run(self, scribe: Scribe, config_file: Path) -> None:
        """Until SIGTERM, or until a TAP is gone."""
        poll, signals, tick = select.epoll(), _signals(), Timer()
        sources = {way.source: way for way in self.ways}
        for fd in (*sources, signals, self._timer.fd, tick.fd):
            poll.register(fd, select.EPOLLIN)
        tick.set(monotonic_ns())
        back_ns = monotonic_ns()
        while True:
            timeout = self._release()
            if timeout:  # not in the midst of a spin
                self.away.add(monotonic_ns() - back_ns)
            events = poll.poll(timeout)
            back_ns = monotonic_ns()
            for fd, event in events:
                if fd in sources:
                    if event & (select.EPOLLERR | select.EPOLLHUP):
                        return
                    self._accept(sources[fd])
                elif fd == self._timer.fd:
                    self._timer.clear()
                elif fd == tick.fd:
                    tick.clear()
                    scribe.write(self.truth())
                    told_ns = monotonic_ns()
                    tick.set(told_ns + max(TRUTH_EVERY_NS, (told_ns - back_ns) * TRUTH_SHARE))
                else:
                    received = os.read(signals, 64)
                    if signal.SIGTERM in received:
                        return
                    self._reconfigure(config_file)
                    scribe.write(self.truth())

    def truth(self) -> str:
        """JSON on one line: with line breaks Python takes ten times as long for it."""
        directions = {
            str(direction): way.truth(sum(1 for entry in self._due if entry[2] is way))
            for direction, way in zip(DIRECTIONS, self.ways, strict=True)
        }
        told = {
            "format_version": FORMAT_VERSION,
            "started_ns": self.started_ns,
            "written_ns": time_ns(),
            "scheduler": self.scheduler,
            "refused_config": self.refused_config,
            "away_ns": self.away.to_json(),
            "directions": directions,
        }
        return json.dumps(told)

    def _accept(self, way: Way) -> None:
        for _ in range(BATCH):
            try:
                frame = os.read(way.source, LONGEST_FRAME)
            except OSError:  # no more for now, or the interface is down
                return
            now_ns = monotonic_ns()
            for passage in way.line.offer(now_ns, frame):
                self._number += 1
                heappush(self._due, (passage.release_ns, self._number, way, passage))

    def _release(self) -> int:
        """Let go what is due; returns the time-out for the poll: 0 = look again at once, -1 = sleep."""
        due = self._due
        while due and due[0][0] <= monotonic_ns():
            self._last_ns, _, way, passage = heappop(due)
            way.deliver(passage)
        if not due:
            return -1
        wake_ns = next_ns = due[0][0]
        if next_ns - self._last_ns >= SPARSE_NS:
            wake_ns -= SPIN_NS
            if wake_ns <= monotonic_ns():
                return 0
        if wake_ns != self._armed_ns:
            self._armed_ns = wake_ns
            self._timer.set(wake_ns)
        return -1

    def _reconfigure(self, config_file: Path) -> None:
        try:
            lines = read_config(config_file).lines
        except (OSError, KeyError, TypeError, ValueError) as error:
            self.refused_config = str(error)
            return
        self.refused_config = None
        for direction, way in zip(DIRECTIONS, self.ways, strict=True):
            way.line.play(lines[direction])


def read_config(path: Path) -> Config:
    return Config.from_json(json.loads(path.read_text(encoding="utf-8")))


def open_tap(namespace: str) -> int:
    with entered(namespace):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", TAP.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def _signals() -> int:
    """A descriptor that yields the number of each SIGTERM and SIGHUP as a byte."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    writer.detach()
    return reader.detach()


def main(config_file: Path, truth_file: Path) -> None:
    config = read_config(config_file)
    near, far = open_tap(config.near), open_tap(config.far)
    spinners = keep_processors_awake()
    wire = Wire(config, near, far, prefer_me())
    scribe = Scribe(truth_file)
    gc.disable()  # nothing here is cyclic, and a collection would hold frames up
    try:
        wire.run(scribe, config_file)
    finally:
        scribe.write(wire.truth())
        scribe.close()
        for spinner in spinners:
            os.kill(spinner, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
