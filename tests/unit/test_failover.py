"""What a failover test says: outages each way and flow by flow, what the circuit owes, and why it took so long."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perfharness import evidence
from perfharness.judge.diagnosis import diagnose
from perfharness.measurements.failover_result import _unseen
from perfharness.measurements.failover_timeline import carried
from perfharness.model import Direction, Verdict
from perfharness.order.circuit import Circuit
from perfharness.order.vbr import Bfd, Bgp
from tests.unit.failover_files import (
    A_Z,
    CUT_NS,
    INTERVAL_NS,
    WITH_CE,
    Z_A,
    Lost,
    a_task,
    between,
    findings,
    measured,
    nothing,
)
from tests.unit.job_files import CIRCUIT, CONTEXT, _leave, find
from tests.unit.probe_stream import START_UNIX_NS


def test_each_direction_and_phase_has_its_own_outage(tmp_path: Path) -> None:
    """A cut of 1.2 s there, seen for 0.4 s back, and a return that costs 50 ms: each with bounds an interval away."""
    seen = measured(
        tmp_path,
        lambda flow, at_s: between(3.0, 4.2)(flow, at_s) or between(7.0, 7.05)(flow, at_s),
        between(3.0, 3.4),
    )
    for way, statistic, length_s in (
        (A_Z, "duration", 1.2),
        (A_Z, "failback", 0.05),
        (Z_A, "duration", 0.4),
        (Z_A, "failback", 0.0),
    ):
        found = find(seen, "outage", statistic, way)
        assert found.interval is not None and found.interval.lo <= length_s * 1e9 <= found.interval.hi
        assert found.value == pytest.approx(length_s * 1e9, abs=INTERVAL_NS)
        assert found.interval.hi - found.interval.lo <= 3 * INTERVAL_NS
    assert [find(seen, "outage", "flaps", way).value for way in (A_Z, Z_A)] == [0, 0]


def test_only_the_flows_of_the_cut_circuit_are_hit(tmp_path: Path) -> None:
    """Where routers share flows among circuits the others lose nothing: the worst flow counts, and each is told."""
    seen = measured(tmp_path, between(3.0, 4.0, 1))
    found = find(seen, "outage", "duration", A_Z)
    assert "1 of 2 flows were cut off" in found.reason
    split = find(seen, "outage", "split", A_Z)
    assert split.value == 0.5 and split.interval is not None and split.interval.lo < 0.1 < split.interval.hi == 0.5
    assert find(seen, "outage", "split", Z_A).value is None
    first, second = seen.facts["failover"]["flows"]["a-z"]
    assert (first["lost"], first["outage_ns"][0]) == (0, 0)
    assert second["outage_ns"][0] == pytest.approx(1e9, abs=INTERVAL_NS)


def test_flows_that_all_take_one_circuit_are_not_split(tmp_path: Path) -> None:
    """What fails over from an active circuit to one that stood by is no pair that shares; few flows leave it open."""
    split = find(measured(tmp_path, between(3.0, 4.0)), "outage", "split", A_Z)
    assert (split.value, split.interval and split.interval.lo) == (0, 0)
    assert split.interval is not None and split.interval.hi > 0.1
    assert split.reason == "2 of 2 flows took the circuit that was cut. None is known to take another one."


def test_how_two_routers_shared_the_traffic_before_is_told(tmp_path: Path) -> None:
    """By the counters of their WAN interfaces, until the cut."""
    task, folder = a_task(WITH_CE), evidence.create(tmp_path, "c", "r", {})
    (mine,) = (job for job in task.jobs if job.id == "counters-wan")
    other = replace(mine, endpoint="ce-2")
    for job, rate in ((mine, 300), (other, 100)):
        rows = [{"t_ns": CUT_NS + at * 10**9, "nic": {"tx_bytes": rate * at, "rx_bytes": at}} for at in range(-2, 3)]
        _leave(
            folder, task, job, {}, "counters.jsonl", "\n".join(map(json.dumps, [{"format_version": 1}, *rows])).encode()
        )
    told = carried(replace(task, jobs=(*task.jobs, other)), folder.files(task.id), CUT_NS)
    assert told == {"ce-1": {"a-z": 600, "z-a": 2}, "ce-2": {"a-z": 200, "z-a": 2}}


def test_why_no_outage_was_seen_is_told(tmp_path: Path) -> None:
    """The circuit carried none of the flows; or the path was so bad before that an outage would be hidden."""
    noisy = measured(tmp_path / "noisy", lambda _, at_s: at_s < 2 and at_s % 0.5 < 0.1)
    found = find(noisy, "outage", "duration", A_Z)
    assert found.value is None and "would hide an outage of fewer than 203 probes in a row (203 ms)" in found.reason
    quiet = find(measured(tmp_path / "quiet"), "outage", "duration", A_Z)
    assert quiet.value is None and "none may have taken this circuit, or it was not cut" in quiet.reason
    side: Any = SimpleNamespace(
        least_run=3, wan=None, all=lambda _: [], stream=SimpleNamespace(interval_ns=INTERVAL_NS)
    )
    shares = {"ce-1": {"a-z": 5, "z-a": 0}, "ce-2": {"a-z": 1000, "z-a": 0}}
    assert "ce-1 carried none of them before it was cut" in _unseen(side, shares, WITH_CE)


def test_a_flap_is_counted(tmp_path: Path) -> None:
    """Back, gone and back again is no recovery."""
    seen = measured(tmp_path, lambda flow, at_s: between(7, 7.2)(flow, at_s) or between(7.5, 7.6)(flow, at_s))
    assert find(seen, "outage", "flaps", A_Z).value == 1
    assert find(seen, "outage", "failback", A_Z).value == pytest.approx(3e8, abs=2 * INTERVAL_NS)


def test_a_cut_that_nothing_shows_is_no_pass(tmp_path: Path) -> None:
    """Perhaps no flow took that circuit, perhaps it was not cut: either way it is not measured."""
    seen = measured(tmp_path / "nobody")
    found = find(seen, "outage", "duration", A_Z)
    assert found.value is None and found.reason.startswith("No flow of this direction was cut off")
    row = {"mono_ns": 1, "what": "carrier", "of": "wan"}
    edge = [{**row, "t_ns": START_UNIX_NS, "state": "up"}, {**row, "t_ns": CUT_NS + 10**8, "state": "no carrier"}]
    seen = measured(tmp_path / "carrier", context=WITH_CE, edge=edge)
    found = find(seen, "outage", "duration", A_Z)
    assert found.value is None, "a router that saw it does not say that these flows took that circuit"


def burst(at_s: float) -> Lost:
    return between(at_s, at_s + 0.004)


def test_a_few_lost_probes_are_no_cut_where_the_circuit_carried_on(tmp_path: Path) -> None:
    """The CE counted on: a burst meanwhile, and one after the restore, are no quick failover."""
    seen = measured(tmp_path, burst(7.5), burst(4.5), WITH_CE, wan=lambda *_: 2.0)
    for way in (A_Z, Z_A):
        for statistic in ("duration", "failback", "flaps", "split"):
            found = find(seen, "outage", statistic, way)
            assert found.value is None and found.reason.startswith("The circuit was not gone: 212,000 bytes a second")
    assert not [row for row in findings(seen) if row.verdict is Verdict.PASS]


def test_a_direction_that_was_not_cut_is_not_measured(tmp_path: Path) -> None:
    """A silent failure in one direction, which nobody noticed: what left into it never arrived, and the other way the
    circuit carries on."""
    seen = measured(tmp_path, between(3.0, 6.5), burst(4.5), WITH_CE, wan=lambda *_: 2.0)
    there, back = (find(seen, "outage", "duration", way) for way in (A_Z, Z_A))
    assert there.value == pytest.approx(3.5e9, abs=2 * INTERVAL_NS) and back.value is None
    assert there.interval is not None and there.interval.hi == float("inf"), "it was given back before it ended"


def test_a_failover_without_a_loss_passes_where_the_ce_tells_of_it(tmp_path: Path) -> None:
    """All of ours crossed its port before, and nothing at the end; what crossed besides may have been others'."""
    until_cut = lambda flows: lambda _, at_s: flows if at_s < 3.3 else 0.01  # noqa: E731
    seen = measured(tmp_path / "ours", context=WITH_CE, wan=until_cut(2.0))
    rows = findings(seen)
    assert {row.verdict for row in rows} == {Verdict.PASS} and len(rows) == 6
    assert find(seen, "outage", "duration", A_Z).value == 0
    others = measured(tmp_path / "others", context=WITH_CE, wan=until_cut(5.0))
    assert find(others, "outage", "duration", A_Z).value is None, "all of ours may have taken the other circuit"
    seen = measured(tmp_path / "idle", burst(4.5), burst(4.5), WITH_CE, wan=until_cut(0.01))
    assert Verdict.PASS not in {row.verdict for row in findings(seen) if row.statistic in ("duration", "failback")}


def test_without_a_ce_an_outage_must_come_with_the_cut(tmp_path: Path) -> None:
    """Of what the order's timers cannot explain nobody knows whence it is; and a return alone proves no cut."""
    vbr = CIRCUIT.vbrs[0].model_copy(
        update={"bgp": Bgp(customer_as=65010, bfd=Bfd.model_validate({"tx": "200ms", "rx": "200ms", "multiplier": 3}))}
    )
    context = replace(CONTEXT, circuit=CIRCUIT.model_copy(update={"vbrs": (vbr,)}))
    found = find(measured(tmp_path / "late", burst(5.6), context=context), "outage", "duration", A_Z)
    assert found.value is None and "the word of who cut it" in found.reason
    found = find(measured(tmp_path / "soon", burst(3.1), context=context), "outage", "duration", A_Z)
    assert found.value == 4_000_000 and "the word of who cut it" in found.reason
    seen = measured(tmp_path / "back", burst(7.5), context=context)
    assert find(seen, "outage", "duration", A_Z).value is None
    assert Verdict.PASS not in {row.verdict for row in findings(seen)}


def test_an_outage_that_goes_on_when_the_circuit_is_cut_is_the_cuts(tmp_path: Path) -> None:
    """By the clocks it began half a second before: these may be apart, and it is no shorter for that."""
    seen = measured(tmp_path, between(2.5, 4.0))
    assert find(seen, "outage", "duration", A_Z).value == pytest.approx(1.5e9, abs=INTERVAL_NS)


def test_a_direction_in_which_no_flow_was_cut_off_is_not_measured(tmp_path: Path) -> None:
    """Its flows may come back by the other circuit, so that an outage of 0 ms would be none that was seen."""
    rows = findings(measured(tmp_path, between(3.0, 3.5)))
    verdicts = {(row.statistic, row.scope.direction): row.verdict for row in rows}
    for statistic in ("duration", "failback", "flaps"):
        assert verdicts[statistic, A_Z] is Verdict.PASS
        assert verdicts[statistic, Z_A] is Verdict.NOT_RUN


def test_what_a_host_dropped_is_no_outage_for_certain(tmp_path: Path) -> None:
    """As many probes as its socket dropped are taken off the lower bound."""
    seen = measured(tmp_path, between(4.0, 4.1), rxq_dropped=80)
    found = find(seen, "outage", "duration", A_Z)
    assert found.interval is not None and found.interval.lo < 25 * INTERVAL_NS
    assert found.interval.hi == pytest.approx(1e8, abs=2 * INTERVAL_NS)


def test_an_outage_without_an_end_fails(tmp_path: Path) -> None:
    """It has no upper bound, and is longer than allowed for certain."""
    rows = findings(measured(tmp_path, between(3.0, 99.0)))
    row = next(row for row in rows if (row.statistic, row.scope.direction) == ("duration", A_Z))
    assert row.verdict is Verdict.FAIL and "It had not ended when the test did." in row.reason


def test_the_shipped_scenario_passes_a_quick_failover(tmp_path: Path) -> None:
    """All of its rows are decided."""
    rows = findings(measured(tmp_path, between(3.0, 3.5), between(3.0, 3.6)))
    assert {row.verdict for row in rows} == {Verdict.PASS} and len(rows) == 6


def with_bfd(circuit: Circuit = CIRCUIT, **more: Any) -> Circuit:
    bfd = Bfd.model_validate({"tx": "300ms", "rx": "300ms", "multiplier": 3})
    vbr = circuit.vbrs[0].model_copy(update={"bgp": Bgp(customer_as=65010, bfd=bfd)})
    return circuit.model_copy(update={"vbrs": (vbr,), **more})


def test_the_order_says_how_long_an_outage_may_be() -> None:
    """Its objective, else what its BFD needs and a second to reroute, else the scenario's default."""
    pair = CIRCUIT.pairs[0]
    assert CIRCUIT.ordered("objectives.outage", pair) is None
    found = with_bfd().ordered("objectives.outage", pair)
    assert found is not None and found.value == 1.9e9 and "notices in 900 ms, and 1 s to reroute" in found.origin
    objective = CIRCUIT.objectives.model_copy(update={"outage_ns": 5})
    said = with_bfd(objectives=objective).ordered("objectives.outage", pair)
    assert said is not None and (said.value, said.origin) == (5, "order: objective outage")


def test_a_slow_failover_is_explained(tmp_path: Path) -> None:
    """A hold timer's length, with what the router said first. Who sends into a failure of one direction hears well, so
    that whose timer was late there is not known."""
    row = {"mono_ns": 1, "what": "bgp", "of": "172.16.100.1"}
    edge = [
        {**row, "t_ns": START_UNIX_NS, "state": "Established"},
        {**row, "t_ns": CUT_NS + 27 * 10**8, "state": "Active"},
    ]
    circuit = with_bfd(WITH_CE.circuit)
    seen = measured(tmp_path, between(3.0, 5.8), context=replace(WITH_CE, circuit=circuit), edge=edge)
    rows = findings(seen, circuit)
    (cause,) = diagnose(rows, [seen])
    said = cause.cause, cause.certainty, cause.segment.value, cause.owner
    assert said == ("failover-slow", "proven", "between-hosts", "unknown")
    assert cause.findings == tuple(row.id for row in rows if row.verdict is Verdict.FAIL)
    assert "A failure that is noticed by BFD at its defaults (1000 ms × 3) takes that long." in cause.because
    assert any(
        "saw it 2.7 s after the first probe was lost (bgp 172.16.100.1: Established → Active)" in said
        for said in cause.because
    )
    lasting = measured(tmp_path / "lasting", between(3.0, 6.5))
    (cause,) = diagnose(findings(lasting, circuit), [lasting])
    assert "It ended only when the circuit was given back: nothing took over." in cause.because


@pytest.mark.parametrize(
    ("way", "both", "after_s", "owner"),
    [
        (A_Z, False, 2.7, "unknown"),  # the VBR is deaf, and has told nobody
        (A_Z, True, 2.7, "own"),  # the CE is deaf, too, and knew late
        (A_Z, False, 0.3, "own"),  # it knew, and went on sending
        (Z_A, False, 2.7, "own"),  # it was deaf, and knew late
        (Z_A, True, 2.7, "unknown"),
        (Z_A, False, 0.3, "cloud"),
        (Z_A, False, None, "unknown"),
    ],
)
def test_a_slow_failover_is_whose_who_was_late(
    tmp_path: Path, way: Direction, both: bool, after_s: float | None, owner: str
) -> None:
    """By what the CE told and which directions were cut off; of what nobody told nobody is to blame."""
    circuit = with_bfd(WITH_CE.circuit)
    row = {"mono_ns": 1, "what": "bgp", "of": of_link(circuit)}
    edge = [{**row, "t_ns": START_UNIX_NS, "state": "Established"}]
    if after_s is not None:
        edge += [{**row, "t_ns": CUT_NS + round(after_s * 1e9), "state": "Active"}]
    cut = between(3.0, 5.8)
    lost = (cut if way is A_Z or both else nothing, cut if way is Z_A or both else nothing)
    seen = measured(tmp_path, *lost, context=replace(WITH_CE, circuit=circuit), edge=edge)
    assert {(cause.owner) for cause in diagnose(findings(seen, circuit), [seen]) if way.value in cause.because[0]} == {
        owner
    }


def of_link(circuit: Circuit) -> str:
    """The VBR's address."""
    return str(circuit.vbrs[0].link.cloud.ip)


def test_detection_is_compared_with_what_the_router_is_set_to(tmp_path: Path) -> None:
    """Counted from the first loss, each kind of change once, not before it was last seen otherwise; timers are no
    event."""
    peer = of_link(WITH_CE.circuit)
    timers = {"bfd_ns": 600_000_000, "hold_ns": 2_500_000_000}
    edge: list[dict[str, Any]] = [
        {"t_ns": at_ns, "since_ns": at_ns - 250_000_000, "what": what, "of": peer, "state": state}
        for at_ns, what, state in (
            (START_UNIX_NS, "timers", timers),
            (START_UNIX_NS, "bfd", "up"),
            (START_UNIX_NS, "bgp", "Established"),
            (START_UNIX_NS + 3610_000_000, "bfd", "down"),
            (START_UNIX_NS + 3650_000_000, "bgp", "Idle"),
            (START_UNIX_NS + 3700_000_000, "bfd", "init"),
            (START_UNIX_NS + 6900_000_000, "bfd", "up"),
        )
    ]
    seen = measured(tmp_path, between(3.1, 3.7), context=WITH_CE, edge=edge)
    facts = seen.facts["failover"]
    assert facts["expected"]["timers"] == {"ce-1": timers}
    assert not [row for row in facts["timeline"] if row["what"] == "timers"]
    told = [(row["act"], row["what"], row["since"], round(row["after_ns"] / 1e6)) for row in facts["noticed"]]
    assert told == [("cut", "bfd", "loss", 510), ("cut", "bgp", "loss", 550), ("restore", "bfd", "act", 900)]
    bfd = facts["noticed"][0]
    assert 255e6 <= bfd["least_ns"] <= 260e6 and 510e6 <= bfd["most_ns"] <= 515e6


@pytest.mark.parametrize(
    ("hold_ns", "said"),
    [
        (2_500_000_000, "A failure that is noticed by the BGP hold time as ce-1 is set takes that long."),
        (
            1_000_000_000,
            "A failure in one direction that is noticed by the BGP hold time as ce-1 is set takes up to",
        ),
    ],
)
def test_an_outage_is_explained_by_the_timers_of_the_router(tmp_path: Path, hold_ns: int, said: str) -> None:
    """Its own, where it was read; a failure in one direction may last for both ends' timers, one after the other."""
    timers = {"bfd_ns": None, "hold_ns": hold_ns}
    edge = [{"t_ns": START_UNIX_NS, "what": "timers", "of": of_link(WITH_CE.circuit), "state": timers}]
    seen = measured(tmp_path, between(3.1, 5.6), context=WITH_CE, edge=edge)
    assert seen.facts["failover"]["noticed"] == []
    (cause,) = diagnose(findings(seen, with_bfd(WITH_CE.circuit)), [seen])
    assert any(because.startswith(said) for because in cause.because), cause.because


def test_a_router_that_knew_before_any_loss_is_counted_from_the_act(tmp_path: Path) -> None:
    """A session that is shut down ends before traffic does; and nothing may be lost at all."""
    row = {"mono_ns": 1, "what": "bgp", "of": of_link(WITH_CE.circuit)}
    edge = [
        {**row, "t_ns": START_UNIX_NS, "state": "Established"},
        {**row, "t_ns": CUT_NS + 50_000_000, "since_ns": CUT_NS - 1, "state": "Idle"},
    ]
    for name, lost in (("late", between(3.1, 3.3)), ("none", nothing)):
        seen = measured(tmp_path / name, lost, context=WITH_CE, edge=edge)
        (told,) = seen.facts["failover"]["noticed"]
        assert (told["since"], told["after_ns"], told["least_ns"]) == ("act", 50_000_000, 0)


def test_the_timeline_has_one_axis(tmp_path: Path) -> None:
    """Acts, outages and what routers said, in the order of time."""
    row = {"mono_ns": 1, "what": "route", "of": "192.168.10.10"}
    via = {"prefix": "192.168.0.0/16", "protocol": "bgp", "via": [["172.16.100.1", "wan"]]}
    edge = [{**row, "t_ns": START_UNIX_NS, "state": via}, {**row, "t_ns": CUT_NS + 5 * 10**8, "state": None}]
    seen = measured(tmp_path, between(3.0, 3.8), context=WITH_CE, edge=edge)
    told = seen.facts["failover"]["timeline"]
    assert [row["what"] for row in told] == ["act", "act", "outage begins", "route", "outage ends", "act", "act"]
    assert [row["t_ns"] for row in told] == sorted(row["t_ns"] for row in told)
    assert told[3]["said"] == "192.168.0.0/16 (bgp) by 172.16.100.1 on wan → none"
