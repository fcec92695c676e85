"""What the lab is to be, and how it remembers what it made."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from dataclasses import replace
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest

from perfharness.errors import LabFault, Refused
from perfharness.lab import control, faults, processes, shaping, state, topology, truth
from perfharness.lab.faults import Wish
from perfharness.lab.linespec import Rate
from perfharness.lab.options import Asked
from perfharness.lab.processes import Process
from perfharness.lab.spec import Host, LabSpec
from perfharness.model import Direction, Layer
from perfharness.order.circuit import load_circuit

CIRCUITS = Path(__file__).parents[2] / "scenarios/circuits"
LAB_YAML, PAIRS_YAML = CIRCUITS / "lab.yaml", CIRCUITS / "lab-pairs.yaml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "FOLDER", tmp_path / "lab")
    (tmp_path / "lab").mkdir()
    return tmp_path / "lab"


def test_the_default_lab_is_what_its_circuit_file_orders() -> None:
    """``lab.yaml`` and the defaults cannot drift apart."""
    assert LabSpec.from_circuit(load_circuit(LAB_YAML)) == LabSpec()


def test_the_specification_survives_its_file() -> None:
    """Status and truth read it back from the state."""
    spec = LabSpec(rate_bps=None, rate_layer=Layer.L1, onprem=Host("left", "10.10.3.4"))
    assert LabSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_prefix_without_room_for_a_transit_network_is_refused() -> None:
    """The routers of a site need addresses besides the host's own network."""
    with pytest.raises(LabFault, match=r"10\.10\.0\.0/24 with host 10\.10\.0\.10"):
        LabSpec(onprem_prefix="10.10.0.0/24")


def test_the_wire_plays_the_order_and_nothing_else() -> None:
    """Rate and tag as ordered in both directions; unshaped means no rate at all."""
    for line in LabSpec(rate_layer=Layer.L1).lines().values():
        assert line.rate is not None
        assert (line.rate.bps, line.rate.overhead_bytes) == (10**9, 24)
        assert (line.vlan_push, line.vlan_expect) == (100, 100)
        assert replace(line, rate=None) == LabSpec(rate_bps=None).lines()[Direction.A_Z]


def test_a_change_of_the_wire_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns once both directions are told to be played, and says why if they never are."""
    monkeypatch.setattr(truth, "PATIENCE_S", 0.05)
    lines, other = LabSpec().lines(), LabSpec(vlan=101).lines()
    told = {str(direction): {"line": line.to_json()} for direction, line in lines.items()}
    (tmp_path / "truth.json").write_text(json.dumps({"refused_config": "no such key", "directions": told}))
    truth.await_lines(tmp_path / "truth.json", lines)
    with pytest.raises(LabFault, match="does not play what it was asked to: no such key"):
        truth.await_lines(tmp_path / "truth.json", {**lines, Direction.Z_A: other[Direction.Z_A]})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (LabSpec(), "tbf rate 1000000000bit burst 250000 latency 50000us overhead 4"),
        (LabSpec(vlan=0), "tbf rate 1000000000bit burst 250000 latency 50000us overhead 0"),
        (LabSpec(rate_layer=Layer.L1), "tbf rate 1000000000bit burst 250000 latency 50000us overhead 28"),
        (LabSpec(rate_layer=Layer.L3), "stab overhead -14 tbf rate 1000000000bit burst 250000 latency 50000us"),
        (
            LabSpec(rate_bps=50_000_000, mtu=8500, vlan=0, queue_ns=10_000_000),
            "tbf rate 50000000bit burst 17028 latency 10000us overhead 0",
        ),
        (
            LabSpec(rate_bps=50_000_000, policer_bytes=150_000, vlan=0, rate_layer=Layer.L2_FCS),
            "tbf rate 50000000bit burst 148438 limit 1562 overhead 4",
        ),
    ],
    ids=["tagged", "untagged", "L1", "L3", "slow and large", "policer"],
)
def test_what_the_kernel_is_told(spec: LabSpec, words: str) -> None:
    """Every layer by what a packet counts besides its frame; a policer's tokens and queue are its bucket."""
    assert spec.rate_bps is not None
    assert shaping.words(spec, spec.rate_bps) == words


def test_a_bucket_without_room_for_packets_is_refused() -> None:
    """It would drop everything."""
    with pytest.raises(LabFault, match="bucket of 20000 bytes is too small for packets of 8500") as caught:
        LabSpec(mtu=8500, policer_bytes=20_000)
    LabSpec(mtu=8500, policer_bytes=int(caught.value.remedy.split()[3].rstrip(":")))


@pytest.mark.parametrize(("layer", "tagged", "untagged"), [(Layer.L1, 24, 24), (Layer.L2, 0, 0), (Layer.L3, -18, -14)])
def test_the_wire_meters_the_layer_of_the_order(layer: Layer, tagged: int, untagged: int) -> None:
    """Its frames carry the tag, if there is one, and nothing is pushed or compared where there is none."""
    for vlan, overhead in ((100, tagged), (0, untagged)):
        line = LabSpec(rate_layer=layer, vlan=vlan, policer_bytes=30_000, rtt_ns=10_000_000).lines()[Direction.A_Z]
        assert line.rate == Rate(10**9, bucket_bytes=30_000, overhead_bytes=overhead)
        assert (line.vlan_push, line.vlan_expect, line.delay_ns) == (vlan or None, vlan or None, 5_000_000)


def test_an_order_with_two_hosts_on_a_side_gets_both() -> None:
    """On the same LAN, each with an address of its own, and the first pair is the circuit's."""
    spec = LabSpec.from_circuit(load_circuit(PAIRS_YAML))
    assert replace(spec, onprem_b=None, ecs_b=None) == LabSpec()
    assert LabSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    plan = topology.plan(spec)
    assert plan.namespaces == (*topology.NAMES, topology.ONPREM_B, topology.ECS_B)
    assert [str(host.address) for host in plan.hosts[2:]] == ["10.10.0.20/24", "192.168.10.20/24"]
    for switch in plan.switches:
        addresses = {switch.gateway.address.ip, *(host.address.ip for host in switch.hosts)}
        assert len(addresses) == 3
        assert all(address in switch.gateway.address.network for address in addresses)


def test_what_is_asked_besides_changes_the_order() -> None:
    """Each option its own value, in the units of an order; the rest stays as ordered."""
    asked = Asked(PAIRS_YAML, "200Mbps", "L3", "1.5MB", None, "10ms", 8500, untagged=True)
    order = LabSpec.from_circuit(load_circuit(PAIRS_YAML))
    assert asked.spec() == replace(
        order,
        rate_bps=200_000_000,
        rate_layer=Layer.L3,
        policer_bytes=1_500_000,
        rtt_ns=10_000_000,
        mtu=8500,
        vlan=0,
    )
    assert Asked(queue="5ms").spec() == LabSpec(queue_ns=5_000_000)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(rate="200"), "--rate 200: '200' is a number without a unit"),
        (Asked(meter="L4"), "--meter L4 is no layer that a circuit meters. Choose L1, L2"),
        (Asked(policer="1MB", queue="5ms"), "exclude each other"),
        (Asked(policer="1kB"), "bucket of 1000 bytes is too small for packets of 1500 bytes"),
        (Asked(mtu=100), "--mtu 100 is no MTU of a circuit. Choose 576 to 9216"),
    ],
)
def test_what_cannot_be_played_is_refused_with_a_way_out(asked: Asked, said: str) -> None:
    """One sentence, before anything is built."""
    with pytest.raises(Refused, match=re.escape(said)):
        asked.spec()


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish("gremlins"), "knows no fault gremlins. It knows host-slow-nic"),
        (Wish("host-cpu", rate_bps=5), "host-cpu takes no --rate. It takes --at, --share."),
        (Wish("host-cpu", share=1.0), "cannot take 1 of a CPU"),
        (Wish("host-slow-nic", at="ecs-b"), "no host ecs-b. It has onprem-a, ecs-a."),
        (Wish("policer-small-burst", bucket_bytes=1000), "bucket of 1000 bytes is too small"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(wish: Wish, said: str) -> None:
    """Before it is noted or made."""
    with pytest.raises(Refused, match=re.escape(said)):
        faults.check(wish, LabSpec())


def test_faults_of_the_circuit_add_up() -> None:
    """The later one changes what the earlier one left; those of hosts change nothing of the circuit."""
    both = [Wish("policed-below-order"), Wish("host-cpu"), Wish("policer-small-burst", bucket_bytes=30_000)]
    assert faults.circuit_with(both[:2], LabSpec()) == LabSpec(rate_bps=500_000_000, policer_bytes=1_250_000)
    assert faults.circuit_with(both, LabSpec()) == LabSpec(rate_bps=500_000_000, policer_bytes=30_000)
    assert faults.circuit_with([Wish("shaped-below-order", rate_bps=10**6)], LabSpec(policer_bytes=9_000)) == LabSpec(
        rate_bps=10**6
    )


def test_every_gateway_is_a_neighbour() -> None:
    """Each route leads to an address on a link of the namespace that holds the route."""
    plan = topology.plan(LabSpec())
    for route in plan.routes:
        far = [
            (a, z)
            for link in (*plan.links, plan.circuit)
            for a, z in (link, link[::-1])
            if a.namespace == route.namespace and z == route.via
        ]
        assert len(far) == 1, route


def test_no_two_links_overlap() -> None:
    """Nor does an address occur twice."""
    plan = topology.plan(LabSpec())
    links = [*plan.links, plan.circuit]
    assert all(a.address.network == z.address.network for a, z in links)
    networks = [a.address.network for a, _ in links]
    assert not any(m.overlaps(n) for i, m in enumerate(networks) for n in networks[:i])
    assert len({end.address.ip for link in links for end in link}) == 2 * len(links)


@pytest.mark.parametrize("host", ["10.10.0.1", "10.10.0.2", "10.10.0.254"])
def test_the_gateway_is_never_the_host(host: str) -> None:
    """A host may have any address of its network."""
    a, gateway = topology.plan(LabSpec(onprem=Host("onprem-a", host))).links[0]
    assert a.address.ip == IPv4Address(host) != gateway.address.ip
    assert gateway.address.ip in ip_network("10.10.0.0/24")


def test_the_state_remembers_everything_that_was_made(folder: Path) -> None:
    """Each thing is on disk as soon as it is added."""
    made = state.State({"mode": "veth"})
    made.add_namespace("ph-x")
    made.add_folder("/run/x")
    made.add_process(Process("sshd", 42, 4711))
    assert state.load() == made


def test_a_state_of_another_version_is_refused(folder: Path) -> None:
    """It may name things that this version does not know how to remove."""
    (folder / "state.json").write_text('{"format_version": 3}')
    with pytest.raises(LabFault, match="format version 3, not 2"):
        state.load()


def test_a_process_id_that_was_given_away_is_never_signalled() -> None:
    """Same number, other start time: not ours."""
    ours = processes.identify("me", os.getpid())
    assert ours is not None and ours.alive
    stranger = Process("me", ours.pid, ours.start_ticks - 1)
    assert not stranger.alive
    assert not stranger.signal(signal.SIGKILL)


def test_a_process_starts_only_once_it_is_on_record(tmp_path: Path) -> None:
    """If the note cannot be written, the program never runs."""
    seen: list[Process] = []

    def refuse(process: Process) -> None:
        seen.append(process)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        processes.launch("mark", ["touch", str(tmp_path / "ran")], tmp_path / "log", refuse)
    os.waitpid(seen[0].pid, 0)
    assert not (tmp_path / "ran").exists()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    """SIGTERM first; what stays is killed and gone when ``end`` returns."""
    script = "trap '' TERM; while :; do sleep 0.1; done"
    stubborn = processes.launch("stubborn", ["sh", "-c", script], tmp_path / "log", lambda _: None)
    processes.end([stubborn], grace_s=0.3)
    assert not stubborn.alive


def test_without_root_the_lab_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb, before it touches anything."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for verb in (control.up, control.down, control.status, control.truth):
        with pytest.raises(LabFault, match="only root may") as caught:
            verb()
        assert "sudo" in caught.value.remedy


@pytest.mark.parametrize(("tool", "package"), [("sshd", "openssh-server"), ("tc", "iproute2")])
def test_a_missing_tool_is_named_with_its_package(tool: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy can be typed."""
    found = shutil.which
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if name == tool else found(name, path=path))
    with pytest.raises(LabFault, match=f"{tool} is not installed") as caught:
        control.up()
    assert package in caught.value.remedy


def test_a_line_needs_a_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Impairments asked for and not played would be a lie, and a rate played twice another."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(LabFault, match="cannot play this circuit as veth"):
        control.up(lines=LabSpec().lines())
    with pytest.raises(LabFault, match="cannot play this circuit as veth"):
        control.up(LabSpec(rtt_ns=10**6), "veth")
    with pytest.raises(LabFault, match="has no rate of its own"):
        control.up(mode="metered-wire", lines=LabSpec().lines())
