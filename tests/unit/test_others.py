"""Others' traffic on the circuit beside a load: how it is told, and what it excuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfharness import evidence
from perfharness.judge.background import busy
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.verdict import decide
from perfharness.measurements import REGISTRY, load_session
from perfharness.measurements.load_others import others_bps
from perfharness.model import Direction, Fitness, Interval, Layer, Measurement, Observation, Status, Verdict
from perfharness.order.circuit import Ce
from tests.unit.job_files import CIRCUIT, CONTEXT, find
from tests.unit.load_builder import Hosts, left, one_way
from tests.unit.load_truth import Meter
from tests.unit.test_capacity import CIRCUIT_100, CONTEXT_100, ENOUGH, MBIT, POLICER
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
    """Of 1,130,000 B that left the site ours are 900,000 and the tags of a thousand packets; what came was all ours.

    What counters of 8 B more for each packet would tell too is no traffic.
    """
    wan = {"tx_bytes": 1_130_000, "rx_bytes": 500_000}
    own = {"tx_bytes": 900_000, "tx_packets": 1000, "rx_bytes": 600_000, "rx_packets": 1000}
    assert told(tmp_path / "two", wan, own) == {"a-z": pytest.approx(226_000 * 8 / 10), "z-a": 0.0}
    assert told(tmp_path / "headers", {**wan, "tx_bytes": 912_000}, own)["a-z"] == 0.0
    assert told(tmp_path / "untold", {}, own) == {}
    assert told(tmp_path / "pairs", wan, own, among=2) == {}


@pytest.mark.parametrize(
    ("others", "rate", "lost", "wanted"),
    [
        (0.3e9, 0.71e9, 0.29, Verdict.INCONCLUSIVE),
        (0.3e9, 0.5e9, 0.5, Verdict.FAIL),
        (0.015e9, 0.986e9, 0.014, Verdict.INCONCLUSIVE),
        (0.005e9, 0.986e9, 0.014, Verdict.FAIL),
        (0.0, 0.71e9, 0.29, Verdict.FAIL),
    ],
    ids=["they had the rest", "more is missing", "little, and enough", "too little", "none"],
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


@pytest.mark.parametrize(("others", "wanted"), [(10, Verdict.INCONCLUSIVE), (3, Verdict.FAIL)])
def test_a_capacity_beside_others_is_undecided(tmp_path: Path, others: int, wanted: Verdict) -> None:
    """Of a policer at the ordered 100 Mbit/s ours had 90 and others the rest: no circuit is at fault. With 3 Mbit/s of
    theirs it is. The host's interface counts a datagram that is cut up later once, so our own is what the load says."""
    (vbr,) = CIRCUIT_100.vbrs
    context = replace(CONTEXT_100, circuit=CIRCUIT_100.model_copy(update={"ce": CE}))
    task = one_way("capacity", context)
    run = left(tmp_path, task, Meter(90 * MBIT, **POLICER), Hosts())
    files = run.files(task.id)
    (session,) = load_session.sessions(task, files)
    sent = sum(phase.sent for phase in session.phases)
    ours = sum(phase.sent * (phase.packet_bytes + 42) for phase in session.phases)
    tags = 4 * sent if vbr.vlan else 0
    for job, theirs, (octets, packets) in (
        ("ce-1.counters-wan", others * MBIT // 8, (ours + tags, sent)),
        ("onprem-a.counters", 0, (ours * 9 // 10, sent // 64)),
    ):
        path = run.path / f"raw/{task.id}/{job}/counters.jsonl"
        head, *rows = map(json.loads, path.read_text().splitlines())
        for s, row in enumerate(rows):
            part, row["t_ns"] = s / (len(rows) - 1), s * 10**8  # of a clock of its own
            crossed = octets * part + theirs * s / 10
            row["nic"] |= {"tx_bytes": round(crossed), "tx_packets": round(packets * part)}
        path.write_text("\n".join(map(json.dumps, [head, *rows])))
    item = REGISTRY["capacity"].analyse(task, files, context)
    assert item.facts["others"]["a-z"] == pytest.approx(others * MBIT, rel=1e-3)
    seen = find(item, "capacity.sustained", "mean", Direction.A_Z)
    fit = (*item.fitness, *busy(seen, ENOUGH.threshold, item))
    assert decide(seen, ENOUGH, fit)[0] is wanted


def test_a_metered_rate_beside_others_is_undecided() -> None:
    """A criterion on the meter's rate is a requirement like that on the capacity."""
    task = one_way("policing", CONTEXT_100)
    about = replace(task.scope, direction=Direction.A_Z)
    short = Interval(90e6, 90e6, 0.95, "one", "test")
    seen = Observation("policing.rate", "mean", about, "bit/s", 90e6, 9, short, Layer.L2, hosts=HOSTS)
    item = Measurement(task, Status.COMPLETED, observations=(seen,), facts={"others": {"a-z": 10e6}})
    (told,) = busy(seen, 99.5e6, item)
    assert "others sent 10 Mbit/s a-z" in told.reasons[0] and told.concerns("policing.rate")


def test_what_is_let_through_beyond_a_limit_is_no_shortfall() -> None:
    """A policer that lets too much through is not excused by others' traffic beside it."""
    task = tasks("udp")[0]
    scope = replace(task.scope, direction=Direction.A_Z)
    over = Interval(1.2e9, 1.2e9, 0.95, "one", "test")
    seen = Observation("throughput.udp", "mean", scope, "bit/s", 1.2e9, 9, over, Layer.L2, hosts=HOSTS)
    item = Measurement(task, Status.COMPLETED, observations=(seen,), facts={"others": {"a-z": 0.3e9}})
    assert not list(busy(seen, 1.1e9, item))
