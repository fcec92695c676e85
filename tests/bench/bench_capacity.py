"""Time to the capacity of a circuit: `capacity` against a bisecting search with plain iperf3, on the lab.

A policed circuit of 200 Mbit/s whose order says 250, so that neither knows it before. iperf3 offers UDP for five
seconds a step, the receiver's loss decides, and the search ends when it is known to one percent. Both are held
against the truth; printed are the times and their ratio, taken in turns. Exit code 1 when the harness takes more than
15 s or a quarter of the search's time, or is further than 0.3 % from the truth.

    python tests/bench/bench_capacity.py [--rounds 2]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parents[2])]

from perfharness.lab import control  # noqa: E402 - found only by the path above
from perfharness.lab.spec import LabSpec  # noqa: E402 - likewise
from tests.bench.meters import Case, run, values  # noqa: E402 - likewise

TRUTH_BPS, ORDER_MBPS, BUCKET_BYTES = 200_000_000, 250, 300_000
PAYLOAD, FRAME = 1400, 1446
STEP_S, LOST = 5, 1e-3
MOST_S, MOST_SHARE, RATE = 15.0, 0.25, 0.003
SCENARIO = """
format_version: 1
id: bench
title: Capacity from on-prem to cloud
steps:
  - {id: capacity, measure: capacity, direction: a-z}
"""


class Found(NamedTuple):
    seconds: float
    rate_bps: float
    """At L2 with the tag, as the truth."""


def by_iperf3() -> Found:
    """Bisection between a tenth of the order and four times of it."""
    began = time.monotonic()
    low, high = ORDER_MBPS * 1e6 / 10, ORDER_MBPS * 1e6 * 4
    while high - low > 0.01 * low:
        middle = (low + high) / 2
        low, high = (middle, high) if _lost(middle) <= LOST else (low, middle)
    return Found(time.monotonic() - began, low)


def _lost(rate_bps: float) -> float:
    """Share of the packets of one step that the receiver missed."""
    enter = ["ip", "netns", "exec"]
    server = subprocess.Popen([*enter, "ph-ecs", "iperf3", "-s", "-1", "-p", "5201"], stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.2)
        load = ["-u", "-b", str(round(rate_bps * PAYLOAD / FRAME)), "-l", str(PAYLOAD), "-t", str(STEP_S), "-J"]
        client = [*enter, "ph-onprem", "iperf3", "-c", "192.168.10.10", "-p", "5201", *load]
        done = subprocess.run(client, check=True, capture_output=True, timeout=60)
        server.wait(timeout=30)
    finally:
        server.kill()
        server.wait()
    return float(json.loads(done.stdout)["end"]["sum"]["lost_percent"]) / 100


def by_harness(order: Path, folder: Path) -> Found:
    """The task alone: what a run takes beside it is another bench's."""
    scenario = folder / "bench.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    findings = run(scenario, order, folder)
    row = next(row for metric, row in values(findings, "a-z") if metric == "capacity.sustained")
    noted = sorted(folder.glob("*/*/raw/*/task.json"))[-1]
    task = json.loads(noted.read_text(encoding="utf-8"))
    return Found((task["ended_ns"] - task["started_ns"]) / 1e9, float(row["value"] or 0.0))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        order = Case(ORDER_MBPS, True, True, 1500, 0).order(folder)
        try:
            control.up(LabSpec(rate_bps=TRUTH_BPS, policer_bytes=BUCKET_BYTES))
            for _ in range(rounds):
                ours.append(by_harness(order, folder))
                theirs.append(by_iperf3())
        finally:
            control.down()
    for who, found in (("harness", ours), ("iperf3, bisecting", theirs)):
        told = "; ".join(f"{each.seconds:5.1f} s, {each.rate_bps / TRUTH_BPS - 1:+.2%}" for each in found)
        print(f"{who:18s} {told}")
    share = statistics.median(each.seconds for each in ours) / statistics.median(each.seconds for each in theirs)
    worst = max(abs(each.rate_bps / TRUTH_BPS - 1) for each in ours)
    good = share <= MOST_SHARE and worst <= RATE and max(each.seconds for each in ours) <= MOST_S
    print(f"time, harness / iperf3: {share:.3f} (at most {MOST_SHARE}); {'ok' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
