"""The CE's counters: when they speak of a loss, by its own clock, and what they prove."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfharness import evidence
from perfharness.analysis import ledger
from perfharness.analysis.counters import Moments, Row, record
from perfharness.judge.verdict import decide
from perfharness.measurements import Context
from perfharness.measurements.ce import CeCounters, read_ce
from perfharness.model import Direction, LedgerRow, Scope, Segment, Verdict, Window
from perfharness.order.circuit import Ce, Ssh, load_circuit
from perfharness.order.scenario import find_shipped
from tests.unit.job_files import CONTEXT, LOSS, LOSSY, PROBES, counters, find, store, udp_task
from tests.unit.test_analysis_ledger import QUIET

SECOND = 1_000_000_000
START = 1_000_000 * SECOND
A_Z, Z_A = Direction.A_Z, Direction.Z_A
WINDOW = Window(START + 3 * SECOND, START + 17 * SECOND)
STEP = [0] * 8 + [50] * 13
"""50 drops between the seconds 7 and 8."""
CE = Ce(name="ce-1", ssh=Ssh(host="ce-1"), lan="eth0", wan="eth1")


def rows(ahead_ns: int = 0, **changed: dict[str, list[int]]) -> list[dict[str, Any]]:
    """A row a second for 20 s, quiet but for counters of one group value by value; its clock is ahead."""
    told = []
    for i in range(21):
        row = {"t_ns": START + i * SECOND + ahead_ns, "mono_ns": i * SECOND, **QUIET}
        for group, columns in changed.items():
            row[group] = {**QUIET.get(group, {}), **{name: values[i] for name, values in columns.items()}}
        told.append(row)
    return told


def at(*seconds: float) -> Moments:
    """A packet lost at each of these, by the on-prem host's clock, give or take half a second."""
    times = np.array([START + round(second * SECOND) for second in seconds])
    return Moments(times - SECOND // 2, times + SECOND // 2, np.ones(len(times), np.int64))


def book(
    lan: list[dict[str, Any]],
    wan: list[dict[str, Any]],
    lost: int,
    way: Direction = A_Z,
    shift_ns: tuple[int, int] | None = (0, 0),
    **given: Any,
) -> dict[str, LedgerRow]:
    """The stages that may have lost something."""
    missing = ledger.Missing(packets=lost, window=WINDOW, **given)
    found = CeCounters(record(lan), record(wan), ("lan", "wan"), shift_ns).book(Scope("c", "a:z", way), missing)
    return {row.stage: row for row in found if row.packets_hi}


def most(found: dict[str, LedgerRow]) -> dict[str, int]:
    return {stage: row.packets_hi for stage, row in found.items()}


def test_each_direction_has_its_interfaces() -> None:
    """Towards the cloud packets come in by the LAN and leave by the WAN interface, and the other way round back."""
    lan, wan = rows(qdisc={"drops": STEP}), rows(nic={"rx_missed_errors": STEP})
    assert book(lan, wan, 60, A_Z) == {}
    back = book(lan, wan, 60, Z_A)
    assert most(back) == {ledger.CE_QDISC: 50, ledger.CE_IN: 50}
    assert all((row.segment, row.shared, row.packets_lo) == (Segment.CE, True, 0) for row in back.values())
    assert most(book(wan, lan, 60, A_Z)) == {ledger.CE_QDISC: 50, ledger.CE_IN: 50}


def test_what_both_interfaces_show_of_the_whole_router_counts_once() -> None:
    """Softnet and IP are the host's, and stand in both recordings."""
    both = rows(softnet={"dropped": STEP})
    assert most(book(both, both, 80)) == {ledger.CE_SOFTNET: 50}


def test_never_more_than_was_lost_and_only_when_it_rose() -> None:
    """50 drops at second 7 explain at most what was lost then, and nothing that was lost later."""
    lan, wan = rows(), rows(qdisc={"drops": STEP})
    assert most(book(lan, wan, 20)) == {ledger.CE_QDISC: 20}
    assert most(book(lan, wan, 3, at_sender=at(7.4, 7.6, 14.0))) == {ledger.CE_QDISC: 2}
    assert book(lan, wan, 2, at_sender=at(14.0, 15.0)) == {}


def test_damaged_frames_are_of_the_link_they_came_by() -> None:
    """On the LAN they are the customer's, on the circuit nobody's but the circuit's."""
    damaged = rows(nic={"rx_errors": STEP, "rx_crc_errors": STEP})
    there, back = book(damaged, rows(), 60, A_Z), book(rows(), damaged, 60, Z_A)
    assert there[ledger.CE_DAMAGED].segment is Segment.LAN
    assert back[ledger.CE_DAMAGED].segment is Segment.BETWEEN
    assert ledger.host_loss(tuple(there.values())) == (0, 50)
    assert ledger.host_loss(tuple(back.values())) == (0, 0)


def test_what_it_cannot_tell_excuses_nothing() -> None:
    """A router without softnet counters, and one that was read for a part of the stream only, book nothing for it."""
    bare: list[Row] = [{name: value for name, value in row.items() if name != "softnet"} for row in rows()]
    assert book([dict(row) for row in bare], rows(), 60) == {}
    assert book(rows()[:10], rows()[:10], 60) == {}


def test_what_netfilter_drops_on_the_way_through_shows() -> None:
    """Before Linux 6.6 in what was not forwarded, since then in what was forwarded and not transmitted."""
    ip = {**QUIET["snmp"]["Ip"], "InReceives": 0, "InDelivers": 0, "OutRequests": 0, "InHdrErrors": 0}
    ip = {**ip, "InAddrErrors": 0, "InDiscards": 0, "InUnknownProtos": 0}
    for old in (True, False):
        lan = rows()
        for i, row in enumerate(lan):
            through = {"InReceives": 100 * i, "ForwDatagrams": 100 * i - (STEP[i] if old else 0)}
            sent = {} if old else {"OutTransmits": 100 * i - STEP[i]}
            row["snmp"] = {**QUIET["snmp"], "Ip": {**ip, **through, **sent}}
        assert most(book(lan, rows(), 60)) == {ledger.CE_FIREWALL: 50}


def test_its_clock_may_be_anywhere() -> None:
    """An hour ahead, known to a second: its drops are found at the right time, and not at another one."""
    hour = 3600 * SECOND
    lan, wan = rows(hour), rows(hour, qdisc={"drops": STEP})
    shift = (hour - SECOND // 2, hour + SECOND // 2)
    assert most(book(lan, wan, 2, shift_ns=shift, at_sender=at(7.4, 14.0))) == {ledger.CE_QDISC: 1}
    assert book(lan, wan, 2, shift_ns=shift, at_sender=at(12.0, 14.0)) == {}
    unknown = book(lan, wan, 2, shift_ns=None, at_sender=at(12.0, 14.0))
    assert most(unknown) == {ledger.CE_QDISC: 2}, "of an unknown time it may be any"


def written(tmp_path: Path, ahead_ns: int, watched: dict[str, Any]) -> tuple[evidence.TaskFiles, Context]:
    """A task's files: both interfaces of the CE and the on-prem host."""
    circuit = load_circuit(find_shipped("circuits/lab")).model_copy(update={"ce": CE})
    context = Context(circuit, circuit.endpoint("onprem-a"), circuit.endpoint("ecs-a"))
    folder = evidence.create(tmp_path, "c", "r", {})
    for host, job, ahead in (
        ("onprem-a", "counters", 0),
        ("ce-1", "counters-lan", ahead_ns),
        ("ce-1", "counters-wan", ahead_ns),
    ):
        lines = [json.dumps(row) for row in [{"format_version": 1}, *rows(ahead)]]
        folder.write(f"raw/t/{host}.{job}/counters.jsonl", "\n".join(lines).encode() + b"\n")
    folder.write_json("raw/t/task.json", {"status": "completed", "reason": "", "watched": watched})
    return folder.files("t"), context


def test_the_coordinator_bounds_the_difference_of_the_clocks(tmp_path: Path) -> None:
    """Brackets around the first and last rows of both: the difference lies within their widths, at both ends."""
    end = 20 * SECOND
    near = [[START - 10, START + 20], [START + end - 30, START + end + 40]]
    far = [[START - 1, START + 2], [START + end - 3, START + end + 4]]
    files, context = written(tmp_path, 5000, {"onprem-a.counters": near, "ce-1.counters-wan": far})
    found = read_ce(files, context)
    assert found is not None and found.shift_ns == (5000 - 4 - 30, 5000 + 3 + 40)
    assert found.evidence == ("raw/t/ce-1.counters-lan/counters.jsonl", "raw/t/ce-1.counters-wan/counters.jsonl")


def test_a_run_that_noted_no_brackets_has_no_bound(tmp_path: Path) -> None:
    """Its counters then speak for the whole task; an order without a CE that can be read has none at all."""
    files, context = written(tmp_path, 0, {})
    found = read_ce(files, context)
    assert found is not None and found.shift_ns is None
    named = Context(context.circuit.model_copy(update={"ce": "ce-1"}), context.a, context.z)
    assert read_ce(files, named) is None


def test_what_crossed_the_wan_counts_only_where_nothing_else_did() -> None:
    """1,000 packets in 14 s and hardly any before and after: told. With others' traffic, or without a sight of
    what was before: not."""
    sent = [0, 0, 0, 0, *(round(1000 * (i + 1) / 14) for i in range(14)), 1000, 1000, 1000]

    def crossed(others: int, missing: int, window: Window = WINDOW) -> int | None:
        wan = rows(nic={"tx_packets": [count + others * i for i, count in enumerate(sent)]})
        return CeCounters(record(rows()), record(wan), ("", ""), (0, 0)).crossed(A_Z, window, missing)

    assert crossed(0, 30) == 1000
    assert crossed(1, 300) == 1014
    assert crossed(10, 30) is None
    assert crossed(0, 30, Window(START, START + 17 * SECOND)) is None


@pytest.mark.parametrize(
    ("way", "crossed", "lost", "least"),
    [
        (A_Z, 970, 30, 30),  # none of those that are missing left the site
        (A_Z, 1000, 30, None),  # all left it
        (A_Z, 985, 30, 15),
        (A_Z, 900, 30, None),  # it does not count them all
        (Z_A, 1000, 30, 27),  # all came to the site, but for what may have been others' packets
        (Z_A, 970, 30, None),
        (Z_A, 1030, 30, None),
    ],
)
def test_what_the_wan_did_not_see_was_lost_before_it(
    way: Direction, crossed: int, lost: int, least: int | None
) -> None:
    """Of 1,000 packets; what the CE or the on-prem host may have dropped, or came damaged, is not the LAN's."""
    column = "tx_packets" if way is A_Z else "rx_packets"
    wan = rows(nic={column: [0, 0, 0, 0, *[crossed] * 17]})
    found = CeCounters(record(rows()), record(wan), ("", ""), (0, 0))
    scope = Scope("c", "a:z", way)
    row = next(iter(found.book_lan(scope, WINDOW, 1000, lost, ())), None)
    assert (row.packets_lo if row else None) == least
    if row:
        assert (row.segment, row.stage) == (Segment.LAN, ledger.LAN)
        own = LedgerRow(scope, ledger.CE_QDISC, Segment.CE, 0, lost, "", True)
        damaged = LedgerRow(scope, ledger.DAMAGED, Segment.BETWEEN, 0, lost, "", True)
        assert found.book_lan(scope, WINDOW, 1000, lost, (own,)) == ()
        assert found.book_lan(scope, WINDOW, 1000, lost, (damaged,)) == ()


@pytest.mark.parametrize(
    ("at_ce", "verdict"),
    [(counters(queued=117), Verdict.INCONCLUSIVE), (counters(), Verdict.FAIL), (b"", Verdict.FAIL)],
    ids=["its queue dropped", "quiet", "not read"],
)
def test_a_load_that_the_ce_may_have_dropped_is_undecided(tmp_path: Path, at_ce: bytes, verdict: Verdict) -> None:
    """What iperf3 lost is the CE's as far as its queue dropped meanwhile; read and quiet, or not read at all, it
    excuses nothing."""
    circuit = CONTEXT.circuit.model_copy(update={"ce": CE})
    here = Context(circuit, CONTEXT.a, CONTEXT.z)
    found = store(tmp_path, udp_task(here), PROBES, LOSSY, counts=counters(), context=here, at_ce=at_ce)
    loss = find(found, "loss", "ratio", A_Z)
    assert decide(loss, LOSS, found.fitness)[0] is verdict
    assert ("the hosts and the CE lost 0 to 117" in loss.reason) == (verdict is Verdict.INCONCLUSIVE)
