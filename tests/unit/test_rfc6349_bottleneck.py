"""The bottleneck bandwidth of an rfc6349 task: made-up even loads, and what is said of the path."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfharness import evidence
from perfharness.measurements import rfc6349_bottleneck
from perfharness.measurements.rfc6349_bottleneck import Bottleneck
from perfharness.model import Task
from tests.unit.job_files import CONTEXT, counters
from tests.unit.probe_stream import START_UNIX_NS
from tests.unit.service_files import Fate, session, tasks

RATE_BPS = 1_000_000_000
BESIDE_BPS = 44_000
LEAST_HI = 1e-4


def task_of(way: str = "a-z", **params: str) -> Task:
    (task,) = tasks("rfc6349", direction=way, single="0s", **params)
    return task


def found(folder: Path, fate: Fate, way: str = "a-z", ended: str = "by itself", shed: int = 0) -> Bottleneck:
    """Of a load that fared like this."""
    run, task = evidence.create(folder, "c", "r", {}), task_of(way)
    (sender,) = (job for job in task.jobs if job.args.get("sends"))
    told, sent, heard, arrivals = session(sender, CONTEXT, lambda *_: fate)
    told["ended"], told["phases"][0]["shed"] = ended, shed
    for job in task.jobs:
        where = f"raw/{task.id}/{job.endpoint}.{job.id}"
        if job.method == "host.counters":
            run.write(f"{where}/counters.jsonl", counters(seconds=20, rcvbuf=heard["drops"]))
        if not job.method.startswith("load."):
            continue
        data, name, rows = (told, "sent", sent) if job is sender else (heard, "arrivals", arrivals)
        done = {"format_version": 1, "status": "completed", "args": dict(job.args), "data": data}
        run.write_json(f"{where}/result.json", {**done, "started_ns": START_UNIX_NS, "ended_ns": START_UNIX_NS + 1})
        run.write(f"{where}/{name}.jsonl", rows)
    return rfc6349_bottleneck.measured(task, run.files(task.id), CONTEXT, BESIDE_BPS)


@pytest.mark.parametrize("way", ["a-z", "z-a"])
def test_what_all_arrived_is_the_order_and_no_more_was_tried(tmp_path: Path, way: str) -> None:
    """Whoever sends: the ordered rate, a loss of nothing, and nothing to be said of it."""
    seen = found(tmp_path, Fate(), way)
    assert (seen.rate_bps, seen.shares, seen.about) == (RATE_BPS, None, "")
    assert seen.loss is not None and (seen.loss.lo, seen.loss.hi < LEAST_HI) == (0.0, True)


@pytest.mark.parametrize("way", ["a-z", "z-a"])
def test_a_narrow_path_is_measured_with_the_probes_beside_it(tmp_path: Path, way: str) -> None:
    """800 of 1000 Mbit/s arrive: that and the probes is the bandwidth, within its interval."""
    seen = found(tmp_path, Fate(most_bps=800e6), way)
    assert seen.rate_bps == pytest.approx(800e6 + BESIDE_BPS, rel=5e-3)
    assert seen.shares is not None and 0.95 < seen.shares.lo <= 1 <= seen.shares.hi < 1.05
    assert seen.loss is not None and seen.loss.lo < 0.2 < seen.loss.hi


def test_a_sender_that_shed_proves_nothing_of_the_rest(tmp_path: Path) -> None:
    """Nine tenths were offered and arrived: the path is as wide as that at least, and perhaps as ordered."""
    seen = found(tmp_path, Fate(offered=0.9), shed=1)
    assert seen.rate_bps == RATE_BPS
    assert seen.shares is not None and (seen.shares.lo, seen.shares.hi) == (pytest.approx(0.9, abs=1e-3), 1.0)
    said = "The sender of paced UDP offered only 90.0% of the ordered rate: the path may be narrower than was ordered."
    assert seen.about == said


def test_what_the_receiving_host_dropped_the_path_had_carried(tmp_path: Path) -> None:
    """A fifth found no room in its socket: the bandwidth is as ordered, and the circuit lost nothing but for those of
    which the socket's rows do not tell when."""
    seen = found(tmp_path, Fate(dropped=0.2))
    assert (seen.rate_bps, seen.shares) == (RATE_BPS, None)
    assert seen.loss is not None and seen.loss.lo == 0.0 and seen.loss.hi < 1e-3


def test_a_session_that_ended_early_is_no_measurement(tmp_path: Path) -> None:
    """The ordered rate is taken, with the reason; nothing is known of the loss."""
    seen = found(tmp_path, Fate(), ended="the receiver reported nothing for 0.5 s")
    assert (seen.rate_bps, seen.shares, seen.loss) == (RATE_BPS, None, None)
    said = "The load of onprem-a ended early: the receiver reported nothing for 0.5 s"
    assert seen.about == f"The bottleneck bandwidth was not measured ({said}): the ordered rate is taken."


def test_the_load_is_asked_for_what_was_ordered_less_the_probes(tmp_path: Path) -> None:
    """One phase of the asked length and class; its server, at the cloud end, waits for it from the beginning."""
    task = task_of("z-a", bottleneck="2500ms", dscp="EF")
    server, client = (job for job in task.jobs if job.method.startswith("load."))
    (phase,) = server.args["phases"]
    assert (phase["seconds"], server.args["dscp"], server.endpoint, server.args["sends"]) == (2.5, 46, "ecs-a", True)
    assert 0.999 * RATE_BPS < phase["rate_bps"] < RATE_BPS
    assert (client.after_s > 0, server.after_s) == (True, 0.0)
