"""The verbs `run` and `report`: the stages in a row."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from perfharness import __version__, acts, evidence
from perfharness.care import Care
from perfharness.collect import collect, without
from perfharness.evaluate import evaluate, unreachable, why_again
from perfharness.fleet.hosts import Fleet
from perfharness.model import Run
from perfharness.order.circuit import Circuit, load_circuit
from perfharness.order.scenario import Scenario, load_scenario
from perfharness.order.sense import must_make_sense
from perfharness.outcome import Ending
from perfharness.plan import chosen, duration_s, hosts, iperf3_hosts, make_plan, refuse_harm, spare, to_json
from perfharness.preflight import must_be_usable, must_have_room
from perfharness.report.loading import loading
from perfharness.severed import Severed
from perfharness.view import summary, view


def run(
    scenario_name: str,
    circuit_file: Path,
    results: Path,
    only: Sequence[str],
    console: Console,
    *,
    as_pdf: bool = True,
) -> Run:
    """Measure, judge and report; the page ``as_pdf`` too, which takes seconds.

    Raises BadInput or Refused before anything is touched, HostUnusable when a host cannot be used; the
    reports of what was measured until a host was lost are written all the same.
    """
    scenario = load_scenario(scenario_name)
    circuit = load_circuit(circuit_file)
    now = datetime.now(UTC)
    must_make_sense(circuit, now.date())
    plan = make_plan(circuit, scenario)
    tasks = chosen(plan, only)
    refuse_harm(tasks, circuit, now)
    acts.refuse_unasked(tasks)
    names, extra = hosts(tasks), spare(tasks)
    ends = [circuit.endpoint(name) for name in names if name not in extra]
    run_id = f"{now:%Y%m%dT%H%M%SZ}-{scenario.id}-{secrets.token_hex(2)}"
    reports = loading(as_pdf)
    with view(console) as progress:
        progress.connecting(f"{scenario.id} on {circuit.id}", names, duration_s(tasks))
        everyone = [circuit.asked(name) for name in names]
        care = Care(circuit, progress.event)
        with Fleet(everyone, run_id, plan.lease_s, care.heard, extra) as fleet:
            must_be_usable(fleet, ends, iperf3_hosts(tasks))
            must_have_room(fleet, tasks)
            reports.join()
            folder = evidence.create(
                results,
                circuit.id,
                run_id,
                {
                    "circuit": circuit.id,
                    "scenario": scenario.id,
                    "started": evidence.utc(now),
                    "version": __version__,
                    "argv": sys.argv[1:],
                },
            )
            _write_order(folder, circuit, circuit_file, scenario)
            folder.write_json("plan.json", to_json(plan))
            for name, session in fleet.items():
                folder.write_json(f"hosts/{name}.json", session.hello, host=name)
            why = partial(why_again, folder=folder, circuit=circuit, scenario=scenario)
            severed = Severed(partial(unreachable, folder=folder, circuit=circuit))
            ending = collect(plan, tasks, fleet, folder, progress, why, care, severed)
        _write_end(folder, ending, fleet)
    judged = _report(folder.path, None, console, as_pdf)
    if ending.lost is not None:
        raise ending.lost
    return judged


def _write_order(folder: evidence.RunFolder, circuit: Circuit, circuit_file: Path, scenario: Scenario) -> None:
    """What was ordered and asked for, as it was written."""
    folder.write("order/circuit.yaml", circuit_file.read_bytes())
    folder.write("order/scenario.yaml", Path(scenario.source).read_bytes())
    if circuit.companion is not None:
        folder.write("order/companion.yaml", circuit.companion.read_bytes())


def _write_end(folder: evidence.RunFolder, ending: Ending, fleet: Fleet) -> None:
    """How it ended, and what is not known to have gone from the hosts."""
    folder.write_json(
        "end.json",
        {
            "format_version": evidence.FORMAT_VERSION,
            "ended": evidence.utc(),
            "end": ending.how,
            "notes": [*map(without, fleet.absent.values()), *ending.notes],
            "left_behind": fleet.left_behind,
        },
    )


def rebuild(run_folder: Path, circuit_file: Path | None, console: Console, *, as_pdf: bool = True) -> Run:
    """Findings and reports again from the evidence; with another order, beside the first ones."""
    return _report(run_folder, circuit_file, console, as_pdf)


def _report(path: Path, circuit_file: Path | None, console: Console, as_pdf: bool) -> Run:
    from perfharness.report.write import write_reports  # see ``loading``

    folder, about = evidence.open_run(path)
    corrected: Circuit | None = load_circuit(circuit_file) if circuit_file else None
    with console.status("judging, and writing the reports"):
        judged, circuit, scenario = evaluate(folder, about, corrected)
        written = write_reports(judged, circuit, scenario, folder, circuit_file, as_pdf=as_pdf)
    summary(judged, console)
    for report in written:
        console.print(f"{report}", markup=False, highlight=False, soft_wrap=True)
    return judged
