"""What a router does meanwhile: sessions as FRR tells them, and a row for each change only."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from perfagent.methods.watch import _Daemon, _Watched, sessions, timers
from perfagent.wire import Fault

BGP = {"ipv4Unicast": {"routerId": "10.0.0.1", "peers": {"172.16.100.1": {"state": "Established", "pfxRcd": 1}}}}
BFD = [{"peer": "172.16.100.1", "status": "up", "multihop": False}]


class Played:
    """A forwarding table that says what it was given."""

    def __init__(self, *entries: Any) -> None:
        self.entries = list(entries)

    def to(self, _: str) -> Any:
        return self.entries.pop(0)


def test_sessions_are_told_by_neighbour() -> None:
    """vtysh answers several questions with documents one after the other; a daemon that is down says so in words."""
    both = json.dumps(BGP, indent=2) + "\n" + json.dumps(BFD) + "\n"
    assert sessions(both) == {("bgp", "172.16.100.1"): "Established", ("bfd", "172.16.100.1"): "up"}
    assert sessions(json.dumps(BGP) + "\nbfdd is not running\n") == {("bgp", "172.16.100.1"): "Established"}
    assert sessions("% BGP instance not found\n{}\n[") == {}


def test_timers_are_what_the_session_agreed_on() -> None:
    """BFD at the slower of both paces, times what the peer allows to be missed (RFC 5880, 6.8.4); BGP's hold time."""
    paces = {"receive-interval": 300, "remote-transmit-interval": 200, "remote-detect-multiplier": 3}
    bfd = json.dumps([{**BFD[0], **paces}, {"peer": "10.0.0.2", "status": "down", **paces}])
    neighbors = json.dumps({"172.16.100.1": {"bgpTimerHoldTimeMsecs": 30000}, "10.0.0.2": {"bgpTimerHoldTimeMsecs": 0}})
    assert timers(f"{json.dumps(BGP)}\n{bfd}\n{neighbors}") == {
        ("timers", "172.16.100.1"): {"bfd_ns": 900_000_000, "hold_ns": 30_000_000_000},
        ("timers", "10.0.0.2"): {"bfd_ns": None, "hold_ns": None},
    }


def test_a_row_is_written_for_each_change_and_for_nothing_else() -> None:
    """How it was at the start, and then only what is not as it was."""
    out = io.StringIO()
    there: dict[str, Any] = {"prefix": "192.168.0.0/16", "protocol": "bgp", "via": [["172.16.100.1", "wan"]]}
    fib: Any = Played(there, there, None, there)
    watched = _Watched(fib, ["192.168.10.10"], [], out)
    assert [watched.look() for _ in range(4)] == [1, 0, 1, 1]
    assert watched.note({("bgp", "p"): "Established"}, 7) == 1
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["state"] for row in rows] == [there, None, there, "Established"]
    assert all(row["t_ns"] and row["mono_ns"] for row in rows)
    assert all(before["since_ns"] < row["since_ns"] <= row["t_ns"] for before, row in pairwise(rows[:3]))
    assert rows[3]["since_ns"] == 7


def test_a_router_without_frr_is_asked_once(tmp_path: Path) -> None:
    """The reason is kept, and the kernel's word goes on; no other program is ever started."""
    daemon = _Daemon("/nonexistent/vtysh")
    assert daemon.states() == {} and daemon.trouble == "/nonexistent/vtysh cannot be run: No such file or directory"
    program = tmp_path / "vtysh"
    program.write_text("#!/bin/sh\necho no permission >&2\nexit 1\n")
    program.chmod(0o755)
    failing = _Daemon(f"{program} -N ce-a")
    assert failing.states() == {} and failing.trouble == f"{program} ended with exit code 1: no permission"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(BFD)}'\n")
    up = _Daemon(str(program))
    assert ("timers", "172.16.100.1") in up.states()
    up._next_s = 0
    assert up.states() == {("bfd", "172.16.100.1"): "up"}, "timers are told once"
    with pytest.raises(Fault, match="does not start vtysh"):
        _Daemon("sh -c reboot")
