"""The messages, whatever the bytes are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfagent import wire
from perfagent.wire import Code, Event, Failure, Fault, Reply, Request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)
ANSWERS = (
    st.builds(Reply, st.integers(1), JSON)
    | st.builds(Failure, st.integers(0), st.integers(), st.text())
    | st.builds(Event, st.sampled_from(wire.EVENTS), st.text(), OBJECTS)
)


@given(ANSWERS)
def test_answers_survive_the_wire(answer: wire.Answer) -> None:
    """What the agent says is what the coordinator reads."""
    assert wire.decode_answer(wire.encode(answer)[:-1]) == answer


@given(st.builds(Request, st.integers(1), st.text(), OBJECTS))
def test_requests_survive_the_wire(request: Request) -> None:
    """What the coordinator asks is what the agent reads."""
    assert wire.decode_request(wire.encode(request)[:-1]) == request


@given(st.binary() | st.text().map(str.encode) | OBJECTS.map(lambda body: repr(body).encode()))
def test_arbitrary_bytes_raise_nothing_but_a_fault(line: bytes) -> None:
    """A line is a message or a Fault."""
    for decode in (wire.decode_request, wire.decode_answer):
        try:
            decode(line)
        except Fault as fault:
            assert fault.code in (Code.BAD_MESSAGE, Code.VERSION)


@given(st.dictionaries(st.sampled_from(["v", "id", "method", "args", "result", "error", "event", "job", "data"]), JSON))
def test_almost_right_objects_raise_nothing_but_a_fault(body: dict[str, Any]) -> None:
    """Right names with wrong contents are caught as well."""
    test_arbitrary_bytes_raise_nothing_but_a_fault.hypothesis.inner_test(json.dumps(body).encode())


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"v":1,"id":NaN,"method":"x","args":{}}', b"9" * 6000, b"\xff", b"null", b"{}"]
)
def test_hostile_lines_are_faults(line: bytes) -> None:
    """Deep nesting, NaN, endless numbers and broken UTF-8 are refused in order."""
    with pytest.raises(Fault):
        wire.decode_request(line)
    with pytest.raises(Fault):
        wire.decode_answer(line)


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))), st.data())
def test_lines_come_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    """The pieces in which bytes arrive do not matter."""
    stream = b"".join(line + b"\n" for line in lines)
    splitter, got = wire.Lines(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += splitter.feed(stream[:size])
        stream = stream[size:]
    assert got == lines


def test_an_endless_line_is_refused_early() -> None:
    """The splitter never holds more than the limit; lines before the long one are still delivered."""
    splitter, got = wire.Lines(limit=10), []
    with pytest.raises(Fault):
        got.extend(splitter.feed(b"fine\n" + b"x" * 11))
    assert got == [b"fine"]


def test_what_is_not_json_or_too_long_is_not_sent() -> None:
    """NaN, objects and more than a mebibyte are refused by the sender already."""
    for value in (float("nan"), object(), "x" * wire.MAX_LINE):
        with pytest.raises(Fault):
            wire.encode(Reply(1, value))


def function(*, name: str, count: int, share: float = 0.0, peer: str | None = None, anything: object = None) -> None:
    """Only its signature matters."""


@pytest.mark.parametrize(
    ("args", "misfit"),
    [
        ({"name": "x", "count": 1}, ""),
        ({"name": "x", "count": 1, "share": 1, "peer": None, "anything": object}, ""),
        ({"name": "x"}, "lacks its argument 'count'"),
        ({"name": "x", "count": 1, "extra": 0}, "no argument 'extra'"),
        ({"name": 1, "count": 1}, "name is 1, not str"),
        ({"name": "x", "count": True}, "count is True, not int"),
        ({"name": "x", "count": 1.5}, "count is 1.5, not int"),
        ({"name": "x", "count": 1, "peer": 5}, "peer is 5, not str | None"),
    ],
)
def test_arguments_are_held_against_the_signature(args: dict[str, Any], misfit: str) -> None:
    """Names and plain types are checked before anything runs."""
    if misfit:
        with pytest.raises(Fault) as fault:
            wire.check_arguments("f", function, args)
        assert misfit in fault.value.message
    else:
        wire.check_arguments("f", function, args)
