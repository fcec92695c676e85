"""The orchestrator, with sessions that are played by hand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfagent.wire import Code
from perfharness import evidence
from perfharness.collect import KEY_BYTES, LEFT_OUT, collect
from perfharness.errors import AgentError, HostLost
from perfharness.fleet.spool import SpoolFile
from perfharness.model import Act, Direction, Job, Plan, Role, Scope, Status, Task
from perfharness.plan import to_json
from perfharness.severed import Severed

SCOPE = Scope(circuit="c", pair="a:z", direction=Direction.A_Z)


class FakeSession:
    """Remembers what it was asked; jobs end as ``ends`` says, "lost" drops the connection once."""

    def __init__(self, log: list[str], host: str, ends: Mapping[str, str]) -> None:
        self.log, self.host, self.ends = log, host, dict(ends)
        self.secrets: dict[str, bytes] = {}

    def start(self, job: Job, secret: bytes, task: str, window_s: float | None) -> None:
        self.secrets[job.id] = secret
        if self.ends.get(job.id) == "lost at start":
            self.ends[job.id] = "completed"
            raise HostLost(self.host, "the connection went")
        self.log.append(f"start {job.id}")
        if self.ends.get(job.id) == "refused":
            raise AgentError(self.host, 3, f"{self.host}: no such argument")

    def wait_ready(self, job: str, deadline_s: float) -> dict[str, Any]:
        self.log.append(f"ready {job}")
        if self.ends.get(job) == "never ready":
            raise AgentError(self.host, 25, "port in use")
        return {}

    def wait_done(self, job: str, deadline_s: float) -> dict[str, Any]:
        end = self.ends.get(job, "completed")
        if end == "goes on":
            time.sleep(deadline_s)
            raise AgentError(self.host, Code.DEADLINE, "it goes on")
        if end in ("lost", "gone"):
            raise HostLost(self.host, "the connection went")
        if end == "interrupt":
            self.ends[job] = "completed"
            raise KeyboardInterrupt
        self.log.append(f"done {job}")
        error = {"code": 22, "message": "it broke"} if end == "failed" else None
        done = end in ("never ready", "refused", "interrupt at fetch")
        return {"state": "completed" if done else end, "data": {}, "error": error}

    def stop(self, job: str) -> None:
        if self.ends.get(job) == "gone at stop":
            self.ends[job] = "gone"
            raise HostLost(self.host, "the connection went")
        self.log.append(f"stop {job}")
        if self.ends.get(job) == "goes on":
            self.ends[job] = "completed"

    def reattach(self, deadline_s: float) -> None:
        self.log.append(f"reattach {self.host}")
        if "gone" in self.ends.values():
            raise HostLost(self.host, "its agent has gone")
        self.ends = {job: "completed" if end == "lost" else end for job, end in self.ends.items()}

    def fetch(self, targets: Mapping[str, Path]) -> list[SpoolFile]:
        if "interrupt at fetch" in self.ends.values():
            raise KeyboardInterrupt
        for job, target in targets.items():
            self.log.append(f"fetch {job}")
            target.mkdir(parents=True)
            (target / "result.json").write_text("{}")
        return [SpoolFile(job, "result.json", 2, "") for job in targets]


class Watcher:
    """Takes the progress and keeps it."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, Status]] = []

    def task_started(self, task: Task, index: int, total: int) -> None: ...
    def event(self, host: str, event: Mapping[str, Any]) -> None: ...
    def say(self, text: str) -> None: ...

    def task_ended(self, task: Task, status: Status, reason: str) -> None:
        self.ended.append((task.id, status))


def task(name: str = "t") -> Task:
    """A driver on a, beside a watcher on a and a server on z."""

    def job(kind: str, host: str, role: Role) -> Job:
        return Job(kind, host, f"x.{kind}", {}, role, 5.0)

    jobs = (job("drive", "a", Role.DRIVE), job("serve", "z", Role.SERVE), job("watch", "a", Role.WATCH))
    return Task(name, name, "latency", SCOPE, jobs, 1.0)


def run(
    tmp_path: Path, ends: Mapping[str, str], *tasks: Task, hosts: str = "az", chosen: int = 1
) -> tuple[list[str], Any, evidence.RunFolder, Watcher]:
    log: list[str] = []
    fleet: Any = {host: FakeSession(log, host, ends) for host in hosts}
    folder = evidence.create(tmp_path, "c", "r", {})
    watcher = Watcher()
    plan = Plan("c", "s", tasks or (task(),), 5.0)
    return log, collect(plan, plan.tasks[:chosen], fleet, folder, watcher), folder, watcher


def test_watchers_then_servers_then_drivers_and_back(tmp_path: Path) -> None:
    """A watcher sees all of it, a server is ready before its client, and both are stopped afterwards."""
    log, ending, folder, watcher = run(tmp_path, {})
    assert [line for line in log if not line.startswith("fetch")] == [
        "start t.watch", "ready t.watch", "start t.serve", "ready t.serve", "start t.drive", "done t.drive",
        "stop t.serve", "done t.serve", "stop t.watch", "done t.watch",
    ]  # fmt: skip
    assert {line for line in log if line.startswith("fetch")} == {"fetch t.watch", "fetch t.serve", "fetch t.drive"}
    assert (ending.how, ending.notes, watcher.ended) == ("completed", [], [("t", Status.COMPLETED)])
    assert folder.verify() == []
    assert "raw/t/a.drive/result.json" in {entry.path for entry in folder.manifest()}


@pytest.mark.parametrize("ends", [{}, {"t.drive": "failed"}])
def test_a_server_that_ends_by_itself_is_waited_for(tmp_path: Path, ends: Mapping[str, str]) -> None:
    """Before it is stopped, since its results may still be on their way; not where its driver failed."""
    whole = task()
    jobs = tuple(replace(job, one_shot=job.role is Role.SERVE) for job in whole.jobs)
    log, *_ = run(tmp_path, ends, replace(whole, jobs=jobs))
    after = log[log.index("done t.drive") + 1 :]
    assert after[0] == ("stop t.serve" if ends else "done t.serve")


def test_acts_are_played_beside_the_drivers_and_end_them(tmp_path: Path) -> None:
    """When all is done they are stopped; what was done stands in task.json, and a cut that failed fails the task."""
    for number, (command, status) in enumerate(((("true",), "completed"), (("false",), "failed"))):
        cut = Act("cut", 0.0, command)
        played = replace(task(), acts=(cut, replace(cut, id="restore", command=("true",), undoes=True)))
        log, ending, folder, _ = run(tmp_path / str(number), {"t.drive": "goes on"}, played)
        outcome = folder.files("t").outcome()
        assert outcome is not None and outcome["status"] == status
        assert [row["id"] for row in outcome["acts"]] == ["cut", "restore"]
        assert log.index("stop t.drive") < log.index("done t.drive")
        assert bool(ending.notes) is (status == "failed")


def test_a_driver_that_fails_fails_its_task_and_nothing_is_left_running(tmp_path: Path) -> None:
    """The reason names job, host and what to do; all that was started is stopped and fetched."""
    log, ending, folder, _ = run(tmp_path, {"t.drive": "failed"})
    outcome = folder.files("t").outcome()
    assert outcome is not None
    said = "drive on a: it broke. What it wrote is with the task's raw files; measure the step again by `--only`."
    assert (outcome["status"], outcome["reason"]) == ("failed", said)
    assert {"stop t.serve", "stop t.watch", "fetch t.drive", "fetch t.serve", "fetch t.watch"} <= set(log)
    assert ending.notes == [f"t failed: {said}"]


def test_when_a_driver_has_failed_no_other_is_waited_for(tmp_path: Path) -> None:
    """The probes beside a load that died are stopped at once: nothing is made of them any more."""
    whole = task()
    loaded = replace(whole, jobs=(*whole.jobs, replace(whole.jobs[0], id="load", after_s=0.01)))
    log, _, folder, _ = run(tmp_path, {"t.drive": "goes on", "t.load": "failed"}, loaded)
    assert log[log.index("done t.load") + 1 :][:2] == ["stop t.drive", "done t.drive"]
    outcome = folder.files("t").outcome()
    assert outcome is not None and outcome["status"] == "failed" and outcome["jobs"]["a.drive"] == "completed"


def test_a_server_that_failed_too_is_heard(tmp_path: Path) -> None:
    """A client's "control socket has closed" is what follows of its server's death: both ends' words are the reason."""
    _, _, folder, _ = run(tmp_path, {"t.drive": "failed", "t.serve": "failed"})
    outcome = folder.files("t").outcome()
    assert outcome is not None and outcome["reason"].endswith(" The other end: serve on z: it broke.")


def test_a_server_that_is_not_ready_is_no_reason_to_drive(tmp_path: Path) -> None:
    """Without its server no driver starts, and what had started is tidied up."""
    log, _, folder, _ = run(tmp_path, {"t.serve": "never ready"})
    assert "start t.drive" not in log
    assert {"stop t.serve", "stop t.watch"} <= set(log)
    outcome = folder.files("t").outcome()
    assert outcome is not None and outcome["status"] == "failed"


def test_a_job_that_was_refused_is_not_asked_for(tmp_path: Path) -> None:
    """A job that the agent would not start is neither stopped nor fetched."""
    log, _, folder, _ = run(tmp_path, {"t.drive": "refused"})
    assert "stop t.drive" not in log and "fetch t.drive" not in log
    outcome = folder.files("t").outcome()
    assert outcome is not None and "no such argument" in outcome["reason"]


def test_a_lost_connection_is_taken_up_again(tmp_path: Path) -> None:
    """The job runs on under its lease: the coordinator comes back, and the task completes."""
    log, ending, _, watcher = run(tmp_path, {"t.drive": "lost"})
    assert "reattach a" in log
    assert (ending.how, watcher.ended) == ("completed", [("t", Status.COMPLETED)])


def test_jobs_that_name_a_secret_share_it_within_their_task(tmp_path: Path) -> None:
    """Both ends of a stream get one random key of their task alone; the others get none, and no file holds it."""
    named = [replace(task(name), jobs=tuple(_with_secret(job) for job in task(name).jobs)) for name in ("t", "u")]
    fleet: Any = {host: FakeSession([], host, {"t.serve": "lost at start"}) for host in "az"}
    folder = evidence.create(tmp_path, "c", "r", {})
    plan = Plan("c", "s", tuple(named), 5.0)
    folder.write_json("plan.json", to_json(plan))
    collect(plan, plan.tasks, fleet, folder, Watcher())
    told = {**fleet["a"].secrets, **fleet["z"].secrets}
    assert told["t.drive"] == told["t.serve"] != told["u.drive"] == told["u.serve"]
    assert len(told["t.drive"]) == KEY_BYTES and told["t.watch"] == told["u.watch"] == b""
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b'"stamp"' in written
    assert not any(form in written for key in told.values() if key for form in (key, key.hex().encode()))


def _with_secret(job: Job) -> Job:
    return job if job.role is Role.WATCH else replace(job, secret="stamp")


def test_a_connection_lost_while_asking_is_taken_up_again(tmp_path: Path) -> None:
    """A request whose connection went is asked once more over a new one."""
    log, _, _, watcher = run(tmp_path, {"t.serve": "lost at start"})
    assert log.index("reattach z") < log.index("start t.serve")
    assert watcher.ended == [("t", Status.COMPLETED)]


def test_a_host_that_is_gone_ends_the_run_with_what_there_is(tmp_path: Path) -> None:
    """The run ends, its task is aborted with the reason, and the folder says so."""
    _, ending, folder, _ = run(tmp_path, {"t.drive": "gone"})
    outcome = folder.files("t").outcome()
    assert ending.how == "host lost" and ending.lost is not None
    assert outcome is not None and (outcome["status"], "has gone" in outcome["reason"]) == ("aborted", True)


def test_an_interrupt_stops_what_runs(tmp_path: Path) -> None:
    """After an interrupt every job is stopped and fetched, and the task is aborted."""
    log, ending, folder, _ = run(tmp_path, {"t.drive": "interrupt"})
    assert ending.how == "interrupted"
    assert {"stop t.drive", "stop t.serve", "stop t.watch", "fetch t.drive"} <= set(log)
    outcome = folder.files("t").outcome()
    assert outcome is not None and outcome["status"] == "aborted"


def test_a_task_whose_files_were_not_all_fetched_is_not_complete(tmp_path: Path) -> None:
    """An interrupt while files come home: the task is aborted, else what is missing would look like none."""
    _, ending, folder, _ = run(tmp_path, {"t.drive": "interrupt at fetch"})
    outcome = folder.files("t").outcome()
    assert ending.how == "interrupted"
    assert outcome is not None and (outcome["status"], outcome["reason"]) == ("aborted", "interrupted by the user")


def test_what_is_left_out_is_noted_as_skipped(tmp_path: Path) -> None:
    """A task of the plan that was not asked for is skipped with its reason, not forgotten."""
    _, _, folder, _ = run(tmp_path, {}, task("t"), task("u"))
    outcome = folder.files("u").outcome()
    assert outcome is not None and (outcome["status"], outcome["reason"]) == ("skipped", LEFT_OUT)


@pytest.mark.parametrize(("optional", "status"), [(True, "completed"), (False, "failed")])
def test_an_optional_job_may_fail(tmp_path: Path, optional: bool, status: str) -> None:
    """What only root may ask does not break the task it belongs to."""
    jobs = (*task().jobs, Job("extra", "a", "x.extra", {}, Role.DRIVE, 5.0, optional=optional))
    _, _, folder, _ = run(tmp_path, {"t.extra": "failed"}, Task("t", "t", "latency", SCOPE, jobs, 1.0))
    outcome = folder.files("t").outcome()
    assert outcome is not None and outcome["status"] == status


# --- a host that only watches -------------------------------------------------------------------


def watched(name: str) -> Task:
    """The task beside two watchers on the CE."""
    jobs = (
        *(Job(kind, "c", f"x.{kind}", {}, Role.WATCH, 5.0, optional=True) for kind in ("lan", "wan")),
        *task(name).jobs,
    )
    return Task(name, name, "latency", SCOPE, jobs, 1.0)


@pytest.mark.parametrize(
    ("ends", "hosts", "touched"),
    [
        ({}, "az", set()),
        ({"t.lan": "refused"}, "azc", {"start t.lan"}),
        ({"t.lan": "never ready"}, "azc", {"start t.lan", "start t.wan", "ready t.lan"}),
        (
            {"t.lan": "gone at stop"},
            "azc",
            {"start t.lan", "start t.wan", "ready t.lan", "ready t.wan", "reattach c"},
        ),
    ],
    ids=["not there", "refuses", "cannot", "dies on the way"],
)
def test_a_spare_host_ends_nothing(tmp_path: Path, ends: Mapping[str, str], hosts: str, touched: set[str]) -> None:
    """Whatever goes wrong on the CE, the run completes, says so once, and does not ask it again."""
    log, ending, folder, watcher = run(tmp_path, ends, watched("t"), watched("u"), hosts=hosts, chosen=2)
    assert (ending.how, watcher.ended) == ("completed", [("t", Status.COMPLETED), ("u", Status.COMPLETED)])
    assert {line for line in log if line.endswith(("lan", "wan", " c"))} == touched
    assert len(ending.notes) == (hosts == "azc")
    assert all(note.endswith(". The run went on without its counters.") for note in ending.notes)
    assert {"fetch t.drive", "fetch u.drive", "stop u.watch"} <= set(log)
    assert folder.verify() == []


def test_when_watchers_began_and_ended_is_noted(tmp_path: Path) -> None:
    """By the coordinator's clock, a bracket each around the first row and the last."""
    _, _, folder, _ = run(tmp_path, {}, watched("t"), hosts="azc")
    noted = (folder.files("t").outcome() or {})["watched"]
    assert set(noted) == {"c.lan", "c.wan", "a.watch"}
    for (began, ready), (asked, ended) in noted.values():
        assert began <= ready <= asked <= ended


def test_when_drivers_were_asked_and_had_ended_is_noted(tmp_path: Path) -> None:
    """By the coordinator's clock alone: what several pairs have in common must not hang on theirs."""
    _, _, folder, _ = run(tmp_path, {})
    ((key, (asked_ns, ended_ns)),) = (folder.files("t").outcome() or {})["drove"].items()
    assert key == "a.drive" and asked_ns <= ended_ns


@pytest.mark.parametrize("ends", [{"t.push": "refused"}, {"t.push": "gone"}, {"t.push": "failed"}])
def test_a_spare_host_that_was_to_drive_ends_nothing(tmp_path: Path, ends: Mapping[str, str]) -> None:
    """The CE may be one end of a load; without it the task is complete, and its other driver ends as it should."""
    push = Job("push", "c", "x.push", {}, Role.DRIVE, 5.0, optional=True)
    with_ce = replace(task("t"), jobs=(push, *task("t").jobs))
    log, ending, _, watcher = run(tmp_path, ends, with_ce, hosts="azc")
    assert (ending.how, watcher.ended) == ("completed", [("t", Status.COMPLETED)])
    assert "done t.drive" in log and "fetch t.drive" in log


def test_a_pair_that_does_not_answer_is_loaded_no_more(tmp_path: Path) -> None:
    """What would wait for its answers is left out with the reason; what looks again is run, and has the last word."""
    looks = [replace(task(name), yields={"path": ()}) for name in ("look", "again")]
    loads = [replace(task(name), load_bps=1000) for name in ("load", "later")]
    tasks = (looks[0], loads[0], task("host"), looks[1], loads[1])
    said = iter(["The far host did not answer.", ""])
    fleet: Any = {host: FakeSession([], host, {}) for host in "az"}
    folder, watcher = evidence.create(tmp_path, "c", "r", {}), Watcher()
    severed = Severed(lambda _: next(said))
    ending = collect(Plan("c", "s", tasks, 5.0), tasks, fleet, folder, watcher, severed=severed)
    done = {"look": Status.COMPLETED, "load": Status.SKIPPED, "host": Status.COMPLETED, "again": Status.COMPLETED}
    assert dict(watcher.ended) == {**done, "later": Status.COMPLETED}
    assert ending.notes == ["load skipped: It was left out. The far host did not answer."]
