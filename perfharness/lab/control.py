"""The lab's verbs: bring it up, take it down, ask how it is and what it did, change the wire, play faults.

Root only. Every thing is noted before it is made, so ``down`` removes all of it after any crash, and
nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import perfharness
from perfharness.errors import LabFault
from perfharness.lab import faults, hosts, namespaces, processes, shaping, state, topology
from perfharness.lab import truth as account
from perfharness.lab.faults import Wish
from perfharness.lab.linespec import LineSpec
from perfharness.lab.spec import Host, LabSpec
from perfharness.lab.state import FOLDER, State
from perfharness.lab.wire import Config, read_config
from perfharness.model import Direction

MODES = ("veth", "wire", "metered-wire")
"""The kernel meters and nothing else; the wire does all; the kernel meters, and behind it the wire does the rest."""
SEED = 1
GRACE_S = 1.0
"""How long what runs inside the lab (agents) may take to clean up before it is killed."""
WIRE_START_S = 5.0
WIRE_CONFIG = FOLDER / "wire.json"
WIRE_TRUTH = FOLDER / "truth.json"
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
    "metered-wire" if there is a delay to play, else "veth". Raises LabFault.
    """
    spec = spec or LabSpec()
    mode = mode or ("metered-wire" if spec.rtt_ns else "veth")
    lines = lines or {}
    _check(spec, mode, lines)
    recipe = _recipe(spec, mode, lines or spec.lines(metered=mode == "wire"))
    with state.locked():
        old = state.load()
        if old and old.recipe == recipe and not _problems(old):
            return _status(old)
        if old:
            _dismantle(old)
        state.empty()
        new = State(recipe, since=datetime.now(UTC).isoformat(timespec="seconds"))
        new.save()
        try:
            _refuse_foreign(topology.plan(spec))
            _build(new, spec, mode)
        except BaseException:
            _dismantle(new)
            state.forget()
            raise
        return _status(new)


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
    return _status(current) if current else {"up": False}


def truth() -> dict[str, Any]:
    """What the circuit did so far; see ``truth.py``. Raises LabFault when the lab is not up."""
    current, plan, mode = _running()
    spec = _played(current)
    return account.of_veth(plan, spec) if mode == "veth" else account.of_wire(plan, WIRE_TRUTH, spec, mode)


def tune(lines: Mapping[Direction, LineSpec]) -> None:
    """Change what the wire plays while frames are on the way; returns when it does. Raises LabFault.

    A direction that is not named goes on as it is.
    """
    current, _, mode = _running()
    wire = next((process for process in current.processes if process.name == "wire"), None)
    if mode == "veth" or wire is None:
        raise LabFault("The lab plays its circuit without a wire.", "Bring it up with the user-space wire.")
    wanted = {**read_config(WIRE_CONFIG).lines, **lines}
    _write_lines(wanted)
    if not wire.signal(signal.SIGHUP):
        raise LabFault("The wire has gone.", "Bring the lab up again.")
    account.await_lines(WIRE_TRUTH, wanted)


def fault(wish: Wish) -> dict[str, Any]:
    """Play a fault besides those that are on, until ``clear``; returns the status. Raises Refused, LabFault."""
    with _changed() as (current, spec):
        told = faults.check(wish, _played(current))
        current.add_fault(wish.to_json())
        try:
            if told.on_host:
                faults.troubled(wish, spec).begin()
            else:
                _meter(current)
        except BaseException:
            _clear(current, [wish])
            raise
        return _status(current)


def clear() -> dict[str, Any]:
    """End all faults, the last one first; returns the status. Raises LabFault."""
    with _changed() as (current, _):
        _clear(current, _wishes(current))
        return _status(current)


# --- before -----------------------------------------------------------------------------------


def _check(spec: LabSpec, mode: str, lines: Mapping[Direction, LineSpec]) -> None:
    _require_root()
    if mode not in MODES or (mode == "veth" and (lines or spec.rtt_ns)):
        raise LabFault(f"The lab cannot play this circuit as {mode}.", f"Modes: {', '.join(MODES)}.")
    if mode == "metered-wire" and any(line.rate for line in lines.values()):
        raise LabFault("The kernel meters before this wire, which has no rate of its own.", "Name the rate once.")
    for tool, package in PACKAGES.items():
        if shutil.which(tool, path=hosts.tool_path()) is None:
            raise LabFault(f"{tool} is not installed.", f"Install it: apt install {package}.")
    if mode != "veth" and not Path("/dev/net/tun").exists():
        raise LabFault("This machine has no /dev/net/tun.", "Load the module tun, or use the veth circuit.")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabFault("The lab makes network namespaces, which only root may.", "Try again with sudo.")


def _refuse_foreign(plan: topology.Plan) -> None:
    for name in plan.namespaces:
        if namespaces.exists(name):
            raise LabFault(
                f"There is a network namespace {name} that the lab did not make.",
                f"If nobody needs it, remove it: ip netns delete {name}.",
            )


def _recipe(spec: LabSpec, mode: str, lines: Mapping[Direction, LineSpec]) -> dict[str, Any]:
    recipe: dict[str, Any] = {"spec": spec.to_json(), "mode": mode}
    if mode != "veth":
        recipe["lines"] = {str(direction): line.to_json() for direction, line in lines.items()}
    return dict(json.loads(json.dumps(recipe)))


# --- building ---------------------------------------------------------------------------------


def _build(new: State, spec: LabSpec, mode: str) -> None:
    plan = topology.plan(spec)
    for name in plan.namespaces:
        new.add_namespace(name)
        namespaces.create(name)
    topology.build(plan, taps=mode != "veth")
    topology.keep_datagrams_apart(plan.hosts)
    if mode != "wire":
        shaping.meter(plan, spec)
    if mode != "veth":
        _start_wire(new, {Direction(name): LineSpec.from_json(line) for name, line in new.recipe["lines"].items()})
    hosts.serve(new, _served(spec))
    new.ready = True
    new.save()


def _served(spec: LabSpec) -> dict[str, Host]:
    """Who has an sshd."""
    lan = topology.plan(spec).ce_lan
    ce = Host(spec.ce_alias, str(lan.address.ip), lan.interface)
    pair = {topology.ONPREM: spec.onprem, lan.namespace: ce, topology.ECS: spec.ecs}
    second = {topology.ONPREM_B: spec.onprem_b, topology.ECS_B: spec.ecs_b}
    return pair | {name: host for name, host in second.items() if host is not None}


def _start_wire(new: State, lines: Mapping[Direction, LineSpec]) -> None:
    _write_lines(lines)
    log = FOLDER / "wire.log"
    argv = [sys.executable, "-m", "perfharness.lab.wire", str(WIRE_CONFIG), str(WIRE_TRUTH)]
    home = str(Path(perfharness.__file__).parent.parent)
    wire = processes.launch("wire", argv, log, new.add_process, {"PYTHONPATH": home})
    deadline = time.monotonic() + WIRE_START_S
    while not WIRE_TRUTH.exists():
        if not wire.alive or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
            raise LabFault(f"The wire did not start: {said[0] if said else 'it says nothing'}.")
        time.sleep(0.01)


def _write_lines(lines: Mapping[Direction, LineSpec]) -> None:
    config = Config(SEED, topology.CE, topology.VBR, dict(lines))
    state.write_json(WIRE_CONFIG, config.to_json())


# --- faults -----------------------------------------------------------------------------------


@contextmanager
def _changed() -> Iterator[tuple[State, LabSpec]]:
    """The running lab and what it was built for; nobody else changes it meanwhile."""
    _running()
    with state.locked():
        current, _, _ = _running()
        yield current, _spec(current)


def _clear(current: State, wishes: list[Wish]) -> None:
    spec = _spec(current)
    for wish in reversed(wishes):
        if faults.FAULTS[wish.name].on_host:
            faults.troubled(wish, spec).undo()
    current.faults = [other for other in current.faults if Wish(**other) not in wishes]
    _meter(current)
    current.save()


def _meter(current: State) -> None:
    """Meter as is to be played now."""
    spec, mode = _played(current), current.recipe["mode"]
    if mode != "wire":
        shaping.meter(topology.plan(spec), spec)
    else:
        rates = {way: line.rate for way, line in spec.lines().items()}
        tune({way: replace(line, rate=rates[way]) for way, line in read_config(WIRE_CONFIG).lines.items()})


def _wishes(current: State) -> list[Wish]:
    return [Wish(**wish) for wish in current.faults]


def _played(current: State) -> LabSpec:
    """What was asked for, changed by the faults that are on."""
    return faults.circuit_with(_wishes(current), _spec(current))


# --- asking -----------------------------------------------------------------------------------


def _running() -> tuple[State, topology.Plan, str]:
    _require_root()
    current = state.load()
    if current is None or not current.ready:
        raise LabFault("The lab is not up.", "Bring it up: perfharness lab up.")
    return current, topology.plan(_spec(current)), current.recipe["mode"]


def _status(current: State) -> dict[str, Any]:
    spec = _played(current)
    return {
        "up": True,
        "mode": current.recipe["mode"],
        "since": current.since,
        "circuit": {
            "vlan": spec.vlan,
            "rate_bps": spec.rate_bps,
            "layer": spec.rate_layer,
            "policer_bytes": spec.policer_bytes,
            "queue_ns": spec.queue_ns if spec.policer_bytes is None else None,
            "rtt_ns": spec.rtt_ns,
            "mtu": spec.mtu,
            "customer": spec.customer_link,
            "cloud": spec.cloud_link,
        },
        "hosts": {host.alias: host.address for host in _served(spec).values()},
        "ssh_config": str(hosts.SSH_CONFIG),
        "namespaces": [name for name in current.namespaces if namespaces.exists(name)],
        "faults": current.faults,
        "processes": {process.name: process.pid for process in current.processes if process.alive},
        "problems": _problems(current),
    }


def _problems(current: State) -> list[str]:
    """Why the lab is not what was asked for; empty when it is."""
    if not current.ready:
        return ["It was never finished."]
    gone = [f"Namespace {name} is gone." for name in current.namespaces if not namespaces.exists(name)]
    gone += [f"Process {process.name} has ended." for process in current.processes if not process.alive]
    return gone or [f"Fault {wish.name} is on." for wish in _wishes(current)] or _changes(current)


def _changes(current: State) -> list[str]:
    mode, changes = current.recipe["mode"], []
    if mode != "veth":
        lines = json.loads(WIRE_CONFIG.read_text(encoding="utf-8"))["lines"]
        changes += [] if lines == current.recipe["lines"] else ["The wire's configuration was changed."]
    if mode == "wire":
        return changes
    spec = _spec(current)
    for end in topology.plan(spec).circuit:
        found = shaping.discipline(end)["rate_bps"]
        ordered = None if spec.rate_bps is None else spec.rate_bps // 8 * 8  # tc counts in bytes
        if found != ordered:
            changes.append(f"{end.namespace} sends at {found} bit/s instead of {ordered}.")
    return changes


def _spec(current: State) -> LabSpec:
    return LabSpec.from_json(current.recipe["spec"])


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
