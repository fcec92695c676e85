"""What a benchmark may claim of a few runs: a median and where it lies, whatever the distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import binom

CONFIDENCE = 0.95
FEWEST = 6
"""Below that not even the smallest and the largest value enclose the median with this confidence."""


class Median(NamedTuple):
    median: float
    low: float
    high: float


def median_interval(values: Sequence[float]) -> Median:
    """The median and its two-sided 95 % interval from order statistics: the 2nd and the 9th of 10 values.

    David and Nagaraja, Order Statistics, section 7.1. Raises ValueError for fewer than FEWEST values.
    """
    ordered = sorted(values)
    n = len(ordered)
    if n < FEWEST:
        raise ValueError(f"{n} values give no {CONFIDENCE:.0%} interval of their median, {FEWEST} do")
    outside = int(binom.ppf((1 - CONFIDENCE) / 2, n, 0.5))  # on each side, the end itself included
    return Median((ordered[(n - 1) // 2] + ordered[n // 2]) / 2, ordered[outside - 1], ordered[n - outside])
