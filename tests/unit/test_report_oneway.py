"""The section on one-way delay: both directions, their bound, and the clocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from perfharness.model import Direction, Finding, Interval, Run, Series, Verdict
from perfharness.report.dossier import Dossier
from perfharness.report.html import render
from perfharness.report.sections import oneway
from tests.unit import run_builder
from tests.unit.measurement_builder import START_NS, scope

CLOCK = {
    "source": "chrony",
    "reference": "192.168.0.3",
    "interface": "eth0",
    "through_circuit": "yes",
    "error_ns": None,
    "reason": "it was set by 2.000 ms although it claimed to be nearer than that",
    "steps_ns": [2_000_000],
    "freq_ppb": None,
}


def run(known: dict[str, Any], values: tuple[float | None, float | None]) -> Run:
    """A run whose latency task left these facts and a p99 each way."""
    made = run_builder.passing()
    ways = (Direction.A_Z, Direction.Z_A)
    x = np.linspace(1.9e6, 2.4e6, 50)
    series = tuple(Series("one-way delay", x, np.linspace(1, 0.02, 50), "1", "ccdf.oneway", w, START_NS) for w in ways)
    measurements = tuple(
        replace(item, facts={**item.facts, "oneway": known}, series=(*item.series, *series))
        if item.task.id == "latency"
        else item
        for item in made.measurements
    )
    findings = tuple(
        Finding(
            f"F9{number}",
            "delay.oneway",
            "p99",
            scope(way),
            "ns",
            value,
            Verdict.NOT_APPLICABLE if value else Verdict.NOT_RUN,
            "No packet <has> stamps.",
            interval=Interval(1e6, 3e6, 0.95, "one", "-") if value else None,
            task="latency",
        )
        for number, (way, value) in enumerate(zip(ways, values, strict=True))
    )
    return replace(made, measurements=measurements, findings=(*made.findings, *findings))


def page(made: Run) -> str:
    """The whole report, with spaces that may break."""
    return render(made, run_builder.circuit(), run_builder.scenario()).replace("\u00a0", " ")


def test_both_directions_stand_with_their_bound() -> None:
    """Value, bound, what the bound rests on, and the clock that was set and follows a server behind the circuit."""
    known = {"error_ns": 650_000.0, "by_clocks": True, "reason": "", "offsets": [], "clocks": {"onprem": CLOCK}}
    text = page(run(known, (2.1e6, 2.3e6)))
    for words in ("± 0.650 ms", "2.100 ms", "2.300 ms", "root distances", "its asymmetry is in the clock", "+2.000 ms"):
        assert words in text, words


def test_what_is_not_known_is_a_sentence_and_no_number() -> None:
    """Without a figure there is no chart and no 0, but the reason, escaped."""
    known = {"reason": "No packet <has> stamps.", "unsynchronised": [], "clocks": {"onprem": CLOCK}}
    made = run(known, (None, None))
    made = replace(made, measurements=tuple(replace(item, series=()) for item in made.measurements))
    assert "No packet &lt;has&gt; stamps." in page(made)


def test_a_run_without_any_says_so() -> None:
    """Absent is said."""
    dossier = Dossier(run_builder.empty(), run_builder.circuit(), run_builder.scenario())
    assert oneway.build(dossier).title == oneway.NAME
