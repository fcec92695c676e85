"""Others' traffic on the circuit beside a load: how it is told, and what it excuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfharness import evidence
from perfharness.judge.diagnosis import diagnose
from perfharness.measurements.load_others import others_bps
from perfharness.model import Direction, Fitness, Interval, Layer, Measurement, Observation, Status, Verdict
from perfharness.order.circuit import Ce
from tests.unit.job_files import CIRCUIT, CONTEXT
from tests.unit.test_judge import findings, tasks

CE = Ce.model_validate({"name": "ce-1", "ssh": {"host": "ce-1"}, "lan": "lan", "wan": "wan"})
WITH_CE = replace(CONTEXT, circuit=CIRCUIT.model_copy(update={"ce": CE}))
HOSTS = ("onprem-a", "ecs-a")


def told(tmp_path: Path, wan: dict[str, int], own: dict[str, int], **changed: Any) -> dict[str, float]:
    """Of watchers that saw these counters rise within ten seconds, each by a clock of its own."""
    folder = evidence.create(tmp_path, "c", "r", {})
    for job, nic, at_ns in (("ce-1.counters-wan", wan, 5), ("onprem-a.counters", own, 10**15)):
        rows = [
            {"t_ns": at_ns + s * 10**9, "nic": {name: 7 + n * s // 10 for name, n in nic.items()}} for s in range(11)
        ]
        lines = "\n".join(map(json.dumps, [{"format_version": 1}, *rows]))
        folder.write(f"raw/01-udp/{job}/counters.jsonl", lines.encode())
    return others_bps(folder.files("01-udp"), replace(WITH_CE, **changed))


def test_others_are_what_no_host_of_ours_sent_or_took(tmp_path: Path) -> None:
    """Of 1,130,000 B that left the site ours are 900,000 and the tags of a thousand packets; what came was all ours."""
    wan = {"tx_bytes": 1_130_000, "rx_bytes": 500_000}
    own = {"tx_bytes": 900_000, "tx_packets": 1000, "rx_bytes": 600_000, "rx_packets": 1000}
    assert told(tmp_path / "two", wan, own) == {"a-z": pytest.approx(226_000 * 8 / 10), "z-a": 0.0}
    assert told(tmp_path / "untold", {}, own) == {}
    assert told(tmp_path / "pairs", wan, own, among=2) == {}


@pytest.mark.parametrize(
    ("others", "rate", "lost", "wanted"),
    [
        (0.3e9, 0.71e9, 0.29, Verdict.INCONCLUSIVE),
        (0.3e9, 0.5e9, 0.5, Verdict.FAIL),
        (0.01e9, 0.99e9, 0.01, Verdict.FAIL),
        (0.0, 0.71e9, 0.29, Verdict.FAIL),
    ],
    ids=["they had the rest", "more is missing", "too little to be told", "none"],
)
def test_what_others_had_is_not_missing(others: float, rate: float, lost: float, wanted: Verdict) -> None:
    """A circuit that carries what was ordered, a part of it for others, is undecided and not at fault; what neither
    got is missing."""
    task = tasks("udp")[0]
    scope = replace(task.scope, direction=Direction.A_Z, frame_bytes=1442)
    exact: dict[str, Any] = {"confidence": 0.95, "sides": "one", "method": "test"}
    spread, share = Interval(rate, rate, **exact), Interval(lost * 0.99, lost * 1.01, **exact)
    seen = (
        Observation("throughput.udp", "mean", scope, "bit/s", rate, 9, spread, Layer.L2, hosts=HOSTS),
        Observation("loss", "ratio", scope, "1", lost, 9**6, share, hosts=HOSTS),
    )
    fit = tuple(Fitness(name, task.id, True, ()) for name in HOSTS)
    item = Measurement(
        task, Status.COMPLETED, observations=seen, fitness=fit, facts={"others": {"a-z": others, "z-a": 0.9e9}}
    )
    rows = findings(item)
    assert [each.verdict for each in rows if each.operator and each.value is not None] == [wanted, wanted]
    causes = {each.cause: each for each in diagnose(rows, [item])}
    assert ("background-traffic" in causes) is (wanted is Verdict.INCONCLUSIVE)
    assert ("policed-below-order" in causes) is (wanted is Verdict.FAIL)
