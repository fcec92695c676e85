"""iperf3 as a program: a one-shot server, a client, both under a deadline, both ends' words kept.

Traps held here: an ``error`` key counts whatever the exit code says (before 3.18 it is 0 on many errors, from 3.19 on
also when a signal ended it), and so does output that is no whole report; a server is ready when its listener is seen
in /proc, since connecting would use it up; a stranger who connects would take the server's only test, so its listener
hears the peer alone, and where that cannot be had the server is ended; ``-w`` above the host's limit aborts
iperf3 and is clamped; a client that does not come to its end is killed.
"""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from perfagent import iperf3_output, sockets, window
from perfagent.child import Child
from perfagent.iperf3_output import Live
from perfagent.jobs import Job
from perfagent.program import Program, inspect
from perfagent.wire import Code, Fault

OUTPUT = "iperf3.json"
MOST_WINDOW = 512 << 20
"""What iperf3 takes for ``-w``."""
_CONNECT_MS = 5000
_USUAL_BLOCK, _LEAST_BLOCK = 128 << 10, 4 << 10
_GRACE_S = 15.0
"""After the last second of a test: control messages, a slow exchange of results over a lossy path."""
_START_FAULTS = {
    "Address already in use": Code.PORT_IN_USE,
    "Cannot assign requested address": Code.ADDRESS,
    "Permission denied": Code.NOT_PERMITTED,
}


def serve(
    job: Job,
    *,
    iperf3: str,
    address: str,
    port: int,
    peer: str,
    interval_s: float = 1.0,
    receive_buffer_bytes: int | None = None,
) -> dict[str, Any]:
    """Serve one test of ``peer`` on exactly this address and port; figures come each ``interval_s``.

    ``receive_buffer_bytes`` is what the UDP sockets get, larger or smaller than the host's default.
    """
    program = inspect(iperf3)
    address, peer = sockets.canonical(address), sockets.canonical(peer)
    how = ("-s", "-1", *iperf3_output.options(program.features), "-i", f"{interval_s:g}")
    argv = [program.path, *how, "-B", address, "-p", str(port)]
    ready = False
    with ExitStack() as stack:
        child = stack.enter_context(Child(job, argv, OUTPUT, receive_buffer_bytes=receive_buffer_bytes, only_peer=peer))
        live = stack.enter_context(closing(Live(job, job.folder / OUTPUT, program.features)))
        while child.running():
            live.look(child)
            if not ready and child.listens(address, port):
                child.sockets.look()  # the listener hears the peer alone before anybody is told of it
                job.ready({"address": address, "port": port, "window_bytes": clamp_window(MOST_WINDOW)[0]})
                ready = True
            if child.sockets.control_peer not in (None, peer):
                child.end(f"{child.sockets.control_peer} took the test that was {peer}'s")
        return _account(job, program, child, [])


def drive(
    job: Job,
    *,
    iperf3: str,
    peer: str,
    source: str,
    port: int,
    duration_s: float,
    omit_s: float,
    streams: int,
    udp: bool,
    rate_bps: int | None,
    length: int | None,
    reverse: bool,
    bidir: bool,
    window_bytes: int | None,
    congestion: str | None,
    dscp: int | None,
    mss: int | None,
    interval_s: float = 1.0,
    receive_buffer_bytes: int | None = None,
    burst: int = 1,
    bdp: dict[str, int] | None = None,
    zerocopy: bool = False,
    affinity: str | None = None,
    pacing_bps: int | None = None,
    peer_window_bytes: int | None = None,
) -> dict[str, Any]:
    """Run one test against ``peer``, ``omit_s`` of warm-up and then ``duration_s``.

    Whoever reads the output leaves the warm-up out: iperf3's own ``-O`` stretches the first interval after it.
    ``rate_bps`` is the total of the streams in payload (L4), each way of ``bidir``; ``None`` = unlimited.
    ``receive_buffer_bytes`` is what the UDP sockets get, for a test that receives here. ``burst`` UDP packets are sent
    for each look at the clock. ``bdp`` = ``{"rate_bps", "streams"}`` asks for each stream's share of the window that
    fills the path at this rate, with the round trip that is measured before the test (``window.measured``).
    ``pacing_bps`` is the total that the kernel lets out evenly (``--fq-rate``), ``affinity`` as for ``-A``.
    ``peer_window_bytes`` is the most that the server's host grants: iperf3 would abort there above it.
    """
    program = inspect(iperf3)
    filled = bdp and window.measured(sockets.canonical(peer), sockets.canonical(source), **bdp)
    granted, clamps = clamp_window(filled["asked_bytes"] if filled else window_bytes, peer_window_bytes)
    argv = [
        program.path,
        *("-c", sockets.canonical(peer), "-B", sockets.canonical(source), "-p", str(port)),
        *iperf3_output.options(program.features),
        *("-i", f"{interval_s:g}", "-t", _whole("duration_s + omit_s", duration_s + omit_s), "-P", str(streams)),
        *("--connect-timeout", str(_CONNECT_MS)),
        *load_options(udp=udp, rate_bps=rate_bps, streams=streams, burst=burst, features=program.features),
        *(flag for flag, wanted in (("-R", reverse), ("--bidir", bidir), ("-Z", zerocopy)) if wanted),
        *_option("-l", length if length or udp else block_bytes(granted)),
        *_option("-w", granted),
        *_option("-C", congestion),
        *_option("--dscp", dscp),
        *_option("-M", mss),
        *_option("-A", affinity),
        *_option("--fq-rate", pacing_bps and pacing_bps // streams),
    ]
    account = _run(job, program, argv, receive_buffer_bytes, duration_s + omit_s + _GRACE_S, clamps)
    return {**account, "window": {**filled, "got_bytes": granted}} if filled else account


def _run(
    job: Job,
    program: Program,
    argv: Sequence[str],
    receive_buffer_bytes: int | None,
    limit_s: float,
    clamps: list[dict[str, Any]],
) -> dict[str, Any]:
    """A client to its end, or until it has taken ``limit_s``."""
    with ExitStack() as stack:
        child = stack.enter_context(Child(job, argv, OUTPUT, receive_buffer_bytes=receive_buffer_bytes))
        live = stack.enter_context(closing(Live(job, job.folder / OUTPUT, program.features)))
        while child.running():
            live.look(child)
            if time.monotonic() - child.started_mono_s > limit_s:
                child.end(f"it had not ended {_GRACE_S:g} s after its test should have")
        return _account(job, program, child, clamps)


def load_options(
    *, udp: bool, rate_bps: int | None, streams: int, features: Sequence[str], burst: int = 1
) -> list[str]:
    """Protocol and rate; iperf3 takes the rate of one stream, and ``-b 0`` for unlimited UDP."""
    per_stream = 0 if rate_bps is None else rate_bps // streams
    options = ["-u"] if udp else []
    if udp or rate_bps is not None:
        options += ["-b", f"{per_stream}/{burst}" if udp and burst > 1 else str(per_stream)]
    if udp and "udp-counters-64bit" in features:
        options.append("--udp-counters-64bit")  # else the loss is wrong from packet 2**32 on
    return options


def block_bytes(window_bytes: int | None) -> int | None:
    """What iperf3 writes at once so that it never waits within a write: a sender of 3.12 that does hears of no end of
    the test, and with ``-R`` both ends wait for one another. ``None``: its own choice fits."""
    if window_bytes is None or window_bytes >= 2 * _USUAL_BLOCK:
        return None
    return max(_LEAST_BLOCK, window_bytes // 2 & -_LEAST_BLOCK)


def clamp_window(
    window_bytes: int | None, peer_window_bytes: int | None = None
) -> tuple[int | None, list[dict[str, Any]]]:
    """What ``-w`` may be on this host, found out by asking (the sysctls are hidden in some namespaces), and on the
    other one."""
    if window_bytes is None:
        return None, []
    granted = window_bytes
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            probe.setsockopt(socket.SOL_SOCKET, option, window_bytes)
            granted = min(granted, probe.getsockopt(socket.SOL_SOCKET, option) // 2)
    whose = "of this host"
    if peer_window_bytes is not None and peer_window_bytes < granted:
        granted, whose = peer_window_bytes, "of the other host"
    if granted == window_bytes:
        return window_bytes, []
    why = f"above net.core.rmem_max or wmem_max {whose}"
    return granted, [{"what": "window_bytes", "asked": window_bytes, "got": granted, "why": why}]


def _whole(name: str, seconds: float) -> str:
    if seconds != int(seconds):
        raise Fault(Code.BAD_ARGUMENT, f"{name} is {seconds}, but iperf3 takes whole seconds")
    return str(int(seconds))


def _option(name: str, value: object) -> list[str]:
    return [] if value is None else [name, str(value)]


def _account(job: Job, program: Program, child: Child, clamps: list[dict[str, Any]]) -> dict[str, Any]:
    """What the result says; when iperf3 failed it goes to ``account.json`` and a Fault has iperf3's words."""
    said = iperf3_output.read((job.folder / OUTPUT).read_bytes())
    data = {"version": program.version, **child.account(), "clamps": [*clamps, *child.sockets.clamps]}
    well = child.exit_code == 0 and not said.error and not said.trouble
    if child.ended.startswith("stopped") or (child.ended == "by itself" and well):
        return data
    account = {"format_version": 1, **data, "figures_until_s": said.until_s}
    (job.folder / "account.json").write_text(json.dumps(account), encoding="utf-8")
    kept = f" after {child.lasted_s:.1f} s; its figures reach to second {said.until_s:.1f}" if said.until_s else ""
    if child.ended != "by itself":
        raise Fault(Code.TOOL_FAILED, f"iperf3 was ended: {child.ended}{kept}")
    raise Fault(*_words(job, child, said, kept))


def _words(job: Job, child: Child, said: iperf3_output.Said, kept: str) -> tuple[Code, str]:
    """What an iperf3 that ended by itself has to say for it, in its own words where it has any."""
    if child.exit_code is not None and child.exit_code < 0 and not said.error:
        when = kept or f" after {child.lasted_s:.1f} s"
        return Code.TOOL_FAILED, f"iperf3 was killed by {_signal(-child.exit_code)}{when}"
    own = said.error or (_last_line(job.folder / "stderr.txt") if child.exit_code else "")
    if own:
        code = next((code for text, code in _START_FAULTS.items() if text in own), Code.TOOL_FAILED)
        return code, f"iperf3 says: {own}{kept}"
    if said.trouble:
        return Code.TOOL_FAILED, f"iperf3 ended with exit code {child.exit_code} and no report: {said.trouble}{kept}"
    return Code.TOOL_FAILED, f"iperf3 ended with exit code {child.exit_code}, without a word{kept}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n")
    return next((line.strip().removeprefix("iperf3: ") for line in reversed(lines) if line.strip()), "")
