"""What a run costs beside its measuring: smoke on the lab, the start of an agent, and `--help`.

Times of this machine, printed beside their targets; exit code 1 when one is missed. The measuring windows of smoke
are what its scenario asks for: the probe stream, the loads with their warm-up, the pings.

    python tests/bench/bench_overhead.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from perfharness.fleet.session import Session
from perfharness.lab import control
from perfharness.lab.spec import LabSpec
from perfharness.model import Task
from perfharness.order.circuit import Circuit, load_circuit
from perfharness.order.scenario import find_shipped, load_scenario
from perfharness.plan import make_plan, with_attempts

RUN = [sys.executable, "-m", "perfharness"]


def seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def measuring_s(tasks: Sequence[Task]) -> float:
    """The sum of what these tasks measure."""
    total = 0.0
    for task in tasks:
        loads = [job.args for job in task.jobs if job.method == "iperf3.drive"]
        streams = [job.args for job in task.jobs if job.method == "stamp.send"]
        pings = [job.args for job in task.jobs if job.method in ("path.ping", "path.mark")]
        total += max(
            [load["duration_s"] + load["omit_s"] for load in loads]
            + [stream["interval_ns"] * stream["count"] / 1e9 for stream in streams]
            + [ping["interval_ms"] * ping["count"] / 1e3 for ping in pings]
            + [0.0]
        )
    return total


def agent_start_s(circuit: Circuit) -> float:
    """Connecting included: from nothing to the agent's first answer."""
    end = circuit.endpoint(circuit.pairs[0][0])

    def start_and_leave() -> None:
        nonlocal elapsed
        session: list[Session] = []
        elapsed = seconds(lambda: session.append(Session(end, "bench", 20.0)))
        session[0].bye()

    elapsed = 0.0
    times = []
    for _ in range(5):
        start_and_leave()
        times.append(elapsed)
    return statistics.median(times)


def smoke_s(circuit_file: str, circuit: Circuit) -> float:
    """Beside what was measured, every attempt at a task included."""
    with tempfile.TemporaryDirectory() as results:
        command = [*RUN, "run", "smoke", "--circuit", circuit_file, "--results", results]
        elapsed = seconds(lambda: subprocess.run(command, stderr=subprocess.DEVNULL, check=False))
        made = {folder.name for folder in Path(results).glob("*/*/raw/*")}
    tasks = with_attempts(make_plan(circuit, load_scenario("smoke")).tasks)
    return elapsed - measuring_s([task for task in tasks if task.id in made])


def main() -> int:
    file = find_shipped("circuits/lab")
    circuit = load_circuit(file)
    control.up(LabSpec.from_circuit(circuit))
    try:
        rows = [
            ("smoke outside its measuring windows", smoke_s(str(file), circuit), 20.0),
            ("start of an agent, SSH included", agent_start_s(circuit), 1.0),
        ]
    finally:
        control.down()
    help_s = statistics.median(
        seconds(lambda: subprocess.run([*RUN, "--help"], stdout=subprocess.DEVNULL, check=True)) for _ in range(5)
    )
    rows.append(("perfharness --help", help_s, 0.3))
    for name, value, target in rows:
        print(f"{name:40} {value:6.2f} s   target {target:5.1f} s   {'ok' if value <= target else 'MISSED'}")
    return 0 if all(value <= target for _, value, target in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
