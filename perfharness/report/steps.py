"""A service's load over time: its rate with the steps that were offered, and below it what was lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from perfharness.report import text
from perfharness.report.drawing import (
    BAND,
    DASH_DOT,
    INK,
    LOST,
    MUTED,
    Line,
    axes_of,
    finish,
    look,
    style,
    svg,
    time_axis,
)

LOSS_SHARE = 0.22
"""Of the picture's height without margins, for losses."""
GAP = 0.13
_DOTTED = (0, (1, 1.6))


@dataclass(frozen=True, slots=True)
class Span:
    """A step, s since the series began."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate to draw a line at."""

    name: str
    bps: float


def rates(
    lines: Sequence[Line], lost: Sequence[Line], spans: Sequence[Span], limits: Sequence[Limit], layer: str, salt: str
) -> Markup:
    """Rates at ``layer``; each limit a line of its own dash, each step a shaded span with its name, losses in percent
    below."""
    with style(salt):
        names = [*(line.name for line in lines), *(limit.name for limit in limits)]
        figure, axes = axes_of(names, "Gbit/s, L2+FCS", height_in=2.9)
        below = _below(figure, axes)
        top = max([float(line.series.y.max()) for line in lines] + [limit.bps for limit in limits]) or 1.0
        scale, prefix = next(((s, p) for s, p in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if top >= s), (1.0, ""))
        for span in spans:
            for one in (axes, below):
                one.axvspan(span.start, span.end, facecolor=BAND, edgecolor="none", alpha=0.35, zorder=1)
            middle = (span.start + span.end) / 2
            place = axes.get_xaxis_transform()
            axes.text(middle, 0.03, span.name, transform=place, color=INK, ha="center", va="bottom", zorder=4)
        for number, line in enumerate(lines):
            drawn = look(line.series.direction if len(lines) == 1 else None, number)
            axes.plot(line.series.x, line.series.y / scale, label=line.name, clip_on=False, zorder=3, **drawn)
        for limit, dash in zip(limits, (DASH_DOT, _DOTTED), strict=False):
            axes.axhline(limit.bps / scale, color=INK, lw=1.0, ls=dash, label=limit.name, zorder=2, clip_on=False)
        axes.set_ylim(0, top / scale * 1.1)
        _losses(below, lost)
        time_axis(below, [line.series for line in lines])
        axes.set_xlim(below.get_xlim())
        axes.set_xticks([])
        axes.set_xlabel(below.get_xlabel())
        below.set_xlabel("")
        finish(axes, f"{prefix}bit/s, {layer}")
        return svg(figure)


def _below(figure: Any, axes: Any) -> Any:
    """Axes for the losses under those of the rates, which become smaller."""
    left, low, width, height = axes.get_position().bounds
    below = figure.add_axes((left, low, width, height * LOSS_SHARE))
    axes.set_position((left, low + height * (LOSS_SHARE + GAP), width, height * (1 - LOSS_SHARE - GAP)))
    below.patch.set_visible(False)
    for side in ("top", "right", "left"):
        below.spines[side].set_visible(False)
    below.grid(axis="y", clip_on=False)
    below.set_axisbelow(True)
    tall = low + height * (LOSS_SHARE + 0.45 * GAP)
    figure.text(0.0, tall, "% lost", color=MUTED, ha="left", va="center")
    return below


def _losses(axes: Any, lost: Sequence[Line]) -> None:
    """In percent, each service with its own dash; the axis tells even where nothing was lost."""
    most = max((100 * float(line.series.y.max()) for line in lost), default=0.0)
    for number, line in enumerate(lost):
        drawn = {**look(None, number), "lw": 1.1, "color": LOST if len(lost) == 1 else look(None, number)["color"]}
        axes.plot(line.series.x, 100 * line.series.y, clip_on=False, zorder=3, **drawn)
    high = 1.1 * max(most, 1.0)
    axes.set_ylim(0, high)
    axes.set_yticks([0, high / 1.1], ["0", text.digits(high / 1.1, 2)])
