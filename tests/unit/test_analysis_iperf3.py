"""Reading iperf3's JSON: real output of several versions, and output that is none."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from perfharness.analysis import iperf3
from perfharness.errors import ToolFailed

GOLDEN = Path(__file__).parent.parent / "golden" / "iperf3"
REPORTS = sorted(path.name for path in GOLDEN.glob("*.json"))
BROKEN_OFF = ("busy", "refused", "window", "interrupted", "killed")
WHOLE = [name for name in REPORTS if not any(word in name for word in BROKEN_OFF)]


def golden(name: str) -> iperf3.Iperf3Result:
    return iperf3.parse((GOLDEN / name).read_bytes())


def events(report: dict[str, Any]) -> bytes:
    """The same report as ``--json-stream`` prints it."""
    lines = [{"event": "start", "data": report["start"]}]
    lines += [{"event": "interval", "data": interval} for interval in report["intervals"]]
    lines += [{"event": "end", "data": report["end"]}]
    return "\n".join(json.dumps(line) for line in lines).encode()


@pytest.mark.parametrize("name", REPORTS)
def test_every_recorded_report_is_read(name: str):
    """Version, role, and for a test that ran: protocol, both ends' flows, a plausible rate at each."""
    found = golden(name)
    assert found.version == ("" if "refused-stream" in name else name.split("-")[0])
    if any(word in name for word in BROKEN_OFF):
        assert found.error
        return
    assert found.error is None
    assert found.role == ("server" if name.endswith("server.json") else "client")
    assert found.protocol == name.split("-")[1]
    assert len(found.flows) == (2 if "bidir" in name else 1)
    assert found.start_unix_s and found.start_unix_s > 1_700_000_000
    assert found.cpu_percent is not None
    for flow in found.flows:
        assert flow.rate_bps is not None and 1.9e7 < flow.rate_bps < 2.1e8
        assert 1.9 < flow.seconds < 3.1
        # A scrap of an interval at the end is no rate of its own.
        assert flow.rates_bps == pytest.approx(flow.rate_bps, rel=0.35)
        assert len(flow.rates_bps) in (2, 3)


@pytest.mark.parametrize("name", [name for name in WHOLE if not name.startswith(("3.7", "3.9"))])
def test_totals_of_the_intervals_are_iperf3_s_own(name: str):
    """Our sums are those that iperf3 prints for its own end, but for the packets of the last milliseconds."""
    raw = (GOLDEN / name).read_bytes()
    end = iperf3._report(raw)["end"]
    found = iperf3.parse(raw)
    for flow in found.flows:
        backwards = flow.reverse != ("reverse" in name and "bidir" not in name)
        theirs = end[("sum_sent" if flow.sending else "sum_received") + "_bidir_reverse" * backwards]
        assert flow.bytes == pytest.approx(theirs["bytes"], abs=140_000 if found.protocol == "tcp" else 1400)
        if flow.packets is not None:
            assert flow.packets == theirs["packets"]


@pytest.mark.parametrize("name", [name for name in WHOLE if name.startswith(("3.7-udp", "3.9-udp"))])
def test_packets_of_the_intervals_are_iperf3_s_own(name: str):
    """Up to 3.9 a UDP test has one sum for both ends, in which the server has no bytes; its packets are right."""
    raw = (GOLDEN / name).read_bytes()
    (flow,) = iperf3.parse(raw).flows
    theirs = json.loads(raw)["end"]["sum"]
    assert flow.packets == theirs["packets"]
    assert flow.sending or flow.lost == theirs["lost_packets"]


@pytest.mark.parametrize("version", ["3.12", "3.18"])
@pytest.mark.parametrize(
    ("case", "reverse"), [("tcp", False), ("udp", False), ("tcp-reverse", True), ("udp-reverse", True)]
)
def test_each_end_speaks_for_its_own_part(version: str, case: str, reverse: bool):
    """Forward: the client sends; reverse: the server does. Only a sender of TCP knows its retransmits."""
    client, server = (golden(f"{version}-{case}-{end}.json") for end in ("client", "server"))
    for found, sends in ((client, not reverse), (server, reverse)):
        flow = found.flow(reverse=reverse)
        assert flow is not None and found.flow(reverse=not reverse) is None
        assert flow.sending is sends
        assert (flow.retransmits is not None) == (sends and case.startswith("tcp"))


@pytest.mark.parametrize("name", [name for name in REPORTS if "bidir" in name])
def test_both_directions_of_bidir_are_told_apart(name: str):
    """The client sends forward and receives backward, the server the other way round."""
    found = golden(name)
    for reverse in (False, True):
        flow = found.flow(reverse=reverse)
        assert flow is not None and flow.sending is ((found.role == "client") != reverse)


@pytest.mark.parametrize(
    ("name", "reverse", "lost", "packets"),
    [("udp-loss-server", False, 117, 5356), ("udp-reverse-loss-client", True, 95, 5357)],
)
def test_loss_is_counted_by_the_receiver(name: str, reverse: bool, lost: int, packets: int):
    """The receiver's own count, also per interval; the sender's output says nothing of loss."""
    flow = golden(f"3.12-{name}.json").flow(reverse=reverse)
    assert flow is not None and flow.loss_problem == ""
    assert (flow.lost, flow.packets) == (lost, packets)
    assert [int(blocks.sum()) for blocks in flow.loss_blocks] == [lost, packets]
    other = name.replace("server", "CLIENT").replace("client", "server").replace("CLIENT", "client")
    sender = golden(f"3.12-{other}.json").flow(reverse=reverse)
    assert sender is not None and sender.lost is None and "sender" in sender.loss_problem


def test_the_warm_up_is_left_out():
    """Four intervals with the first one omitted: three count."""
    flow = golden("3.12-tcp-client.json").flow(reverse=False)
    assert flow is not None
    assert ([part.omitted for part in flow.slices], len(flow.kept)) == ([True, False, False, False], 3)


def test_a_warm_up_of_ours_is_left_out_too():
    """What lies in the first seconds of a test without iperf3's own omission counts as warm-up."""
    whole = golden("3.12-udp-client.json").flow(reverse=False)
    flow = iperf3.parse((GOLDEN / "3.12-udp-client.json").read_bytes(), warm_up_s=1.0).flow(reverse=False)
    assert whole is not None and flow is not None
    assert flow.kept == whole.kept[1:]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("busy-client", "the server is busy running a test. try again later"),
        ("refused-client", "unable to connect to server"),
        ("window-client", "socket buffer size not set correctly"),
        ("client-killed-server", "the client has terminated"),
        ("server-killed-client", "the server has terminated"),
        ("interrupted-client", "interrupt - the client has terminated"),
    ],
)
@pytest.mark.parametrize("version", ["3.12", "3.18"])
def test_errors_are_in_iperf3_s_own_words(version: str, name: str, words: str):
    """An error key is the error, whatever the exit code was; what was measured before it stays."""
    found = golden(f"{version}-{name}.json")
    assert found.error is not None and words in found.error
    if "killed" in name or "interrupted" in name:
        assert found.flows and found.flows[0].rate_bps


@pytest.mark.parametrize("name", ["3.12-tcp-p4-server.json", "3.12-udp-loss-server.json", "3.12-udp-bidir-client.json"])
def test_a_stream_of_events_says_the_same(name: str):
    """--json-stream and --json of one test are read alike."""
    raw = (GOLDEN / name).read_bytes()
    assert iperf3.parse(events(json.loads(raw))) == iperf3.parse(raw)


def test_a_stream_that_was_cut_off_keeps_its_intervals():
    """A killed process's events are read up to the torn line, and the result says that it is not whole."""
    raw = (GOLDEN / "3.18-udp-stream-client.json").read_bytes()
    found = iperf3.parse(raw[: raw.index(b'{"event":"end"') + 30])
    assert found.error == "the output ends before the test did, after second 3.0"
    assert len(found.flows[0].slices) == 3


@pytest.mark.parametrize("raw", [b"", b"  \n", b"iperf3: error", b"[1]", b"\xff\xfe{", b"[" * 100_000])
def test_what_is_no_report_is_a_failure_with_a_sentence(raw: bytes):
    """No output, no JSON, no object, no UTF-8, nesting without end."""
    with pytest.raises(ToolFailed, match=r"^iperf3"):
        iperf3.parse(raw)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (b"warning: odd\n", b"", "begins with 'warning: odd'"),
        (b"", b"Segmentation fault\n", "followed by 'Segmentation fault'"),
        (b"", b'{"again": 1}', "followed by '{"),
    ],
)
def test_garbage_around_a_report_is_named(before: bytes, after: bytes, said: str):
    """Whoever wrote there may have written elsewhere too: it is no report."""
    raw = (GOLDEN / "3.12-tcp-client.json").read_bytes()
    with pytest.raises(ToolFailed, match=said):
        iperf3.parse(before + raw + after)


def test_garbage_among_events_is_named_with_its_line():
    """Between two events, and after the last."""
    raw = (GOLDEN / "3.21-udp-loss-stream-server.json").read_bytes()
    lines = raw.splitlines()
    for number in (2, len(lines)):
        garbled = b"\n".join([*lines[:number], b"-nan", *lines[number:]])
        with pytest.raises(ToolFailed, match=f"Line {number + 1} of iperf3's output is none of its events but '-nan'"):
            iperf3.parse(garbled)


@pytest.mark.parametrize("version", ["3.7", "3.9"])
def test_two_sums_of_one_name_are_both_directions(version: str):
    """Up to 3.9 both directions of --bidir are called ``sum``."""
    for end, sends in (("client", False), ("server", True)):
        found = golden(f"{version}-tcp-bidir-{end}.json")
        assert [(flow.reverse, flow.sending) for flow in found.flows] == [(False, not sends), (True, sends)]


def test_a_sender_that_is_told_of_no_loss_is_not_believed():
    """3.20 prints none lost for an older receiver that lost 100: the receiver's own output counts."""
    sender, receiver = golden("3.20-udp-mixed-client.json"), golden("3.12-udp-mixed-server.json")
    theirs = json.loads((GOLDEN / "3.20-udp-mixed-client.json").read_bytes())["end"]["sum_received"]
    assert (theirs["lost_packets"], theirs["packets"]) == (0, 5359)
    sent, received = sender.flow(reverse=False), receiver.flow(reverse=False)
    assert sent is not None and received is not None
    assert (sent.lost, received.lost, received.loss_problem) == (None, 100, "")


def test_a_signal_is_an_error_though_the_exit_code_is_0():
    """From 3.19 on: an error key, and what was measured until then."""
    found = golden("3.19-interrupted-client.json")
    assert found.error == "interrupt - the client has terminated by signal Terminated(15)"
    assert found.flows[0].seconds == pytest.approx(2.5, abs=0.2)


@pytest.mark.parametrize("end", ["client", "server"])
@pytest.mark.parametrize("version", ["3.17.1", "3.21"])
def test_a_killed_stream_is_read_up_to_its_last_second(version: str, end: str):
    """Where -J leaves nothing at all."""
    killed = {"client": "killed-stream-client", "server": "server-killed-stream-server"}[end]
    found = golden(f"{version}-{killed}.json")
    assert found.error == "the output ends before the test did, after second 2.0"
    assert len(found.flows[0].slices) == 2


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -1e300, "-nan", True])
def test_a_value_that_is_none_leaves_its_interval_out(value: Any):
    """iperf3 prints null for what is no number: the rate is not made of it, and the gap is an error."""
    report = json.loads((GOLDEN / "3.7-udp-loss-server.json").read_bytes())
    report["intervals"][1]["sum"] |= {"bytes": value}
    found = iperf3.parse(json.dumps(report).encode())
    assert found.error == "intervals are missing from its report or out of order"
    report["intervals"][1]["sum"] |= {"bytes": 2_440_200, "jitter_ms": value, "bits_per_second": value}
    assert iperf3.parse(json.dumps(report).encode()).error is None


@pytest.mark.parametrize("missing", ["sender", "omitted"])
def test_a_flag_that_is_missing_is_told_by_the_settings(missing: str):
    """Who sends follows from role and ``reverse``; what is not marked is no warm-up."""
    for end, sending in (("client", True), ("server", False)):
        raw = (GOLDEN / f"3.7-udp-loss-{end}.json").read_bytes()
        report = json.loads(raw)
        for interval in report["intervals"]:
            del interval["sum"][missing]
        assert iperf3.parse(json.dumps(report).encode()) == iperf3.parse(raw)
        assert iperf3.parse(raw).flows[0].sending is sending


def test_the_first_of_two_errors_is_the_cause():
    """A key given twice."""
    raw = (GOLDEN / "3.12-refused-client.json").read_bytes()
    assert iperf3.parse(raw.rstrip()[:-1] + b', "error": "and so on"}').error == iperf3.parse(raw).error


def test_a_report_that_was_cut_off_is_a_failure():
    """Half of --json's output is no JSON."""
    raw = (GOLDEN / "3.12-tcp-client.json").read_bytes()
    with pytest.raises(ToolFailed, match="cut off"):
        iperf3.parse(raw[: len(raw) // 2])


@pytest.mark.parametrize(
    ("lost", "packets", "problem"),
    [
        (-4_294_967_000, 5000, "cannot be"),
        (5001, 5000, "cannot be"),
        (0, 0, "no packet"),
        (None, 5000, "no count"),
        (True, 5000, "no count"),
        (float("nan"), 5000, "no count"),
    ],
)
def test_an_impossible_loss_is_reported_not_clamped(lost: Any, packets: int, problem: str):
    """Negative loss at 2^32 packets and other nonsense makes the loss unusable, with the reason."""
    report = json.loads((GOLDEN / "3.12-udp-loss-server.json").read_bytes())
    for interval in report["intervals"]:
        interval["sum"] |= {"lost_packets": lost, "packets": packets}
    flow = iperf3.parse(json.dumps(report).encode()).flow(reverse=False)
    assert flow is not None and problem in flow.loss_problem


@pytest.mark.parametrize("minus_one", [-1, 2**64 - 1], ids=["signed", "as iperf3 prints it"])
def test_a_late_packet_may_make_one_interval_negative(minus_one: int):
    """Reordering across an interval's end takes one back: the sum stands."""
    report = json.loads((GOLDEN / "3.12-udp-loss-server.json").read_bytes())
    for interval, lost in zip(report["intervals"], (3, minus_one, 0), strict=True):
        interval["sum"]["lost_packets"] = lost
    flow = iperf3.parse(json.dumps(report).encode()).flow(reverse=False)
    assert flow is not None and (flow.lost, flow.loss_problem) == (2, "")


_NAMES = """start intervals end error event data sum sum_bidir_reverse sender omitted seconds bytes lost_packets
packets test_start protocol reverse num_streams connecting_to accepted_connection version timestamp timesecs"""
NAMES = some.sampled_from(_NAMES.split())
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(NAMES, inner, max_size=8),
    max_leaves=40,
)


@given(JSON)
def test_any_json_is_read_or_refused(value: Any):
    """Whatever JSON comes, as a report or as events: a result with usable properties, or ToolFailed."""
    for raw in (
        json.dumps(value),
        json.dumps({"event": "interval", "data": value}),
        f'{{"start":{json.dumps(value)}}}',
    ):
        try:
            found = iperf3.parse(raw.encode())
        except ToolFailed:
            continue
        for flow in found.flows:
            assert (flow.rate_bps, flow.rates_bps, flow.packets, flow.loss_problem) is not None
            if not flow.loss_problem:
                assert flow.loss_blocks[0].sum() == flow.lost


@given(some.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes):
    """No bytes at all make it raise anything else."""
    with contextlib.suppress(ToolFailed):
        iperf3.parse(raw)
