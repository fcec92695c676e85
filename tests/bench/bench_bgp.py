"""BGP is only read: every shipped scenario, played whole on the lab, beside the sessions of all its routers.

The production pair where the scenario has no order of its own, with real FRR routers: before and after each run they
are asked for their sessions and their configuration. Nobody cuts anything: where a scenario has a person or a command
do so, the command does nothing. BFD is slow here (see ``bgp_sessions.SLOW_BFD``). Exit code 1 where a session fell or
was talked to, a router was set, or a task was not played. Needs root and what the lab needs, FRR among it.

    python tests/bench/bench_bgp.py [SCENARIO …]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "agents")]

from perfharness.lab import control  # noqa: E402 - found only by the path above
from perfharness.lab.spec import LabSpec  # noqa: E402 - likewise
from perfharness.order.circuit import load_circuit, load_companion  # noqa: E402 - likewise
from tests.integration.bgp_sessions import see, slow_bfd, touched  # noqa: E402 - likewise

SCENARIOS = {path.stem: path for path in sorted((ROOT / "scenarios").glob("*.yaml"))}
PAIR = "lab-production"
OTHERS = {"big-port": "lab-pairs", "prove": "lab-prove-bgp"}
"""Orders of scenarios that the production pair cannot show."""
HOOK = re.compile(r"^( +)(?:ask|command): .*$", re.MULTILINE)
NOTHING = r'\1command: ["true"]'
TASKS = "results/*/*/raw/*/task.json"
LESS = ("FAIL", "INCONCLUSIVE", "NOT_RUN")
RUN_S = 1800


class Played(NamedTuple):
    scenario: str
    seconds: float
    verdict: str
    tasks: int
    unplayed: list[str]
    sessions: int
    touched: list[str]
    open: list[str]
    """Why the verdict is no PASS."""

    @property
    def good(self) -> bool:
        return self.sessions > 0 and self.tasks > 0 and not self.unplayed and not self.touched


def play(name: str, folder: Path) -> Played:
    """Raises AssertionError where the harness gave no findings."""
    order = slow_bfd(ROOT / "scenarios" / "circuits" / f"{OTHERS.get(name, PAIR)}.yaml", folder)
    scenario = folder / f"{name}.yaml"
    scenario.write_text(HOOK.sub(NOTHING, SCENARIOS[name].read_text(encoding="utf-8")), encoding="utf-8")
    circuit = load_circuit(order)
    spec = LabSpec.from_circuit(circuit, load_companion(circuit), bgp=True)
    control.up(spec)
    before = see(spec)
    words = ["run", str(scenario), "--circuit", str(order), "--results", str(folder / "results"), "--json", "--no-pdf"]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "perfharness", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    seconds = time.monotonic() - began
    after = see(spec)
    assert done.stdout, done.stderr
    tasks = {path.parent.name: json.loads(path.read_bytes())["status"] for path in folder.glob(TASKS)}
    unplayed = [f"{task} {status}" for task, status in sorted(tasks.items()) if status != "completed"]
    findings = json.loads(done.stdout)
    undone = [
        f"{row['metric']} {row['statistic']} {row['direction']}: {row['verdict']}. {row['reason']}"
        for row in findings["findings"]
        if row["verdict"] in LESS and row["mandatory"]
    ]
    stood = len(before.sessions), touched(before, after)
    return Played(name, seconds, findings["verdict"], len(tasks), unplayed, *stood, undone)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    names = parser.parse_args().scenarios or list(SCENARIOS)
    if unknown := set(names) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    good = True
    print(f"{'scenario':12s} {'duration':>8s}  {'verdict':12s}  {'sessions that stood':22s}  tasks that were played")
    try:
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                played = play(name, Path(folder))
            good = good and played.good
            stood = "; ".join(played.touched) or f"all {played.sessions}"
            tasks = f"all but {', '.join(played.unplayed)}" if played.unplayed else f"all {played.tasks}"
            print(f"{name:12s} {played.seconds:6.0f} s  {played.verdict:12s}  {stood:22s}  {tasks}", flush=True)
            for why in played.open:
                print(f"  {why}", flush=True)
    finally:
        control.down()
    print("ok" if good else "MISSED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
