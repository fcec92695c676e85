"""TTLs over time, piece by piece."""

from __future__ import annotations

import numpy as np
import pytest

from perfharness.analysis.ttl import MOST_RUNS, Gathering, Run, as_facts


@pytest.mark.parametrize("size", [1, 7, 100])
def test_runs_do_not_depend_on_the_pieces(size: int) -> None:
    """Packets without a TTL are left out; a run goes on over any border."""
    ttl = np.repeat([0, 60, 59, 60, 0], [5, 30, 40, 20, 5]).astype(np.uint8)
    ttl[10] = 0
    since = np.arange(100) * 1_000
    gathering = Gathering()
    for at in range(0, 100, size):
        gathering.add(since[at : at + size], ttl[at : at + size])
    found = gathering.result()
    assert found.runs == (Run(5_000, 60, 29), Run(35_000, 59, 40), Run(75_000, 60, 20))
    assert (found.changes, found.seen) == (2, {59: 40, 60: 49})
    assert as_facts(found)["seen"] == {"59": 40, "60": 49}


def test_packets_that_take_turns_are_counted_and_not_listed() -> None:
    """Every packet another path: all changes count, few runs are kept."""
    gathering = Gathering()
    for at in range(0, 2_000, 500):
        gathering.add(np.arange(at, at + 500), (60 + np.arange(500) % 2).astype(np.uint8))
    found = gathering.result()
    assert (found.changes, len(found.runs)) == (1_999, MOST_RUNS)
    assert sum(found.seen.values()) == 2_000
    assert {run.packets for run in found.runs} == {1}


def test_nothing_told_is_nothing_seen() -> None:
    """A TTL of 0 is none."""
    gathering = Gathering()
    gathering.add(np.arange(3), np.zeros(3, np.uint8))
    assert gathering.result().seen == {}
