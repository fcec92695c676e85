"""The picture of the path: what it says of each stretch, and what it marks."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from perfharness.model import Diagnosis, Finding, Run, Scope, Segment, Verdict
from perfharness.report.blocks import Chart
from perfharness.report.dossier import Dossier
from perfharness.report.drawing import PALETTE
from perfharness.report.sections import circuit
from perfharness.report.words import VERDICTS
from tests.unit import run_builder


def chart(run: Run) -> Chart:
    (block,) = circuit.build(Dossier(run, run_builder.circuit(ce="ce-1"), run_builder.scenario())).blocks
    assert isinstance(block, Chart)
    return block


def cause(name: str, segment: Segment, certainty: str = "proven") -> Diagnosis:
    return Diagnosis(name, certainty, segment, "carrier", ("Because.",), checklist=("EC-042",))


def drawn(*causes: Diagnosis) -> Chart:
    return chart(replace(run_builder.passing(), diagnosis=causes))


def test_each_stretch_says_what_is_known_of_it() -> None:
    """Of the order, of the hosts and of the ledger; in words too, for those who do not see the picture."""
    said = chart(run_builder.host_loss()).alt
    for stretch in (
        "On-prem host: onprem 10.10.0.10, eth0, 10 Gbit/s, MTU 1500, no packet lost.",
        "LAN: 10.10.0.0/16, via 10.10.0.1.",
        "CE router: ce-1, 172.16.100.2/30.",
        "Carrier: ExampleTel, EXT-0042, 1 Gbit/s, VLAN 100, AS 65010 – 45104.",
        "Cloud edge (VBR): vbr-bp1example, 172.16.100.1/30, 1 Gbit/s (L2), MTU 1500.",
        "34,858 to 35,070 packets lost",
        "on-prem → cloud: ✓ path MTU 1,500 B",
    ):
        assert stretch in said


def test_what_the_edge_says_stands_at_its_stretch() -> None:
    """BGP and VLAN on the circuit, the link at the CE; a measurement that is not there leaves no line."""
    scope = Scope("ec-1")
    rows = tuple(
        Finding(f"X{n}", metric, statistic, scope, "", value, verdict, "", task="edge", operator="==")
        for n, (metric, statistic, value, verdict) in enumerate(
            (
                ("bgp", "established", False, Verdict.FAIL),
                ("vlan", "answers", True, Verdict.PASS),
                ("portspec", "carrier", True, Verdict.PASS),
            )
        )
    )
    run = run_builder.passing()
    said = chart(replace(run, findings=(*run.findings, *rows))).alt
    assert "AS 65010 – 45104, ✕ BGP established, ✓ VLAN answers." in said
    assert "172.16.100.2/30, ✓ link up." in said
    assert "BGP established" not in chart(run).alt


@pytest.mark.parametrize("worse", [Verdict.WARN, Verdict.NOT_RUN, Verdict.INCONCLUSIVE])
def test_what_later_turned_worse_is_not_drawn_as_well(worse: Verdict) -> None:
    """Of two steps the worse one stands for both."""
    rows = tuple(
        Finding(f"X{n}", "bgp", "established", Scope("ec-1"), "", True, verdict, "", task="edge", operator="==")
        for n, verdict in enumerate((Verdict.PASS, worse))
    )
    run = run_builder.passing()
    said = chart(replace(run, findings=(*run.findings, *rows))).alt
    assert f"{VERDICTS[worse].symbol} BGP established" in said and "✓ BGP established" not in said


@pytest.mark.parametrize("segment", [each for each in Segment if each is not Segment.BETWEEN])
def test_the_segment_that_a_diagnosis_names_is_marked_by_shape_and_word(segment: Segment) -> None:
    """A thick or broken line, a mark in a ring, and a word beside it, in both drawings; nothing of it without one."""
    found, clean = drawn(cause("corruption", segment)), drawn()
    text = " ".join(re.findall(r">([^<]+)</text>", found.svg))
    assert text.count("broken:") == 2
    assert found.svg.count("<circle") == 2
    assert "broken: Packets are corrupted" in found.alt and "Marked:" in found.caption
    assert "<circle" not in clean.svg
    assert "No diagnosis names a stretch" in clean.caption


def test_what_is_not_narrowed_is_a_bracket_over_all_that_is_between_the_hosts() -> None:
    """In each drawing two halves with the mark between them, and its cause above."""
    found = drawn(cause("loss-one-way", Segment.BETWEEN))
    assert found.svg.count("somewhere between the hosts") == 2
    assert found.svg.count("<circle") == 2
    assert found.svg.count("<path") == drawn().svg.count("<path") + 2 * 3


def test_what_is_not_proven_is_marked_by_a_question() -> None:
    """A cross is for what is certain."""
    assert ">?</text>" in drawn(cause("ce-drop", Segment.CE, "likely")).svg
    assert ">?</text>" not in drawn(cause("ce-drop", Segment.CE)).svg
    unknown = replace(cause("unknown", Segment.BETWEEN, "unknown"), owner="unknown")
    assert "cause not known: EC-042" in drawn(unknown).alt


def test_several_causes_at_several_places_are_all_told() -> None:
    """Four of a place by name, of more their number."""
    names = ("reordering", "duplication", "corruption", "dscp-remarked", "loss-one-way", "mtu-black-hole")
    found = drawn(cause("host-cpu", Segment.HOST_A), *(cause(name, Segment.BETWEEN) for name in names))
    assert "and 2 more" in found.alt and "A test host ran short of CPU" in found.alt


def test_the_picture_has_only_colours_that_a_dark_page_knows() -> None:
    """Each is written in the form that the page overrides, and text of users is escaped."""
    run = run_builder.host_loss()
    page = chart(run).svg
    assert set(re.findall(r"#[0-9a-f]{6}", page)) <= set(PALETTE)
    evil = Dossier(run, run_builder.circuit(ce="<script>alert(1)</script>"), run_builder.scenario())
    (block,) = circuit.build(evil).blocks
    assert isinstance(block, Chart) and "<script" not in block.svg


def test_an_empty_run_has_its_picture() -> None:
    """What was ordered is known before anything is measured."""
    assert "VLAN 100" in chart(run_builder.empty()).alt
