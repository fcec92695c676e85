"""The guard of a probe stream: what is harm, from when on, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from perfagent.guard import SILENT_NS, Guard, Harm, Limits

MS = 1_000_000
LIMITS = Limits(loss=0.05, delay_ns=20 * MS, baseline_ns=1000 * MS, window_ns=500 * MS)
EVERY_NS, RTT_NS = 5 * MS, 4 * MS


def play(
    rtt_ns: Callable[[int], int | None], until_ns: int, silent: Callable[[int], bool] = lambda _: False
) -> tuple[Guard, int, Harm | None]:
    """A stream whose probe sent at ``t`` takes ``rtt_ns(t)``, None = lost; when harm was seen, and which. While
    ``silent(t)`` nothing is sent."""
    guard, coming = Guard(LIMITS), []
    for seq, now_ns in enumerate(range(0, until_ns, EVERY_NS)):
        if not silent(now_ns):
            guard.sent(seq, now_ns)
            took_ns = rtt_ns(now_ns)
            if took_ns is not None:
                coming.append((now_ns + took_ns, seq, took_ns))
        for each in sorted(coming):
            if each[0] <= now_ns:
                guard.answered(*each[1:])
                coming.remove(each)
        if now_ns % (50 * MS) == 0 and (harm := guard.look(now_ns)):
            return guard, now_ns, harm
    return guard, until_ns, None


def test_a_quiet_path_is_no_harm() -> None:
    """A baseline is made, and nothing trips, though each hundredth probe is lost and each tenth is 100 ms late."""

    def rtt_ns(now_ns: int) -> int | None:
        number = now_ns // EVERY_NS
        return None if number % 100 == 7 else RTT_NS + 100 * MS * (number % 10 == 3)

    guard, _, harm = play(rtt_ns, 10_000 * MS)
    assert (guard.rtt_ns, harm) == (RTT_NS, None)


@pytest.mark.parametrize("share", [1.0, 0.3, 0.1])
def test_lost_probes_are_harm_within_less_than_a_second(share: float) -> None:
    """From the first lost probe to the word it takes a wait for late replies and a part of the window."""
    onset_ns = 3000 * MS

    def rtt_ns(now_ns: int) -> int | None:
        number = now_ns // EVERY_NS
        return None if now_ns >= onset_ns and number * 7 % 10 < share * 10 else RTT_NS

    _, seen_ns, harm = play(rtt_ns, 6000 * MS)
    assert harm is not None and "probes lost" in harm.says and "(limit 5 %)" in harm.says
    assert onset_ns <= harm.since_ns <= onset_ns + 50 * MS
    assert seen_ns - onset_ns <= 600 * MS


def test_a_queue_that_stands_is_harm() -> None:
    """The median counts: 30 ms more trip the limit of 20 ms when half of the window took them."""
    _, seen_ns, harm = play(lambda now_ns: RTT_NS + 30 * MS * (now_ns >= 3000 * MS), 6000 * MS)
    assert harm is not None and harm.says == "probes took 30.0 ms longer than before (limit 20 ms)"
    assert harm.since_ns == 3000 * MS and seen_ns - harm.since_ns <= 400 * MS


def test_less_delay_than_the_limit_is_none() -> None:
    """A queue of 15 ms is allowed."""
    assert play(lambda now_ns: RTT_NS + 15 * MS * (now_ns >= 3000 * MS), 6000 * MS)[2] is None


def test_fewer_late_probes_than_half_are_no_queue() -> None:
    """Two in five that take 30 ms more may be a host's: no queue of the path lets the others pass."""
    assert (
        play(lambda now_ns: RTT_NS + 30 * MS * (now_ns // EVERY_NS % 5 < 2 and now_ns >= 3000 * MS), 6000 * MS)[2]
        is None
    )


def test_replies_that_are_late_by_a_program_are_not_lost() -> None:
    """A reflector that stalls for a tenth of a second answers later, and that is no loss of the path."""

    def rtt_ns(now_ns: int) -> int:
        return max(RTT_NS, 3100 * MS - now_ns) if now_ns >= 3000 * MS else RTT_NS

    assert play(rtt_ns, 6000 * MS)[2] is None


def test_a_host_that_stalls_watches_nothing() -> None:
    """Where the sender itself stood still nobody knows what the load did: it ends."""
    _, _, harm = play(lambda _: RTT_NS, 6000 * MS, lambda now_ns: now_ns >= 3000 * MS)
    assert harm is not None and "nobody was watching" in harm.says


def test_no_load_on_a_path_that_loses_before() -> None:
    """A baseline with more loss than the limit is none."""
    guard, _, harm = play(lambda now_ns: None if now_ns // EVERY_NS % 5 == 1 else RTT_NS, 3000 * MS)
    assert guard.rtt_ns is None
    assert harm is not None and harm.says == "probes lost 20 % (limit 5 %)"


def test_no_load_without_replies() -> None:
    """Nobody answers: that is said, and what came before the first reply is no loss."""
    assert play(lambda _: None, SILENT_NS)[2] is None
    harm = play(lambda _: None, SILENT_NS + 1000 * MS)[2]
    assert harm is not None and "none of the probes came back" in harm.says
    guard, _, harm = play(lambda now_ns: None if now_ns < 2000 * MS else RTT_NS, 6000 * MS)
    assert (guard.rtt_ns, harm) == (RTT_NS, None)
