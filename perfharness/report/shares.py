"""Pictures of many values at once: how delay is distributed, how each of many flows fares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from perfharness.model import Series
from perfharness.report import text
from perfharness.report.downsample import thin
from perfharness.report.drawing import (
    BACK,
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
)

LATER = "share later, or lost"
_LABEL = 0.1
"""Height of a label, of the axes' own."""
Floats = npt.NDArray[np.float64]
Floor = tuple[int, float]
"""Number of a curve, and the share of its packets that was lost."""


def distributions(
    lines: Sequence[Line],
    objective_ns: float | None,
    salt: str,
    error_ns: float = 0.0,
    limit: str = "p99",
) -> Markup:
    """Share of packets later than x (or lost), both axes logarithmic where the range asks for it.

    A lost packet is infinitely late, so a curve never falls below the share that was lost: there it goes on level to
    the edge, dotted, with that share written on it. ``error_ns``: every curve may lie so far to either side, which is
    drawn as a bar across it.
    """
    with style(salt):
        named = f"objective {text.as_ordered(text.delay(objective_ns))} ({limit})" if objective_ns is not None else ""
        figure, axes = axes_of([line.name for line in lines] + [named] * bool(named), LATER, height_in=2.35)
        curves = [(number, line.name, *_curve(line.series)) for number, line in enumerate(lines)]
        curves = [curve for curve in curves if curve[2].size]
        for number, name, x, y, _ in curves:
            axes.step(x, y, where="post", clip_on=False, label=name, **look(None, number))
            if error_ns:
                _bound(axes, number, x, y, error_ns / 1e6)
        low = min((float(x.min()) for _, _, x, _, _ in curves), default=0.0)
        high = max((float(x.max()) for _, _, x, _, _ in curves), default=0.0)
        if objective_ns is not None and high and objective_ns / 1e6 <= high * 5:
            axes.axvline(objective_ns / 1e6, color=INK, lw=1.0, ls=DASH_DOT, clip_on=False, label=named)
            low, high = min(low, objective_ns / 1e6), max(high, objective_ns / 1e6)
        _delay_axis(axes, low - error_ns / 1e6, high + error_ns / 1e6)
        floors = [(number, floor) for number, _, _, _, floor in curves if floor]
        _share_axis(axes, min((float(y.min()) for _, _, _, y, _ in curves), default=1.0), floors)
        _floors(axes, floors, objective_ns)
        axes.set_xlabel("ms")
        finish(axes, LATER)
        return svg(figure)


def _curve(series: Series) -> tuple[Floats, Floats, float]:
    """(delay in ms, share later) to draw, and the share that was lost: what is left beyond the latest arrival."""
    arrived = np.isfinite(series.x)
    floor = float(series.y[arrived].min(initial=1.0))
    shown = arrived & (series.y > 0)
    return *thin(series.x[shown] / 1e6, series.y[shown]), floor


def _bound(axes: Any, number: int, x: Floats, y: Floats, error: float) -> None:
    """A bar with caps at a height of its own."""
    height = 0.5 * 0.4**number
    at = float(x[min(int(np.searchsorted(-y, -height)), x.size - 1)])
    drawn = {"color": look(None, number)["color"], "clip_on": False, "zorder": 2.5}
    axes.plot([max(at - error, 0.0), at + error], [height, height], marker="|", ms=6, mew=1.0, lw=0.9, **drawn)


def _delay_axis(axes: Any, low: float, high: float) -> None:
    if high > 10 * low > 0:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.05, high * 1.1)
        plain_ticks(axes.xaxis, low, high)
    elif high:
        room = 0.02 * (high - low) or 1.0
        axes.set_xlim(max(low - room, 0.0), high + room)


def _share_axis(axes: Any, least: float, floors: Sequence[Floor]) -> None:
    """Whole decades, at least down to 10 %, with space for labels below the lowest floor."""
    lowest = min(math.floor(math.log10(least) + 1e-9), -1)
    if floors:
        deepest, labels = math.log10(min(floor for _, floor in floors)), len({_said(floor) for _, floor in floors})
        while deepest - lowest < (labels * _LABEL + 0.02) * -lowest:
            lowest -= 1
    axes.set_yscale("log")
    axes.set_ylim(10.0**lowest, 1)
    ticks = [10.0**power for power in range(lowest, 1)]
    axes.set_yticks(ticks, ["all" if tick == 1 else f"{100 * tick:g} %" for tick in ticks])
    axes.set_yticks([], minor=True)


def _floors(axes: Any, floors: Sequence[Floor], objective_ns: float | None) -> None:
    """A level line for each, with its label below, where no curve can be, and beside the objective; curves that lost
    the same share have one label."""
    left, right = axes.get_xlim()
    place = axes.transAxes.inverted().transform(axes.transData.transform(((objective_ns or 0.0) / 1e6, 1)))[0]
    end = float(place) if objective_ns is not None and 0.8 < place <= 1 else 1.0
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    free, labels = 1.0, [_said(floor) for _, floor in floors]
    for number, floor in sorted(floors, key=lambda each: -each[1]):
        colour, label = look(None, number)["color"], _said(floor)
        axes.plot([left, right], [floor, floor], color=colour, lw=1.0, ls=(0, (1, 1.6)), zorder=2, clip_on=False)
        if label not in labels:
            continue
        at = min((math.log10(floor) - low) / (high - low) - 0.01, free)
        free = at - _LABEL
        colour = INK if labels.count(label) > 1 else colour
        axes.text(end, at, label, transform=axes.transAxes, color=colour, ha="right", va="top")
        labels = [each for each in labels if each != label]


def _said(floor: float) -> str:
    return f"{100 * floor:.3g} % lost "


@dataclass(frozen=True, slots=True)
class Flows:
    """A value of each of n flows in one direction, and which of them are hit."""

    name: str
    y: npt.NDArray[np.float64]
    hit: npt.NDArray[np.bool_]
    word: str = "hit"
    """What is said of those."""


def flows(groups: Sequence[Flows], unit: str, salt: str) -> Markup:
    """A mark for each flow, sorted by its value: hollow if it fares as most do, filled and dark if it is hit."""
    with style(salt):
        names = [name for one in groups for name in (one.name, f"{one.name}, {one.word}")[: 1 + bool(one.hit.any())]]
        figure, axes = axes_of(names, unit)
        for number, group in enumerate(groups):
            order = np.argsort(group.y, kind="stable")
            x, y, hit = np.arange(1, len(order) + 1), group.y[order], group.hit[order]
            mark, colour = (("o", FORTH), ("s", BACK))[number % 2]
            drawn = {"marker": mark, "ls": "", "ms": 3.6, "clip_on": False, "zorder": 3}
            axes.plot(x[~hit], y[~hit], mfc="none", mec=colour, mew=0.9, label=group.name, **drawn)
            if hit.any():
                axes.plot(x[hit], y[hit], mfc=LOST, mec=LOST, label=f"{group.name}, {group.word}", **drawn)
        every = np.concatenate([group.y for group in groups])
        low, high = min(float(every.min()), 0.0), float(every.max())
        room = 0.06 * (high - low) or 1.0
        axes.set_ylim(low - (room if low < 0 else 0), high + room)
        axes.set_xlim(0, max(len(group.y) for group in groups) + 1)
        axes.set_xlabel("flows, sorted by their value")
        finish(axes, unit)
        return svg(figure)
