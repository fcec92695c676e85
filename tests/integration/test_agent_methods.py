"""The agent's methods host, path and link, run as jobs in network namespaces of their own. Needs root."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.namespaces import ADDRESSES, Path3, Running

A, Z = ADDRESSES[4]["a"], ADDRESSES[4]["z"]
A6, Z6 = ADDRESSES[6]["a"], ADDRESSES[6]["z"]
ROUTER = "10.1.0.1"
STRANGER = "10.1.0.77"


# --- host -------------------------------------------------------------------------------------


def test_facts_are_those_of_the_namespace(path: Path3) -> None:
    """Interface, addresses and driver come from where the agent runs, not from where /sys was mounted."""
    facts = path.start("a", "facts", "host.facts", interface="eth0", address=A, iperf3="iperf3").data()
    assert facts["nic"]["driver"] == "veth"
    assert facts["nic"]["mtu"] == 1500
    assert facts["nic"]["offloads"]["gso"] is True
    assert facts["nic"]["rings"] is None
    assert f"{A}/24" in facts["addresses"]
    assert facts["qdisc"][0]["kind"] == "noqueue"
    assert facts["iperf3"]["path"].endswith("/iperf3")
    assert facts["sysctls"]["net.ipv4.tcp_rmem"].count(" ") == 2
    assert facts["congestion"]["current"] in facts["congestion"]["available"]
    assert facts["clock"]["source"] in ("chrony", "ntpd", "timesyncd", "ptp", "none", "unknown")


def test_facts_without_iperf3_say_why(path: Path3) -> None:
    """The other facts are there all the same."""
    facts = path.start("a", "facts", "host.facts", interface="eth0", address=A, iperf3="/opt/none").data()
    assert facts["iperf3"] is None
    assert "/opt/none" in facts["iperf3_reason"]


@pytest.mark.parametrize(
    ("interface", "address", "words"),
    [
        ("eth1", A, "there is no interface eth1; this host has eth0, lo"),
        ("lo", A, f"lo does not hold {A}; eth0 does"),
        ("eth0", "10.9.9.9", f"eth0 does not hold 10.9.9.9; it holds {A}/24"),
    ],
)
def test_the_wrong_interface_or_address_is_named(path: Path3, interface: str, address: str, words: str) -> None:
    """The sentence says what there is instead."""
    result = path.start("a", "facts", "host.facts", interface=interface, address=address, iperf3="iperf3").result()
    assert result["error"]["code"] == 24
    assert result["error"]["message"].startswith(words)


def rows(job: Running) -> list[dict[str, Any]]:
    header, *lines = (job.folder / "counters.jsonl").read_text().splitlines()
    assert json.loads(header)["format_version"] == 1
    return [json.loads(line) for line in lines]


def test_counters_book_what_went_by(path: Path3) -> None:
    """Between the first row and the one at the stop stand the packets that were sent meanwhile."""
    watch = path.start("a", "watch", "host.counters", interface="eth0", period_ms=100)
    wait_for(watch, "counters.jsonl", lines=2)
    path.start("a", "ping", "path.ping", peer=Z, source=A, count=20, interval_ms=10).data()
    data = watch.stop()["data"]
    seen = rows(watch)
    first, last = seen[0], seen[-1]
    assert data["rows"] == len(seen) >= 2
    assert last["nic"]["tx_packets"] - first["nic"]["tx_packets"] >= 20
    assert last["snmp"]["Ip"]["OutRequests"] - first["snmp"]["Ip"]["OutRequests"] >= 20
    assert last["cpu"]["total"].keys() >= {"user", "idle", "steal"}
    assert len(last["cpu"]["per_cpu"]) >= 1


def test_counters_see_the_qdisc_drop(own_path: Path3) -> None:
    """What a full queue of this host drops is booked there, to the packet."""
    queue = ("tbf", "rate", "1mbit", "burst", "2kb", "limit", "3000")
    own_path.run("a", "tc", "qdisc", "add", "dev", "eth0", "root", *queue)
    watch = own_path.start("a", "watch", "host.counters", interface="eth0", period_ms=100)
    wait_for(watch, "counters.jsonl", lines=2)
    fragments = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes(20000), ('10.2.0.2', 9))"
    own_path.run("a", sys.executable, "-c", fragments)
    watch.stop()
    qdisc = json.loads(own_path.run("a", "tc", "-s", "-j", "qdisc", "show", "dev", "eth0"))[0]
    assert rows(watch)[-1]["qdisc"]["drops"] == qdisc["drops"] > 0


def wait_for(job: Running, name: str, lines: int = 1) -> None:
    """Until the job has written so many lines of this file."""
    for _ in range(500):
        file = job.folder / name
        if file.exists() and file.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.01)
    raise AssertionError(f"{name} did not come")


# --- path and link ----------------------------------------------------------------------------


def test_route_names_the_gateway(path: Path3) -> None:
    """And the interface, in both families."""
    found = path.start("a", "r4", "path.route", peer=Z, source=A).data()["route"]
    assert (found["gateway"], found["interface"], found["interface_mtu"]) == (ROUTER, "eth0", 1500)
    assert path.start("a", "r6", "path.route", peer=Z6, source=A6).data()["route"]["gateway"] == "fd01::1"


def test_no_route_is_an_answer(own_path: Path3) -> None:
    """Not an error: it is what the person wants to know."""
    own_path.ip("a", "route", "add", "unreachable", "10.9.0.0/16")
    data = own_path.start("a", "route", "path.route", peer="10.9.1.1", source=A).data()
    assert data["route"] is None
    assert "no route to 10.9.1.1" in data["reason"]


@pytest.mark.parametrize(("peer", "source"), [(Z, A), (Z6, A6)])
@pytest.mark.parametrize(("groups", "method"), [("1 0", "raw socket"), ("0 0", "icmp socket")])
def test_ping_works_by_either_socket(path: Path3, peer: str, source: str, groups: str, method: str) -> None:
    """A datagram socket where this group may have one, else a raw one."""
    path.run("a", "sysctl", "-qw", f"net.ipv4.ping_group_range={groups}")
    data = path.start("a", "ping", "path.ping", peer=peer, source=source, count=3, interval_ms=20).data()
    assert (data["sent"], data["received"], data["method"]) == (3, 3, method)
    assert all(rtt > 0 for rtt in data["rtt_ns"])


def test_an_unanswered_ping_is_null(path: Path3) -> None:
    """Lost is not 0."""
    path.rules("forward", "icmp type echo-reply drop")
    data = path.start("a", "ping", "path.ping", peer=Z, source=A, count=2, interval_ms=10).data()
    assert (data["sent"], data["received"], data["rtt_ns"]) == (2, 0, [None, None])


@pytest.mark.parametrize(("peer", "source", "router"), [(Z, A, ROUTER), (Z6, A6, "fd01::1")])
def test_hops_are_found_in_order(path: Path3, peer: str, source: str, router: str) -> None:
    """The router says time exceeded, the peer port unreachable."""
    data = path.start("a", "hops", "path.hops", peer=peer, source=source, port=8620, max_ttl=8, tries=2).data()
    seen = [{(answer["address"], answer["icmp"]) for answer in hop["answers"]} for hop in data["hops"]]
    assert seen == [{(router, "time exceeded")}, {(peer, "port unreachable")}]
    assert data["reached"] is True


def test_a_silent_router_is_a_hop_without_answers(path: Path3) -> None:
    """The peer behind it is found all the same."""
    path.rules("output", "icmp type time-exceeded drop")
    data = path.start("a", "hops", "path.hops", peer=Z, source=A, port=8620, max_ttl=8, tries=1, flows=3).data()
    assert [len(hop["answers"]) for hop in data["hops"]] == [0, 1]
    assert data["reached"] is True
    assert len({data["source_port"], *(other["source_port"] for other in data["others"])}) == 3
    assert all(other["reached"] for other in data["others"])


def test_a_router_that_refuses_ends_the_trace(own_path: Path3) -> None:
    """What it says is the last hop's word, and nobody is asked beyond."""
    own_path.ip("r", "route", "add", "unreachable", "10.2.0.0/25")
    data = own_path.start("a", "hops", "path.hops", peer=Z, source=A, port=8620, max_ttl=8, tries=1).data()
    said = [{(answer["address"], answer["icmp"]) for answer in hop["answers"]} for hop in data["hops"]]
    assert (said, data["reached"]) == ([{(ROUTER, "host unreachable")}], False)


def test_ports_open_refused_silent_and_rejected_are_told_apart(path: Path3) -> None:
    """By what came back for each; the listener counts what it saw."""
    listener = path.serve("z", "listen", "path.listen", address=Z, peer=A, tcp=[5201], udp=[8620])
    path.rules(
        "forward",
        "tcp dport 5203 drop",
        "udp dport 8622 drop",
        "tcp dport 5204 reject with icmp admin-prohibited",
        "udp dport 8623 reject with icmp admin-prohibited",
    )
    tcp, udp = [5201, 5202, 5203, 5204], [8620, 8621, 8622, 8623]
    answers = path.start("a", "ports", "path.ports", peer=Z, source=A, tcp=tcp, udp=udp).data()
    words = ["open", "refused", "silent", "rejected"]
    assert answers == {
        "tcp": dict(zip(map(str, tcp), words, strict=True)),
        "udp": dict(zip(map(str, udp), words, strict=True)),
        "errors": {
            "tcp/5204": {"from": ROUTER, "said": "admin prohibited"},
            "udp/8621": {"from": Z, "said": "port unreachable"},
            "udp/8623": {"from": ROUTER, "said": "admin prohibited"},
        },
    }
    assert listener.stop()["data"]["seen"] == {"tcp": {"5201": 1}, "udp": {"8620": 1}, "foreign": 0}


def test_the_listener_answers_nobody_but_the_peer(own_path: Path3) -> None:
    """To a stranger its ports are silent."""
    own_path.ip("a", "addr", "add", f"{STRANGER}/24", "dev", "eth0")
    listener = own_path.serve("z", "listen", "path.listen", address=Z, peer=A, tcp=[5201], udp=[8620])
    answers = own_path.start("a", "ports", "path.ports", peer=Z, source=STRANGER, tcp=[5201], udp=[8620]).data()
    assert answers == {"tcp": {"5201": "silent"}, "udp": {"8620": "silent"}, "errors": {}}
    seen = listener.stop()["data"]
    assert seen["seen"]["foreign"] > 0
    assert seen["translated"] == {STRANGER: 4}


def test_a_spare_port_is_opened_only_where_it_is_free(path: Path3) -> None:
    """A service of the host's own is left alone, and what it is closed for is said."""
    taken = path.serve("z", "first", "path.listen", address=Z, peer=A, tcp=[5201], udp=[])
    more = path.serve(
        "z", "more", "path.listen", address=Z, peer=A, tcp=[], udp=[], spare_tcp=[5201, 5202], spare_udp=[5201]
    )
    data = path.start("a", "ports", "path.ports", peer=Z, source=A, tcp=[5201, 5202], udp=[5201]).data()
    assert (data["tcp"], data["udp"]) == ({"5201": "open", "5202": "open"}, {"5201": "open"})
    said = more.stop()["data"]
    assert list(said["closed"]) == ["tcp/5201"]
    assert "another program" in said["closed"]["tcp/5201"]
    assert taken.stop()["data"]["seen"]["tcp"] == {"5201": 1}


def test_marks_are_counted_as_they_come(path: Path3) -> None:
    """One class is remarked on the way, the other keeps its mark."""
    path.rules("forward", "ip dscp ef ip dscp set cs0")
    listener = path.serve("z", "listen", "path.listen", address=Z, peer=A, tcp=[], udp=[8620])
    asked = {"port": 8620, "dscps": [46, 34], "count": 5, "interval_ms": 5}
    data = path.start("a", "mark", "path.mark", peer=Z, source=A, **asked).data()
    assert data == {"sent": {"46": 5, "34": 5}}
    assert listener.stop()["data"]["marks"] == {"46": {"0": 5}, "34": {"34": 5}}


def test_without_a_route_nothing_is_sent_and_that_is_a_result(own_path: Path3) -> None:
    """Ports are unsent, echo requests unanswered, no hop is found: none of it breaks the job."""
    own_path.ip("a", "route", "del", "default")
    ends = {"peer": Z, "source": A}
    answers = own_path.start("a", "ports", "path.ports", **ends, tcp=[5201], udp=[8620]).data()
    assert (answers["tcp"], answers["udp"]) == ({"5201": "unsent"}, {"8620": "unsent"})
    pinged = own_path.start("a", "ping", "path.ping", **ends, count=2, interval_ms=10).data()
    assert (pinged["received"], "Network is unreachable" in pinged["reason"]) == (0, True)
    traced = own_path.start("a", "hops", "path.hops", **ends, port=8620, max_ttl=8, tries=1).data()
    assert (traced["reached"], any(hop["answers"] for hop in traced["hops"])) == (False, False)


def test_a_neighbour_answers_with_its_mac(path: Path3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And scapy leaves nothing in the user's home."""
    (home := tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(home))
    mac = json.loads(path.run("r", "ip", "-j", "link", "show", "to-a"))[0]["address"]
    job = path.start("a", "arp", "link.neighbour", interface="eth0", address=ROUTER)
    data = job.data()
    assert [answer["mac"] for answer in data["answers"]] == [mac]
    assert data["asked"] == 1
    assert not list(home.iterdir())
    assert {file.name for file in job.folder.iterdir()} == {"spec.json", "result.json"}


def test_a_duplicate_address_has_two_macs(own_path: Path3) -> None:
    """Two stations that both hold the address both answer."""
    own_path.ip("r", "link", "add", "twin", "link", "to-a", "type", "macvlan", "mode", "bridge")
    own_path.ip("r", "addr", "add", f"{ROUTER}/24", "dev", "twin")
    own_path.ip("r", "link", "set", "twin", "up")
    data = own_path.start("a", "arp", "link.neighbour", interface="eth0", address=ROUTER).data()
    assert len({answer["mac"] for answer in data["answers"]}) == 2


def test_the_next_hop_is_found_by_the_route_and_asked(path: Path3) -> None:
    """The station that gets the packets for a distant peer is the router, and it answers."""
    data = path.start("a", "arp", "link.next_hop", peer=Z, source=A).data()
    assert data["address"] == ROUTER
    assert len(data["answers"]) == 1


def test_nobody_is_asked_three_times(path: Path3) -> None:
    """Silence is an empty answer, not an error."""
    data = path.start("a", "arp", "link.neighbour", interface="eth0", address=STRANGER).data()
    assert data == {"answers": [], "asked": 3}
