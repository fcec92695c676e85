"""The members of a LAG, and the truth of each flow."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest

from perfharness.lab import flows
from perfharness.lab.frames import flow_of
from perfharness.lab.line import Line, Passage
from perfharness.lab.linespec import LineSpec, LinkSpec, Loss
from tests.unit.packets import PROBE, udp

MS = 1_000_000
BURSTY = Loss(to_bad=0.02, to_good=0.3)


def test_a_bad_member_hurts_its_own_flows_and_no_other() -> None:
    """Of four members one loses a tenth: the flows that lost are exactly those that the truth puts on it."""
    bad = LinkSpec(loss=Loss(good=0.1))
    line = Line(LineSpec(members=(LinkSpec(), LinkSpec(), bad, LinkSpec())), 1)
    lost = {port for _ in range(200) for port in range(9000, 9032) if not line.offer(0, udp(port))}
    told = line.to_json()
    on_bad = {flow["flow"]["source_port"] for flow in told["flows"] if flow["member"] == 2}
    assert lost == on_bad
    assert on_bad == {port for port in range(9000, 9032) if flow_of(udp(port)).member(4) == 2}
    assert [member["packets"] for member in told["members"]] == [200 * n for n in spread(told)]
    drops = [sum(member["dropped"].values()) for member in told["members"]]
    assert drops == [0, 0, line.dropped["loss"], 0]
    assert drops[2] == sum(flow["dropped"] for flow in told["flows"]) > 0


def spread(told: dict[str, Any]) -> list[int]:
    """Flows on each member."""
    on = [flow["member"] for flow in told["flows"]]
    return [on.count(member) for member in range(len(told["members"]))]


def port_on(member: int, members: int) -> int:
    return next(port for port in range(9000, 9999) if flow_of(udp(port)).member(members) == member)


def test_a_member_adds_its_delay_to_the_lines() -> None:
    """2 ms of the line, and 3 ms more on the second member."""
    line = Line(LineSpec(delay_ns=2 * MS, members=(LinkSpec(), LinkSpec(delay_ns=3 * MS))), 1)
    releases = [line.offer(0, udp(port_on(member, 2)))[0].release_ns for member in (1, 0)]
    assert releases == [5 * MS, 2 * MS]


@pytest.mark.parametrize(
    ("member", "cause"), [(LinkSpec(mtu=28), "mtu"), (LinkSpec(cut=True), "cut"), (LinkSpec(loss=Loss(good=1)), "loss")]
)
def test_a_members_drops_have_their_cause(member: LinkSpec, cause: str) -> None:
    """On the member and on the line alike."""
    line = Line(LineSpec(members=(LinkSpec(), member)), 1)
    assert not line.offer(0, udp(port_on(1, 2)))
    assert line.offer(0, udp(port_on(0, 2)))
    assert line.members[1].dropped[cause] == line.dropped[cause] == 1
    assert sum(line.dropped.values()) == sum(line.members[1].dropped.values()) == 1


def test_members_may_change_while_frames_are_on_the_way() -> None:
    """A flow moves to where the new number of members puts it; all counts go on."""
    line = Line(LineSpec(members=(LinkSpec(),) * 3), 1)
    port = port_on(2, 3)
    line.offer(0, udp(port))
    line.play(LineSpec(members=(LinkSpec(),) * 2))
    line.offer(0, udp(port))
    (flow,) = line.to_json()["flows"]
    assert (flow["packets"], flow["member"]) == (2, flow_of(udp(port)).member(2))
    assert sum(member.packets for member in line.members) == 2
    line.play(LineSpec())
    assert line.offer(0, udp(port))[0].track is None


def among_others(spec: LineSpec, count: int = 3000) -> tuple[Line, list[Passage], dict[str, Any]]:
    """A stream of probes with as many other frames between them: what left of it, and its truth."""
    line, out = Line(spec, 3), []
    for n in range(count):
        out += line.offer(n * MS, udp(payload=n.to_bytes(4, "big")))
        line.offer(n * MS + MS // 2, udp(9001, destination_port=5201))
    (told,) = (flow for flow in line.to_json()["flows"] if flow["flow"]["destination_port"] == PROBE)
    return line, out, told


def expanded(runs: list[list[int]]) -> list[int]:
    return [n for first, length in runs for n in range(first, first + length)]


def test_the_loss_periods_of_a_stream_are_told_exactly() -> None:
    """Whatever else crosses: which packets were lost, and how many runs of each length."""
    _, out, told = among_others(LineSpec(loss=BURSTY, watch_port=PROBE))
    arrived = {int.from_bytes(passage.frame[-4:], "big") for passage in out}
    lost = [n for n in range(3000) if n not in arrived]
    runs = [len(list(run)) for gone, run in groupby(range(3000), lambda n: n not in arrived) if gone]
    assert told["loss_runs"] == {str(length): runs.count(length) for length in sorted(set(runs))}
    assert len(told["loss_runs"]) > 1
    assert expanded(told["log"]["packets"]["dropped"]) == lost
    assert told["dropped"] == len(lost)


def test_the_runs_of_a_line_are_those_of_all_its_frames() -> None:
    """The last run counts although nothing has ended it."""
    line = Line(LineSpec(cut=True), 1)
    for spec in (LineSpec(cut=True), LineSpec(), LineSpec(cut=True)):
        line.play(spec)
        line.offer(0, udp())
        line.offer(0, udp(9001))
    assert line.to_json()["loss_runs"] == {"2": 2}


def test_each_fate_of_a_packet_is_logged() -> None:
    """Doubled, held back and corrupted packets by their number in the stream."""
    spec = LineSpec(duplicate=0.1, reorder=0.1, corrupt=0.1, reorder_ns=10 * MS, watch_port=PROBE)
    _, out, told = among_others(spec, 500)
    seen: dict[str, set[int]] = {"duplicated": set(), "held_back": set(), "corrupted": set()}
    for passage in out:
        n = passage.arrived_ns // MS
        if passage.copy:
            seen["duplicated"].add(n)
        if passage.release_ns > passage.arrived_ns:
            seen["held_back"].add(n)
        if passage.frame != udp(payload=n.to_bytes(4, "big")):
            seen["corrupted"].add(n)
    assert {fate: set(expanded(runs)) for fate, runs in told["log"]["packets"].items()} == seen


def test_only_flows_on_the_watched_port_are_logged() -> None:
    """In either direction: the port may be the source's."""
    line = Line(LineSpec(watch_port=PROBE), 1)
    for ports in ((9000, PROBE), (PROBE, 9000), (9000, 5201)):
        line.offer(0, udp(ports[0], destination_port=ports[1]))
    assert ["log" in flow for flow in line.to_json()["flows"]] == [True, True, False]


def test_the_log_and_the_flows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no room for is counted, not forgotten; further flows still cross their member."""
    monkeypatch.setattr(flows, "MOST_RUNS", 3)
    monkeypatch.setattr(flows, "MOST_FLOWS", 2)
    line = Line(LineSpec(watch_port=PROBE, members=(LinkSpec(cut=True), LinkSpec())), 1)
    cut, whole = port_on(0, 2), port_on(1, 2)
    line.offer(0, udp(whole))
    for n in range(10):
        line.play(LineSpec(watch_port=PROBE, members=(LinkSpec(cut=n % 2 == 0), LinkSpec())))
        line.offer(0, udp(cut))
    log = line.to_json()["flows"][1]["log"]
    assert (log["packets"]["dropped"], log["unlogged"]) == ([[0, 1], [2, 1], [4, 1]], 2)
    others = [port for port in range(20_000, 20_010) if flow_of(udp(port)).member(2) == 0]
    line.play(LineSpec(watch_port=PROBE, members=(LinkSpec(cut=True), LinkSpec())))
    assert [line.offer(0, udp(port)) for port in others] == [()] * len(others)
    told = line.to_json()
    assert (len(told["flows"]), told["untracked"]) == (2, len(others))


def test_a_flow_counts_what_was_overtaken_in_it() -> None:
    """A packet that leaves after a later one of its own flow (RFC 4737); another flow's do not matter."""
    track = flows.Track(flow_of(udp()), 0, None)
    for ordinal in (0, 2, 1, 3, 6, 4, 5):
        track.left(ordinal)
    assert track.overtaken == 3
