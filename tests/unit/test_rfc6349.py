"""The measurement rfc6349: its phases, what a step may ask of iperf3, and what is made of recorded output."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from perfharness import evidence
from perfharness.errors import BadInput
from perfharness.judge.verdict import decide
from perfharness.measurements import REGISTRY, Context
from perfharness.measurements.rfc6349_result import MANY, SINGLE
from perfharness.model import Criterion, Direction, Job, Measurement, Role, Status, Task, Verdict
from perfharness.order.circuit import Circuit
from perfharness.order.endpoints import Tune
from perfharness.order.scenario import load_scenario
from perfharness.plan import step_parameters
from tests.unit.job_files import CIRCUIT, CONTEXT, GOLDEN, counters, find
from tests.unit.probe_stream import START_UNIX_NS, Packet, files
from tests.unit.service_files import Fate, session

A_Z, ROUND_TRIP = Direction.A_Z, Direction.ROUND_TRIP
LOAD = "load-"
OUTPUTS = {MANY: "tcp-p4", SINGLE: "tcp"}
BEGINS_S = {LOAD: 1, MANY: 5, SINGLE: 9}
"""After the first probe."""
STEP = {"direction": "a-z", "duration": "3s", "omit": "1s", "single": "3s", "bottleneck": "3s"}


def tasks(context: Context = CONTEXT, **params: Any) -> tuple[Task, ...]:
    kind = REGISTRY["rfc6349"]
    return kind.tasks(kind.parameters.model_validate({**STEP, **params}), "step", context)


def job(task: Task, name: str) -> Job:
    return next(each for each in task.jobs if each.id == name)


def test_the_phases_follow_one_another() -> None:
    """Path MTU, idle path, paced UDP, streams, a single one: none begins before the one before it has ended."""
    (task,) = tasks()
    after = {each.id: each.after_s for each in task.jobs if each.role is Role.DRIVE}
    names = ["search-a-z", "probe", "load-client-a-z-bottleneck", "tcp-client-a-z-0", "single-client-a-z-0"]
    begins = [after[name] for name in names]
    assert begins == sorted(begins)
    udp, tcp, single = begins[2:]
    assert tcp >= udp + 3 and single >= tcp + 1 + 3
    assert task.duration_s >= single + 3


def test_each_load_has_a_port_of_its_own_and_the_firewall_is_told() -> None:
    """All servers listen from the beginning; the path MTU's answers come from the UDP port of a TCP load."""
    (task,) = tasks()
    served = {each.id: each.args["port"] for each in task.jobs if each.method in ("iperf3.serve", "load.serve")}
    assert len(set(served.values())) == len(served) == 3
    udp = served.pop("load-server-a-z-bottleneck")
    told = {(use.target, use.protocol, use.port) for use in task.ports}
    assert {("ecs-a", "tcp", port) for port in served.values()} | {("ecs-a", "udp", udp)} <= told
    assert ("ecs-a", "tcp", udp) not in told
    assert ("ecs-a", "udp", job(task, "echo-a-z").args["port"]) in told
    assert job(task, "echo-a-z").args["port"] != job(task, "reflector").args["port"]


def test_a_window_that_fills_the_path_is_worked_out_on_the_host() -> None:
    """The client is told the rate and how many streams share the window, and hears what the server's host grants."""
    client = job(tasks(streams=8)[0], "tcp-client-a-z-0")
    assert client.args["bdp"] == {"rate_bps": 1_000_000_000, "streams": 8}
    assert client.hears == {"peer_window_bytes": ("tcp-server-a-z-0", "window_bytes")}


def test_several_windows_are_several_tasks() -> None:
    """A sweep, each with a name of its own."""
    found = tasks(window=["auto", "64KiB"])
    assert [task.id for task in found] == ["step-a-z-w1", "step-a-z-w2"]
    auto, fixed = (job(task, "tcp-client-a-z-0") for task in found)
    assert (auto.args["window_bytes"], dict(auto.hears)) == (None, {})
    assert fixed.args["window_bytes"] == 65536


def test_without_a_single_stream_there_is_no_such_phase() -> None:
    """0s leaves it out."""
    assert not any(each.id.startswith(SINGLE) for each in tasks(single="0s")[0].jobs)


def test_the_options_of_iperf3_reach_every_tcp_client() -> None:
    """Those of the congestion control, class, segment, pacing, copying and CPU."""
    asked = {"congestion": "bbr", "mss": 1200, "dscp": "EF", "pacing": "100Mbps", "zerocopy": True, "affinity": "1, 2"}
    client = job(tasks(**asked)[0], "single-client-a-z-0")
    said = {name: client.args[name] for name in ("congestion", "mss", "dscp", "pacing_bps", "zerocopy", "affinity")}
    assert said == {
        **{"congestion": "bbr", "mss": 1200, "dscp": 46, "pacing_bps": 10**8},
        **{"zerocopy": True, "affinity": "1,2"},
    }


def test_a_throughput_step_takes_the_same_options() -> None:
    """Through shared code; what is not asked for is not in the job."""
    kind = REGISTRY["throughput"]
    plain = {"protocol": "tcp", "direction": "a-z"}
    (task,) = kind.tasks(kind.parameters.model_validate(plain), "step", CONTEXT)
    assert not {"bdp", "zerocopy", "affinity", "pacing_bps"} & job(task, "client-a-z-0").args.keys()
    asked = {**plain, "window": "4MiB", "mss": 1400, "dscp": "AF41", "affinity": "0", "zerocopy": True}
    (task,) = kind.tasks(kind.parameters.model_validate(asked), "step", CONTEXT)
    client = job(task, "client-a-z-0")
    assert (client.args["window_bytes"], client.args["mss"], client.args["dscp"]) == (4 << 20, 1400, 34)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("window: 1GiB", "A window of 1.074 GB is not one that iperf3 can be given."),
        ("window: wide", "'wide' is not a size."),
        ("affinity: both", "'both' names no CPU."),
        ("congestion: Cubic!", "'Cubic!' is no congestion control algorithm."),
        ("direction: both", "RFC 6349 measures one direction after the other."),
        ("dscp: 64", "'64' is no class of service."),
        ("mss: 20", "mss"),
        ("streams: 100", "streams"),
        ("duration: 3400ms", "iperf3 takes whole seconds, and 3.4 s are none."),
        ("duration: 48h", "'duration': 2 d is above 23 h 59 min 30 s."),
        ("single: 400ms", "iperf3 takes whole seconds, and 400 ms are none."),
        ("pacing: 1bps", "'pacing': '1bps' is below 1 Mbit/s."),
    ],
)
def test_a_bad_value_gets_one_sentence_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    """File, line, what is wrong."""
    path = tmp_path / "s.yaml"
    head = ["format_version: 1", "id: s", "title: S", "steps:", "  - id: tcp", "    measure: rfc6349"]
    path.write_text("\n".join([*head, f"    {line}"]) + "\n")
    with pytest.raises(BadInput) as caught:
        step_parameters(load_scenario(path))
    (problem,) = caught.value.problems
    assert problem.line == 7
    assert words in problem.message


@pytest.mark.parametrize("key", ["window", "mss", "congestion", "pacing", "zerocopy"])
def test_udp_has_none_of_tcps_options(tmp_path: Path, key: str) -> None:
    """What would be ignored is refused, at its line."""
    value = {"window": "1MiB", "mss": "1200", "congestion": "cubic", "pacing": "1Mbps", "zerocopy": "true"}[key]
    path = tmp_path / "s.yaml"
    head = ["format_version: 1", "id: s", "title: S", "steps:", "  - id: u", "    measure: throughput"]
    path.write_text("\n".join([*head, "    protocol: udp", f"    {key}: {value}"]) + "\n")
    with pytest.raises(BadInput) as caught:
        step_parameters(load_scenario(path))
    (problem,) = caught.value.problems
    assert (problem.line, problem.message) == (8, f"UDP has no `{key}`.")


@pytest.mark.parametrize(
    ("step", "processes"),
    [
        ({"protocol": "udp", "direction": "a-z"}, 2),  # 1 Gbit/s of 1,400 B
        ({"protocol": "tcp", "direction": "both"}, 2),
        ({"protocol": "udp", "direction": "a-z", "rate": "100Mbps"}, 1),
        ({"protocol": "tcp", "direction": "a-z"}, 1),
    ],
)
def test_one_cpu_takes_one_process(step: dict[str, Any], processes: int) -> None:
    """Several that are bound to it would share it, and the load would be the test's own limit."""
    kind = REGISTRY["throughput"]
    params = kind.parameters.model_validate({**step, "affinity": 1})
    if processes == 1:
        assert kind.tasks(params, "step", CONTEXT)
    else:
        with pytest.raises(PydanticCustomError, match=f"this load has {processes} there"):
            kind.tasks(params, "step", CONTEXT)


def test_tcp_has_no_rate() -> None:
    """Nobody must believe that TCP was held to one."""
    kind = REGISTRY["throughput"]
    assert kind.parameters.model_validate({"protocol": "tcp", "rate": "order"})
    with pytest.raises(ValidationError, match="TCP has no `rate`"):
        kind.parameters.model_validate({"protocol": "tcp", "rate": "500Mbps"})


def test_segments_must_fit_the_order() -> None:
    """1,500 bytes hold no segment of 1,480."""
    with pytest.raises(PydanticCustomError, match="do not fit into packets of 1500 B"):
        tasks(mss=1480)


def test_limits_are_raised_only_where_the_owner_agreed() -> None:
    """A watcher on that host alone, before all else, and the change board reads of it."""
    assert not any(each.method == "tune.socket_buffers" for each in tasks()[0].jobs)
    agreed = CONTEXT.z.model_copy(update={"tune": Tune.model_validate({"socket_buffers": "64MiB"})})
    (task,) = tasks(replace(CONTEXT, z=agreed))
    (tune,) = (each for each in task.jobs if each.method == "tune.socket_buffers")
    assert (tune.endpoint, tune.role, dict(tune.args)) == ("ecs-a", Role.WATCH, {"size_bytes": 64 << 20})
    assert any("root on ecs-a" in each for each in task.privileges)


# --- what is made of it ---------------------------------------------------------------------------


def measured(
    tmp_path: Path,
    context: Context = CONTEXT,
    without: tuple[str, ...] = (),
    under_load_ns: int = 20_000_000,
    even: Fate = Fate(),  # noqa: B008
) -> Measurement:
    """10 ms there and 12 ms back when idle and ``under_load_ns`` there beside TCP; recorded output of iperf3, and what
    became of the even load."""
    (task,) = tasks(context)
    folder = evidence.create(tmp_path, "c", "r", {})
    loaded = range(6_000, 9_000)
    packets = [Packet(seq, forward_ns=under_load_ns if seq in loaded else 10_000_000) for seq in range(13_000)]
    rec, log, result = files(packets)
    sent = {**result, "sent": 13_000, "missed": 0, "send_errors": 0, "rxq_dropped": 0, "start_unix_ns": START_UNIX_NS}
    for each in task.jobs:
        if any(each.id.startswith(name) for name in without):
            continue
        if each.method == "host.counters":
            _leave(folder, task, each, {}, {"counters.jsonl": counters(seconds=20)})
        elif each.method == "stamp.send":
            _leave(folder, task, each, sent, {"sender.rec": rec})
        elif each.method == "stamp.reflect":
            _leave(folder, task, each, {"rxq_dropped": 0, "clock": result["clock"]}, {"reflector.rec": log})
        elif each.method == "pmtu.search":
            _leave(folder, task, each, {"pmtu": 1500, "tries": 3}, {})
        elif each.method == "host.facts":
            facts = {"nic": {"speed_bps": 10**10}, "congestion": {"current": "bbr"}}
            _leave(folder, task, each, facts, {})
        elif each.method.startswith("iperf3."):
            _leave_iperf3(folder, task, each)
        elif each.method.startswith("load."):
            _leave_load(folder, task, each, context, even)
    noted = {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2}
    folder.write_json(f"raw/{task.id}/task.json", noted)
    return REGISTRY["rfc6349"].analyse(task, folder.files(task.id), context)


def _leave_iperf3(folder: evidence.RunFolder, task: Task, each: Job) -> None:
    phase = _phase(each)
    end = "client" if each.role is Role.DRIVE else "server"
    left = {"iperf3.json": (GOLDEN / f"3.12-{OUTPUTS[phase]}-{end}.json").read_bytes()}
    if phase == MANY and end == "client":
        left["tcpinfo.jsonl"] = (GOLDEN.parent / "tcpinfo" / "6.18-four-streams.jsonl").read_bytes()
    window = {"asked_bytes": 1 << 20, "rtt_ns": 22_000_000, "rtt_by": "ICMP echo"}
    data = {
        "started_ns": START_UNIX_NS + BEGINS_S[phase] * 10**9,
        "argv": ["iperf3", "-w", "65536"] if end == "client" else ["iperf3"],
        "version": "3.12",
        "run_delay_ns": 0,
        "clamps": [{"what": "window_bytes", "asked": 1 << 20, "got": 65536, "why": "above net.core.rmem_max"}],
        **({"window": window} if end == "client" else {}),
    }
    _leave(folder, task, each, data, left)


def _leave_load(folder: evidence.RunFolder, task: Task, each: Job, context: Context, even: Fate) -> None:
    (sender,) = (job for job in task.jobs if job.secret == each.secret and job.args["sends"])
    told, sent, heard, arrivals = session(sender, context, lambda *_: even, BEGINS_S[LOAD] * 10**9)
    data, left = (told, {"sent.jsonl": sent}) if each is sender else (heard, {"arrivals.jsonl": arrivals})
    _leave(folder, task, each, data, left)


def _phase(each: Job) -> str:
    return next((name for name in BEGINS_S if each.id.startswith(name)), "")


def _leave(folder: evidence.RunFolder, task: Task, each: Job, data: dict[str, Any], content: dict[str, bytes]) -> None:
    where = f"raw/{task.id}/{each.endpoint}.{each.id}"
    done = {"format_version": 1, "status": "completed", "args": dict(each.args), "data": data}
    began_ns = START_UNIX_NS + BEGINS_S.get(_phase(each), 0) * 10**9
    folder.write_json(f"{where}/result.json", {**done, "started_ns": began_ns, "ended_ns": began_ns + 4 * 10**9})
    for name, data_bytes in content.items():
        folder.write(f"{where}/{name}", data_bytes)


def test_the_figures_of_a_load_are_made_of_its_own_phase(tmp_path: Path) -> None:
    """Idle 22 ms, 32 ms beside TCP: a buffer delay of 10/22; 191 Mbit/s of payload where 953 would fill 1 Gbit/s."""
    found = measured(tmp_path)
    assert found.status is Status.COMPLETED, found.reason
    delay = find(found, "tcp.buffer_delay", "ratio", A_Z)
    ratio = find(found, "tcp.transfer_time_ratio", "ratio", A_Z)
    assert delay.value == pytest.approx(10 / 22, rel=1e-3)
    assert ratio.value == pytest.approx(953 / 191, rel=0.02)
    assert find(found, "delay.loaded", "p50", ROUND_TRIP).value == pytest.approx(32e6, rel=1e-3)
    efficiency = find(found, "tcp.efficiency", "ratio", A_Z)
    assert isinstance(efficiency.value, float) and 0.999 < efficiency.value <= 1
    assert all(path.endswith("tcpinfo.jsonl") for path in efficiency.evidence)
    for seen in (delay, ratio, efficiency):
        assert seen.interval is not None and isinstance(seen.value, float)
        assert seen.interval.lo <= seen.value <= seen.interval.hi


def test_the_table_has_what_the_path_and_tcp_were(tmp_path: Path) -> None:
    """MTU, baseline, bandwidth, product, window asked and got, fairness, and the single stream beside known limits."""
    table = measured(tmp_path).facts["rfc6349"]["a-z"]
    assert (table["mtu"], table["mtu_confirmed"], table["baseline_ns"]) == (1500, True, pytest.approx(22e6, rel=1e-3))
    assert table["bdp_bytes"] == pytest.approx(1e9 * 22e-3 / 8, rel=1e-3)
    assert (table["window"]["asked_bytes"], table["window"]["got_bytes"]) == (1 << 20, 65536)
    assert table["window"]["clamped"].startswith("above net.core.rmem_max")
    assert (table["congestion"], table["mss"], table["streams"]) == ("bbr", 1448, 4)
    assert table["fairness"] > 0.9
    assert table["single"]["per_flow_bps"] == [130_000_000, 250_000_000]
    assert table["single"]["origin"] == "default, not from the order"
    assert (table["bandwidth_bps"], table["bandwidth_measured"], table["about"]) == (1e9, False, [])
    json.dumps(table, allow_nan=False)


def test_a_limit_of_a_flow_that_was_ordered_is_named_as_such(tmp_path: Path) -> None:
    """In place of what is known of such paths."""
    circuit: Circuit = CIRCUIT.model_copy(update={"per_flow_limit_bps": 200_000_000})
    single = measured(tmp_path, replace(CONTEXT, circuit=circuit)).facts["rfc6349"]["a-z"]["single"]
    assert (single["per_flow_bps"], single["origin"]) == ([200_000_000], "order: per-flow limit")


def test_phases_that_broke_are_said_and_the_others_stand(tmp_path: Path) -> None:
    """Without path MTU, UDP and single stream the order's values are taken, and each gap is named."""
    found = measured(tmp_path, without=("search", LOAD, SINGLE))
    assert found.status is Status.COMPLETED
    table = found.facts["rfc6349"]["a-z"]
    assert (table["mtu"], table["mtu_confirmed"], table["bandwidth_bps"]) == (1500, False, 1e9)
    said = "The bottleneck bandwidth was not measured (onprem-a left no result of its load): the ordered rate is taken."
    assert table["about"] == ["The path MTU was not found: the ordered one is taken.", said]
    assert table["baseline_ns"] == pytest.approx(22e6, rel=1e-3)
    assert table["single"]["actual_bps"] is None and table["single"]["reason"]


def test_a_narrow_path_is_the_ideal_that_tcp_is_held_against(tmp_path: Path) -> None:
    """800 Mbit/s arrive evenly sent: so TCP could have had four fifths of what was ordered."""
    found = measured(tmp_path, even=Fate(most_bps=800e6))
    table = found.facts["rfc6349"]["a-z"]
    assert table["bandwidth_measured"] and table["bandwidth_bps"] == pytest.approx(800e6, rel=1e-2)
    assert find(found, "tcp.transfer_time_ratio", "ratio", A_Z).value == pytest.approx(0.8 * 953 / 191, rel=0.02)


def test_tcp_itself_is_needed(tmp_path: Path) -> None:
    """Without its output there is no measurement."""
    assert measured(tmp_path, without=(MANY,)).status is Status.FAILED


def test_what_tcp_lacks_is_a_warning(tmp_path: Path) -> None:
    """Five times as long as the ideal: it warns, with whatever is known of why."""
    found = measured(tmp_path)
    limit = Criterion("tcp.efficiency", "ratio", ">=", 0.99, "1", "test", mandatory=False)
    assert decide(find(found, "tcp.efficiency", "ratio", A_Z), limit, found.fitness)[0] is Verdict.PASS
    delay = Criterion("tcp.buffer_delay", "ratio", "<=", 0.1, "", "test", mandatory=False)
    assert decide(find(found, "tcp.buffer_delay", "ratio", A_Z), delay, found.fitness)[0] is Verdict.WARN
    (first, *_) = found.facts["limited_by"]
    assert first["way"] == "a-z" and first["reasons"]


def test_variation_under_load_has_a_direction_without_clocks(tmp_path: Path) -> None:
    """Only the way there was slower: each way's variation is above its own least, whatever the clocks say."""
    found = measured(tmp_path)
    assert {seen.scope.direction for seen in found.observations if seen.metric == "variation.pdv"} == {
        Direction.A_Z,
        Direction.Z_A,
    }
    assert find(found, "variation.pdv", "p50", A_Z).scope.load == "tcp"
