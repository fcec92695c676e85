"""Outputs of show commands → one state of a router, whoever made it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from perfagent import vtysh
from perfagent.methods import watch
from perfagent.wire import Fault
from perfharness import routers
from perfharness.routers import PLATFORMS, frr
from perfharness.routers.state import BfdPeer, Hop, Route, RouterState
from perfharness.routers.tables import duration_s
from tests.unit.routers import outputs, state

VBR = "172.16.100.1"


def test_frr_tells_its_session() -> None:
    """State, uptime, how often it came up, limits, and the prefixes of both directions."""
    session = state("frr").session(VBR)
    assert session is not None
    assert (session.local_as, session.remote_as, session.state) == (65010, 45104, "Established")
    assert (session.uptime_s, session.established, session.prefix_limit) == (8.0, 1, 100)
    assert (session.sent, session.received, session.accepted) == (
        ("10.10.0.0/16",),
        ("192.168.0.0/16",),
        ("192.168.0.0/16",),
    )


def test_what_a_peer_ignores_as_its_own_is_not_announced_to_it() -> None:
    """FRR writes a route back to where it came from; with the peer's AS in its path nobody takes it."""
    assert '"192.168.0.0/16"' in outputs("frr")["bgp-advertised"]
    session = state("frr").session(VBR)
    assert session is not None and session.sent == ("10.10.0.0/16",)


def test_frr_tells_who_has_another_as() -> None:
    """The notification's code and words, and no uptime where the session never stood."""
    session = state("frr-other-as", "frr").session(VBR)
    assert session is not None
    assert (session.state, session.uptime_s, session.established) == ("Idle", None, 0)
    assert session.notification == "2/2 OPEN Message Error/Bad Peer AS"


def test_frr_tells_bfd_and_routes() -> None:
    """Timers of the session, and each selected route with its next hop."""
    told = state("frr")
    assert told.bfd_with(VBR) == BfdPeer(VBR, "up", 300, 300, 3, 3, 300, 300)
    assert Route("192.168.0.0/16", "bgp", (Hop(VBR, "wan"),)) in (told.routes or ())
    assert told.ways_to("192.168.10.10") == (Hop(VBR, "wan"),)
    assert told.ways_to("8.8.8.8") == ()


@pytest.mark.parametrize("text", ["", "% BGP instance not found", "[]", "{}", '{"ipv4Unicast": 3}', "[" * 100_000])
def test_a_daemon_that_is_not_there_tells_nothing(text: str) -> None:
    """Prose, or JSON of another shape, is no session, and no crash."""
    told = routers.parse("frr", dict.fromkeys(frr.OUTPUTS, text))
    assert told.session(VBR) is None
    assert told.bfd in (None, ())


def test_nothing_asked_is_nothing_told() -> None:
    """Absent is not zero: each table is None, not empty."""
    for platform in PLATFORMS:
        assert routers.parse(platform, {}) == RouterState()


def test_ios_is_read() -> None:
    """Interfaces with counters, the VLAN of a sub-interface, routes, session, prefixes, BFD in ms."""
    told = state("cisco_ios")
    wan, on_vlan = told.interface("GigabitEthernet0/0/1"), told.holder("172.16.100.2")
    assert wan is not None and on_vlan is not None
    assert (wan.carrier, wan.speed_bps, wan.duplex, wan.mtu) == (True, 10**9, "full", 1500)
    assert (wan.frames_in, wan.damaged, wan.discards, wan.vlan) == (5_000_000, 12, 7, None)
    assert (on_vlan.name, on_vlan.vlan) == ("GigabitEthernet0/0/1.100", 100)
    session = told.session(VBR)
    assert session is not None
    assert (session.local_as, session.remote_as, session.state) == (65010, 45104, "Established")
    assert (session.uptime_s, session.established, session.prefix_limit, session.md5) == (93_600.0, 3, 100, True)
    assert (session.sent, session.received, session.learned) == (("10.10.0.0/16",), None, ("192.168.0.0/16",))
    assert told.bfd_with(VBR) == BfdPeer(VBR, "up", 1000, 1000, 3, 3)
    assert told.ways_to("192.168.10.10") == (Hop(VBR, None),)
    assert next(each for each in told.neighbours or () if each.address == "10.10.255.250").answered is False


def test_ios_down_and_classful() -> None:
    """A session that another AS number ended; a network without mask has that of its class."""
    text = outputs("cisco_ios")["bgp-neighbor"]
    text = text.replace("Established, up for 1d02h", "Idle").replace(
        "due to BFD adjacency down of session 1", "due to BGP Notification received of session 1, peer in wrong AS"
    )
    table = outputs("cisco_ios")["bgp-accepted"].replace("192.168.0.0/16   172", "10.0.0.0         172")
    session = state("cisco_ios", bgp_neighbor=text, bgp_accepted=table).session(VBR)
    assert session is not None
    assert (session.state, session.uptime_s, session.notification) == ("Idle", None, "2/2 peer in wrong AS")
    assert session.accepted == ("10.0.0.0/8",)


def test_ios_without_bgp() -> None:
    """No session is not the same as not told."""
    assert state("cisco_ios", bgp_summary="% BGP not active\n").bgp == ()
    assert state("cisco_ios", bgp_summary="garbage", bgp_neighbor="garbage").bgp is None


def test_huawei_is_read() -> None:
    """Interfaces with counters, the tag with which ARP is answered, the session with both its tables, and BFD."""
    told = state("huawei_vrp")
    wan, session = told.interface("GigabitEthernet0/0/1"), told.session(VBR)
    assert wan is not None and session is not None
    assert (wan.carrier, wan.speed_bps, wan.duplex, wan.autoneg) == (True, 10**9, "full", False)
    assert (wan.frames_in, wan.damaged, wan.discards) == (5_000_000, 9, 2)
    assert (session.state, session.uptime_s, session.accepted_count) == ("Established", 94_320.0, 1)
    assert (session.sent, session.received, session.learned) == (
        ("10.10.0.0/16",),
        ("192.168.0.0/16",),
        ("192.168.0.0/16",),
    )
    assert (session.established, session.prefix_limit, session.filters, session.md5) == (3, 100, (True, False), True)
    assert session.notification is None, "it came up since"
    assert session.last_reset == "Send Notification, 4/0 Hold Timer Expired, Unspecific"
    assert told.holder("172.16.100.2") == told.interface("GigabitEthernet0/0/1.100")
    assert told.interface("GigabitEthernet0/0/1.100").vlan == 100
    assert told.bfd_with(VBR) == BfdPeer(VBR, "up", 1000, 1000, 3, 5)
    assert told.ways_to("192.168.10.10") == (Hop(VBR, "GigabitEthernet0/0/1.100"),)


def test_junos_is_read() -> None:
    """By its JSON: the port and its units with their tags, routes, both tables of the session, BFD in ms."""
    told = state("juniper_junos")
    wan, on_vlan, session = told.interface("xe-0/0/0"), told.holder("172.16.100.2"), told.session(VBR)
    assert wan is not None and on_vlan is not None and session is not None
    assert (wan.carrier, wan.speed_bps, wan.duplex, wan.autoneg, wan.mtu) == (True, 10**10, "full", False, None)
    assert (wan.frames_in, wan.damaged, wan.discards, wan.carrier_changes) == (5_000_000, 9, 5, 5)
    assert (on_vlan.name, on_vlan.vlan, on_vlan.mtu) == ("xe-0/0/0.100", 100, 1500)
    assert (session.local_as, session.remote_as, session.state, session.uptime_s) == (
        65010,
        45104,
        "Established",
        93600.0,
    )
    assert (session.established, session.md5) == (3, True)
    assert (session.sent, session.learned) == (("10.10.0.0/16",), ("192.168.0.0/16",))
    assert told.bfd_with(VBR) == BfdPeer(VBR, "up", 1000, 1000, 3)
    assert told.ways_to("192.168.10.10") == (Hop(VBR, "xe-0/0/0.100"),)
    assert told.optics is not None
    assert [(light.way, light.dbm, light.low_alarm, light.low_warn) for light in told.optics.lights] == [
        ("rx", -6.9, -18.39, -14.4),
        ("tx", -2.5, -12.2, -8.2),
    ]


def test_junos_in_the_dark_and_without_bgp() -> None:
    """No light is written as a word; a router that runs no BGP has no session, and a garbled one tells of none."""
    dark = outputs("juniper_junos")["optics"].replace('"-6.90"', '"- Inf"')
    optics = state("juniper_junos", optics=dark).optics
    assert optics is not None and optics.lights[0].dbm == -40.0
    assert state("juniper_junos", bgp_summary="BGP is not running\n").bgp == ()
    assert state("juniper_junos", bgp_summary='{"bgp-information": 3}').bgp is None
    assert state("juniper_junos", bgp_summary="[1, 2").bgp is None


def test_a_table_of_huawei_that_is_empty_is_not_one_that_is_untold() -> None:
    """No line at all is an empty table; prose, or a count without its rows, tells nothing; a route that a policy
    refused has no flag and does not count; old releases leave out the mask of a class."""
    table = outputs("huawei_vrp")["bgp-received"]
    cases = {
        "": (),
        "Error: The peer does not exist.\n": None,
        " Total Number of Routes: 0\n": (),
        " Total Number of Routes: 7\n": None,
        table.replace(" *>  ", "     "): None,
        table.replace("192.168.0.0/16 ", "10.0.0.0       "): ("10.0.0.0/8",),
    }
    for text, prefixes in cases.items():
        session = state("huawei_vrp", bgp_received=text).session(VBR)
        assert session is not None and session.received == prefixes, text


def test_only_the_newest_notification_of_huawei_is_one() -> None:
    """What the log has of years ago says nothing of today, in whatever order it is written."""
    up, down = outputs("huawei_vrp")["bgp-log"].split("\n\n")
    for log, told in (
        (f"{up}\n\n{down}", None),
        (f"{down}\n\n{up}", None),
        (f"{down.replace('11/22 07:58', '11/23 07:58')}\n\n{up}", "4/0 Hold Timer Expired, Unspecific"),
        ("", None),
    ):
        session = state("huawei_vrp", bgp_log=log).session(VBR)
        assert session is not None and session.notification == told


def test_why_a_session_stays_idle() -> None:
    """Switched off, or over its limit: IOS writes it into a line of its own, VRP beside the state."""
    idle = outputs("cisco_ios")["bgp-neighbor"].replace("Established, up for 1d02h", "Idle\n  {}")
    off, over = "Administratively shut down", "Peer had exceeded the max. no. of prefixes configured."
    summary = outputs("huawei_vrp")["bgp-summary"]
    for told, says in (
        (state("cisco_ios", bgp_neighbor=idle.replace("{}", off)), "Idle (Admin)"),
        (state("cisco_ios", bgp_neighbor=idle.replace("{}", over)), "Idle (PfxCt)"),
        (state("cisco_ios", bgp_neighbor=idle.replace("{}", "")), "Idle"),
        (state("huawei_vrp", bgp_summary=summary.replace("Established", "Idle(Admin)")), "Idle (Admin)"),
    ):
        session = told.session(VBR)
        assert session is not None and session.state == says


def test_huawei_without_bfd() -> None:
    """That there is none is said in prose, and is not the same as an answer that nobody understands."""
    for text in ("Info: No session.\n", "Error: Please enable BFD in the global mode first.\n"):
        assert state("huawei_vrp", bfd_peers=text).bfd == ()
    assert state("huawei_vrp", bfd_peers="garbage").bfd is None


def test_an_interface_that_no_template_knows_hides_no_other() -> None:
    """Models print lines of their own; the port towards the circuit is still read."""
    odd = "GigabitEthernet0/0/7 current state : UP\nSomething nobody has seen before\n"
    told = state("huawei_vrp", interfaces=odd + outputs("huawei_vrp")["interfaces"])
    assert told.interface("GigabitEthernet0/0/1") is not None


def test_what_filters_a_session_has() -> None:
    """IOS and VRP name those that there are; of FRR a policy's name is a key of its JSON."""
    text = outputs("cisco_ios")["bgp-neighbor"].replace(
        "  Maximum prefixes", "  Incoming update prefix filter list is FROM-VBR\n  Maximum prefixes"
    )
    told = outputs("frr")["bgp-neighbor"].replace(
        '"prefixAllowedMax"', '"routeMapForOutgoingAdvertisements":"TO-CLOUD","prefixAllowedMax"'
    )
    for told_state, filters in (
        (state("cisco_ios", bgp_neighbor=text), (True, False)),
        (state("cisco_ios"), (False, False)),
        (state("frr", bgp_neighbor=told), (False, True)),
        (
            state("huawei_vrp", bgp_neighbor="BGP Peer is 172.16.100.1,\n No routing policy is configured\n"),
            (False, False),
        ),
    ):
        session = told_state.session(VBR)
        assert session is not None and session.filters == filters


@pytest.mark.parametrize("platform", ["cisco_ios", "huawei_vrp", "juniper_junos"])
def test_any_text_is_survived(platform: str) -> None:
    """What a router prints in place of an answer tells nothing."""
    for text in ("% Invalid input detected at '^' marker.", "\x00\xff", "a\n" * 1000):
        told = routers.parse(platform, dict.fromkeys(PLATFORMS[platform].commands, text))
        assert told.session(VBR) is None


def test_commands_only_look() -> None:
    """Every command of every platform, FRR's on the agent's side too, shows and does nothing else."""
    asked = [command for platform in PLATFORMS.values() for command in platform.commands.values()]
    for command in [*asked, *vtysh.COMMANDS.values(), *watch.FIRST, *watch.ASK]:
        assert re.fullmatch(r"(show|display) [\w {}.-]+( \| display json)?", command)
        assert "config" not in command


def test_the_agent_asks_what_is_read_here() -> None:
    """Both sides name the outputs of FRR alike."""
    assert tuple(vtysh.COMMANDS) == frr.OUTPUTS


@pytest.mark.parametrize("command", ["vtysh", "sudo -n vtysh", "/usr/bin/vtysh -N ce-a", "vtysh --vty_socket /run/x"])
def test_how_vtysh_is_started(command: str) -> None:
    """By name or path, with sudo, in a path space."""
    assert vtysh.words(command) == command.split()


@pytest.mark.parametrize("command", ["sh", "vtysh; reboot", "vtysh -c 'conf t'", "sudo vtysh", "vtysh && x", ""])
def test_nothing_else_is_started(command: str) -> None:
    """No other program, no command of its own, no shell."""
    with pytest.raises(Fault):
        vtysh.words(command)


@pytest.mark.parametrize(
    "command",
    [
        *("configure terminal", "clear bgp *", "write memory", "debug bgp updates", "no router bgp", "", "show"),
        *(" show ip route", "show ip route\nclear bgp *", "show bgp summary; clear bgp *", "show ip route | x"),
        "show running-config",
    ],
)
def test_nothing_but_show_is_asked_of_frr(command: str) -> None:
    """Whoever asks: vtysh gets its words from one function, and that refuses all else."""
    assert vtysh.questions(*watch.FIRST)[:2] == ["-c", watch.FIRST[0]]
    with pytest.raises(Fault, match="is no show command"):
        vtysh.questions("show bgp summary json", command)


def test_vtysh_is_started_nowhere_else() -> None:
    """Its questions are made in one module of the agent; who else names it takes them from there."""
    agent = Path(vtysh.__file__).parent
    others = {path.name: path.read_text() for path in agent.rglob("*.py") if path.name != "vtysh.py"}
    naming = {name for name, text in others.items() if "vtysh" in text}
    assert naming == {"edge.py", "watch.py"}
    assert not [name for name in naming if '"-c"' in others[name]]


def test_a_program_that_hangs_or_floods_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says too much is cut off and marked, one that does not end is ended; both are told."""
    program = tmp_path / "vtysh"
    program.write_text("#!/bin/sh\ncase $2 in *summary*) yes;; *bfd*) sleep 60;; *) echo '{}';; esac\n")
    program.chmod(0o755)
    monkeypatch.setattr(vtysh, "PATIENCE_S", 0.5)
    monkeypatch.setattr(vtysh, "LIMIT_BYTES", 100_000)
    told = vtysh.show(tmp_path, str(program), None, time.monotonic() + 60)
    assert (told["bgp-summary"]["cut"], (tmp_path / "bgp-summary.txt").stat().st_size) == (True, 100_000)
    assert told["bfd-peers"]["exit_code"] is None
    assert (told["routes"]["exit_code"], (tmp_path / "routes.txt").read_text()) == (0, "{}\n")
    assert "bgp-neighbor" not in told


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:12:31", 751.0),
        ("1d02h", 93_600.0),
        ("2w3d", 1_468_800.0),
        ("0026h12m", 94_320.0),
        ("never", None),
        ("", None),
    ],
)
def test_durations_as_routers_write_them(text: str, seconds: float | None) -> None:
    """Clock, days and weeks; ``never`` is no time."""
    assert duration_s(text) == seconds
