"""The error estimate that a child of the prober keeps up to date."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from perfagent.clockword import ClockWord
from perfagent.stamp.packet import OPEN
from perfagent.stamp.reflecting import Reflecting
from perfagent.stamp.times import UNSYNCHRONISED, ErrorEstimate
from tests.unit.stamp_peers import SSID, arrived, reflected, request, sender

BETTER = ErrorEstimate.of_error(1_000_000, synchronised=True)


class Daemon:
    """What keeps a clock: off by 1 ms when first asked, and without its source from then on."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def __call__(self, source: str | None = None) -> dict[str, Any]:
        self.asked.append(source)
        if len(self.asked) == 1:
            return {"source": "chrony", "synchronised": True, "root_distance_ns": 1_000_000}
        assert source == "chrony", "only the one that answered is asked again"
        return {"source": "chrony", "synchronised": False, "root_distance_ns": None}


def test_the_word_follows_the_clock() -> None:
    """A clock that loses its source while a stream runs says so in the word; the process itself asks only once."""
    daemon = Daemon()
    with ClockWord(period_s=0.2, ask=daemon) as told:
        assert told.word() == BETTER.word
        until = time.monotonic() + 20
        while told.word() == BETTER.word and time.monotonic() < until:
            time.sleep(0.02)
        assert told.word() == UNSYNCHRONISED
        child = told._child
    assert daemon.asked == [None]
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_child_that_died_leaves_the_last_word() -> None:
    """Without it the stream goes on, and leaving is no error."""
    with ClockWord(ask=Daemon()) as told:
        os.kill(told._child, 9)
        assert told.word() == BETTER.word
    assert told.word() == BETTER.word


def test_packets_and_replies_carry_the_word_of_their_time() -> None:
    """A word that changes between two packets is in the second one and its reply; a reply to the first still counts."""
    session, _ = sender()
    rules = Reflecting(OPEN, UNSYNCHRONISED, ssid=SSID)
    first = request(session, 0)
    session.error_word = rules.error_word = BETTER.word
    second = request(session, 1)
    replies = [reflected(rules, packet) for packet in (first, second)]
    assert all(reply is not None for reply in replies)
    read = [OPEN.read_reply(reply) for reply in replies if reply is not None]
    assert [reply.sender_error_word for reply in read] == [UNSYNCHRONISED, BETTER.word]
    assert [reply.error_word for reply in read] == [BETTER.word, BETTER.word]
    for reply in replies:
        arrived(session, bytes(reply or b""))
    assert (session.received, dict(session.refused)) == (2, {})
