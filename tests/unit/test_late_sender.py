"""A sender that is behind its schedule: what it puts off, and for how long."""

from __future__ import annotations

from typing import Any

from perfagent import sockets
from perfagent.sender import Sender
from perfagent.stamp.packet import OPEN
from perfagent.stamp.sending import Stream
from perfagent.stamp.times import UNSYNCHRONISED
from tests.unit.stamp_peers import MS

COUNT = 200


def unread(job: Any, kernel_t4: int) -> list[int]:
    """When each packet is sent, how many stamps of those before it have not been read: all are due at once."""
    seen: list[int] = []

    def look(seq: int) -> int:
        seen.append(seq - probe.session.kernel_t1)
        return 0

    with sockets.bind_udp("127.0.0.1") as far, sockets.bind_udp("127.0.0.1") as near:
        stream = Stream(far.getsockname(), 9, (172,), COUNT, MS, 0, UNSYNCHRONISED)
        probe = Sender(job, [near], stream, OPEN, look)
        probe.session.kernel_t4 = kernel_t4
        probe.run([0] * COUNT, 1 << 62)
        probe.close()
    assert probe.sent == COUNT
    return seen


def test_who_is_always_late_reads_after_every_few_packets(job: Any) -> None:
    """Stamps are left for later while packets are late, but never those of more than 16 packets."""
    seen = unread(job, kernel_t4=1)
    assert 8 < max(seen) <= 16


def test_without_kernel_stamps_nothing_is_put_off(job: Any) -> None:
    """A reply whose time of arrival is that of its reading is read after each packet, also by who is late."""
    assert max(unread(job, kernel_t4=0)) <= 1
