"""What an agent on a router asks: the VBR on each VLAN, TCP/179 where nothing stands, and a port's VRF."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from perfagent.jobs import Job
from perfagent.methods import edge, link

PEER = "172.16.100.1"


class Place:
    """As much of a job as is asked for."""

    stop_fd, stopping = -1, False

    def __init__(self, folder: Path) -> None:
        self.folder = folder


class Heard:
    """A wire on which the VBR answers on one VLAN."""

    def __init__(self, *_: Any) -> None:
        self.answers: set[tuple[int, str]] = set()

    def ask(self, vlans: Sequence[int], _patience_s: float, _stop_fd: int) -> None:
        self.answers |= {(100, "02:00:00:00:00:02")} & {(vlan, "02:00:00:00:00:02") for vlan in vlans}

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(("sweep", "asked"), [(True, 3000), (False, 3)])
def test_a_sweep_asks_beside_an_answer_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: bool, asked: int
) -> None:
    """That no other VLAN answers is known of those that were asked."""
    monkeypatch.setattr(link, "Probe", Heard)
    args = {"interface": "wan", "address": PEER, "source": "172.16.100.2", "vlan": 100}
    told = link.tagged(cast(Job, Place(tmp_path)), **args, others=[101], sweep=sweep)  # type: ignore[arg-type]
    assert [each["vlan"] for each in told["answers"]] == [100]
    assert len(told["asked"]) == len(set(told["asked"])) == asked


@pytest.mark.parametrize(
    ("state", "knocked"),
    [
        *(("Idle", True), ("Connect", True), ("Active", True)),
        *(("OpenSent", False), ("OpenConfirm", False), ("Established", False), ("Idle (Admin)", False)),
    ],
)
def test_a_session_that_is_being_opened_is_not_disturbed(tmp_path: Path, state: str, knocked: bool) -> None:
    """A second connection would meet the first one."""
    told = {"ipv4Unicast": {"peers": {PEER: {"state": state}}}}
    (tmp_path / "bgp-summary.txt").write_text(json.dumps(told))
    assert edge._is_down(cast(Job, Place(tmp_path)), PEER) is knocked


class Told(dict[Any, Any]):
    """A link as pyroute2 gives it: what is not there is ``None``."""


def test_a_port_tells_its_vrf() -> None:
    """A master of that kind; a bridge is none."""
    links = {
        1: Told(ifname="cloud") | {("linkinfo", "kind"): "vrf"},
        2: Told(ifname="br0") | {("linkinfo", "kind"): "bridge"},
        3: Told(ifname="wan", master=1),
        4: Told(ifname="lan", master=2),
        5: Told(ifname="eth9"),
    }
    assert [edge._vrf(index, links) for index in (3, 4, 5)] == ["cloud", "", ""]
