"""A distribution of durations in bounded memory: quantiles true to half a per cent."""

from __future__ import annotations

from math import ceil
from typing import Any

QUANTILES = (0.5, 0.9, 0.99, 0.999)
FINE_BITS = 7
"""Each power of two is cut into 128 buckets: none is wider than 1/128 of its values."""
EXACT = 2 << FINE_BITS
"""Below this each value has a bucket of its own."""


class Distribution:
    """Count, mean, least, most and quantiles of durations in ns, each 0 or above."""

    __slots__ = ("buckets", "count", "max", "min", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.min: int | None = None
        self.max: int | None = None
        self.buckets: dict[int, int] = {}

    def add(self, value_ns: int) -> None:
        self.count += 1
        self.total += value_ns
        if self.max is None or value_ns > self.max:
            self.max = value_ns
        if self.min is None or value_ns < self.min:
            self.min = value_ns
        shift = value_ns.bit_length() - FINE_BITS - 1
        bucket = value_ns if shift <= 0 else (shift << FINE_BITS) + (value_ns >> shift)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def quantiles(self, *shares: float) -> list[int | None]:
        """The least value that this share of all does not exceed, to 0.4 %; shares ascending, above 0."""
        if self.min is None or self.max is None:
            return [None] * len(shares)
        found: list[int | None] = []
        ranks = [ceil(share * self.count) for share in shares]
        passed = 0
        for bucket in sorted(self.buckets):
            passed += self.buckets[bucket]
            while len(found) < len(ranks) and passed >= ranks[len(found)]:
                found.append(min(max(_middle(bucket), self.min), self.max))
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "mean": self.total / self.count if self.count else None,
            "min": self.min,
            **{f"p{share * 100:g}": value for share, value in zip(QUANTILES, self.quantiles(*QUANTILES), strict=True)},
            "max": self.max,
        }


class Times:
    """Of the frames that left: the delay that was meant, the delay that was, and the difference."""

    __slots__ = ("delay", "lateness", "nominal")

    def __init__(self) -> None:
        self.nominal, self.delay, self.lateness = Distribution(), Distribution(), Distribution()

    def add(self, arrived_ns: int, release_ns: int, left_ns: int) -> None:
        self.nominal.add(release_ns - arrived_ns)
        self.delay.add(left_ns - arrived_ns)
        self.lateness.add(left_ns - release_ns)

    def to_json(self) -> dict[str, Any]:
        return {
            "nominal_ns": self.nominal.to_json(),
            "delay_ns": self.delay.to_json(),
            "lateness_ns": self.lateness.to_json(),
        }


def _middle(bucket: int) -> int:
    if bucket < EXACT:
        return bucket
    shift = (bucket >> FINE_BITS) - 1
    return ((bucket - (shift << FINE_BITS)) << shift) + (1 << shift >> 1)
