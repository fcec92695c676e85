"""Several causes beside one another: which stands, which may lie behind which, and what nobody explains."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from perfharness.judge.diagnosis import diagnose
from perfharness.judge.weighing import HIDES, KINDS, weigh
from perfharness.model import Diagnosis, Finding, Segment, Verdict
from perfharness.report.words import CAUSES
from tests.unit.diagnosis_builder import TRIP, Z_A, finding

FAIL, PASS = Verdict.FAIL, Verdict.PASS


def cause(name: str, *of: Finding, certainty: str = "proven", segment: Segment = Segment.BETWEEN) -> Diagnosis:
    rows = tuple(row for each in of for row in each.checklist)
    return Diagnosis(name, certainty, segment, "carrier", ("Because.",), (), rows, "", tuple(each.id for each in of))


def told(*found: Diagnosis, findings: tuple[Finding, ...]) -> dict[str, Diagnosis]:
    return {one.cause: one for one in weigh(found, findings)}


def test_every_cause_that_the_report_has_words_for_belongs_to_one_kind() -> None:
    """A cause that the table forgets would hide nothing and explain nothing."""
    placed = [name for kind in KINDS.values() for name in kind.causes]
    assert sorted(placed) == sorted(set(CAUSES) - {"unknown"})


def test_a_kind_hides_only_what_stands_below_it() -> None:
    """So no two causes can hide one another."""
    order = list(KINDS)
    for name, hidden in HIDES.items():
        own = next(order.index(kind) for kind in KINDS if name in KINDS[kind].causes)
        assert all(order.index(kind) > own for kind in hidden), name
    assert set(HIDES) <= {name for kind in KINDS.values() for name in kind.causes}


def test_a_link_that_is_down_explains_all_that_failed_behind_it() -> None:
    """Nothing is unknown, loss is no longer certain, and what may lie behind is told: VLAN, BGP, MTU, rate, …"""
    down = finding("portspec", way=None, checklist=("EC-011",))
    failed = (
        down,
        finding("bgp", way=None),
        finding("path"),
        finding("loss"),
        finding("pmtu"),
        finding("throughput.udp"),
    )
    found = told(cause("link-down", down, segment=Segment.CARRIER), cause("loss-one-way", failed[3]), findings=failed)
    assert list(found) == ["link-down", "loss-one-way"]
    assert found["loss-one-way"].certainty == "possible"
    assert "link-down is proven" in found["loss-one-way"].against[-1]
    hidden = found["link-down"].hides
    assert {"vlan-mismatch", "bgp-as-mismatch", "missing-return-route", "mtu-black-hole", "policed-below-order"} < set(
        hidden
    )
    assert "loss-one-way" not in hidden  # it is named by itself
    assert found["loss-one-way"].hides == ()


@pytest.mark.parametrize(
    ("name", "metric", "behind"),
    [
        ("vlan-mismatch", "vlan", "bgp-as-mismatch"),
        ("vlan-mismatch", "vlan", "missing-return-route"),
        ("bgp-as-mismatch", "bgp", "missing-forward-route"),
        ("far-host-unreachable", "path", "mtu-below-plan"),
        ("far-host-unreachable", "path", "circuit-loss-random"),
        ("mtu-black-hole", "pmtu", "policer-burst-too-small"),
        ("host-cpu", "throughput.udp", "policed-below-order"),
    ],
)
def test_what_a_cause_may_hide_is_said(name: str, metric: str, behind: str) -> None:
    """It could not be seen while the other holds."""
    seen = finding(metric)
    assert behind in told(cause(name, seen), findings=(seen,))[name].hides


def test_what_passed_lies_behind_nothing() -> None:
    """Loss that was measured and is as ordered does not hide behind an MTU, unless it was of another pair alone."""
    hole, fine = finding("pmtu"), finding("loss", PASS)
    assert (
        "circuit-loss-random" not in told(cause("mtu-black-hole", hole), findings=(hole, fine))["mtu-black-hole"].hides
    )
    other = finding("loss", PASS, pair="b:y")
    assert "circuit-loss-random" in told(cause("mtu-black-hole", hole), findings=(hole, other))["mtu-black-hole"].hides


def test_two_causes_of_different_figures_both_stand() -> None:
    """A black hole and a delay above the objective have nothing to do with one another."""
    hole, late = finding("pmtu"), finding("delay.rtt", way=TRIP)
    found = told(cause("mtu-black-hole", hole), cause("delay-above-objective", late), findings=(hole, late))
    assert {one.certainty for one in found.values()} == {"proven"}


def test_two_proven_causes_of_one_figure_do_not_both_stay_proven() -> None:
    """The one that says more is believed; the other is only likely, and says beside which."""
    lost = finding("loss")
    found = told(cause("loss-one-way", lost), cause("lag-member-bad", lost), findings=(lost,))
    assert [found[name].certainty for name in ("lag-member-bad", "loss-one-way")] == ["proven", "likely"]
    assert found["loss-one-way"].against == ("lag-member-bad is proven and explains the same.",)


def test_causes_of_opposite_directions_or_of_other_pairs_do_not_touch() -> None:
    """A bad member on the way there says nothing of the way back, and a pair nothing of another one."""
    there, back, other = finding("loss"), finding("loss", way=Z_A), finding("loss", pair="b:y")
    found = weigh(
        (cause("lag-member-bad", there), cause("loss-one-way", back), cause("loss-one-way", other)),
        (there, back, other),
    )
    assert {one.certainty for one in found} == {"proven"}


def test_a_route_that_went_with_the_link_is_no_cause_of_its_own() -> None:
    """A router behind a link that is down has no route over it, and says so: that it lacks one is possible, no more."""
    down, path = finding("portspec", way=None, checklist=("EC-011",)), finding("path", way=Z_A)
    lacks = cause("missing-return-route", certainty="likely")
    assert told(lacks, findings=(path,))["missing-return-route"].certainty == "likely"
    found = told(lacks, cause("link-down", down), findings=(down, path))
    assert found["missing-return-route"].certainty == "possible"


def test_what_two_tests_say_of_the_same_place_is_said_once() -> None:
    """The surer stands, with what both saw; another place is another cause, and so is another figure."""
    seen = cause("missing-return-route", certainty="possible")
    looked_up = cause("missing-return-route", segment=Segment.HOST_Z)
    looked_up = replace(looked_up, because=("z: it has no route.",))
    (one,) = weigh((seen, looked_up), ())
    assert (one.certainty, one.segment, one.because) == ("proven", Segment.HOST_Z, ("z: it has no route.", "Because."))
    assert len(weigh((looked_up, replace(looked_up, segment=Segment.CE)), ())) == 2
    path = finding("path", way=Z_A)
    (one,) = weigh((looked_up, cause("missing-return-route", path, certainty="likely")), (path,))
    assert (one.certainty, one.findings) == ("proven", (path.id,))
    there, back = finding("loss"), finding("loss", way=Z_A)
    assert len(weigh((cause("unattributed-loss", there), cause("unattributed-loss", back)), (there, back))) == 2


def test_a_path_mtu_hides_the_loss_of_packets_that_do_not_fit_and_of_no_others() -> None:
    """Probes of 112 bytes pass any MTU: that they are lost has another cause."""
    hole = finding("pmtu", value=1400, statistic="largest")
    small, large = finding("loss", frame=154), finding("loss", frame=1442)
    assert (
        told(cause("mtu-black-hole", hole), cause("loss-one-way", small), findings=(hole, small))[
            "loss-one-way"
        ].certainty
        == "proven"
    )
    assert (
        told(cause("mtu-black-hole", hole), cause("loss-one-way", large), findings=(hole, large))[
            "loss-one-way"
        ].certainty
        == "possible"
    )


def test_a_host_that_allows_more_than_was_ordered_hides_no_loss() -> None:
    """Its interface takes 100 B more than the path brings: 1400 B do not fit into these, but into the path they do."""
    excess = finding("pmtu", Verdict.WARN, value=100, statistic="host_excess")
    lost = finding("loss", frame=1414)
    found = told(cause("host-nic-mtu", excess), cause("loss-one-way", lost), findings=(excess, lost))
    assert found["loss-one-way"].certainty == "proven"


def test_a_mandatory_row_that_failed_and_that_no_rule_explains_is_unknown() -> None:
    """It is said so, with what is known and what to measure next; never a guess."""
    failed = finding("loss", load="udp", checklist=("EC-035",))
    passed = finding("loss", PASS, way=Z_A, load="udp")
    (said,) = diagnose((failed, passed), ())
    assert (said.cause, said.certainty, said.owner, said.checklist) == ("unknown", "unknown", "unknown", ("EC-035",))
    assert said.because[0] == "loss, a-z, load udp: loss is off."
    assert said.because[-1] == "The same passed elsewhere: z-a, load udp."
    assert "flows" in said.next and said.findings == (failed.id,)


@pytest.mark.parametrize(
    "row",
    [
        finding("loss", Verdict.INCONCLUSIVE),
        finding("loss", load="udp", mandatory=False),
        finding("portspec", task=""),
        finding("tools"),
    ],
)
def test_what_is_open_or_only_recommended_or_says_itself_what_is_wrong_is_not_unknown(row: Finding) -> None:
    """Nobody is to be sent after a cause where nothing is proven to be wrong, or where the row names it."""
    assert diagnose((row,), ()) == ()


def test_a_cause_of_one_direction_does_not_explain_the_other() -> None:
    """Policed on the way there: why less arrives on the way back stays unknown."""
    there, back = finding("throughput.udp"), finding("throughput.udp", way=Z_A)
    found = told(cause("policed-below-order", there), findings=(there, back))
    assert found["unknown"].findings == (back.id,)


def test_what_a_host_did_wrong_explains_no_failure() -> None:
    """A row that failed did so with the hosts left out: their part is taken off already."""
    failed = finding("throughput.udp", load="udp")
    busy = cause("host-cpu", certainty="likely", segment=Segment.HOST_A)
    assert set(told(busy, findings=(failed,))) == {"host-cpu", "unknown"}


def test_a_delay_without_end_is_told_by_the_loss() -> None:
    """A packet that is lost is late for ever: the delay needs no cause besides."""
    lost, late = finding("loss"), finding("delay.rtt", way=TRIP, value=math.inf)
    assert set(told(cause("loss-one-way", lost), findings=(lost, late))) == {"loss-one-way"}


def test_a_rule_that_names_no_findings_is_placed_by_its_rows() -> None:
    """The failed figures of its kind that share a row with it are those it speaks of."""
    hole = finding("pmtu", checklist=("EC-029",))
    bare = Diagnosis(
        "mtu-black-hole", "proven", Segment.BETWEEN, "carrier", ("Because.",), checklist=("EC-029", "EC-030")
    )
    assert set(told(bare, findings=(hole,))) == {"mtu-black-hole"}


def test_the_certain_stands_first_and_then_what_comes_first_on_the_path() -> None:
    """Proven before likely before possible before unknown; within these from the on-prem host to the cloud's."""
    failed = finding("throughput.udp")
    found = weigh(
        (
            cause("host-cpu", certainty="likely", segment=Segment.HOST_Z),
            cause("lag-member-bad", segment=Segment.CARRIER),
            cause("ce-drop", certainty="likely", segment=Segment.CE),
            cause("host-receive-buffer", segment=Segment.HOST_A),
            cause("mtu-below-plan", certainty="possible"),
        ),
        (failed, finding("dscp")),
    )
    assert [one.cause for one in found] == [
        "host-receive-buffer", "lag-member-bad", "ce-drop", "host-cpu", "mtu-below-plan", "unknown",
    ]  # fmt: skip


def test_several_faults_at_once_are_each_named() -> None:
    """A small path MTU there, loss back and a class that is remarked: three causes, each certain, none unknown."""
    found = diagnose(
        (
            finding("pmtu", statistic="largest", value=1400, threshold=1500),
            finding("loss", way=Z_A),
            finding("loss", PASS, value=0.0),
            finding("dscp", Verdict.WARN, mandatory=False),
        ),
        (),
    )
    assert [one.cause for one in found] == ["mtu-below-plan", "loss-one-way", "dscp-remarked"]
    assert {one.certainty for one in found} == {"proven"}


@pytest.mark.parametrize("metric", ["reordering", "duplication"])
def test_packets_out_of_order_or_twice_are_a_cause(metric: str) -> None:
    """It is what is seen itself, a recommendation or not."""
    (said,) = diagnose((finding(metric, Verdict.WARN, mandatory=False),), ())
    assert (said.cause, said.certainty) == (metric, "proven")
