"""The agent's own load, across a router with a kernel's meter. Needs root, iproute2 and nftables."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from perfharness.lab.topology import keep_datagrams_apart
from tests.integration.namespaces import ADDRESSES, Path3, Running

A, Z = ADDRESSES[4]["a"], ADDRESSES[4]["z"]
KEY = b"k" * 32
RATE_BPS, BUCKET_BYTES = 100_000_000, 300_000
PACKET = {"packet_bytes": 1400}
FRAME_BITS = (1400 + 28 + 14) * 8
COMMON: dict[str, Any] = {"port": 5300, "dscp": 0, "overhead_bytes": 42, "receive_buffer_bytes": 1 << 24}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path3]:
    with Path3(tmp_path_factory.mktemp("perfharness-test"), "load") as path:
        keep_datagrams_apart(path.interface(end) for end in "az")  # a meter would drop what comes in one piece
        yield path


def session(path: Path3, phases: list[dict[str, Any]], *, forward: bool, **more: Any) -> tuple[Running, Running]:
    """(sender, receiver), both ended; forward: from a, which drives, to z, which serves."""
    path.reset()
    both = {**COMMON, "phases": phases, **more}
    name = f"{'there' if forward else 'back'}-{len(list(path.spool.glob('jobs/*')))}"
    serve = path.start("z", f"serve-{name}", "load.serve", key=KEY, address=Z, peer=A, sends=not forward, **both)
    serve.wait_ready()
    drive = path.start("a", f"drive-{name}", "load.drive", key=KEY, peer=Z, source=A, sends=forward, **both)
    drive.result()
    serve.stop()
    return (drive, serve) if forward else (serve, drive)


def meter(path: Path3, words: str) -> None:
    """On what the router sends to either end."""
    for end in "az":
        path.run("r", "tc", "qdisc", "replace", "dev", f"to-{end}", "root", *words.split())


@pytest.mark.parametrize("forward", [True, False], ids=["a-z", "z-a"])
def test_the_meter_of_a_path_is_found_and_every_packet_accounted_for(path: Path3, forward: bool) -> None:
    """A policer's rate within 0.3 %, with its bucket in the first packets, and sent = received + dropped by it."""
    meter(path, f"tbf rate {RATE_BPS} burst {BUCKET_BYTES} limit 1600")
    phases = [
        {"name": "search", "seconds": 3.0, "search": {"from_bps": 10_000_000, "most_bps": 400_000_000}, **PACKET},
        {"name": "hold", "seconds": 1.0, "times_found": 1.25, **PACKET},
    ]
    try:
        sender, receiver = session(path, phases, forward=forward)
        told = json.loads(path.run("r", "tc", "-s", "-j", "qdisc", "show", "dev", f"to-{'z' if forward else 'a'}"))
    finally:
        for end in "az":
            path.run("r", "tc", "qdisc", "del", "dev", f"to-{end}", "root")
    sent, came = sender.data(), receiver.data()
    assert sent["search"]["ended"] == "overloaded"
    assert sent["search"]["found_bps"] == pytest.approx(RATE_BPS, rel=0.01)
    hold = came["phases"][1]
    carried_bps = (hold["packets"] - 1) * FRAME_BITS * 1e9 / (hold["last_ns"] - hold["first_ns"])
    assert carried_bps == pytest.approx(RATE_BPS, rel=0.003)
    lost = sum(each["packets"] for each in sent["phases"]) - sum(each["packets"] for each in came["phases"])
    assert came["drops"] == came["unread"] == 0
    assert 0 < lost <= told[0]["drops"] <= lost + 100  # it also dropped some hellos, reports and ends


def test_the_rows_tell_when_what_came(path: Path3) -> None:
    """Cumulative, in the order of the kernel's stamps, phase by phase, up to the totals of the result."""
    phases = [
        {"name": "one", "seconds": 0.3, "rate_bps": 20_000_000, **PACKET},
        {"name": "rest", "seconds": 0.2, "rate_bps": 0, **PACKET},
        {"name": "two", "seconds": 0.3, "rate_bps": 40_000_000, "packet_bytes": 700},
    ]
    sender, receiver = session(path, phases, forward=True)
    header, *rows = [json.loads(line) for line in (receiver.folder / "arrivals.jsonl").read_text().splitlines()]
    assert header == {
        "format_version": 1,
        "columns": ["t_ns", "phase", "packets", "bytes", "highest", "delay_ns", "drops"],
    }
    assert rows == sorted(rows, key=lambda row: row[0])
    assert sorted({row[1] for row in rows}) == [0, 2]
    one, rest, two = sender.data()["phases"]
    assert rest["packets"] == 0
    assert rows[-1][2] == rows[-1][4] == one["packets"] + two["packets"]
    assert rows[-1][3] == one["packets"] * 1400 + two["packets"] * 700
    assert one["packets"] == pytest.approx(20e6 * 0.3 / 8 / 1442, rel=0.02)
    assert two["packets"] == pytest.approx(40e6 * 0.3 / 8 / 742, rel=0.02)
    assert json.loads((sender.folder / "sent.jsonl").read_text().splitlines()[-1])[2] == rows[-1][2]


@pytest.mark.parametrize(("bucket_bytes", "least", "most"), [(12_000, 0.0, 0.02), (6_000, 0.2, 0.6)])
def test_small_bursts_pass_a_bucket_of_their_size(path: Path3, bucket_bytes: int, least: float, most: float) -> None:
    """Ten packets that a bucket of 12 kB holds beside its rate, ten times: it takes them all, and one of half its size
    cuts each."""
    bursts = {"packets": 10, "times": 10, "rest_s": 0.05, "refill_bps": 20_000_000}
    phases = [
        {"name": "rest", "seconds": 0.2, "rate_bps": 0, **PACKET},
        {"name": "CBS", "seconds": 20.0, "rate_bps": 80_000_000, "bursts": bursts, **PACKET},
    ]
    meter(path, f"tbf rate 20000000 burst {bucket_bytes} limit 1600")
    try:
        sender, receiver = session(path, phases, forward=True)
    finally:
        for end in "az":
            path.run("r", "tc", "qdisc", "del", "dev", f"to-{end}", "root")
    assert sender.data()["phases"][1]["packets"] == 100
    assert least <= 1 - receiver.data()["phases"][1]["packets"] / 100 <= most


def test_a_sender_stops_when_nobody_reports(path: Path3) -> None:
    """The receiver is killed, its host says so, and within a second nothing is sent any more; the sender says why."""
    phases = [{"name": "long", "seconds": 30.0, "rate_bps": 10_000_000, **PACKET}]
    both = {**COMMON, "phases": phases}
    serve = path.start("z", "silent-serve", "load.serve", key=KEY, address=Z, peer=A, sends=False, **both)
    serve.wait_ready()
    drive = path.start("a", "silent-drive", "load.drive", key=KEY, peer=Z, source=A, sends=True, **both)
    arrivals = serve.folder / "arrivals.jsonl"
    subprocess.run(["timeout", "10", "sh", "-c", f"until [ -s {arrivals} ]; do sleep 0.05; done"], check=True)
    serve.process.kill()
    data = drive.data()
    assert data["ended"] == "the receiver reported nothing for 0.5 s"
    (told,) = data["phases"]
    assert told["ended_ns"] - told["started_ns"] < 15e9


def test_who_does_not_know_the_key_gets_nothing(path: Path3) -> None:
    """The serving end sends no packet to a peer with another key, and the other one is told in a sentence."""
    phases = [{"name": "long", "seconds": 5.0, "rate_bps": 10_000_000, **PACKET}]
    both = {**COMMON, "phases": phases}
    serve = path.start("z", "keyed-serve", "load.serve", key=KEY, address=Z, peer=A, sends=False, **both)
    serve.wait_ready()
    drive = path.start("a", "keyed-drive", "load.drive", key=b"another", peer=Z, source=A, sends=True, **both)
    assert drive.result()["error"]["message"] == "the receiver of the load did not answer within 5 s"
    assert serve.stop()["error"]["message"] == "the other end of the load never came"


def test_packets_that_do_not_fit_the_interface_are_named(path: Path3) -> None:
    """One sentence with the size, and nothing is cut into fragments."""
    phases = [{"name": "jumbo", "seconds": 1.0, "rate_bps": 10_000_000, "packet_bytes": 8972}]
    path.reset()
    both = {**COMMON, "phases": phases}
    serve = path.start("z", "jumbo-serve", "load.serve", key=KEY, address=Z, peer=A, sends=False, **both)
    serve.wait_ready()
    drive = path.start("a", "jumbo-drive", "load.drive", key=KEY, peer=Z, source=A, sends=True, **both)
    message = drive.result()["error"]["message"]
    assert message == "packets with 8972 bytes of payload cannot be sent: Message too long"
