"""watch: what a router does while something is measured: each change of a route, a carrier, a BGP or BFD session.

Only looked at, nothing is changed. The kernel tells at once when routes or links change (rtnetlink); a routing daemon
is asked a few times a second (FRR, by vtysh), where there is one.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any, TextIO

from perfagent.fib import Changes, Fib, carrier
from perfagent.jobs import Job
from perfagent.sockets import canonical
from perfagent.vtysh import words
from perfagent.wire import Code, Fault

FORMAT_VERSION = 1
ASK = ("show bgp summary json", "show bfd peers json")
_DAEMON_S = 0.2
"""Between two questions; one costs a small router about 20 ms of CPU time."""
_PATIENCE_S = 5.0


def edge(
    job: Job,
    *,
    targets: list[str],
    interfaces: list[str],
    period_ms: int,
    vtysh: str | None = None,
) -> dict[str, Any]:
    """Write ``edge.jsonl``: how it is at the start, and a row for each change, until asked to stop.

    A row: ``{t_ns, mono_ns, what, of, state}``. ``what`` = route (``of`` a target; ``state`` as ``fib.Fib.to`` says),
    carrier (an interface; up, no carrier, down), bgp (a neighbour; FRR's word), bfd (a peer; up, down, init). Looked at
    every ``period_ms``, and at once when the kernel tells of a change. ``vtysh``: how FRR is asked, e.g.
    ``sudo -n vtysh`` or ``vtysh -N name``. Raises Fault(BAD_ARGUMENT, ADDRESS).
    """
    if period_ms < 10:
        raise Fault(Code.BAD_ARGUMENT, f"period_ms is {period_ms}; below 10 this would disturb what it watches")
    for name in interfaces:
        try:
            socket.if_nametoindex(name)
        except OSError as error:
            raise Fault(Code.ADDRESS, f"there is no interface {name}") from error
    path = job.folder / "edge.jsonl"
    with closing(Fib()) as fib, closing(Changes()) as changes, path.open("w", encoding="utf-8", buffering=1) as out:
        out.write(json.dumps({"format_version": FORMAT_VERSION, "period_ms": period_ms}) + "\n")
        watched = _Watched(fib, [canonical(target) for target in targets], interfaces, out)
        daemon = _Daemon(vtysh) if vtysh else None
        rows = watched.look() + (watched.note(daemon.states()) if daemon else 0)
        job.ready({})
        while not job.stopping:
            select.select([job.stop_fd, changes.fileno()], [], [], period_ms / 1000)
            changes.drain()
            rows += watched.look()
            if daemon:
                rows += watched.note(daemon.states())
        return {"rows": rows, "daemon": daemon.trouble if daemon else "not asked"}


class _Watched:
    """Writes a row for whatever is not as it was."""

    def __init__(self, fib: Fib, targets: list[str], interfaces: list[str], out: TextIO) -> None:
        self._fib, self._targets, self._interfaces, self._out = fib, targets, interfaces, out
        self._was: dict[tuple[str, str], Any] = {}

    def look(self) -> int:
        """At what the kernel knows; how many rows it made."""
        seen: dict[tuple[str, str], Any] = {("route", target): self._fib.to(target) for target in self._targets}
        seen.update({("carrier", name): carrier(name) for name in self._interfaces})
        return self.note(seen)

    def note(self, seen: dict[tuple[str, str], Any]) -> int:
        """States by what and of whom."""
        t_ns, mono_ns = time.time_ns(), time.monotonic_ns()
        new = {key: state for key, state in seen.items() if key not in self._was or self._was[key] != state}
        for (what, of), state in new.items():
            row = {"t_ns": t_ns, "mono_ns": mono_ns, "what": what, "of": of, "state": state}
            self._out.write(json.dumps(row, separators=(",", ":")) + "\n")
        self._was.update(new)
        return len(new)


class _Daemon:
    """FRR's sessions; one that does not answer once is not asked again."""

    def __init__(self, vtysh: str) -> None:
        """Raises Fault(BAD_ARGUMENT) for any other program."""
        self._argv = [*words(vtysh), *(word for question in ASK for word in ("-c", question))]
        self._next_s = 0.0
        self.trouble = ""

    def states(self) -> dict[tuple[str, str], Any]:
        """Of each neighbour; empty when it is not yet time to ask."""
        now_s = time.monotonic()
        if self.trouble or now_s < self._next_s:
            return {}
        self._next_s = now_s + _DAEMON_S
        try:
            done = subprocess.run(
                self._argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S, check=False
            )
        except OSError as error:
            self.trouble = f"{self._argv[0]} cannot be run: {error.strerror}"
            return {}
        except subprocess.TimeoutExpired:
            self.trouble = f"{self._argv[0]} did not answer within {_PATIENCE_S:g} s"
            return {}
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it says nothing"]
            self.trouble = f"{self._argv[0]} ended with exit code {done.returncode}: {said[0]}"
            return {}
        return sessions(done.stdout.decode(errors="replace"))


def sessions(text: str) -> dict[tuple[str, str], Any]:
    """The states in what vtysh answers to :data:`ASK`: JSON documents one after the other."""
    found: dict[tuple[str, str], Any] = {}
    for said in _documents(text):
        families = said.values() if isinstance(said, dict) else ()
        for family in families:
            peers = family.get("peers") if isinstance(family, dict) else None
            for peer, told in (peers or {}).items():
                found["bgp", peer] = told.get("state")
        for told in said if isinstance(said, list) else ():
            if isinstance(told, dict) and "peer" in told:
                found["bfd", told["peer"]] = told.get("status")
    return found


def _documents(text: str) -> Iterator[Any]:
    """As far as they can be read: a daemon that does not run leaves words in between."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        starts = [place for place in (text.find("{", at), text.find("[", at)) if place >= 0]
        if not starts:
            return
        at = min(starts)
        with suppress(ValueError):
            said, at = decoder.raw_decode(text, at)
            yield said
            continue
        at += 1
