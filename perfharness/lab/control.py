"""The lab's verbs: bring it up, take it down, ask how it is and what it did, change the wire, play faults.

Root only. Every thing is noted before it is made, so ``down`` removes all of it after any crash, and
nothing else.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perfharness.errors import LabFault
from perfharness.lab import account, circuits, faults, frr, hosts, namespaces, places, processes, state, topology
from perfharness.lab import status as report
from perfharness.lab.faults import Wish
from perfharness.lab.linespec import LineSpec
from perfharness.lab.score import MODES as MODES
from perfharness.lab.score import Score, played, recipe, scores, spec_of, wishes_of
from perfharness.lab.spec import LabSpec
from perfharness.lab.state import FOLDER, State
from perfharness.lab.topology import Plan
from perfharness.model import Direction

GRACE_S = 1.0
"""How long what runs inside the lab (agents) may take to clean up before it is killed."""
ROUTED_S = 30.0
WIRE_CONFIG = circuits.config_of("a")
PACKAGES = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "hostname": "hostname",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
}


def up(
    spec: LabSpec | None = None, mode: str | None = None, lines: Mapping[Direction, LineSpec] | None = None
) -> dict[str, Any]:
    """Bring the lab up and return its status; one that runs as asked is left alone, any other is rebuilt.

    ``mode``: "veth" (fast: the kernel meters), "wire" (user space, plays ``lines``; default: as ordered) or
    "metered-wire" (the kernel meters, the wire plays ``lines`` without a rate; default: delay and VLAN). Without one:
    "metered-wire" if there is a delay to play, else "veth". ``lines`` are of the first circuit. Raises LabFault.
    """
    spec = spec or LabSpec()
    mode = mode or ("metered-wire" if any(circuit.rtt_ns for circuit in spec.circuits.values()) else "veth")
    lines = lines or {}
    _check(spec, mode, lines)
    wanted = recipe(spec, mode, lines)
    with state.locked():
        old = state.load()
        if old and old.recipe == wanted and not report.problems(old):
            return report.of(old)
        if old:
            _dismantle(old)
        state.empty()
        new = State(wanted, since=datetime.now(UTC).isoformat(timespec="seconds"))
        new.save()
        try:
            _refuse_foreign(topology.plan(spec))
            _build(new, spec)
        except BaseException:
            _dismantle(new)
            state.forget()
            raise
        return report.of(new)


def down() -> None:
    """Remove all that ``up`` made, and what was started inside it. Raises LabFault."""
    _require_root()
    if FOLDER.exists():
        with state.locked():
            current = state.load()
            if current:
                _dismantle(current)
            state.forget()


def status() -> dict[str, Any]:
    """``up``, and if so how it was built, what runs and what is wrong with it (``problems``)."""
    _require_root()
    current = state.load()
    return report.of(current) if current else {"up": False}


def truth() -> dict[str, Any]:
    """What the circuits did so far; see ``truth.py``. Raises LabFault when the lab is not up."""
    current = _running()
    return account.of(current, topology.plan(spec_of(current)), scores(current))


def tune(lines: Mapping[Direction, LineSpec], letter: str = "a") -> None:
    """Change what the wire plays while frames are on the way; returns when it does. Raises LabFault.

    A direction that is not named goes on as it is.
    """
    circuits.tune(_running(), letter, lines)


def fault(wish: Wish) -> dict[str, Any]:
    """Play a fault besides those that are on, until ``clear``; returns the status. Raises Refused, LabFault."""
    with _changed() as (current, spec):
        told = faults.check(wish, played(current))
        if told.on_line:
            _check_taps()
        current.add_fault(wish.to_json())
        try:
            _play(current, spec)
            faults.troubled(wish, spec).begin()
        except BaseException:
            _clear(current, spec, [wish])
            raise
        return report.of(current)


def clear() -> dict[str, Any]:
    """End all faults, the last one first; returns the status. Raises LabFault."""
    with _changed() as (current, spec):
        _clear(current, spec, wishes_of(current))
        topology.forget_paths(topology.plan(spec))
        frr.begin_anew(report.routed(current))
        frr.await_routes(report.routed(current))
        return report.of(current)


# --- before -----------------------------------------------------------------------------------


def _check(spec: LabSpec, mode: str, lines: Mapping[Direction, LineSpec]) -> None:
    _require_root()
    delays = any(circuit.rtt_ns for circuit in spec.circuits.values())
    if mode not in MODES or (mode == "veth" and (lines or delays)):
        raise LabFault(f"The lab cannot play this circuit as {mode}.", f"Modes: {', '.join(MODES)}.")
    if mode == "metered-wire" and any(line.rate for line in lines.values()):
        raise LabFault("The kernel meters before this wire, which has no rate of its own.", "Name the rate once.")
    for tool, package in PACKAGES.items():
        if shutil.which(tool, path=hosts.tool_path()) is None:
            raise LabFault(f"{tool} is not installed.", f"Install it: apt install {package}.")
    if spec.bgp:
        frr.check()
    if mode != "veth":
        _check_taps()


def _check_taps() -> None:
    if not Path("/dev/net/tun").exists():
        raise LabFault("This machine has no /dev/net/tun.", "Load the module tun, or use the veth circuit.")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabFault("The lab makes network namespaces, which only root may.", "Try again with sudo.")


def _refuse_foreign(plan: Plan) -> None:
    for name in plan.namespaces:
        if namespaces.exists(name):
            raise LabFault(
                f"There is a network namespace {name} that the lab did not make.",
                f"If nobody needs it, remove it: ip netns delete {name}.",
            )


# --- building ---------------------------------------------------------------------------------


def _build(new: State, spec: LabSpec) -> None:
    plan = topology.plan(spec)
    for name in plan.namespaces:
        new.add_namespace(name)
        namespaces.create(name)
    topology.build(plan, taps=new.recipe["mode"] != "veth")
    topology.keep_datagrams_apart(plan.hosts)
    circuits.build(new, plan, scores(new))
    routers = report.routed(new)
    if routers:
        frr.serve(new, routers, spec)
    tools = {router.namespace: frr.vtysh(router.name).parent for router in routers.values()}
    hosts.serve(new, places.doors(spec), tools)
    frr.await_routes(routers)
    new.ready = True
    new.save()


# --- faults -----------------------------------------------------------------------------------


@contextmanager
def _changed() -> Iterator[tuple[State, LabSpec]]:
    """The running lab and what it was built for; nobody else changes it meanwhile."""
    _running()
    with state.locked():
        current = _running()
        yield current, spec_of(current)


def _clear(current: State, spec: LabSpec, wishes: list[Wish]) -> None:
    for wish in reversed(wishes):
        account.note(current, wish, spec)
        faults.troubled(wish, spec).undo()
    current.faults = [other for other in current.faults if Wish.from_json(other) not in wishes]
    _play(current, spec)
    current.save()


def _play(current: State, spec: LabSpec) -> None:
    """Play what is to be played now. A circuit that is rebuilt for it is whole again before its faults begin."""
    plan, wanted = topology.plan(spec), scores(current)
    had = frr.problems(report.routed(current)) if _rebuilds(current, wanted) else []
    for letter in circuits.ready(current, plan, wanted):
        account.forget(current, letter, spec)
        _await_routes(current, had)
    circuits.play(current, plan, wanted)


def _rebuilds(current: State, wanted: Mapping[str, Score]) -> bool:
    return any(current.built[letter] != score.mode for letter, score in wanted.items())


def _await_routes(current: State, had: list[str]) -> None:
    """Until no session is down that was up before; other faults may keep some down."""
    deadline = time.monotonic() + ROUTED_S
    while set(frr.problems(report.routed(current))) - set(had) and time.monotonic() < deadline:
        time.sleep(0.1)


def _running() -> State:
    _require_root()
    current = state.load()
    if current is None or not current.ready:
        raise LabFault("The lab is not up.", "Bring it up: perfharness lab up.")
    return current


# --- taking down ------------------------------------------------------------------------------


def _dismantle(current: State) -> None:
    """Processes first, then what they live in; may be cut short and done again."""
    processes.end(current.processes + _inmates(current), GRACE_S)
    processes.end(_inmates(current), GRACE_S)  # forked while we were at it
    for name in current.namespaces:
        namespaces.remove(name)
    for folder in current.folders:
        if not hosts.other_sshd_runs():
            with suppress(OSError):  # gone, or in use by another
                Path(folder).rmdir()


def _inmates(current: State) -> list[processes.Process]:
    """Whatever runs in a namespace of ours was started inside the lab: sessions, agents, iperf3."""
    known = {process.pid for process in current.processes} | {os.getpid()}
    pids = {pid for name in current.namespaces for pid in namespaces.members(name)} - known
    found = (processes.identify("inmate", pid) for pid in pids)
    return [process for process in found if process is not None]
