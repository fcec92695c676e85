"""Loss events as the report tells them."""

from __future__ import annotations

from typing import Any

import pytest

from perfharness.model import Measurement, Scope, Status, Task
from perfharness.report import loss_events
from perfharness.report.blocks import Table

START_NS = 1_795_399_200_000_000_000 + 7_400_000_000


def event(packets: int = 12, between: tuple[int, int] = (12, 12), **stages: list[int]) -> dict[str, Any]:
    span = {"start_ns": START_NS, "end_ns": START_NS + 2_000_000_000}
    return {
        **span, "direction": "a-z", "clock": "onprem-a", "packets": packets, "between": list(between), "stages": stages,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (event(), "between the hosts"),
        (event(between=(0, 0), socket=[12, 12]), "12 by socket"),
        (event(between=(0, 12), firewall=[0, 12]), "0 to 12 by firewall; 0 to 12 between the hosts"),
        (
            {**event(between=(2, 12)), "undated": {"socket": 10}},
            "up to 10 by socket, which does not say when; 2 to 12 between the hosts",
        ),
    ],
)
def test_it_says_who_lost_them(told: dict[str, Any], said: str) -> None:
    """Between the hosts alone only where no host explains any."""
    assert loss_events.by_whom(told) == said


@pytest.mark.parametrize(
    ("lost", "said"), [({}, ""), ({"EF": 12}, "all of EF"), ({"EF": 1009, "AF41": 3}, "1,009 of EF, 3 of AF41")]
)
def test_it_says_which_class_lost_them(lost: dict[str, int], said: str) -> None:
    """Each class with its count, below that of all; nothing where packets have no class."""
    task = Task("step", "step", "latency", Scope("c"), (), 1.0)
    facts = {"loss_events": [{**event(), "classes": lost}]}
    table, _ = loss_events.build([Measurement(task, Status.COMPLETED, facts=facts)])
    assert isinstance(table, Table)
    assert table.rows[0].cells[2].sub == said


def test_it_says_when_in_utc() -> None:
    """The day once; one moment as one."""
    assert loss_events.when(START_NS, START_NS + 2_000_000_000).endswith(
        ":07–" + loss_events.when(START_NS + 2_000_000_000, START_NS + 2_000_000_000).split()[1]
    )
    assert "–" not in loss_events.when(START_NS, START_NS + 1)


def test_the_largest_are_shown_in_order_of_time() -> None:
    """A bounded list says that it is one."""
    task = Task("step", "step", "latency", Scope("c"), (), 1.0)
    told = [{**event(packets=n), "start_ns": START_NS - n * 10**9} for n in range(1, 41)]
    table, note = loss_events.build([Measurement(task, Status.COMPLETED, facts={"loss_events": told})])
    assert isinstance(table, Table)
    assert [row.cells[2].text for row in table.rows] == [str(n) for n in range(40, 10, -1)]
    assert "Of 40 events" in getattr(note, "text", "")
    assert loss_events.build([Measurement(task, Status.COMPLETED)]) == ()
