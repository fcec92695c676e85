"""What is held against every fault: the table is whole, and what is false, unnamed or wrongly proven is found."""

from __future__ import annotations

from typing import Any

import pytest

from perfharness.errors import Refused
from perfharness.lab import faults, prove
from perfharness.lab.confusion import NO_RUN, ONLY_THOUGHT_OF, Outcome, compare, missed, share_named, tables
from perfharness.lab.expected import CASES, PAIRS, SINGLES, Case, Expected, by_name
from perfharness.lab.faults import FAULTS
from perfharness.lab.spec import Bgp, LabSpec
from perfharness.model import Verdict
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import find_shipped, load_scenario
from perfharness.plan import make_plan
from perfharness.report.words import CAUSES

CASE = {case.name: case for case in CASES}


def said(
    verdict: Verdict,
    *causes: tuple[str, str],
    row: str = "EC-042",
    owner: str = "unknown",
    segment: str = "between-hosts",
) -> dict[str, Any]:
    """As findings.json has it."""
    where = {"checklist": [row], "owner": owner, "segment": segment}
    told = [{"cause": cause, "certainty": certainty, **where} for cause, certainty in causes]
    return {"verdict": verdict.value, "diagnosis": told}


def test_every_fault_has_an_entry() -> None:
    """And each entry is a fault that the lab of its order plays; some twenty pairs, each name once."""
    assert {each.wish.name for each in SINGLES} == set(FAULTS)
    assert len(CASE) == len(CASES) and len(PAIRS) >= 20 and len(SINGLES) >= 40
    for case in CASES:
        for part in case.parts:
            faults.check(part.wish, LabSpec(bgp=Bgp() if case.bgp else None))


@pytest.mark.parametrize("each", SINGLES, ids=lambda each: each.name)
def test_an_entry_is_possible(each: Expected) -> None:
    """What fails has a cause, and every cause is one that the report has words for."""
    assert each.causes or Verdict.FAIL not in each.verdicts
    assert set(each.causes) | set(each.also) <= set(CAUSES)
    assert each.bgp is FAULTS[each.wish.name].needs_bgp


@pytest.mark.parametrize("bgp", [False, True])
def test_what_is_run_can_be_planned(bgp: bool) -> None:
    """Scenario and orders are shipped and fit each other, and the lab plays them."""
    circuit = load_circuit(find_shipped(prove.ORDERS[bgp]))
    assert make_plan(circuit, load_scenario(prove.SCENARIO)).tasks
    assert (LabSpec.from_circuit(circuit, bgp=bgp).bgp is not None) is bgp
    assert circuit.ce_host is not None


def test_cases_are_found_by_name() -> None:
    """A fault's name is that of its variants; a kind narrows; what there is not is refused."""
    assert [case.name for case in by_name(["mtu-low", "healthy"])] == ["mtu-low", "mtu-low --mtu 1439", "healthy"]
    assert [case.name for case in prove.cases(["vlan-mismatch + loss-random"], "pairs")] == [
        "vlan-mismatch + loss-random"
    ]
    assert {case.kind for case in prove.cases((), "singles")} == {"singles"}
    with pytest.raises(Refused, match="no case 'lossy'"):
        prove.cases(["lossy"], None)
    with pytest.raises(Refused, match="--only both is no kind"):
        prove.cases((), "both")


@pytest.mark.parametrize(
    ("case", "verdict", "false"),
    [
        ("healthy", Verdict.FAIL, True),
        ("healthy", Verdict.PASS, False),
        ("healthy", Verdict.INCONCLUSIVE, False),
        ("loss-random", Verdict.PASS, True),
        ("loss-random", Verdict.INCONCLUSIVE, False),
        ("host-cpu", Verdict.FAIL, True),
        ("host-cpu + loss-random", Verdict.FAIL, False),
        ("host-cpu + loss-random", Verdict.PASS, True),
    ],
)
def test_a_false_verdict_is_found(case: str, verdict: Verdict, false: bool) -> None:
    """INCONCLUSIVE is never false: it leaves open what is true."""
    outcome = compare(CASE[case], said(verdict, ("circuit-loss-random", "likely"), ("host-cpu", "likely")))
    assert outcome.false is false
    assert bool(missed([outcome])) is false


def test_a_wrong_cause_may_be_thought_of_and_not_proven() -> None:
    """What the fault brings with it is true as well."""
    case = CASE["link-down"]
    down = ("link-down", "proven")
    for cause, certainty, wrong in (
        ("mtu-black-hole", "likely", ()),
        ("mtu-black-hole", "proven", ("mtu-black-hole",)),
        ("far-host-unreachable", "proven", ()),
    ):
        outcome = compare(case, said(Verdict.FAIL, down, (cause, certainty), row="EC-011"))
        assert outcome.wrong == wrong
        assert bool(missed([outcome])) is bool(wrong)


def test_a_cause_must_be_named_by_its_row() -> None:
    """19 of 20 do, 18 do not; a fault that did no harm need not be named, and of a pair one is enough."""
    single, mild = CASE["loss-random"], CASE["host-cpu"]
    named = compare(single, said(Verdict.FAIL, ("circuit-loss-random", "likely")))
    other_row = compare(single, said(Verdict.FAIL, ("circuit-loss-random", "likely"), row="EC-001"))
    assert (named.unnamed, other_row.unnamed) == ((), ("loss-random",))
    assert missed([named] * 19 + [other_row]) == ()
    assert missed([named] * 18 + [other_row] * 2) == (
        "The cause is named of 18 of 20 single faults; 95% is the bound.",
    )
    assert share_named([compare(mild, said(Verdict.PASS))]) == (0, 0)
    assert share_named([compare(mild, said(Verdict.INCONCLUSIVE))]) == (0, 1)
    pair = CASE["ce-drop + loss-random"]
    assert missed([compare(pair, said(Verdict.FAIL, ("circuit-loss-random", "likely")))]) == ()
    assert len(missed([compare(pair, said(Verdict.FAIL))])) == 2


def test_a_mild_fault_under_which_tcp_warns_must_be_named() -> None:
    """Nothing that was ordered is missing, but a figure fell short, and the report must say why."""
    case = next(case for name, case in CASE.items() if name.startswith("policer-small-burst"))
    quiet, named = said(Verdict.PASS), said(Verdict.PASS, ("policer-burst-too-small", "likely"), row="EC-033")
    warned = [{"metric": "throughput.tcp", "verdict": "WARN"}]
    assert not compare(case, quiet).asks
    silent, told = (compare(case, {**each, "findings": warned}) for each in (quiet, named))
    assert (silent.asks, silent.unnamed) == (True, (case.name,))
    assert (told.asks, told.unnamed) == (True, ())


def test_a_run_that_ended_without_a_verdict_is_a_miss() -> None:
    """It says why, and stands in the tables."""
    outcome = Outcome(Case(()), NO_RUN, error="onprem-a does not answer")
    assert missed([outcome]) == ("healthy: onprem-a does not answer.",)
    text = tables([outcome], "today")
    assert "| healthy: PASS | 1 | 0 | 0 | 0 | 1 | 0 | none asked for | 0 |" in text


def test_a_product_that_decides_nothing_is_not_proven() -> None:
    """Whatever is only possible names no single fault, healthy labs must pass, and what fails must fail."""
    undecided = [
        compare(
            case, said(Verdict.INCONCLUSIVE, *((cause, "possible") for part in case.parts for cause in part.causes))
        )
        for case in CASES
        for _ in range(1 if case.parts else 10)
    ]
    bounds = " ".join(missed(undecided))
    assert "single faults; 95% is the bound." in bounds
    assert "0 of 10 healthy labs passed; 90% is the bound." in bounds
    assert "circuits that fail were left open; 10% is the bound." in bounds
    healthy = [compare(CASE["healthy"], said(Verdict.PASS))] * 9
    assert missed([*healthy, compare(CASE["healthy"], said(Verdict.INCONCLUSIVE))]) == ()
    assert set(ONLY_THOUGHT_OF) <= set(CASE)


@pytest.mark.parametrize(
    ("case", "cause", "owner", "segment", "wrong"),
    [
        ("delay", "delay-above-objective", "own", "between-hosts", True),
        ("delay", "delay-above-objective", "carrier", "between-hosts", False),
        ("delay", "delay-above-objective", "carrier", "ce", True),
        ("delay", "delay-above-objective", "unknown", "between-hosts", False),
        ("link-down", "link-down", "own", "carrier", True),
        ("bgp-as-mismatch", "bgp-as-mismatch", "own", "ce", True),
        ("bgp-as-mismatch --at ce-a", "bgp-as-mismatch", "own", "ce", False),
        ("missing-return-route --at ecs-a", "missing-return-route", "cloud", "host-z", False),
    ],
)
def test_whose_fault_it_is_must_be_true_where_it_is_proven(
    case: str, cause: str, owner: str, segment: str, wrong: bool
) -> None:
    """That nobody knows is not wrong, nor what is only likely."""
    for certainty in ("proven", "likely"):
        row = (CASE[case].parts[0].rows or ("",))[0]
        outcome = compare(CASE[case], said(Verdict.FAIL, (cause, certainty), row=row, owner=owner, segment=segment))
        assert bool(outcome.blamed) is bool(missed([outcome])) is (wrong and certainty == "proven")


def test_a_loss_both_ways_is_not_proven_to_be_one_way() -> None:
    """Which direction loses is half of what a carrier is told."""
    told = ("circuit-loss-random", "likely"), ("loss-one-way", "proven")
    assert compare(CASE["loss-random"], said(Verdict.FAIL, *told)).wrong == ("loss-one-way",)
    assert compare(CASE["loss-one-way"], said(Verdict.FAIL, *told)).wrong == ()
