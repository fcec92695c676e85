"""The optical module in the CE's port: what it tells, and what is made of it."""

from __future__ import annotations

import json
import re
from contextlib import closing
from math import log10
from pathlib import Path
from typing import Any

import pytest

from perfagent.ethtool import Card
from perfharness.routers import parse, sff
from perfharness.routers.state import DARK_DBM, Optics
from tests.unit.edge_files import Judged, Router, netlink, order
from tests.unit.routers import outputs, state

REAL = {"environment: lab": "environment: test"}


def sfp(rx: int = 1500, tx: int = 2750, monitoring: int = 0x68, limits: bool = True) -> bytes:
    """An SFP's pages A0h and A2h (SFF-8472), powers in 0.1 µW."""
    page = bytearray(512)
    page[6], page[92] = 0x02, monitoring
    page[20:36], page[40:56] = b"EXAMPLE".ljust(16), b"EX-LX-10".ljust(16)
    for at, values in ((24, (6310, 891, 5012, 1122)), (32, (6310, 100, 5012, 126))):
        for place, value in enumerate(values if limits else (0, 0, 0, 0)):
            page[256 + at + 2 * place : 256 + at + 2 * place + 2] = value.to_bytes(2, "big")
    page[256 + 102 : 256 + 104], page[256 + 104 : 256 + 106] = tx.to_bytes(2, "big"), rx.to_bytes(2, "big")
    return bytes(page)


def qsfp(rx: tuple[int, ...] = (8000, 8000, 8000, 8000)) -> bytes:
    """A QSFP's lower page and its upper pages 00h to 03h (SFF-8636)."""
    page = bytearray(640)
    page[131], page[220] = 0x02, 0x04
    for lane, power in enumerate(rx):
        page[34 + 2 * lane : 36 + 2 * lane] = power.to_bytes(2, "big")
        page[50 + 2 * lane : 52 + 2 * lane] = (9000).to_bytes(2, "big")
    for at in (560, 576):
        for place, value in enumerate((22387, 427, 20000, 478)):
            page[at + 2 * place : at + 2 * place + 2] = value.to_bytes(2, "big")
    return bytes(page)


def told(kind: int, memory: bytes) -> str:
    return netlink_with({"kind": kind, "memory": memory.hex()})


def netlink_with(optics: dict[str, Any]) -> str:
    return json.dumps({**json.loads(netlink()), "optics": optics})


# --- what modules and routers say -------------------------------------------------------------------


def test_an_sfp_tells_its_light_and_its_own_thresholds() -> None:
    """0.1 µW a count (SFF-8472, table 9-5): 1,500 of them are -8.24 dBm; name, vendor and part number are its own."""
    optics = sff.optics(0x2, sfp())
    assert optics.module == "1000BASE-LX EXAMPLE EX-LX-10"
    rx, tx = optics.lights
    assert (rx.way, rx.dbm, tx.way, tx.dbm) == ("rx", round(10 * log10(0.15), 2), "tx", round(10 * log10(0.275), 2))
    assert (rx.low_alarm, rx.low_warn, rx.high_warn, rx.high_alarm) == (-20.0, -19.0, -3.0, -2.0)
    assert (tx.low_alarm, tx.high_alarm) == (-10.5, -2.0)


def test_a_qsfp_tells_each_lane() -> None:
    """Four lanes, both ways, of which one may be dark: 0 is darker than can be told, and never 0 dBm."""
    optics = sff.optics(0x3, qsfp((8000, 8000, 0, 8000)))
    assert [light.lane for light in optics.lights] == [1, 2, 3, 4, 1, 2, 3, 4]
    assert [light.dbm for light in optics.lights[:4]] == [-0.97, -0.97, DARK_DBM, -0.97]
    assert optics.module == "40GBASE-LR4"


@pytest.mark.parametrize(
    ("kind", "memory", "says"),
    [
        (0x2, sfp(monitoring=0), "no digital monitoring"),
        (0x1, sfp()[:256], "no digital monitoring"),
        (0x2, sfp(monitoring=0x58), "calibrated externally"),
        (0x3, qsfp()[:256], "no thresholds of its own"),
        (0x9, b"", "kind 9, 0 bytes"),
    ],
)
def test_a_module_that_tells_no_light_says_why(kind: int, memory: bytes, says: str) -> None:
    """Absent is not zero."""
    optics = sff.optics(kind, memory)
    assert optics.lights == () and says in optics.reason


def test_thresholds_that_nobody_set_are_none() -> None:
    """Makers leave them 0; that is no range in which every light would be too bright."""
    assert {light.low_alarm for light in sff.optics(0x2, sfp(limits=False)).lights} == {None}


def test_vendors_tell_light() -> None:
    """IOS by a table for each quantity, VRP by a row for each direction, by lines, or within `display interface`."""
    ios = state("cisco_ios").optics
    assert ios is not None and ios.module == "LX"
    assert [(light.way, light.dbm, light.low_alarm, light.low_warn) for light in ios.lights] == [
        ("tx", -5.6, -10.5, -9.5),
        ("rx", -8.2, -20.0, -19.0),
    ]
    expected = {"rx": (-8.25, -19.99, -2.0), "tx": (-5.64, -10.5, -2.0)}
    short = "Rx Power:  -8.25dBm, Warning range: [-19.99,  -2.00]dBm\n"
    short += "Tx Power:  -5.64dBm, Warning range: [-10.50,  -2.00]dBm\n"
    whole = outputs("huawei_vrp")
    for told in (
        whole,
        {name: text for name, text in whole.items() if name != "optics-levels"},
        {"optics-port": whole["interfaces"].replace("Mdi   :", f"{short}Mdi   :")},
    ):
        optics = parse("huawei_vrp", told).optics
        assert optics is not None
        assert {light.way: (light.dbm, light.low_alarm, light.high_alarm) for light in optics.lights} == expected


def test_lanes_and_flags_of_vendors() -> None:
    """IOS has a column for the lane and a flag behind a reading that is out of range; VRP a line more for each lane."""
    text = outputs("cisco_ios")["optics"]
    rows = (
        "Te1/1/1   1  -8.2           -2.0  -3.0  -19.0  -20.0\nTe1/1/1   2  -25.1  --      -2.0  -3.0  -19.0  -20.0\n"
    )
    rows += "Te1/1/1   3  N/A            -2.0  -3.0  -19.0  -20.0\n"
    head, _, _ = text.rpartition("Gi0/0/1")
    optics = state("cisco_ios", optics=head + rows).optics
    assert optics is not None
    assert [(light.lane, light.dbm) for light in optics.lights if light.way == "rx"] == [(1, -8.2), (2, -25.1)]
    lanes = "RxPower(dBm)    -8.64 (lane0)  -19.00        -2.00        abnormal\n                -40.00(lane1)\n"
    levels = outputs("huawei_vrp")["optics-levels"]
    row = next(line for line in levels.splitlines(keepends=True) if line.startswith("RxPower"))
    optics = state("huawei_vrp", optics_levels=levels.replace(row, lanes)).optics
    assert optics is not None
    assert [(light.lane, light.dbm) for light in optics.lights if light.way == "rx"] == [(1, -8.64), (2, -40.0)]


def test_a_port_without_a_module_tells_why() -> None:
    """Not a reading, and not the same as a command that the router does not have."""
    bare = state("huawei_vrp", optics="Digital Diagnostic Monitoring  :NO\n", optics_levels="").optics
    assert bare is not None and bare.lights == () and "no digital monitoring" in bare.reason
    missing = state("cisco_ios", optics="Transceiver is not present.\n").optics
    assert missing == Optics(None, (), "it tells no optical power of this port")
    assert parse("cisco_ios", {}).optics is None


def test_the_agent_tells_why_a_port_has_no_module() -> None:
    """The loopback has none, and what is not there has none either: a reason, and no bytes."""
    for interface, says in (
        ("lo", "tells of no optical module|needs root"),
        ("no-such-port", "no such interface|needs root"),
    ):
        with closing(Card(interface)) as card:
            told = card.module()
        assert set(told) == {"reason"} and re.search(says, told["reason"])


# --- what is judged -----------------------------------------------------------------------------------


def judged(folder: Path, optics: dict[str, Any] | None, **changed: str) -> Judged:
    router = Router()
    router.outputs["netlink"] = netlink() if optics is None else netlink_with(optics)
    return Judged(folder, router, circuit=order(folder, **(REAL | changed)))


def test_light_within_the_modules_own_thresholds_passes(tmp_path: Path) -> None:
    """Alarms decide, warnings warn, and the report tells every reading."""
    run = judged(tmp_path, {"kind": 2, "memory": sfp().hex()})
    names = ("light", "light_warning", "module_fits")
    assert [run.verdict(f"portspec.{name}") for name in names] == ["PASS"] * 3
    light = run.finding("portspec.light")
    assert light.mandatory and light.checklist == ("EC-012",)
    assert light.value == pytest.approx(-2.0 - -5.61) and light.interval is not None
    assert "received -8.24 dBm, sent -5.61 dBm" in light.reason


@pytest.mark.parametrize(
    ("rx", "alarm", "warning"),
    [(110, "PASS", "WARN"), (50, "FAIL", "WARN"), (0, "FAIL", "WARN"), (100, "INCONCLUSIVE", "WARN")],
)
def test_light_beyond_them_does_not(tmp_path: Path, rx: int, alarm: str, warning: str) -> None:
    """Between warning and alarm it warns; beyond the alarm it fails; on the threshold itself the last digit leaves it
    open."""
    run = judged(tmp_path, {"kind": 2, "memory": sfp(rx=rx).hex()})
    assert (run.verdict("portspec.light"), run.verdict("portspec.light_warning")) == (alarm, warning)


@pytest.mark.parametrize(
    ("optics", "says"),
    [
        (None, "does not tell of an optical module"),
        ({"reason": "reading its module needs root or CAP_NET_ADMIN there"}, "needs root or CAP_NET_ADMIN"),
        ({"kind": 2, "memory": sfp(monitoring=0).hex()}, "no digital monitoring"),
        ({"kind": 2, "memory": sfp(limits=False).hex()}, "tells no thresholds of alarm"),
    ],
)
def test_light_that_is_not_read_is_not_measured(tmp_path: Path, optics: dict[str, Any] | None, says: str) -> None:
    """Never a pass: what the module or the router does not tell leaves the run undecided, and says why."""
    run = judged(tmp_path, optics)
    assert run.verdict("portspec.light") == "NOT_RUN"
    assert says in run.finding("portspec.light").reason
    assert run.finding("portspec.light").mandatory


def test_lanes_that_are_not_used_are_not_dark(tmp_path: Path) -> None:
    """A module of one wavelength in a port of four lanes leaves three without light both ways; one that sends and
    receives nothing is broken."""
    one = bytearray(qsfp((8000, 0, 0, 0)))
    one[52:58] = bytes(6)
    run = judged(tmp_path, {"kind": 3, "memory": one.hex()})
    assert run.verdict("portspec.light") == "PASS"
    assert "Lanes 2, 3, 4 are not used." in run.finding("portspec.light").reason
    (tmp_path / "broken").mkdir()
    assert (
        judged(tmp_path / "broken", {"kind": 3, "memory": qsfp((8000, 0, 0, 0)).hex()}).verdict("portspec.light")
        == "FAIL"
    )


def test_copper_has_no_light(tmp_path: Path) -> None:
    """Of a port that was ordered without optics nothing is asked."""
    run = judged(tmp_path, None, **{"1000Base-LX": "1000Base-T"})
    assert run.verdict("portspec.light") == "NOT_APPLICABLE"
    assert not run.finding("portspec.light").mandatory


def test_a_module_of_another_reach_warns(tmp_path: Path) -> None:
    """Short-range optics on a long-range port; both are named."""
    memory = bytearray(sfp())
    memory[6] = 0x01
    run = judged(tmp_path, {"kind": 2, "memory": memory.hex()})
    assert run.verdict("portspec.module_fits") == "WARN"
    assert "The module is 1000BASE-SX" in run.finding("portspec.module_fits").reason


def test_a_port_that_is_down_tells_its_light(tmp_path: Path) -> None:
    """No light that comes, while ours goes out, points at fibre and far end."""
    told_down = json.loads(netlink(carrier=False))
    router = Router()
    router.outputs["netlink"] = json.dumps({**told_down, "optics": {"kind": 2, "memory": sfp(rx=0).hex()}})
    run = Judged(tmp_path, router, circuit=order(tmp_path, **REAL))
    assert any("received no light, sent -5.61 dBm" in line for line in run.causes["link-down"].because)
