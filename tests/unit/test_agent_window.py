"""perfagent.window and perfagent.methods.tune: windows that fill a path, and limits that are raised and put back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from perfagent import icmp, window
from perfagent.jobs import Job
from perfagent.methods import iperf3, tune
from perfagent.wire import Code, Fault


def test_streams_share_bandwidth_times_delay_and_a_quarter() -> None:
    """1 Gbit/s over 30 ms are 3.75 MB on the way; four streams have a quarter of it each, and some room."""
    told = window.of_path(1_000_000_000, 4, 30_000_000)
    assert (told["bdp_bytes"], told["asked_bytes"]) == (3_750_000, 1_171_875)


def test_a_short_path_still_gets_a_window_that_a_host_can_work_with() -> None:
    """At 0.1 ms the product is less than what a host sends in one piece."""
    assert window.of_path(1_000_000_000, 1, 100_000)["asked_bytes"] == window.LEAST_BYTES


def test_without_a_round_trip_nothing_is_guessed() -> None:
    """The kernel's own choice stands."""
    assert window.of_path(10**9, 1, None)["asked_bytes"] is None


def test_the_round_trip_over_loopback_is_found() -> None:
    """By echo where this user may send one, else by a connection that is refused."""
    rtt_ns, by = window.least_rtt_ns("127.0.0.1", "127.0.0.1")
    assert rtt_ns is not None and rtt_ns > 0 and by in ("ICMP echo", "TCP connect")


def test_a_refused_connection_tells_the_round_trip_where_echo_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs a privilege to measure a round trip."""

    def forbidden(*_: str) -> None:
        raise Fault(Code.NOT_PERMITTED, "no")

    monkeypatch.setattr(window, "Echo", forbidden)
    assert window.least_rtt_ns("127.0.0.1", "127.0.0.1")[1] == "TCP connect"
    assert icmp.Echo is not forbidden


def test_the_other_hosts_limit_holds_too() -> None:
    """iperf3's server would abort above its own host's limit."""
    granted, clamps = iperf3.clamp_window(65536, 16384)
    assert granted == 16384
    assert "of the other host" in clamps[0]["why"]
    assert iperf3.clamp_window(16384, 65536) == (16384, [])


class Stopped(Job):
    """A job that is asked to stop as soon as it is ready."""

    def __init__(self, folder: Path) -> None:
        self.events: list[dict[str, Any]] = []
        super().__init__(folder, 0, lambda _kind, data: self.heard(data))

    def heard(self, data: dict[str, Any]) -> None:
        self.events.append(json.loads(json.dumps(data)))
        self.stop()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up /proc/sys in which net.core is hidden, as in a network namespace."""
    proc = tmp_path / "sys"
    (proc / "net/ipv4").mkdir(parents=True)
    (proc / "net/ipv4/tcp_rmem").write_text("4096\t131072\t6291456\n")
    (proc / "net/ipv4/tcp_wmem").write_text("4096\t16384\t67108864\n")
    monkeypatch.setattr(tune, "PROC_SYS", proc)
    return proc


def job(tmp_path: Path) -> Stopped:
    folder = tmp_path / "agent" / "jobs" / "tune"
    folder.mkdir(parents=True)
    return Stopped(folder)


def test_limits_are_raised_and_put_back(tmp_path: Path, host: Path) -> None:
    """While the job runs the buffer may grow to 64 MiB; afterwards the old value stands, and what was large enough was
    left alone."""
    mine = job(tmp_path)
    done = {row["name"]: row for row in tune.socket_buffers(mine, size_bytes=64 << 20)["settings"]}
    ready = {row["name"]: row["new"] for row in mine.events[0]["settings"]}
    assert ready["net.ipv4.tcp_rmem"] == "4096 131072 67108864"
    assert done["net.ipv4.tcp_rmem"]["put_back"] is True
    assert (host / "net/ipv4/tcp_rmem").read_text().split() == ["4096", "131072", "6291456"]
    assert done["net.ipv4.tcp_wmem"]["why"] == "it is as large already"


def test_the_journal_knows_the_old_value_before_the_change(
    tmp_path: Path, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is killed in between leaves a journal from which the value is put back."""
    mine = job(tmp_path)
    seen: list[str] = []
    note = mine.journal

    def journal(undo: dict[str, Any]) -> None:
        seen.append((host / "net/ipv4/tcp_rmem").read_text())
        note(undo)

    monkeypatch.setattr(mine, "journal", journal)
    tune.socket_buffers(mine, size_bytes=64 << 20)
    assert seen == ["4096\t131072\t6291456\n"]
    (line,) = (tmp_path / "agent" / "journal.jsonl").read_text().splitlines()
    assert json.loads(line) == {"kind": "sysctl", "name": "net.ipv4.tcp_rmem", "old": "4096 131072 6291456"}


def test_what_a_namespace_hides_is_said(tmp_path: Path, host: Path) -> None:
    """net.core belongs to the machine: a namespace without it is told so, and nothing fails."""
    rows = tune.socket_buffers(job(tmp_path), size_bytes=64 << 20)["settings"]
    assert [row["why"] for row in rows if row["name"] in tune.LIMITS] == [tune.HIDDEN, tune.HIDDEN]


def test_what_somebody_else_set_meanwhile_is_left(tmp_path: Path, host: Path) -> None:
    """The value is not ours any more."""
    mine = job(tmp_path)
    path = host / "net/ipv4/tcp_rmem"
    mine._emit = lambda _kind, _data: (path.write_text("1 2 3\n"), mine.stop())  # type: ignore[assignment]  # a tuple for two acts
    rows = {row["name"]: row for row in tune.socket_buffers(mine, size_bytes=64 << 20)["settings"]}
    assert rows["net.ipv4.tcp_rmem"]["put_back"] is False
    assert path.read_text() == "1 2 3\n"


def test_a_setting_that_may_not_be_changed_is_said(tmp_path: Path, host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user measures with the limits that there are."""

    def refused(*_: object, **__: object) -> int:
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(Path, "write_text", refused)
    rows = {row["name"]: row for row in tune.socket_buffers(job(tmp_path), size_bytes=64 << 20)["settings"]}
    assert rows["net.ipv4.tcp_rmem"]["why"] == "it cannot be changed: Operation not permitted"
    assert rows["net.ipv4.tcp_rmem"]["new"] is None
