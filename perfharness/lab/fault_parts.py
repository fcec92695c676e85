"""What the tables of faults share: usual values, what a blocked port answers, and a count for each direction."""

from __future__ import annotations

from collections.abc import Iterable

from perfharness.errors import LabFault
from perfharness.lab.filters import Chain, Filter
from perfharness.lab.spec import LabSpec
from perfharness.lab.wish import Wish
from perfharness.model import Direction

LOSS = 0.01
_ANSWERS = {"none": "drop", "reset": "reject with tcp reset", "prohibited": "reject with icmp type admin-prohibited"}


def half(spec: LabSpec, wish: Wish) -> int:
    """The rate that was asked for, else half of the order, in bit/s. Raises LabFault where there is neither."""
    rate = wish.rate_bps or (spec.rate_bps or 0) // 2
    if not rate:
        raise LabFault(f"{wish.name} needs a rate, and this circuit has none.", "Bring the lab up with --rate.")
    return rate


def answer(wish: Wish, port: str, protocol: str = "tcp") -> str:
    """What nft is told to do to packets for a blocked port, ``port`` in words. Raises LabFault for what has no name."""
    name = wish.answer or "none"
    if name not in _ANSWERS or (protocol, name) == ("udp", "reset"):
        raise LabFault(f"A blocked {port} does not answer by {name}.", f"Choose {', '.join(_ANSWERS)}.")
    return _ANSWERS[name]


def counter_of(way: Direction) -> str:
    """A name that nft takes."""
    return way.value.replace("-", "_")


def each_way(wish: Wish, namespace: str, chains: Iterable[Chain]) -> Filter:
    """A table of this fault, with a counter for each direction that it concerns."""
    counters = tuple(map(counter_of, wish.ways()))
    name = f"ph_{wish.name.replace('-', '_')}_{'_'.join(counters)}"
    return Filter(namespace, name, tuple(chains), counters)
