"""The iperf3 program of this host: where it is, which version, and what that version can do.

Features are read from what the program says, not derived from its version: distributions build differently.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from perfagent import tools
from perfagent.wire import Code, Fault

OLDEST = (3, 7)
"""The first with ``--bidir``; older ones also lack parts of the JSON."""

_OPTIONS = {
    "bidir": "--bidir",
    "connect-timeout": "--connect-timeout",
    "control-keepalive": "--cntl-ka",
    "dont-fragment": "--dont-fragment",
    "gsro": "--gsro",
    "json-stream": "--json-stream",
    "mptcp": "--mptcp",
    "rcv-timeout": "--rcv-timeout",
    "skip-rx-copy": "--skip-rx-copy",
    "snd-timeout": "--snd-timeout",
    "udp-counters-64bit": "--udp-counters-64bit",
}


_MOST_WORDS = 120


class Program(NamedTuple):
    path: str
    version: str
    version_text: str
    features: tuple[str, ...]
    sha256: str


def inspect(name: str) -> Program:
    """Ask the program of this name or path. Raises Fault TOOL_MISSING, TOOL_FAILED, TOOL_TOO_OLD."""
    path = tools.find(name)
    if path is None:
        raise Fault(Code.TOOL_MISSING, f"iperf3 is not on this host: {_absent(name)}")
    said = tools.ask([path, "--version"])
    help_text = said and tools.ask([path, "--help"])
    if said is None or help_text is None:
        raise Fault(Code.TOOL_FAILED, f"{path} does not say which iperf3 it is: it does not start, or does not answer")
    found = re.search(r"\biperf (\d+)\.(\d+)(\.\d+)?\S*", said.text)
    if found is None:
        words = said.text.strip().split("\n", 1)[0][:_MOST_WORDS]
        raise Fault(Code.TOOL_FAILED, f"{path} does not say which iperf3 it is, but {words!r}")
    if (int(found[1]), int(found[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise Fault(Code.TOOL_TOO_OLD, f"{path} is {found[0]}, older than {oldest}")
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    version = found[0].split(None, 1)[1]
    return Program(path, version, said.text.strip(), features(said.text, help_text.text), digest)


def _absent(name: str) -> str:
    """Why there is no such program: a path that leads to something else, or a file that nobody may run."""
    found = Path(name) if "/" in name else Path(tools.find(name, os.F_OK) or name)
    if "/" in name and found.is_dir():
        return f"{name!r} is a folder"
    if found.is_file() and found.is_absolute():
        return f"{str(found)!r} is a file that this user may not execute"
    return f"there is no program {name!r}"


def features(version_text: str, help_text: str) -> tuple[str, ...]:
    """Names of what this build can do; ``threads`` = one for each stream."""
    found = {feature for feature, option in _OPTIONS.items() if re.search(rf"{option}\b", help_text)}
    if "POSIX threads" in version_text:
        found.add("threads")
    if "authentication" in version_text:
        found.add("authentication")
    if re.search(r"\biperf 3\.19(?![.\d])", version_text):
        found.discard("skip-rx-copy")  # it overflows a buffer there (CVE-2025-54351), 3.19.1 does not
    return tuple(sorted(found))
