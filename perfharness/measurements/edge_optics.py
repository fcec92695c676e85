"""Of the optical module in the port towards the circuit: is its light within the thresholds that the module itself has?

Reading and thresholds are of one scale, the module's own: that this may be off by 3 dB (SFF-8472, section 9.3) matters
to neither. So a margin is as sure as the last digit that was told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from perfharness.measurements.base import Context
from perfharness.measurements.edge_reading import Reading
from perfharness.model import Interval, Observation
from perfharness.routers.state import DARK_DBM, Light, Optics

REACHES = ("SX", "SR", "LX", "LH", "LR", "EX", "ER", "ZX", "ZR", "LRM")
"""What port types and modules are named for; LH is another vendor's LX."""
_ALIKE = {"LH": "LX"}
_WORDS = {"rx": "received", "tx": "sent"}


def has_optics(port_type: str) -> bool:
    """The ordered port is one of light: copper has none."""
    return not port_type.upper().endswith("-T")


class Margin(NamedTuple):
    """How far a reading is from the nearer of two thresholds, in dB; below 0 = beyond it."""

    db: float
    light: Light
    low: float
    high: float


def optics_figures(context: Context, now: Reading) -> tuple[tuple[Observation, ...], str]:
    """``light`` and ``light_warning``: the least margin of all lanes, both ways, to the module's thresholds of alarm
    and of warning; ``module_fits``. And all readings in words, empty where there is none."""
    why, optics = _why_not(context, now), now.state.optics
    lights, unused = _used(optics.lights if optics and not why else ())
    said = _in_words(lights) + unused
    alarm = _least(lights, lambda light: (light.low_alarm, light.high_alarm))
    warning = _least(lights, lambda light: (light.low_warn, light.high_warn))
    fits, module = _fits(context, optics) if optics and not why else (None, why)

    def told(statistic: str, margin: Margin | None, what: str) -> Observation:
        if margin is None:
            return _figure(context, now, statistic, None, why or f"The module tells no thresholds of {what}. {said}")
        error = margin.light.digit_db
        # What is darker than can be told is no better than that.
        least = -40.0 if margin.light.dbm <= DARK_DBM else margin.db - error
        interval = Interval(min(least, margin.db - error), margin.db + error, 1.0, "exact", "read on the module")
        return _figure(context, now, statistic, margin.db, f"{_nearest(margin)} {said}", interval)

    figures = (
        told("light", alarm, "alarm"),
        told("light_warning", warning, "warning"),
        _figure(context, now, "module_fits", fits, module),
    )
    return figures, said


def _figure(
    context: Context, now: Reading, statistic: str, value: float | bool | None, reason: str, of: Interval | None = None
) -> Observation:
    asked = has_optics(context.circuit.port.type)
    return Observation(
        "portspec",
        statistic,
        context.scope(None),
        "",
        value,
        1,
        of,
        evidence=now.evidence,
        reason=reason if asked else f"{context.circuit.port.type} is a port without optics.",
        applicable=asked,
    )


def _why_not(context: Context, now: Reading) -> str:
    """Why no light is told; empty where some is."""
    name, optics = context.circuit.ce_name, now.state.optics
    if now.reason:
        return now.reason
    if optics is None:
        return f"{name} does not tell of an optical module in the port towards the circuit: read its light there."
    return "" if optics.lights else f"{name} tells no optical power: {optics.reason}."


def _used(lights: Sequence[Light]) -> tuple[list[Light], str]:
    """Those of lanes with light in either direction, if any has; a module of one wavelength leaves the others dark."""
    lit = {light.lane for light in lights if light.dbm > DARK_DBM}
    dark = sorted({light.lane for light in lights} - lit)
    if not lit or not dark:
        return list(lights), ""
    return [light for light in lights if light.lane in lit], f" Lanes {', '.join(map(str, dark))} are not used."


def _least(lights: Iterable[Light], limits: Callable[[Light], tuple[float | None, float | None]]) -> Margin | None:
    """``None`` unless each of the readings has both thresholds."""
    margins = []
    for light in lights:
        low, high = limits(light)
        if low is None or high is None:
            return None
        margins.append(Margin(round(min(light.dbm - low, high - light.dbm), 2), light, low, high))
    return min(margins, key=lambda margin: margin.db, default=None)


def _nearest(margin: Margin) -> str:
    light = margin.light
    return (
        f"Nearest is what is {_WORDS[light.way]}{_lane(light)}: {light.dbm:g} dBm, {margin.low:g} to {margin.high:g}."
    )


def _in_words(lights: Iterable[Light]) -> str:
    """``received -8.2 dBm, sent -5.6 dBm.``"""
    told = [
        f"{_WORDS[light.way]}{_lane(light)} {'no light' if light.dbm <= DARK_DBM else f'{light.dbm:g} dBm'}"
        for light in lights
    ]
    return f"Read: {', '.join(told)}." if told else ""


def _lane(light: Light) -> str:
    return f" on lane {light.lane}" if light.lane > 1 else ""


def _fits(context: Context, optics: Optics) -> tuple[bool | None, str]:
    """Whether the module is of the reach that the ordered port type names, as far as both name one."""
    ordered, is_ = _reach(context.circuit.port.type), _reach(optics.module or "")
    said = f"The module is {optics.module}; ordered is {context.circuit.port.type}."
    if ordered is None or is_ is None:
        return None, said if optics.module else "The module's type is not told."
    return ordered == is_, said


def _reach(text: str) -> str | None:
    """``LX`` of ``1000_BASE_LX_SFP``, ``LR`` of ``40GBASE-LR4``; ``None`` where several are named, or none."""
    known, told = "|".join(REACHES), text.upper()
    words = re.findall(rf"BASE[-_ ]?({known})(?![A-Z])", told) or re.findall(rf"(?<![A-Z0-9-])({known})(?![A-Z])", told)
    found = {_ALIKE.get(word, word) for word in words}
    return found.pop() if len(found) == 1 else None
