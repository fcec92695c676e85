"""Rates, times, sizes and shares as people write them: one meaning each, ambiguity refused.

Each type is an ``int`` of bit/s, ns or bytes (a share is a ``float`` 0..1) and takes the text of a file.
An ``int`` handed in by a program is already in that unit. ``*_text`` writes a value back for a reader. What reads a
text raises ``wrong``, with examples of what would be right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, WithJsonSchema

from perfharness.order.wrong import wrong

LARGEST = 2**63 - 1
"""What fits in the 64-bit integers of every tool down the line."""
VXLAN_PORT = 4789

_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_TIMES = {
    "d": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "min": 60 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,  # the Greek letter looks the same
    "ns": 1,
}
_SIZES = {"": 1, "B": 1} | {
    f"{prefix}B": factor
    for prefix, factor in {
        "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30,
    }.items()
}  # fmt: skip
_NUMBER = r"(?P<number>[0-9]{1,20}(?:\.[0-9]{1,20})?)"
_RATE = re.compile(rf"{_NUMBER} ?(?=[kMGTb])(?P<prefix>[kMGT]?)(?:bps|bit/s|b/s)?")
_PART = re.compile(rf"{_NUMBER} ?(?P<unit>{'|'.join(_TIMES)})(?![A-Za-zµμ]) ?")
_SIZE = re.compile(rf"{_NUMBER} ?(?P<unit>{'|'.join(unit for unit in _SIZES if unit)})?")
_RATIO = re.compile(r"(?P<number>[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE]-?[0-9]{1,2})?) ?(?P<unit>%)?")
_PORTS = re.compile(r"([0-9]{1,5})(?: ?- ?([0-9]{1,5}))?")

_RATE_HINT = "Write a number and bit/s, as 1Gbps, 500Mbps or 10G."
_DURATION_HINT = "Write a number and its unit, as 250ms, 10s, 5m or 1h30m."
_SIZE_HINT = "Write bytes, as 1500, 1500B, 8KiB (8192) or 1.5MB (1 500 000)."
_RATIO_HINT = "Write a share of 1, as 1e-4 or 0.0001, or a percentage, as 0.01%."
_PORTS_HINT = "Write ports and ranges between 1 and 65535, as 862, 5201-5216."


def rate(text: str) -> int:
    """Bit/s. Prefixes are decimal; a bare prefix is bits (``10G``); bytes and bare numbers are refused."""
    found = _RATE.fullmatch(text.strip())
    if not found:
        if re.search(r"[0-9] ?[kMGT]?i?B", text):
            raise wrong(f"{text!r} counts bytes; a rate counts bits.", _RATE_HINT)
        if re.fullmatch(r"[0-9.]+", text.strip()):
            raise wrong(f"{text!r} is a number without a unit, not a rate.", _RATE_HINT)
        raise wrong(f"{text!r} is not a rate.", _RATE_HINT)
    value = _whole(Fraction(found["number"]) * _DECIMAL[found["prefix"]], text, "bit/s")
    if value == 0:
        raise wrong(f"{text!r}: a rate is more than 0.", _RATE_HINT)
    return value


def duration(text: str) -> int:
    """Nanoseconds. Parts go from large to small, each once: ``1h30m``; ``m`` is a minute."""
    left, total, last = text.strip(), Fraction(0), LARGEST
    while left and (found := _PART.match(left)):
        factor = _TIMES[found["unit"]]
        if factor >= last:
            break
        total += Fraction(found["number"]) * factor
        left, last = left[found.end() :], factor
    if left or last == LARGEST:
        bare = re.fullmatch(r"[0-9.]+", text.strip())
        said = f"{text!r} is a number without a unit, not a time." if bare else f"{text!r} is not a time."
        raise wrong(said, _DURATION_HINT)
    return _whole(total, text, "nanoseconds")


def size(text: str) -> int:
    """Bytes. ``kB MB GB`` are decimal, ``KiB MiB GiB`` binary; ``K``, ``KB`` and ``8k`` could be either."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        either = re.fullmatch(r"[0-9.]+ ?(?:[kKMG]|KB|kb|Kb|mb)", text.strip())
        raise wrong(f"{text!r} can be read in two ways." if either else f"{text!r} is not a size.", _SIZE_HINT)
    return _whole(Fraction(found["number"]) * _SIZES[found["unit"] or ""], text, "bytes")


def ratio(text: str) -> float:
    """A share between 0 and 1."""
    found = _RATIO.fullmatch(text.strip())
    if not found:
        raise wrong(f"{text!r} is not a share.", _RATIO_HINT)
    value = float(Fraction(found["number"]) / (100 if found["unit"] else 1))
    if value > 1:
        raise wrong(f"{text!r} is more than the whole; a share is at most 1 or 100%.", _RATIO_HINT)
    return value


@dataclass(frozen=True, slots=True)
class PortRanges:
    """Ports in ascending ranges, both ends included; iterates over every port."""

    ranges: tuple[tuple[int, int], ...]

    def __iter__(self) -> Iterator[int]:
        for low, high in self.ranges:
            yield from range(low, high + 1)

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and any(low <= port <= high for low, high in self.ranges)

    def __len__(self) -> int:
        return sum(high - low + 1 for low, high in self.ranges)

    def __str__(self) -> str:
        return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in self.ranges)


def ports(text: str) -> PortRanges:
    """``862, 5201-5216``"""
    ranges = []
    for part in text.split(","):
        found = _PORTS.fullmatch(part.strip())
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= low <= high <= 65535:
            raise wrong(f"{part.strip()!r} is not a port or a range of ports.", _PORTS_HINT)
        ranges.append((low, high))
    ranges.sort()
    for (_, high), (low, _) in pairwise(ranges):
        if low <= high:
            raise wrong(f"Port {low} is listed twice in {text!r}.", "List each port once.")
    return PortRanges(tuple(ranges))


def _whole(value: Fraction, text: str, unit: str) -> int:
    if value != int(value):
        raise wrong(f"{text!r} is not a whole number of {unit}.", "Round it.")
    if value > LARGEST:
        raise wrong(f"{text!r} is larger than anything that can be measured.", "Check the unit.")
    return int(value)


# --- for a reader -------------------------------------------------------------------------------


def rate_text(bps: float) -> str:
    """``939.2 Mbit/s``: four significant digits."""
    return _scaled(bps, {"Tbit/s": 1e12, "Gbit/s": 1e9, "Mbit/s": 1e6, "kbit/s": 1e3, "bit/s": 1.0})


def duration_text(ns: float) -> str:
    """``4.12 ms`` (four significant digits), ``1 h 30 min``; that of a lost packet is ``∞``."""
    if math.isinf(ns):
        return "∞" if ns > 0 else "-∞"
    if abs(ns) < 59.995e9:
        return _scaled(ns, {"s": 1e9, "ms": 1e6, "µs": 1e3, "ns": 1.0})
    minutes, seconds = divmod(round(abs(ns) / 1e9), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    return "-" * (ns < 0) + " ".join(f"{count} {unit}" for count, unit in parts if count)


def size_text(size_bytes: float) -> str:
    """``1500 B``, ``16 MiB`` when it is that exactly, else ``1.25 GB``."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if 4 * factor <= size_bytes < 1000 * factor and size_bytes % factor == 0:
            return f"{size_bytes / factor:g} {unit}"
    return f"{size_bytes:g} B" if abs(size_bytes) < 10_000 else _scaled(size_bytes, {"GB": 1e9, "MB": 1e6, "kB": 1e3})


def ratio_text(share: float) -> str:
    """``0.01 %``, ``99.95 %``; below 0.01 % as ``3.2e-6``. Never rounded to all or nothing."""
    if 0 < abs(share) < 0.99995e-4:
        mantissa, exponent = f"{share:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    percent = share * 100
    text = f"{percent:.4g}"
    if text == "100" and share != 1:
        decimals = min(12, 2 - math.floor(math.log10(abs(100 - percent))))
        text = f"{percent:.{decimals}f}".rstrip("0").rstrip(".")
    return f"{text} %"


def _scaled(value: float, units: Mapping[str, float]) -> str:
    """Four significant digits in the largest unit that leaves at least 1; ``units`` go from large to small."""
    if math.isinf(value):
        return f"{'-' * (value < 0)}∞ {next(iter(units))}"
    rounded = float(f"{value:.4g}")
    unit = next((unit for unit, factor in units.items() if abs(rounded) >= factor), list(units)[-1])
    digits = f"{rounded / units[unit]:f}"
    return f"{digits.rstrip('0').rstrip('.')} {unit}"


# --- for pydantic -------------------------------------------------------------------------------


def _reads(parse: Callable[[str], int | float]) -> BeforeValidator:
    """Text goes through ``parse``; what is not text is left to the type itself."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


def _ports(value: Any) -> PortRanges:
    if isinstance(value, PortRanges):
        return value
    if not isinstance(value, str):
        raise wrong("Ports are written in one line.", _PORTS_HINT)
    return ports(value)


Rate = Annotated[int, _reads(rate), WithJsonSchema({"type": "string", "examples": ["1Gbps"]})]
"""bit/s"""
Duration = Annotated[int, _reads(duration), WithJsonSchema({"type": "string", "examples": ["250ms"]})]
"""ns"""
Size = Annotated[int, _reads(size), WithJsonSchema({"type": ["string", "integer"], "examples": ["1500B"]})]
"""bytes"""
Ratio = Annotated[float, _reads(ratio), WithJsonSchema({"type": ["string", "number"], "examples": ["1e-4"]})]
"""0..1"""
Ports = Annotated[
    PortRanges,
    PlainValidator(_ports),
    PlainSerializer(str),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["862, 5201-5216"]}),
]
