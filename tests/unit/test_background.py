"""Others' traffic beside our load, from the counters of the CE and of our host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from perfharness.analysis.background import Background
from perfharness.model import Direction, Guard

S = 1_000_000_000
MBIT = 1_000_000
GUARD = Guard(
    loss=0.05,
    delay_ns=20_000_000,
    background=0.3,
    ordered_bps=100 * MBIT,
    offered_bps=50 * MBIT,
    frame_bytes=4,
    wan="ce",
)
BEGAN_NS = 2 * S
WAYS = (Direction.A_Z,)
Rate = Callable[[float], float]


def load(at_s: float) -> float:
    return 50.0 * (at_s >= 2.3)


def play(others: Rate, own: Rate = load, guard: Guard = GUARD, apart_s: float = 0.04) -> tuple[str, float]:
    """Rates in Mbit/s by seconds, towards the cloud, in frames of 1000 bytes; the counters of the two hosts are read
    ``apart_s`` apart. What is said, and when."""
    background, sent = Background(guard, ["a"]), {True: 0.0, False: 0.0}
    for step in range(600):
        now_ns, at_s = step * S // 100, step / 100
        sent[False] += own(at_s) * MBIT / 100 / 8
        sent[True] += (own(at_s) + others(at_s)) * MBIT / 100 / 8
        for of_wan, phase in ((True, 0), (False, round(apart_s * 100))):
            if step % 10 == phase:
                packets = int(sent[of_wan] / 1000)
                counted = {"tx_bytes": packets * 996, "rx_bytes": 0, "tx_packets": packets, "rx_packets": 0}
                background.add("ce" if of_wan else "a", now_ns, counted)
        if now_ns == BEGAN_NS and (says := background.begin(now_ns, WAYS)):
            return says, at_s
        if now_ns > BEGAN_NS and step % 10 == 9 and (says := background.judge(now_ns)):
            return says, at_s
    return "", 6.0


@pytest.mark.parametrize("others", [0.0, 0.5, 5.0, 20.0, 40.0])
@pytest.mark.parametrize("apart_s", [0.0, 0.05, 0.09])
def test_traffic_that_goes_on_is_not_displaced(others: float, apart_s: float) -> None:
    """Neither where our load begins and ends, nor between, whatever the phase in which two hosts read."""
    assert play(lambda _: others, lambda at_s: 50.0 * (2.3 <= at_s < 4.5), apart_s=apart_s) == ("", 6.0)


def test_traffic_that_falls_is_displaced() -> None:
    """Half of it is gone: told within the window and a little more."""
    says, at_s = play(lambda at_s: 20.0 if at_s < 3.5 else 10.0)
    assert says.startswith("others' traffic a-z fell from 20.0 Mbit/s to ") and says.endswith("(limit 30 %)")
    assert 3.5 < at_s <= 4.1


def test_traffic_that_falls_when_the_load_begins_is_displaced() -> None:
    """The edge of the load hides it no longer than the uncertainty lasts."""
    says, at_s = play(lambda at_s: 20.0 if at_s < 2.3 else 5.0)
    assert "fell from 20.0 Mbit/s" in says and at_s <= 3.2


def test_tcp_needs_no_offered_rate() -> None:
    """What our host sends is counted, however it swings."""
    unpaced = replace(GUARD, offered_bps=None)

    def own(at_s: float) -> float:
        return (60.0 + 15.0 * (int(at_s * 5) % 2)) * (at_s >= 2.3)

    assert play(lambda _: 20.0, own, unpaced) == ("", 6.0)
    assert "fell from" in play(lambda at_s: 20.0 if at_s < 3.5 else 2.0, own, unpaced)[0]


def test_a_load_that_does_not_fit_is_not_begun() -> None:
    """60 Mbit/s of others and 50 of ours are more than the 100 ordered; TCP takes what is left."""
    says, at_s = play(lambda _: 60.0)
    assert (at_s, "more than the 100.0 Mbit/s ordered" in says) == (2.0, True)
    assert play(lambda _: 60.0, lambda at_s: 40.0 * (at_s >= 2.3), replace(GUARD, offered_bps=None)) == ("", 6.0)


def test_traffic_that_grows_beyond_what_fits_ends_the_load() -> None:
    """Others come while we load: together more than was ordered."""
    says, at_s = play(lambda at_s: 20.0 if at_s < 3.5 else 70.0)
    assert "and our load are" in says and at_s <= 4.2


def test_without_rows_nobody_watches() -> None:
    """Stale or missing counters are said to be so, and are no harm."""
    background = Background(GUARD, ["a"])
    assert background.begin(BEGAN_NS, WAYS) == background.judge(BEGAN_NS) == ""
    assert background.stale(BEGAN_NS)


def test_what_all_our_hosts_send_is_our_own() -> None:
    """Two on-prem hosts load the circuit in turn: others' 20 Mbit/s are what neither sends. With one of them untold
    nobody knows, and nothing is said."""
    for untold in ("", "b"):
        background, sent = Background(GUARD, ["a", "b"]), {"a": 0.0, "b": 0.0, "ce": 0.0}
        for step in range(50):
            now_ns, turn = step * S // 10, "a" if step < 35 else "b"
            for host, mbps in (("ce", 20.0), *(((turn, 25.0), ("ce", 25.0)) if step >= 23 else ())):
                sent[host] += mbps * MBIT / 10 / 8
            if now_ns == BEGAN_NS:
                assert background.begin(now_ns, WAYS) == ""
            for host in {"a", "b", "ce"} - {untold}:
                counted = {"tx_bytes": round(sent[host]), "rx_bytes": 0, "tx_packets": 0, "rx_packets": 0}
                background.add(host, now_ns, counted)
            if now_ns > BEGAN_NS:
                assert background.judge(now_ns) == ""
                assert background.stale(now_ns) == bool(untold)
        expected = {} if untold else {Direction.A_Z: pytest.approx(20 * MBIT, rel=0.01), Direction.Z_A: 0.0}
        assert background.before_bps == expected
