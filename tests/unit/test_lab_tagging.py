"""Who tags the frames of a circuit that the kernel plays, on a kernel that has 802.1Q and on one that has not."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from perfharness.lab import namespaces, tagging, topology, truth
from perfharness.lab.spec import LabSpec

CE, VBR = topology.CE, topology.VBR
TAGGED = LabSpec(mtu=8500)


class Kernel:
    """Takes requests as netlink would, notes them in their order, and knows which interfaces there are by then."""

    def __init__(self, refusal: int | None) -> None:
        self.refusal = refusal
        """Of VLANs; ``None``: it has 802.1Q."""
        self.links: dict[tuple[str, str], int] = {}
        self.peers: dict[tuple[str, str], tuple[str, str]] = {}
        self.asked: list[tuple[Any, ...]] = []

    def add(self, namespace: str, name: str) -> None:
        self.links[namespace, name] = max(self.links.values(), default=1) + 1

    def named(self, namespace: str, index: int) -> str:
        return next(name for (where, name), found in self.links.items() if (where, found) == (namespace, index))

    def delete(self, namespace: str, name: str) -> None:
        """What stands on it goes too, and a veth's other end."""
        for link in [link for link in self.links if link[0] == namespace and link[1].split(".")[0] == name]:
            del self.links[link]
        if peer := self.peers.pop((namespace, name), None):
            del self.peers[peer]
            self.delete(*peer)


class Socket:
    """A netlink socket in one namespace."""

    def __init__(self, kernel: Kernel, namespace: str) -> None:
        self.kernel, self.namespace = kernel, namespace

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None: ...

    def link_lookup(self, ifname: str) -> list[int]:
        found = self.kernel.links.get((self.namespace, ifname))
        return [] if found is None else [found]

    def link(self, verb: str, **words: Any) -> None:
        kernel = self.kernel
        if verb == "add":
            if words["kind"] == "vlan":
                words["link"] = kernel.named(self.namespace, words["link"])
            kernel.asked.append((self.namespace, "add", *words.values()))
            if words["kind"] == "vlan" and kernel.refusal:
                raise NetlinkError(kernel.refusal)
            kernel.add(self.namespace, words["ifname"])
            if peer := words.get("peer"):
                here, there = (self.namespace, words["ifname"]), (peer["net_ns_fd"], peer["ifname"])
                kernel.add(*there)
                kernel.peers |= {here: there, there: here}
            return
        name = kernel.named(self.namespace, words.pop("index"))
        kernel.asked.append((self.namespace, verb, name, *words.items()))
        if verb == "del":
            kernel.delete(self.namespace, name)

    def addr(self, verb: str, *, index: int, address: str, prefixlen: int) -> None:
        where = self.kernel.named(self.namespace, index)
        self.kernel.asked.append((self.namespace, "address", where, f"{address}/{prefixlen}"))

    def route(self, verb: str, **_: str) -> None: ...


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "wan").mkdir()
    monkeypatch.setattr(tagging, "CONF", tmp_path)
    return tmp_path / "wan/arp_ignore"


def built(monkeypatch: pytest.MonkeyPatch, refusal: int | None, spec: LabSpec = TAGGED) -> Kernel:
    """A kernel in which the circuit was built, and what it was asked for that."""
    kernel = Kernel(refusal)
    monkeypatch.setattr(namespaces, "netlink", lambda name: Socket(kernel, name))
    monkeypatch.setattr(namespaces, "entered", nullcontext)
    monkeypatch.setattr(topology, "_tap", lambda end: kernel.add(end.namespace, end.interface))
    rebuilt(kernel, spec)
    return kernel


def rebuilt(kernel: Kernel, spec: LabSpec, *, taps: bool = False) -> list[tuple[Any, ...]]:
    kernel.asked = []
    plan = topology.plan(spec)
    topology.rebuild(plan, plan.crossings[0], taps=taps)
    return kernel.asked


PAIR = (CE, "add", "veth", "wan", {"ifname": "wan", "net_ns_fd": VBR})
ADDRESSES = {CE: "172.16.100.2/30", VBR: "172.16.100.1/30"}


def ends(*names: str) -> list[tuple[Any, ...]]:
    """At each end: the MTU of these, in this order, the address of the last, and all of them up."""
    return [
        request
        for where in (CE, VBR)
        for request in (
            *((where, "set", name, ("mtu", 8500)) for name in names),
            (where, "address", names[-1], ADDRESSES[where]),
            *((where, "set", name, ("state", "up")) for name in names),
        )
    ]


def test_a_kernel_with_8021q_tags_at_both_ends(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The VLAN stands on the port, has the address, and its MTU follows; the port answers no ARP for it."""
    kernel = built(monkeypatch, None)
    vlans = [(where, "add", "vlan", "wan.100", "wan", 100) for where in (CE, VBR)]
    assert kernel.asked == [PAIR, *vlans, *ends("wan", "wan.100")]
    assert conf.read_text() == "1"
    assert all(topology.tagged(end) for end in topology.plan(TAGGED).circuit)


def test_a_kernel_without_8021q_builds_as_if_no_tag_were_ordered(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was asked, said that it has none, and all the rest is the same as for an untagged circuit."""
    kernel = built(monkeypatch, errno.EOPNOTSUPP)
    assert [request for request in kernel.asked if "vlan" not in request] == [PAIR, *ends("wan")]
    assert not any(topology.tagged(end) for end in topology.plan(TAGGED).circuit)
    assert built(monkeypatch, None, LabSpec(mtu=8500, vlan=0)).asked == [PAIR, *ends("wan")]
    assert not conf.exists()


def test_another_refusal_is_no_answer(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that has VLANs and makes none here is a lab that does not come up."""
    with pytest.raises(NetlinkError) as caught:
        built(monkeypatch, errno.EPERM)
    assert caught.value.code == errno.EPERM


def test_a_circuit_that_gets_a_wire_loses_its_vlans(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go with the ports, the TAPs have the addresses, and a circuit that is the kernel's again has VLANs again."""
    kernel = built(monkeypatch, None)
    first = kernel.asked
    assert rebuilt(kernel, TAGGED, taps=True) == [(CE, "del", "wan"), *ends("wan")]
    assert not topology.tagged(topology.plan(TAGGED).circuit[0])
    assert rebuilt(kernel, TAGGED) == [(CE, "del", "wan"), (VBR, "del", "wan"), *first]


def test_the_mtu_changes_at_the_port_first_and_the_carrier_at_the_port_alone(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VLAN's MTU may not exceed its port's; a VLAN that is down leaves the other end its carrier."""
    kernel = built(monkeypatch, None)
    kernel.asked = []
    _, cloud = topology.plan(TAGGED).circuit
    topology.resize(cloud, 9000)
    topology.switch_on(cloud, False)
    topology.switch_on(cloud, True)
    assert kernel.asked == [
        (VBR, "set", "wan", ("mtu", 9000)),
        (VBR, "set", "wan.100", ("mtu", 9000)),
        (VBR, "set", "wan", ("state", "down")),
        (VBR, "set", "wan", ("state", "up")),
    ]


@pytest.mark.parametrize(
    ("vlan", "mode", "kernel_tags", "tagger"),
    [
        (100, "veth", True, "kernel"),
        (100, "veth", False, "nobody"),
        (100, "wire", False, "wire"),
        (100, "metered-wire", False, "wire"),
        (0, "veth", False, "nobody"),
        (0, "wire", False, "nobody"),
    ],
)
def test_the_truth_says_who_tags(
    vlan: int, mode: str, kernel_tags: bool, tagger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that no tag is on the wire only where one was ordered."""
    monkeypatch.setattr(truth, "tagged", lambda end: kernel_tags)
    monkeypatch.setattr(truth, "_kernel", lambda *_: {})
    spec = LabSpec(vlan=vlan)
    (way,) = topology.plan(spec).crossings
    assert truth.tagged_by(way, mode) == tagger
    if mode == "veth":
        told = truth.of_veth(way, spec)
        assert told["tagged_by"] == tagger
        assert (truth.NO_TAG in told["cannot"]) == (vlan == 100 and not kernel_tags)
