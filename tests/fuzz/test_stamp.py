"""STAMP's codec and state machines, whatever the bytes are."""

from __future__ import annotations

import random
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from perfagent.stamp import tlv
from perfagent.stamp.times import ErrorEstimate, decode_time, encode_time
from tests.fuzz.stamp_mutations import Ends, attack, everyone

BUDGET_S = 10
ENDS = everyone()

some_tlvs = st.lists(
    st.builds(
        lambda flags, kind, value: bytes((flags, kind)) + len(value).to_bytes(2, "big") + value,
        st.integers(0, 255),
        st.sampled_from((0, 1, 4, 7, 8, 9, 255)),
        st.binary(max_size=24),
    ),
    max_size=6,
).map(b"".join)


@given(st.sampled_from(ENDS), st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_answered_or_dropped(ends: Ends, packet: bytes) -> None:
    """Whatever arrives, neither end raises, answers with more, or breaks its records."""
    ends.reflect(packet)
    ends.receive(packet)
    ends.whole()


@given(st.sampled_from(ENDS), some_tlvs, st.binary(max_size=5))
@settings(max_examples=500, deadline=None)
def test_any_extensions_come_back(ends: Ends, tlvs: bytes, rest: bytes) -> None:
    """Extensions, right or wrong, are returned with their types and lengths, up to the first malformed one."""
    base = ends.form.base_bytes
    packet = bytearray(ends.seeds[0][:base] + tlvs + rest)
    reply = ends.reflect(bytes(packet))
    assert reply is not None
    before, after = (tlv.parse(each, base, len(each)) for each in (bytes(packet), reply))
    shape = [(each.at, each.kind, each.length, each.malformed) for each in before]
    assert [(each.at, each.kind, each.length, each.malformed) for each in after][: len(shape)] == shape
    assert all(bool(each.flags & tlv.MALFORMED) == each.malformed for each in after[: len(shape)])
    last = before[-1] if before else None
    untouched = base if last is None else last.at + 1 if last.malformed else last.end
    assert reply[untouched:] == packet[untouched:]


@given(st.integers(0, 2**64 - 1), st.integers(0, 0xFFFF))
def test_any_time_can_be_read_and_written(bits: int, word: int) -> None:
    """Every 64 bits are a time; every 16 bits an error estimate, which is written back as it was."""
    assert 0 <= encode_time(decode_time(bits, word), word) < 2**64
    assert ErrorEstimate.of_word(word).word == word


def test_mutated_exchanges_for_a_while() -> None:
    """As many mutated packets as fit into the time that CI gives it; `make fuzz` does a million."""
    draw = random.Random(time.time_ns())
    end = time.monotonic() + BUDGET_S
    while time.monotonic() < end:
        attack(ENDS, 1000, draw)
