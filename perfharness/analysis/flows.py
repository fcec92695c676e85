"""Many flows at once: do all fare alike, or do some, those on one member of a link group, lose more or come later?

A member is chosen by a hash of addresses and ports, so a bad one hits certain flows and no others. If the path does
not look at flows, the packets that it loses are drawn from all that were sent without asking for their flow: the flows'
counts are then multivariate hypergeometric, given how many were lost in all. Every flow is sent once a round, in
random order, so that this also holds, or errs towards silence, where losses come in bursts. What this does not explain
is a concentration, and the likelihood ratio of two rates against one finds it (a scan over the flows in the order of
their loss). Its null distribution is drawn, not assumed.

Delay is compared between flows, never between clocks: what all packets of a round share (the clocks' offset and
drift, a common queue) is taken away by Tukey's median polish (Exploratory Data Analysis, 1977, chapter 11).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perfharness.analysis.special import expit, xlogy
from perfharness.analysis.statistics import Bools, Floats, Ints, clopper_pearson
from perfharness.model import Interval

ALPHA = 0.001
"""Chance that one test finds a concentration where there is none; a sweep makes four (loss and delay, each way)."""
DRAWS, BATCHES, ENOUGH = 4000, 16, 10
"""Draws of the null distribution; they end early once so many show as much concentration (Besag and Clifford 1991)."""
MOST_LEVELS = 4
"""Rates of loss that are told apart."""
SURE, UNSURE = 0.99, 0.01
"""Probabilities of belonging to the worse flows beyond which there is no doubt."""
MEMBER_LOSS = 0.01
MEMBER_SHARE = 1 / 8
MEMBER_SLOW_NS = 200_000
"""What a sweep must be able to find before its silence counts: a member with an eighth of the flows that loses 1 %,
or is 200 µs slower."""
POWER, POWER_DRAWS = 0.95, 400
LEAST_STEP_NS = 50_000
"""Flows closer than this are alike: hosts too treat flows unlike by some µs. It is 10 km of fibre."""
STEP_ERRORS = 6.0
"""... and so are flows closer than this many standard errors of their difference."""
LEAST_PACKETS = 30
"""Of a flow, for its delay to be compared."""
_BLOCKS = 10
_SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Split:
    """Which of n flows fare worse than the others."""

    worse: Bools
    """(n,) the flows that are hit."""
    doubtful: Bools
    """(n,) flows that may as well belong to the other side."""
    counted: Bools
    """(n,) flows of which enough is known."""
    p_value: float | None
    """Chance of as much concentration if all flows fared alike; None where it was not tested that way."""

    @property
    def found(self) -> bool:
        return bool(self.worse.any())

    @property
    def share(self) -> tuple[float, float, float]:
        """Share of flows hit: estimate, and bounds for the share of all flows that there could be."""
        n, hit = int(self.counted.sum()), int(self.worse.sum())
        least = int((self.worse & ~self.doubtful).sum())
        most = hit + int((self.counted & ~self.worse & self.doubtful).sum())
        return hit / n, clopper_pearson(least / n, n)[0], clopper_pearson(most / n, n)[1]


# --- loss -----------------------------------------------------------------------------------------


def split_by_loss(lost: Ints, sent: Ints, generator: np.random.Generator, alpha: float = ALPHA) -> Split:
    """The flows that lose more than the others: (n,) packets lost of (n,) sent.

    After a first group the rest is asked again, so that a dead member does not hide one that loses 1 %.
    """
    worse, doubtful = np.zeros(len(sent), np.bool_), np.zeros(len(sent), np.bool_)
    counted = sent > 0
    first: float | None = None
    for _ in range(MOST_LEVELS - 1):
        rest = np.flatnonzero(counted & ~worse)
        p_value = _p_value(lost[rest], sent[rest], generator)
        first = p_value if first is None else first
        if p_value > alpha:
            break
        belongs = _membership(lost[rest], sent[rest])
        worse[rest] = belongs > 0.5
        doubtful[rest] = (belongs > UNSURE) & (belongs < SURE)
    return Split(worse, doubtful, counted, first)


def would_find(lost: Ints, sent: Ints, generator: np.random.Generator, alpha: float = ALPHA) -> bool:
    """Whether a member with an eighth of these flows that loses 1 % more than they do would be found (power 95 %)."""
    sent = sent[sent > 0]
    hit = int(len(sent) * MEMBER_SHARE)
    if not hit:
        return False
    rate = np.full(len(sent), lost.sum() / sent.sum())
    rate[:hit] = np.minimum(rate[:hit] + MEMBER_LOSS, 1.0)
    expected = round(float((rate * sent).sum()))
    critical = np.quantile(_best_split(_null(expected, sent, DRAWS, generator), sent)[0], 1 - alpha)
    seen, _ = _best_split(generator.binomial(sent, rate, (POWER_DRAWS, len(sent))), sent)
    return float((seen > critical).mean()) >= POWER


def explained(lost: Ints, sent: Ints, split: Split, host_most: int) -> bool:
    """The hosts may have lost all that the worse flows lost more than the others."""
    others = split.counted & ~split.worse
    usual = lost[others].sum() / sent[others].sum() if others.any() else 0.0
    return host_most >= float((lost - usual * sent)[split.worse].sum())


def loss_bounds(lost: Ints, sent: Ints, host_most: int, confidence: float = 0.95) -> Interval:
    """Loss of the worst flow; the bounds hold for whichever of all flows that is (Bonferroni)."""
    worst = int(np.argmax(lost / np.maximum(sent, 1)))
    n, each = int(sent[worst]), 1 - (1 - confidence) / max(int((sent > 0).sum()), 1)
    lo, _ = clopper_pearson(max(0, int(lost[worst]) - host_most) / n, n, each)
    _, hi = clopper_pearson(int(lost[worst]) / n, n, each)
    return Interval(lo, hi, confidence, "one", "Clopper–Pearson, Bonferroni over the flows", n)


def _p_value(lost: Ints, sent: Ints, generator: np.random.Generator) -> float:
    if len(sent) < 2 or not 0 < lost.sum() < sent.sum():
        return 1.0
    seen = _best_split(lost[None, :], sent)[0][0]
    as_much = drawn = 0
    while drawn < DRAWS and as_much < ENOUGH:
        drawn += DRAWS // BATCHES
        null = _best_split(_null(int(lost.sum()), sent, DRAWS // BATCHES, generator), sent)[0]
        as_much += int((null >= seen - 1e-9).sum())
    return (1 + as_much) / (1 + drawn)


def _null(lost: int, sent: Ints, draws: int, generator: np.random.Generator) -> Ints:
    """(draws, n) losses of each flow if the path did not look at flows."""
    drawn: Ints = generator.multivariate_hypergeometric(sent, lost, draws, method="marginals")
    return drawn


def _best_split(lost: Ints, sent: Ints) -> tuple[Floats, Ints]:
    """For each row of (m, n) losses the largest log likelihood ratio of two rates against one, and how many flows
    then have the higher one."""
    order = np.argsort(-(lost / sent), axis=1, kind="stable")
    hits = np.cumsum(np.take_along_axis(lost, order, 1), 1)
    of = np.cumsum(sent[order], 1)
    all_hits, all_of = hits[:, -1:], of[:, -1:]
    hits, of = hits[:, :-1], of[:, :-1]
    ratio = _likelihood(hits, of) + _likelihood(all_hits - hits, all_of - of) - _likelihood(all_hits, all_of)
    best = np.argmax(ratio, 1)
    return np.take_along_axis(ratio, best[:, None], 1)[:, 0], best + 1


def _likelihood(hits: Ints, of: Ints) -> Floats:
    """Of binomial counts at their own rate, as a logarithm and without the coefficients, which cancel."""
    found: Floats = xlogy(hits, hits / of) + xlogy(of - hits, 1 - hits / of)
    return found


def _membership(lost: Ints, sent: Ints) -> Floats:
    """(n,) probability of each flow to be one of the worse: a mixture of two binomials, by EM from the best split."""
    _, hit = _best_split(lost[None, :], sent)
    belongs = np.zeros(len(sent))
    belongs[np.argsort(-(lost / sent), kind="stable")[: int(hit[0])]] = 1.0
    for _ in range(100):
        share = float(np.clip(belongs.mean(), 0.5 / len(sent), 1 - 0.5 / len(sent)))
        # Half a packet keeps a rate of none or all from being taken for certain.
        high = ((belongs * lost).sum() + 0.5) / ((belongs * sent).sum() + 1)
        low = (((1 - belongs) * lost).sum() + 0.5) / (((1 - belongs) * sent).sum() + 1)
        odds = lost * math.log(high / low) + (sent - lost) * math.log((1 - high) / (1 - low))
        belongs = expit(odds + math.log(share / (1 - share)))
    return belongs


# --- delay ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offsets:
    """How much later than the median flow each of n flows is, ns, and the standard error; ``nan`` = not known."""

    offset: Floats
    error: Floats


def offsets(delay: Floats, turn: Ints, flow: Ints, flows: int) -> Offsets:
    """From (m,) delays of packets (``nan`` unknown, ``inf`` lost), the round in which each was sent, and its flow.

    The clocks of the two ends may be apart and drift: what a round has in common is taken away.
    """
    there = np.isfinite(delay)
    packets = np.bincount(flow[there], minlength=flows)
    known = np.flatnonzero(packets >= LEAST_PACKETS)
    offset, error = np.full(flows, np.nan), np.full(flows, np.nan)
    if len(known) < 2:
        return Offsets(offset, error)
    table = np.full((int(turn.max()) + 1, flows), np.nan)
    # The clocks' offset is removed before it can eat the digits of a difference.
    table[turn[there], flow[there]] = delay[there] - np.median(delay[there])
    table = table[:, known]
    table = table[~np.isnan(table).all(1)]
    level = np.zeros(len(known))
    for _ in range(_SWEEPS):
        common = np.nanmedian(table - level, 1)
        level = np.nanmedian(table - common[:, None], 0)
    rest = table - common[:, None] - level
    offset[known] = level - np.median(level)
    error[known] = _errors(rest, packets[known])
    return Offsets(offset, error)


def split_by_delay(of: Offsets) -> Split:
    """The flows that are later than the fastest group that is large enough to be a member."""
    known = np.flatnonzero(~np.isnan(of.offset))
    worse = np.zeros(len(of.offset), np.bool_)
    counted = ~np.isnan(of.offset)
    if len(known) >= 2:
        order = known[np.argsort(of.offset[known], kind="stable")]
        gaps = np.diff(of.offset[order])
        group = np.concatenate(([0], np.cumsum(gaps > _limits(of.error[order]))))
        sizes = np.bincount(group)
        large = np.flatnonzero(sizes >= len(known) * MEMBER_SHARE)
        worse[order] = group > (large[0] if len(large) else sizes.argmax())
    return Split(worse, np.zeros(len(worse), np.bool_), counted, None)


def would_find_slow(of: Offsets) -> bool:
    """Whether a member that is 200 µs slower would stand apart."""
    error = of.error[~np.isnan(of.error)]
    return len(error) >= 2 and float(_limits(np.sort(error)).max()) + 2 * float(error.max()) <= MEMBER_SLOW_NS


def _limits(error: Floats) -> Floats:
    """(n-1,) how far neighbours must be apart to be told apart."""
    return np.maximum(LEAST_STEP_NS, STEP_ERRORS * np.hypot(error[1:], error[:-1]))


def _errors(rest: Floats, packets: Ints) -> Floats:
    """(n,) standard errors of the flows' medians, from (rounds, n) residuals.

    The larger of what independent packets would have (1.2533 σ/√n, σ from the median absolute deviation) and what the
    spread between ten parts of the sweep says, which sees slow changes of single flows.
    """
    sigma = 1.4826 * np.nanmedian(np.abs(rest), 0)
    alone = 1.2533 * sigma / np.sqrt(packets)
    parts = [part for part in np.array_split(rest, _BLOCKS) if len(part) and not np.isnan(part).all(0).any()]
    if len(parts) < 3:
        return alone
    medians = np.array([np.nanmedian(part, 0) for part in parts])
    slow = math.sqrt(float(np.median(medians.var(0, ddof=1))) / len(parts))
    return np.maximum(alone, slow)


# --- link groups ----------------------------------------------------------------------------------


def members(lo: float, hi: float, most: int = 16) -> tuple[int, int] | None:
    """(fewest, most) members of a group of which one, with its fair share of flows, fits a share within the bounds."""
    fits = [count for count in range(2, most + 1) if lo <= 1 / count <= hi]
    return (fits[0], fits[-1]) if fits else None
