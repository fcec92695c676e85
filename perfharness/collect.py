"""Plan × fleet → evidence: the only orchestrator, and the only stage that touches the network.

For each task: watchers, then servers until they are ready, then the drivers; a task is over when its
drivers are. Whatever happens, every job is stopped and its files are fetched before the next task.
On a circuit in service ``care`` says when a load must end or must not begin: what carries load is then ended first.
A spare host (``plan.spare``) that is lost ends nothing: the run goes on without it, and says so.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import takewhile
from typing import Any, Protocol

from perfagent.wire import Code
from perfharness import recording
from perfharness.acts import Acting
from perfharness.care import Care, Harm
from perfharness.errors import AgentError, HostLost, HostUnusable, PerfharnessError
from perfharness.evidence import RunFolder, job_folder
from perfharness.fleet.hosts import MAX_PARALLEL, Asked, Fleet
from perfharness.fleet.remedies import with_remedy
from perfharness.fleet.spool import SpoolFile
from perfharness.model import Job, Plan, Role, Status, Task
from perfharness.outcome import Ending, Outcome
from perfharness.plan import attempt, spare
from perfharness.severed import Severed

READY_S = 10.0
"""A server or watcher that is not ready by then will not be."""
LOOK_S = 0.1
"""Between two looks whether the circuit suffers."""
LAST_WORDS_S = 3.0
"""For a server that ends by itself, after its driver has: results still cross a long path."""
GRACE_S = 10.0
"""Beyond a job's own deadline: for the agent to end it and to say so."""


class Progress(Protocol):
    """Who watches the run: a terminal, a log, nobody."""

    def task_started(self, task: Task, index: int, total: int) -> None: ...

    def event(self, host: str, event: Mapping[str, Any]) -> None: ...

    def say(self, text: str) -> None: ...

    def task_ended(self, task: Task, status: Status, reason: str) -> None: ...


KEY_BYTES = 32
"""Of a secret: as long as the digest that it makes (RFC 2104, section 3)."""
LEFT_OUT = "left out by --only"
STARTED = "started"
ENDED_FOR: Mapping[int, Status] = {Code.GUARD: Status.ABORTED, Code.WINDOW: Status.ABORTED}
"""Why an agent ends what it was asked to do: the circuit's users suffer, or their window is over."""
INTERRUPTED = "interrupted by the user"
Said = Mapping[str, Mapping[str, Any]]


def without(why: str) -> str:
    """The note on a spare host that cannot be asked."""
    return f"{why.rstrip('.')}. The run went on without its counters."


def collect(
    plan: Plan,
    tasks: Sequence[Task],
    fleet: Fleet,
    folder: RunFolder,
    progress: Progress,
    why_again: Callable[[Task], str] = lambda _: "",
    care: Care | None = None,
    severed: Severed | None = None,
) -> Ending:
    """Run these tasks of the plan; says how it ended. A lost host or an interrupt ends it early.

    The plan's other tasks are noted as skipped: what was not measured must not look as if it never was required.
    ``why_again``: what speaks for another attempt at a task that was completed; empty where nothing does.
    ``severed``: which pairs do not reach one another, so that no load waits for them.
    """
    for task in plan.tasks:
        if task not in tasks:
            _write_outcome(task, folder, Outcome(Status.SKIPPED, LEFT_OUT), None, None)
    care, severed = care or Care(), severed or Severed()
    ending, extra = Ending(notes=care.notes(tasks)), spare(tasks)
    lost = set(extra.difference(fleet))
    try:
        for index, task in enumerate(tasks, 1):
            for number in range(1, task.attempts + 1):
                this = attempt(task, number)
                progress.task_started(this, index, len(tasks))
                outcome = Outcome(lost=lost, spare=extra, notes=ending.notes, care=care, say=progress.say)
                _run(this, fleet, folder, outcome, care.refuses(this) or severed.refuses(this))
                if done := outcome.status is Status.COMPLETED:
                    severed.learn(this)
                again = why_again(this) if done and number < task.attempts else ""
                progress.task_ended(this, outcome.status, f"again, since {again}" if again else outcome.reason)
                if not done:
                    ending.notes.append(f"{this.id} {outcome.status.value}: {outcome.reason}")
                if not again:
                    break
                ending.notes.append(f"{this.id} was measured again, since a host fell short of its part: {again}.")
    except KeyboardInterrupt:
        ending.how = "interrupted"
        ending.notes.append("The run was interrupted by the user; what was measured until then is judged.")
    except HostUnusable as error:
        ending.how, ending.lost = "host lost", error
        ending.notes.append(str(error))
    return ending


def _run(task: Task, fleet: Fleet, folder: RunFolder, outcome: Outcome, refused: str) -> None:
    if refused:
        outcome.fail(Status.SKIPPED, refused)
        _write_outcome(task, folder, outcome, None, None)
        return
    started_ns = time.time_ns()
    try:
        with _fetched(task, fleet, folder, outcome), outcome.acting(task) as acting:
            try:
                _drive(task, fleet, outcome, acting)
            except HostLost as error:
                outcome.lost.add(error.host)
                outcome.fail(Status.ABORTED, error.message)
                raise
            except KeyboardInterrupt:
                outcome.fail(Status.ABORTED, INTERRUPTED)
                raise
            finally:
                _end_load(task, fleet, outcome)
    except BaseException as error:  # also while its files were fetched: with some missing it must not look complete
        said = INTERRUPTED if isinstance(error, KeyboardInterrupt) else f"it was cut short: {error}"
        outcome.fail(Status.ABORTED, said)
        raise
    finally:
        _write_outcome(task, folder, outcome, started_ns, time.time_ns())


def _write_outcome(
    task: Task, folder: RunFolder, outcome: Outcome, started_ns: int | None, ended_ns: int | None
) -> None:
    folder.write_json(f"raw/{task.id}/task.json", outcome.noted(started_ns, ended_ns), task=task.id)


def _drive(task: Task, fleet: Fleet, outcome: Outcome, acting: Acting) -> None:
    if acting.trouble:
        return
    # Made here, used here: nothing that is written down knows more of a secret than its name.
    keys = {name: secrets.token_bytes(KEY_BYTES) for name in {job.secret for job in task.jobs} if name}
    outcome.care.begin(task)
    said: dict[str, Mapping[str, Any]] = {}
    try:
        for role in (Role.WATCH, Role.SERVE):
            asked_ns = {}
            for job in _of(task, role, outcome):
                asked_ns[_key(job)] = time.time_ns()
                with _spared(job, outcome):
                    _start(fleet, task, job, keys, outcome)
            for job in _of(task, role, outcome):
                with _spared(job, outcome):
                    session = fleet[job.endpoint]
                    said[job.id] = _persist(session, session.wait_ready, name(task, job), READY_S) or {}
                    if role is Role.WATCH:
                        outcome.watched[_key(job)] = [(asked_ns[_key(job)], time.time_ns())]
        _drive_all(task, fleet, said, keys, outcome, acting)
    except Harm as harm:
        outcome.fail(Status.ABORTED, str(harm))
    except AgentError as error:
        outcome.fail(ENDED_FOR.get(error.code, Status.FAILED), with_remedy(error.message, error.code))
    if blind := outcome.care.blind():
        outcome.notes.append(blind)


def _end_load(task: Task, fleet: Fleet, outcome: Outcome) -> None:
    """Whatever ended the task: first the load, on all hosts at once, and without waiting for any of it to be over."""

    def end(host: str) -> None:
        for job in (job for job in loads if job.endpoint == host):
            _quietly(job, outcome, fleet[host].stop, name(task, job))

    loads = [job for job in task.jobs if job.load and _goes_on(job, outcome)]
    hosts = dict.fromkeys(job.endpoint for job in loads)
    if outcome.status is not Status.COMPLETED and hosts:
        with ThreadPoolExecutor(max_workers=MAX_PARALLEL) as pool:
            list(pool.map(end, hosts))


def _told(job: Job, said: Said) -> Job:
    """With the arguments that it was to hear from servers; what they did not say it does without."""
    heard = {name: said.get(server, {}).get(value) for name, (server, value) in job.hears.items()}
    known = {name: value for name, value in heard.items() if value is not None}
    return replace(job, args={**job.args, **known}) if known else job


def _drive_all(
    task: Task, fleet: Fleet, said: Said, keys: Mapping[str, bytes], outcome: Outcome, acting: Acting
) -> None:
    """Start the drivers when each is due and wait for them, the last one first, since the probes outlive their load;
    when one has failed no other is waited for, since nothing is made of it. Raises Harm."""
    began, asked_ns = time.monotonic(), {}
    for job in sorted(_of(task, Role.DRIVE, outcome), key=lambda job: job.after_s):
        time.sleep(max(0.0, began + job.after_s - time.monotonic()))
        outcome.care.before(job)
        asked_ns[_key(job)] = time.monotonic_ns()
        with _spared(job, outcome):
            _start(fleet, task, _told(job, said), keys, outcome)
    started = [job for job in _of(task, Role.DRIVE, outcome) if _key(job) in outcome.jobs]
    acting.begin()

    def look() -> None:
        outcome.care.check()
        for job in started if acting.over() else ():
            with _spared(job, outcome):
                _persist(fleet[job.endpoint], fleet[job.endpoint].stop, name(task, job))

    for job in takewhile(lambda _: outcome.status is Status.COMPLETED, sorted(started, key=lambda job: -job.after_s)):
        with _spared(job, outcome):
            state = _wait_done(fleet[job.endpoint], task, job, job.deadline_s, look)
            _note(task, job, state, outcome)
            outcome.drove[_key(job)] = (asked_ns[_key(job)], time.monotonic_ns())
    if outcome.status is Status.COMPLETED:
        for job in _of(task, Role.SERVE, outcome):
            if job.one_shot and _is_there(job, outcome):
                with suppress(AgentError, HostLost):  # it goes on: then it is stopped like any other
                    fleet[job.endpoint].wait_done(name(task, job), LAST_WORDS_S)


@contextmanager
def _fetched(task: Task, fleet: Fleet, folder: RunFolder, outcome: Outcome) -> Iterator[None]:
    """Stop what still runs, servers before watchers, and bring all files home."""
    try:
        yield
    finally:
        for role in (Role.DRIVE, Role.SERVE, Role.WATCH):
            jobs = [job for job in _of(task, role, outcome) if _goes_on(job, outcome)]
            asked_ns = {}
            for job in _reachable(jobs, outcome):
                asked_ns[_key(job)] = time.time_ns()
                session = fleet[job.endpoint]
                _quietly(job, outcome, _persist, session, session.stop, name(task, job))
            for job in _reachable(jobs, outcome):
                patience_s = 0.0 if job.endpoint in outcome.spare else job.deadline_s
                state = _quietly(job, outcome, _wait_done, fleet[job.endpoint], task, job, patience_s)
                if state is not None:
                    _note(task, job, state, outcome)
                    if _key(job) in outcome.watched:
                        outcome.watched[_key(job)].append((asked_ns[_key(job)], time.time_ns()))
        ended = [job for job in task.jobs if _is_there(job, outcome) and outcome.jobs[_key(job)] != STARTED]
        _fetch_all(ended, task, fleet, folder, outcome)


def _is_there(job: Job, outcome: Outcome) -> bool:
    return _key(job) in outcome.jobs and job.endpoint not in outcome.lost


def _goes_on(job: Job, outcome: Outcome) -> bool:
    return _is_there(job, outcome) and outcome.jobs[_key(job)] == STARTED


def _quietly(job: Job, outcome: Outcome, call: Any, *args: Any) -> Any:
    """Tidying goes on past one host's failure; the failure is noted."""
    try:
        with _spared(job, outcome):
            return call(*args)
    except PerfharnessError as error:
        outcome.fail(Status.FAILED, error.message)
    return None


@contextmanager
def _spared(job: Job, outcome: Outcome) -> Iterator[None]:
    """What goes wrong on a spare host is noted once, and it is not asked again."""
    try:
        yield
    except PerfharnessError as error:
        if job.endpoint not in outcome.spare:
            raise
        if job.endpoint not in outcome.lost:
            outcome.lost.add(job.endpoint)
            outcome.notes.append(without(str(error)))


def _fetch_all(jobs: Sequence[Job], task: Task, fleet: Fleet, folder: RunFolder, outcome: Outcome) -> None:
    """All hosts at once; entered in the manifest in the order of the jobs, samples packed."""

    def fetch(host: str) -> Iterable[SpoolFile]:
        there = [job for job in jobs if job.endpoint == host]
        targets = {name(task, job): folder.path / job_folder(task.id, host, job.id) for job in there}
        return _quietly(there[0], outcome, _persist, fleet[host], fleet[host].fetch, targets) or ()

    hosts = list(dict.fromkeys(job.endpoint for job in jobs))
    with ThreadPoolExecutor(max_workers=MAX_PARALLEL) as pool:
        files = dict(zip(hosts, pool.map(fetch, hosts), strict=True))
    fetched = [
        (job, f"{job_folder(task.id, job.endpoint, job.id)}/{file.name}")
        for job in jobs
        for file in files.get(job.endpoint, ())
        if file.job == name(task, job)
    ]
    packed = recording.pack_all([folder.path / path for _, path in fetched])
    for job, path in fetched:
        kept = packed.get(folder.path / path, folder.path / path)
        folder.register(str(kept.relative_to(folder.path)), task.id, job.endpoint)


def _wait_done(
    session: Asked, task: Task, job: Job, patience_s: float, look: Callable[[], None] = lambda: None
) -> Mapping[str, Any]:
    """The job's last state; ``look`` is called all the while. A lost channel is taken up again: the job runs on under
    its lease."""
    until = time.monotonic() + patience_s + GRACE_S
    while True:
        look()
        left_s = until - time.monotonic()
        try:
            return session.wait_done(name(task, job), min(LOOK_S, max(0.0, left_s)))
        except AgentError as error:
            if error.code != Code.DEADLINE:
                raise
            if left_s <= 0:
                said = f"the job {name(task, job)} goes on after {patience_s + GRACE_S:g} s"
                raise AgentError(session.host, Code.DEADLINE, said) from error
        except HostLost:
            session.reattach(max(0.1, until - time.monotonic()))


def _persist(session: Asked, call: Any, *args: Any) -> Any:
    """Once more over a new connection when this one went: the agent lives on under its lease."""
    try:
        return call(*args)
    except HostLost:
        session.reattach(GRACE_S)
        return call(*args)


def _start(fleet: Fleet, task: Task, job: Job, keys: Mapping[str, bytes], outcome: Outcome) -> None:
    """Raises AgentError when the agent refuses it, HostLost."""
    session = fleet[job.endpoint]
    try:
        _persist(session, _start_in_time, session, task, job, keys.get(job.secret, b""), outcome.care)
    except AgentError as error:
        if error.code != Code.JOB_EXISTS:  # it was started, only the answer was lost with the connection
            raise
    outcome.jobs[_key(job)] = STARTED


def _start_in_time(session: Asked, task: Task, job: Job, secret: bytes, care: Care) -> None:
    """How long it may run is told afresh each time: what is left of the window is less by then."""
    session.start(replace(job, id=name(task, job)), secret, task.id, care.window_s(task))


def _note(task: Task, job: Job, state: Mapping[str, Any], outcome: Outcome) -> None:
    outcome.jobs[_key(job)] = state["state"]
    if state["state"] in ("failed", "aborted") and not job.optional:
        error = state["error"] or {"code": Code.INTERNAL, "message": "it ended without saying why"}
        words = f"{job.id} on {job.endpoint}: {error['message']}"
        if job.role is Role.SERVE and outcome.status is Status.FAILED:
            outcome.answer(words)
        status = Status.ABORTED if state["state"] == "aborted" else Status.FAILED
        if error["code"] in ENDED_FOR:  # nothing that this job did
            if error["code"] == Code.GUARD:
                outcome.care.ended_by_guard()
            outcome.fail(status, error["message"])
        else:
            outcome.fail(status, with_remedy(words, error["code"]))


def _of(task: Task, role: Role, outcome: Outcome) -> Iterator[Job]:
    return _reachable((job for job in task.jobs if job.role is role), outcome)


def _reachable(jobs: Iterable[Job], outcome: Outcome) -> Iterator[Job]:
    """Those whose hosts are there when their turn comes."""
    return (job for job in jobs if job.endpoint not in outcome.lost)


def name(task: Task, job: Job) -> str:
    """The job's id on its host, unique within the run."""
    return f"{task.id}.{job.id}"


def _key(job: Job) -> str:
    return f"{job.endpoint}.{job.id}"
