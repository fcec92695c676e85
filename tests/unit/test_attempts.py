"""A step that is measured again where its hosts fell short of their part: when, how often, and which one counts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from perfharness import dryrun, evidence
from perfharness.collect import collect
from perfharness.errors import Refused
from perfharness.evaluate import evaluate, why_again
from perfharness.model import Plan, Status, Task, Verdict
from perfharness.order.scenario import find_shipped, load_scenario
from perfharness.plan import attempt, make_plan, refuse_harm, to_json
from tests.unit.job_files import LOSSY, PROBES, store
from tests.unit.test_collect import FakeSession, Watcher, task
from tests.unit.test_plan import NOW, lab, live

CLEAN = {"client": "3.12-udp-client.json", "server": "3.12-udp-server.json"}
STEP = """\
format_version: 1
id: again
title: Again
steps:
  - id: udp
    measure: throughput
    attempts: 3
    protocol: udp
    direction: a-z
    duration: 3s
    omit: 0s
    rate: {rate}
    probe: {{interval: 2ms}}
    judge:
      - {{metric: throughput.udp, statistic: mean, at_least: {least}}}
      - {{metric: loss, statistic: ratio, at_most: {most}}}
"""


def scenario_file(tmp_path: Path, rate: str = "21.2Mbps", least: str = "20Mbps", most: str = "1e-3") -> Path:
    path = tmp_path / "again.yaml"
    path.write_text(STEP.format(rate=rate, least=least, most=most))
    return path


@pytest.mark.parametrize(
    ("rate", "least", "most", "outputs", "drops", "said"),
    [
        ("40Mbps", "20Mbps", "1e-3", CLEAN, 0, "onprem-a offered 52."),
        ("40Mbps", "20Mbps", "1e-3", LOSSY, 0, ""),
        ("20.7Mbps", "20Mbps", "1e-3", CLEAN, 0, ""),
        ("21.2Mbps", "21.15Mbps", "1e-3", CLEAN, 0, "onprem-a offered 99."),
        ("21.2Mbps", "20Mbps", "1e-4", CLEAN, 0, ""),
        ("20.7Mbps", "20Mbps", "1e-3", LOSSY, 117, "ecs-a: it dropped 117 of the 117 packets"),
    ],
    ids=["half offered", "lost", "all done", "the rate is open for it", "the loss by its own interval", "dropped"],
)
def test_only_a_row_that_a_host_left_open_is_measured_again(
    tmp_path: Path, rate: str, least: str, most: str, outputs: dict[str, str], drops: int, said: str
) -> None:
    """What was not offered leaves a row open: again. Part of it was lost: that stands. All was done, or the row is open
    for a reason that is not the host's: nothing to do, however little was offered beside it."""
    scenario = load_scenario(scenario_file(tmp_path, rate, least, most))
    (planned,) = make_plan(lab(), scenario).tasks
    store(tmp_path, planned, PROBES, outputs, drops=drops)
    folder, _ = evidence.open_run(tmp_path / "c" / "r")
    why = why_again(planned, folder, lab(), scenario)
    assert why.startswith(said) and bool(why) is bool(said)


def collected(
    tmp_path: Path, ends: dict[str, str], short: int, attempts: int = 3
) -> tuple[list[str], evidence.RunFolder, Watcher]:
    """The notes on a task whose hosts fall short so many times."""
    fleet: Any = {host: FakeSession([], host, ends) for host in "az"}
    folder = evidence.create(tmp_path, "c", "r", {})
    watcher = Watcher()
    asked: list[str] = []

    def why(done: Task) -> str:
        asked.append(done.id)
        return "a offered 90 % of the load" if len(asked) <= short else ""

    plan = Plan("c", "s", (replace(task(), attempts=attempts),), 5.0)
    return collect(plan, plan.tasks, fleet, folder, watcher, why).notes, folder, watcher


@pytest.mark.parametrize(("short", "filed"), [(0, ["t"]), (1, ["t", "t.2"]), (9, ["t", "t.2", "t.3"])])
def test_every_attempt_is_kept_and_noted(tmp_path: Path, short: int, filed: list[str]) -> None:
    """Until the hosts do their part, and no more often than was planned; all files of each are in the manifest."""
    notes, folder, watcher = collected(tmp_path, {}, short)
    assert watcher.ended == [(name, Status.COMPLETED) for name in filed]
    assert {entry.task for entry in folder.manifest() if entry.task} == set(filed)
    again = [f"{name} was measured again, since a host fell short of its part" for name in filed[:-1]]
    assert [note.split(":")[0] for note in notes] == again


def test_what_could_not_be_done_is_not_tried_again(tmp_path: Path) -> None:
    """A driver that failed is a failure of its task, which another attempt would only hide."""
    notes, _, watcher = collected(tmp_path, {"t.drive": "failed"}, 9)
    assert watcher.ended == [("t", Status.FAILED)]
    assert [note.partition(". ")[0] for note in notes] == ["t failed: drive on a: it broke"]


@pytest.mark.parametrize(
    ("ended", "judged"),
    [
        (["completed"], "01-udp-a-z"),
        (["completed", "completed"], "01-udp-a-z.2"),
        (["completed", "aborted"], "01-udp-a-z"),
        (["completed", "completed", "failed"], "01-udp-a-z.2"),
        (["failed"], "01-udp-a-z"),
        ([], "01-udp-a-z"),
    ],
)
def test_the_last_attempt_that_was_completed_is_judged(tmp_path: Path, ended: list[str], judged: str) -> None:
    """One that was cut short says less than the one before it."""
    written = scenario_file(tmp_path)
    plan = make_plan(lab(), load_scenario(written))
    folder = evidence.create(tmp_path, "c", "r", {"started": "2027-03-31T22:00:00.000Z", "version": "0"})
    folder.write("order/circuit.yaml", find_shipped("circuits/lab").read_bytes())
    folder.write("order/scenario.yaml", written.read_bytes())
    folder.write_json("plan.json", to_json(plan))
    for number, status in enumerate(ended, 1):
        name = f"01-udp-a-z.{number}" if number > 1 else "01-udp-a-z"
        folder.write_json(f"raw/{name}/task.json", {"status": status, "reason": "", "started_ns": 1, "ended_ns": 2})
    run, _, _ = evaluate(*evidence.open_run(folder.path))
    assert [measurement.task.id for measurement in run.measurements] == [judged]


def test_an_attempt_that_failed_by_a_corrected_order_stands(tmp_path: Path) -> None:
    """By the order of the run nothing failed, so it was measured again; by a corrected one the first attempt does."""
    written = scenario_file(tmp_path)
    plan = make_plan(lab(), load_scenario(written))
    (planned,) = plan.tasks
    store(tmp_path, planned, PROBES, LOSSY)
    again = attempt(planned, 2)
    store(tmp_path / "second", again, PROBES, CLEAN)
    shutil.copytree(tmp_path / "second" / "c" / "r" / "raw" / again.id, tmp_path / "c" / "r" / "raw" / again.id)
    folder = evidence.RunFolder(tmp_path / "c" / "r")
    folder.write("order/circuit.yaml", find_shipped("circuits/lab").read_bytes())
    folder.write("order/scenario.yaml", written.read_bytes())
    folder.write_json("plan.json", to_json(plan))
    run, _, _ = evaluate(folder, {"run_id": "r", "started": "2027-03-31T22:00:00.000Z", "version": "0"})
    assert [measurement.task.id for measurement in run.measurements] == [planned.id]
    assert run.verdict is Verdict.FAIL


def test_a_change_window_has_room_for_all_attempts() -> None:
    """A circuit in service is not begun with what may still be running when its window ends."""
    window = {"window_start": NOW.isoformat(), "window_end": NOW.replace(second=30).isoformat()}
    circuit = live(**window)
    (udp,) = (each for each in make_plan(circuit, load_scenario("smoke")).tasks if each.id.endswith("udp-a-z"))
    refuse_harm((replace(udp, attempts=2),), circuit, NOW)
    with pytest.raises(Refused, match="They need up to"):
        refuse_harm((replace(udp, attempts=5),), circuit, NOW)


def test_the_plan_says_what_attempts_may_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A change board reads the most that may happen, not only what should."""
    dryrun.show_plan(find_shipped("circuits/lab"), str(scenario_file(tmp_path)), (), False, Console())
    said = capsys.readouterr().out
    assert "s, up to 3 times" in said and "should a host fall short of its part" in said
