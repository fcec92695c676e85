"""Numbers as people read them: three or four sensible digits, the unit beside them, never a bare float.

Everything here is pure and total: what cannot be said becomes ``NONE`` (a dash), never 0.
Units are those of ``model.Observation.unit``: ``bit/s``, ``ns``, ``B``, ``1``, ``packets`` or words.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from perfharness.model import Finding, Interval, Layer, Verdict, Window
from perfharness.order.units import rate_text

NONE = "–"
MINUS = "−"
UNBOUNDED = "unbounded"
OPERATORS = {"<=": "≤", ">=": "≥", "==": "="}
COUNTED = ("loss", "reordering", "duplication", "path")
"""Metrics whose ratio is a number of packets out of ``n``."""
Value = float | int | str | bool | None


def digits(number: float, significant: int = 4) -> str:
    """``number`` in plain notation with about ``significant`` digits and separated thousands."""
    if number == 0:
        return "0"
    places = significant - 1 - math.floor(math.log10(abs(number)))
    text = f"{number:,.{max(0, min(places, 6))}f}"
    return text.replace("-", MINUS)


def count(number: float) -> str:
    """A number of things: ``30,000``."""
    return f"{round(number):,}".replace("-", MINUS)


def rate(bits_per_s: float, layer: Layer | None = None) -> str:
    """``997.3 Mbit/s (L2)``; the layer is named whenever it is known."""
    return rate_text(bits_per_s) + (f" ({layer.value})" if layer else "")


def delay(ns: float) -> str:
    """A delay in milliseconds, to the microsecond: ``0.062 ms``, ``12.34 ms``; from 10 s on in seconds."""
    ms = ns / 1e6
    if abs(ms) >= 10_000:
        return f"{digits(ms / 1e3)} s"
    if 0 < abs(ms) < 0.01:
        return f"{digits(ns / 1e3, 2)} µs"
    return f"{digits(ms, 4) if abs(ms) >= 1 else f'{ms:.3f}'.replace('-', MINUS)} ms"


def duration(seconds: float) -> str:
    """How long something took: ``30 s``, ``9 min 58 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{digits(seconds, 3) if seconds < 10 else round(seconds)} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def ratio(share: float) -> str:
    """A share: ``0``, ``1.0e-4`` below a percent, ``12.5 %`` above."""
    if share == 0:
        return "0"
    if abs(share) >= 0.01:
        return f"{share * 100:.3g} %" if abs(share) < 1 else f"{share * 100:,.0f} %"
    mantissa, exponent = f"{share:.1e}".split("e")
    return f"{mantissa.replace('-', MINUS)}e{int(exponent)}"


def size(size_bytes: float) -> str:
    """Bytes exactly, as MTUs are named: ``1,500 B``."""
    return f"{count(size_bytes)} B"


def file_size(size_bytes: int) -> str:
    """A file's size to three digits: ``1.18 MiB``."""
    for scale, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size_bytes >= scale:
            return f"{digits(size_bytes / scale, 3)} {name}"
    return f"{size_bytes} B"


def value(number: Value, unit: str, layer: Layer | None = None) -> str:
    """Any figure with its unit; an infinite one is ``unbounded``, an absent one a dash."""
    if number is None:
        return NONE
    if isinstance(number, bool):
        return "yes" if number else "no"
    if isinstance(number, str):
        return number
    if math.isnan(number):
        return NONE
    if math.isinf(number):
        return UNBOUNDED
    writers = {
        "bit/s": lambda: rate(number, layer),
        "ns": lambda: delay(number),
        "1": lambda: ratio(number),
        "B": lambda: size(number),
        "packets": lambda: count(number),
    }
    if unit in writers:
        return writers[unit]()
    plain = count(number) if float(number).is_integer() else digits(number)
    return f"{plain} {unit}".strip()


def threshold_text(finding: Finding) -> str:
    """``≥ 1 Gbit/s (L2)``; a dash when the row is information only."""
    if finding.operator is None or finding.threshold is None:
        return NONE
    limit = as_ordered(value(finding.threshold, finding.unit, finding.layer))
    return limit if finding.operator == "==" else f"{OPERATORS.get(finding.operator, finding.operator)} {limit}"


def as_ordered(limit: str) -> str:
    """Without the digits that only a measured value needs: ``5 ms``, not ``5.000 ms``."""
    return re.sub(r"(\.\d*?)0+(?=\s|$)", lambda m: m[1].rstrip("."), limit)


def finding_value(finding: Finding) -> str:
    """The estimate; a share of packets is shown as the count that it is: ``0 of 30,000``."""
    number = finding.value
    if isinstance(number, int | float) and not isinstance(number, bool) and finding.unit == "1" and finding.n:
        hits = number * finding.n
        if abs(hits - round(hits)) < 1e-3 and finding.metric in COUNTED:
            counted = f"{count(hits)} of {count(finding.n)}"
            return counted if number in (0, 1) else f"{ratio(number)} ({counted})"
    return value(number, finding.unit, finding.layer)


def bounds(interval: Interval | None, unit: str) -> str:
    """``0.061 ms to 0.064 ms``; a lower bound of a share at 0 says nothing, so only the upper is shown."""
    if interval is None:
        return ""
    low, high = (value(bound, unit) for bound in (interval.lo, interval.hi))
    if math.isinf(interval.lo) and math.isinf(interval.hi):
        return UNBOUNDED
    if math.isinf(interval.hi):
        return f"{low} to {UNBOUNDED}"
    if math.isinf(interval.lo) or (unit == "1" and interval.lo <= 0):
        return f"≤ {high}"
    same_unit = low.rsplit(" ", 1)[-1] == high.rsplit(" ", 1)[-1] and " " in low
    return high if low == high else f"{low.rsplit(' ', 1)[0] if same_unit else low} to {high}"


def interval_text(finding: Finding) -> str:
    """The interval with its confidence, ``exact`` for a count, or nothing when there is none."""
    if finding.interval is None:
        return ""
    if finding.interval.sides == "exact":
        return "exact"
    return f"{bounds(finding.interval, finding.unit)} · {finding.interval.confidence * 100:.4g} %"


def margin(finding: Finding) -> str:
    """Distance from the threshold to the nearest end of the interval: what is proven, not only seen.

    ``+`` lies on the good side. Percent of the threshold; bytes and counts, and any threshold of 0, in
    the unit itself. ``straddles`` when the threshold lies inside the interval, ``undecided`` when something
    else, such as a host's own losses, leaves it open.
    """
    limit, number = finding.threshold, finding.value
    if finding.operator not in ("<=", ">=") or not _is_number(limit) or not _is_number(number):
        return NONE
    assert isinstance(limit, int | float) and isinstance(number, int | float)
    low, high = (finding.interval.lo, finding.interval.hi) if finding.interval else (number, number)
    sign = 1 if finding.operator == ">=" else -1
    ends = sorted((sign * (low - limit), sign * (high - limit)))
    if ends[0] < 0 < ends[1]:
        return "straddles"
    if finding.verdict is Verdict.INCONCLUSIVE:
        return "undecided"
    nearest = ends[0] if ends[0] >= 0 else ends[1]
    if math.isinf(nearest):
        return UNBOUNDED
    mark = MINUS if nearest < 0 else "+" if nearest > 0 else "±"
    if limit == 0 or finding.unit not in ("bit/s", "ns", "1"):
        return f"{mark}{value(abs(nearest), finding.unit)}"
    return f"{mark}{percent(abs(nearest) / abs(limit))}"


def percent(share: float) -> str:
    """``99.7 %``, two digits below one percent, no decimals from 100 on."""
    points = share * 100
    return (
        f"{points:,.0f} %"
        if points >= 100 or points == 0
        else f"{points:.1f} %"
        if points >= 1
        else f"{digits(points, 2)} %"
    )


def moment(unix_ns: int, form: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    """A date in UTC from ns since the Unix epoch."""
    return datetime.fromtimestamp(unix_ns / 1e9, UTC).strftime(form)


def stamp(iso: str) -> str:
    """An ISO 8601 date of the run as ``2026-03-14 09:30:00 UTC``; what is no date stays as written."""
    try:
        parsed = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return parsed.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if parsed.tzinfo else f"{iso} (no zone)"


def seconds_between(start_iso: str, end_iso: str) -> float | None:
    """Seconds from one ISO date to another; ``None`` when either is no date."""
    try:
        return (datetime.fromisoformat(end_iso) - datetime.fromisoformat(start_iso)).total_seconds()
    except (ValueError, TypeError):
        return None


def window(span: Window | None) -> str:
    """``09:30:05 to 09:30:35 UTC (30 s)``."""
    if span is None:
        return NONE
    length = duration((span.end_ns - span.start_ns) / 1e9)
    return f"{moment(span.start_ns, '%H:%M:%S')} to {moment(span.end_ns, '%H:%M:%S')} UTC ({length})"


def _is_number(thing: object) -> bool:
    return isinstance(thing, int | float) and not isinstance(thing, bool) and not math.isnan(thing)
