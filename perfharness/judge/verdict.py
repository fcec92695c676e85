"""The one place where a verdict is made: a figure, where it may lie, what was required, and who measured.

    the order asks for nothing of the kind          NOT_APPLICABLE, with the reason
    no value                                        NOT_RUN, with the reason
    the tester was not fit to measure it            INCONCLUSIVE, naming the host and why
    nothing says how far the figure may be off      INCONCLUSIVE: a bare number proves nothing
    the whole interval is on the good side          PASS
    the whole interval is on the bad side           FAIL, or WARN where the criterion is a recommendation
    the interval lies across the threshold          INCONCLUSIVE, with what would decide where it can be said

An interval of losses already leaves out what the hosts may have lost (``analysis.ledger.loss_interval``), so a
FAIL of the circuit is one that neither chance nor a host can explain. Bounds may be infinite: a lost packet is
infinitely late.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TypeGuard

from perfharness.analysis.statistics import MOST_PACKETS, packets_to_decide
from perfharness.model import Criterion, Fitness, Interval, Observation, Verdict
from perfharness.order.units import duration_text, rate_text, ratio_text, size_text

Number = int | float
Value = Number | str | bool | None

SAMPLED = ("bit/s", "ns", "1")
"""Units of figures that are estimated from samples; others are counted or read."""
_WRITERS = {"bit/s": rate_text, "ns": duration_text, "B": size_text, "1": ratio_text}


def decide(observation: Observation, criterion: Criterion, fitness: Sequence[Fitness]) -> tuple[Verdict, str]:
    """The verdict of one figure and one sentence why, followed by what the observation has to say.

    ``fitness`` is that of the measurement the figure comes from; of it, the hosts named by the observation count.
    """
    if not observation.applicable:
        return Verdict.NOT_APPLICABLE, observation.reason
    if observation.value is None:
        return Verdict.NOT_RUN, observation.reason or "There is no value."
    verdict, why = _unfit(observation, fitness) or _compare(observation, criterion)
    if verdict is Verdict.FAIL and not criterion.mandatory:
        verdict = Verdict.WARN
    return verdict, f"{why} {observation.reason}".strip()


def _unfit(observation: Observation, fitness: Sequence[Fitness]) -> tuple[Verdict, str] | None:
    concerned = [judged for judged in fitness if judged.concerns(observation.metric)]
    unfit = [judged for judged in concerned if judged.host in observation.hosts and not judged.fit]
    if unfit:
        who = "; ".join(f"{judged.host}: {', '.join(judged.reasons)}" for judged in unfit)
        return Verdict.INCONCLUSIVE, f"The tester was not fit to measure this: {who}."
    unjudged = sorted(set(observation.hosts) - {judged.host for judged in concerned})
    if unjudged:
        return Verdict.INCONCLUSIVE, f"Nobody judged whether {' and '.join(unjudged)} could measure this."
    return None


def _compare(observation: Observation, criterion: Criterion) -> tuple[Verdict, str]:
    value, threshold = observation.value, criterion.threshold
    if (observation.unit, observation.layer) != (criterion.unit, criterion.layer):
        return Verdict.INCONCLUSIVE, f"{_units(observation)} was measured but {_units(criterion)} is required."
    interval = observation.interval
    fact = interval is None and observation.unit not in SAMPLED
    if criterion.operator == "==" and (fact or not _is_number(value) or not _is_number(threshold)):
        return _equal(value, threshold, criterion.unit)
    if not _is_number(value) or not _is_number(threshold):
        return Verdict.INCONCLUSIVE, f"{value!r} and {threshold!r} cannot be ordered."
    if interval is None or not interval.lo <= interval.hi:  # neither has nan
        return Verdict.INCONCLUSIVE, "Nothing says how far the figure may be off: a bare number proves nothing."
    return _place(observation, float(value), interval, criterion, float(threshold))


def _equal(value: Value, threshold: Value, unit: str) -> tuple[Verdict, str]:
    """Yes and no, words, identities: what is as it is. A number that is none cannot be equal or different."""
    if any(isinstance(one, float) and math.isnan(one) for one in (value, threshold)):
        return Verdict.INCONCLUSIVE, f"{value!r} and {threshold!r} cannot be compared."
    if isinstance(value, bool) is isinstance(threshold, bool) and value == threshold:
        return Verdict.PASS, f"It is {_say(value, unit)}, as required."
    return Verdict.FAIL, f"It is {_say(value, unit)}, required is {_say(threshold, unit)}."


def _place(
    observation: Observation, value: float, interval: Interval, criterion: Criterion, threshold: float
) -> tuple[Verdict, str]:
    """Where the whole interval lies, seen from the threshold."""
    lo, hi = interval.lo, interval.hi
    if criterion.operator == "<=":
        good, bad, required = hi <= threshold, lo > threshold, "allowed"
    elif criterion.operator == ">=":
        good, bad, required = lo >= threshold, hi < threshold, "required"
    elif criterion.operator == "==":
        good, bad, required = lo == threshold == hi, lo > threshold or hi < threshold, "required"
    else:
        raise ValueError(f"{criterion.operator!r} is no operator")
    limit = f"{_say(threshold, criterion.unit)} {required}"
    sure = "" if interval.sides == "exact" else f" ({interval.confidence * 100:g} % sure)"
    at_most, at_least = f"It is at most {_say(hi, criterion.unit)}", f"It is at least {_say(lo, criterion.unit)}"
    if observation.unit == "ns" and lo == math.inf:
        at_least = "So many packets are lost that it has no value"
    if interval.sides == "exact" and lo == hi:
        at_most = at_least = f"It is {_say(lo, criterion.unit)}"
    if good:
        return Verdict.PASS, f"{at_most if required == 'allowed' else at_least}{sure}, {limit}."
    if bad:
        return Verdict.FAIL, f"{at_least if lo > threshold else at_most}{sure}, {limit}."
    where = f"It lies between {_say(lo, criterion.unit)} and {_say(hi, criterion.unit)}{sure}, {limit}"
    if math.isinf(hi) and not math.isinf(lo):
        where = f"{at_least}{sure} and nothing bounds it from above, {limit}"
    return Verdict.INCONCLUSIVE, f"{where}: {_what_decides(observation, value, interval, threshold)}."


# --- what would decide ------------------------------------------------------------------------------


def _what_decides(observation: Observation, value: float, interval: Interval, threshold: float) -> str:
    if interval.sides == "exact":
        return "what was counted leaves it open"
    if interval.n_eff is None and observation.metric == "loss":
        return "what may have been lost outside the circuit leaves it open, more of the same would not decide"
    if interval.n_eff is None and observation.metric == "delay.oneway":
        return "how well the clocks are known is part of it, more of the same would not decide"
    if value == threshold:
        return "the estimate is the threshold itself, more of the same would not decide"
    needed = _needed(observation, value, interval, threshold)
    if needed is None or needed <= observation.n:
        return "it cannot be said how long a test would decide"
    things = "intervals" if observation.unit == "bit/s" else "flows" if observation.metric == "outage" else "packets"
    return f"about {_round_up(needed):,} {things} would decide, {observation.n:,} were measured"


def _needed(observation: Observation, value: float, interval: Interval, threshold: float) -> float | None:
    """How many packets (or intervals) would decide if the figure stays what it is; None if nobody can say."""
    if not interval.n_eff:
        return None
    effect = observation.n / interval.n_eff
    if observation.unit == "1":
        return packets_to_decide(value, threshold, effect, interval.confidence)
    bound = interval.hi if value < threshold else interval.lo
    if math.isinf(bound) or math.isinf(value):
        return _needed_to_bound(observation.statistic, effect, interval.confidence)
    # A bound comes nearer with the square root of what is measured.
    times = min(abs(bound - value) / abs(threshold - value), float(MOST_PACKETS))
    return min(observation.n * times**2, float(MOST_PACKETS))


def _needed_to_bound(statistic: str, effect: float, confidence: float) -> int | None:
    """Fewer packets than this give a quantile (``p99.9``) no upper bound at all."""
    found = re.fullmatch(r"p(\d+(?:\.\d+)?)", statistic)
    return packets_to_decide(0.0, 1 - float(found[1]) / 100, effect, confidence) if found else None


# --- words ------------------------------------------------------------------------------------------


def _is_number(value: Value) -> TypeGuard[Number]:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _units(of: Observation | Criterion) -> str:
    return f"{of.unit or 'a plain value'}{f' at {of.layer}' if of.layer else ''}"


def _say(value: Value, unit: str) -> str:
    """A value with its unit as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if math.isinf(value) and unit != "ns":
        return "unbounded"
    if unit in _WRITERS:
        return _WRITERS[unit](value)
    return f"{value:,} {unit}".strip() if isinstance(value, int) else f"{value:.4g} {unit}".strip()


def _round_up(number: float) -> int:
    """To two digits: nobody should read precision into a forecast."""
    digits = max(0, math.floor(math.log10(max(number, 1))) - 1)
    step: int = 10**digits
    return math.ceil(number / step) * step
