"""What one direction of a circuit is to do to frames: its configuration, and its form in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import log1p
from statistics import NormalDist
from typing import Any

JITTERS = ("uniform", "exponential", "normal")
NORMAL_REACH = 3.0
"""Normal jitter is cut off this many standard deviations from its middle."""
_NORMAL = NormalDist()
_NORMAL_TAIL = _NORMAL.cdf(-NORMAL_REACH)


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
class LinkSpec:
    """What a link does to frames, be it a member of a LAG or the line as a whole; the default does nothing."""

    delay_ns: int = 0
    jitter_ns: int = 0
    """Uniform and normal: the most that is added. Exponential: the mean. Order is kept."""
    jitter: str = "uniform"
    loss: Loss | None = None
    mtu: int | None = None
    """Largest IP packet in bytes."""
    cut: bool = False

    def __post_init__(self) -> None:
        if min(self.delay_ns, self.jitter_ns) < 0:
            raise ValueError("a delay must not be below 0")
        if self.jitter not in JITTERS:
            raise ValueError(f"jitter must be {', '.join(JITTERS[:-1])} or {JITTERS[-1]}, not {self.jitter!r}")

    def jitter_quantile(self, share: float) -> float:
        """The jitter in ns that this share of the frames (0 ≤ share < 1) does not exceed.

        What is drawn for each frame. A frame may wait longer where frames follow each other so closely
        that it must not overtake the one before it.
        """
        if self.jitter == "uniform":
            return self.jitter_ns * share
        if self.jitter == "exponential":
            return -self.jitter_ns * log1p(-share)
        deviations = _NORMAL.inv_cdf(_NORMAL_TAIL + share * (1 - 2 * _NORMAL_TAIL))
        return self.jitter_ns * (0.5 + 0.5 * deviations / NORMAL_REACH)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LinkSpec:
        """Raises TypeError for an unknown key, ValueError for a value out of range."""
        return cls(**_read(data))


@dataclass(frozen=True, slots=True)
class LineSpec(LinkSpec):
    """One direction of a circuit: a link, what surrounds it, and the members that it may be bundled of."""

    rate: Rate | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_ns: int = 1_000_000
    """How long a frame chosen for reordering is held back."""
    corrupt: float = 0.0
    """Share of packets that arrive with a wrong byte, which the checksum of UDP or TCP gives away."""
    dscp: int | None = None
    """Every IP packet arrives with this DSCP."""
    vlan_push: int | None = None
    vlan_expect: int | None = None
    vlan_trunk: bool = False
    """What carries another tag is handed on with it, as a port does that takes all of them; else it is dropped."""
    members: tuple[LinkSpec, ...] = ()
    """A LAG: each flow crosses one of these besides the line itself; see ``Flow.member``."""
    watch_port: int | None = None
    """Of UDP flows on this port the truth tells what befell which packet."""

    def __post_init__(self) -> None:
        LinkSpec.__post_init__(self)
        _check_ratios(self.duplicate, self.reorder, self.corrupt)
        if self.reorder_ns < 0:
            raise ValueError("a delay must not be below 0")
        if self.dscp is not None and not 0 <= self.dscp <= 63:
            raise ValueError("a DSCP must lie between 0 and 63")

    @property
    def only_delays(self) -> bool:
        """Untagged frames leave as they came, each after the same time."""
        return self == LineSpec(delay_ns=self.delay_ns, vlan_push=self.vlan_push, vlan_expect=self.vlan_push)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LineSpec:
        """Raises TypeError for an unknown key, ValueError for a value out of range."""
        fields = _read(data)
        if fields.get("rate") is not None:
            fields["rate"] = Rate(**fields["rate"])
        fields["members"] = tuple(LinkSpec.from_json(member) for member in fields.get("members", ()))
        return cls(**fields)


def _read(data: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(data)
    if fields.get("loss") is not None:
        fields["loss"] = Loss(**fields["loss"])
    return fields


def _check_ratios(*ratios: float) -> None:
    if not all(0 <= ratio <= 1 for ratio in ratios):
        raise ValueError("a share must lie between 0 and 1")
