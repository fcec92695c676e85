"""perfagent.program and perfagent.methods.iperf3, as far as they need no network: versions, options, complaints."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from perfagent import iperf3_output, program
from perfagent.methods import iperf3
from perfagent.wire import Code, Fault
from perfharness.analysis.iperf3 import parse

GOLDEN = Path(__file__).parents[1] / "golden" / "iperf3"


def features(version: str) -> tuple[str, ...]:
    return program.features(
        (GOLDEN / f"{version}-version.txt").read_text(), (GOLDEN / f"{version}-help.txt").read_text()
    )


def test_features_are_read_from_what_the_program_says() -> None:
    """3.18 has threads and --json-stream, 3.12 has not; both have 64-bit counters."""
    assert set(features("3.18")) - set(features("3.12")) == {"json-stream", "threads"}
    assert {"bidir", "udp-counters-64bit", "rcv-timeout", "dont-fragment"} <= set(features("3.12"))


def test_what_overflows_is_no_feature() -> None:
    """3.19 has --skip-rx-copy and writes beyond a buffer with it; 3.19.1 does not."""
    versions = ("3.19", "3.19.1", "3.20")
    said = [program.features(f"iperf {version} (cJSON 1.7.15)", "  --skip-rx-copy") for version in versions]
    assert said == [(), ("skip-rx-copy",), ("skip-rx-copy",)]


@pytest.mark.parametrize("version", ["3.7", "3.9", "3.16", "3.17.1", "3.19", "3.20", "3.21"])
def test_every_versions_name_is_read(tmp_path: Path, version: str) -> None:
    """As each of them says it."""
    text = (GOLDEN / f"{version}-version.txt").read_text()
    assert program.inspect(fake(tmp_path, text.replace("'", ""))).version == version


def test_what_is_there_and_cannot_run_is_named_as_what_it_is(tmp_path: Path) -> None:
    """A folder, a file without the permission, one that is no program: the person sees what to correct."""
    plain = tmp_path / "iperf3"
    plain.write_text("no program")
    with pytest.raises(Fault, match="is a folder"):
        program.inspect(str(tmp_path))
    with pytest.raises(Fault, match=r"iperf3' is a file that this user may not execute") as caught:
        program.inspect(str(plain))
    assert caught.value.code == Code.TOOL_MISSING
    plain.chmod(0o755)
    with pytest.raises(Fault, match="does not start, or does not answer"):
        program.inspect(str(plain))


def test_a_program_on_the_path_that_may_not_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name alone, too."""
    (tmp_path / "iperf3-own").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Fault, match=rf"'{tmp_path}/iperf3-own' is a file that this user may not execute"):
        program.inspect("iperf3-own")


def test_a_program_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is the child that it leaves behind, which holds its output open."""
    path = tmp_path / "iperf3"
    path.write_text("#!/bin/sh\nsleep 60\n")
    path.chmod(0o755)
    ask = program.tools.ask
    monkeypatch.setattr(program.tools, "ask", lambda argv: ask(argv, 0.2))
    with pytest.raises(Fault, match="does not start, or does not answer"):
        program.inspect(str(path))


def test_a_missing_program_is_named_with_the_path_tried() -> None:
    """The person sees which path to correct."""
    with pytest.raises(Fault, match="'/opt/none/iperf3'") as caught:
        program.inspect("/opt/none/iperf3")
    assert caught.value.code == Code.TOOL_MISSING


def fake(folder: Path, says: str) -> str:
    path = folder / "iperf3"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


def test_an_old_program_is_refused(tmp_path: Path) -> None:
    """Before 3.7 there is no --bidir."""
    with pytest.raises(Fault, match=r"iperf 3\.1\.3, older than 3\.7") as caught:
        program.inspect(fake(tmp_path, "iperf 3.1.3"))
    assert caught.value.code == Code.TOOL_TOO_OLD


def test_a_program_that_is_not_iperf3_is_refused(tmp_path: Path) -> None:
    """It is not guessed what something else might be."""
    with pytest.raises(Fault) as caught:
        program.inspect(fake(tmp_path, "hello"))
    assert caught.value.code == Code.TOOL_FAILED


def test_a_patch_version_is_kept(tmp_path: Path) -> None:
    """3.19.0 and 3.19.1 differ in what matters."""
    assert program.inspect(fake(tmp_path, "iperf 3.19.1 (cJSON 1.7.15)")).version == "3.19.1"


def test_the_rate_is_shared_among_the_streams() -> None:
    """rate_bps is the total, iperf3's -b is of one stream."""
    options = iperf3.load_options(udp=True, rate_bps=1_000_000, streams=4, features=())
    assert options == ["-u", "-b", "250000"]


@pytest.mark.parametrize(
    ("udp", "burst", "said"), [(True, 8, "1000000/8"), (True, 1, "1000000"), (False, 8, "1000000")]
)
def test_a_burst_is_part_of_the_rate(udp: bool, burst: int, said: str) -> None:
    """Of UDP only: TCP's segments are the kernel's to pace."""
    assert said in iperf3.load_options(udp=udp, rate_bps=1_000_000, streams=1, burst=burst, features=())


def test_unlimited_udp_says_so() -> None:
    """Without -b iperf3 would send 1 Mbit/s."""
    assert iperf3.load_options(udp=True, rate_bps=None, streams=1, features=()) == ["-u", "-b", "0"]


def test_unlimited_tcp_needs_no_rate() -> None:
    """TCP is unlimited by itself."""
    assert iperf3.load_options(udp=False, rate_bps=None, streams=2, features=("udp-counters-64bit",)) == []


def test_udp_counters_are_wide_where_they_can_be() -> None:
    """Else loss is wrong after 2**32 packets."""
    assert "--udp-counters-64bit" in iperf3.load_options(
        udp=True, rate_bps=1, streams=1, features=("udp-counters-64bit",)
    )


def test_a_window_within_the_limit_is_left_alone() -> None:
    """No clamp, no note."""
    assert iperf3.clamp_window(16384) == (16384, [])
    assert iperf3.clamp_window(None) == (None, [])


def test_a_window_above_the_limit_is_clamped_and_noted() -> None:
    """iperf3 would end with "socket buffer size not set correctly"."""
    limit = min(int(Path(f"/proc/sys/net/core/{name}").read_text()) for name in ("rmem_max", "wmem_max"))
    window, clamps = iperf3.clamp_window(limit * 2)
    assert window == limit
    assert [(each["asked"], each["got"]) for each in clamps] == [(limit * 2, limit)]


@pytest.mark.parametrize("version", ["3.12", "3.18"])
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("refused-client", "unable to connect to server"),
        ("busy-client", "the server is busy running a test"),
        ("window-client", "socket buffer size not set correctly"),
        ("interrupted-client", "interrupt - the client has terminated"),
        ("client-killed-server", "the client has terminated"),
        ("server-killed-client", "the server has terminated"),
        ("tcp-client", ""),
        ("udp-loss-server", ""),
    ],
)
def test_iperf3s_own_words_are_found(version: str, case: str, words: str) -> None:
    """Whatever the exit code was; a test that went well has none."""
    said = iperf3_output.read((GOLDEN / f"{version}-{case}.json").read_bytes())
    assert said.error.startswith(words)
    assert (bool(said.error), said.trouble) == (bool(words), "")


@pytest.mark.parametrize(("window", "block"), [(None, None), (1 << 20, None), (64 << 10, 32 << 10), (5000, 4096)])
def test_a_small_window_is_written_in_small_blocks(window: int | None, block: int | None) -> None:
    """A write that waits for room deafens iperf3's sender, and then its test never ends."""
    assert iperf3.block_bytes(window) == block


ALL = sorted(path.name for path in GOLDEN.glob("*.json"))
WORDLESS = ("3.9-server-interrupted-client.json",)
"""3.9 says its errors on standard error, also with ``-J``; its output looks whole."""


@pytest.mark.parametrize("name", ALL)
def test_agent_and_coordinator_agree_on_every_output(name: str) -> None:
    """What the agent lets pass as a whole report the coordinator can use, and the other way round."""
    raw = (GOLDEN / name).read_bytes()
    said = iperf3_output.read(raw)
    found = parse(raw)
    if name in WORDLESS:
        return
    assert bool(said.error or said.trouble) == bool(found.error)
    assert said.error in ("", found.error)
    last = max((part.start_s + part.seconds for flow in found.flows for part in flow.slices), default=0.0)
    assert said.until_s == pytest.approx(last, abs=0.01)


@pytest.mark.parametrize(
    ("output", "trouble"),
    [
        (b"", "it left no output"),
        (b'{"start":', "its output is cut off"),
        (b"[]", "its output begins with '[]'"),
        (b"\xff\xfe", "its output begins with"),
        (b'warning: hm\n{"start":{},"intervals":[],"end":{}}', "its output begins with 'warning: hm'"),
        (b'{"start":{},"intervals":[],"end":{}}\nsegfault', "after its report comes 'segfault'"),
        (b'{"event":"start","data":{}}\nhm\n{"event":"end","data":{}}', "among its events comes 'hm'"),
        (b'{"event":"start","data":{}}\n{"event":"int', "its output is cut off"),
        (b'{"start":{},"end":-nan}', "its output is cut off"),
    ],
)
def test_broken_output_is_described(output: bytes, trouble: str) -> None:
    """A killed program leaves half a document, or nothing; a broken one anything."""
    said = iperf3_output.read(output)
    assert said.error == "" and said.trouble.startswith(trouble)


def test_the_first_of_several_errors_is_the_cause() -> None:
    """What follows of it is not."""
    assert iperf3_output.read(b'{"event":"error","data":"one"}\n{"event":"error","data":"two"}').error == "one"
    assert iperf3_output.read(b'{"error":"one","error":"two"}').error == "one"


class Told:
    """A job that keeps its live figures."""

    def __init__(self) -> None:
        self.said: list[dict[str, int]] = []

    def live(self, data: dict[str, int]) -> None:
        self.said.append(data)


def test_live_figures_come_from_events_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is new makes a figure, its mean; a line that is not whole yet waits for its rest."""
    raw = (GOLDEN / "3.21-udp-loss-stream-server.json").read_bytes()
    output, told = tmp_path / "iperf3.json", Told()
    output.write_bytes(b"")
    live = iperf3_output.Live(told, output, ("json-stream",))  # type: ignore[arg-type]  # a stand-in
    monkeypatch.setattr(iperf3_output, "_LOOK_S", 0)
    monkeypatch.setattr(iperf3_output, "_TELL_S", 0)
    event = b'{"event":"interval"'
    half = raw.index(event, raw.index(event) + 1) + 50
    with output.open("ab") as out:
        for piece in (raw[:half], raw[half:]):
            out.write(piece)
            out.flush()
            live.look(None)  # type: ignore[arg-type]  # a stand-in
    live.close()
    flow = parse(raw).flow(reverse=False)
    assert flow is not None
    means = [flow.rates_bps[0], flow.rates_bps[1:].mean()]
    assert [said["load_rx_bps"] for said in told.said] == pytest.approx(means, rel=1e-3)
    assert (told.said[-1]["lost"], told.said[-1]["packets"]) == (flow.lost, flow.packets)


def test_live_figures_of_an_older_program_are_those_of_its_connections(tmp_path: Path) -> None:
    """Payload that was acknowledged, by the second; the few bytes of the other way are told as they are."""
    told = Told()
    live = iperf3_output.Live(told, tmp_path / "none", ())  # type: ignore[arg-type]  # a stand-in
    for carried in (None, (1_000_000_000, {"tx": 1000, "rx": 0}), (3_000_000_000, {"tx": 251_000, "rx": 0})):
        live.look(SimpleNamespace(carried=carried))  # type: ignore[arg-type]  # a stand-in
        live.look(SimpleNamespace(carried=carried))  # type: ignore[arg-type]  # a stand-in
    assert told.said == [{"load_tx_bps": 1_000_000}]
