"""The verb `lab prove`: plays faults, runs a scenario on each as anybody would, and holds what it says against the
truth."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from perfharness import interrupt
from perfharness.errors import Exit, LabFault, Refused
from perfharness.evidence import json_bytes
from perfharness.lab import control
from perfharness.lab.confusion import NO_RUN, Outcome, compare, counted, missed, tables
from perfharness.lab.expected import CASES, HEALTHY, KINDS, Case, by_name
from perfharness.lab.spec import LabSpec
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import find_shipped

SCENARIO = "prove"
ORDERS = {False: "circuits/lab-prove", True: "circuits/lab-prove-bgp"}
"""By whether the routers speak BGP."""
HEALTHY_TIMES = 10
RUN_S = 300.0
FORMAT_VERSION = 1
JUDGED = (Exit.PASS, Exit.FAIL, Exit.INCONCLUSIVE)


def cases(names: Sequence[str], only: str | None) -> tuple[Case, ...]:
    """What was asked for: by name, or of one kind; all without either. Raises Refused."""
    if only is not None and only not in KINDS:
        raise Refused(f"--only {only} is no kind of cases.", f"Choose {', '.join(KINDS)}.")
    try:
        chosen = by_name(names) if names else CASES
    except KeyError as error:
        raise Refused(f"There is no case {error.args[0]!r}.", "`perfharness lab prove --list` names all.") from None
    return tuple(case for case in chosen if only in (None, case.kind))


def prove(chosen: Sequence[Case], times: int | None, results: Path, console: Console) -> bool:
    """Play and judge; whether all bounds are kept. The tables are in ``results/prove/<time>/``, and printed.

    ``times``: of each; without it once, and the healthy lab ten times. Raises LabFault.
    """
    folder = results / "prove" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    folder.mkdir(parents=True)
    was_up = control.status()["up"]
    outcomes: list[Outcome] = []
    try:
        for bgp in (False, True):  # so that the lab is built once for each
            turns = [case for case in chosen if case.bgp is bgp for _ in range(times or _usual(case))]
            if turns:
                circuit = find_shipped(ORDERS[bgp])
                control.up(LabSpec.from_circuit(load_circuit(circuit), bgp=bgp))
            for case in turns:
                outcomes.append(_play(case, circuit, folder))
                _tell(outcomes[-1], console)
                _write(outcomes, folder)
    finally:
        if not was_up:
            with interrupt.held("The lab is taken down first."):
                control.down()
    sys.stdout.write((folder / "prove.md").read_text(encoding="utf-8"))
    for sentence in (*missed(outcomes), counted(outcomes), str(folder / "prove.md")):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    return not missed(outcomes)


def _usual(case: Case) -> int:
    return HEALTHY_TIMES if case.name == HEALTHY else 1


def _play(case: Case, circuit: Path, folder: Path) -> Outcome:
    words = ["run", SCENARIO, "--circuit", str(circuit), "--results", str(folder), "--json", "--no-pdf"]
    argv = [sys.executable, "-m", "perfharness", *words]
    with _faulty(case):
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=RUN_S, check=False)
        except subprocess.TimeoutExpired:
            return Outcome(case, NO_RUN, error=f"The run did not end within {RUN_S:g} s")
    if done.returncode not in JUDGED:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return Outcome(case, NO_RUN, error=(said[-1] if said else f"exit code {done.returncode}").rstrip("."))
    findings: dict[str, Any] = json.loads(done.stdout)
    return compare(case, findings, f"{findings['circuit']}/{findings['run_id']}")


@contextmanager
def _faulty(case: Case) -> Iterator[None]:
    """These faults are on. Raises LabFault where the lab is not whole again afterwards."""
    try:
        for part in case.parts:
            control.fault(part.wish)
        yield
    finally:
        with interrupt.held("The faults are ended first."):
            problems = control.clear()["problems"]
    if problems:
        raise LabFault(f"The lab is not whole after {case.name}: {'; '.join(problems)}.")


def _tell(outcome: Outcome, console: Console) -> None:
    causes = ", ".join(f"{cause} ({certainty})" for cause, certainty in outcome.causes)
    said = f"{outcome.case.name}: {outcome.verdict}; {causes or 'no cause'}"
    missed = f" — {'; '.join(outcome.misses)}" if outcome.misses else ""
    console.print(f"{said}{missed}", markup=False, highlight=False, soft_wrap=True)


def _write(outcomes: Sequence[Outcome], folder: Path) -> None:
    """After each, so that what was played so far stands there however it ends."""
    cpus = os.cpu_count()
    about = f"{datetime.now(UTC):%Y-%m-%d}, {cpus} CPUs, Linux {platform.release()}. {counted(outcomes)}"
    (folder / "prove.md").write_text(tables(outcomes, about), encoding="utf-8")
    rows = {"format_version": FORMAT_VERSION, "outcomes": [outcome.to_json() for outcome in outcomes]}
    (folder / "prove.json").write_bytes(json_bytes({**rows, "missed": list(missed(outcomes))}))
