"""Lost packets tell by how they went missing what became of them, and the CE's count on which side of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from perfharness.analysis.ledger import DAMAGED, LAN
from perfharness.judge.diagnosis import diagnose
from perfharness.model import Diagnosis, Direction, Interval, LedgerRow, Segment, Verdict
from tests.unit.diagnosis_builder import A_Z, Z_A, finding, measured, scope

SENT = 6000


def runs(lost: int, periods: int, longest: int = 1) -> dict[str, Any]:
    """As `analysis.patterns.runs` tells them."""
    chance = SENT / max(SENT - lost, 1)
    return {"packets": SENT, "lost": lost, "periods": periods, "longest": longest, "chance_length": chance}


def told(
    lost: int,
    facts: dict[str, Any],
    *rows: LedgerRow,
    ways: tuple[Direction, ...] = (A_Z, Z_A),
    other: Verdict = Verdict.PASS,
) -> dict[str, Diagnosis]:
    """The causes where this many packets of each of these directions went missing so, and of the other direction, if
    there is one, ``other`` is said; the last of each name."""
    known = {"loss_runs": {way.value: facts for way in ways}} if "lost" in facts else facts
    judged = [
        finding("loss", way=way, value=lost / SENT, n=SENT) if way in ways else finding("loss", other, way=way, n=SENT)
        for way in (A_Z, Z_A)
    ]
    return {each.cause: each for each in diagnose(judged, [measured(*rows, facts=known)])}


@pytest.mark.parametrize(
    ("lost", "periods", "cause"),
    [
        (60, 60, "circuit-loss-random"),
        (60, 59, "circuit-loss-random"),
        (1800, 1260, "circuit-loss-random"),  # of three in ten the next one is lost as well
        (60, 6, "circuit-loss-burst"),
        (60, 30, "circuit-loss-burst"),
        (600, 60, "circuit-loss-burst"),
        (6, 6, "unattributed-loss"),  # too few to tell
        (60, 50, "unattributed-loss"),
        (SENT, 1, "unattributed-loss"),  # nothing passes: no pattern
    ],
)
def test_the_pattern_of_loss_is_a_cause(lost: int, periods: int, cause: str) -> None:
    """One by one or in a row where that is clear, and otherwise only that packets are lost."""
    assert set(told(lost, runs(lost, periods))) == {cause}


def test_loss_in_one_direction_is_told_with_its_pattern() -> None:
    """That the other way is well is certain; how they went missing says what to look for."""
    found = told(60, runs(60, 60), ways=(A_Z,))
    assert {cause: each.certainty for cause, each in found.items()} == {
        "loss-one-way": "proven",
        "circuit-loss-random": "likely",
    }


@pytest.mark.parametrize("other", [Verdict.INCONCLUSIVE, Verdict.NOT_RUN, Verdict.NOT_APPLICABLE])
def test_loss_is_of_one_direction_only_where_the_other_is_shown_to_be_well(other: Verdict) -> None:
    """A direction that is undecided, or was not measured or judged, may lose as much: nothing is said of it."""
    assert set(told(60, runs(60, 60), ways=(A_Z,), other=other)) == {"circuit-loss-random"}
    assert set(told(6, runs(6, 6), ways=(A_Z,), other=other)) == {"unattributed-loss"}


def test_a_direction_that_was_not_judged_may_be_shown_to_be_well() -> None:
    """Nothing was required of it, and it lost less for certain."""
    lost = finding("loss", value=0.01, threshold=2e-3, interval=Interval(0.008, 0.012, 0.95, "one", "test"))
    for most, cause in ((0.001, "loss-one-way"), (0.009, "unattributed-loss")):
        back = finding("loss", Verdict.NOT_APPLICABLE, Z_A, interval=Interval(0.0, most, 0.95, "one", "test"))
        assert [each.cause for each in diagnose((lost, back), ())] == [cause]


def test_packets_that_came_damaged_are_named() -> None:
    """Half of what is missing and more came with a wrong checksum."""
    damaged = LedgerRow(scope(), DAMAGED, Segment.BETWEEN, 0, 50, "Udp InCsumErrors", True)
    back = replace(damaged, scope=scope(Z_A), packets_hi=10)
    found = told(60, runs(60, 60), damaged, back)
    assert set(found) == {"corruption", "circuit-loss-random"}
    assert "50 packets came with a wrong checksum" in " ".join(found["corruption"].because)
    assert found["circuit-loss-random"].findings == (finding("loss", way=Z_A).id,)


@pytest.mark.parametrize(
    ("way", "crossed", "told_so"),
    [(A_Z, SENT, True), (A_Z, SENT - 60, False), (Z_A, SENT - 60, True), (Z_A, SENT, False)],
)
def test_the_count_at_the_ce_says_on_which_side_it_was(way: Direction, crossed: int, told_so: bool) -> None:
    """Those that left the site and never arrived, or never came back to it, were lost past the CE."""
    seen = {"interface": "wan of ce-a", "crossed": crossed, "packets": SENT, "missing": 60}
    (found,) = told(60, {"ce": {way.value: seen}}, ways=(way,)).values()
    assert ("wan of ce-a counted" in " ".join(found.because)) is told_so
    assert found.owner == ("carrier" if told_so else "unknown")


def test_loss_before_the_ce_is_the_lans() -> None:
    """It explains the missing packets, so the circuit passes, and it is named all the same."""
    row = LedgerRow(
        scope(), LAN, Segment.LAN, 55, 60, "of 6,000 packets 5,945 counted on the CE's WAN interface", False
    )
    rest = finding("loss", Verdict.PASS, value=0.0, n=SENT, threshold=2e-3)
    (found,) = diagnose([rest], [measured(row)])
    assert (found.cause, found.segment, found.owner) == ("lan-loss", Segment.LAN, "own")
    assert diagnose([rest], [measured(replace(row, packets_lo=1))]) == ()
