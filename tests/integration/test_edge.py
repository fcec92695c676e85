"""The agent on a router with real FRR, and ARP on VLANs, in two namespaces of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfharness import routers
from perfharness.routers import RouterState
from tests.integration.namespaces import Running

CE, VBR = "pt-edge-ce", "pt-edge-vbr"
OWN, PEER = "172.31.255.2", "172.31.255.1"
DAEMONS = ("zebra", "staticd", "bgpd", "bfdd")
CONFIG = """\
router bgp {own_as}
 bgp router-id {own}
 no bgp ebgp-requires-policy
 neighbor {peer} remote-as {peer_as}
 neighbor {peer} timers 1 3
 neighbor {peer} timers connect 1
 neighbor {peer} bfd
 address-family ipv4 unicast
  network {network}
  neighbor {peer} soft-reconfiguration inbound
 exit-address-family
ip route {network} blackhole
"""


class Edge:
    """A CE and a VBR on one link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pids: list[int] = []
        for name in (CE, VBR):
            _ip("netns", "add", name)
        _ip("-n", CE, "link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", VBR)
        for name, address in ((CE, OWN), (VBR, PEER)):
            _ip("-n", name, "addr", "add", f"{address}/30", "dev", "wan")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", "wan", "up")

    def close(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGTERM)
        for name in (CE, VBR):
            _ip("netns", "del", name)

    def speak(self, name: str, **words: Any) -> None:
        """Start FRR in a namespace, its sockets in a folder of its own."""
        here = self.folder / name
        here.mkdir(mode=0o755)
        (here / "frr.conf").write_text(CONFIG.format(**words))
        subprocess.run(["chown", "-R", "frr:frr", here], check=True)
        for daemon in DAEMONS:
            pid = here / f"{daemon}.pid"
            more = ["--bfdctl", f"{here}/bfdd.ctl"] if daemon == "bfdd" else []
            own = ["-z", f"{here}/zserv", "--vty_socket", str(here), "-i", str(pid), "-f", f"{here}/frr.conf", *more]
            command = ["ip", "netns", "exec", name, f"/usr/lib/frr/{daemon}", "-d", *own]
            subprocess.run(command, check=True, capture_output=True)
            self.pids.append(int(pid.read_text()))

    def job(self, method: str, **args: Any) -> tuple[Path, dict[str, Any]]:
        """Run one on the CE: its folder, and what it found."""
        running = Running(CE, self.folder / "jobs" / f"job-{time.monotonic_ns()}", method, args)
        return running.folder, running.data()

    def read(self, **args: Any) -> tuple[RouterState, dict[str, Any]]:
        vtysh = f"vtysh --vty_socket {self.folder / CE}"
        given = {"interfaces": ["wan"], "targets": [PEER, "198.51.100.1"], "peer": PEER, "source": OWN, "knock": True}
        folder, data = self.job("edge.read", vtysh_command=vtysh, **{**given, **args})
        texts = {path.stem: path.read_text() for path in folder.glob("*.txt")}
        return routers.parse("linux", texts), data


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)  # FRR's daemons are users of their own
    made = Edge(tmp_path)
    yield made
    made.close()


def test_frr_is_read_and_left_alone(edge: Edge) -> None:
    """State, prefixes, BFD and routes of a session that stands, and it stands on after that."""
    edge.speak(CE, own_as=65010, own=OWN, peer=PEER, peer_as=45104, network="10.10.0.0/16")
    edge.speak(VBR, own_as=45104, own=PEER, peer=OWN, peer_as=65010, network="192.168.0.0/16")
    until = time.monotonic() + 30
    while True:
        state, data = edge.read()
        session = state.session(PEER)
        if (session is not None and session.learned and session.sent) or time.monotonic() > until:
            break
    assert session is not None
    assert (session.state, session.local_as, session.remote_as) == ("Established", 65010, 45104)
    assert (session.sent, session.accepted) == (("10.10.0.0/16",), ("192.168.0.0/16",))
    assert data["port"] is None, "TCP/179 is not tried while the session stands"
    assert state.bfd_with(PEER) is not None
    assert [hop.gateway for hop in state.ways_to("192.168.10.10") or ()] == [PEER]
    wan = state.holder(OWN)
    assert wan is not None and (wan.name, wan.carrier, wan.mtu, wan.driver) == ("wan", True, 1500, "veth")
    assert state.lookups["198.51.100.1"] is None
    again, _ = edge.read()
    later = again.session(PEER)
    assert later is not None and (later.state, later.established) == ("Established", session.established)


def test_a_session_that_is_down_is_knocked_for(edge: Edge) -> None:
    """Nobody listens at the other end: refused, and the session's own state is told."""
    edge.speak(CE, own_as=65010, own=OWN, peer=PEER, peer_as=45104, network="10.10.0.0/16")
    state, data = edge.read()
    session = state.session(PEER)
    assert session is not None and session.state != "Established"
    assert data["port"] == "refused"
    assert edge.read(knock=False)[1]["port"] is None


def test_an_answer_on_another_vlan_is_heard(edge: Edge) -> None:
    """Asked on 100 and answered on 200 alone, as the VBR's own stack hears no tag here; untagged it answers itself."""
    responder = subprocess.Popen(
        ["ip", "netns", "exec", VBR, sys.executable, "-c", _RESPONDER, PEER], stdout=subprocess.PIPE
    )
    try:
        assert responder.stdout is not None and responder.stdout.readline() == b"ready\n"
        args = {"interface": "wan", "address": PEER, "source": OWN, "vlan": 100}
        near = edge.job("link.tagged", others=[101, 200], sweep=False, **args)[1]
        assert {each["vlan"] for each in near["answers"]} == {0, 200}
        beside = edge.job("link.tagged", others=[], sweep=True, **{**args, "vlan": 200})[1]
        assert ({each["vlan"] for each in beside["answers"]}, len(beside["asked"])) == ({0, 200}, 3000)
        _ip("-n", VBR, "addr", "del", f"{PEER}/30", "dev", "wan")
        swept = edge.job("link.tagged", others=[101], sweep=True, **args)[1]
        assert ({each["vlan"] for each in swept["answers"]}, len(swept["asked"])) == ({200}, 3000)
    finally:
        responder.kill()
        responder.wait()


_RESPONDER = """
import socket, struct, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sock.setsockopt(263, 8, 1)
sock.bind(("wan", 3))
mac, own = sock.getsockname()[4], socket.inet_aton(sys.argv[1])
print("ready", flush=True)
while True:
    data, beside, _, where = sock.recvmsg(2048, 64)
    tag = [struct.unpack("=IIIHHHH", each)[5] for *_, each in beside if struct.unpack_from("=I", each)[0] & 16]
    if where[2] == 4 or tag != [200] or data[12:14] != b"\\x08\\x06" or data[38:42] != own:
        continue
    reply = struct.pack("!HHBBH", 1, 0x800, 6, 4, 2) + mac + own + data[22:32]
    sock.send(data[6:12] + mac + b"\\x81\\x00\\x00\\xc8\\x08\\x06" + reply)
"""
