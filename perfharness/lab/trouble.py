"""What can be wrong with a host: each begins, and is undone, also when the one who began it has gone.

``with slow_nic(end, rate_bps): …``, or ``begin`` now and ``undo`` by another command.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import perfharness
from perfharness.errors import LabFault
from perfharness.lab import capped, hosts, namespaces, processes, shaping, state, topology
from perfharness.lab.filters import Filter
from perfharness.lab.spec import LabSpec
from perfharness.lab.state import FOLDER
from perfharness.lab.topology import End

HOG = "perfharness.lab.hog"
HOG_SECONDS = 900
"""A hog ends by itself, if nobody ends it."""
MOST_SHARE = 0.9
"""The kernel takes 5 % of each second from real-time processes."""
START_S = 5.0
TCP_BYTES = 212_992
"""What Linux gives a socket that asks for nothing (``net.core.rmem_default``)."""
TCP_RMEM = "/proc/sys/net/ipv4/tcp_rmem"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Raises LabFault where it cannot be made; undoing what never began does nothing."""

    begin: Callable[[], None]
    undo: Callable[[], None]
    filters: tuple[Filter, ...] = ()
    """What counts, while it is on."""

    def __enter__(self) -> None:
        self.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


NOTHING = Trouble(lambda: None, lambda: None)
"""Of a fault that is made in no host and no router."""


def together(*troubles: Trouble) -> Trouble:
    """Begun one after the other, and undone in the opposite order."""

    def begin() -> None:
        for each in troubles:
            each.begin()

    def undo() -> None:
        for each in reversed(troubles):
            each.undo()

    return Trouble(begin, undo, tuple(table for each in troubles for table in each.filters))


def filtered(*filters: Filter) -> Trouble:
    """The packet filter of routers and hosts does it."""
    return together(*(Trouble(table.begin, table.undo, (table,)) for table in filters))


def slow_nic(end: End, rate_bps: int) -> Trouble:
    """The host's own interface sends at this rate only (L2); 50 ms may wait there. What it receives is not touched."""
    spec = LabSpec(vlan=0, rate_bps=rate_bps)
    return Trouble(lambda: shaping.shape(end, spec), lambda: shaping.free(end))


def busy_cpu(namespace: str, share: float) -> Trouble:
    """On each processor a hog that takes this share (0 to 0.9) of every 20 ms, for 15 minutes at most.

    It has the lowest real-time priority: what it takes, no ordinary process gets; the wire and probers of a higher
    priority do. The lab's hosts share the processors of this machine: the other hosts, the coordinator, and what the
    kernel leaves to its own threads lose as much. The hogs live in the namespace and end with it.
    Raises LabFault for another share.
    """
    if not 0 < share <= MOST_SHARE:
        raise LabFault(f"A hog cannot take {share:g} of a CPU.", f"Choose a share above 0, up to {MOST_SHARE:g}.")

    def begin() -> None:
        hog = [sys.executable, "-m", HOG, str(share), str(HOG_SECONDS)]
        home = str(Path(perfharness.__file__).parent.parent)
        argv = ["ip", "netns", "exec", namespace, *hog]
        log = FOLDER / "hog.log"
        process = processes.launch("hog", argv, log, lambda _: None, {"PYTHONPATH": home})
        deadline = time.monotonic() + START_S
        while process.pid not in namespaces.members(namespace):  # before that, undoing would not find it
            if not process.alive or time.monotonic() > deadline:
                raise LabFault(
                    f"The hog did not start: {log.read_text(encoding='utf-8').strip() or 'it says nothing'}."
                )
            time.sleep(0.01)

    def undo() -> None:
        found = (processes.identify("hog", pid) for pid in namespaces.members(namespace) if HOG in _words(pid))
        processes.end((process for process in found if process), grace_s=1.0)

    return Trouble(begin, undo)


def small_buffers(end: End, alias: str) -> Trouble:
    """Programs of sessions that begin from now on get no larger receive buffer than one that asks for nothing.

    That is 208 KiB, some 90 packets of full size: 1 ms at 1 Gbit/s. ``net.core.rmem_max`` would do that, but it is one
    value for all namespaces. So a filter on system calls (``capped``) stands before each session of this sshd:
    SO_RCVBUF changes nothing, as beyond ``rmem_max``, and SO_RCVBUFFORCE is not permitted. TCP, which sizes buffers
    by itself, is held to the same by the namespace's own ``tcp_rmem``. ``rmem_max`` reads as it did before.
    """
    config = FOLDER / f"sshd_{alias}.conf"
    line = f'ForceCommand "{sys.executable}" -IS "{capped.__file__}"\n'

    def configure(text: str, limits: str) -> None:
        with namespaces.entered(end.namespace):
            Path(TCP_RMEM).write_text(limits, encoding="ascii")
        if text != config.read_text(encoding="utf-8"):
            state.write_text(config, text)
            _restart(alias)

    def begin() -> None:
        least, usual, _ = _tcp_rmem().split()
        healthy = config.read_text(encoding="utf-8").replace(line, "")
        configure(healthy + line, f"{least} {min(int(usual), TCP_BYTES)} {TCP_BYTES}")

    def undo() -> None:
        configure(config.read_text(encoding="utf-8").replace(line, ""), _tcp_rmem())

    return Trouble(begin, undo)


def _tcp_rmem() -> str:
    """Of a namespace of the lab that no fault is made in."""
    with namespaces.entered(topology.CORE):
        return Path(TCP_RMEM).read_text(encoding="ascii")


def _restart(alias: str) -> None:
    """The sshd reads its configuration again; sessions go on. Raises LabFault if it does not listen in time."""
    current = state.load()
    sshd = next((p for p in current.processes if p.name == f"sshd {alias}"), None) if current else None
    log = FOLDER / f"sshd_{alias}.log"
    before = log.read_text(encoding="utf-8").count(hosts.LISTENING) if sshd else 0
    if sshd is None or not sshd.signal(signal.SIGHUP):
        raise LabFault(f"The sshd of {alias} has gone.", "Bring the lab up again.")
    deadline = time.monotonic() + START_S
    while log.read_text(encoding="utf-8").count(hosts.LISTENING) == before:
        if time.monotonic() > deadline:
            raise LabFault(f"The sshd of {alias} did not start again.", f"See {log}.")
        time.sleep(0.01)


def _words(pid: int) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except OSError:  # it has ended
        return []
