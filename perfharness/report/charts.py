"""Pictures over time: rates, delays with losses and steps, periods of loss and where they recur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from perfharness.model import Direction, Series
from perfharness.report import text, words
from perfharness.report.downsample import COLUMNS, envelope, percentiles
from perfharness.report.drawing import (
    BACK,
    BAND,
    DASH_DOT,
    FORTH,
    INK,
    LOST,
    Line,
    axes_of,
    finish,
    look,
    plain_ticks,
    style,
    svg,
    time_axis,
)

_LOST_MARKS: dict[Direction | None, str] = {Direction.A_Z: "x", Direction.Z_A: "+"}
_MOST_POINTS = 600
_MARKS = ({"marker": "o", "mfc": "none"}, {"marker": "s", "mfc": "none"})
"""Of the two directions, beside their colours."""


@dataclass(frozen=True, slots=True)
class Jump:
    """A step in delay to mark: when, s since the series began, and its number in the table."""

    x: float
    number: int


def rates(lines: Sequence[Line], ordered_bps: float | None, ordered_name: str, layer: str, salt: str) -> Markup:
    """Rates over time, each direction; the ordered rate as a dash-dotted line, both at ``layer``."""
    with style(salt):
        figure, axes = axes_of([line.name for line in lines] + [ordered_name] * bool(ordered_bps), "Gbit/s, L2+FCS")
        prefix = draw_rates(axes, lines, ordered_bps, ordered_name)
        time_axis(axes, [line.series for line in lines])
        finish(axes, f"{prefix}bit/s, {layer}")
        return svg(figure)


def draw_rates(axes: Any, lines: Sequence[Line], ordered_bps: float | None, ordered_name: str) -> str:
    """Returns the prefix of their unit."""
    top = max([float(np.nanmax(line.series.y)) for line in lines] + [ordered_bps or 0.0]) or 1.0
    scale, prefix = next(((s, p) for s, p in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if top >= s), (1.0, ""))
    for number, line in enumerate(lines):
        drawn = look(line.series.direction, number)
        x, y = line.series.x, line.series.y / scale
        if x.size > COLUMNS:
            band = envelope(x, y)
            _band(axes, band.x, band.low, band.high, drawn["color"], 0.25)
            spans = percentiles(x, y)
            axes.stairs(spans.p50, spans.edges, baseline=None, clip_on=False, label=line.name, zorder=3, **drawn)
        else:
            mark = {"marker": "o" if number % 2 == 0 else "s", "ms": 2.4} if x.size <= 90 else {}
            axes.plot(x, y, clip_on=False, label=line.name, **drawn, **mark)
    if ordered_bps:
        name = {"label": ordered_name, "zorder": 1.8}
        axes.axhline(ordered_bps / scale, color=INK, lw=1.0, ls=DASH_DOT, clip_on=False, **name)
    axes.set_ylim(0, top / scale * 1.08)
    return prefix


def delays(
    delay: Series, lost: Sequence[Series], objective_ns: float | None, salt: str, jumps: Sequence[Jump] = ()
) -> Markup:
    """One stream's delay over time: envelope, p50 and p99 of each span, a mark for each loss and each step."""
    with style(salt):
        # Space for the longest names that may come, so that pictures under one another line up.
        lossy = sum(bool((series.y > 0).any()) for series in lost)
        names = [
            "least to most",
            "p50",
            "p99",
            "objective 000 ms (p99)",
            *["lost cloud → on-prem (00 packets)"] * lossy,
        ]
        figure, axes = axes_of([*names, *["step"] * bool(jumps)], "ms, logarithmic")
        x, y = delay.x, delay.y / 1e6
        band, spans = envelope(x, y), percentiles(x, y)
        if band.x.size:
            _band(axes, band.x, band.low, band.high, BAND, 1.0, "least to most")
        for name, values, drawn in (
            ("p50", spans.p50, {"color": FORTH, "lw": 1.3}),
            ("p99", spans.p99, {"color": BACK, "lw": 1.1, "ls": (0, (4, 1.6))}),
        ):
            if np.isfinite(values).any():  # where every span lost more than that there is no line to name
                axes.stairs(values, spans.edges, baseline=None, label=name, clip_on=False, zorder=3, **drawn)
        logarithmic = _delay_scale(axes, band.low, band.high)
        bottom, top = axes.get_ylim()
        if objective_ns is not None and objective_ns / 1e6 <= top * 3:
            top = max(top, objective_ns / 1e6 * (1.15 if logarithmic else 1.05))
            axes.axhline(
                objective_ns / 1e6,
                color=INK,
                lw=1.0,
                ls=DASH_DOT,
                clip_on=False,
                label=f"objective {text.as_ordered(text.delay(objective_ns))} (p99)",
            )
        axes.set_ylim(bottom, top)
        _loss_marks(axes, delay, lost)
        _jump_marks(axes, delay, jumps)
        time_axis(axes, [delay])
        finish(axes, "ms, logarithmic" if logarithmic else "ms")
        return svg(figure)


def _band(axes: Any, x: Any, low: Any, high: Any, colour: str, alpha: float, name: str | None = None) -> None:
    """Filled from low to high, with an edge so that a band of no height is still seen."""
    axes.fill_between(
        x, low, high, facecolor=colour, edgecolor=colour, lw=0.5, alpha=alpha, label=name, clip_on=False, zorder=1.5
    )


def _delay_scale(axes: Any, low: Any, high: Any) -> bool:
    """Logarithmic when one late packet would press all others to the ground. Sets the limits."""
    if not high.size:
        axes.set_ylim(0, 1)
        return False
    least, most = float(low.min()), float(high.max())
    if least > 0 and most > 5 * float(np.median(high)):
        axes.set_yscale("log")
        axes.set_ylim(least / 1.3, most * 1.3)
        plain_ticks(axes.yaxis, least / 1.3, most * 1.3)
        return True
    spread = most - least
    axes.set_ylim(0 if least < spread else max(0.0, least - 0.3 * spread), most + 0.08 * (spread or most) or 1)
    return False


def _loss_marks(axes: Any, delay: Series, lost: Sequence[Series]) -> None:
    """Marks at the ceiling of the picture wherever packets were lost, a row for each direction; one for each column
    at most."""
    known = [series for series in lost if (series.y > 0).any()]
    if not lost:
        gone = delay.x[~np.isfinite(delay.y)]
        known = [replace(delay, x=gone, y=np.ones(gone.size))] * bool(gone.size)
    width = max(float(np.ptp(delay.x)) / COLUMNS, 1e-9)
    for row, series in enumerate(known):
        at = series.x[series.y > 0] + (series.start_ns - delay.start_ns) / 1e9
        x = np.unique(np.round(at / width)) * width
        where = f" {words.direction(series.direction)}" if series.direction in _LOST_MARKS else ""
        axes.plot(
            x,
            np.full(x.size, 1.0 + 0.055 * row),
            _LOST_MARKS.get(series.direction, "x"),
            transform=axes.get_xaxis_transform(),
            color=LOST,
            ms=4,
            mew=1.1,
            clip_on=False,
            label=f"lost{where} ({text.count(float(series.y.sum()))} packets)",
            zorder=4,
        )


def _jump_marks(axes: Any, delay: Series, jumps: Sequence[Jump]) -> None:
    """A dotted line for each step; its number stands beside it unless another number is in the way."""
    free = -np.inf
    room = max(float(np.ptp(delay.x)), 1e-9) * 0.025
    for jump in jumps:
        axes.axvline(
            jump.x,
            color=INK,
            lw=0.9,
            ls=(0, (1, 1.5)),
            label="step" if jump is jumps[0] else None,
            zorder=2.5,
            clip_on=False,
        )
        if jump.x >= free:
            free = jump.x + room
            axes.text(
                jump.x + room / 8,
                0.02,
                str(jump.number),
                transform=axes.get_xaxis_transform(),
                color=INK,
                fontweight="bold",
                ha="left",
                va="bottom",
            )


def losses(periods: Sequence[Series], stream: Sequence[Series], salt: str) -> Markup:
    """When each period of loss began and how many packets in a row it took, each direction; of those that fall into one
    column of the picture the longest. The axis is as long as that of ``stream``."""
    with style(salt):
        unit = "packets lost in a row"
        figure, axes = axes_of([_way(series) for series in periods], unit)
        most = max(float(series.y.max()) for series in periods)
        for number, series in enumerate(periods):
            band = envelope(series.x, series.y)
            colour = look(series.direction, number)["color"]
            axes.vlines(band.x, 0.7, band.high, color=colour, lw=0.6, zorder=2, clip_on=False)
            axes.plot(
                band.x,
                band.high,
                ls="",
                ms=3.8,
                mew=0.9,
                mec=colour,
                label=_way(series),
                clip_on=False,
                zorder=3,
                **_MARKS[number % 2],
            )
        axes.set_yscale("log")
        axes.set_ylim(0.7, max(most * 1.5, 12))
        plain_ticks(axes.yaxis, 1, max(most * 1.5, 12))
        time_axis(axes, [*periods, *stream])
        finish(axes, unit)
        return svg(figure)


def phases(periods: Sequence[Series], stream: Sequence[Series], length_s: float, salt: str) -> Markup:
    """Where in a period of ``length_s`` each loss period began, over time: what recurs lies on a level line, what does
    not is spread over the whole height."""
    with style(salt):
        unit = f"s into a period of {length_s:.4g} s"
        figure, axes = axes_of([_way(series) for series in periods], unit)
        # The usual place is put in the middle, so that a line at the border is not torn in two.
        turns = np.concatenate([series.x for series in periods]) / length_s
        usual = float(np.angle(np.exp(2j * np.pi * turns).sum())) / (2 * np.pi)
        for number, series in enumerate(periods):
            colour = look(series.direction, number)["color"]
            y = (series.x / length_s - usual + 0.5) % 1 * length_s
            few = np.linspace(0, len(y) - 1, min(len(y), _MOST_POINTS)).astype(np.int64)
            axes.plot(
                series.x[few],
                y[few],
                ls="",
                ms=3.8,
                mew=0.9,
                mec=colour,
                label=_way(series),
                clip_on=False,
                zorder=3,
                **_MARKS[number % 2],
            )
        axes.set_ylim(0, length_s)
        time_axis(axes, [*periods, *stream])
        finish(axes, unit)
        return svg(figure)


def _way(series: Series) -> str:
    return words.direction(series.direction) or series.label
