"""Circuit × scenario → tasks, and what is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from perfharness import dryrun, preflight
from perfharness.errors import BadInput, EvidenceBroken, Refused
from perfharness.model import Plan, Role
from perfharness.order.circuit import Circuit, load_circuit
from perfharness.order.scenario import Scenario, find_shipped, load_scenario
from perfharness.plan import chosen, flows, from_json, hosts, make_plan, refuse_harm, spare, step_parameters, to_json

NOW = datetime(2027, 3, 31, 22, 0, tzinfo=UTC)


def lab() -> Circuit:
    return load_circuit(find_shipped("circuits/lab"))


def live(**change: object) -> Circuit:
    """The lab's circuit as if users were on it."""
    update: dict[str, object] = {"in_service": "true"}
    if change:
        update["change"] = {"ticket": "CHG-1", **change}
    source = lab().source.data
    return Circuit.model_validate({**source, **update})


def load_like(endpoints: dict[str, object]) -> Circuit:
    """The lab's circuit with other endpoints, and its file to point to."""
    circuit = Circuit.model_validate({**lab().source.data, "endpoints": endpoints})
    circuit._source = lab().source
    return circuit


@pytest.fixture
def smoke() -> Plan:
    return make_plan(lab(), load_scenario("smoke"))


def test_a_plan_survives_its_file(smoke: Plan) -> None:
    """What is read back from plan.json is the plan that was written."""
    assert from_json(to_json(smoke), "plan.json") == smoke


def test_a_plan_of_another_version_is_refused(smoke: Plan) -> None:
    """A plan.json of an unknown format is refused with a sentence."""
    with pytest.raises(EvidenceBroken, match="does not read"):
        from_json({**to_json(smoke), "format_version": 2}, "plan.json")


def test_every_task_measures_and_every_server_has_a_client(smoke: Plan) -> None:
    """Each task has a driver, ends by itself, and its jobs have distinct ids on each host."""
    for task in smoke.tasks:
        assert any(job.role is Role.DRIVE for job in task.jobs)
        assert len({(job.endpoint, job.id) for job in task.jobs}) == len(task.jobs)
        longest = max(job.deadline_s for job in task.jobs if job.role is Role.DRIVE)
        assert all(job.deadline_s >= longest for job in task.jobs if job.role is Role.SERVE)


def test_smoke_measures_for_at_most_a_minute(smoke: Plan) -> None:
    """The figures of smoke rest on at most 60 s of measuring."""
    parameters = step_parameters(load_scenario("smoke"))
    seconds = sum(
        getattr(parameters[task.step], "duration_ns", 0) + getattr(parameters[task.step], "omit_ns", 0)
        for task in smoke.tasks
    )
    assert seconds <= 60e9


def test_udp_offers_what_was_ordered_with_the_probes(smoke: Plan) -> None:
    """The UDP load and the probe stream beside it together are the committed rate at the ordered layer."""
    task = next(task for task in smoke.tasks if task.id.endswith("udp-a-z"))
    loads = [job.args for job in task.jobs if job.method == "iperf3.drive"]
    probe = next(job for job in task.jobs if job.method == "stamp.send").args
    frame = 42 + 4  # IPv4, UDP, Ethernet without FCS, VLAN tag
    offered = sum(load["rate_bps"] / load["length"] * (load["length"] + frame) for load in loads)
    probes = (probe["packet_bytes"] + frame) * 8 * 1e9 / probe["interval_ns"]
    assert offered + probes == pytest.approx(lab().committed_bps(lab().pairs[0]), rel=1e-6)


def test_the_firewall_is_asked_for_every_port_that_is_used(smoke: Plan) -> None:
    """Every port on which a job listens or to which it sends is among the flows to be let through."""
    asked = {(target, port) for (_, target, _), (ports, _) in flows(smoke.tasks).items() for port in ports}
    for task in smoke.tasks:
        for job in task.jobs:
            if job.role is Role.SERVE and "port" in job.args:
                assert (job.endpoint, job.args["port"]) in asked


def test_a_step_that_is_not_there_is_refused(smoke: Plan) -> None:
    """--only with an unknown step names the steps that there are."""
    with pytest.raises(BadInput, match="host, edge, path, pmtu, latency"):
        chosen(smoke, ("nosuch",))


def test_wrong_parameters_are_named_with_their_line(tmp_path: Path) -> None:
    """All wrong parameters of all steps are reported at once, each with its line."""
    file = tmp_path / "s.yaml"
    file.write_text(
        "format_version: 1\nid: s\ntitle: S\nsteps:\n"
        "  - id: one\n    measure: latency\n    intervall: 1ms\n"
        "  - id: two\n    measure: latency\n    duration: fast\n"
        "  - id: three\n    measure: nosuch\n"
    )
    with pytest.raises(BadInput) as caught:
        make_plan(lab(), load_scenario(file))
    assert [problem.line for problem in caught.value.problems] == [7, 10, 12]


def test_a_circuit_out_of_service_may_be_loaded(smoke: Plan) -> None:
    """A circuit that carries no users needs no change record."""
    refuse_harm(smoke.tasks, lab(), NOW)


def test_a_circuit_in_service_is_not_loaded_without_ticket_and_window(smoke: Plan) -> None:
    """EC-002: without a ticket, without a window, or outside of it the load is refused."""
    for circuit, said in (
        (live(), "Name a change ticket"),
        (live(allowed_share="0.2"), "has no window"),
        (live(**_window(1, 2)), "it is 2027-03-31T22:00:00"),
        (live(**_window(-0.1, 0.005)), "the window ends in 18 s"),
    ):
        with pytest.raises(Refused, match=said):
            refuse_harm(smoke.tasks, circuit, NOW)


def test_a_circuit_in_service_is_loaded_within_its_window(smoke: Plan) -> None:
    """With ticket and window the load is allowed; the light tasks always are."""
    refuse_harm(smoke.tasks, live(**_window(-1, 1)), NOW)
    refuse_harm(chosen(smoke, ("latency",)), live(), NOW)


def test_a_search_for_the_mtu_fits_any_circuit_in_service(smoke: Plan) -> None:
    """Its probes are paced to the ordered rate, so that it needs no ticket, and its deadline leaves time for them."""
    for rate_bps in (1_000_000_000, 10_000_000):
        vbr = {**lab().source.data["vbrs"][0], "bandwidth": f"{rate_bps}bps"}
        circuit = Circuit.model_validate({**lab().source.data, "in_service": "true", "vbrs": [vbr]})
        tasks = chosen(make_plan(circuit, load_scenario("smoke")), ("pmtu",))
        refuse_harm(tasks, circuit, NOW)
        for task in tasks:
            search = next(job for job in task.jobs if job.id == "search-z-a")
            assert search.args["pace_bps"] == task.load_bps
            assert search.deadline_s > task.load_bytes * 8 / task.load_bps


def _window(start_h: float, end_h: float) -> dict[str, str]:
    return {
        "window_start": (NOW + timedelta(hours=start_h)).isoformat(),
        "window_end": (NOW + timedelta(hours=end_h)).isoformat(),
    }


def test_too_few_ports_are_named_before_anything_is_touched() -> None:
    """An endpoint that allows fewer ports than a load needs is bad input, with its place in the file."""
    data = lab().source.data
    endpoints = {**data["endpoints"], "ecs-a": {**data["endpoints"]["ecs-a"], "ports": "862, 5201"}}
    with pytest.raises(BadInput, match="ecs-a allows 1 ports"):
        make_plan(load_like(endpoints), load_scenario("smoke"))


def test_too_few_ports_for_the_processes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1 Gbit/s of UDP takes two processes, and one port leaves one: it can be run, and the plan and `check` say so."""
    data = lab().source.data
    few = load_like({**data["endpoints"], "ecs-a": {**data["endpoints"]["ecs-a"], "ports": "862, 5201"}})
    step = "measure: throughput, protocol: udp, direction: a-z"
    (task,) = make_plan(few, scenario_with(tmp_path, step)).tasks
    said = "ecs-a needs 2 ports beside the one for probes for a load of 2 processes, has 1: 1 must do"
    assert task.notes[0].startswith(said) and preflight.few_ports(few) == list(task.notes)
    dryrun._show_hosts([task], few, print)
    assert f"note: {said}" in capsys.readouterr().out
    assert make_plan(lab(), scenario_with(tmp_path, step)).tasks[0].notes == () == tuple(preflight.few_ports(lab()))


def scenario_with(folder: Path, step: str) -> Scenario:
    """A scenario of one step, written in one line (line 5)."""
    file = folder / "s.yaml"
    file.write_text(f"format_version: 1\nid: s\ntitle: S\nsteps:\n  - {{id: one, {step}}}\n")
    return load_scenario(file)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("measure: throughput, protocol: udp, packet: 8972", "Write `packet: 1472` or less."),
        ("measure: latency, packet: 1473", "would be fragmented"),
        ("measure: latency, authenticated: true, packet: 64B", "Write `packet: 112B` or more, or leave it out."),
        ("measure: latency, packet: 64B, authenticated: yes please", "'authenticated' is neither true nor false."),
        (
            "measure: throughput, protocol: tcp, probe: {packet: 111B, authenticated: true}",
            "An authenticated packet has at least 112 B of payload, not 111 B.",
        ),
        ("measure: throughput, protocol: udp, probe: {interval: 10m}", "is above 1 s"),
        (
            "measure: throughput, protocol: udp, probe: {interval: 1us}",
            "left out, 50 ms beside TCP and 5 ms beside UDP.",
        ),
        ("measure: throughput, protocol: udp, rate: 2Gbps", "A port of 1 Gbit/s cannot be offered 2 Gbit/s."),
        ("measure: throughput, protocol: udp, rate: 10kbps", "no more than the probes beside the load take"),
        ("measure: throughput, protocol: udp, direction: round-trip", "A load has no round trip."),
        ("measure: throughput, protocol: udp, direction: []", "'direction' has too few items"),
        ("measure: path, ping_count: -5", "is below 1"),
        ("measure: latency, interval: 10s, duration: 1s", "is above 1 s"),
        ("measure: latency, packet: [64B, 1473B]", "would be fragmented"),
        ("measure: latency, packet: imix h", "would be fragmented"),
        ("measure: latency, packet: 43B", "A payload of 43 B is not within 44 and 8972 B."),
        ("measure: latency, packet: imix 7a", "is no IMIX genome"),
        ("measure: latency, packet: []", "1 to 64 sizes in turn, not 0"),
        ("measure: latency, dscp: 64", "'64' is no class of service."),
        ("measure: latency, classes: [EF, AF44]", "'AF44' is no class of service."),
        ("measure: latency, classes: [EF, 46]", "The class EF is there twice."),
        ("measure: latency, classes: [{dscp: EF, interval: 20ms}, 46]", "The class EF is there twice."),
        ("measure: latency, classes: [{interval: 20ms}]", "dscp"),
        ("measure: latency, classes: [{dscp: EF, interval: 2s}]", "is above 1 s"),
        ("measure: latency, classes: [{dscp: EF, packet: 43B}]", "A payload of 43 B is not within 44 and 8972 B."),
        ("measure: latency, classes: [{dscp: EF, packet: 1473B}, BE]", "would be fragmented"),
        (
            "measure: latency, authenticated: true, classes: [{dscp: EF, packet: 64B}, BE]",
            "An authenticated packet has at least 112 B of payload, not 64 B.",
        ),
        (
            "measure: latency, classes: [{dscp: EF, interval: 1100us}, BE]",
            "The intervals of 2 classes have only 100 µs in common: their packets would be less than 100 µs apart.",
        ),
        ("measure: latency, classes: [{dscp: EF, interval: 999ms}, BE], interval: 1s", "only after 1,999 packets"),
        (
            "measure: latency, pattern: poisson, classes: [{dscp: EF, interval: 20ms}, BE]",
            "A Poisson stream has one interval for all its classes.",
        ),
        ("measure: latency, classes: [EF], dscp: BE", "both say how packets are marked"),
        ("measure: latency, classes: [EF, BE], interval: 100us", "Write `interval: 200 µs` or more."),
        (
            "measure: latency, judge: [{metric: loss, statistic: ratio, at_most: 1e-3, class: EF}]",
            "The step one gives no loss for each, class EF. It gives it for a-z, load idle; z-a, load idle.",
        ),
    ],
)
def test_a_step_that_cannot_be_on_this_circuit_is_named_with_its_line(step: str, said: str, tmp_path: Path) -> None:
    """What would be fragmented, empty, endless or more than the port is bad input in the scenario's line."""
    with pytest.raises(BadInput, match=re.escape(said)) as caught:
        make_plan(lab(), scenario_with(tmp_path, step))
    assert [problem.line for problem in caught.value.problems] == [5]


@pytest.mark.parametrize(
    ("step", "criterion", "said"),
    [
        ("measure: latency", "metric: throughput.udp, statistic: mean, at_least: 1Gbps", "does not measure throughput"),
        ("measure: latency", "metric: delay.rtt, statistic: p99, at_most: 5ms, direction: a-z", "for a-z. It gives it"),
        ("measure: latency", "metric: loss, statistic: ratio, at_most: 1e-4, load: udp", "for each, load udp."),
        ("measure: latency", "metric: delay.rtt, statistic: p98, at_most: 5ms", "It gives p50, p95, p99, p99.9."),
        ("measure: pmtu", "metric: pmtu, statistic: largset, at_least: 1500B", "did you mean 'largest'?"),
        (
            "measure: throughput, protocol: udp, direction: a-z",
            "metric: loss, statistic: ratio, at_most: 1e-4, direction: z-a",
            "It gives it for a-z, load udp.",
        ),
    ],
)
def test_a_criterion_that_nothing_answers_is_refused(step: str, criterion: str, said: str, tmp_path: Path) -> None:
    """What a step can never measure would vanish from the verdict, and the run could pass without it."""
    with pytest.raises(BadInput, match=re.escape(said)) as caught:
        make_plan(lab(), scenario_with(tmp_path, f"{step}, judge: [{{{criterion}}}]"))
    assert [problem.line for problem in caught.value.problems] == [5]


@pytest.mark.parametrize(
    "step",
    [
        "measure: latency, authenticated: true",
        "measure: throughput, protocol: udp, direction: a-z, probe: {authenticated: true}",
    ],
)
def test_an_authenticated_stream_is_planned_without_its_key(step: str, tmp_path: Path) -> None:
    """The plan says that both ends sign, in packets with room for the digest, and names a key: the same plan twice."""
    (task,) = make_plan(lab(), scenario_with(tmp_path, step)).tasks
    ends = [job for job in task.jobs if job.method.startswith("stamp.")]
    assert [(job.args["signed"], job.secret) for job in ends] == [("authenticated", "stamp")] * 2
    assert [job.args["packet_bytes"] for job in ends if job.role is Role.DRIVE] == [112]
    assert not any(job.secret for job in task.jobs if job not in ends)
    assert make_plan(lab(), scenario_with(tmp_path, step)).tasks == (task,)


def test_a_criterion_without_a_threshold_is_refused(tmp_path: Path) -> None:
    """A bound that refers to what the order does not say, without a default, would require nothing in silence."""
    source = lab().source.data
    circuit = Circuit.model_validate({**source, "objectives": {"loss": "1e-4"}})
    criterion = "{metric: delay.rtt, statistic: p99, at_most: objectives.rtt}"
    with pytest.raises(BadInput, match=r"The order says nothing of what delay.rtt is held against"):
        make_plan(circuit, scenario_with(tmp_path, f"measure: latency, judge: [{criterion}]"))


def test_the_peak_of_tcp_is_the_port() -> None:
    """TCP is not paced: behind a VBR of half the port it may still take the port, and the plan says so."""
    source = lab().source.data
    half = {**source["vbrs"][0], "bandwidth": "500Mbps"}
    circuit = Circuit.model_validate(
        {**source, "vbrs": [half], "objectives": {**source["objectives"], "rate": "500Mbps"}}
    )
    peaks = {task.id[3:]: task.load_bps for task in make_plan(circuit, load_scenario("smoke")).tasks}
    assert peaks["tcp-a-z"] == 1_000_000_000
    assert peaks["udp-a-z"] == 500_000_000


@pytest.mark.parametrize("layer", ["L1", "L2", "L3"])
def test_the_whole_ordered_rate_is_the_whole_share(layer: str) -> None:
    """EC-002 compares like with like: UDP at the ordered rate is a share of 100 % of it at every layer."""
    source = {**lab().source.data, "in_service": "true", "rate_layer": layer}
    circuit = Circuit.model_validate({**source, "change": {"ticket": "CHG-1", "allowed_share": "100%"}})
    tasks = chosen(make_plan(circuit, load_scenario("smoke")), ("udp",))
    refuse_harm(tasks, circuit, NOW)


def test_every_task_that_sends_says_how_much(smoke: Plan) -> None:
    """Only looks, at hosts and at a router that nobody can ask, put nothing on the circuit; the bytes are no more than
    the peak could carry."""
    for task in smoke.tasks:
        assert bool(task.load_bps) == bool(task.load_bytes) == (task.measurement not in ("host", "edge"))
        assert task.load_bytes * 8 <= 2 * task.load_bps * task.duration_s


def test_ports_that_need_a_privilege_are_named_for_the_change_board(capsys: pytest.CaptureFixture[str]) -> None:
    """A listener below 1024 needs root on that host, and the plan says so; task names are never cut."""
    dryrun.show_plan(find_shipped("circuits/lab"), "acceptance", (), False, Console(width=40))
    said = capsys.readouterr().out
    assert "root or CAP_NET_BIND_SERVICE on ecs-a to listen on 862" in said
    assert re.search(r"^\d+-rfc6349-z-a +onprem-a ↔ ecs-a", said, re.MULTILINE)


def test_the_firewall_rules_are_told_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    """The rules that the on-prem end needs to open come first, then those that the cloud end opens."""
    dryrun.show_plan(find_shipped("circuits/lab"), "smoke", ("latency",), True, Console())
    onprem, cloud = capsys.readouterr().out.split("# from the cloud to on-prem")
    assert "allow udp from 10.10.0.10 to 192.168.10.10 port 862    # STAMP probes and their replies" in onprem
    assert "allow" not in cloud


def test_validate_holds_the_scenario_against_the_circuit(tmp_path: Path) -> None:
    """What the plan would refuse is already said by `validate CIRCUIT SCENARIO`."""
    scenario_with(tmp_path, "measure: latency, packet: 1473")
    with pytest.raises(BadInput, match="would be fragmented"):
        list(dryrun.validate(find_shipped("circuits/lab"), str(tmp_path / "s.yaml")))


# --- the CE ---------------------------------------------------------------------------------------


CE = {"name": "ce-1", "ssh": {"host": "ce-ssh"}, "lan": "eth0", "wan": "eth1"}


def test_the_ce_is_watched_beside_every_task_that_moves_packets() -> None:
    """Both its interfaces are read with the hosts' method, as a bonus; it serves and drives nothing. What the hosts do
    among themselves does not pass it."""
    circuit = Circuit.model_validate({**lab().source.data, "ce": CE})
    plan = make_plan(circuit, load_scenario("acceptance"))
    assert from_json(to_json(plan), "plan.json") == plan
    for task in plan.tasks:
        if task.measurement == "edge":
            continue  # there it is asked itself
        beside = [(job.id, job.args["interface"]) for job in task.jobs if job.endpoint == "ce-1"]
        counted = any(job.method == "host.counters" for job in task.jobs) and not task.scope.host
        assert beside == ([("counters-lan", "eth0"), ("counters-wan", "eth1")] if counted else [])
        assert all(job.optional and job.role is Role.WATCH for job in task.jobs if job.endpoint == "ce-1")
    assert spare(plan.tasks) == {"ce-1"} and "ce-1" in hosts(plan.tasks)
    assert spare(make_plan(lab(), load_scenario("smoke")).tasks) == frozenset()


def test_the_plan_and_the_firewall_rules_name_the_ce(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A change board sees that it is read, the firewall team that it is reached by SSH; it needs no test ports."""
    file = tmp_path / "circuit.yaml"
    form = "ce: {name: ce-1, ssh: {host: ce-ssh}, lan: eth0, wan: eth1}\n"
    file.write_text(find_shipped("circuits/lab").read_text().replace("ce: ph-ce-a\n", form))
    dryrun.show_plan(file, "smoke", (), False, Console())
    assert "ce-1 (CE): ssh ce-ssh, python3; counters of eth0 and eth1, if it answers" in capsys.readouterr().out
    dryrun.show_plan(file, "smoke", (), True, Console())
    said = capsys.readouterr().out
    assert "ce-1" not in said and re.search(r"# SSH from the coordinator to .*\bce-ssh\b", said)


@pytest.mark.parametrize(("duration", "period_ms"), [("30s", 100), ("9min", 100), ("1h", 1000), ("24h", 1000)])
def test_long_streams_are_watched_once_a_second(duration: str, period_ms: int, tmp_path: Path) -> None:
    """A day of counters is a tenth of what it would be; short runs keep their ten rows a second."""
    (task,) = make_plan(lab(), scenario_with(tmp_path, f"measure: latency, duration: {duration}, interval: 1s")).tasks
    assert {job.args["period_ms"] for job in task.jobs if job.method == "host.counters"} == {period_ms}


def test_several_steps_can_be_chosen(smoke: Plan) -> None:
    """--only given twice is both steps, in the order of the plan; one that is not there is refused all the same."""
    assert list(dict.fromkeys(task.step for task in chosen(smoke, ("latency", "host")))) == ["host", "latency"]
    with pytest.raises(BadInput, match="no step 'nosuch'"):
        chosen(smoke, ("host", "nosuch"))
