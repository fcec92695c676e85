"""The capacity measurement on simulated circuits: what it finds, what it leaves open, and whom it names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfharness.errors import ToolFailed
from perfharness.judge.verdict import decide
from perfharness.measurements import load_session
from perfharness.model import Criterion, Direction, Layer, Status, Verdict
from tests.unit.job_files import CONTEXT, find
from tests.unit.load_builder import Hosts, left, measured, one_way, ordered
from tests.unit.load_truth import Meter

MBIT = 1_000_000
TAGGED_L2 = 46
"""What the lab's order counts for a packet beside its payload."""
CONTEXT_100 = ordered(100 * MBIT)
CIRCUIT_100 = CONTEXT_100.circuit
ENOUGH = Criterion("capacity.sustained", "mean", ">=", 99.5 * MBIT, "bit/s", "test", layer=Layer.L2)
POLICER = {"bucket_bytes": 500_000, "header_bytes": TAGGED_L2}
SHAPER = {"bucket_bytes": 64_000, "queue_ns": 50e6, "header_bytes": TAGGED_L2}


def verdict(folder: Path, meter: Meter, hosts: Hosts | None = None) -> tuple[Verdict, str, dict[str, Any]]:
    found = measured(folder, one_way("capacity", CONTEXT_100), meter, hosts, CONTEXT_100)
    assert found.status is Status.COMPLETED, found.reason
    seen = find(found, "capacity.sustained", "mean", Direction.A_Z)
    return *decide(seen, ENOUGH, found.fitness), found.facts["capacity"]["a-z"]


@pytest.mark.parametrize(("kind", "how"), [(POLICER, "policer"), (SHAPER, "shaper")])
@pytest.mark.parametrize(("rate", "wanted"), [(100, Verdict.PASS), (95, Verdict.FAIL)])
def test_a_circuit_is_judged_by_its_steady_rate(
    tmp_path: Path, kind: dict[str, Any], how: str, rate: int, wanted: Verdict
) -> None:
    """Policed or shaped at the order it passes, 5 % below it fails, and it is told which; the figure is the meter's."""
    got, _, facts = verdict(tmp_path, Meter(rate * MBIT, **kind))
    assert got is wanted
    assert facts["limited_by"]["what"] == "circuit"
    assert facts["limited_by"]["how"] == how
    assert facts["sustained"]["L2"] == pytest.approx(rate * MBIT, rel=1e-3)
    assert facts["sustained"]["L1"] == pytest.approx(rate * MBIT * 1470 / 1446, rel=1e-3)
    assert facts["best_second"]["L2"] > facts["sustained"]["L2"]


@pytest.mark.parametrize(
    ("hosts", "limit", "words"),
    [
        (Hosts(most_bps=60 * MBIT), "sender-cpu", "its CPU did not keep up"),
        (Hosts(searched_bps=60 * MBIT), "sender-cpu", "while a limit was searched (a-z), its CPU did not keep up"),
        (Hosts(transmits=0.4), "nic", "its interface sent"),
        (Hosts(drops=0.3, counts={"rcvbuf": 10**6}), "receiver-cpu", "packets that are missing"),
    ],
)
def test_a_slow_host_fails_no_circuit(tmp_path: Path, hosts: Hosts, limit: str, words: str) -> None:
    """The circuit carries what was ordered and a host does not: undecided, and the host is named with the reason."""
    got, why, facts = verdict(tmp_path, Meter(100 * MBIT, **POLICER), hosts)
    assert got is Verdict.INCONCLUSIVE
    assert facts["limited_by"]["what"] == limit
    assert words in why


@pytest.mark.parametrize(("carried", "wanted"), [(100, Verdict.PASS), (98.5, Verdict.INCONCLUSIVE)])
def test_no_host_is_blamed_for_a_port_that_is_full(tmp_path: Path, carried: float, wanted: Verdict) -> None:
    """The order is the port's own speed: more than that nobody could offer, whatever was aimed at."""
    port = CIRCUIT_100.port.model_copy(update={"speed_bps": 100 * MBIT})
    context = replace(CONTEXT_100, circuit=CIRCUIT_100.model_copy(update={"port": port}))
    hosts = Hosts(most_bps=carried * MBIT)
    found = measured(tmp_path, one_way("capacity", context), Meter(120 * MBIT, **POLICER), hosts, context)
    seen = find(found, "capacity.sustained", "mean", Direction.A_Z)
    got, why = decide(seen, ENOUGH, found.fitness)
    assert got is wanted
    assert "Limited by the port: " in why and "arrived, and a port of 100 Mbit/s takes in no more." in why
    assert all(host.fit for host in found.fitness)


def test_drops_of_the_receiver_beside_an_overload_only_widen_it(tmp_path: Path) -> None:
    """The circuit is far below the order, and the receiver drops a little of what comes: it fails all the same."""
    got, _, facts = verdict(tmp_path, Meter(60 * MBIT, **POLICER), Hosts(drops=0.01, counts={"rcvbuf": 500}))
    assert (got, facts["limited_by"]["what"]) == (Verdict.FAIL, "circuit")


def test_loss_at_any_rate_is_no_limit(tmp_path: Path) -> None:
    """Of a search that came to half of the order 4 % are lost, as much as of its first steps: nobody knows what the
    circuit carries. Cut to half of the order it fails with such losses too."""
    hosts = Hosts(most_bps=60 * MBIT)
    got, _, facts = verdict(tmp_path / "a", Meter(100 * MBIT, **POLICER, loses=0.04), hosts)
    assert (got, facts["limited_by"]["how"]) == (Verdict.INCONCLUSIVE, None)
    got, _, facts = verdict(tmp_path / "b", Meter(50 * MBIT, **POLICER, loses=0.04))
    assert (got, facts["limited_by"]["what"]) == (Verdict.FAIL, "circuit")


def test_more_than_the_order_passes_without_an_overload(tmp_path: Path) -> None:
    """Nothing was lost, so there is no upper bound; what arrived is more than was ordered."""
    hosts = Hosts(most_bps=400 * MBIT)
    got, why, facts = verdict(tmp_path, Meter(900 * MBIT, **POLICER), hosts)
    assert (got, facts["limited_by"]["what"]) == (Verdict.PASS, "sender-cpu")
    assert "at least" in why


def test_a_sender_that_stalls_fails_no_circuit(tmp_path: Path) -> None:
    """Ten times a second nothing is offered for 20 ms, and the bucket holds 2 ms: what the circuit might have carried
    meanwhile is above what arrived, so a circuit as ordered is undecided."""
    hosts = Hosts(stalls=[(each / 10, 0.02) for each in range(50)])
    meter = Meter(100 * MBIT, bucket_bytes=25_000, header_bytes=TAGGED_L2)
    assert verdict(tmp_path, meter, hosts)[0] is Verdict.INCONCLUSIVE


def test_a_whole_task_is_short() -> None:
    """Search, hold, rest and confirm take 15 s at most."""
    assert one_way("capacity").duration_s <= 15


@pytest.mark.parametrize("measure", ["capacity", "policing"])
def test_nothing_is_offered_beyond_what_was_allowed(measure: str) -> None:
    """``most`` holds for the overload too, and the plan says no more; a port that the order fills is overloaded by as
    little as can be proven."""
    task = one_way(measure, CONTEXT_100, most="110Mbps")
    phases = next(job.args["phases"] for job in task.jobs if "phases" in job.args)
    rates = [
        phase.get("rate_bps", phase.get("most_bps")) or phase.get("search", {}).get("most_bps", 0) for phase in phases
    ]
    assert max(rates) <= task.load_bps <= 110 * MBIT
    assert one_way("capacity").load_bps == 1.06 * CONTEXT.circuit.port.speed_bps


def test_what_a_session_left_is_read_back(tmp_path: Path) -> None:
    """Counts, phases and losses of both ends, by phase."""
    task = one_way("capacity", CONTEXT_100)
    run = left(tmp_path, task, Meter(100 * MBIT, **POLICER), Hosts())
    (session,) = load_session.sessions(task, run.files(task.id))
    hold = session.named("hold")
    assert hold is not None
    assert [phase.name for phase in session.phases] == ["search", "hold", "rest", "confirm"]
    assert hold.lost / hold.sent == pytest.approx(0.2, abs=0.02)
    assert set(session.during("hold").phase.tolist()) == {1}


def _spoil(line: str) -> str:
    row = json.loads(line)
    row[2] = "many"
    return json.dumps(row)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("arrivals.jsonl", lambda lines: [lines[0], _spoil(lines[1]), *lines[2:]], "is damaged"),
        ("arrivals.jsonl", lambda lines: [lines[0], "[" * 100_000, *lines[1:]], "is damaged"),
        ("arrivals.jsonl", lambda lines: [lines[0], lines[1].replace("[", "[9999999999999999999", 1)], "is damaged"),
        ("arrivals.jsonl", lambda lines: [lines[0], *reversed(lines[1:])], "go down"),
        ("arrivals.jsonl", lambda lines: lines[:1], "Nothing of the load arrived"),
        ("arrivals.jsonl", lambda _: [], "left no arrivals.jsonl"),
        ("sent.jsonl", lambda lines: [lines[0].replace("1", "7", 1), *lines[1:]], "does not read"),
        ("sent.jsonl", lambda lines: [lines[0], "[1, 99, 3, 4]"], "nobody asked for"),
        ("sent.jsonl", lambda lines: [lines[0], "[1, 0, 3, NaN]"], "is damaged"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, name: str, change: Any, words: str) -> None:
    """Whatever a host left in place of its files, there is a sentence and no traceback."""
    task = one_way("capacity", CONTEXT_100)
    run = left(tmp_path, task, Meter(100 * MBIT, **POLICER), Hosts())
    (path,) = (run.path / "raw").glob(f"*/*/{name}")
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
    with pytest.raises(ToolFailed, match=words):
        load_session.sessions(task, run.files(task.id))


@pytest.mark.parametrize("data", [None, [], {}, {"role": "sender", "ended": "by itself", "phases": [{}] * 4}])
def test_a_broken_result_is_one_sentence(tmp_path: Path, data: Any) -> None:
    """The same for a result."""
    task = one_way("capacity", CONTEXT_100)
    run = left(tmp_path, task, Meter(100 * MBIT, **POLICER), Hosts())
    path = next((run.path / "raw").glob("*/*load-client*/result.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": data}))
    with pytest.raises(ToolFailed, match=CONTEXT.a.name):
        load_session.sessions(task, run.files(task.id))
