"""How late the lab's wire is: its added delay over what was asked for, by the kernel's time stamps at both ends.

Needs root and iproute2. 1 kHz of probes: over a bare delay, and over a LAG of four that is watched.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "agents")]

from perfharness.lab.linespec import LineSpec, LinkSpec  # noqa: E402 - found only by the path above
from perfharness.lab.wire import DIRECTIONS  # noqa: E402 - likewise
from tests.integration.wires import ADDRESSES, Wired  # noqa: E402 - likewise

SECONDS = 10
INTERVAL_NS = 1_000_000
DELAY_NS = 2_000_000
PORT = 862
SO_TIMESTAMPING = 37
IP_RECVERR = 11
TX_SOFTWARE, RX_SOFTWARE, SOFTWARE, OPT_ID, OPT_TSONLY = (1 << bit for bit in (1, 3, 4, 7, 11))
LINES = {
    "2 ms": LineSpec(delay_ns=DELAY_NS),
    "2 ms, a watched LAG of 4": LineSpec(delay_ns=DELAY_NS, members=(LinkSpec(),) * 4, watch_port=PORT),
}


def stamp(ancillary: list[tuple[int, int, bytes]]) -> int:
    (data,) = (data for level, kind, data in ancillary if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING))
    seconds, ns = struct.unpack_from("2q", data)
    return int(seconds * 10**9 + ns)


def packet_id(ancillary: list[tuple[int, int, bytes]]) -> int:
    """``ee_data`` of the extended error that a transmit stamp comes with."""
    (data,) = (data for level, kind, data in ancillary if (level, kind) == (socket.IPPROTO_IP, IP_RECVERR))
    return int(struct.unpack_from("IBBBBII", data)[6])


def drain(sender: socket.socket, receiver: socket.socket, sent: dict[int, int], arrived: dict[int, int]) -> None:
    try:
        while True:
            payload, ancillary, _, _ = receiver.recvmsg(100, 256)
            arrived[int.from_bytes(payload[:4], "big")] = stamp(ancillary)
    except BlockingIOError:
        pass
    try:
        while True:
            _, ancillary, _, _ = sender.recvmsg(100, 512, socket.MSG_ERRQUEUE)
            sent[packet_id(ancillary)] = stamp(ancillary)
    except BlockingIOError:
        pass


def delays_us(wired: Wired) -> np.ndarray:
    """What each probe took beyond the delay."""
    sent: dict[int, int] = {}
    arrived: dict[int, int] = {}
    with wired.socket("z", PORT) as receiver, wired.socket("a", 9000) as sender:
        receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, RX_SOFTWARE | SOFTWARE)
        sender.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY)
        receiver.setblocking(False)
        due_ns = time.monotonic_ns()
        for number in range(SECONDS * 10**9 // INTERVAL_NS):
            due_ns += INTERVAL_NS
            while (left_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(left_ns / 1e9)
            sender.sendto(number.to_bytes(4, "big") * 25, (ADDRESSES["z"], PORT))
            if number % 50 == 0:
                drain(sender, receiver, sent, arrived)
        time.sleep(0.3)
        drain(sender, receiver, sent, arrived)
    return np.array([arrived[number] - sent[number] - DELAY_NS for number in arrived if number in sent]) / 1000


def main() -> None:
    print(f"Lateness of the wire at 1 kHz, {SECONDS} s each, µs: end to end by kernel stamps, and as it says itself")
    for name, line in LINES.items():
        with Wired(dict.fromkeys(DIRECTIONS, line)) as wired:
            late = delays_us(wired)
            told = wired.settled()["a-z"]["lateness_ns"]
        p50, p99, top = np.quantile(late, (0.5, 0.99, 1))
        own = " / ".join(f"{told[name] / 1000:.0f}" for name in ("p50", "p99", "max"))
        print(f"{name:26} n {len(late):6}  p50 / p99 / max {p50:.0f} / {p99:.0f} / {top:.0f}  own {own}")


if __name__ == "__main__":
    main()
