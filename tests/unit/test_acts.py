"""What is done to the circuit meanwhile: in its order, and put back whatever happens."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from perfharness import acts
from perfharness.acts import Acting
from perfharness.errors import Refused
from perfharness.model import Act, Scope, Task

ROOT = Path(__file__).parents[2]
CUT = Act("cut", 0.0, ("touch", "cut"), deadline_s=20.0)
RESTORE = Act("restore", 0.0, ("touch", "restored"), deadline_s=20.0, undoes=True)
QUIET_S = 20.0


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def task(*what: Act) -> Task:
    return Task("t", "t", "failover", Scope("c"), (), 1.0, acts=what)


def play(*what: Act) -> Acting:
    """To the end."""
    with Acting(task(*what), lambda _: None) as acting:
        acting.begin()
        eventually(acting.over)
    return acting


def eventually(holds: object) -> None:
    deadline = time.monotonic() + QUIET_S
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_acts_follow_one_another_and_are_noted_with_their_output(home: Path) -> None:
    """Each begins when the one before it is over; when, what it said and how it ended is kept."""
    said = replace(CUT, command=("sh", "-c", "echo down; touch cut"))
    cut, restore = play(said, RESTORE).rows
    assert (cut["id"], cut["output"], cut["exit_code"], cut["done"]) == ("cut", "down\n", 0, True)
    assert cut["started_ns"] <= cut["ended_ns"] <= restore["started_ns"] and restore["done"]
    assert (home / "cut").exists() and (home / "restored").exists()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("false",), "cut was not done: false ended with exit code 1: it says nothing."),
        (("sh", "-c", "echo no route; exit 3"), "cut was not done: sh ended with exit code 3: no route."),
        (("no-such-program",), "cut was not done: no-such-program cannot be run: No such file or directory."),
    ],
)
def test_a_cut_that_fails_is_put_back_at_once(home: Path, command: tuple[str, ...], why: str) -> None:
    """It may have been done in part; the drivers need not go on."""
    acting = play(replace(CUT, command=command), replace(RESTORE, after_s=3600.0))
    assert acting.trouble == why
    assert [row["id"] for row in acting.rows] == ["cut", "restore"] and (home / "restored").exists()


def test_a_command_that_does_not_end_is_killed(home: Path) -> None:
    """With what it started; that is a failure like any other."""
    acting = play(replace(CUT, command=("sh", "-c", "sleep 600"), deadline_s=0.2), RESTORE)
    assert acting.trouble == "cut was not done: sh had not ended after 0.2 s."


def test_what_cannot_be_put_back_is_said_and_tried_twice() -> None:
    """Nobody must believe that the circuit is whole."""
    acting = play(CUT, replace(RESTORE, command=("false",)))
    assert acting.trouble.endswith("it says nothing. The circuit may still be cut.")
    assert [row["id"] for row in acting.rows] == ["cut", "restore", "restore"]


def test_an_interrupt_puts_back_and_what_was_not_begun_is_left(home: Path) -> None:
    """Whatever ends the block; before the cut there is nothing to put back."""
    later = replace(RESTORE, after_s=3600.0)
    with pytest.raises(KeyboardInterrupt), Acting(task(CUT, later), lambda _: None) as acting:
        acting.begin()
        eventually((home / "cut").exists)
        raise KeyboardInterrupt
    assert (home / "restored").exists()
    with Acting(task(replace(CUT, after_s=3600.0), RESTORE), lambda _: None) as acting:
        acting.begin()
    assert acting.rows == []


def test_a_coordinator_that_is_killed_leaves_no_cut_behind(home: Path) -> None:
    """Another process puts back what it cannot any more."""
    script = (
        "import time\nfrom tests.unit.test_acts import *\n"
        "with Acting(task(CUT, replace(RESTORE, after_s=3600.0)), print) as acting:\n"
        "    acting.begin()\n    time.sleep(3600)\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'agents'}"}
    with subprocess.Popen([sys.executable, "-c", script], cwd=home, env=env) as coordinator:
        eventually((home / "cut").exists)
        coordinator.kill()
    eventually((home / "restored").exists)


def test_what_is_around_a_task_is_done_before_it_and_put_back_after(home: Path) -> None:
    """Nothing is begun when it could not be done; then too it is put back."""
    around, back = replace(CUT, around=True), replace(RESTORE, around=True)
    with Acting(task(around, back), lambda _: None) as acting:
        acting.begin()
        assert (home / "cut").exists() and not (home / "restored").exists() and not acting.over()
    assert [row["id"] for row in acting.rows] == ["cut", "restore"] and acting.trouble == ""
    with Acting(task(replace(around, command=("false",)), back), lambda _: None) as acting:
        assert acting.trouble == "cut was not done: false ended with exit code 1: it says nothing."
    assert [row["id"] for row in acting.rows] == ["cut", "restore"]


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard input is a terminal; the descriptor of who types there."""
    person, here = pty.openpty()
    with os.fdopen(here, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield person
    os.close(person)


def test_a_person_is_asked_and_presses_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was typed before the question is no answer; the moment of Enter is the moment of the act."""
    asked: list[str] = []
    with terminal(monkeypatch) as person:
        os.write(person, b"\n")

        def answer() -> None:
            eventually(lambda: asked)
            time.sleep(0.3)
            os.write(person, b"\n")

        threading.Thread(target=answer, daemon=True).start()
        ask = Act("cut", 0.1, ask="Pull the fibre, then press Enter", deadline_s=20.0)
        with Acting(task(ask), asked.append) as acting:
            acting.begin()
            eventually(acting.over)
    (row,) = acting.rows
    assert asked == ["Pull the fibre, then press Enter"] and row["answered"]
    assert row["ended_ns"] - row["started_ns"] > 200_000_000


def test_a_person_who_does_not_answer_fails_the_task_and_is_told_to_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Perhaps the fibre was pulled all the same."""
    asked: list[str] = []
    pull = Act("cut", 0.0, ask="Pull", deadline_s=0.2)
    plug = Act("restore", 3600.0, ask="Plug", deadline_s=20.0, undoes=True)
    with terminal(monkeypatch), Acting(task(pull, plug), asked.append) as acting:
        acting.begin()
        eventually(acting.over)
    assert asked == ["Pull", "Plug"]
    assert acting.trouble == "cut was not done: nobody pressed Enter within 0.2 s."


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is refused before anything is touched; with a terminal, or a command, it is not."""
    asking = task(Act("cut", 0.0, ask="Pull"))
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(Refused, match="there is no terminal to ask at"):
            acts.refuse_unasked([asking])
        acts.refuse_unasked([task(CUT, RESTORE)])
    with terminal(monkeypatch):
        acts.refuse_unasked([asking])
