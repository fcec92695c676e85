"""A load over time: its rate, and in strips below it what was lost and the round trips of the probes beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from perfharness.report import charts, text
from perfharness.report.downsample import COLUMNS, envelope, percentiles
from perfharness.report.drawing import HEIGHT_IN, MUTED, Line, axes_of, finish, look, style, svg, time_axis

STRIP_IN, GAP_IN = 0.42, 0.3
"""Height of a strip, and of what lies above it."""


def over_time(
    rates: Sequence[Line],
    lost: Sequence[Line],
    trips: Sequence[Line],
    ordered_bps: float | None,
    ordered_name: str,
    layer: str,
    salt: str,
) -> Markup:
    """``lost``: shares; ``trips``: round trips in ns; both on the time of ``rates``, and each may be empty."""
    strips = [each for each in ((lost, _losses), (trips, _trips)) if each[0]]
    if not strips:
        return charts.rates(rates, ordered_bps, ordered_name, layer, salt)
    with style(salt):
        names = [line.name for line in rates] + [ordered_name] * bool(ordered_bps)
        tall = HEIGHT_IN + len(strips) * (STRIP_IN + GAP_IN)
        figure, axes = axes_of(names, "Gbit/s, L2+FCS", height_in=tall)
        prefix = charts.draw_rates(axes, rates, ordered_bps, ordered_name)
        below = _below(figure, axes, len(strips))
        for (lines, draw), strip in zip(strips, below, strict=True):
            draw(figure, strip, lines)
        time_axis(below[-1], [line.series for line in (*rates, *lost, *trips)])
        for one in (axes, *below[:-1]):
            one.set_xlim(below[-1].get_xlim())
            one.set_xticks([])
        axes.set_xlabel(below[-1].get_xlabel())
        below[-1].set_xlabel("")
        finish(axes, f"{prefix}bit/s, {layer}")
        return svg(figure)


def _below(figure: Any, axes: Any, count: int) -> list[Any]:
    """So many strips under the axes, which become smaller, the lowest one last."""
    left, low, width, height = axes.get_position().bounds
    tall = figure.get_figheight()
    strip, gap = STRIP_IN / tall, GAP_IN / tall
    axes.set_position((left, low + count * (strip + gap), width, height - count * (strip + gap)))
    found = []
    for number in reversed(range(count)):
        one = figure.add_axes((left, low + number * (strip + gap), width, strip))
        one.patch.set_visible(False)
        for side in ("top", "right", "left"):
            one.spines[side].set_visible(False)
        one.grid(axis="y", clip_on=False)
        one.set_axisbelow(True)
        found.append(one)
    return found


def _losses(figure: Any, axes: Any, lines: Sequence[Line]) -> None:
    """In percent; the axis tells even where nothing was lost."""
    for number, line in enumerate(lines):
        drawn = {**look(line.series.direction, number), "lw": 1.1}
        axes.plot(line.series.x, 100 * line.series.y, clip_on=False, zorder=3, **drawn)
    most = max(100 * float(line.series.y.max()) for line in lines)
    _unit(figure, axes, "% lost", max(most, 0.1))


def _trips(figure: Any, axes: Any, lines: Sequence[Line]) -> None:
    """Each probe or, of many, from the least to the most and the median; lost ones are left out."""
    most = 0.0
    for number, line in enumerate(lines):
        drawn = {**look(line.series.direction, number + 2), "lw": 1.0}  # of a load both ways: neither way's look
        x, y = line.series.x, line.series.y / 1e6
        arrived = np.isfinite(y)
        most = max(most, float(y[arrived].max(initial=0.0)))
        if x.size > COLUMNS:
            band, spans = envelope(x, y), percentiles(x, y)
            axes.fill_between(
                band.x, band.low, band.high, color=drawn["color"], alpha=0.25, lw=0.5, zorder=2, clip_on=False
            )
            axes.stairs(spans.p50, spans.edges, baseline=None, clip_on=False, zorder=3, **drawn)
        else:
            axes.plot(x[arrived], y[arrived], clip_on=False, zorder=3, **drawn)
    _unit(figure, axes, "ms, round trip of the probes", most or 1.0)


def _unit(figure: Any, axes: Any, unit: str, most: float) -> None:
    """From nothing to the most, and the unit above."""
    axes.set_ylim(0, 1.08 * most)
    axes.set_yticks([0, most], ["0", text.digits(most, 2)])
    figure.text(0.0, axes.get_position().y1 + 0.4 * GAP_IN / figure.get_figheight(), unit, color=MUTED, va="center")
