"""What FRR says of itself: a closed table of show commands, asked through ``vtysh`` without a shell.

Nothing here configures, clears or debugs, and no command shows a configuration with its keys.
"""

from __future__ import annotations

import re
import resource
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from perfagent import tools
from perfagent.jobs import bound_child
from perfagent.sockets import canonical
from perfagent.wire import Code, Fault

COMMANDS = {
    "bgp-summary": "show bgp summary json",
    "bgp-neighbor": "show bgp neighbors {peer} json",
    "bgp-advertised": "show bgp ipv4 unicast neighbors {peer} advertised-routes json",
    "bgp-received": "show bgp ipv4 unicast neighbors {peer} received-routes json",
    "bgp-accepted": "show bgp ipv4 unicast neighbors {peer} routes json",
    "bfd-peers": "show bfd peers json",
    "routes": "show ip route json",
}
"""Output → command; ``{peer}`` is the neighbour's IP address."""
LIMIT_BYTES = 4 << 20
"""Of one output; a longer one is cut off and not believed."""
PATIENCE_S = 5.0

_SHOW = re.compile(r"show (?!.*config)[\w .:-]+")
_WORDS = re.compile(r"(?:sudo -n )?(?:\S*/)?vtysh(?: (?:-N|--vty_socket) [\w./-]+)?")


def words(command: str) -> list[str]:
    """The words that start vtysh, e.g. of ``sudo -n vtysh``. Raises Fault(BAD_ARGUMENT) for any other program."""
    if not _WORDS.fullmatch(command):
        raise Fault(Code.BAD_ARGUMENT, f"{command!r:.80} does not start vtysh")
    return shlex.split(command)


def questions(*commands: str) -> list[str]:
    """The words after the program's that ask these. Raises Fault(BAD_ARGUMENT) for whatever does more than show."""
    for command in commands:
        if not _SHOW.fullmatch(command):
            raise Fault(Code.BAD_ARGUMENT, f"{command!r:.80} is no show command, and nothing else is asked here")
    return [word for command in commands for word in ("-c", command)]


def show(folder: Path, command: str, peer: str | None, deadline_s: float) -> dict[str, dict[str, Any]]:
    """Each output as it came, in ``<name>.txt`` of the folder; ``{name: {command, exit_code, cut}}``.

    No peer, no commands about one. Empty where the program is not there. ``exit_code`` is ``None`` for what did not
    end within its time or began after ``deadline_s`` of the monotonic clock.
    """
    program, *options = words(command)
    path = tools.find(program)
    if path is None:
        return {}
    told = {}
    for name, line in COMMANDS.items():
        if peer is None and "{peer}" in line:
            continue
        shown = line.format(peer=peer and canonical(peer))
        told[name] = _ask([path, *options, *questions(shown)], folder / f"{name}.txt", deadline_s)
        told[name]["command"] = shown
    return told


def _ask(argv: list[str], out: Path, deadline_s: float) -> dict[str, Any]:
    bind = bound_child()

    def within_limits() -> None:
        bind()
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))

    code = None
    left_s = min(PATIENCE_S, deadline_s - time.monotonic())
    with out.open("wb") as stream:
        if left_s > 0:
            try:
                process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.DEVNULL, preexec_fn=within_limits
                )
                code = _end_of(process, left_s)
            except OSError:
                code = None
    return {"exit_code": code, "cut": out.stat().st_size >= LIMIT_BYTES}


def _end_of(process: subprocess.Popen[bytes], patience_s: float) -> int | None:
    with process:
        try:
            return process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return None
