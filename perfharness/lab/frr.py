"""Real routers: FRR's daemons in the namespaces, each router's sockets and files in a folder of its own.

Never the machine's own FRR: other sockets, other configuration, other namespaces. ``RUNNING/ROUTER/bin/vtysh`` is the
router's command line, and is what ``vtysh`` means in a session on a CE. The daemons give up root for the user ``frr``,
as their package has them do; so that user must find its way into the lab's folder.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from perfharness.errors import LabFault
from perfharness.lab import processes, realtime
from perfharness.lab.hosts import tool_path
from perfharness.lab.routing import Router, configuration
from perfharness.lab.spec import LabSpec
from perfharness.lab.state import FOLDER, State

ROUTERS = FOLDER / "frr"
USER = "frr"
DAEMONS = ("zebra", "bgpd", "bfdd", "vtysh")
PLACES = "/usr/lib/frr:/usr/libexec/frr"
START_S = 5.0
ESTABLISHED_S = 30.0
ESTABLISHED = "Established"


def check() -> None:
    """FRR is there. Raises LabFault."""
    for name in DAEMONS:
        _program(name)


def serve(state: State, routers: Mapping[str, Router], spec: LabSpec) -> None:
    """Start them all; returns when all take commands, and before they have found each other.

    A router has a processor of its own. Here it shares those of the hosts, whose probers go before all else: so it goes
    before them, else BFD would fail while they send.
    """
    ROUTERS.mkdir()
    for folder in (FOLDER, ROUTERS):
        folder.chmod(0o711)
    for router in routers.values():
        _furnish(router, spec)
    for router in routers.values():
        _start(state, router, "zebra")
    _await_sockets(_run(router.name) / "zserv.api" for router in routers.values())
    for router in routers.values():
        for daemon in router.daemons:
            _start(state, router, daemon)
    _await_sockets(_run(router.name) / f"{daemon}.vty" for router in routers.values() for daemon in router.daemons)
    for process in state.processes:
        if process.name.split()[0] in DAEMONS:
            realtime.prefer_router(process.pid)


def await_routes(routers: Mapping[str, Router]) -> None:
    """Until every session is up and brought routes. Raises LabFault."""
    deadline = time.monotonic() + ESTABLISHED_S
    while wrong := problems(routers):
        if time.monotonic() > deadline:
            raise LabFault(wrong[0], f"See {_run(next(iter(routers))) / 'bgpd.log'}.")
        time.sleep(0.1)


def begin_anew(routers: Mapping[str, Router]) -> None:
    """Sessions that failed again and again try at once, and not after the pause that grew meanwhile."""
    for router in routers.values():
        peers = _peers(router)
        for neighbor in router.neighbors:
            if not neighbor.passive and peers.get(neighbor.address, {}).get("state") != ESTABLISHED:
                _say(router.name, [f"clear bgp {neighbor.address}"])


def problems(routers: Mapping[str, Router]) -> list[str]:
    """Sessions that are not up, or brought nothing."""
    found = []
    for router in routers.values():
        try:
            peers = _peers(router)
        except LabFault as error:
            found.append(error.message)
            continue
        for neighbor in router.neighbors:
            peer = peers.get(neighbor.address, {"state": "unknown", "pfxRcd": 0})
            if peer["state"] != ESTABLISHED:
                found.append(f"BGP of {router.name} with {neighbor.router} is {peer['state']}.")
            elif not peer["pfxRcd"]:
                found.append(f"{router.name} has no route from {neighbor.router}.")
    return found


def vtysh(router: str) -> Path:
    """Its command line, for anybody."""
    return ROUTERS / router / "bin" / "vtysh"


def ask(router: str, command: str) -> Any:
    """What a ``show … json`` says. Raises LabFault."""
    try:
        return json.loads(_say(router, [command]))
    except json.JSONDecodeError as error:
        raise LabFault(f"{router} did not understand `{command}`.") from error


def configure(router: str, lines: Iterable[str]) -> None:
    """These lines of configuration, from the top level on. Raises LabFault."""
    said = _say(router, ["configure terminal", *lines])
    if complaint := next((line for line in said.splitlines() if line.startswith("%")), None):
        raise LabFault(f"{router} refuses its configuration: {complaint.strip('% ')}.")


def order(router: str, command: str) -> None:
    """Such as ``clear bgp *``. Raises LabFault."""
    _say(router, [command])


def _peers(router: Router) -> dict[str, Any]:
    return dict(ask(router.name, "show bgp ipv4 unicast summary json")["peers"])


def _say(router: str, lines: Iterable[str]) -> str:
    argv = [str(vtysh(router))]
    for line in lines:
        argv += ["-c", line]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0 and not done.stdout:
        said = done.stderr.strip().splitlines()
        raise LabFault(f"vtysh of {router}: {said[-1] if said else 'failed'}.")
    return done.stdout


def _run(router: str) -> Path:
    """Where its daemons live."""
    return ROUTERS / router / "run"


def _furnish(router: Router, spec: LabSpec) -> None:
    run, tool = _run(router.name), vtysh(router.name)
    for folder in (run.parent, run, tool.parent):
        folder.mkdir(mode=0o755)
    for daemon, text in configuration(router, spec).items():
        (run / f"{daemon}.conf").write_text(text, encoding="ascii")
        shutil.chown(run / f"{daemon}.conf", USER, USER)
    shutil.chown(run, USER, USER)
    tool.write_text(f'#!/bin/sh\nexec {shlex.quote(_program("vtysh"))} --vty_socket {run} "$@"\n', encoding="utf-8")
    tool.chmod(0o755)


def _start(state: State, router: Router, daemon: str) -> None:
    run = _run(router.name)
    options = ["-u", USER, "-g", USER, "-f", f"{run}/{daemon}.conf", "-i", f"{run}/{daemon}.pid"]
    options += ["-z", f"{run}/zserv.api", "--vty_socket", str(run), "--log", "stdout"]
    options += ["--bfdctl", f"{run}/bfdd.sock"] if daemon == "bfdd" else []
    argv = ["ip", "netns", "exec", router.namespace, _program(daemon), *options]
    processes.launch(f"{daemon} {router.name}", argv, ROUTERS / router.name / f"{daemon}.log", state.add_process)


def _await_sockets(paths: Iterable[Path]) -> None:
    deadline = time.monotonic() + START_S
    for path in paths:
        while not path.exists():
            if time.monotonic() > deadline:
                log = path.parent.parent / f"{path.stem if path.suffix == '.vty' else 'zebra'}.log"
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
                raise LabFault(f"FRR did not start: {said[0] if said else 'it says nothing'}.", f"See {log}.")
            time.sleep(0.01)


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{PLACES}:{tool_path()}")
    if found is None:
        raise LabFault(f"{name} of FRR is not installed, and routes by BGP need it.", "Install it: apt install frr.")
    return found
