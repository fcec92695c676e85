"""CPU time that a hypervisor withheld."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perfharness.analysis.distribution import Excused, Held
from perfharness.analysis.stolen import most_late, share


def row(*stolen: int, idle: int = 1000) -> dict[str, Any]:
    return {"cpu": {"total": {}, "per_cpu": [{"user": 0, "idle": idle - each, "steal": each} for each in stolen]}}


def test_the_cpu_that_was_withheld_most_decides() -> None:
    """Which CPU a packet came to is not known; a round trip passes each end twice."""
    first = row(100, 100, idle=1000)
    assert share(first, row(110, 150, idle=2000)) == pytest.approx(0.05)
    assert share(first, first) == share({}, {}) == share({"cpu": {"total": {}}}, {"cpu": {"total": {}}}) == 0.0
    assert most_late((0.05, 0.01)) == pytest.approx(0.12)
    assert most_late((0.9, 0.9)) == 1.0


def test_what_a_hypervisor_may_have_delayed_makes_no_path_late() -> None:
    """2 % of the packets are 10 ms late, which p99 shows; 3 % of the time was withheld: then they may be the host's."""
    values = np.where(np.arange(10_000) % 50 == 0, 12e6, 2e6)
    found = Held(values, np.arange(10_000) // 100)
    assert found.quantile(0.99)[1].lo == 12e6
    assert found.quantile(Excused(late=0.03).level(found, 0.99))[1].lo == 2e6
    assert found.quantile(Excused(late=0.001).level(found, 0.99))[1].lo == 12e6
    assert Excused(lost=5, late=0.01).packets(found) == 100, "nothing was lost that a host could have"
