"""Why a TCP load carried no more: one made-up load for each limit, and silence where nothing is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from perfharness.analysis import limits
from perfharness.analysis.limits import Host, Load
from perfharness.analysis.tcpinfo import Connections
from perfharness.model import Interval

MS = 1_000_000
NO_LOSS = Interval(0.0, 1e-5, 0.95, "one", "")
A, Z = Host("onprem-a", 0.4, 0.01, 0.5, 0.2, 0.0, 0, 0), Host("ecs-a", 0.4, 0.01, 0.5, 0.2, 0.0, 0, 0)


@pytest.mark.parametrize(
    ("sender", "limit", "words"),
    [
        (replace(A, queued_bytes=68_000.0), "nic", "waited 10.88 ms in the queue of onprem-a itself"),
        (replace(A, queued_bytes=3_000.0), None, ""),
        (replace(A, cpu=0.99), "sender-cpu", "kept a CPU 99% busy"),
        (replace(A, waited=0.3, queued_bytes=0.0), "sender-cpu", "waited 30% of the time"),
        (A, None, ""),
    ],
)
def test_why_a_sender_of_a_paced_load_fell_short(sender: Host, limit: str | None, words: str) -> None:
    """At 50 Mbit/s 68,000 bytes that always wait are a full interface; two packets are its pace."""
    found = limits.of_sender(sender, 50e6)
    assert (found.limit if found else None) == limit
    assert words in " ".join(found.reasons if found else ())


def told(resent: int = 0, cwnd: float = 5e6, **limited: int) -> Connections:
    """Ten busy seconds of 10,000 segments each."""
    return Connections(
        count=4,
        sent=np.full(10, 10_000),
        resent=np.full(10, resent),
        sent_bytes=144_800_000,
        resent_bytes=resent * 14_480,
        limited={"busy_time_ns": 10 * 10**9, "rwnd_limited_ns": 0, "sndbuf_limited_ns": 0, **limited},
        cwnd_bytes=cwnd,
        mss=1448,
        rtt_ns=30.0 * MS,
        min_rtt_ns=30 * MS,
        acked_bytes=(1, 1, 1, 1),
        received_bytes=(),
        pacing_bps=None,
    )


def load(**more: Any) -> Load:
    """Half of what the path holds, hosts at ease, the path without a queue."""
    given: dict[str, Any] = {
        "streams": 4,
        "goodput_bps": 470e6,
        "wire_bps": 500e6,
        "sender": A,
        "receiver": Z,
        "ideal_bps": 940e6,
        "connections": told(),
        "bdp_bytes": 3.75e6,
        "idle_ns": 30.0 * MS,
        "loaded_ns": 30.2 * MS,
        **more,
    }
    return Load(**given)


def found(one: Load) -> dict[str, str]:
    return {each.limit: " ".join(each.reasons) for each in limits.limits(one)}


def test_a_load_that_fills_the_circuit_is_limited_by_it_alone() -> None:
    """Whatever else was busy, it did not matter."""
    full = load(goodput_bps=930e6, sender=replace(A, cpu=0.99))
    assert found(full) == {"circuit": "930 Mbit/s are 98.9% of the goodput that fills it."}


def test_a_receivers_window_is_named_with_its_share() -> None:
    """60 % of the busy time it was full; window and product stand beside it."""
    said = found(load(connections=told(rwnd_limited_ns=6 * 10**9), window_bytes=1 << 20))
    assert list(said) == ["window"]
    assert "held it back for 60% of the time" in said["window"]
    assert "1.049 MB of window, bandwidth times delay 3.75 MB" in said["window"]


def test_a_senders_buffer_is_a_window_too() -> None:
    """The kernel tells it apart from the other end's."""
    assert "sender's buffer" in found(load(connections=told(sndbuf_limited_ns=5 * 10**9)))["window"]


def test_loss_without_a_queue_that_paced_packets_do_not_suffer_is_a_policers_burst() -> None:
    """0.5 % sent again, the round trip as when idle, UDP at the order without loss."""
    said = found(load(connections=told(resent=50, cwnd=1e6), udp_loss=NO_LOSS))
    assert list(said) == ["policer-burst", "congestion-control"]
    assert "0.5 %" in said["policer-burst"] and "lost without a queue" in said["policer-burst"]


def test_loss_that_paced_packets_suffer_too_is_no_policers_burst() -> None:
    """0.5 % of either: the circuit loses whatever is sent."""
    said = found(load(connections=told(resent=50), udp_loss=Interval(0.003, 0.007, 0.95, "one", "")))
    assert "policer-burst" not in said
    assert "of paced UDP 0.3 % to 0.7 % were lost too" in said["circuit"]


def test_loss_too_rare_to_slow_tcp_down_is_a_policers_burst_however_much_udp_lost() -> None:
    """0.05 % sent again; paced UDP may have lost as much, but four random streams would carry all the same: 12 times
    as much by the model. So its losses were no accident: it met them where it reached the rate."""
    few = told(resent=5)
    udp = Interval(0.0, 4e-4, 0.95, "one", "")
    slow = {"goodput_bps": 45e6, "ideal_bps": 50e6, "wire_bps": 48e6, "streams": 8, "idle_ns": 20.0 * MS}
    assert "policer-burst" in found(load(connections=few, udp_loss=udp, **slow, loaded_ns=20.1 * MS))


@pytest.mark.parametrize(("sender", "receiver"), [(100, 0), (0, 100)])
def test_what_the_hosts_themselves_dropped_is_no_policers(sender: int, receiver: int) -> None:
    """1,000 segments were sent again, and 100 packets of up to 45 segments each were dropped at a host."""
    ends = {"sender": replace(A, nic_drops=sender), "receiver": replace(Z, backlog_drops=receiver)}
    assert limits.POLICER in found(load(connections=told(resent=100)))
    assert limits.POLICER not in found(load(connections=told(resent=100), **ends))


def test_a_queue_at_the_sender_itself_is_not_the_circuits() -> None:
    """20 ms more on the round trip, and 1.25 MB at 500 Mbit/s are the 20 ms."""
    full = load(loaded_ns=50.0 * MS, sender=replace(A, queued_bytes=1.25e6))
    assert list(found(full)) == [limits.NIC] and "waited in the queue of onprem-a itself" in found(full)[limits.NIC]
    trifle = load(loaded_ns=50.0 * MS, sender=replace(A, queued_bytes=1e5))
    assert list(found(trifle)) == [limits.CIRCUIT]


def test_without_paced_packets_a_policer_is_named_with_that_doubt() -> None:
    """The pattern fits, and what would prove it is said to be missing."""
    assert "this load does not tell" in found(load(connections=told(resent=50)))["policer-burst"]


@pytest.mark.parametrize(("loaded", "named"), [(30.5, False), (60.0, True)])
def test_a_queue_is_the_circuits(loaded: float, named: bool) -> None:
    """Loss after a queue is that of its narrowest place; half a millisecond more is no queue."""
    said = found(load(connections=told(resent=50), loaded_ns=loaded * MS))
    assert ("packets queue" in said.get("circuit", "")) is named
    assert ("policer-burst" in said) is not named


@pytest.mark.parametrize(
    ("busy", "words"),
    [
        ({"cpu": 0.99}, "kept a CPU 99% busy"),
        ({"waited": 0.3}, "waited 30% of the time"),
        ({"busiest": 0.98, "softirq": 0.7}, "98% busy, 70% of it in the network's own work"),
    ],
)
def test_a_busy_cpu_is_named_by_its_end(busy: dict[str, float], words: str) -> None:
    """The same numbers on the other host are the other limit."""
    assert words in found(load(sender=replace(A, **busy)))["sender-cpu"]
    assert words in found(load(receiver=replace(Z, **busy)))["receiver-cpu"]


def test_packets_that_a_receivers_cpus_dropped_are_its_own() -> None:
    """The softnet backlog overflowed; on the sender that is no reason."""
    assert "dropped 40 packets" in found(load(receiver=replace(Z, backlog_drops=40)))["receiver-cpu"]
    assert "sender-cpu" not in found(load(sender=replace(A, backlog_drops=40)))


def test_a_full_interface_and_its_own_drops_are_the_nics() -> None:
    """Speed by the host's facts; drops count only where TCP sent again."""
    assert "runs at 500 Mbit/s and was full" in found(load(receiver=replace(Z, speed_bps=500_000_000)))["nic"]
    dropping = load(sender=replace(A, nic_drops=12))
    assert "nic" not in found(dropping)
    assert "dropped 12 packets on sending" in found(replace(dropping, connections=told(resent=1)))["nic"]


def test_a_machine_at_the_end_of_what_it_may_is_the_instance() -> None:
    """By what the circuit file says it can do, or by what its hypervisor withholds."""
    assert "can do 520 Mbit/s" in found(load(sender=replace(A, ceiling_bps=520_000_000)))["instance"]
    assert "withheld 25% of its CPU time" in found(load(receiver=replace(Z, stolen=0.25)))["instance"]


def test_a_small_congestion_window_is_the_algorithms() -> None:
    """Nothing else held it back, and it kept a quarter of the product under way."""
    said = found(load(connections=told(cwnd=0.94e6), congestion="cubic"))
    assert said == {
        "congestion-control": "The congestion window (cubic) was 940 kB on average, 25% of bandwidth times delay."
    }


def test_a_single_stream_far_below_several_has_a_limit_of_its_own() -> None:
    """130 of 900 Mbit/s with hosts at ease: a limit of each flow; not where its own window explains it."""
    alone = load(streams=1, goodput_bps=130e6, several_bps=900e6)
    assert "a limit of each flow" in found(alone)["circuit"]
    held = replace(alone, connections=told(rwnd_limited_ns=9 * 10**9))
    assert set(found(held)) == {"window"}


def test_where_nothing_is_known_nothing_is_claimed() -> None:
    """Absent counters are no reason, and what is missing is named."""
    dark = Load(1, 1e6, 1e6, Host("a"), Host("z"))
    assert found(dark) == {
        "unknown": "Nothing that was looked at explains it; not known are TCP_INFO of its connections, the round trip "
        "under load, the sender's CPU and the receiver's CPU."
    }


def test_where_all_is_at_ease_nothing_is_claimed() -> None:
    """Half of the rate, and no reason for it."""
    assert found(load()) == {"unknown": "Nothing that was looked at explains it."}


def by_hosts(**more: Any) -> list[str]:
    return [each.limit for each in limits.of_hosts(load(**more))]


def test_a_window_held_a_load_back_unless_packets_queued_on_the_way() -> None:
    """Small buffers leave open what the circuit carries; where a queue grew a larger window would only fill it."""
    small = told(rwnd_limited_ns=6 * 10**9)
    assert by_hosts(connections=small) == ["window"]
    assert by_hosts(connections=small, idle_ns=None) == ["window"]
    assert by_hosts(connections=small, loaded_ns=80.0 * MS) == []


def test_a_few_drops_of_a_host_held_nothing_back() -> None:
    """Of 1,000 segments that were sent again its own queue dropped 900, or 5; a backlog of the receiver likewise."""
    lossy = told(resent=100)
    for drops, sender, receiver in ((900, ["nic"], ["receiver-cpu"]), (5, [], [])):
        assert by_hosts(connections=lossy, sender=replace(A, nic_drops=drops)) == sender
        assert by_hosts(connections=lossy, receiver=replace(Z, backlog_drops=drops)) == receiver


def test_hosts_at_ease_held_nothing_back() -> None:
    """A policer or a queue on the way is no matter of the hosts; a port that is full or a busy CPU is."""
    assert by_hosts(connections=told(resent=100)) == [] == by_hosts(loaded_ns=80.0 * MS)
    assert by_hosts(sender=replace(A, speed_bps=500_000_000)) == ["nic"]
    assert by_hosts(sender=replace(A, cpu=0.97)) == ["sender-cpu"]
