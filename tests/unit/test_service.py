"""Service activation tests: what is asked, what is offered, and what made-up loads say of a circuit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from perfharness.errors import BadInput
from perfharness.judge.diagnosis import diagnose
from perfharness.measurements import REGISTRY, load_others
from perfharness.measurements.load_session import Session
from perfharness.model import Direction, Job, Verdict
from perfharness.order.circuit import Circuit, load_circuit
from perfharness.order.scenario import find_shipped
from perfharness.plan import make_plan, with_own_criteria
from perfharness.report.blocks import Chart, Para, Table
from perfharness.report.dossier import Dossier
from perfharness.report.html import render
from perfharness.report.sections import service
from tests.unit import run_builder
from tests.unit.job_files import CIRCUIT, CONTEXT
from tests.unit.probe_stream import Packet
from tests.unit.service_files import Fate, store, tasks
from tests.unit.service_judged import CONFIG, GOLD, configured, judged, phase_of, scenario_of, verdict

A_Z, Z_A, BOTH, THERE_AND_BACK = Direction.A_Z, Direction.Z_A, Direction.BOTH, Direction.ROUND_TRIP


def circuit(job: Job, load: str) -> Fate:
    """What the order promises: CIR and EIR, and no more."""
    return Fate(most_bps=29.5e6, bucket_bytes=200_000) if load == "policing" else Fate()


def test_a_circuit_as_ordered_passes_every_step(tmp_path: Path) -> None:
    """All arrives up to CIR+EIR, and the policer lets through what it should: each row of each step passes."""
    _, rows = configured(tmp_path, circuit)
    assert {row.verdict for row in rows} == {Verdict.PASS}, [(r.metric, r.scope.load, r.reason) for r in rows]
    assert len(rows) == 4 * 4 + 1 + 2
    (rate,) = (row for row in rows if row.metric == "throughput.udp" and row.scope.load == "75% CIR")
    assert rate.value == pytest.approx(15e6, rel=2e-3)
    assert rate.layer == "L2" and rate.scope.service == "EF"


def test_the_curve_of_a_service_is_as_high_as_its_figure(tmp_path: Path) -> None:
    """Both have the probes of its class in them, or a service at its CIR would be drawn below it."""
    found, rows = configured(tmp_path, circuit)
    (rate,) = (row for row in rows if row.metric == "throughput.udp" and row.scope.load == "100% CIR")
    curve = next(one for one in found.series if one.kind == "service.rate")
    start, end = next(step["seen_s"] for step in found.facts["steps"] if step["load"] == "100% CIR")
    drawn = curve.y[(curve.x > start + 0.2) & (curve.x < end - 0.2)]
    assert drawn.mean() == pytest.approx(rate.value, rel=2e-3)


def test_loss_at_the_cir_fails_that_step_alone(tmp_path: Path) -> None:
    """Two percent are lost at 100 % of the CIR: loss and rate of that step fail, the others stand."""
    _, rows = configured(tmp_path, lambda job, load: Fate(through=0.98) if load == "100% CIR" else circuit(job, load))
    assert verdict(rows, "loss", "100% CIR") is Verdict.FAIL
    assert verdict(rows, "throughput.udp", "100% CIR") is Verdict.FAIL
    assert verdict(rows, "loss", "75% CIR") is Verdict.PASS
    assert verdict(rows, "throughput.udp", "75% CIR") is Verdict.PASS


@pytest.mark.parametrize(("others_bps", "wanted"), [(0.0, Verdict.FAIL), (0.5e6, Verdict.INCONCLUSIVE)])
def test_what_others_had_beside_a_service_is_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others_bps: float, wanted: Verdict
) -> None:
    """Of its 20 Mbit/s 2 % are lost: if others sent as much meanwhile, that leaves rate and loss open. They are told
    from the service's own sessions."""

    def told(files: object, context: object, sessions: Sequence[Session]) -> dict[str, float]:
        return {str(session.way): others_bps for session in sessions}

    monkeypatch.setattr(load_others, "others_bps", told)
    _, rows = configured(tmp_path, lambda job, load: Fate(through=0.98) if load == "100% CIR" else Fate())
    assert verdict(rows, "loss", "100% CIR", way=Direction.A_Z) is wanted
    assert verdict(rows, "throughput.udp", "100% CIR", way=Direction.A_Z) is wanted


def test_a_policer_that_lets_too_much_through_is_a_warning(tmp_path: Path) -> None:
    """More than CIR+EIR and the margin arrives: nobody loses by that, but the order says otherwise."""
    _, rows = configured(tmp_path, lambda job, load: Fate())
    assert verdict(rows, "throughput.udp", "policing", "<=") is Verdict.WARN
    assert verdict(rows, "throughput.udp", "policing", ">=") is Verdict.PASS


def test_what_is_let_through_above_the_order_is_no_shortfall(tmp_path: Path) -> None:
    """A rate that is too high has no cause that makes it too low."""
    found, rows = configured(tmp_path, lambda job, load: Fate())
    assert "policed-below-order" not in {each.cause for each in diagnose(rows, [found])}


def test_a_policer_that_is_too_strict_fails(tmp_path: Path) -> None:
    """When more is offered less than the CIR arrives."""
    _, rows = configured(tmp_path, lambda job, load: Fate(most_bps=18e6) if load == "policing" else circuit(job, load))
    assert verdict(rows, "throughput.udp", "policing", ">=") is Verdict.FAIL
    assert verdict(rows, "throughput.udp", "policing", "<=") is Verdict.PASS


def test_a_bucket_of_tokens_is_no_rate(tmp_path: Path) -> None:
    """What a burst allowance lets through at the beginning of the policing step does not count against the policer."""
    _, rows = configured(
        tmp_path,
        lambda job, load: Fate(most_bps=29.5e6, bucket_bytes=400_000) if load == "policing" else Fate(),
    )
    assert verdict(rows, "throughput.udp", "policing", "<=") is Verdict.PASS


def test_a_sender_that_falls_short_decides_nothing(tmp_path: Path) -> None:
    """What was not offered may all have arrived: INCONCLUSIVE, and a reason to do it again."""
    found, rows = configured(
        tmp_path, lambda job, load: Fate(offered=0.9) if load == "100% CIR" else circuit(job, load)
    )
    assert verdict(rows, "throughput.udp", "100% CIR") is Verdict.INCONCLUSIVE
    assert verdict(rows, "loss", "100% CIR") is Verdict.INCONCLUSIVE
    assert verdict(rows, "loss", "75% CIR") is Verdict.PASS
    assert any("onprem-a offered" in seen.short for seen in found.observations)


def test_a_policer_that_was_not_offered_enough_is_not_shown_to_hold(tmp_path: Path) -> None:
    """Less arrives than it may let through since less was sent."""
    _, rows = configured(tmp_path, lambda job, load: Fate(offered=0.8) if load == "policing" else Fate())
    assert verdict(rows, "throughput.udp", "policing", "<=") is Verdict.INCONCLUSIVE


def test_what_the_receiver_dropped_is_not_the_circuits(tmp_path: Path) -> None:
    """The socket counts what it had no room for, step by step: no FAIL, and no PASS by excuses either."""
    found, rows = configured(
        tmp_path, lambda job, load: Fate(dropped=0.05) if load == "50% CIR" else circuit(job, load)
    )
    assert verdict(rows, "loss", "50% CIR") is Verdict.INCONCLUSIVE
    assert verdict(rows, "throughput.udp", "50% CIR") is Verdict.INCONCLUSIVE
    assert {verdict(rows, "loss", f"{percent}% CIR") for percent in (25, 75, 100)} == {Verdict.PASS}
    booked = [row for row in found.ledger if row.segment == "host-z" and row.packets_lo]
    assert booked and {row.scope.load for row in booked} == {"50% CIR"}


def test_delay_is_that_of_the_step(tmp_path: Path) -> None:
    """Only the probes of the last tenth of the stream are late: the first step passes, and one that they fall into
    fails."""
    (task,) = tasks("service-configuration", **CONFIG, steps=[25, 100], policing="false")
    count = next(job.args["count"] for job in task.jobs if job.method == "stamp.send")
    found = store(
        tmp_path / "run",
        task,
        circuit,
        probes=lambda seq: Packet(seq, forward_ns=90_000_000 if seq > 0.45 * count else 10_000_000),
    )
    rows = judged(found, {**CONFIG, "steps": [25, 100], "policing": "false"}, tmp_path)
    assert verdict(rows, "delay.loaded", "25% CIR") is Verdict.PASS
    assert verdict(rows, "delay.loaded", "100% CIR") is Verdict.FAIL


def test_both_directions_are_told_apart(tmp_path: Path) -> None:
    """In a test of both directions at once one loses: its rows fail, and the other's pass."""
    asked = {**CONFIG, "direction": "both"}
    (task,) = tasks("service-configuration", **asked)
    found = store(
        tmp_path / "run",
        task,
        lambda job, load: Fate(through=0.9) if load == "100% CIR both ways" and "z-a" in job.id else Fate(),
    )
    rows = judged(found, asked, tmp_path)
    assert verdict(rows, "loss", "100% CIR both ways", way=Z_A) is Verdict.FAIL
    assert verdict(rows, "loss", "100% CIR both ways", way=A_Z) is Verdict.PASS


def test_a_class_that_starves_fails_beside_one_that_does_not(tmp_path: Path) -> None:
    """All services at once, one of which loses a third: its rows fail, by its name, and it was not always available."""
    services = {"voice": {"cir": "5Mbps", "dscp": "EF", "flr": "1e-3"}, "bulk": {"cir": "20Mbps", "dscp": "BE"}}
    asked = {"services": services, "duration": "40s", "direction": "a-z"}
    (task,) = tasks("service-performance", **asked)
    assert task.services == ("EF", "BE")
    found = store(tmp_path / "run", task, lambda job, load: Fate(silent_s=(10.0, 25.0)) if "bulk" in job.id else Fate())
    rows = judged(found, asked, tmp_path)
    fates = {row.scope.service: row.verdict for row in rows if row.metric == "loss" and row.scope.direction is A_Z}
    assert fates == {"EF": Verdict.PASS, "BE": Verdict.FAIL}
    delays = {row.scope.service: row.verdict for row in rows if row.metric == "delay.loaded"}
    assert delays == {"EF": Verdict.FAIL, "BE": Verdict.FAIL}, "22 ms of made-up round trips, 5 ms ordered"
    seen = {each.scope.service: each.value for each in found.observations if each.metric == "availability"}
    assert seen["EF"] == 1.0 and seen["BE"] == pytest.approx(25 / 40, abs=0.05)


def test_a_port_without_room_has_no_policing_step() -> None:
    """Where CIR is the port's rate nothing can be offered above it."""
    loads = tasks("service-configuration", direction="a-z")[0].loads
    assert "policing" not in loads and "CIR+EIR" not in loads


@pytest.mark.parametrize(
    ("eir", "offered"), [("10Mbps", 20e6 + 1.25 * 10e6), ("2Mbps", 1.25 * 20e6 + 2e6), (None, 25e6)]
)
def test_the_policer_is_offered_what_the_recommendation_says(eir: str | None, offered: float) -> None:
    """CIR + 1.25·EIR from an EIR of a fifth of the CIR on, else 1.25·CIR + EIR; the probes are a part of it."""
    service = {"cir": "20Mbps", **({"eir": eir} if eir else {})}
    (task,) = tasks("service-configuration", services={"one": service}, direction="a-z")
    probes_bps = (64 + 28 + 18) * 8 * 500
    assert phase_of(task, "policing")["rate_bps"] == pytest.approx(offered - probes_bps, abs=2)
    assert phase_of(task, "50% CIR")["rate_bps"] == pytest.approx(10e6 - probes_bps, abs=2)


def test_a_burst_waits_until_its_tokens_are_there() -> None:
    """CBS goes out beside the CIR and faster than it, after a rest in which the CIR fills so much."""
    service = {"cir": "20Mbps", "cbs": "500kB", "ebs": "100kB"}
    (task,) = tasks("service-configuration", services={"one": service}, direction="a-z")
    assert task.loads[-2:] == ("CBS", "CBS+EBS")
    burst = phase_of(task, "CBS")
    counted = (
        burst["packet_bytes"] + next(job for job in task.jobs if job.method == "load.drive").args["overhead_bytes"]
    )
    leaves_s = burst["bursts"]["packets"] * counted * 8 / burst["rate_bps"]
    assert leaves_s * (burst["rate_bps"] - 20e6) / 8 == pytest.approx(500_000, rel=0.02)
    phases = next(job for job in task.jobs if job.method == "load.drive").args["phases"]
    before = phases[phases.index(burst) - 1]
    assert before["name"] == "rest" and before["seconds"] * 20e6 / 8 > 500_000


def test_a_burst_that_passes_and_one_that_is_cut(tmp_path: Path) -> None:
    """A bucket a little larger than was ordered takes the burst; one of half its size fails it."""
    services = {"gold": {**GOLD, "cbs": "400kB"}}
    for bucket, expected in ((430_000, Verdict.PASS), (200_000, Verdict.FAIL)):
        how = Fate(most_bps=20e6, bucket_bytes=bucket)
        found, rows = configured(
            tmp_path / str(bucket), lambda job, load, how=how: how if load == "CBS" else Fate(), services=services
        )
        assert verdict(rows, "loss", "CBS") is expected
        assert found.task.loads[-1] == "CBS"


SMALL_BURSTS = ["3kB", "12kB", "48kB", "200kB"]


@pytest.mark.parametrize("cbs", SMALL_BURSTS)
def test_small_bursts_come_again_until_they_are_decided(tmp_path: Path, cbs: str) -> None:
    """Whole packets that the bucket holds, a hundred of them at least, each burst after a rest in which it fills: none
    lost passes, a seventh lost fails."""
    services = {"gold": {**GOLD, "cbs": cbs}}
    for through, expected in ((1.0, Verdict.PASS), (0.85, Verdict.FAIL)):
        fate = Fate(through=through)
        found, rows = configured(
            tmp_path / str(through),
            lambda job, load, fate=fate: fate if load == "CBS" else Fate(),
            services=services,
            steps=[100],
            policing="false",
        )
        assert verdict(rows, "loss", "CBS") is expected
    burst = phase_of(found.task, "CBS")
    bursts, args = burst["bursts"], next(job for job in found.task.jobs if job.method == "load.drive").args
    size = int(cbs.removesuffix("kB")) * 1000
    bits = (burst["packet_bytes"] + args["overhead_bytes"]) * 8
    held = bursts["packets"] * bits - bursts["refill_bps"] * bursts["packets"] * bits / burst["rate_bps"]
    assert held <= size * 8 and bursts["packets"] * bursts["times"] >= 100
    assert bursts["rest_s"] * bursts["refill_bps"] > 1.2 * size * 8
    (lost,) = (seen for seen in found.observations if (seen.metric, seen.scope.load) == ("loss", "CBS"))
    assert lost.n == bursts["packets"] * bursts["times"]


def test_a_burst_that_left_too_slowly_passes_nothing(tmp_path: Path) -> None:
    """All of it arrived, but tokens came back meanwhile: a smaller bucket had let it pass as well."""
    found, rows = configured(
        tmp_path,
        lambda job, load: Fate(slower=1.5) if load == "CBS" else Fate(),
        services={"gold": {**GOLD, "cbs": "48kB"}},
    )
    assert verdict(rows, "loss", "CBS") is Verdict.INCONCLUSIVE
    assert any("of the load" in seen.short and seen.scope.load == "CBS" for seen in found.observations)


def test_one_packet_is_no_burst() -> None:
    """Bad input, with what to change."""
    with pytest.raises(Exception, match="The burst of one is less than 2 of its packets"):
        one = {"cir": "20Mbps", "cbs": "3kB", "packet": "1400B"}
        tasks("service-configuration", services={"one": one}, probe={"interval": "50ms", "packet": "1400B"})


def test_services_have_ports_and_probes_of_their_own() -> None:
    """Each service has a session each way with its own port and mark; the probes have all marks in turn."""
    services = {"voice": {"cir": "10%  of order".replace("  ", " "), "dscp": "EF"}, "bulk": {"cir": "50% of order"}}
    (task,) = tasks("service-performance", services=services, direction="both", duration="15s")
    loads = [job for job in task.jobs if job.method == "load.serve"]
    assert len({job.args["port"] for job in loads}) == 4 and {job.args["dscp"] for job in loads} == {46, 0}
    assert len({job.secret for job in loads}) == 4
    probes = next(job for job in task.jobs if job.method == "stamp.send")
    assert probes.args["dscp"] == [46, 0]
    assert task.load_bps == pytest.approx(0.6e9, rel=1e-6)


BAD = {
    "cir-too-much": ("services: {a: {cir: 600Mbps, dscp: EF}, b: {cir: 500Mbps}}", "more than the 1 Gbit/s"),
    "cir-not-a-rate": ("services: {a: {cir: 30}}", "number without a unit"),
    "cir-missing": ("services: {a: {eir: 3Mbps}}", "'cir' is missing"),
    "cir-share": ("services: {a: {cir: 130% of order}}", "not a part of the order"),
    "mixed": ("services: {a: {cir: 30% of order, eir: 3Mbps}}", "Write both alike"),
    "eir-too-much": ("services: {a: {cir: 600Mbps, eir: 500Mbps}}", "the port has 1 Gbit/s"),
    "same-class": ("services: {a: {cir: 3Mbps}, b: {cir: 4Mbps}}", "both of class BE"),
    "class": ("services: {a: {cir: 3Mbps, dscp: gold}}", "no class of service"),
    "name": ('services: {"a b": {cir: 3Mbps}}', "cannot be the name of a service"),
    "none": ("services: {}", "too few items"),
    "ebs": ("services: {a: {cir: 3Mbps, ebs: 9kB}}", "without a `cbs`"),
    "flr": ("services: {a: {cir: 3Mbps, flr: 3}}", "more than the whole"),
    "packet": ("services: {a: {cir: 3Mbps, packet: 1600B}}", "do not fit the ordered MTU"),
    "probes": ("services: {a: {cir: 400kbps}}", "no more than the probes beside it"),
    "key": ("services: {a: {cir: 3Mbps, fld: 3ms}}", "unknown key 'fld'"),
    "step": ("step: 100ms", "'step': 100 ms is below 2 s"),
    "steps-over": ("steps: [50, 150]", "'150' is above 100"),
    "steps-twice": ("steps: [50, 50]", "there twice"),
    "steps-none": ("steps: []", "too few items"),
    "margin": ("margin: 50%", "'margin'"),
    "direction": ("direction: round-trip", "no round trip"),
    "load": ("judge: [{metric: loss, statistic: ratio, at_most: 1e-3, load: 80% CIR}]", "load 80% CIR"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_with_its_line(tmp_path: Path, name: str) -> None:
    """What cannot be is said with the line, before anything is touched."""
    text, words = BAD[name]
    with pytest.raises(BadInput) as caught:
        make_plan(CIRCUIT, scenario_of(tmp_path, "service-configuration", f"    {text}\n"))
    assert [words in str(problem) for problem in caught.value.problems] == [True], caught.value.problems
    assert caught.value.problems[0].line == 7


def test_a_judge_line_may_name_a_step(tmp_path: Path) -> None:
    """With lines of its own the step is held against these alone."""
    text = "    direction: a-z\n    judge: [{metric: loss, statistic: ratio, at_most: 1e-3, load: 100% CIR}]\n"
    scenario = scenario_of(tmp_path, "service-configuration", text)
    (step,) = with_own_criteria(scenario, CIRCUIT).steps
    assert len(step.judge) == 1
    assert make_plan(CIRCUIT, scenario).tasks


def test_too_few_ports_are_said(tmp_path: Path) -> None:
    """Each session needs one beside the probes'."""
    circuit = load_circuit(find_shipped("circuits/lab"))
    ends = {**circuit.source.data["endpoints"]}
    ends["ecs-a"] = {**ends["ecs-a"], "ports": "862, 5201"}
    small = Circuit.model_validate({**circuit.source.data, "endpoints": ends})
    small._source = circuit.source
    with pytest.raises(BadInput, match="the services need 2"):
        make_plan(small, scenario_of(tmp_path, "service-configuration"))


def test_the_context_is_the_labs() -> None:
    """The figures above are of an order of 1 Gbit/s at L2 with a VLAN tag."""
    assert (CONTEXT.committed_bps, CONTEXT.layer, CONTEXT.tagged) == (10**9, "L2", True)


def test_the_report_has_a_table_and_a_picture_of_each_direction(tmp_path: Path) -> None:
    """Each step is a row with its verdict and why it is not passed; the method says where delay comes from."""
    found, rows = configured(tmp_path, lambda job, load: Fate(through=0.98) if load == "100% CIR" else Fate())
    run = replace(run_builder.passing(), findings=tuple(rows), measurements=(found,))
    built = service.build(Dossier(run, CIRCUIT, scenario_of(tmp_path, "service-configuration")))
    overview, table = (block for block in built.blocks if isinstance(block, Table))
    assert [row.cells[-1].verdict for row in overview.rows] == [Verdict.FAIL]
    verdicts = {row.cells[0].text: row.cells[-1].verdict for row in table.rows}
    assert list(verdicts) == ["25% CIR", "50% CIR", "75% CIR", "100% CIR", "CIR+EIR", "policing"]
    assert (verdicts["75% CIR"], verdicts["100% CIR"]) == (Verdict.PASS, Verdict.FAIL)
    assert "FLR: It is at least" in next(row.note for row in table.rows if row.cells[0].text == "100% CIR")
    (picture,) = (block for block in built.blocks if isinstance(block, Chart))
    assert "CIR is 20 Mbit/s; CIR+EIR is 30 Mbit/s" in picture.caption and "policing" in picture.svg
    assert any("STAMP stream beside the load" in block.text for block in built.blocks if isinstance(block, Para))


def test_the_report_says_where_policing_does_not_apply(tmp_path: Path) -> None:
    """CIR is the port's rate: there is no such step, and the report says why."""
    (task,) = tasks("service-configuration", direction="a-z", step="2s", steps=[1])
    found = store(tmp_path / "run", task)
    run = replace(run_builder.passing(), findings=(), measurements=(found,))
    built = service.build(Dossier(run, CIRCUIT, scenario_of(tmp_path, "service-configuration")))
    assert any("Policing is not applicable" in block.text for block in built.blocks if isinstance(block, Para))


def test_the_whole_report_can_be_made_of_all_services_at_once(tmp_path: Path) -> None:
    """Delay, distribution and one-way sections take the services' series too, each with the name of its load."""
    services = {"voice": {"cir": "5Mbps", "dscp": "EF"}, "bulk": {"cir": "20Mbps", "dscp": "BE"}}
    asked = {"services": services, "duration": "12s", "direction": "both"}
    (task,) = tasks("service-performance", **asked)
    found = store(tmp_path / "run", task)
    run = replace(run_builder.passing(), findings=tuple(judged(found, asked, tmp_path)), measurements=(found,))
    page = render(run, CIRCUIT, scenario_of(tmp_path, "service-performance"))
    assert "All services at their CIR, on-prem → cloud, both ways at once" in page
    assert "under all services at their CIR both ways" in page


@pytest.mark.parametrize(
    ("service", "says"),
    [({"cir": "1bps"}, "less than a packet takes"), ({"cir": "10Mbps", "flr": "100%"}, "is promised nothing")],
)
def test_a_service_is_promised_something(service: dict[str, str], says: str) -> None:
    """What leaves nothing to be judged is bad input and no rate of 0."""
    with pytest.raises(ValidationError, match=says):
        REGISTRY["service-configuration"].parameters.model_validate({"services": {"voice": service}})
