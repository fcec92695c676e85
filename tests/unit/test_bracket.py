"""perfagent.bracket: the search for the path MTU, on paths that lose packets at random."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfagent.bracket import TRIES, TRIES_AT_THE_EDGE, Bracket

KNOWN = 44


def search(pmtu: int, floor: int, ceiling: int, loss: float, seed: int) -> tuple[Bracket, int]:
    """Play the prober against a path: each probe and each control packet is lost with probability ``loss``."""
    arrives = random.Random(seed).random
    bracket, passes = Bracket(KNOWN, floor, ceiling), 0
    while sizes := bracket.wanted():
        passes += 1
        for size in sizes:
            if size <= pmtu and arrives() >= loss:
                bracket.answered(size)
            elif arrives() >= loss:
                bracket.unanswered(size)
    return bracket, passes


@given(st.data())
def test_exact_without_loss(data: st.DataObject) -> None:
    """Every path MTU between the control packet's size and the ceiling is found to the byte, below the floor too."""
    ceiling = data.draw(st.integers(KNOWN + 1, 65_535))
    floor = data.draw(st.integers(KNOWN + 1, ceiling))
    pmtu = data.draw(st.integers(KNOWN, ceiling + 10))
    bracket, passes = search(pmtu, floor, ceiling, 0.0, 0)
    assert bracket.largest == min(pmtu, ceiling)
    assert passes <= (6 if ceiling <= 9216 else 8)


@settings(max_examples=300)
@given(st.integers(576, 9216), st.sampled_from([0.02, 0.06, 0.1]), st.integers(0, 2**32))
def test_exact_with_loss(pmtu: int, loss: float, seed: int) -> None:
    """Ordinary loss is not read as MTU."""
    bracket, _ = search(pmtu, 576, 9216, loss, seed)
    assert bracket.largest == pmtu


@settings(max_examples=100)
@given(st.sampled_from([1280, 1387, 1400, 1439, 1500, 8500]), st.integers(0, 2**32))
def test_exact_with_bursts(pmtu: int, seed: int) -> None:
    """1 % lost in bursts of ten packets on average, probes and control packets alike, is not read as MTU either."""
    draw, bad = random.Random(seed).random, False

    def arrives() -> bool:
        nonlocal bad
        bad = draw() < (0.9 if bad else 0.001)
        return not bad

    bracket = Bracket(KNOWN, 576, 9216)
    while sizes := bracket.wanted():
        for size in sizes:
            probe, control = arrives(), arrives()
            if size <= pmtu and probe:
                bracket.answered(size)
            elif control:
                bracket.unanswered(size)
    assert bracket.largest == pmtu


def test_an_outage_is_not_a_small_mtu() -> None:
    """While control packets are not answered either, nothing is concluded."""
    bracket = Bracket(KNOWN, 576, 1500)
    wanted = bracket.wanted()
    assert bracket.wanted() == wanted
    assert bracket.failed == []


def test_usual_sizes_first() -> None:
    """The first round asks for floor, ceiling and the usual sizes between them, three times over."""
    sizes = [1400, 1420, 1428, 1436, 1440, 1450, 1460, 1472, 1476, 1480, 1488, 1492, 1496, 1500]
    assert Bracket(KNOWN, 1400, 1500).wanted() == sizes * TRIES


def test_a_late_answer_overrules_failed_sizes() -> None:
    """A size given up is forgotten when a larger one turns out to have arrived."""
    bracket = Bracket(KNOWN, 1400, 1500)
    for size in bracket.wanted():
        bracket.unanswered(size)
    assert bracket.wanted()[-1] < 1400
    bracket.answered(1500)
    assert bracket.wanted() == []
    assert bracket.largest == 1500


@pytest.mark.parametrize("edge_lost", [3, 4, 5])
def test_the_size_above_the_answer_is_asked_twice_as_often(edge_lost: int) -> None:
    """Three losses in a row at the edge do not make the answer one byte too small."""
    bracket = Bracket(KNOWN, 1499, 1500)
    bracket.answered(1499)
    for _ in range(edge_lost):
        bracket.unanswered(1500)
    assert bracket.wanted() == [1500] * (TRIES_AT_THE_EDGE - edge_lost)
    bracket.answered(1500)
    assert bracket.wanted() == []
    assert bracket.largest == 1500
