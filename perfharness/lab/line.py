"""One direction of a circuit, as a model: a frame in, the frames that come out and when.

No I/O, no clock, no global random: ``now`` and the seed are arguments. In the order of a real circuit:

1. the sender's tag is pushed, unless the frame carries one already;
2. a line that is cut passes nothing; a frame above the MTU is dropped in silence;
3. the rate: a shaper lets a frame wait up to ``queue_ns``, a policer drops what its bucket cannot pay;
4. the line loses frames (Gilbert–Elliott; the good state alone is independent loss), then delay and jitter, in order;
5. of a LAG, the member that carries the frame's flow does the same with its own cut, MTU, loss, delay and jitter;
6. the receiver compares the tag and pops it, or drops the frame, or takes other tags as they come;
7. packets arrive remarked, and some corrupted, held back so that later ones overtake them, or doubled.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from perfharness.lab.flows import Flows, Runs, Track
from perfharness.lab.frames import TAGGED, corrupted, packet_bytes, popped, pushed, remarked, vlan_of
from perfharness.lab.linespec import LineSpec, LinkSpec, Loss, Rate

NS_PER_S = 1_000_000_000


class Passage(NamedTuple):
    """One copy of a frame on its way through."""

    release_ns: int
    frame: bytes
    arrived_ns: int
    number: int
    """Of the frame among all that entered, from 0."""
    track: Track | None
    ordinal: int
    """Of the frame in its flow, from 0."""
    copy: bool = False


class Link:
    """The memory and the counts of one link: the line as a whole, or one member of it."""

    def __init__(self, seed: int | str) -> None:
        self.packets = 0
        self.dropped = {"cut": 0, "mtu": 0, "loss": 0}
        self.random = Random(seed)
        self._bad = False
        self._last_release_ns = 0

    def stops(self, spec: LinkSpec, frame: bytes) -> str | None:
        """Why this frame never starts, if so."""
        self.packets += 1
        if spec.cut:
            return self._drop("cut")
        if spec.mtu is not None and packet_bytes(frame) > spec.mtu:
            return self._drop("mtu")
        return None

    def loses(self, loss: Loss | None) -> str | None:
        if loss is None:
            return None
        if not loss.to_bad:
            self._bad = False
        elif self.random.random() < (loss.to_good if self._bad else loss.to_bad):
            self._bad = not self._bad
        share = loss.bad if self._bad else loss.good
        return self._drop("loss") if share > 0 and self.random.random() < share else None

    def release(self, spec: LinkSpec, sent_ns: int) -> int:
        """When the frame reaches the far end: never before one that was sent earlier."""
        release_ns = sent_ns + spec.delay_ns
        if spec.jitter_ns:
            release_ns += int(spec.jitter_quantile(self.random.random()))
        if release_ns < self._last_release_ns:
            release_ns = self._last_release_ns
        self._last_release_ns = release_ns
        return release_ns

    def _drop(self, cause: str) -> str:
        self.dropped[cause] += 1
        return cause


class Line:
    """One direction, with its memory and its counts; ``play`` changes what it does while frames are on the way."""

    def __init__(self, spec: LineSpec, seed: int) -> None:
        self.packets = 0
        self.bytes = 0
        self.dropped: dict[str, int] = dict.fromkeys(("cut", "mtu", "queue", "policer", "loss", "vlan"), 0)
        self.duplicated = 0
        self.held_back = 0
        self.corrupted = 0
        self.remarked = 0
        self.runs = Runs()
        self.flows = Flows()
        self.members: list[Link] = []
        self._seed = seed
        self._whole = Link(seed)
        self._random = self._whole.random
        self._free_ns = 0
        self._tokens: float | None = None
        self._tokens_at_ns = 0
        self.play(spec)

    def play(self, spec: LineSpec) -> None:
        """From now on; counts go on, and a member that is no longer there keeps its own."""
        self.spec = spec
        self._told = spec.to_json()
        while len(self.members) < len(spec.members):
            self.members.append(Link(f"{self._seed}, member {len(self.members)}"))
        self._tracks = bool(spec.members) or spec.watch_port is not None
        self._only_delays = spec.only_delays
        self.flows.reassign(len(spec.members), spec.watch_port)

    def offer(self, now_ns: int, frame: bytes) -> tuple[Passage, ...]:
        """An Ethernet frame enters at ``now_ns``; each copy of it that will leave, and when (``release_ns``)."""
        spec = self.spec
        number, ordinal, track = self.packets, 0, None
        self.packets += 1
        self.bytes += len(frame)
        if self._only_delays and frame[12:14] != TAGGED:  # the same as below, in a third of the time
            self.runs.passed()
            return (Passage(self._whole.release(spec, now_ns), frame, now_ns, number, None, 0),)
        if self._tracks:
            track = self.flows.track(frame, len(spec.members), spec.watch_port)
            ordinal = track.packets
            track.packets += 1
        crossed = self._cross(spec, now_ns, frame, track)
        if isinstance(crossed, str):
            self.dropped[crossed] += 1
            self.runs.lost()
            if track is not None:
                track.dropped += 1
                track.runs.lost()
                self.note(track, "dropped", ordinal)
            return ()
        self.runs.passed()
        if track is not None:
            track.runs.passed()
        return self._leave(spec, Passage(*crossed, now_ns, number, track, ordinal))

    def to_json(self) -> dict[str, Any]:
        """Members by their number; flows (at most 1024) only while there are members or a port is watched."""
        return {
            "duplicated": self.duplicated,
            "held_back": self.held_back,
            "corrupted": self.corrupted,
            "remarked": self.remarked,
            "loss_runs": self.runs.to_json(),
            "members": [{"packets": member.packets, "dropped": member.dropped} for member in self.members],
            "flows": self.flows.to_json(),
            "untracked": self.flows.untracked,
            "line": self._told,
        }

    def _cross(self, spec: LineSpec, now_ns: int, frame: bytes, track: Track | None) -> tuple[int, bytes] | str:
        """When it arrives and as what; or why it does not."""
        if spec.vlan_push is not None and frame[12:14] != TAGGED:
            frame = pushed(frame, spec.vlan_push)
        if cause := self._whole.stops(spec, frame):
            return cause
        sent_ns = now_ns
        if spec.rate is not None:
            turn_ns = self._turn(spec.rate, now_ns, len(frame))
            if turn_ns is None:
                return "queue" if spec.rate.bucket_bytes is None else "policer"
            sent_ns = turn_ns
        if cause := self._whole.loses(spec.loss):
            return cause
        release_ns = self._whole.release(spec, sent_ns)
        if track is not None and track.member is not None:
            link, member = self.members[track.member], spec.members[track.member]
            if cause := link.stops(member, frame) or link.loses(member.loss):
                return cause
            release_ns = link.release(member, release_ns)
        if spec.vlan_expect is not None:
            if vlan_of(frame) == spec.vlan_expect:
                frame = popped(frame)
            elif not spec.vlan_trunk:
                return "vlan"
        return release_ns, frame

    def _leave(self, spec: LineSpec, passage: Passage) -> tuple[Passage, ...]:
        draw, track = self._random.random, passage.track
        if spec.dscp is not None:
            frame = remarked(passage.frame, spec.dscp)
            self.remarked += frame != passage.frame
            passage = passage._replace(frame=frame)
        if spec.corrupt and draw() < spec.corrupt:
            self.corrupted += 1
            self.note(track, "corrupted", passage.ordinal)
            passage = passage._replace(frame=corrupted(passage.frame))
        if spec.reorder and draw() < spec.reorder:
            self.held_back += 1
            self.note(track, "held_back", passage.ordinal)
            passage = passage._replace(release_ns=passage.release_ns + spec.reorder_ns)
        if spec.duplicate and draw() < spec.duplicate:
            self.duplicated += 1
            self.note(track, "duplicated", passage.ordinal)
            return passage, passage._replace(copy=True)
        return (passage,)

    def note(self, track: Track | None, fate: str, ordinal: int) -> None:
        """In the log of the flow, if it is watched."""
        if track is not None and track.log is not None:
            self.flows.note(track.log, fate, ordinal)

    def _turn(self, rate: Rate, now_ns: int, frame_bytes: int) -> int | None:
        """When the last bit of the frame has passed the meter, or ``None`` if it may not pass."""
        counted = frame_bytes + rate.overhead_bytes
        if rate.bucket_bytes is None:
            start_ns = max(now_ns, self._free_ns)
            if start_ns - now_ns > rate.queue_ns:
                return None
            self._free_ns = start_ns + counted * 8 * NS_PER_S // rate.bps
            return self._free_ns
        earned = (now_ns - self._tokens_at_ns) * rate.bps / (8 * NS_PER_S)
        held = rate.bucket_bytes if self._tokens is None else min(rate.bucket_bytes, self._tokens + earned)
        self._tokens_at_ns = now_ns
        self._tokens = held - counted if held >= counted else held
        return now_ns if held >= counted else None
