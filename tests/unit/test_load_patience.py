"""A load whose sender was kept from its CPU: what is still sent, and what is not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from perfagent import sockets
from perfagent.load import phases, sending
from tests.unit.stamp_peers import MS

STALL_NS = 50 * MS
PACKETS_PER_S, BYTES = 4000, 100


def told_of(job: Any, patience_s: float, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of a fifth of a second during which the sender is away once for STALL_NS."""
    rests = []

    def sleep(seconds: float, sleep: Any = time.sleep) -> None:
        rests.append(seconds)
        sleep(seconds + (STALL_NS / 1e9 if len(rests) == 5 else 0))

    monkeypatch.setattr(time, "sleep", sleep)
    (phase,) = phases.read(
        [
            {
                "name": "hold",
                "seconds": 0.2,
                "packet_bytes": BYTES,
                "rate_bps": PACKETS_PER_S * BYTES * 8,
                "patience_s": patience_s,
            }
        ]
    )
    with sockets.bind_udp("127.0.0.1") as far, sockets.bind_udp("127.0.0.1") as near:
        near.connect(far.getsockname())
        sender = sending.Sender(job, near, 7, [phase], 0, MS)
        sender.play()
    (told,) = sender.told
    return told


def test_what_is_late_beyond_the_patience_is_shed(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No burst that nobody ordered follows a stall: all but what is due within the patience is counted, not sent."""
    told = told_of(job, 0.002, monkeypatch)
    assert told["shed"] >= (STALL_NS / 1e9 - 0.003) * PACKETS_PER_S
    assert told["late_ns"] >= STALL_NS - MS


def test_an_overload_makes_up_for_a_stall(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the patience of its phase everything is sent, but for what the last moment was late with."""
    told = told_of(job, 1, monkeypatch)
    assert (told["shed"], told["late_ns"]) == (0, 0)
    assert told["packets"] > (0.2 - STALL_NS / 2e9) * PACKETS_PER_S
