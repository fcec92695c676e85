"""What a search for the path MTU says of the path."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfharness import evidence
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.verdict import decide
from perfharness.measurements import REGISTRY
from perfharness.model import Criterion, Finding, Verdict
from tests.unit.job_files import CONTEXT

PTB = [{"from": "192.0.2.1", "mtu": 1400, "size": 1500}]


@pytest.mark.parametrize(
    ("size", "sender_mtu", "receiver_mtu", "ptb", "verdict"),
    [
        (1400, 1500, 1500, [], Verdict.FAIL),
        (1400, 1400, 1500, [], Verdict.INCONCLUSIVE),
        (1400, 1500, 1400, [], Verdict.INCONCLUSIVE),
        (1400, 1500, 1400, PTB, Verdict.FAIL),
        (1400, 1500, None, [], Verdict.FAIL),
        (1500, 1500, 1500, [], Verdict.PASS),
    ],
)
def test_a_host_s_own_mtu_fails_no_path(
    tmp_path: Path, size: int, sender_mtu: int, receiver_mtu: int | None, ptb: list[object], verdict: Verdict
) -> None:
    """Where an end's interface is the limit the path may carry more, unless a router says that it does not."""
    kind = REGISTRY["pmtu"]
    task = kind.tasks(kind.parameters(), "pmtu", CONTEXT)[0]
    folder = evidence.create(tmp_path, "c", "r", {})
    data = {"pmtu": size, "tries": 9, "local_mtu": sender_mtu, "ptb": ptb, "blackhole": False}
    ends = {"onprem-a.search": data, "ecs-a.echo": {"answered": 9, "local_mtu": receiver_mtu}}
    for job, said in ends.items():
        result = {"format_version": 1, "status": "completed", "data": said}
        folder.write_json(f"raw/{task.id}/{job}/result.json", result)
    folder.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    (seen,) = kind.analyse(task, folder.files(task.id), CONTEXT).observations
    assert decide(seen, Criterion("pmtu", "largest", ">=", 1500, "B", "test"), ())[0] is verdict


@pytest.mark.parametrize(
    ("speaker", "owner"),
    [("10.10.255.254", "own"), ("172.16.100.2", "own"), ("172.16.100.1", "cloud"), ("192.0.2.1", "carrier")],
)
def test_whose_router_says_too_big_is_told_by_the_order(tmp_path: Path, speaker: str, owner: str) -> None:
    """The customer's own CE is not the carrier's fault."""
    kind = REGISTRY["pmtu"]
    task = kind.tasks(kind.parameters(), "pmtu", CONTEXT)[0]
    folder = evidence.create(tmp_path, "c", "r", {})
    said = {"from": speaker, "mtu": 1400, "size": 1500}
    data = {"pmtu": 1400, "tries": 9, "local_mtu": 1500, "ptb": [said], "blackhole": False}
    result = {"format_version": 1, "status": "completed", "data": data}
    folder.write_json(f"raw/{task.id}/onprem-a.search/result.json", result)
    folder.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    found = kind.analyse(task, folder.files(task.id), CONTEXT)
    seen = found.observations[0]
    failed = Finding("F", "pmtu", "largest", seen.scope, "B", 1400, Verdict.FAIL, seen.reason, task=task.id)
    (diagnosis,) = diagnose([failed], [found])
    assert (diagnosis.cause, diagnosis.owner) == ("mtu-below-plan", owner)
