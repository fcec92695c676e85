"""Long series made drawable: one column of the picture shows the least and the most that fell into it.

Nothing is averaged away: the envelope keeps every extreme, and the percentiles are of the samples
in a span of time, not of other percentiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

COLUMNS = 360
"""Columns of the envelope: about half a millimetre each on paper."""
SPANS = 60
"""At most so many spans of time with percentiles of their own."""
SPAN_SAMPLES = 200
"""A 99th percentile of fewer samples would be its largest two."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Least and most per column; ``x`` is the middle of the column."""

    x: Array
    low: Array
    high: Array


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles per span of time. ``edges`` has one element more; an infinite value is NaN (a gap)."""

    edges: Array
    p50: Array
    p99: Array


def envelope(x: Array, y: Array, columns: int = COLUMNS) -> Envelope:
    """Of the finite samples; columns without a sample are left out."""
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if x.size == 0:
        return Envelope(x, y, y)
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    width = (x[-1] - x[0]) / columns or 1.0
    column = np.minimum(((x - x[0]) / width).astype(np.int64), columns - 1)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    return Envelope(
        x[0] + (column[starts] + 0.5) * width, np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    )


def percentiles(x: Array, y: Array) -> Percentiles:
    """p50 and p99 in equal spans of time; a lost packet counts as infinitely late (RFC 7679)."""
    order = np.argsort(x, kind="stable")
    x, y = x[order], np.where(np.isnan(y[order]), np.inf, y[order])
    spans = int(np.clip(x.size // SPAN_SAMPLES, 1, SPANS))
    edges = np.linspace(x[0], x[-1], spans + 1)
    cuts = np.searchsorted(x, edges[1:-1], side="left")
    parts = np.split(y, cuts)
    return Percentiles(edges, *(np.array([_quantile(part, q) for part in parts]) for q in (0.5, 0.99)))


def thin(x: Array, y: Array, points: int = 400) -> tuple[Array, Array]:
    """A smooth, sorted curve reduced to about ``points``, denser where ``y`` falls (a distribution's tail)."""
    if x.size <= points:
        return x, y
    position = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(np.log10(np.maximum(y, 1e-12)))) + 1e-9)))
    wanted = np.linspace(0.0, position[-1], points // 2)
    even = np.linspace(0, x.size - 1, points // 2).astype(np.int64)
    keep = np.unique(np.concatenate((np.searchsorted(position, wanted).clip(0, x.size - 1), even)))
    return x[keep], y[keep]


def _quantile(values: Array, q: float) -> float:
    if values.size == 0:
        return float("nan")
    found = float(np.quantile(values, q, method="inverted_cdf"))
    return found if np.isfinite(found) else float("nan")
