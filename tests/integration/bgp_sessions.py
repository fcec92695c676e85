"""BGP of the lab's routers before and after something was measured: do all sessions stand that nobody was to touch?"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfharness.lab import frr, topology
from perfharness.lab.routing import routers
from perfharness.lab.spec import LabSpec
from tests.integration import runs

Sessions = Mapping[str, Mapping[str, Any]]
"""By "router peer"."""
MESSAGES = ("opensSent", "opensRecv", "notificationsSent", "notificationsRecv", "routeRefreshSent", "routeRefreshRecv")
ORDERED_BFD = re.compile(r"^ +bfd: \{.*\}\n", re.MULTILINE)
CLOUD_AS = "      cloud_as: 45104\n"
SLOW_BFD = f"{CLOUD_AS}      bfd: {{tx: 1s, rx: 1s, multiplier: 10}}\n"
"""A machine that is busy with a load must not make a session fail that nobody touched: on two cores that are the hosts'
and the routers' too, 200 ms × 3 would tell of the machine. Whatever of ours touched a session is seen all the same."""


def slow_bfd(order: Path, folder: Path) -> Path:
    """The order, and its companion beside it, with timers that outlast a busy machine; the new file."""
    for path in {order, *order.parent.glob(f"{order.stem}-b.yaml")}:
        text = ORDERED_BFD.sub("", path.read_text(encoding="utf-8"))
        assert text.count(CLOUD_AS) == 1, path
        (folder / path.name).write_text(text.replace(CLOUD_AS, SLOW_BFD), encoding="utf-8")
    return folder / order.name


@dataclass(frozen=True, slots=True)
class Seen:
    """How the routers were at one moment."""

    sessions: Sessions
    configurations: Mapping[str, str]


def see(spec: LabSpec) -> Seen:
    """Of every router of this lab: what no reader changes, and for how long each session has been up."""
    names = sorted(routers(spec, topology.plan(spec)))
    told = {name: frr.ask(name, "show bgp neighbors json") for name in names}
    return Seen(
        {f"{name} {peer}": _session(row) for name in names for peer, row in told[name].items()},
        {name: runs.command(str(frr.vtysh(name)), "-c", "show running-config") for name in names},
    )


def _session(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "bgpState": told["bgpState"],
        "connectionsDropped": told["connectionsDropped"],
        "bgpTimerUpMsec": told.get("bgpTimerUpMsec", 0),  # one that is down has none
        **{name: told["messageStats"][name] for name in MESSAGES},
        "lastResetDueTo": told.get("lastResetDueTo", ""),
    }


def touched(before: Seen, after: Seen) -> list[str]:
    """What did not stand: one sentence for each session that fell or was talked to, and each router that was set."""
    found = [
        f"{name}: {', '.join(wrong)}"
        for name in sorted({*before.sessions, *after.sessions})
        if (wrong := _changed(before.sessions.get(name), after.sessions.get(name)))
    ]
    was, now = before.configurations, after.configurations
    return found + [f"{name}: another configuration" for name in was if was[name] != now.get(name)]


def _changed(was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> Collection[str]:
    if was is None or now is None:
        return ["seen once only"]
    wrong = [f"{name} {was[name]} → {now[name]}" for name in was if name != "bgpTimerUpMsec" and was[name] != now[name]]
    if now["bgpTimerUpMsec"] <= was["bgpTimerUpMsec"]:
        wrong.append("not up for longer than before")
    if was["bgpState"] != frr.ESTABLISHED:
        wrong.append("was never up")
    return wrong
