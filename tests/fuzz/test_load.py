"""A load's ends against a peer that knows the key and sends nonsense."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from perfagent.load import packet
from perfagent.load.packet import Report
from perfagent.load.phases import Limits, read
from perfagent.load.search import Search
from perfagent.load.seen import WINDOW, Seen
from perfagent.wire import Fault

TOKEN = packet.token_of(b"k")
U64, I64 = st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1)
REPORTS = st.builds(Report, U64, U64, U64, I64, I64, I64, I64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["name", "seconds", "packet_bytes", "rate_bps", "times_found", "most_bps", "search", "x"])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_none(data: bytes) -> None:
    """Neither does anything that is not of the session's length and token count as one."""
    found = packet.read_report(data, TOKEN)
    assert found is None or len(data) == packet.REPORT_BYTES
    packet.kind_of(data, TOKEN)


@given(st.lists(st.tuples(REPORTS, st.integers(0, 2**63)), max_size=40))
def test_no_report_takes_a_search_out_of_its_limits(told: list[tuple[Report, int]]) -> None:
    """Whatever the receiver says, what is aimed at stays below the ceiling, and the figures are plain JSON."""
    search = Search(Limits(1_000_000, 100_000_000), 11_568)
    for report, number in told:
        search.heard(report, number)
        assert 1 <= search.rate_bps <= 100_000_000
    search.out_of_time()
    json.dumps(search.figures(), allow_nan=False)


@given(st.lists(st.lists(st.integers(0, 3 * WINDOW) | U64, min_size=1, max_size=20), max_size=10))
def test_every_number_is_counted_once(batches: list[list[int]]) -> None:
    """New, duplicate or reordered: together never more than came, and the furthest is known."""
    seen = Seen()
    for batch in batches:
        duplicates, reordered = seen.add(batch)
        assert 0 <= duplicates + reordered <= len(batch)
    assert seen.highest == max((number + 1 for batch in batches for number in batch), default=0)


@given(st.lists(JSON | st.dictionaries(KEYS, JSON, max_size=6), max_size=4))
@settings(max_examples=300)
def test_phases_are_read_or_refused_with_a_sentence(given_: list[object]) -> None:
    """No value of any type breaks the reading."""
    try:
        phases = read(given_)
    except Fault as fault:
        assert fault.message
    else:
        assert len(phases) == len(given_)
