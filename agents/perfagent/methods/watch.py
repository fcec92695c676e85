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
from perfagent.vtysh import questions, words
from perfagent.wire import Code, Fault

FORMAT_VERSION = 1
ASK = ("show bgp summary json", "show bfd peers json")
FIRST = (*ASK, "show bgp neighbors json")
"""Once, at the start: the last one tells hold times."""
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

    A row: ``{t_ns, since_ns, mono_ns, what, of, state}``: so at ``t_ns``, and not yet at ``since_ns``. ``what`` = route
    (``of`` a target; ``state`` as ``fib.Fib.to`` says), carrier (an interface; up, no carrier, down), bgp (a neighbour;
    FRR's word), bfd (a peer; up, down, init), and once timers (a neighbour; see ``timers``). Looked at every
    ``period_ms``, and at once when the kernel tells of a change. ``vtysh``: how FRR is asked, e.g. ``sudo -n vtysh`` or
    ``vtysh -N name``. Raises Fault(BAD_ARGUMENT, ADDRESS).
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
        rows = watched.look() + (watched.note(daemon.states(), daemon.since_ns) if daemon else 0)
        job.ready({})
        while not job.stopping:
            select.select([job.stop_fd, changes.fileno()], [], [], period_ms / 1000)
            changes.drain()
            rows += watched.look()
            if daemon:
                rows += watched.note(daemon.states(), daemon.since_ns)
        return {"rows": rows, "daemon": daemon.trouble if daemon else "not asked"}


class _Watched:
    """Writes a row for whatever is not as it was."""

    def __init__(self, fib: Fib, targets: list[str], interfaces: list[str], out: TextIO) -> None:
        self._fib, self._targets, self._interfaces, self._out = fib, targets, interfaces, out
        self._was: dict[tuple[str, str], Any] = {}
        self._looked_ns = 0

    def look(self) -> int:
        """At what the kernel knows; how many rows it made."""
        since_ns, self._looked_ns = self._looked_ns, time.time_ns()
        seen: dict[tuple[str, str], Any] = {("route", target): self._fib.to(target) for target in self._targets}
        seen.update({("carrier", name): carrier(name) for name in self._interfaces})
        return self.note(seen, since_ns)

    def note(self, seen: dict[tuple[str, str], Any], since_ns: int) -> int:
        """States by what and of whom; the states before them were still seen at ``since_ns``."""
        t_ns, mono_ns = time.time_ns(), time.monotonic_ns()
        new = {key: state for key, state in seen.items() if key not in self._was or self._was[key] != state}
        for (what, of), state in new.items():
            row = {"t_ns": t_ns, "since_ns": since_ns, "mono_ns": mono_ns, "what": what, "of": of, "state": state}
            self._out.write(json.dumps(row, separators=(",", ":")) + "\n")
        self._was.update(new)
        return len(new)


class _Daemon:
    """FRR's sessions; one that does not answer once is not asked again."""

    def __init__(self, vtysh: str) -> None:
        """Raises Fault(BAD_ARGUMENT) for any other program."""
        self._program = words(vtysh)
        self._begun = False
        self._next_s = 0.0
        self._asked_ns = self.since_ns = 0
        """When it was asked last, and the time before."""
        self.trouble = ""

    def states(self) -> dict[tuple[str, str], Any]:
        """Of each neighbour; empty when it is not yet time to ask."""
        now_s = time.monotonic()
        if self.trouble or now_s < self._next_s:
            return {}
        self._next_s = now_s + _DAEMON_S
        self.since_ns, self._asked_ns = self._asked_ns, time.time_ns()
        argv = [*self._program, *questions(*(ASK if self._begun else FIRST))]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S, check=False)
        except OSError as error:
            self.trouble = f"{argv[0]} cannot be run: {error.strerror}"
            return {}
        except subprocess.TimeoutExpired:
            self.trouble = f"{argv[0]} did not answer within {_PATIENCE_S:g} s"
            return {}
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it says nothing"]
            self.trouble = f"{argv[0]} ended with exit code {done.returncode}: {said[0]}"
            return {}
        text = done.stdout.decode(errors="replace")
        begun, self._begun = self._begun, True
        return sessions(text) if begun else {**sessions(text), **timers(text)}


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


def timers(text: str) -> dict[tuple[str, str], dict[str, int | None]]:
    """How soon each session notices that its peer is gone, in what vtysh answers to :data:`FIRST`.

    ``{"bfd_ns", "hold_ns"}``: the detection time of BFD (RFC 5880, section 6.8.4) where that is up, and BGP's hold time
    (RFC 4271, section 4.2); ``None`` for what is not told or switched off.
    """
    found: dict[tuple[str, str], dict[str, int | None]] = {}

    def of(peer: str) -> dict[str, int | None]:
        return found.setdefault(("timers", peer), {"bfd_ns": None, "hold_ns": None})

    for said in _documents(text):
        for peer, told in said.items() if isinstance(said, dict) else ():
            if isinstance(told, dict) and "bgpTimerHoldTimeMsecs" in told:
                of(peer)["hold_ns"] = _ns(told["bgpTimerHoldTimeMsecs"])
        for told in said if isinstance(said, list) else ():
            if isinstance(told, dict) and "peer" in told and told.get("status") == "up":
                of(told["peer"])["bfd_ns"] = _detection_ns(told)
    return found


def _detection_ns(told: dict[str, Any]) -> int | None:
    """What the peer sends, at the pace on which both agree, times as often as it may be missed."""
    ours, theirs = _ns(told.get("receive-interval")), _ns(told.get("remote-transmit-interval"))
    missed = told.get("remote-detect-multiplier")
    return missed * max(ours, theirs) if ours and theirs and isinstance(missed, int) else None


def _ns(ms: Any) -> int | None:
    """``None`` for what is no number, and for none."""
    return ms * 1_000_000 if isinstance(ms, int) and ms else None


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
