"""When each packet of a probe stream is due, and of which flow it is. Pure: the same arguments give the same stream
anywhere.

``periodic`` follows RFC 3432: a fixed interval after a random start.
``poisson`` follows RFC 2330, section 11.1.1: independent, exponentially distributed gaps of the same mean.

The random numbers are Python's Mersenne Twister for ``seed``, documented to stay the same in every version;
``numpy.random.RandomState([seed]).random_sample(n)`` draws the same ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from math import lcm, log1p

PERIODIC, POISSON = "periodic", "poisson"
PATTERNS = (PERIODIC, POISSON)


def offsets_ns(pattern: str, interval_ns: int, count: int, seed: int, every: Sequence[int] = (1,)) -> Iterator[int]:
    """Yield ``count`` due times, ns after the start; of a periodic stream in its :func:`slots`, an interval apart.

    Raises ValueError for an unknown pattern.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"the pattern of a stream is one of {', '.join(PATTERNS)}, not {pattern!r:.40}")
    return _periodic(interval_ns, count, seed, every) if pattern == PERIODIC else _poisson(interval_ns, count, seed)


def slots(every: Sequence[int]) -> list[int]:
    """The slots of a cycle that hold a packet, where several kinds take turns: of n kinds slot i belongs to kind i
    modulo n, which uses each ``every[kind]``-th of its slots, from its first one on. So kinds of different intervals
    are never due at once. A cycle has ``lcm(*every) * n`` slots.
    """
    kinds, rounds = len(every), lcm(*every)
    return sorted(each * kinds + kind for kind, step in enumerate(every) for each in range(0, rounds, step))


def turns(every: Sequence[int]) -> tuple[int, ...]:
    """Of which kind each packet of a cycle is; packet i is that of i modulo their number."""
    return tuple(slot % len(every) for slot in slots(every))


def _periodic(interval_ns: int, count: int, seed: int, every: Sequence[int]) -> Iterator[int]:
    start = int(random.Random(seed).random() * interval_ns)
    used, cycle = slots(every), lcm(*every) * len(every)
    for number in range(count):
        whole, place = divmod(number, len(used))
        yield start + interval_ns * (whole * cycle + used[place])


def _poisson(interval_ns: int, count: int, seed: int) -> Iterator[int]:
    draw = random.Random(seed).random
    due = 0
    for _ in range(count):
        due += int(-log1p(-draw()) * interval_ns)
        yield due


def flow_order(flows: int, rounds: int, seed: int) -> Iterator[int]:
    """Yield the flow, 0..flows-1, of each of ``flows * rounds`` packets: every flow once a round, in random order.

    A loss that does not ask for the flow then meets them at random, also where it comes in bursts.
    """
    draw = random.Random(seed).random
    for _ in range(rounds):
        keys = [draw() for _ in range(flows)]
        yield from sorted(range(flows), key=keys.__getitem__)
