"""The search for what a path carries, on made-up paths."""

from __future__ import annotations

import pytest

from perfagent.load.phases import Limits
from perfagent.load.search import Search
from tests.unit.load_path import PACKET_BITS, Meter, play

LIMITS = Limits(25_000_000, 1_000_000_000)


@pytest.mark.parametrize("rtt_ms", [1, 10, 50])
@pytest.mark.parametrize(
    "meter",
    [
        Meter(50e6, bucket_bits=1e5),
        Meter(200e6, bucket_bits=1.2e7),
        Meter(200e6, queue_ns=50_000_000),
        Meter(400e6, queue_ns=5_000_000),
    ],
    ids=["small bucket", "large bucket", "deep queue", "shallow queue"],
)
def test_the_limit_of_a_path_is_found(meter: Meter, rtt_ms: int) -> None:
    """Policer or shaper, near or far, the receiver's clock an hour off: within two percent and four seconds."""
    search = Search(LIMITS, PACKET_BITS)
    seconds = play(
        search,
        Meter(meter.rate_bps, meter.bucket_bits, meter.queue_ns),
        rtt_ns=rtt_ms * 1_000_000,
        clock_ns=3600 * 10**9,
    )
    assert search.ended == "overloaded"
    assert search.found_bps == pytest.approx(meter.rate_bps, rel=0.02)
    assert seconds < 4


@pytest.mark.parametrize("loses", [0.02, 0.03, 0.1])
@pytest.mark.parametrize(("rate_bps", "ended"), [(None, "most"), (200e6, "overloaded")])
def test_loss_at_any_rate_is_no_overload(loses: float, rate_bps: float | None, ended: str) -> None:
    """A path that loses some of every load is searched on up to the ceiling, or to its meter's rate."""
    search = Search(Limits(25_000_000, 300_000_000), PACKET_BITS)
    seconds = play(search, Meter(rate_bps, bucket_bits=1e5, loses=loses))
    assert search.ended == ended
    assert search.found_bps == pytest.approx((rate_bps or 300e6) * (1 - loses), rel=0.02)
    assert seconds < 3


def test_a_path_that_carries_all_is_searched_up_to_the_ceiling() -> None:
    """Nothing is offered above the most that was allowed."""
    search = Search(Limits(25_000_000, 300_000_000), PACKET_BITS)
    play(search, Meter(None))
    assert search.ended == "most"
    assert max(step.rate_bps for step in search.steps) == 300_000_000
    assert search.found_bps == pytest.approx(300e6, rel=0.01)


def test_a_sender_that_cannot_send_more_is_named_as_the_limit() -> None:
    """What it could send arrived: nothing is said of the path."""
    search = Search(LIMITS, PACKET_BITS)
    play(search, Meter(None), most_bps=120e6)
    assert search.ended == "sender"
    assert search.found_bps == pytest.approx(120e6, rel=0.02)


def test_a_sender_at_its_limit_still_finds_a_path_that_carries_less() -> None:
    """It cannot send twice what the path carries, but a quarter more."""
    search = Search(LIMITS, PACKET_BITS)
    play(search, Meter(200e6, queue_ns=50_000_000), most_bps=260e6)
    assert search.ended == "overloaded"
    assert search.found_bps == pytest.approx(200e6, rel=0.02)


def test_a_sender_that_was_late_once_goes_on() -> None:
    """A step that fell short by chance is repeated; the search finds the path's limit, and not the moment's."""
    search = Search(LIMITS, PACKET_BITS)
    play(search, Meter(200e6, bucket_bits=1e5), stalls_s=(0.1, 0.15, 0.75))
    assert search.ended == "overloaded"
    assert search.found_bps == pytest.approx(200e6, rel=0.02)


def test_a_search_out_of_time_says_so_and_keeps_the_best() -> None:
    """Half a second is too short; what the fastest step carried is kept."""
    search = Search(LIMITS, PACKET_BITS)
    play(search, Meter(None), limit_s=0.5)
    assert search.ended == "time"
    assert search.found_bps == max(step.carried_bps for step in search.steps)


def test_a_search_that_heard_nothing_found_nothing() -> None:
    """Absent is not zero."""
    search = Search(LIMITS, PACKET_BITS)
    search.out_of_time()
    assert search.figures() == {"found_bps": None, "ended": "time", "steps": []}
