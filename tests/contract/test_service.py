"""What the agent answers, in memory: processes are fakes, time is an argument."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfagent import methods, wire
from perfagent.service import GRACE_NS, LOAD_GRACE_NS, Service
from perfagent.wire import Code, Event, Fault, Request

SECOND = 1_000_000_000


class FakeProcess:
    def __init__(self, folder: Path, secret: bytes) -> None:
        self.folder = folder
        self.secret = secret
        self.signals: list[str] = []

    def terminate(self) -> None:
        self.signals.append("term")

    def kill(self) -> None:
        self.signals.append("kill")


class Bench:
    """A service at time 0 with a lease of 30 s."""

    def __init__(self, folder: Path) -> None:
        self.spawned: list[FakeProcess] = []
        self.room_bytes = 1000
        self.service = Service({"run": "r"}, folder / "jobs", 30, 0, self._spawn, 1, lambda: self.room_bytes)

    def _spawn(self, folder: Path, secret: bytes) -> FakeProcess:
        self.spawned.append(FakeProcess(folder, secret))
        return self.spawned[-1]

    def ask(self, request: str, now_s: float = 0, /, **args: Any) -> Any:
        return self.service.answer(Request(1, request, args), int(now_s * SECOND))

    def start(self, now_s: float = 0, deadline_s: float = 10.0, writes_bytes: int = 0) -> FakeProcess:
        what = {"job": "j", "method": "trial.run", "args": {"text": "x"}}
        self.ask("start", now_s, **what, deadline_s=deadline_s, writes_bytes=writes_bytes)
        return self.spawned[-1]

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.ask("status")["jobs"]["j"]
        return state


def run(job: Any, *, text: str) -> dict[str, Any]:
    raise AssertionError("never run here")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    resolve = methods.resolve

    def with_trial(method: str) -> Callable[..., dict[str, Any]]:
        return run if method == "trial.run" else resolve(method)

    monkeypatch.setattr(methods, "resolve", with_trial)
    return Bench(tmp_path)


def refused(bench: Bench, request: str, /, **args: Any) -> Code:
    with pytest.raises(Fault) as fault:
        bench.ask(request, 0, **args)
    return fault.value.code


def test_hello_tells_state_and_lease(bench: Bench) -> None:
    """Hello carries the identity, the lease and the jobs there are; another protocol version is refused."""
    bench.start()
    said = {"run": "r", "lease_s": 30, "jobs": {"j": "running"}, "room_bytes": 1000}
    assert bench.ask("hello", version=wire.VERSION) == said
    assert refused(bench, "hello", version=2) is Code.VERSION


def test_only_known_methods_and_arguments(bench: Bench) -> None:
    """The table is closed: unknown methods, unknown, missing and mistyped arguments are told apart from bugs."""
    assert refused(bench, "exec") is Code.UNKNOWN_METHOD
    assert refused(bench, "_bye") is Code.UNKNOWN_METHOD
    assert refused(bench, "bye", now=True) is Code.BAD_ARGUMENT
    assert refused(bench, "hello") is Code.BAD_ARGUMENT
    assert refused(bench, "renew", lease_s=True) is Code.BAD_ARGUMENT
    assert refused(bench, "renew", lease_s=-1) is Code.BAD_ARGUMENT
    assert refused(bench, "stop", job="j") is Code.NO_SUCH_JOB


def test_a_spec_is_written_before_the_process_starts(bench: Bench) -> None:
    """The job's process finds all it needs in its folder."""
    process = bench.start()
    spec = json.loads((process.folder / "spec.json").read_bytes())
    assert (spec["method"], spec["args"], spec["deadline_mono_ns"]) == ("trial.run", {"text": "x"}, 10 * SECOND)


def test_a_job_ends_when_its_process_is_gone(bench: Bench) -> None:
    """Its own word is kept until then, so that its ports are free when the coordinator hears of it."""
    bench.start()
    assert bench.service.heard(Event("ready", "j", {"port": 1}), 0) == Event("ready", "j", {"port": 1})
    assert bench.service.heard(Event("done", "j", {"state": "completed", "error": None}), 0) is None
    assert bench.state()["state"] == "ready"
    assert bench.service.ended("j", 0, SECOND) == Event("done", "j", {"state": "completed", "error": None})
    assert bench.state() == {"state": "completed", "data": {"port": 1}, "error": None}


def test_a_silent_death_is_a_failure_with_a_result(bench: Bench) -> None:
    """A killed job gets the result.json that it could not write."""
    folder = bench.start().folder
    bench.service.ended("j", -9, SECOND)
    assert bench.state()["state"] == "failed"
    assert "signal 9" in json.loads((folder / "result.json").read_bytes())["error"]["message"]


def test_deadline_then_grace_then_kill(bench: Bench) -> None:
    """Past its deadline a job is asked once, then killed; dead that late it counts as aborted."""
    process = bench.start(deadline_s=10)
    bench.service.tick(10 * SECOND - 1)
    assert process.signals == []
    bench.service.tick(10 * SECOND)
    bench.service.tick(11 * SECOND)
    assert process.signals == ["term"]
    bench.service.tick(10 * SECOND + GRACE_NS)
    assert process.signals == ["term", "kill"]
    assert bench.service.ended("j", -9, 16 * SECOND).data["state"] == "aborted"


def test_stop_is_asked_once(bench: Bench) -> None:
    """A second stop does not lengthen the grace, and one of an ended job is harmless."""
    process = bench.start()
    bench.ask("stop", 1, job="j")
    bench.ask("stop", 4, job="j")
    assert process.signals == ["term"]
    assert bench.service.next_due_ns() == SECOND + GRACE_NS
    bench.service.ended("j", 0, 5 * SECOND)
    bench.ask("stop", 6, job="j")


def test_the_lease(bench: Bench) -> None:
    """Any request renews it; when it has run out the agent leaves."""
    bench.service.tick(30 * SECOND - 1)
    bench.ask("status", 20)
    bench.service.tick(49 * SECOND)
    assert not bench.service.leaving
    bench.ask("renew", 49, lease_s=2)
    bench.service.tick(51 * SECOND)
    assert bench.service.leaving


def test_an_unknown_request_does_not_renew_the_lease(bench: Bench) -> None:
    """A stranger's noise does not keep the agent on the host."""
    with pytest.raises(Fault):
        bench.ask("exec", 29)
    bench.service.tick(30 * SECOND)
    assert bench.service.leaving


def test_forget_is_for_ended_jobs(bench: Bench) -> None:
    """A running job keeps its folder and its id; after forget both are free."""
    folder = bench.start().folder
    assert refused(bench, "forget", job="j") is Code.BAD_ARGUMENT
    assert refused(bench, "start", job="j", method="trial.run", args={"text": ""}, deadline_s=1) is Code.JOB_EXISTS
    bench.service.ended("j", 1, SECOND)
    bench.ask("forget", job="j")
    assert not folder.exists()
    bench.start()


def test_a_process_that_does_not_die_is_not_asked_all_the_time(bench: Bench) -> None:
    """One that is stuck in the kernel is killed again after another grace, and the worker sleeps meanwhile."""
    process = bench.start(deadline_s=10)
    bench.service.tick(10 * SECOND)
    bench.service.tick(10 * SECOND + GRACE_NS)
    assert process.signals == ["term", "kill"]
    assert bench.service.next_due_ns() == 10 * SECOND + 2 * GRACE_NS


def test_a_secret_goes_to_the_process_alone(bench: Bench) -> None:
    """What a job is to read is in no specification, no status and no result that the agent writes for it."""
    start = {"job": "j", "method": "trial.run", "args": {"text": "x"}, "deadline_s": 10.0}
    bench.ask("start", 0, **start, secret="5ec4e7")
    process = bench.spawned[-1]
    assert process.secret == b"\x5e\xc4\xe7"
    bench.service.ended("j", -9, SECOND)
    written = [path.read_text() for path in process.folder.iterdir()]
    assert len(written) == 2 and "5ec4e7" not in "".join(written) + json.dumps(bench.ask("status"))


@pytest.mark.parametrize("secret", ["5ec4e7 and more", ["5ec4e7"], "5ec4e7" * 4096])
def test_a_secret_that_is_none_is_not_quoted(bench: Bench, secret: Any) -> None:
    """One that is no hexadecimal text, or more than a pipe holds, is refused before anything starts, without a word of
    it."""
    with pytest.raises(Fault) as fault:
        bench.ask("start", 0, job="j", method="trial.run", args={"text": "x"}, deadline_s=1.0, secret=secret)
    assert fault.value.code is Code.BAD_ARGUMENT
    assert "5ec4e7" not in fault.value.message
    assert not bench.spawned


def test_a_process_that_cannot_start_leaves_no_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more processes, no more disk: one error, no half job."""

    def fail(_folder: Path, _secret: bytes) -> FakeProcess:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(bench.service, "_spawn", fail)
    assert refused(bench, "start", job="j", method="trial.run", args={"text": ""}, deadline_s=1) is Code.PLATFORM
    assert bench.ask("status") == {"jobs": {}}


def test_every_method_of_the_table_exists() -> None:
    """Each row of the closed table names a function with keyword-only arguments."""
    for method in methods.METHODS:
        code = methods.resolve(method).__code__
        assert code.co_argcount == 1, method
        assert code.co_kwonlyargcount > 0, method


def test_a_job_that_would_fill_the_disk_is_not_begun(bench: Bench) -> None:
    """What it may write must fit beside the host's reserve; a job that writes little is begun all the same."""
    with pytest.raises(Fault, match="may write 1001 bytes and this host's disk has 1000 to spare"):
        bench.start(writes_bytes=1001)
    bench.start(writes_bytes=1000)


def test_a_disk_that_others_fill_ends_the_jobs(bench: Bench) -> None:
    """Down to the host's reserve all jobs are asked to end, and are aborted for that reason, whatever they say."""
    process = bench.start(deadline_s=60)
    bench.room_bytes = -1
    bench.service.tick(11 * SECOND)
    assert process.signals == ["term"]
    bench.service.heard(Event("done", "j", {"state": "completed", "error": None}), 0)
    bench.service.ended("j", 0, 12 * SECOND)
    assert bench.state()["state"] == "aborted"
    assert "nothing more to spare" in bench.state()["error"]["message"]


# --- do no harm ---------------------------------------------------------------------------------


def carry(bench: Bench, job: str, now_s: float = 0, **more: Any) -> FakeProcess:
    what: dict[str, Any] = {"method": "trial.run", "args": {"text": "x"}, "deadline_s": 100.0}
    bench.ask("start", now_s, **what, job=job, **more)
    return bench.spawned[-1]


def test_a_guard_that_trips_ends_the_load_of_its_task(bench: Bench) -> None:
    """At once, and killed soon after if it has not ended; what carries none, and other tasks, go on."""
    guard, heavy = carry(bench, "g", task="t", guards=True), carry(bench, "h", task="t", load=True)
    others = [carry(bench, "light", task="t"), carry(bench, "u", task="u", load=True)]
    event = Event("tripped", "g", {"reason": "probes lost 31 %"})
    assert bench.service.heard(event, SECOND) == event
    assert heavy.signals == ["term"]
    assert bench.service.next_due_ns() == SECOND + LOAD_GRACE_NS
    bench.service.tick(SECOND + LOAD_GRACE_NS)
    assert heavy.signals == ["term", "kill"]
    said = bench.service.ended("h", -9, 2 * SECOND).data
    assert said == {"state": "aborted", "error": {"code": Code.GUARD, "message": "probes lost 31 %"}}
    assert [each.signals for each in (guard, *others)] == [[], [], []]


def test_no_load_begins_or_goes_on_when_its_guard_has_ended(bench: Bench) -> None:
    """A guard that is gone watches nothing."""
    carry(bench, "g", task="t", guards=True)
    heavy = carry(bench, "h", task="t", load=True)
    bench.service.ended("g", 0, SECOND)
    assert heavy.signals == ["term"]
    with pytest.raises(Fault) as fault:
        carry(bench, "h2", task="t", load=True)
    assert fault.value.code is Code.GUARD


def test_a_window_ends_a_job_before_its_deadline(bench: Bench) -> None:
    """And says so; one that is over lets nothing begin; one that is longer changes nothing."""
    process = carry(bench, "h", task="t", load=True, window_s=5.0)
    bench.service.tick(5 * SECOND)
    assert process.signals == ["term"]
    said = bench.service.ended("h", -9, 6 * SECOND).data
    assert said == {"state": "aborted", "error": {"code": Code.WINDOW, "message": "the change window ended"}}
    with pytest.raises(Fault) as fault:
        carry(bench, "late", load=True, window_s=-0.1)
    assert fault.value.code is Code.WINDOW
    carry(bench, "free", 6, load=True, window_s=1000.0)
    assert bench.ask("status", 6)["jobs"]["free"]["state"] == "running"
    spec = json.loads((bench.spawned[-1].folder / "spec.json").read_bytes())
    assert (spec["window"], spec["deadline_mono_ns"]) == (False, 106 * SECOND)
