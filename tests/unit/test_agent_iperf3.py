"""perfagent.program and perfagent.methods.iperf3, as far as they need no network: versions, options, complaints."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfagent import program
from perfagent.methods import iperf3
from perfagent.wire import Code, Fault

GOLDEN = Path(__file__).parents[1] / "golden" / "iperf3"


def features(version: str) -> tuple[str, ...]:
    return program.features(
        (GOLDEN / f"{version}-version.txt").read_text(), (GOLDEN / f"{version}-help.txt").read_text()
    )


def test_features_are_read_from_what_the_program_says() -> None:
    """3.18 has threads and --json-stream, 3.12 has not; both have 64-bit counters."""
    assert set(features("3.18")) - set(features("3.12")) == {"json-stream", "threads"}
    assert {"bidir", "udp-counters-64bit", "rcv-timeout", "dont-fragment"} <= set(features("3.12"))


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
    complaint = iperf3.complaint((GOLDEN / f"{version}-{case}.json").read_bytes())
    assert complaint.startswith(words)
    assert bool(complaint) == bool(words)


@pytest.mark.parametrize("output", [b"", b'{"start":', b"[]", b"\xff\xfe"])
def test_broken_output_has_no_words(output: bytes) -> None:
    """A killed program leaves half a document, or nothing."""
    assert iperf3.complaint(output) == ""


@pytest.mark.parametrize(("window", "block"), [(None, None), (1 << 20, None), (64 << 10, 32 << 10), (5000, 4096)])
def test_a_small_window_is_written_in_small_blocks(window: int | None, block: int | None) -> None:
    """A write that waits for room deafens iperf3's sender, and then its test never ends."""
    assert iperf3.block_bytes(window) == block
