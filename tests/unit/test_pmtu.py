"""What a search for the path MTU says of the path."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfharness import evidence
from perfharness.judge.verdict import decide
from perfharness.measurements import REGISTRY
from perfharness.model import Criterion, Verdict
from tests.unit.job_files import CONTEXT


@pytest.mark.parametrize(
    ("size", "local_mtu", "verdict"),
    [(1400, 1500, Verdict.FAIL), (1400, 1400, Verdict.INCONCLUSIVE), (1500, 1500, Verdict.PASS)],
)
def test_a_host_s_own_mtu_fails_no_path(tmp_path: Path, size: int, local_mtu: int, verdict: Verdict) -> None:
    """Where the sender's interface is the limit, the path may carry more."""
    kind = REGISTRY["pmtu"]
    task = kind.tasks(kind.parameters(), "pmtu", CONTEXT)[0]
    folder = evidence.create(tmp_path, "c", "r", {})
    data = {"pmtu": size, "tries": 9, "local_mtu": local_mtu, "ptb": [], "blackhole": False}
    folder.write_json(
        f"raw/{task.id}/onprem-a.search/result.json", {"format_version": 1, "status": "completed", "data": data}
    )
    folder.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    (seen,) = kind.analyse(task, folder.files(task.id), CONTEXT).observations
    assert decide(seen, Criterion("pmtu", "largest", ">=", 1500, "B", "test"), ())[0] is verdict
