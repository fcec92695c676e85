"""The verbs stamp sender and stamp reflector: against each other, against strangers, and read by tshark."""

from __future__ import annotations

import calendar
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw
from scapy.utils import wrpcap

from perfagent.stamp.packet import OPEN
from perfagent.stamp.times import ErrorEstimate

ROOT = Path(__file__).parents[2]
KEY = "not to be seen anywhere"
NTP_S = 2_208_988_800


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For what a stream by hand keeps while it runs: beside these tests others see that nothing of ours is in /tmp."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "perfharness", "stamp", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'agents'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sender(*words: str, expect: int = 0) -> tuple[str, str]:
    """What `stamp sender` prints, on standard output and on standard error."""
    process = start("sender", *words)
    out, err = process.communicate(timeout=60)
    assert process.returncode == expect, err
    assert "Traceback" not in err
    return out, err


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


@contextmanager
def reflector(where: str, *words: str) -> Iterator[dict[str, Any]]:
    """A reflector until the block is left; then the dictionary holds what it printed as JSON."""
    process = start("reflector", where, "--json", *words)
    said: dict[str, Any] = {}
    try:
        _wait_until_bound(int(where.rpartition(":")[2]))
        yield said
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        said.update(json.loads(out))
    finally:
        process.kill()
        process.communicate()


def _wait_until_bound(port: int) -> None:
    for _ in range(600):
        tables = "".join(Path(f"/proc/net/{name}").read_text() for name in ("udp", "udp6"))
        if f":{port:04X} " in tables:
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")


@contextmanager
def stranger(answer: Any) -> Iterator[int]:
    """A reflector that knows nothing of us: ``answer(request)`` gives its reply, or None. Yields its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.05)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    request, address = sock.recvfrom(2048)
                except TimeoutError:
                    continue
                reply = answer(request)
                if reply is not None:
                    sock.sendto(reply, address)

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()[1]
        done.set()
        thread.join()


def ntp_now() -> bytes:
    now_ns = time.time_ns()
    return struct.pack(">II", now_ns // 10**9 + NTP_S & 0xFFFFFFFF, (now_ns % 10**9 << 32) // 10**9)


class TwampLight:
    """RFC 5357, appendix I, and nothing newer: a reflector that counts, and has no session id. It loses some."""

    def __init__(self, lose: tuple[int, ...] = (), swallow: tuple[int, ...] = ()) -> None:
        """Requests ``lose`` never reach it; its replies to ``swallow`` are lost."""
        self.lose, self.swallow, self.count = lose, swallow, 0

    def __call__(self, request: bytes) -> bytes | None:
        now = ntp_now()
        (seq,) = struct.unpack_from(">I", request)
        if seq in self.lose:
            return None
        head = struct.pack(">I8sHH8s", self.count, ntp_now(), 0x8A01, 0, now)
        self.count += 1
        reply = head + request[:14] + b"\0\0" + b"\x40" + request[41:]
        return None if seq in self.swallow else reply


# --- with ourselves ---------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("key", ["none", "authenticated", "extensions"])
def test_our_sender_and_our_reflector(address: str, key: str, tmp_path: Path) -> None:
    """Every packet comes back in both families and all modes, with the class, the TTL and the follow-up told."""
    where = f"[{address}]:{free_port(address)}" if ":" in address else f"{address}:{free_port(address)}"
    (tmp_path / "key").write_text(KEY + "\n")
    words = [] if key == "none" else ["--key-file", str(tmp_path / "key")]
    words += ["--tlv", "hmac"] if key == "extensions" else []
    with reflector(where, *words, "--ptp") as said:
        asks = ["--tlv", "cos=10", "--tlv", "follow-up", "--dscp", "46", "--ssid", "7", "--size", "200"]
        out, _ = sender(where, "--count", "50", "--interval", "5ms", "--json", *words, *asks)
    got = json.loads(out)
    counted, figures = got["counted"], got["figures"]
    sent = counted["sent"]
    assert counted["received"] == sent == said["counted"]["received"] > 0
    assert figures["loss"] == {"lost": 0, "offered": sent}
    assert figures["rtt_sources"] == {"kernel/remote": sent}
    assert counted["tos_seen"] == {str(10 << 2): sent}
    assert counted["reflector"]["ttl_seen"] == {"255": sent} == said["counted"]["ttl_seen"]
    assert (counted["extensions"]["dscp 46"], counted["extensions"]["follow-up"]) == (sent, sent - 1)
    assert ErrorEstimate.of_word(counted["reflector"]["error_word"]).ptp
    assert KEY not in out + json.dumps(said)


def test_a_key_is_nowhere_to_be_seen(tmp_path: Path) -> None:
    """While a sender runs its key is in no command line and in none of its files."""
    (tmp_path / "key").write_text(KEY)
    where = f"127.0.0.1:{free_port()}"
    process = start("sender", where, "--duration", "60s", "--key-file", str(tmp_path / "key"))
    try:
        specs: list[Path] = []
        while not specs and process.poll() is None:
            specs = [path for path in _children_folders(process.pid) if path.exists()]
        assert specs
        for file in specs[0].parents[1].rglob("*"):
            assert not file.is_file() or KEY.encode() not in file.read_bytes()
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert KEY.encode() not in line.read_bytes()
            except OSError:
                continue
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def _children_folders(pid: int) -> Iterator[Path]:
    """``sender.rec`` of the jobs that this process has started."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if b"job" in words:
            folder, name = words[words.index(b"job") + 1 :][:2]
            yield Path(folder.decode()) / "jobs" / name.decode() / "sender.rec"


# --- with strangers ---------------------------------------------------------------------------


def test_a_twamp_light_reflector_is_measured() -> None:
    """Loss has its direction, to the packet, from the numbers of a reflector that has no session id."""
    with stranger(TwampLight(lose=(5, 6, 20), swallow=(9, 30))) as port:
        out, _ = sender(f"127.0.0.1:{port}", "--count", "50", "--interval", "5ms", "--wait", "300ms", "--json")
    got = json.loads(out)
    sent = got["counted"]["sent"]  # on a busy machine some of the 50 are too late to be sent
    assert got["figures"]["loss"] == {"lost": 5, "offered": sent}
    assert got["figures"]["loss_there"] == {"lost": 3, "offered": sent - 1}
    assert got["figures"]["loss_back"] == {"lost": 2, "offered": sent - 4}
    assert got["counted"]["reflector"]["error_word"] == 0x8A01


def test_a_stateless_reflector_gives_no_direction() -> None:
    """Where the numbers are the sender's again the report says so, and gives the round trip alone."""

    def answer(request: bytes) -> bytes | None:
        (seq,) = struct.unpack_from(">I", request)
        head = request[:4] + ntp_now() + request[12:16] + ntp_now()
        return None if seq == 3 else head + request[:14] + b"\0\0\x40\0\0\0" + request[44:]

    with stranger(answer) as port:
        out, _ = sender(f"127.0.0.1:{port}", "--count", "20", "--interval", "5ms", "--wait", "300ms", "--ssid", "9")
    sent = int(re.search(r"sent +(\d+) (?:of 20 )?packets", out)[1])  # type: ignore[index]
    assert f"lost              1 of {sent} " in out
    assert "lost there, back  – (the reflector's numbers are the sender's again)" in out


def test_a_plain_sender_is_answered_by_our_reflector() -> None:
    """A TWAMP Light sender with padding of its own gets packets of its size, in order, with its words in them."""
    port = free_port()
    with reflector(f"127.0.0.1:{port}", "--peer", "127.0.0.1") as said, socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", port))
        sock.send(bytes(43))
        for seq in (4, 5, 9):
            request = struct.pack(">I8sH", seq, ntp_now(), 0x0101) + bytes(66)
            sock.send(request)
            reply = sock.recv(2048)
            assert len(reply) == len(request)
            assert reply[24:38] == request[:14]
            assert reply[14:16] == b"\0\0" and reply[44:] == request[44:]
            assert struct.unpack_from(">I", reply) == ((4, 5, 9).index(seq),)
            assert request[4:12] <= reply[16:24] <= reply[4:12] <= ntp_now()
    assert (said["counted"]["sent"], said["counted"]["refused"]) == (3, {"short": 1})


# --- in words ---------------------------------------------------------------------------------


def test_the_table_says_it_all() -> None:
    """A table for a person names delay, variation, loss, TTL, DSCP, the stamps and both clocks."""
    with stranger(TwampLight()) as port:
        out, err = sender(f"127.0.0.1:{port}", "--count", "10", "--interval", "5ms")
    rows = ("RTT", "PDV", "IPDV there", "lost there", "reordered", "duplicates", "TTL back", "DSCP back", "timer error")
    assert all(f"  {row} " in out for row in rows)
    assert "peer's clock  synchronised, ± 0.24 µs, NTP format" in out
    assert f"10 packets to 127.0.0.1:{port}" in err


def test_ctrl_c_ends_with_what_came_so_far() -> None:
    """An interrupted sender prints its table and has measured."""
    answered = threading.Event()
    light = TwampLight()

    def answer(request: bytes) -> bytes | None:
        if light.count > 20:
            answered.set()
        return light(request)

    with stranger(answer) as port:
        process = start("sender", f"127.0.0.1:{port}", "--duration", "10m", "--interval", "5ms")
        assert answered.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "RTT" in out and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["127.0.0.1:9", "--count", "2", "--interval", "1ms", "--wait", "50ms"], 5, "none of 2 packets was answered"),
        (["no-such-host.invalid"], 2, "neither an IP address nor a name"),
        (["127.0.0.1:99999"], 2, "is no address with a port"),
        (["127.0.0.1", "--key-file", "/nowhere"], 2, "The key file /nowhere cannot be read"),
        (["127.0.0.1", "--key-file", "/dev/null"], 2, "holds 0 bytes"),
        (["127.0.0.1", "--tlv", "hmac"], 2, "Name its file with --key-file"),
        (["127.0.0.1", "--tlv", "cos=99"], 2, "there is no such extension"),
        (["127.0.0.1", "--size", "43"], 2, "need 44 bytes"),
        (["127.0.0.1", "--interval", "soon"], 2, "--interval soon"),
        (["127.0.0.1", "--pattern", "burst"], 2, "The pattern of a stream is one of"),
        (["127.0.0.1", "--source", "192.0.2.1"], 2, "No interface of this host holds this address"),
        (["127.0.0.1", "--count", "5", "--duration", "1s"], 2, "Give one of them"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(words: list[str], code: int, sentence: str) -> None:
    """Each mistake gets its exit code and one line that says what is wrong."""
    out, err = sender(*words, expect=code)
    assert sentence.lower() in err.lower()
    assert out == "" and len(err.strip().splitlines()) <= 2


def test_a_port_in_use_is_said() -> None:
    """A reflector that cannot have its port says so and ends with exit code 5."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        process = start("reflector", f"127.0.0.1:{sock.getsockname()[1]}")
        _, err = process.communicate(timeout=30)
    assert (process.returncode, "another program uses this port" in err) == (5, True)


# --- the second reader ------------------------------------------------------------------------


@pytest.mark.parametrize("ptp", [False, True])
def test_tshark_reads_what_we_write(ptp: bool, tmp_path: Path) -> None:
    """Wireshark's dissector for TWAMP-Test finds every field of the base packets where it expects it."""
    now_ns = 1_795_375_600_123_456_789
    mine, his = ErrorEstimate(True, ptp, 17, 201), ErrorEstimate(False, ptp, 5, 6)
    packet = bytearray(60)
    OPEN.write_request(packet, 77, now_ns, mine.word, 0x1234)
    asked = bytes(packet)
    OPEN.turn_into_reply(packet, 8, now_ns + 1000, now_ns + 5000, 61, his.word)
    there = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5000, dport=862) / Raw(asked)
    back = IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=862, dport=5000) / Raw(bytes(packet))
    wrpcap(str(tmp_path / "twamp.pcap"), [there, back])
    names = ("seq_number", "error_estimate.s", "error_estimate.z", "error_estimate.scale", "error_estimate.multiplier")
    names += ("mbz1", "sender_seq_number", "sender_error_estimate", "sender_ttl")
    request, reply = _tshark(tmp_path / "twamp.pcap", names)
    assert request[:6] == ["77", "1", str(int(ptp)), "17", "201", str(0x1234)]
    assert reply[0] == "8" and reply[5:] == [str(0x1234), "77", str(mine.word), "61"]
    times = ("timestamp", "receive_timestamp", "sender_timestamp")
    if not ptp:  # it reads all of them as NTP ones
        (sent, *_), reflected = _tshark(tmp_path / "twamp.pcap", times)
        wanted = (now_ns, now_ns + 5000, now_ns + 1000, now_ns)
        assert all(abs(_ns(text) - ns) <= 1 for text, ns in zip((sent, *reflected), wanted, strict=True))


def _tshark(file: Path, names: tuple[str, ...]) -> list[list[str]]:
    fields = [word for name in names for word in ("-e", f"twamp.test.{name}")]
    argv = ["tshark", "-r", str(file), "-d", "udp.port==862,twamp.test", "-T", "fields", "-E", "occurrence=f", *fields]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={**os.environ, "TZ": "UTC"})
    return [[_decimal(value) for value in line.split("\t")] for line in done.stdout.splitlines()]


def _decimal(value: str) -> str:
    return str(int(value, 16)) if value.startswith("0x") else value


def _ns(text: str) -> int:
    """``Nov 22, 2026 19:26:40.123456788 UTC``"""
    whole, _, fraction = text.removesuffix(" UTC").partition(".")
    return calendar.timegm(time.strptime(whole, "%b %d, %Y %H:%M:%S")) * 10**9 + int(fraction)
