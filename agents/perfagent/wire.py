"""The messages between coordinator and agent: JSON lines, version 1. Pure: bytes in, messages out.

    request  {"v":1,"id":7,"method":"start","args":{...}}
    reply    {"id":7,"result":...}
    failure  {"id":7,"error":{"code":20,"message":"..."}}     id 0 = the whole session has failed
    event    {"event":"ready"|"live"|"counted"|"tripped"|"done","job":"...","data":{...}}

Rules held here: a line is UTF-8 JSON of at most ``MAX_LINE`` bytes with exactly these fields; NaN and
infinity are no JSON; whatever the bytes are, decoding raises nothing but ``Fault``. A line that cannot be
decoded is answered with a failure of id 0 and ends its connection, since its id cannot be trusted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, NamedTuple, NoReturn, Union

VERSION = 1
MAX_LINE = 1 << 20
"""Bytes of a line without its newline: room for any status, too small to hurt a small host."""

PREAMBLE = b"perfharness/1\n"
"""First on every channel: what comes before it was printed by a login script."""

MARKER = "perfharness-agent"
"""The file that says that a folder is ours; it holds the SHA-256 of the agent, checked before that was unpacked."""

MAX_SECRET = 4096
"""Bytes of a job's secret: any pipe takes so much at once (PIPE_BUF), whether or not the job reads it."""

EVENTS = ("ready", "live", "counted", "tripped", "done")


class Code(IntEnum):
    """Why a request or a job failed; the numbers are part of the protocol."""

    BAD_MESSAGE = 1
    UNKNOWN_METHOD = 2
    BAD_ARGUMENT = 3
    VERSION = 4
    HOST_BUSY = 10
    NO_SUCH_JOB = 11
    JOB_EXISTS = 12
    TOOL_MISSING = 20
    TOOL_TOO_OLD = 21
    TOOL_FAILED = 22
    NOT_PERMITTED = 23
    ADDRESS = 24
    PORT_IN_USE = 25
    PEER_SILENT = 26
    DEADLINE = 27
    PLATFORM = 28
    GUARD = 29
    WINDOW = 30
    INTERNAL = 50


class Fault(Exception):
    """A numbered error with one sentence for a person."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def as_json(self) -> dict[str, Any]:
        return {"code": int(self.code), "message": self.message}


class Request(NamedTuple):
    id: int
    method: str
    args: dict[str, Any]


class Reply(NamedTuple):
    id: int
    result: Any


class Failure(NamedTuple):
    id: int
    code: int
    message: str


class Event(NamedTuple):
    kind: str
    job: str
    data: dict[str, Any]


Answer = Union[Reply, Failure, Event]


# --- to bytes ---------------------------------------------------------------------------------


def encode(message: Request | Answer) -> bytes:
    """One line with its newline. Raises Fault(BAD_MESSAGE) when it is too long or is not JSON."""
    if isinstance(message, Request):
        body: dict[str, Any] = {"v": VERSION, **message._asdict()}
    elif isinstance(message, Reply):
        body = message._asdict()
    elif isinstance(message, Failure):
        body = {"id": message.id, "error": {"code": message.code, "message": message.message}}
    else:
        body = {"event": message.kind, "job": message.job, "data": message.data}
    try:
        line = json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise Fault(Code.BAD_MESSAGE, f"a message cannot be written as JSON: {error}") from error
    if len(line) > MAX_LINE:
        raise Fault(Code.BAD_MESSAGE, f"a message of {len(line)} bytes exceeds the limit of {MAX_LINE}")
    return line + b"\n"


# --- from bytes -------------------------------------------------------------------------------


class Lines:
    """Cuts a stream of bytes into lines, however the pieces arrive."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each completed line without its newline. Raises Fault(BAD_MESSAGE) on one too long."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._grow(end)
            line, self._rest = bytes(self._rest), bytearray()
            yield line
        self._grow(rest)

    def _grow(self, piece: bytes) -> None:
        if len(self._rest) + len(piece) > self._limit:
            raise Fault(Code.BAD_MESSAGE, f"a line exceeds the limit of {self._limit} bytes")
        self._rest += piece


def decode_request(line: bytes) -> Request:
    """What the coordinator asks. Raises Fault(BAD_MESSAGE), or Fault(VERSION) for another protocol."""
    body = _object(line)
    if body.get("v") != VERSION:
        raise Fault(Code.VERSION, f"the agent speaks protocol version {VERSION}, not {body.get('v')!r:.20}")
    _fields(body, {"v", "id", "method", "args"})
    return Request(_id(body, least=1), _typed(body, "method", str), _typed(body, "args", dict))


def decode_answer(line: bytes) -> Answer:
    """What the agent says. Raises Fault(BAD_MESSAGE)."""
    body = _object(line)
    if "event" in body:
        _fields(body, {"event", "job", "data"})
        if body["event"] not in EVENTS:
            _bad("an event of an unknown kind")
        return Event(body["event"], _typed(body, "job", str), _typed(body, "data", dict))
    if "error" in body:
        _fields(body, {"id", "error"})
        error = _typed(body, "error", dict)
        _fields(error, {"code", "message"})
        return Failure(_id(body, least=0), _typed(error, "code", int), _typed(error, "message", str))
    _fields(body, {"id", "result"})
    return Reply(_id(body, least=1), body["result"])


def _object(line: bytes) -> dict[str, Any]:
    try:
        body = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Fault(Code.BAD_MESSAGE, "a line is not JSON") from error
    if not isinstance(body, dict):
        _bad("a line is not a JSON object")
    return body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _fields(body: dict[str, Any], names: set[str]) -> None:
    if body.keys() != names:
        _bad(f"a message has the fields {sorted(body)}, not {sorted(names)}"[:200])


def _typed(body: dict[str, Any], name: str, kind: type) -> Any:
    value = body[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        _bad(f"the field {name} of a message is no {kind.__name__}")
    return value


def _id(body: dict[str, Any], least: int) -> int:
    number = _typed(body, "id", int)
    if number < least:
        _bad(f"the id of a message is below {least}")
    return int(number)


def _bad(message: str) -> NoReturn:
    raise Fault(Code.BAD_MESSAGE, message)


# --- named arguments --------------------------------------------------------------------------

_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "None": (type(None),),
}


def check_arguments(name: str, function: Callable[..., Any], args: dict[str, Any]) -> None:
    """Hold ``args`` against the keyword-only parameters of ``function``, which people know as ``name``.

    Raises Fault(BAD_ARGUMENT) naming the misfit. Types are checked as far as they are plain JSON ones
    (``int | None``, ``list[int]`` by its outside).
    Reads the code object, since ``inspect`` would double the start-up time of the agent.
    """
    code = function.__code__
    known = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    for argument in args:
        if argument not in known:
            raise Fault(Code.BAD_ARGUMENT, f"{name} has no argument {argument!r}")
    for argument in known:
        kind = str(function.__annotations__.get(argument, ""))
        if argument not in args:
            if argument not in (function.__kwdefaults__ or {}):
                raise Fault(Code.BAD_ARGUMENT, f"{name} lacks its argument {argument!r}")
        elif not _fits(args[argument], kind):
            raise Fault(Code.BAD_ARGUMENT, f"{name}: {argument} is {args[argument]!r:.80}, not {kind}")


def _fits(value: Any, annotation: str) -> bool:
    kinds = [part.strip().partition("[")[0] for part in annotation.split("|")]
    if any(kind not in _KINDS for kind in kinds):
        return True
    if isinstance(value, bool):
        return "bool" in kinds
    return any(isinstance(value, _KINDS[kind]) for kind in kinds)
