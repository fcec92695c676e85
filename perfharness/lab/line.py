"""One direction of a circuit, as a model: a frame in, the frames that come out and when.

No I/O, no clock, no global random: ``now`` and the seed are arguments. In the order of a real circuit:

1. the sender's tag is pushed, unless the frame carries one already;
2. a frame above the MTU is dropped in silence;
3. the rate: a shaper lets a frame wait up to ``queue_ns``, a policer drops what its bucket cannot pay;
4. the line loses frames (Gilbert–Elliott; the good state alone is independent loss);
5. delay and jitter, in order; then some frames are held back so that later ones overtake them, or doubled;
6. the receiver compares the tag and pops it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

NS_PER_S = 1_000_000_000
MAC_BYTES = 14
TAGGED = b"\x81\x00"
"""EtherType of IEEE 802.1Q."""
EDGES_NS = (*(digit * 10**power for power in range(3, 9) for digit in (1, 2, 5)), NS_PER_S)
"""Upper edges of the histogram's buckets, 1 µs to 1 s; one more bucket holds the rest."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A shaper; with a bucket, a policer."""

    bps: int
    queue_ns: int = 50_000_000
    bucket_bytes: int | None = None
    overhead_bytes: int = 0
    """Counted for each frame besides its bytes as carried (with tag, without FCS)."""

    def __post_init__(self) -> None:
        if self.bps <= 0 or self.queue_ns < 0 or (self.bucket_bytes or 0) < 0:
            raise ValueError("a rate must be above 0, its queue and bucket not below 0")


@dataclass(frozen=True, slots=True)
class Loss:
    """Gilbert–Elliott: probability of loss in each state, and of leaving that state, for each frame."""

    good: float = 0.0
    bad: float = 1.0
    to_bad: float = 0.0
    to_good: float = 1.0

    def __post_init__(self) -> None:
        _check_ratios(self.good, self.bad, self.to_bad, self.to_good)

    @property
    def ratio(self) -> float:
        """The share lost in the long run."""
        moves = self.to_bad + self.to_good
        share_bad = self.to_bad / moves if moves else 0.0
        return share_bad * self.bad + (1 - share_bad) * self.good


@dataclass(frozen=True, slots=True)
class LineSpec:
    """What one direction does to frames; the default does nothing."""

    delay_ns: int = 0
    jitter_ns: int = 0
    """Uniform: the most that is added. Exponential: the mean. Order is kept."""
    jitter: str = "uniform"
    rate: Rate | None = None
    loss: Loss | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_ns: int = 1_000_000
    """How long a frame chosen for reordering is held back."""
    mtu: int | None = None
    """Largest IP packet in bytes."""
    vlan_push: int | None = None
    vlan_expect: int | None = None

    def __post_init__(self) -> None:
        _check_ratios(self.duplicate, self.reorder)
        if min(self.delay_ns, self.jitter_ns, self.reorder_ns) < 0:
            raise ValueError("a delay must not be below 0")
        if self.jitter not in ("uniform", "exponential"):
            raise ValueError(f"jitter must be uniform or exponential, not {self.jitter!r}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LineSpec:
        """Raises TypeError for an unknown key, ValueError for a value out of range."""
        fields = dict(data)
        if fields.get("rate") is not None:
            fields["rate"] = Rate(**fields["rate"])
        if fields.get("loss") is not None:
            fields["loss"] = Loss(**fields["loss"])
        return cls(**fields)


class Distribution:
    """Count, mean, least, most and histogram of durations in ns."""

    __slots__ = ("buckets", "count", "max", "min", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.min: int | None = None
        self.max: int | None = None
        self.buckets = [0] * (len(EDGES_NS) + 1)

    def add(self, value_ns: int) -> None:
        self.count += 1
        self.total += value_ns
        if self.max is None or value_ns > self.max:
            self.max = value_ns
        if self.min is None or value_ns < self.min:
            self.min = value_ns
        self.buckets[bisect_left(EDGES_NS, value_ns)] += 1

    def to_json(self) -> dict[str, Any]:
        edges = [str(edge) for edge in EDGES_NS] + ["inf"]
        return {
            "count": self.count,
            "mean": self.total / self.count if self.count else None,
            "min": self.min,
            "max": self.max,
            "histogram": {edge: n for edge, n in zip(edges, self.buckets, strict=True) if n},
        }


class Line:
    """One direction, with its memory and its counts. ``spec`` may be replaced while frames are on the way."""

    def __init__(self, spec: LineSpec, seed: int) -> None:
        self.spec = spec
        self.packets = 0
        self.bytes = 0
        self.dropped: dict[str, int] = {"mtu": 0, "queue": 0, "policer": 0, "loss": 0, "vlan": 0}
        self.duplicated = 0
        self.held_back = 0
        self._random = Random(seed)
        self._bad = False
        self._free_ns = 0
        self._tokens: float | None = None
        self._tokens_at_ns = 0
        self._last_release_ns = 0

    def offer(self, now_ns: int, frame: bytes) -> tuple[tuple[int, bytes], ...]:
        """An Ethernet frame enters at ``now_ns``: (release time in ns, frame) of each copy that will leave."""
        spec = self.spec
        self.packets += 1
        self.bytes += len(frame)
        if spec.vlan_push is not None and frame[12:14] != TAGGED:
            frame = pushed(frame, spec.vlan_push)
        if spec.mtu is not None and packet_bytes(frame) > spec.mtu:
            return self._drop("mtu")
        sent_ns = now_ns
        if spec.rate is not None:
            turn_ns = self._turn(spec.rate, now_ns, len(frame))
            if turn_ns is None:
                return self._drop("queue" if spec.rate.bucket_bytes is None else "policer")
            sent_ns = turn_ns
        if spec.loss is not None and self._lost(spec.loss):
            return self._drop("loss")
        release_ns = self._release(spec, sent_ns)
        if spec.vlan_expect is not None:
            if vlan_of(frame) != spec.vlan_expect:
                return self._drop("vlan")
            frame = popped(frame)
        if spec.duplicate and self._random.random() < spec.duplicate:
            self.duplicated += 1
            return ((release_ns, frame), (release_ns, frame))
        return ((release_ns, frame),)

    def _drop(self, cause: str) -> tuple[()]:
        self.dropped[cause] += 1
        return ()

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

    def _lost(self, loss: Loss) -> bool:
        if not loss.to_bad:
            self._bad = False
        elif self._random.random() < (loss.to_good if self._bad else loss.to_bad):
            self._bad = not self._bad
        share = loss.bad if self._bad else loss.good
        return share > 0 and self._random.random() < share

    def _release(self, spec: LineSpec, sent_ns: int) -> int:
        release_ns = sent_ns + spec.delay_ns
        if spec.jitter_ns:
            if spec.jitter == "uniform":
                release_ns += self._random.randrange(spec.jitter_ns + 1)
            else:
                release_ns += int(self._random.expovariate(1 / spec.jitter_ns))
        if release_ns < self._last_release_ns:
            release_ns = self._last_release_ns
        self._last_release_ns = release_ns
        if spec.reorder and self._random.random() < spec.reorder:
            self.held_back += 1
            return release_ns + spec.reorder_ns
        return release_ns


def pushed(frame: bytes, vlan: int) -> bytes:
    return frame[:12] + TAGGED + vlan.to_bytes(2, "big") + frame[12:]


def popped(frame: bytes) -> bytes:
    return frame[:12] + frame[16:]


def vlan_of(frame: bytes) -> int | None:
    """The VLAN id (0–4094) of a tagged frame."""
    if frame[12:14] != TAGGED:
        return None
    return int.from_bytes(frame[14:16], "big") & 0x0FFF


def packet_bytes(frame: bytes) -> int:
    """Size of what the frame carries: the IP packet."""
    return len(frame) - MAC_BYTES - (4 if frame[12:14] == TAGGED else 0)


def _check_ratios(*ratios: float) -> None:
    if not all(0 <= ratio <= 1 for ratio in ratios):
        raise ValueError("a share must lie between 0 and 1")
