"""The pure parts of a load: its packets, its phases, what came twice or late; and many packets by one call."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from perfagent.load import packet, phases
from perfagent.load.batches import Batches
from perfagent.load.seen import WINDOW, Seen
from perfagent.load.volley import Volley
from perfagent.wire import Fault

TOKEN = packet.token_of(b"k" * 32)
STEADY = {"name": "hold", "seconds": 1.5, "packet_bytes": 1400, "rate_bps": 1_000_000}
BURSTS = {"packets": 8, "times": 13, "rest_s": 0.01, "refill_bps": 1_000_000}


def test_a_report_is_read_as_it_was_written() -> None:
    """And only by who knows the key, and only whole."""
    told = packet.Report(1, 2, 3, 4, -5, 6, 7)
    raw = packet.report(TOKEN, 9, 10, told)
    assert packet.read_report(raw, TOKEN) == told
    assert packet.read_report(raw, TOKEN + 1) is None
    assert packet.read_report(raw[:-1], TOKEN) is None
    assert packet.read_report(packet.control(TOKEN, packet.HELLO, 0, 0), TOKEN) is None
    assert packet.kind_of(b"", TOKEN) == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"packet_bytes": 31}, "packet_bytes of phase 'hold' is 31, not within 32 to"),
        ({"seconds": 0}, "seconds of phase 'hold' is 0"),
        ({"seconds": float("nan")}, "seconds of phase 'hold' is nan"),
        ({"rate_bps": None}, "needs one of rate_bps, times_found and search"),
        ({"times_found": 1.0}, "needs one of rate_bps, times_found and search"),
        ({"rate_bps": None, "times_found": 1.0}, "refers to a search that comes later, or never"),
        ({"most_bps": 5}, "has most_bps without times_found"),
        ({"rate_bps": None, "search": {"from_bps": 2, "most_bps": 1}}, "from_bps of phase 'hold' is 2"),
        ({"colour": 1}, "and nothing else"),
        ({"name": ""}, "a name of up to 40 letters"),
        ({"rate_bps": True}, "rate_bps of phase 'hold' is True"),
        ({"bursts": {"packets": 3}}, "the bursts of phase 'hold' have packets, times, rest_s, refill_bps"),
        ({"bursts": BURSTS, "rate_bps": 0}, "has bursts without a rate_bps"),
        ({"bursts": {**BURSTS, "times": 0}}, "times of phase 'hold' is 0"),
        ({"patience_s": 2}, "patience_s of phase 'hold' is 2"),
    ],
)
def test_phases_that_make_no_sense_are_refused(change: dict[str, Any], says: str) -> None:
    """One sentence names the phase and what is wrong with it."""
    with pytest.raises(Fault, match=says):
        phases.read([{**STEADY, **change}])


def test_copies_and_stragglers_are_told_apart() -> None:
    """A gap is neither; a number that comes again is a duplicate, one that was overtaken is reordered."""
    seen = Seen()
    assert seen.add([0, 1, 2, 5, 6]) == (0, 0)
    assert seen.add([3, 7, 7, 4, 2]) == (2, 2)
    assert seen.add([4, 3]) == (2, 0)
    assert seen.highest == 8


def test_what_lies_a_window_back_is_forgotten() -> None:
    """The number that takes its place is no duplicate, whether the window moved in steps or in a leap."""
    seen = Seen()
    seen.add(list(range(10)))
    assert seen.add(list(range(WINDOW - 5, WINDOW + 10))) == (0, 0)
    assert seen.add(list(range(10, 20))) == (0, 10)
    assert seen.add([5 * WINDOW + 3]) == (0, 0)
    assert seen.add([5 * WINDOW + 2, 3]) == (0, 2)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        far.bind(("127.0.0.1", 0))
        near.connect(far.getsockname())
        far.setblocking(False)
        yield near, far


def test_a_volley_arrives_packet_by_packet(ends: tuple[socket.socket, socket.socket]) -> None:
    """Numbered, of the right size and phase, with the sender's clock and the kernel's stamp; strangers are counted."""
    near, far = ends
    batches = Batches(far, TOKEN)
    assert batches.read() is None
    volley = Volley(near, TOKEN, 3, 200)
    assert volley.send(7, 5)
    near.setsockopt(17, 103, 0)  # the stranger sends no segments
    near.send(b"x" * 200)
    near.send(packet.control(TOKEN, packet.END, 12, 1))
    batch = batches.read()
    assert batch is not None
    assert batch.numbers == [7, 8, 9, 10, 11, 12]
    assert batch.sizes == [200] * 5 + [packet.HEADER_BYTES]
    assert batch.phases[:5] == [3] * 5
    assert batch.kinds == [packet.DATA] * 5 + [packet.END]
    assert batches.foreign == 1
    came_ns, sent_ns = batches.stamps(batch.places[4])
    assert 0 <= came_ns - sent_ns < 10**9
