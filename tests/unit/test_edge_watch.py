"""What a router does meanwhile: sessions as FRR tells them, and a row for each change only."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from perfagent.methods.watch import _Daemon, _Watched, sessions
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


def test_a_row_is_written_for_each_change_and_for_nothing_else() -> None:
    """How it was at the start, and then only what is not as it was."""
    out = io.StringIO()
    there: dict[str, Any] = {"prefix": "192.168.0.0/16", "protocol": "bgp", "via": [["172.16.100.1", "wan"]]}
    fib: Any = Played(there, there, None, there)
    watched = _Watched(fib, ["192.168.10.10"], [], out)
    assert [watched.look() for _ in range(4)] == [1, 0, 1, 1]
    assert watched.note({("bgp", "p"): "Established"}) == 1
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["state"] for row in rows] == [there, None, there, "Established"]
    assert all(row["t_ns"] and row["mono_ns"] for row in rows)


def test_a_router_without_frr_is_asked_once(tmp_path: Path) -> None:
    """The reason is kept, and the kernel's word goes on; no other program is ever started."""
    daemon = _Daemon("/nonexistent/vtysh")
    assert daemon.states() == {} and daemon.trouble == "/nonexistent/vtysh cannot be run: No such file or directory"
    program = tmp_path / "vtysh"
    program.write_text("#!/bin/sh\necho no permission >&2\nexit 1\n")
    program.chmod(0o755)
    failing = _Daemon(f"{program} -N ce-a")
    assert failing.states() == {} and failing.trouble == f"{program} ended with exit code 1: no permission"
    with pytest.raises(Fault, match="does not start vtysh"):
        _Daemon("sh -c reboot")
