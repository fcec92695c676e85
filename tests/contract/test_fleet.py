"""All hosts together over a real sshd: one is dead, one is cut off, somebody left something."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perfharness.errors import HostUnusable
from perfharness.fleet import bundle
from perfharness.fleet.hosts import Fleet, clean
from perfharness.fleet.session import Session
from tests.contract.ssh_server import Server, an_echo, target


def test_one_dead_host_is_named_and_the_others_are_left(known: Any, server: Server, sandbox: Any) -> None:
    """The fleet does not start without all its hosts, and leaves nothing on the good ones."""
    dead = SimpleNamespace(name="host-z", ssh=target("host-a", config=server.config(), port=1), python="python3")
    with pytest.raises(HostUnusable, match=r"host-z: 127\.0\.0\.1 port 1 refuses"), Fleet([known, dead], "run-1", 30.0):
        raise AssertionError("it must not get here")
    sandbox.await_nothing_left()


def test_a_spare_host_that_is_dead_stops_nothing(known: Any, server: Server, sandbox: Any) -> None:
    """The fleet starts without it and says why it is absent; nothing is left behind anywhere."""
    dead = SimpleNamespace(name="ce-1", ssh=target("host-a", config=server.config(), port=1), python="python3")
    with Fleet([known, dead], "run-1", 30.0, spare=["ce-1"]) as fleet:
        assert list(fleet) == ["host-a"]
        assert "ce-1: 127.0.0.1 port 1 refuses" in fleet.absent["ce-1"]
    assert fleet.left_behind == {}
    sandbox.await_nothing_left()


def test_all_dead_hosts_are_named(server: Server) -> None:
    """One look tells everything that is wrong."""
    dead = [
        SimpleNamespace(name=name, ssh=target("host-a", config=server.config(), port=1), python="python3")
        for name in ("host-a", "host-z")
    ]
    with pytest.raises(HostUnusable) as unusable, Fleet(dead, "run-1", 30.0):
        raise AssertionError("it must not get here")
    assert "host-a: 127.0.0.1 port 1" in str(unusable.value)
    assert "host-z: 127.0.0.1 port 1" in str(unusable.value)


def test_a_fleet_leaves_when_its_block_ends_badly(known: Any, sandbox: Any) -> None:
    """An exception in mid-run leaves the hosts as clean as a good end, and is passed on."""
    with pytest.raises(KeyError), Fleet([known], "run-1", 30.0) as fleet:
        assert fleet["host-a"].hello["run"] == "run-1"
        raise KeyError("something else")
    assert fleet.left_behind == {}
    sandbox.await_nothing_left()


def test_a_fleet_cut_off_at_the_end_comes_back_to_leave(known: Any, server: Server, sandbox: Any) -> None:
    """A host whose connection is lost at the end is visited once more."""
    with Fleet([known], "run-1", 30.0) as fleet:
        for pid in server.sessions():
            os.kill(pid, signal.SIGKILL)
    assert fleet.left_behind == {}
    sandbox.await_nothing_left()


@pytest.fixture
def left_overs(sandbox: Any) -> Callable[[], None]:
    """What a bad day leaves in /tmp: a dead agent's folder, and others that only look like one."""

    def make() -> None:
        (dead := sandbox.tmp / "perfharness-dead").mkdir(mode=0o700)
        (dead / "perfharness-agent").touch()
        (sandbox.tmp / "perfharness-empty").mkdir(mode=0o700)
        (sandbox.tmp / "perfharness-notes").mkdir(mode=0o700)
        (sandbox.tmp / "perfharness-notes" / "diary.txt").write_text("mine")
        (sandbox.tmp / "perfharness-open").mkdir(mode=0o755)
        (theirs := sandbox.tmp / "perfharness-theirs").mkdir(mode=0o700)
        os.chown(theirs, 1234, 1234)
        (sandbox.tmp / "perfharness-link").symlink_to("/tmp/perfharness-notes")
        (sandbox.tmp / "perfharness-report.txt").touch()

    return make


def test_clean_removes_ours_and_nothing_else(
    known: Any, agent: bundle.Bundle, sandbox: Any, left_overs: Callable[[], None]
) -> None:
    """A live agent and its job, a dead one's folder: gone. Anything that may be somebody's: kept, with a reason."""
    left_overs()
    session = Session(known, "run-1", 300.0, agent=agent)
    session.start(an_echo(60))
    session.wait_ready("echo", 10)
    session._left.set()
    (report,) = clean([known])
    assert report.error is None
    removed = {Path(row["dir"]).name: row["was"] for row in report.removed}
    live = Path(session.hello["dir"]).name
    assert removed == {"perfharness-dead": "dead", "perfharness-empty": "dead", live: "live"}
    kept = {Path(row["dir"]).name: row["why"] for row in report.kept}
    assert kept == {
        "perfharness-link": "it is no directory",
        "perfharness-notes": "it lacks our marker",
        "perfharness-open": "others may enter it",
        "perfharness-report.txt": "it is no directory",
        "perfharness-theirs": "it belongs to uid 1234",
    }
    assert sorted(kept) == [path.name for path in sandbox.folders()]
    sandbox.await_true(lambda: not sandbox.processes())
    assert sandbox.processes() == []
    session.close()


def test_clean_of_a_clean_host(known: Any, sandbox: Any) -> None:
    """Nothing there: nothing removed, nothing left by the cleaning itself."""
    (report,) = clean([known])
    assert (report.removed, report.kept, report.error) == ((), (), None)
    sandbox.await_nothing_left()


def test_clean_goes_on_without_a_dead_host(known: Any, server: Server) -> None:
    """The others are cleaned, the dead one carries its error."""
    dead = SimpleNamespace(name="host-z", ssh=target("host-a", config=server.config(), port=1), python="python3")
    good, bad = clean([known, dead])
    assert good.error is None
    assert "refuses" in str(bad.error)
