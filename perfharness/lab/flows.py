"""What a line did to each flow: the truth for a stream of probes, whatever else crosses beside it."""

from __future__ import annotations

from typing import Any

from perfharness.lab.distribution import Times
from perfharness.lab.frames import UDP, Flow, flow_key, flow_of

MOST_FLOWS = 1024
MOST_RUNS = 10_000
"""Of one line: what its log may grow to. The truth is written between two frames, and must not hold them up."""


class Runs:
    """How many frames in a row were lost, how often: the loss period lengths of RFC 3357 §6.3."""

    __slots__ = ("_lengths", "_now")

    def __init__(self) -> None:
        self._lengths: dict[int, int] = {}
        self._now = 0

    def lost(self) -> None:
        self._now += 1

    def passed(self) -> None:
        if self._now:
            self._lengths[self._now] = self._lengths.get(self._now, 0) + 1
            self._now = 0

    def to_json(self) -> dict[str, int]:
        """Length → how often; the last run is among them although it may not have ended."""
        lengths = dict(self._lengths)
        if self._now:
            lengths[self._now] = lengths.get(self._now, 0) + 1
        return {str(length): lengths[length] for length in sorted(lengths)}


class Log:
    """Of a watched flow: what befell which packet, numbered from 0 as they entered, and how long each took."""

    __slots__ = ("_fates", "times", "unlogged")

    def __init__(self) -> None:
        self._fates: dict[str, list[list[int]]] = {}
        self.unlogged = 0
        self.times = Times()

    def note(self, fate: str, ordinal: int, room: bool) -> bool:
        """Whether it took room: what befalls packets in a row is one entry."""
        runs = self._fates.setdefault(fate, [])
        if runs and runs[-1][0] + runs[-1][1] == ordinal:
            runs[-1][1] += 1
            return False
        if room:
            runs.append([ordinal, 1])
        else:
            self.unlogged += 1
        return room

    def to_json(self) -> dict[str, Any]:
        """``packets``: fate → [first, how many in a row]; ``unlogged``: how many more there was no room for."""
        return {
            "packets": self._fates,
            "unlogged": self.unlogged,
            **self.times.to_json(),
        }


class Track:
    """One flow on one line."""

    __slots__ = ("_highest", "dropped", "flow", "log", "member", "overtaken", "packets", "runs")

    def __init__(self, flow: Flow, members: int, watch_port: int | None) -> None:
        self.flow = flow
        self.packets = 0
        self.dropped = 0
        self.overtaken = 0
        self.runs = Runs()
        self.member: int | None = None
        self.log: Log | None = None
        self._highest = -1
        self.assign(members, watch_port)

    def assign(self, members: int, watch_port: int | None) -> None:
        """To the member that carries it, if there are any; a log that was begun goes on."""
        flow = self.flow
        self.member = flow.member(members) if members else None
        ports = (flow.source_port, flow.destination_port)
        if self.log is None and watch_port is not None and flow.protocol == UDP and watch_port in ports:
            self.log = Log()

    def left(self, ordinal: int) -> None:
        """Counts a packet that leaves after one that entered later (RFC 4737 §3)."""
        if ordinal < self._highest:
            self.overtaken += 1
        else:
            self._highest = ordinal

    def to_json(self) -> dict[str, Any]:
        told = {
            "flow": self.flow._asdict(),
            "member": self.member,
            "packets": self.packets,
            "dropped": self.dropped,
            "loss_runs": self.runs.to_json(),
            "overtaken": self.overtaken,
        }
        return told if self.log is None else {**told, "log": self.log.to_json()}


class Flows:
    """The first ``MOST_FLOWS`` flows of a line; frames of any further one are counted together."""

    def __init__(self) -> None:
        self.untracked = 0
        self._tracks: dict[bytes, Track] = {}
        self._runs_logged = 0

    def track(self, frame: bytes, members: int, watch_port: int | None) -> Track:
        """The frame's flow; made up for this frame alone when there are too many."""
        key = flow_key(frame)
        track = self._tracks.get(key)
        if track is None:
            track = Track(flow_of(frame), members, watch_port)
            if len(self._tracks) < MOST_FLOWS:
                self._tracks[key] = track
            else:
                self.untracked += 1
        return track

    def reassign(self, members: int, watch_port: int | None) -> None:
        """The line's members have changed, or what is watched; a log that was begun goes on."""
        for track in self._tracks.values():
            track.assign(members, watch_port)

    def note(self, log: Log, fate: str, ordinal: int) -> None:
        self._runs_logged += log.note(fate, ordinal, self._runs_logged < MOST_RUNS)

    def to_json(self) -> list[dict[str, Any]]:
        return [track.to_json() for track in self._tracks.values()]
