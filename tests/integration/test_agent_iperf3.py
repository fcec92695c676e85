"""The agent's iperf3 methods, run as jobs in network namespaces of their own. Needs root and iperf3."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from perfagent import peerfilter
from perfagent.jobs import Job
from perfagent.methods import iperf3
from perfagent.wire import Fault
from tests.integration.namespaces import ADDRESSES, AGENTS, Path3, Running

A, Z = ADDRESSES[4]["a"], ADDRESSES[4]["z"]
A6, Z6 = ADDRESSES[6]["a"], ADDRESSES[6]["z"]
STRANGER = "10.1.0.77"

TEST: dict[str, Any] = {
    **{"iperf3": "iperf3", "peer": Z, "source": A, "port": 5201, "duration_s": 1, "omit_s": 0, "streams": 1},
    **{"udp": False, "rate_bps": 50_000_000, "length": None, "reverse": False, "bidir": False},
    **{"window_bytes": None, "congestion": None, "dscp": None, "mss": None},
}
SERVER: dict[str, Any] = {"iperf3": "iperf3", "address": Z, "port": 5201, "peer": A, "receive_buffer_bytes": None}
UDP: dict[str, Any] = {"udp": True, "length": 1400}


def pair(path: Path3, server: dict[str, Any], test: dict[str, Any]) -> tuple[Running, Running]:
    """A server at z, a client at a; both have ended well."""
    serve = path.serve("z", "serve", "iperf3.serve", **{**SERVER, **server})
    drive = path.start("a", "drive", "iperf3.drive", **{**TEST, **test})
    drive.data()
    serve.data()
    return serve, drive


def output(job: Running) -> dict[str, Any]:
    return dict(json.loads((job.folder / "iperf3.json").read_bytes()))


@pytest.mark.parametrize(
    ("options", "connections"),
    [({}, 1), ({"reverse": True}, 1), ({"bidir": True}, 2), ({"streams": 4}, 4), ({"peer": Z6, "source": A6}, 1)],
)
def test_each_tcp_connection_is_accounted_for(path: Path3, options: dict[str, Any], connections: int) -> None:
    """Both ends report the data connections, by the ports that iperf3 names, and not the control connection."""
    server = {"address": Z6, "peer": A6} if "peer" in options else {}
    serve, drive = pair(path, server, options)
    named = {(each["local_port"], each["remote_port"]) for each in output(drive)["start"]["connected"]}
    for job, this, that in ((drive, "local_port", "peer_port"), (serve, "peer_port", "local_port")):
        seen = job.data()["sockets"]
        assert {(each[this], each[that]) for each in seen} == named
        assert len(seen) == connections
        assert all(each["kind"] == "tcp" and each["tcp"]["snd_mss"] > 0 for each in seen)
    header, *lines = (drive.folder / "tcpinfo.jsonl").read_text().splitlines()
    assert json.loads(header) == {"format_version": 1}
    assert {json.loads(line)["inode"] for line in lines} <= {each["inode"] for each in drive.data()["sockets"]}


def test_a_small_receive_buffer_drops_and_every_drop_is_booked(path: Path3) -> None:
    """Sent = read + dropped at the socket + left unread: exact, though iperf3 calls it loss."""
    serve, drive = pair(path, {"receive_buffer_bytes": 3000}, {**UDP, "rate_bps": 200_000_000})
    (socket,) = serve.data()["sockets"]
    sent = output(drive)["end"]["sum"]["packets"]
    udp = output(serve)["end"]["streams"][0]["udp"]
    assert socket["rcvbuf_bytes"] == 6000
    assert socket["drops"] > 0
    assert udp["packets"] - udp["lost_packets"] + socket["drops"] + socket["unread"] == sent


def test_a_receive_buffer_beyond_rmem_max_changes_no_setting(path: Path3) -> None:
    """The socket has it, the host's limit is as before."""
    limit = Path("/proc/sys/net/core/rmem_max")
    before = int(limit.read_text())
    serve, _ = pair(path, {"receive_buffer_bytes": before * 2}, UDP)
    (socket,) = serve.data()["sockets"]
    assert (socket["rcvbuf_bytes"], socket["forced"]) == (before * 4, True)
    assert serve.data()["clamps"] == []
    assert int(limit.read_text()) == before


def test_the_receiving_client_of_a_reverse_test_gets_its_buffer(path: Path3) -> None:
    """receive_buffer_bytes works at either end."""
    _, drive = pair(path, {}, {**UDP, "reverse": True, "receive_buffer_bytes": 1 << 20})
    (socket,) = drive.data()["sockets"]
    assert socket["rcvbuf_bytes"] == 2 << 20
    assert socket["drops"] == 0


def test_the_process_is_accounted_for(path: Path3) -> None:
    """Argument list, version, CPU time and time spent waiting for a CPU."""
    _, drive = pair(path, {}, UDP)
    data = drive.data()
    assert data["argv"][0].endswith("iperf3")
    assert output(drive)["start"]["version"] == f"iperf {data['version']}"
    assert data["cpu_ns"] > 0
    assert data["run_delay_ns"] > 0
    assert (data["exit_code"], data["ended"]) == (0, "by itself")


def test_a_refused_test_fails_with_iperf3s_own_words(path: Path3) -> None:
    """Though 3.12 exits with 0; its output is kept, and so is our account."""
    job = path.start("a", "drive", "iperf3.drive", **TEST)
    result = job.result()
    assert result["status"] == "failed"
    assert result["error"]["code"] == 22
    assert "Connection refused" in result["error"]["message"]
    assert "Connection refused" in output(job)["error"]
    assert json.loads((job.folder / "account.json").read_bytes())["argv"][1] == "-c"


def test_a_stranger_cannot_take_the_servers_only_test(own_path: Path3) -> None:
    """It finds silence, and the peer gets its test."""
    own_path.ip("a", "addr", "add", f"{STRANGER}/24", "dev", "eth0")
    serve = own_path.serve("z", "serve", "iperf3.serve", **SERVER)
    scan = own_path.start("a", "scan", "path.ports", peer=Z, source=STRANGER, tcp=[5201], udp=[]).data()
    assert scan["tcp"] == {"5201": "silent"}
    own_path.start("a", "drive", "iperf3.drive", **TEST).data()
    assert serve.data()["exit_code"] == 0


def test_a_stopped_server_ends_tidily(path: Path3) -> None:
    """No client came: that is no failure of the server."""
    result = path.serve("z", "serve", "iperf3.serve", **SERVER).stop()
    assert (result["status"], result["data"]["ended"], result["data"]["sockets"]) == ("completed", "stopped", [])


@pytest.mark.parametrize(("address", "code"), [(Z, 25), ("10.2.0.99", 24)])
def test_a_port_in_use_and_a_foreign_address_are_told_apart(path: Path3, address: str, code: int) -> None:
    """By iperf3's own words."""
    path.serve("z", "first", "iperf3.serve", **SERVER)
    result = path.start("z", "second", "iperf3.serve", **{**SERVER, "address": address}).result()
    assert result["error"]["code"] == code


STUBBORN = """#!/bin/bash
case $1 in
    --version) echo "iperf 3.12" ;;
    --help) echo ;;
    *) trap "" TERM; echo deaf >&2; while true; do read -r -t 1 <> <(:); done ;;
esac
"""


def test_a_client_that_never_ends_is_killed(path: Path3, tmp_path: Path) -> None:
    """It does not even heed SIGTERM, and the result says so."""
    program = tmp_path / "iperf3"
    program.write_text(STUBBORN)
    program.chmod(0o755)
    job = path.start("a", "drive", "iperf3.drive", **{**TEST, "iperf3": str(program)})
    while not (job.folder / "stderr.txt").exists() or not (job.folder / "stderr.txt").read_bytes():
        time.sleep(0.01)  # until the trap is set
    data = job.stop()["data"]
    assert data["ended"] == "stopped, and killed"
    assert data["exit_code"] == -9


def test_a_stranger_who_got_in_ends_the_server(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the listener cannot be closed to others: the result names who came, and no figure is made of it."""
    client = ["iperf3", "-c", "127.0.0.1", "-B", "127.0.0.2", "-p", "5991", "-t", "5", "-b", "1M"]
    clients: list[subprocess.Popen[bytes]] = []
    start = partial(subprocess.Popen, client, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    monkeypatch.setattr(peerfilter, "only", lambda sock, peer: False)
    monkeypatch.setattr(job, "ready", lambda data: clients.append(start()))
    with pytest.raises(Fault, match=r"127\.0\.0\.2 took the test that was 127\.0\.0\.3's"):
        iperf3.serve(job, iperf3="iperf3", address="127.0.0.1", port=5991, peer="127.0.0.3")
    assert clients[0].wait() != 0


def test_a_client_that_overruns_its_test_is_ended(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is a failure with its reason, not a measurement."""
    program = tmp_path / "iperf3"
    program.write_text(STUBBORN.replace('trap "" TERM', "exec sleep 60"))
    program.chmod(0o755)
    monkeypatch.setattr(iperf3, "_GRACE_S", 0)
    with pytest.raises(Fault, match="had not ended 0 s after its test should have"):
        iperf3.drive(job, **{**TEST, "iperf3": str(program)})
    assert json.loads((job.folder / "account.json").read_bytes())["exit_code"] == -15


ADOPT = '''
import os, subprocess, sys, time
from perfagent.adopt import Sockets
child = subprocess.Popen([sys.executable, "-c", """import socket
connected, other = socket.socket(2, 2), socket.socket(2, 2)
connected.connect(("127.0.0.1", 9))
print(flush=True)
input()"""], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
sockets = Sockets(child.pid, receive_buffer_bytes=int(sys.argv[1]))
sockets.look()
(each,) = sockets.data
print(each.forced, each.receive_buffer(), sockets.clamps[0]["got"], sockets.clamps[0]["asked"])
child.communicate(b"\\n")
'''


def test_without_the_privilege_a_buffer_is_clamped_and_noted() -> None:
    """rmem_max is what anybody can have; what was asked for and what was got are both told. A socket without a peer
    carries no data."""
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text())
    without = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    done = subprocess.run(
        [*without, sys.executable, "-c", ADOPT, str(limit * 2)],
        env={"PYTHONPATH": str(AGENTS), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", str(limit * 2), str(limit), str(limit * 2)]
