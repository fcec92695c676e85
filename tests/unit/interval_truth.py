"""Processes whose truth is known, and how well an interval does on them: coverage, and width against an oracle's.

The oracle is the same interval made by somebody who knows the process: the design effect is not guessed from the
blocks but the true one, at least 1, for so many packets. It pays for chance alone, and not for finding out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.special import stdtrit
from scipy.stats import norm

from perfharness.analysis import statistics as st
from perfharness.analysis.statistics import Bools, Floats, Ints

INDEPENDENT, DEPENDENT = 0.95, 0.91
"""What each bound must cover."""
WIDEST = 1.3
"""Of the oracle's width."""


@dataclass(frozen=True, slots=True)
class Score:
    """Of so many runs; shares of them, and widths in the median."""

    runs: int
    covers: tuple[float, float]
    """The truth is not below the lower, not above the upper bound."""
    width: float
    """Of the oracle's; nan where its own is unbounded in the median."""
    open: tuple[float, float]
    """Ours, the oracle's: without an upper bound."""

    def holds(self, least: float) -> bool:
        """Covers that much, but for what so few runs leave to chance (three standard errors), and is no wider."""
        chance = 3 * math.sqrt(least * (1 - least) / self.runs)
        return min(self.covers) >= least - chance and not self.width > WIDEST


@dataclass(frozen=True, slots=True)
class Setting:
    """A figure of a process: its true value, and the interval from one run of it, ours and the oracle's."""

    process: str
    figure: str
    n: int
    truth: float
    least: float
    run: Callable[[np.random.Generator], tuple[tuple[float, float], tuple[float, float]] | None]
    """None: a run that tells nothing of dependence, e.g. without any loss."""


def score(setting: Setting, runs: int, seed: int) -> Score:
    rng = np.random.default_rng(seed)
    pairs = [pair for _ in range(runs) if (pair := setting.run(rng)) is not None]
    ours, oracle = (np.array(side) for side in zip(*pairs, strict=True))
    width, least = float(np.median(ours[:, 1] - ours[:, 0])), float(np.median(oracle[:, 1] - oracle[:, 0]))
    return Score(
        len(pairs),
        (float((ours[:, 0] <= setting.truth).mean()), float((ours[:, 1] >= setting.truth).mean())),
        width / least if math.isfinite(least) else math.nan,
        (float(np.isinf(ours[:, 1]).mean()), float(np.isinf(oracle[:, 1]).mean())),
    )


# --- processes --------------------------------------------------------------------------------


def ar1(rng: np.random.Generator, n: int, phi: float) -> Floats:
    """Normal with variance 1, each value resembling the one before it."""
    noise = rng.normal(size=n) * math.sqrt(1 - phi * phi)
    noise[0] = rng.normal()
    values: Floats = lfilter([1.0], [1.0, -phi], noise)
    return values


def gilbert_elliott(rng: np.random.Generator, n: int, enter: float, leave: float, loss: float) -> Bools:
    """Which of n packets are lost: none in the good state, the share ``loss`` in the bad one."""
    pairs = int(n * enter) * 2 + 50
    good, bad = rng.geometric(enter, pairs), rng.geometric(leave, pairs)
    if rng.random() < enter / (enter + leave):
        good[0] = 0
    state = np.repeat(np.tile([False, True], pairs), np.ravel(np.column_stack((good, bad))))[:n]
    assert len(state) == n
    lost: Bools = state & (rng.random(n) < loss)
    return lost


def ar1_effect(n: int, phi: float, q: float) -> float:
    """Design effect of the packets above the q-quantile of :func:`ar1`, at least 1 (Mehler's expansion)."""
    if not phi:
        return 1.0
    u = float(norm.ppf(q))
    terms = min(200_000, int(40 / -math.log(phi)) + 10)
    hermite, before, total = 1.0, 0.0, 0.0  # normalised: He_j / sqrt(j!)
    for j in range(1, terms):
        r = phi**j
        series = r / (1 - r) - r * (1 - r**n) / (n * (1 - r) ** 2)
        total += hermite * hermite / j * series
        hermite, before = (u * hermite - math.sqrt(j - 1) * before) / math.sqrt(j), hermite
    return max(1.0, 1 + 2 * float(norm.pdf(u)) ** 2 * total / (q * (1 - q)))


def gilbert_elliott_effect(n: int, enter: float, leave: float, loss: float) -> float:
    bad, r = enter / (enter + leave), 1 - enter - leave
    share = loss * bad
    series = r / (1 - r) - r * (1 - r**n) / (n * (1 - r) ** 2)
    return max(1.0, 1 + 2 * loss**2 * bad * (1 - bad) * series / (share * (1 - share)))


# --- settings ---------------------------------------------------------------------------------


def delay(process: str, n: int, per_block: int, q: float, phi: float) -> Setting:
    """A quantile of AR(1) delay; ``phi`` 0 is independent."""
    block = np.arange(n) // per_block
    truth, effect = float(norm.ppf(q)), ar1_effect(n, phi, q)
    least = DEPENDENT if phi else INDEPENDENT
    return quantile_of(process, block, q, truth, least, effect, lambda rng: ar1(rng, n, phi))


def variation(process: str, n: int, per_block: int, q: float, phi: float) -> Setting:
    """A quantile of the difference from packet to packet; the oracle takes these for independent."""
    block, truth = np.arange(n) // per_block, float(norm.ppf(q)) * math.sqrt(2 - 2 * phi)
    least = DEPENDENT if phi else INDEPENDENT
    return quantile_of(process, block, q, truth, least, 1.0, lambda rng: np.diff(ar1(rng, n + 1, phi)))


def quantile_of(
    process: str,
    block: Ints,
    q: float,
    truth: float,
    least: float,
    effect: float,
    values: Callable[[np.random.Generator], Floats],
) -> Setting:
    n = len(block)
    lo, hi = st.rank_bounds(n, n / effect, q)

    def run(rng: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]]:
        drawn = values(rng)
        _, found = st.quantile(drawn, block, q)
        ordered = np.partition(drawn, [at for at in (lo, hi) if 0 <= at < n])
        known = float(ordered[lo]) if lo >= 0 else -math.inf, float(ordered[hi]) if hi < n else math.inf
        return (found.lo, found.hi), known

    return Setting(process, f"p{q * 100:g}", n, truth, least, run)


def bursts(process: str, n: int, per_block: int, enter: float, leave: float, loss: float) -> Setting:
    """The share lost of Gilbert-Elliott; a run without a loss is left out."""
    effect, block = gilbert_elliott_effect(n, enter, leave, loss), np.arange(n) // per_block
    truth = loss * enter / (enter + leave)

    def run(rng: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]] | None:
        lost = gilbert_elliott(rng, n, enter, leave, loss)
        if not lost.any():
            return None
        found = st.share_interval(lost, block)
        return (found.lo, found.hi), st.clopper_pearson(float(lost.mean()), n / effect)

    return Setting(process, "share", n, truth, DEPENDENT, run)


def scattered(process: str, n: int, per_block: int, share: float) -> Setting:
    block = np.arange(n) // per_block

    def run(rng: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]]:
        lost = rng.random(n) < share
        found = st.share_interval(lost, block)
        return (found.lo, found.hi), st.clopper_pearson(float(lost.mean()), n)

    return Setting(process, "share", n, share, INDEPENDENT, run)


def rates(process: str, n: int, phi: float) -> Setting:
    """The mean of AR(1) rates; the oracle knows for how many independent ones they stand."""
    lag = np.arange(1, n)
    each = 1 + 2 * float(((1 - lag / n) * phi**lag).sum())
    student = float(stdtrit(max(n / each - 1, 1.0), st.CONFIDENCE))

    def run(rng: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]]:
        values = ar1(rng, n, phi)
        mean, found = st.mean_rate(values)
        assert found is not None
        reach = student * math.sqrt(float(np.square(values - mean).sum()) / (n - each) * each / n)
        return (found.lo, found.hi), (mean - reach, mean + reach)

    return Setting(process, "mean", n, 0.0, DEPENDENT if phi else INDEPENDENT, run)
