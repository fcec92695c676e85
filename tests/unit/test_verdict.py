"""The rules by which a verdict is made, one table row each."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfharness.analysis.ledger import loss_interval
from perfharness.judge.verdict import decide
from perfharness.model import Criterion, Direction, Fitness, Interval, Layer, Observation, Scope, Verdict

INF = math.inf
MS = 1_000_000


def sampled(lo: float, hi: float, n_eff: float | None = 10_000.0) -> Interval:
    return Interval(lo, hi, 0.95, "one", "test", n_eff)


def exact(lo: float, hi: float) -> Interval:
    return Interval(lo, hi, 1.0, "exact", "counted")


def figure(value: Any, interval: Interval | None = None, **more: Any) -> Observation:
    given: dict[str, Any] = {"metric": "delay.rtt", "statistic": "p99", "unit": "ns", "n": 30_000}
    return Observation(scope=Scope("ec-1", direction=Direction.A_Z), value=value, interval=interval, **(given | more))


def limit(operator: str, threshold: Any, unit: str = "ns", mandatory: bool = True, layer: Any = None) -> Criterion:
    return Criterion("delay.rtt", "p99", operator, threshold, unit, "the order", mandatory, (), layer)


AT_MOST = limit("<=", 10 * MS)
AT_LEAST = limit(">=", 1e9, "bit/s", layer=Layer.L2)


def rate(value: float, interval: Interval | None) -> Observation:
    return figure(value, interval, metric="throughput.udp", statistic="mean", unit="bit/s", layer=Layer.L2, n=10)


@pytest.mark.parametrize(
    ("observation", "criterion", "verdict", "words"),
    [
        # at most
        (figure(8 * MS, sampled(7 * MS, 9 * MS)), AT_MOST, Verdict.PASS, "at most 9 ms (95 % sure), 10 ms allowed"),
        (figure(8 * MS, sampled(7 * MS, 10 * MS)), AT_MOST, Verdict.PASS, "at most 10 ms"),
        (
            figure(12 * MS, sampled(11 * MS, 13 * MS)),
            AT_MOST,
            Verdict.FAIL,
            "at least 11 ms (95 % sure), 10 ms allowed",
        ),
        (figure(12 * MS, sampled(10 * MS, 13 * MS)), AT_MOST, Verdict.INCONCLUSIVE, "between 10 ms and 13 ms"),
        # a lost packet is infinitely late
        (figure(INF, sampled(12 * MS, INF)), AT_MOST, Verdict.FAIL, "at least 12 ms"),
        (
            figure(INF, sampled(INF, INF)),
            AT_MOST,
            Verdict.FAIL,
            "So many packets are lost that it has no value (95 % sure), 10 ms allowed",
        ),
        (
            figure(8 * MS, sampled(7 * MS, INF)),
            AT_MOST,
            Verdict.INCONCLUSIVE,
            "at least 7 ms (95 % sure) and nothing bounds it from above",
        ),
        (figure(8 * MS, sampled(-INF, 9 * MS)), AT_MOST, Verdict.PASS, "at most 9 ms"),
        # at least
        (
            rate(1.1e9, sampled(1.0e9, 1.2e9)),
            AT_LEAST,
            Verdict.PASS,
            "at least 1 Gbit/s (95 % sure), 1 Gbit/s required",
        ),
        (rate(5e8, sampled(4.9e8, 5.1e8)), AT_LEAST, Verdict.FAIL, "at most 510 Mbit/s"),
        (rate(9.9e8, sampled(9.8e8, 1.0e9)), AT_LEAST, Verdict.INCONCLUSIVE, "between 980 Mbit/s and 1 Gbit/s"),
        # counted, not sampled
        (figure(1500, exact(1500, 1500), unit="B"), limit(">=", 1500, "B"), Verdict.PASS, "It is 1500 B, 1500 B req"),
        (figure(1400, exact(1400, 1400), unit="B"), limit(">=", 1500, "B"), Verdict.FAIL, "It is 1400 B, 1500 B req"),
        (figure(3, exact(0, 9), unit=""), limit("<=", 5, ""), Verdict.INCONCLUSIVE, "what was counted leaves it open"),
        # yes and no, words, identities
        (figure(True, unit=""), limit("==", True, ""), Verdict.PASS, "It is yes, as required"),
        (figure(False, unit=""), limit("==", True, ""), Verdict.FAIL, "It is no, required is yes"),
        (figure(1, unit=""), limit("==", True, ""), Verdict.FAIL, "It is 1, required is yes"),
        (figure("silent", unit=""), limit("==", "open", ""), Verdict.FAIL, "It is silent, required is open"),
        (figure(45104, unit=""), limit("==", 45104, ""), Verdict.PASS, "45,104"),
        (figure("many", unit=""), limit("<=", 5, ""), Verdict.INCONCLUSIVE, "cannot be ordered"),
        (figure(math.nan, sampled(1, 2)), AT_MOST, Verdict.INCONCLUSIVE, "cannot be ordered"),
        (figure(math.nan, unit=""), limit("==", 5, ""), Verdict.INCONCLUSIVE, "cannot be compared"),
        # exactly so: only where the interval leaves nothing else
        (
            figure(0.0, sampled(0.0, 1e-4), metric="loss", unit="1"),
            limit("==", 0.0, "1"),
            Verdict.INCONCLUSIVE,
            "between",
        ),
        (
            figure(0.1, sampled(0.0, 0.12), metric="loss", unit="1"),
            limit("==", 0.0, "1"),
            Verdict.INCONCLUSIVE,
            "between",
        ),
        (figure(0.1, sampled(0.08, 0.12), unit="1"), limit("==", 0.0, "1"), Verdict.FAIL, "at least 8 %"),
        (figure(1500, exact(1500, 1500), unit="B"), limit("==", 1500, "B"), Verdict.PASS, "It is 1500 B"),
        (figure(1500, exact(1500, INF), unit="B"), limit("==", 1500, "B"), Verdict.INCONCLUSIVE, "leaves it open"),
        (figure(8 * MS), limit("==", 8 * MS), Verdict.INCONCLUSIVE, "a bare number proves nothing"),
        # a recommendation
        (
            figure(12 * MS, sampled(11 * MS, 13 * MS)),
            limit("<=", 10 * MS, mandatory=False),
            Verdict.WARN,
            "at least 11 ms",
        ),
        (figure(8 * MS, sampled(7 * MS, INF)), limit("<=", 10 * MS, mandatory=False), Verdict.INCONCLUSIVE, "above"),
        # no figure, and figures that prove nothing
        (figure(None, reason="The far host did not answer."), AT_MOST, Verdict.NOT_RUN, "The far host did not answer."),
        (figure(None), AT_MOST, Verdict.NOT_RUN, "There is no value."),
        (figure(8 * MS), AT_MOST, Verdict.INCONCLUSIVE, "a bare number proves nothing"),
        (figure(8 * MS, sampled(math.nan, math.nan)), AT_MOST, Verdict.INCONCLUSIVE, "proves nothing"),
        (figure(8 * MS, sampled(11 * MS, 9 * MS)), AT_MOST, Verdict.INCONCLUSIVE, "proves nothing"),
        # two kinds are never compared
        (figure(8, sampled(7, 9), unit="1"), AT_MOST, Verdict.INCONCLUSIVE, "1 was measured but ns is required"),
        (
            figure(1e9, sampled(1e9, 1e9), unit="bit/s", layer=Layer.L4),
            AT_LEAST,
            Verdict.INCONCLUSIVE,
            "bit/s at L4 was measured but bit/s at L2 is required",
        ),
    ],
)
def test_rules(observation: Observation, criterion: Criterion, verdict: Verdict, words: str):
    """Each rule gives its verdict and says why."""
    found, reason = decide(observation, criterion, ())
    assert (found, words in reason) == (verdict, True), reason


@pytest.mark.parametrize(
    ("fitness", "verdict", "words"),
    [
        ([Fitness("a", "t", True, ()), Fitness("z", "t", True, ())], Verdict.PASS, "at most 9 ms"),
        (
            [Fitness("a", "t", False, ("CPU 98 % busy", "steal 4 %")), Fitness("z", "t", True, ())],
            Verdict.INCONCLUSIVE,
            "not fit to measure this: a: CPU 98 % busy, steal 4 %.",
        ),
        ([Fitness("a", "t", True, ())], Verdict.INCONCLUSIVE, "Nobody judged whether z could"),
        (
            [Fitness("a", "t", True, ()), Fitness("z", "t", True, ()), Fitness("other", "t", False, ("x",))],
            Verdict.PASS,
            "at most 9 ms",
        ),
    ],
)
def test_the_tester_is_judged_before_the_circuit(fitness: list[Fitness], verdict: Verdict, words: str):
    """An unfit or unjudged host decides nothing, good or bad; other hosts do not matter."""
    observation = figure(8 * MS, sampled(7 * MS, 9 * MS), hosts=("a", "z"))
    found, reason = decide(observation, AT_MOST, fitness)
    assert (found, words in reason) == (verdict, True), reason


def test_a_tester_is_unfit_only_for_what_the_reason_spoils():
    """Bad time stamps leave a delay open, and say nothing of what was lost."""
    fitness = [Fitness("a", "t", True, ()), Fitness("a", "t", False, ("no stamps",), metrics=("delay", "variation"))]
    delay = figure(8 * MS, sampled(7 * MS, 9 * MS), hosts=("a",))
    lost = figure(0.1, sampled(0.08, 0.12), metric="loss", unit="1", hosts=("a",))
    assert decide(replace(delay, metric="delay.rtt"), AT_MOST, fitness)[0] is Verdict.INCONCLUSIVE
    assert decide(lost, limit("<=", 0.01, "1"), fitness)[0] is Verdict.FAIL


def test_an_unfit_tester_fails_no_circuit():
    """A figure on the bad side by an unfit host is not a FAIL."""
    observation = figure(50 * MS, sampled(40 * MS, 60 * MS), hosts=("a",))
    assert decide(observation, AT_MOST, [Fitness("a", "t", False, ("no CPU",))])[0] is Verdict.INCONCLUSIVE


def test_what_the_observation_has_to_say_follows_the_reason():
    """The measurement's own words are kept behind the verdict's."""
    observation = figure(1400, exact(1400, 1400), unit="B", reason="Larger packets vanish: a black hole.")
    _, reason = decide(observation, limit(">=", 1500, "B"), ())
    assert reason == "It is 1400 B, 1500 B required. Larger packets vanish: a black hole."


def test_a_share_of_flows_is_decided_by_more_flows():
    """What was counted is named as it is."""
    share = Interval(0.06, 0.5, 0.95, "one", "over the flows", 6)
    observation = figure(1 / 3, share, metric="outage", statistic="split", unit="1", n=6)
    _, reason = decide(observation, limit(">=", 0.1, "1"), ())
    assert "flows would decide, 6 were measured" in reason


LOSS = limit("<=", 1e-4, "1")


def loss(lost: int, sent: int, host: tuple[int, int] = (0, 0), n_eff: float | None = None) -> Observation:
    interval = loss_interval(lost, sent, host, n_eff)
    return figure(lost / sent, interval, metric="loss", statistic="ratio", unit="1", n=sent)


@pytest.mark.parametrize(
    ("observation", "verdict", "words"),
    [
        (loss(0, 29_956), Verdict.PASS, "0.01 % allowed"),
        (loss(0, 10_000), Verdict.INCONCLUSIVE, "about 30,000 packets would decide, 10,000 were measured"),
        (loss(3, 20_000), Verdict.INCONCLUSIVE, "packets would decide, 20,000 were measured"),
        (loss(2, 20_000), Verdict.INCONCLUSIVE, "the estimate is the threshold itself"),
        (loss(50, 20_000), Verdict.FAIL, "0.01 % allowed"),
        (loss(50, 20_000, (50, 50)), Verdict.INCONCLUSIVE, "between 0 %"),
        (loss(50, 30_000, (50, 50)), Verdict.PASS, "at most"),
        (loss(50, 30_000, (0, 50)), Verdict.INCONCLUSIVE, "what may have been lost outside the circuit leaves it open"),
        (loss(5_000, 30_000, (0, 50)), Verdict.FAIL, "at least"),
        (loss(5_000, 30_000, (0, 50), 0.0), Verdict.INCONCLUSIVE, "what may have been lost outside"),
    ],
)
def test_loss_is_judged_on_what_the_hosts_did_not_lose(observation: Observation, verdict: Verdict, words: str):
    """PASS and FAIL only where neither chance nor a host explains it; else what would decide."""
    found, reason = decide(observation, LOSS, ())
    assert (found, words in reason) == (verdict, True), reason


@pytest.mark.parametrize(
    ("observation", "criterion", "words"),
    [
        # 2 ms of margin, 3 ms of reach: (3/2)^2 times as many.
        (figure(8 * MS, sampled(7 * MS, 11 * MS)), AT_MOST, "about 68,000 packets would decide, 30,000 were"),
        (rate(9.9e8, sampled(9.7e8, 1.01e9)), AT_LEAST, "about 40 intervals would decide, 10 were measured"),
        (figure(8 * MS, sampled(7 * MS, INF, 10.0), n=1000), AT_MOST, "about 30,000 packets would decide, 1,000 were"),
        (figure(8 * MS, sampled(7 * MS, INF), n=30_000), AT_MOST, "cannot be said how long"),
        (figure(8 * MS, sampled(-INF, INF, 0.0), n=100), AT_MOST, "cannot be said how long"),
        (figure(8 * MS, sampled(7 * MS, 11 * MS, None)), AT_MOST, "cannot be said how long"),
        (figure(INF, sampled(9 * MS, INF)), AT_MOST, "cannot be said how long"),
    ],
)
def test_what_would_decide_is_said_where_it_can_be(observation: Observation, criterion: Criterion, words: str):
    """A forecast where the figure allows one, an admission where it does not."""
    verdict, reason = decide(observation, criterion, ())
    assert (verdict, words in reason) == (Verdict.INCONCLUSIVE, True), reason


ANY = st.floats() | st.integers(-5, 5)


@settings(deadline=None)
@given(value=ANY, lo=ANY, hi=ANY, threshold=ANY, operator=st.sampled_from(("<=", ">=", "==")), mandatory=st.booleans())
def test_a_verdict_needs_the_whole_interval(
    value: float, lo: float, hi: float, threshold: float, operator: str, mandatory: bool
):
    """Whatever the numbers, nan and infinite ones too: PASS only if every value in the interval is good, FAIL only if
    every one is bad, and FAIL never for a recommendation."""
    verdict, reason = decide(
        figure(value, sampled(lo, hi)),
        replace(AT_MOST, operator=operator, threshold=threshold, mandatory=mandatory),
        (),
    )
    proper = lo <= hi and not math.isnan(value) and not math.isnan(threshold)
    good = {"<=": hi <= threshold, ">=": lo >= threshold, "==": lo == threshold == hi}[operator]
    bad = {"<=": lo > threshold, ">=": hi < threshold, "==": lo > threshold or hi < threshold}[operator]
    assert (verdict is Verdict.PASS) == (proper and good), reason
    assert (verdict in (Verdict.FAIL, Verdict.WARN)) == (proper and bad), reason
    assert (verdict is Verdict.FAIL) <= mandatory


@settings(deadline=None)
@given(value=ANY, bound=ANY, operator=st.sampled_from(("<=", ">=", "==")))
def test_a_bare_number_proves_nothing(value: float, bound: float, operator: str):
    """A sampled figure without an interval is never a PASS or a FAIL."""
    verdict, _ = decide(figure(value), replace(AT_MOST, operator=operator, threshold=bound), ())
    assert verdict is Verdict.INCONCLUSIVE


@settings(deadline=None)
@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 3000), st.sampled_from((1e-4, 1e-2, 0.5)))
def test_no_loss_that_hosts_may_have_caused_fails_a_circuit(lost: int, least: int, more: int, allowed: float):
    """FAIL only if what is left after the most that hosts may have lost is beyond the threshold by itself, PASS only if
    what is left after the least is within it."""
    interval = loss_interval(lost, 3000, (least, least + more))
    seen = figure(lost / 3000, interval, metric="loss", statistic="ratio", unit="1", n=3000)
    verdict, _ = decide(seen, limit("<=", allowed, "1"), ())
    if verdict is Verdict.FAIL:
        assert lost - least - more > allowed * 3000
    if verdict is Verdict.PASS:
        assert max(0, lost - least) <= allowed * 3000
