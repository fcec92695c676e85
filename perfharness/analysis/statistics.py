"""Intervals for correlated samples: shares, quantiles, means of rates.

Packets sent one after another fare alike: a plain Clopper–Pearson interval covers far less than it
claims. Shares are therefore counted per 1 s block, the spread of the blocks gives the *design
effect* (how many packets say as much as one independent packet), and the binomial bounds are taken
on the effective number of packets (Kish 1965; for few blocks Korn and Graubard 1998). A quantile
is the same question asked backwards: "p99 <= T" means "the share later than T or lost is <= 1 %".

Sidedness is stated once, here: every bound by itself holds with the given confidence (one-sided),
since every criterion asks about one side only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from perfharness.analysis.special import betaincinv, stdtrit
from perfharness.model import Interval

CONFIDENCE = 0.95
LEAST_RATES = 2
"""Independent values that any series of rates is taken for at least: with fewer its interval would say nothing."""
FEW_RATES = 6
"""Fewer independent values than this may be fewer still: whoever reports them must say so."""
MOST_BLOCKS = 60
"""Of a longer recording blocks are longer: enough of them to know their spread, each as long as it can be."""
LEAST_CLUSTERS = 7
"""Whoever sees so many had at least three to expect (Poisson, 95 %), and of three at least one shows (95 %)."""
MOST_PACKETS = 1 << 50
"""Beyond this no test decides."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Blocks = npt.NDArray[np.integer[Any]]
"""Block index of each packet; never decreases."""


def block_starts(block: Blocks) -> Ints:
    """Where each block begins, for ``ufunc.reduceat``; ``block`` (n,) must not decrease. Raises ValueError."""
    steps = np.diff(block)
    if np.any(steps < 0):
        raise ValueError("block indices must not decrease")
    return np.concatenate(([0], np.flatnonzero(steps) + 1)) if len(block) else np.empty(0, np.int64)


def block_counts(hits: Bools, block: Blocks) -> tuple[Ints, Ints]:
    """Hits and packets of each block that has packets."""
    starts = block_starts(block)
    if not len(starts):
        return starts, starts
    return np.add.reduceat(hits, starts, dtype=np.int64), np.diff(starts, append=len(hits))


def effective_n(hits: Ints, packets: Ints, confidence: float = CONFIDENCE) -> float:
    """How many independent packets say as much as these, from counts per block.

    n / design effect, the effect being the variance of the share between blocks (ratio estimator) over the
    binomial one, never below 1. That variance is itself a guess, from few blocks or from few bursts: what it
    exceeds 1 by is raised by the squared ratio of the Student quantiles (Korn and Graubard), with as many degrees
    of freedom as the spread of the blocks' own deviations leaves (Satterthwaite 1946: 2 / (kurtosis - 1) for each
    block; one burst leaves 2 of 30 blocks). Neighbouring blocks that resemble each other count for less, as AR(1).
    Without any hit, or with hits only, blocks cannot differ: all n count, so bursts rarer than the recording is long
    go unseen. One block with some hits tells no spread: 0. Measured: ``tests/bench/bench_intervals.py``.
    """
    hits, packets = _merged(hits), _merged(packets)
    n, total, blocks = int(packets.sum()), int(hits.sum()), len(packets)
    if total in (0, n):
        return float(n)
    if blocks < 2:
        return 0.0
    share = total / n
    off = hits - share * packets
    squares = np.square(off)
    power = float(squares.sum())
    if not power:
        return float(n)
    phi = min(max(0.0, float((off[1:] * off[:-1]).sum()) / power), 1 - 1 / blocks)
    effect = blocks / (blocks - 1) * power / (n * share * (1 - share)) * (1 + phi) / (1 - phi)
    if effect <= 1:
        return float(n)
    kurtosis = blocks * float(np.square(squares).sum()) / power**2
    freedom = max(1.0, min(blocks - 1.0, 2 * blocks / (kurtosis - 1) if kurtosis > 1 else math.inf))
    few = float(stdtrit(freedom, confidence) / stdtrit(n - 1, confidence)) ** 2
    return n / (1 + (effect - 1) * few)


def clopper_pearson(share: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """One-sided bounds each on a share seen in ``n`` (not necessarily whole) independent packets.

    Zero hits: the upper bound is 1 - (1 - confidence)^(1/n). Nothing seen: (0, 1).
    """
    if n <= 0:
        return 0.0, 1.0
    hits = share * n
    lo = 0.0 if hits <= 0 else float(betaincinv(hits, n - hits + 1, 1 - confidence))
    hi = 1.0 if hits >= n else float(betaincinv(hits + 1, n - hits, confidence))
    return lo, hi


def share_interval(hits: Bools, block: Blocks, confidence: float = CONFIDENCE) -> Interval:
    """Where the true share of hits lies: (n,) hits with their non-decreasing block indices."""
    return counts_interval(*block_counts(hits, block), confidence)


def counts_interval(hits: Ints, packets: Ints, confidence: float = CONFIDENCE) -> Interval:
    """The same from counts per block, e.g. iperf3's lost packets of each second."""
    n = int(packets.sum())
    n_eff = effective_n(hits, packets, confidence)
    lo, hi = clopper_pearson(int(hits.sum()) / n if n else 0.0, n_eff, confidence)
    return Interval(lo, hi, confidence, "one", "Clopper–Pearson, design effect from blocks", n_eff)


def quantile(values: Floats, block: Blocks, q: float, confidence: float = CONFIDENCE) -> tuple[float, Interval]:
    """The q-quantile (0 < q < 1) of ``values`` (n,) and where the true one lies.

    The estimate is the smallest value that at least the share q does not exceed (RFC 2330 section
    11.3). Lost packets are ``inf`` (RFC 7679): so the estimate or ``hi`` may be. ``nan`` = not
    measured, left out. The bounds are the outermost values whose share of later packets is still
    compatible with 1 - q; the design effect is taken at the estimate. Where that leaves no upper bound
    :func:`latest_bounds` says whether there is one at all: it is then the smallest value that few enough packets
    exceed by the design effect of just those, at worst the latest; else the later ones came in too few clusters to
    tell how late the next is, and there is none. Raises ValueError if empty.
    """
    measured = ~np.isnan(values)
    values, block = values[measured], block[measured]
    n = len(values)
    if not n:
        raise ValueError("a quantile of no values does not exist")
    rank = max(math.ceil(q * n - 1e-9), 1)
    estimate = float(np.partition(values, rank - 1)[rank - 1])
    # Among ties (many lost, a coarse clock) the two sides of the estimate are different shares.
    sides = (values > estimate, values >= estimate)
    n_eff = min(effective_n(*block_counts(side, block), confidence) for side in sides)

    lo_index, hi_index = rank_bounds(n, n_eff, q, confidence)
    inside = [index for index in (hi_index, lo_index) if 0 <= index < n]
    ordered = np.partition(values, inside) if inside else values
    if hi_index < n:
        hi = float(ordered[hi_index])
    else:
        bounded = latest_bounds(block_counts(sides[0], block)[0], *block_counts(np.isinf(values), block), 1 - q)
        hi = exceeded_by_few(values, block, estimate, 1 - q, confidence) if bounded else math.inf
    lo = float(ordered[lo_index]) if lo_index >= 0 else -math.inf
    return estimate, Interval(lo, hi, confidence, "one", "order statistics, design effect from blocks", n_eff)


def rank_bounds(n: int, n_eff: float, q: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """(lo, hi), indices from 0 of the ordered ``n`` values that bound the q-quantile; -1 and n if none does."""

    def too_many(later: int) -> bool:
        return clopper_pearson(later / n, n_eff, confidence)[1] > 1 - q

    def enough(later: int) -> bool:
        return clopper_pearson(later / n, n_eff, confidence)[0] >= 1 - q

    return n - first_true(n + 1, enough), n - first_true(n, too_many)


def latest_bounds(later: Ints, lost: Ints, packets: Ints, share: float) -> bool:
    """The latest packet that arrived bounds the value that the ``share`` of the packets exceeds; (k,) counts per block.

    ``later``: than the estimate. If the bound were below the true value no cluster of later packets had reached that:
    unlikely where three or more were to be expected, so the estimate must have LEAST_CLUSTERS (blocks with any). Lost
    packets exceed every value, and are judged by their own clusters.
    """
    most_lost = clopper_pearson(int(lost.sum()) / int(packets.sum()), effective_n(lost, packets))[1]
    return most_lost <= share and int(np.count_nonzero(_merged(later))) >= LEAST_CLUSTERS


def exceeded_by_few(values: Floats, block: Blocks, least: float, share: float, confidence: float) -> float:
    """The smallest finite value from ``least`` on that fewer than ``share`` of all packets exceed, by an upper bound
    whose design effect is that of these few; the largest if there is none.

    A quiet hour's noise may come in one long burst, so that at the estimate nothing can be told; what is really late
    came in a few short ones, and of these their own counts tell.
    """
    later = np.unique(values[(values >= least) & np.isfinite(values)])

    found = first_true(len(later), lambda at: surely_few(*block_counts(values > later[at], block), share, confidence))
    return float(later[min(found, len(later) - 1)])


def surely_few(hits: Ints, packets: Ints, share: float, confidence: float = CONFIDENCE) -> bool:
    """Whether the true share of hits is surely no more than this: (k,) counts per block."""
    seen = int(hits.sum()) / int(packets.sum())
    return clopper_pearson(seen, effective_n(hits, packets, confidence), confidence)[1] <= share


def _merged(counts: Ints) -> Ints:
    """The same counts in at most MOST_BLOCKS longer blocks."""
    size = -(-len(counts) // MOST_BLOCKS)
    return counts if size <= 1 else np.add.reduceat(counts, np.arange(0, len(counts), size))


def mean_rate(values: Floats, confidence: float = CONFIDENCE) -> tuple[float, Interval | None]:
    """The mean of per-interval rates ``values`` (n,) and where the true one lies.

    Neighbours resemble each other, so n values say as much as n / :func:`_inflation` independent ones; Student's t
    with that many degrees of freedom, less one, keeps short tests honest: their intervals are wide. In simulation
    each bound covers 95 % and more on independent rates, and at least 91 % on AR(1) with φ = 0.8 from n = 15 on, 0.9
    from n = 40 on, 0.99 from n = 200 on: a memory longer than half of a test cannot be seen in it (:data:`FEW_RATES`).
    One value has no interval. Raises ValueError if empty.
    """
    n = len(values)
    if not n:
        raise ValueError("a mean of no values does not exist")
    mean = float(values.mean())
    if n < 2:
        return mean, None
    off = values - mean
    inflation = _inflation(off)
    n_eff = n / inflation
    variance = float(np.square(off).sum()) / (n - inflation) / n_eff
    reach = float(stdtrit(max(n_eff - 1, 1.0), confidence)) * math.sqrt(variance)
    return mean, Interval(mean - reach, mean + reach, confidence, "one", "Student's t, autocorrelation", n_eff)


def packets_to_decide(
    share: float, threshold: float, effect: float = 1.0, confidence: float = CONFIDENCE
) -> int | None:
    """Packets after which a bound clears the threshold, if the share stays what it is.

    ``effect`` is the design effect (packets for one independent packet). None: on the threshold, or
    beyond any test. Zero loss against 1e-4 needs 29,956.
    """
    if not 0 < threshold < 1 or share == threshold:
        return None
    side = 1 if share < threshold else 0

    def decided(packets: int) -> bool:
        bound = clopper_pearson(share, packets / effect, confidence)[side]
        return bound < threshold if side else bound > threshold

    packets = first_true(MOST_PACKETS, decided)
    return packets if packets < MOST_PACKETS else None


def _inflation(off: Floats) -> float:
    """How many of these deviations from their mean (n,) say as much as one independent value, at least 1.

    The larger of two estimates of 1 + 2 Σ autocorrelation: Geyer's initial monotone sequence (1992), which needs no
    model, and AR(1), which sees more in a short test. In both each correlation is raised by what the estimated mean
    takes from it (Kendall 1954: 1/n, for AR(1) (1 + 3 φ)/n).
    """
    n = len(off)
    power = float(np.square(off).sum())
    if not power:
        return 1.0
    lags = 2 * max(1, n // 6)
    rho = np.array([float((off[lag:] * off[: n - lag]).sum()) for lag in range(min(lags, n))]) / power
    phi = min(max(0.0, rho[1] + (1 + 3 * rho[1]) / n), 1 - 1 / n)
    pairs = rho[0::2][: len(rho) // 2] + rho[1::2] + 2 / n
    ends = np.flatnonzero(pairs <= 0)
    pairs = np.minimum.accumulate(pairs[: ends[0] if len(ends) else None])
    return float(max(1.0, min(max((1 + phi) / (1 - phi), 2 * pairs.sum() - 1), n / LEAST_RATES)))


def first_true(limit: int, true_from: Callable[[int], bool]) -> int:
    """The smallest of 0..limit-1 from which on the predicate holds; ``limit`` if none."""
    lo, hi = 0, limit
    while lo < hi:
        middle = (lo + hi) // 2
        lo, hi = (lo, middle) if true_from(middle) else (middle + 1, hi)
    return lo
