"""What a load says of a circuit: recorded output of iperf3, made-up probes and counters."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfharness.judge.verdict import decide
from perfharness.model import Criterion, Direction, Layer, Measurement, Status, Verdict
from tests.unit.job_files import (
    CIRCUIT,
    CONTEXT,
    GOLDEN,
    LOSS,
    LOSSY,
    PROBES,
    counters,
    find,
    load_task,
    store,
    task_of,
    udp_task,
)
from tests.unit.probe_stream import Packet

A_Z = Direction.A_Z


def test_loss_between_the_hosts_is_the_circuits(tmp_path: Path) -> None:
    """117 of 5356 packets, hosts clean: the circuit fails, and the figure is the recording's."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY)
    loss = find(found, "loss", "ratio", Direction.A_Z)
    assert (loss.value, loss.n) == (pytest.approx(117 / 5356), 5356)
    assert decide(loss, LOSS, found.fitness)[0] is Verdict.FAIL


def test_loss_that_the_receiver_explains_is_the_hosts(tmp_path: Path) -> None:
    """The same packets, dropped by the receiving socket: nothing is left for the circuit, and a receiver that loses
    most of what is missing proves nothing."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY, drops=117)
    loss = find(found, "loss", "ratio", Direction.A_Z)
    assert loss.value == 0
    verdict, why = decide(loss, LOSS, found.fitness)
    assert verdict is Verdict.INCONCLUSIVE
    assert "dropped 117 of the 117 packets that are missing" in why
    assert any(row.packets_lo == 117 and row.segment == "host-z" for row in found.ledger)


def test_what_came_corrupted_is_the_circuits(tmp_path: Path) -> None:
    """The receiving socket dropped all that is missing, each for its checksum: the circuit fails."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY, drops=117, counts=counters(corrupted=117))
    loss = find(found, "loss", "ratio", Direction.A_Z)
    assert (loss.value, loss.n) == (pytest.approx(117 / 5356), 5356)
    assert decide(loss, LOSS, found.fitness)[0] is Verdict.FAIL


@pytest.mark.parametrize(("waited_s", "verdict"), [(0.0, Verdict.WARN), (0.5, Verdict.INCONCLUSIVE)])
def test_tcp_that_had_no_cpu_says_nothing_of_the_circuit(tmp_path: Path, waited_s: float, verdict: Verdict) -> None:
    """Below the recommendation it is a warning, unless iperf3 waited for a CPU: it may have carried more."""
    task = task_of("throughput", protocol="tcp", direction="a-z", duration="3s", omit="0s")
    outputs = {"client": "3.12-tcp-client.json", "server": "3.12-tcp-server.json"}
    found = store(tmp_path, task, PROBES, outputs, waited_s=waited_s)
    rate = find(found, "throughput.tcp", "mean", Direction.A_Z)
    assert isinstance(rate.value, float)
    limit = Criterion("throughput.tcp", "mean", ">=", 2 * rate.value, "bit/s", "x", mandatory=False, layer=rate.layer)
    assert decide(rate, limit, found.fitness)[0] is verdict


def busy(folder: Path, name: str, percent: float, version: str = "", streams: int = 0) -> str:
    """A report as if iperf3 had taken so much of a CPU, as that version and with so many streams."""
    told = json.loads((GOLDEN / name).read_text())
    told["end"]["cpu_utilization_percent"]["host_total"] = percent
    told["start"]["version"] = version or told["start"]["version"]
    told["start"]["test_start"]["num_streams"] = streams or told["start"]["test_start"]["num_streams"]
    path = folder / f"busy-{name}"
    path.write_text(json.dumps(told))
    return str(path)


@pytest.mark.parametrize(("version", "verdict"), [("iperf 3.16", Verdict.WARN), ("iperf 3.12", Verdict.INCONCLUSIVE)])
def test_the_cpu_of_eight_threads_is_no_busy_one(tmp_path: Path, version: str, verdict: Verdict) -> None:
    """Eight streams take 120 % of a CPU: with a thread each that is 15 %, and one thread would be full."""
    task = task_of("throughput", protocol="tcp", direction="a-z", duration="3s", omit="0s")
    client = busy(tmp_path, "3.12-tcp-client.json", 120.0, version, 8)
    found = store(tmp_path, task, PROBES, {"client": client, "server": "3.12-tcp-server.json"})
    rate = find(found, "throughput.tcp", "mean", Direction.A_Z)
    assert isinstance(rate.value, float)
    limit = Criterion("throughput.tcp", "mean", ">=", 2 * rate.value, "bit/s", "x", mandatory=False, layer=rate.layer)
    assert decide(rate, limit, found.fitness)[0] is verdict


@pytest.mark.parametrize(
    ("side", "rate", "verdict"),
    [("client", "", Verdict.FAIL), ("server", "", Verdict.INCONCLUSIVE), ("client", "21.2Mbps", Verdict.INCONCLUSIVE)],
    ids=["a sender that offered all", "a receiver", "a sender that did not"],
)
def test_a_busy_sender_that_offered_all_lost_nothing(tmp_path: Path, side: str, rate: str, verdict: Verdict) -> None:
    """iperf3 took 96 % of a CPU and packets are missing: what had left the sender was lost elsewhere, while a receiver
    may have missed some without a counter."""
    outputs = {**LOSSY, side: busy(tmp_path, LOSSY[side], 96.0)}
    found = store(tmp_path, load_task(rate) if rate else udp_task(), PROBES, outputs)
    assert decide(find(found, "loss", "ratio", Direction.A_Z), LOSS, found.fitness)[0] is verdict


def tcp_of(tmp_path: Path, under_load_ns: int = 10_000_000, **more: Any) -> Measurement:
    """191 Mbit/s of four streams for 3 s from 0.4 s after the first probe, beside which a packet takes so long there
    and 12 ms back."""
    task = task_of("throughput", protocol="tcp", direction="a-z", duration="3s", omit="0s", probe={})
    outputs = {"client": "3.12-tcp-p4-client.json", "server": "3.12-tcp-p4-server.json"}
    packets = [Packet(seq, forward_ns=under_load_ns if seq > 8 else 10_000_000) for seq in range(68)]
    given = {"interval_ns": 50_000_000, "began_s": 0.4, **more}
    return store(tmp_path, task, packets, outputs, **given)


def connections(rows: int = 5, resent: int = 5, mss: int = 1448) -> bytes:
    """tcpinfo.jsonl of four streams that wait for nobody, 1,000 segments a second each."""
    lines: list[dict[str, Any]] = [{"format_version": 1}]
    for second in range(rows):
        for inode in range(4):
            counted = {"data_segs_out": 1000 * second, "total_retrans": resent * second, "snd_mss": mss}
            bytes_ = {"bytes_sent": mss * 1000 * second, "bytes_retrans": mss * resent * second}
            waits = {"busy_time_ns": second * 10**9, "rwnd_limited_ns": 0, "sndbuf_limited_ns": 0}
            own = {"mono_ns": second * 10**9, "inode": inode, "snd_cwnd": 4000, "bytes_acked": mss * 1000 * second}
            lines.append({**own, **counted, **bytes_, **waits})
    return "\n".join(map(json.dumps, lines)).encode()


def limited(found: Measurement) -> dict[str, str]:
    return {each["limit"]: " ".join(each["reasons"]) for each in found.facts["limited_by"]}


def test_a_queue_that_came_with_tcp_is_the_circuits(tmp_path: Path) -> None:
    """22 ms round trip before the load and 60 ms beside it: eight probes of the idle path are enough to know."""
    told = limited(tcp_of(tmp_path, under_load_ns=48_000_000))
    assert list(told) == ["circuit"] and "rose by 38 ms from 22 ms" in told["circuit"]


def test_loss_without_a_queue_is_a_policers_burst(tmp_path: Path) -> None:
    """5 of 1,000 segments were sent again, and the round trip was as without the load."""
    assert list(limited(tcp_of(tmp_path, tcpinfo=connections()))) == ["policer-burst"]


def test_a_small_congestion_window_is_told_without_rfc_6349(tmp_path: Path) -> None:
    """The idle round trip tells what a full path of 1 Gbit/s holds: 2.75 MB, of which four windows of 87 KB are an
    eighth."""
    small = connections(resent=0).replace(b'"snd_cwnd": 4000', b'"snd_cwnd": 60')
    told = limited(tcp_of(tmp_path, tcpinfo=small))
    assert list(told) == ["congestion-control"] and "13% of bandwidth times delay" in told["congestion-control"]


def test_an_interface_that_is_full_limits_tcp(tmp_path: Path) -> None:
    """The counters tell its speed: 200 Mbit/s, and 191 of payload are on it."""
    lines = counters(step_bytes=1).splitlines()
    counts = b"\n".join([lines[0], *(line[:-1] + b', "speed_bps": 200000000}' for line in lines[1:])]) + b"\n"
    told = limited(tcp_of(tmp_path, counts=counts))
    assert list(told) == ["nic"] and "runs at 200 Mbit/s and was full" in told["nic"]


def test_without_probes_before_the_load_no_path_is_known(tmp_path: Path) -> None:
    """Three probes make no median."""
    told = limited(tcp_of(tmp_path, under_load_ns=48_000_000, began_s=0.14))
    assert list(told) == ["unknown"]


@pytest.mark.parametrize(
    ("mtu", "mss", "told", "packet"),
    [(8500, None, 1448, 1500), (8500, None, None, 8500), (1500, 524, None, 564), (1500, None, 1460, 1500)],
)
def test_tcp_is_counted_by_the_packets_that_it_sends(
    tmp_path: Path, mtu: int, mss: int | None, told: int | None, packet: int
) -> None:
    """Its kernel knows the size of a full segment, else the scenario says it: a circuit whose order allows more is not
    credited with fewer headers than cross it."""
    (vbr,) = CIRCUIT.vbrs
    changed = {"vbrs": (vbr.model_copy(update={"mtu": mtu}),)}
    objectives = CIRCUIT.objectives.model_copy(update={"pmtu": mtu})
    context = replace(CONTEXT, circuit=CIRCUIT.model_copy(update={**changed, "objectives": objectives}))
    asked = {} if mss is None else {"mss": mss}
    task = task_of("throughput", context, protocol="tcp", direction="a-z", duration="3s", omit="0s", **asked)
    outputs = {"client": "3.12-tcp-client.json", "server": "3.12-tcp-server.json"}
    info = b"" if told is None else connections(mss=told)
    rate = find(store(tmp_path, task, PROBES, outputs, context=context, tcpinfo=info), "throughput.tcp", "mean", A_Z)
    assert rate.scope.frame_bytes == packet + 14


def test_a_paced_load_says_what_became_of_it(tmp_path: Path) -> None:
    """All that was offered, lost between the hosts, or dropped by the receiver."""
    clean = {"client": "3.12-udp-client.json", "server": "3.12-udp-server.json"}
    folders = [tmp_path / name for name in ("clean", "lossy", "dropped", "short")]
    for folder in folders:
        folder.mkdir()
    assert list(limited(store(folders[0], udp_task(), PROBES, clean))) == ["offered"]
    assert "117 to 117 of 5,356" in limited(store(folders[1], udp_task(), PROBES, LOSSY))["circuit"]
    assert list(limited(store(folders[2], udp_task(), PROBES, LOSSY, drops=117))) == ["hosts"]
    assert "sender" in limited(store(folders[3], load_task("40Mbps"), PROBES, clean))


def test_drops_of_the_warm_up_do_not_excuse_what_was_lost_after_it(tmp_path: Path) -> None:
    """Drops of a socket may lie in the warm-up, whose losses are not judged: then the rest may be the circuit's."""
    task = udp_task()
    jobs = tuple(replace(job, args={**job.args, "omit_s": 1}) if "omit_s" in job.args else job for job in task.jobs)
    found = store(tmp_path, replace(task, jobs=jobs), PROBES, LOSSY, drops=77)
    loss = find(found, "loss", "ratio", Direction.A_Z)
    assert decide(loss, LOSS, found.fitness)[0] is Verdict.INCONCLUSIVE


def test_a_curve_begins_with_the_warm_up_that_it_shows(tmp_path: Path) -> None:
    """Its time is that of the probes beside it, whatever of the load counts for figures."""
    task = udp_task()
    jobs = tuple(replace(job, args={**job.args, "omit_s": 1}) if "omit_s" in job.args else job for job in task.jobs)
    found = store(tmp_path, replace(task, jobs=jobs), PROBES, LOSSY, began_s=0.2)
    rate, lost = found.series[:2]
    (trips,) = (one for one in found.series if one.kind == "delay")
    assert rate.start_ns == lost.start_ns == trips.start_ns + 200_000_000 and rate.x[0] < 1
    assert lost.y.max() > 0.02


def test_loss_that_a_shared_counter_may_explain_is_undecided(tmp_path: Path) -> None:
    """A counter of the whole host may or may not be ours: neither PASS nor FAIL."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY, counts=counters(rcvbuf=117))
    assert decide(find(found, "loss", "ratio", Direction.A_Z), LOSS, found.fitness)[0] is Verdict.INCONCLUSIVE


def test_what_was_sent_in_bursts_above_the_rate_may_be_dropped_by_right(tmp_path: Path) -> None:
    """A sender that offers in bursts may have caused the loss: undecided."""
    burst = counters(step_bytes=2_000_000)
    found = store(tmp_path, udp_task(), PROBES, LOSSY, counts=burst)
    row = next(row for row in found.ledger if row.stage == "sender pacing")
    assert (row.packets_lo, row.packets_hi) == (0, 117)
    assert decide(find(found, "loss", "ratio", Direction.A_Z), LOSS, found.fitness)[0] is Verdict.INCONCLUSIVE


def test_headers_of_fragments_are_no_bursts(tmp_path: Path) -> None:
    """The sender's kernel cut its packets in two: that is above the rate all the time, and no pause came before."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY, counts=counters(step_bytes=270_000, cut=180))
    assert {row.stage for row in found.ledger if row.packets_hi} & {"sender pacing", "sender fragments"} == {
        "sender fragments"
    }
    assert decide(find(found, "loss", "ratio", Direction.A_Z), LOSS, found.fitness)[0] is Verdict.INCONCLUSIVE


def test_the_rate_is_the_receivers_at_the_ordered_layer_with_the_probes(tmp_path: Path) -> None:
    """19.98 Mbit/s of payload without loss are the frames of the load and those of the probes at L2."""
    clean = {"client": "3.12-udp-client.json", "server": "3.12-udp-server.json"}
    rate = find(store(tmp_path, udp_task(), PROBES, clean), "throughput.udp", "mean", Direction.A_Z)
    assert rate.layer is Layer.L2
    assert rate.value == pytest.approx(20e6 * 1446 / 1400 + 110 * 8 * 500, rel=2e-3)


def test_a_sender_that_offers_too_little_is_unfit(tmp_path: Path) -> None:
    """A load below what was intended decides nothing about the circuit, and the sender is named."""
    task = load_task("40Mbps")
    found = store(tmp_path, task, PROBES, {"client": "3.12-udp-client.json", "server": "3.12-udp-server.json"})
    unfit = {row.host: row.reasons for row in found.fitness if not row.fit}
    assert list(unfit) == ["onprem-a"] and "offered only" in unfit["onprem-a"][0]
    assert list(limited(found)) == ["sender"]


def test_a_sender_whose_packets_wait_in_its_queue_lacks_no_cpu(tmp_path: Path) -> None:
    """Its interface took half of what its program had to send: that is named, and no CPU."""
    outputs = {"client": "3.12-udp-client.json", "server": "3.12-udp-server.json"}
    found = store(tmp_path, load_task("40Mbps"), PROBES, outputs, counts=counters(waiting=68_000))
    (unfit,) = (row for row in found.fitness if not row.fit)
    assert unfit.host == "onprem-a" and unfit.reasons[0].startswith("its interface took only 5")
    assert "in the queue of onprem-a itself" in limited(found)["nic"]


def test_probes_that_were_not_sent_spoil_only_what_probes_tell(tmp_path: Path) -> None:
    """The load beside them was sent in full: what it lost fails, while the delay under it stays open."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY, said={"missed": 500})
    assert decide(find(found, "loss", "ratio", Direction.A_Z), LOSS, found.fitness)[0] is Verdict.FAIL
    delay = find(found, "delay.loaded", "p99", Direction.ROUND_TRIP)
    limit = Criterion("delay.loaded", "p99", "<=", 10**9, "ns", "test")
    verdict, why = decide(delay, limit, found.fitness)
    assert verdict is Verdict.INCONCLUSIVE and "packets of its schedule" in why


def test_what_a_sender_withheld_does_not_hide_what_was_lost(tmp_path: Path) -> None:
    """Of two thirds of the load some was lost: that fails. The third that was withheld might all have arrived, or been
    lost: it lies inside both intervals."""
    task = load_task("30Mbps")
    found = store(tmp_path, task, PROBES, LOSSY)
    assert all(row.fit for row in found.fitness)
    rate, loss = (
        find(found, metric, statistic, Direction.A_Z)
        for metric, statistic in (("throughput.udp", "mean"), ("loss", "ratio"))
    )
    assert rate.interval is not None and rate.interval.hi > 1.4 * rate.value
    assert decide(loss, LOSS, found.fitness)[0] is Verdict.FAIL
    generous = Criterion("loss", "ratio", "<=", 0.1, "1", "test")
    assert decide(loss, generous, found.fitness)[0] is Verdict.INCONCLUSIVE


def test_a_rate_that_falls_short_by_what_was_not_offered_is_undecided(tmp_path: Path) -> None:
    """A sender is believed from 99 % of the load on; what it kept back of the rest is not the circuit's shortfall."""
    outputs = {"client": "3.12-udp-client.json", "server": "3.12-udp-server.json"}
    task = load_task("21.2Mbps")
    found = store(tmp_path, task, PROBES, outputs)
    assert all(row.fit for row in found.fitness)
    rate = find(found, "throughput.udp", "mean", Direction.A_Z)
    assert isinstance(rate.value, float)
    limit = Criterion("throughput.udp", "mean", ">=", 21.2e6 * 0.999, "bit/s", "test", layer=rate.layer)
    assert rate.value < limit.threshold
    verdict, why = decide(rate, limit, found.fitness)
    assert verdict is Verdict.INCONCLUSIVE and "The sender offered only 99." in why


def test_a_jerky_sender_says_nothing_of_what_the_circuit_carries(tmp_path: Path) -> None:
    """All that was offered arrived, or what comes in 6 ms was still on its way: the rate is proven, however unevenly it
    was sent; where more of it was held up the unevenness may be the circuit's, and makes the interval wide."""
    task = load_task("20.2Mbps")
    width = {}
    for name, last in (("all", 0), ("on its way", -12), ("held up", -40)):

        def jerky(intervals: list[Any], last: int = last) -> None:
            for number, each in enumerate(intervals):
                moved = (1 if number % 2 else -1) * 4 if number < len(intervals) - 1 else last
                each["sum"]["packets"] += moved
                each["sum"]["bytes"] += moved * 1400

        outputs = {
            "client": "3.12-udp-client.json",
            "server": altered(tmp_path, "3.12-udp-server.json", jerky),
        }
        (tmp_path / name).mkdir()
        rate = find(store(tmp_path / name, task, PROBES, outputs), "throughput.udp", "mean", Direction.A_Z)
        assert rate.interval is not None and isinstance(rate.value, float)
        width[name] = rate.value - rate.interval.lo
        assert name != "on its way" or rate.interval.hi >= 20.2e6
    assert width["all"] < 0.002 * 20e6
    assert width["on its way"] < 0.002 * 20e6
    assert width["held up"] > 2 * width["all"]


def test_an_error_of_iperf3_is_no_measurement(tmp_path: Path) -> None:
    """iperf3's own words are the reason, whatever it exited with."""
    broken = {"client": "3.12-refused-client.json", "server": "3.12-udp-server.json"}
    found = store(tmp_path, udp_task(), PROBES, broken)
    assert found.status is Status.FAILED
    assert "unable to connect" in found.reason


def altered(tmp_path: Path, name: str, change: Callable[[list[Any]], object]) -> str:
    """The path of a recording with its intervals changed."""
    report = json.loads((GOLDEN / name).read_bytes())
    change(report["intervals"])
    (tmp_path / name).write_text(json.dumps(report))
    return str(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda intervals: intervals.pop(1), "missing from its report or out of order"),
        (lambda intervals: intervals.pop(0), "missing from its report or out of order"),
        (lambda intervals: intervals.reverse(), "missing from its report or out of order"),
        (lambda intervals: intervals.__delitem__(slice(1, None)), "ended after 1.0 of 3 s"),
    ],
)
def test_a_report_with_holes_is_no_measurement(
    tmp_path: Path, change: Callable[[list[Any]], object], words: str
) -> None:
    """Intervals that are missing, out of order, or a test cut short: neither loss nor rate is made of them."""
    server = altered(tmp_path, "3.12-udp-loss-server.json", change)
    found = store(tmp_path, udp_task(), PROBES, {**LOSSY, "server": server})
    assert (found.status, words in found.reason) == (Status.FAILED, True), found.reason


def test_an_outage_at_the_end_is_one_event(tmp_path: Path) -> None:
    """Nothing arrives in the last third: that is one burst and not 1,800 independent losses, so nothing is proven."""

    def silent(intervals: list[Any]) -> None:
        for interval, lost in zip(intervals, (0, 0, 0), strict=True):
            interval["sum"]["lost_packets"] = lost
        intervals[-1]["sum"] |= {"packets": 0, "bytes": 0}

    server = altered(tmp_path, "3.12-udp-loss-server.json", silent)
    loss = find(store(tmp_path, udp_task(), PROBES, {**LOSSY, "server": server}), "loss", "ratio", Direction.A_Z)
    assert isinstance(loss.value, float) and loss.value > 0.2
    assert loss.interval is not None and loss.interval.n_eff is not None and loss.interval.n_eff < 30


def test_a_rate_without_a_loss_count_still_leaves_out_what_hosts_may_have_lost(tmp_path: Path) -> None:
    """iperf3 gives no loss and the receiver's counters are missing: it may have lost what did not arrive."""

    def uncounted(intervals: list[Any]) -> None:
        for interval in intervals:
            interval["sum"] |= {"lost_packets": None, "bytes": interval["sum"]["bytes"] // 2}

    outputs = {**LOSSY, "server": altered(tmp_path, "3.12-udp-loss-server.json", uncounted)}
    required = Criterion("throughput.udp", "mean", ">=", 19e6, "bit/s", "test", layer=Layer.L2)
    for name, counts, verdict in (("quiet", counters(), Verdict.FAIL), ("none", b"", Verdict.INCONCLUSIVE)):
        found = store(tmp_path / name, udp_task(), PROBES, outputs, counts=counts)
        assert find(found, "loss", "ratio", Direction.A_Z).value is None
        rate = find(found, "throughput.udp", "mean", Direction.A_Z)
        assert decide(rate, required, found.fitness)[0] is verdict


def test_how_a_udp_load_was_sent_and_received_is_a_fact(tmp_path: Path) -> None:
    """Pacing, burst, width of the counters, the buffer that was asked for and got, and what no gap shows."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY)
    facts = found.facts["udp"]["a-z"]
    assert facts["rate_bps"] == udp_task().jobs[-1].args["rate_bps"]
    assert (facts["processes"], facts["burst_packets"]) == (1, udp_task().jobs[-1].args["burst"])
    assert (facts["buffer_asked_bytes"], facts["tail_packets"]) == (16 << 20, 0)
