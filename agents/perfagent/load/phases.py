"""What a session sends, part by part. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from perfagent.load.packet import LARGEST, SMALLEST
from perfagent.wire import Code, Fault

MOST_PHASES = 1000
MOST_SECONDS = 100 * 365 * 24 * 3600
MOST_BPS = 1_000_000_000_000
PATIENCE_S = 0.002
_KEYS = {"name", "seconds", "packet_bytes", "rate_bps", "times_found", "most_bps", "search", "bursts", "patience_s"}


class Limits(NamedTuple):
    """Between which rates to search, bit/s."""

    from_bps: int
    most_bps: int


class Bursts(NamedTuple):
    """So many packets at the phase's rate, then a rest, and again."""

    packets: int
    times: int
    rest_s: float
    refill_bps: int
    """What fills the bucket of tokens meanwhile; for who judges how fast they went."""


class Phase(NamedTuple):
    """Exactly one of ``rate_bps``, ``times_found`` and ``search`` says how fast to send."""

    name: str
    seconds: float
    packet_bytes: int
    """UDP payload."""
    rate_bps: int | None = None
    """0: nothing is sent."""
    times_found: float | None = None
    """Of what the search found."""
    most_bps: int | None = None
    """... but no more than this."""
    search: Limits | None = None
    bursts: Bursts | None = None
    """Then ``seconds`` is what they may take at most."""
    patience_s: float = PATIENCE_S
    """What is late by more than this is not sent any more."""

    @property
    def idle(self) -> bool:
        return self.rate_bps == 0


def read(given: Sequence[Any]) -> tuple[Phase, ...]:
    """The phases as the plan writes them. Raises Fault(BAD_ARGUMENT) with what is wrong."""
    if not 1 <= len(given) <= MOST_PHASES:
        raise _wrong(f"a session has 1 to {MOST_PHASES} phases, not {len(given)}")
    phases = tuple(_phase(each) for each in given)
    searched = False
    for phase in phases:
        searched = searched or phase.search is not None
        if phase.times_found is not None and not searched:
            raise _wrong(f"phase {phase.name!r:.40} refers to a search that comes later, or never")
    return phases


def seconds_of(phases: Sequence[Phase]) -> float:
    """How long all of them take at most."""
    return sum(phase.seconds for phase in phases)


def _phase(given: Any) -> Phase:
    if not isinstance(given, dict) or not set(given) <= _KEYS:
        raise _wrong(f"a phase has {', '.join(sorted(_KEYS))}, and nothing else")
    name = given.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= 40:
        raise _wrong("a phase has a name of up to 40 letters")
    if sum(given.get(key) is not None for key in ("rate_bps", "times_found", "search")) != 1:
        raise _wrong(f"phase {name!r} needs one of rate_bps, times_found and search")
    rate, times, search = given.get("rate_bps"), given.get("times_found"), given.get("search")
    most = given.get("most_bps")
    if most is not None and times is None:
        raise _wrong(f"phase {name!r} has most_bps without times_found")
    bursts = given.get("bursts")
    if bursts is not None and not rate:
        raise _wrong(f"phase {name!r} has bursts without a rate_bps")
    return Phase(
        name=name,
        seconds=_number(given, "seconds", 0.001, MOST_SECONDS, name),
        packet_bytes=int(_number(given, "packet_bytes", SMALLEST, LARGEST, name)),
        rate_bps=None if rate is None else int(_number(given, "rate_bps", 0, MOST_BPS, name)),
        times_found=None if times is None else _number(given, "times_found", 0.01, 100, name),
        most_bps=None if most is None else int(_number(given, "most_bps", 1, MOST_BPS, name)),
        search=None if search is None else _limits(search, name),
        bursts=None if bursts is None else _bursts(bursts, name),
        patience_s=_number({"patience_s": PATIENCE_S, **given}, "patience_s", 0.001, 1, name),
    )


def _bursts(given: Any, name: str) -> Bursts:
    if not isinstance(given, dict) or set(given) != set(Bursts._fields):
        raise _wrong(f"the bursts of phase {name!r} have {', '.join(Bursts._fields)}, and nothing else")
    return Bursts(
        packets=int(_number(given, "packets", 1, 1 << 32, name)),
        times=int(_number(given, "times", 1, 10_000, name)),
        rest_s=_number(given, "rest_s", 0, MOST_SECONDS, name),
        refill_bps=int(_number(given, "refill_bps", 0, MOST_BPS, name)),
    )


def _limits(given: Any, name: str) -> Limits:
    if not isinstance(given, dict) or set(given) != {"from_bps", "most_bps"}:
        raise _wrong(f"the search of phase {name!r} has from_bps and most_bps")
    most = int(_number(given, "most_bps", 1, MOST_BPS, name))
    return Limits(int(_number(given, "from_bps", 1, most, name)), most)


def _number(given: dict[str, Any], key: str, least: float, most: float, name: str) -> float:
    value = given.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise _wrong(f"{key} of phase {name!r} is {value!r:.40}, not within {least} to {most}")
    return value


def _wrong(what: str) -> Fault:
    return Fault(Code.BAD_ARGUMENT, what)
