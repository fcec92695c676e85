"""Pictures as inline SVG: deterministic, a few KB each, readable without colour and in the dark.

Text stays text (selectable, drawn with the reader's font). Colours are written into the SVG as those
of a light page; a dark page overrides them one by one through its style sheet (``PALETTE``).
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from perfharness.model import Direction, Series
from perfharness.report import text
from perfharness.report.downsample import COLUMNS, envelope, percentiles, thin

INK, MUTED, GRID = "#1c2733", "#5a6572", "#dde2e8"
FORTH, BACK, THIRD = "#1d5fa6", "#b3540e", "#5d4a8a"
LOST, BAND = "#a81e1e", "#a9c4e2"
PALETTE = {
    INK: "#e3e8ee",
    MUTED: "#9aa6b4",
    GRID: "#323c48",
    FORTH: "#6fb0f2",
    BACK: "#f0a058",
    THIRD: "#b6a3e8",
    LOST: "#ff7b72",
    BAND: "#2f4d6e",
}
"""Colour on a light page -> the same on a dark one."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.minor.size": 0,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "path.simplify": False,
}
_WIDTH_IN, _HEIGHT_IN = 7.1, 2.2
_LEFT_IN, _RIGHT_IN, _HEAD_IN, _FOOT_IN = 0.5, 0.08, 0.36, 0.42
_LETTER_IN, _ROW_IN = 0.062, 0.17
_LATER = "share later, or lost"
_DELAY_NAMES = ("least to most", "p50", "p99", "objective 000 ms (p99)", "lost")
_FONTS = "Noto Sans,DejaVu Sans,sans-serif"
"""Unquoted and without spaces: the PDF's SVG reader takes only the first family otherwise."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve to draw with its name in the legend."""

    series: Series
    name: str


@dataclass(frozen=True, slots=True)
class Flows:
    """A value of each of n flows in one direction, and which of them are hit."""

    name: str
    y: npt.NDArray[np.float64]
    hit: npt.NDArray[np.bool_]
    word: str = "hit"
    """What is said of those."""


def rates(lines: Sequence[Line], ordered_bps: float | None, ordered_name: str, layer: str, salt: str) -> Markup:
    """Rates over time, each direction; the ordered rate as a dash-dotted line, both at ``layer``."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure, axes = _axes([line.name for line in lines] + [ordered_name] * bool(ordered_bps), "Gbit/s, L2+FCS")
        top = max([float(np.nanmax(line.series.y)) for line in lines] + [ordered_bps or 0.0]) or 1.0
        scale, prefix = next(((s, p) for s, p in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if top >= s), (1.0, ""))
        for number, line in enumerate(lines):
            look = _look(line.series.direction, number)
            x, y = line.series.x, line.series.y / scale
            if x.size > COLUMNS:
                band = envelope(x, y)
                _band(axes, band.x, band.low, band.high, look["color"], 0.25)
                spans = percentiles(x, y)
                axes.stairs(spans.p50, spans.edges, baseline=None, clip_on=False, label=line.name, zorder=3, **look)
            else:
                mark = {"marker": "o" if number % 2 == 0 else "s", "ms": 2.4} if x.size <= 90 else {}
                axes.plot(x, y, clip_on=False, label=line.name, **look, **mark)
        if ordered_bps:
            axes.axhline(
                ordered_bps / scale,
                color=INK,
                lw=1.0,
                ls=(0, (7, 2, 1.5, 2)),
                clip_on=False,
                label=ordered_name,
                zorder=1.8,
            )
        axes.set_ylim(0, top / scale * 1.08)
        _time_axis(axes, [line.series for line in lines])
        _finish(axes, f"{prefix}bit/s, {layer}")
        return _svg(figure)


def delays(delay: Series, lost: Sequence[Series], objective_ns: float | None, salt: str) -> Markup:
    """One stream's delay over time: envelope, p50 and p99 of each span, a mark for each loss."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure, axes = _axes(_DELAY_NAMES, "ms, logarithmic")
        x, y = delay.x, delay.y / 1e6
        band, spans = envelope(x, y), percentiles(x, y)
        if band.x.size:
            _band(axes, band.x, band.low, band.high, BAND, 1.0, "least to most")
        axes.stairs(spans.p50, spans.edges, baseline=None, color=FORTH, lw=1.3, label="p50", clip_on=False, zorder=3)
        axes.stairs(
            spans.p99,
            spans.edges,
            baseline=None,
            color=BACK,
            lw=1.1,
            ls=(0, (4, 1.6)),
            label="p99",
            clip_on=False,
            zorder=3,
        )
        logarithmic = _delay_scale(axes, band.low, band.high)
        bottom, top = axes.get_ylim()
        if objective_ns is not None and objective_ns / 1e6 <= top * 3:
            top = max(top, objective_ns / 1e6 * (1.15 if logarithmic else 1.05))
            axes.axhline(
                objective_ns / 1e6,
                color=INK,
                lw=1.0,
                ls=(0, (7, 2, 1.5, 2)),
                clip_on=False,
                label=f"objective {text.delay(objective_ns)} (p99)",
            )
        axes.set_ylim(bottom, top)
        _loss_marks(axes, delay, lost)
        _time_axis(axes, [delay])
        _finish(axes, "ms, logarithmic" if logarithmic else "ms")
        return _svg(figure)


def distributions(lines: Sequence[Line], objective_ns: float | None, salt: str) -> Markup:
    """Share of packets later than x (or lost), both axes logarithmic where the range asks for it."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        named = f"objective {text.delay(objective_ns)} (p99)" if objective_ns is not None else ""
        figure, axes = _axes([line.name for line in lines] + [named] * bool(named), _LATER, height_in=2.35)
        least, low, high = 1.0, math.inf, 0.0
        for number, line in enumerate(lines):
            shown = np.isfinite(line.series.x) & (line.series.y > 0)
            if not shown.any():
                continue
            x, y = thin(line.series.x[shown] / 1e6, line.series.y[shown])
            axes.step(x, y, where="post", clip_on=False, label=line.name, **_look(None, number))
            least, low, high = min(least, float(y.min())), min(low, float(x.min())), max(high, float(x.max()))
        bottom = 10 ** math.floor(math.log10(least) + 1e-9)
        axes.set_yscale("log")
        axes.set_ylim(min(bottom, 0.1), 1)
        if objective_ns is not None and high and objective_ns / 1e6 <= high * 5:
            axes.axvline(objective_ns / 1e6, color=INK, lw=1.0, ls=(0, (7, 2, 1.5, 2)), clip_on=False, label=named)
            high = max(high, objective_ns / 1e6)
        if high > 10 * low > 0:
            axes.set_xscale("log")
            axes.set_xlim(low / 1.05, high * 1.1)
            _plain_ticks(axes.xaxis, low, high)
        elif high:
            axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low) or 1)
        ticks = [10.0**power for power in range(math.floor(math.log10(min(bottom, 0.1))), 1)]
        names = {1.0: "all", 0.1: "10 %", 0.01: "1 %", 0.001: "0.1 %"}
        axes.set_yticks(ticks, [names.get(round(tick, 6), text.ratio(tick)) for tick in ticks])
        axes.set_yticks([], minor=True)
        axes.set_xlabel("ms")
        _finish(axes, _LATER)
        return _svg(figure)


def flows(groups: Sequence[Flows], unit: str, salt: str) -> Markup:
    """A mark for each flow, sorted by its value: hollow if it fares as most do, filled and dark if it is hit."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        names = [name for one in groups for name in (one.name, f"{one.name}, {one.word}")[: 1 + bool(one.hit.any())]]
        figure, axes = _axes(names, unit)
        for number, group in enumerate(groups):
            order = np.argsort(group.y, kind="stable")
            x, y, hit = np.arange(1, len(order) + 1), group.y[order], group.hit[order]
            mark, colour = (("o", FORTH), ("s", BACK))[number % 2]
            look = {"marker": mark, "ls": "", "ms": 3.6, "clip_on": False, "zorder": 3}
            axes.plot(x[~hit], y[~hit], mfc="none", mec=colour, mew=0.9, label=group.name, **look)
            if hit.any():
                axes.plot(x[hit], y[hit], mfc=LOST, mec=LOST, label=f"{group.name}, {group.word}", **look)
        every = np.concatenate([group.y for group in groups])
        low, high = min(float(every.min()), 0.0), float(every.max())
        room = 0.06 * (high - low) or 1.0
        axes.set_ylim(low - (room if low < 0 else 0), high + room)
        axes.set_xlim(0, max(len(group.y) for group in groups) + 1)
        axes.set_xlabel("flows, sorted by their value")
        _finish(axes, unit)
        return _svg(figure)


def _axes(names: Sequence[str], unit: str, height_in: float = _HEIGHT_IN) -> tuple[Any, Any]:
    """Margins are fixed in inches, so that pictures under one another line up; a long legend gets more rows."""
    columns = _legend_columns(names, unit)
    head_in = _HEAD_IN + (math.ceil(len(names) / columns) - 1) * _ROW_IN
    height_in += head_in - _HEAD_IN
    figure = Figure(figsize=(_WIDTH_IN, height_in))
    low, head = _FOOT_IN / height_in, head_in / height_in
    axes = figure.add_axes((_LEFT_IN / _WIDTH_IN, low, 1 - (_LEFT_IN + _RIGHT_IN) / _WIDTH_IN, 1 - low - head))
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", clip_on=False)
    axes.set_axisbelow(True)
    return figure, axes


def _legend_columns(names: Sequence[str], unit: str) -> int:
    """As many as fit beside the unit, by a guess at the width of a letter: no font is asked, so nothing moves."""
    free = _WIDTH_IN - len(unit) * _LETTER_IN - 0.3
    for columns in range(len(names), 1, -1):
        longest = [max(map(len, part)) for part in np.array_split(np.asarray(names), columns)]
        if sum(longest) * _LETTER_IN + columns * 0.52 <= free:
            return columns
    return 1


def _look(direction: Direction | None, number: int) -> dict[str, Any]:
    """Colour *and* dash: two lines differ without colour too."""
    looks: list[dict[str, Any]] = [
        {"color": FORTH, "lw": 1.4, "ls": "-"},
        {"color": BACK, "lw": 1.4, "ls": (0, (4, 1.6))},
        {"color": THIRD, "lw": 1.4, "ls": (0, (1.2, 1.4))},
        {"color": INK, "lw": 1.2, "ls": (0, (8, 2))},
    ]
    if direction is Direction.A_Z:
        return looks[0]
    return looks[1] if direction is Direction.Z_A else looks[number % len(looks)]


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
        _plain_ticks(axes.yaxis, least / 1.3, most * 1.3)
        return True
    spread = most - least
    axes.set_ylim(0 if least < spread else max(0.0, least - 0.3 * spread), most + 0.08 * (spread or most) or 1)
    return False


def _plain_ticks(axis: Any, low: float, high: float) -> None:
    """1, 2, 5 steps with plain numbers on a logarithmic axis."""
    steps = (1, 2, 5) if high / low < 200 else (1,)
    ticks = [m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in steps]
    shown = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(shown, [f"{tick:.10g}" for tick in shown])
    axis.set_ticks([], minor=True)


def _loss_marks(axes: Any, delay: Series, lost: Sequence[Series]) -> None:
    """A cross on the ceiling of the picture wherever packets were lost; one for each column at most."""
    points = [series.x[series.y > 0] + (series.start_ns - delay.start_ns) / 1e9 for series in lost]
    counted = sum(int(series.y[series.y > 0].sum()) for series in lost)
    if not lost:
        points = [delay.x[~np.isfinite(delay.y)]]
        counted = int(points[0].size)
    x = np.concatenate(points) if points else np.empty(0)
    if not x.size:
        return
    width = max(float(np.ptp(delay.x)) / COLUMNS, 1e-9)
    x = np.unique(np.round(x / width)) * width
    axes.plot(
        x,
        np.full(x.size, 1.0),
        "x",
        transform=axes.get_xaxis_transform(),
        color=LOST,
        ms=4,
        mew=1.1,
        clip_on=False,
        label=f"lost ({text.count(counted)} packets)",
        zorder=4,
    )


def _time_axis(axes: Any, series: Sequence[Series]) -> None:
    start, end = min(float(s.x.min()) for s in series), max(float(s.x.max()) for s in series)
    axes.set_xlim(min(start, 0.0), end if end > start else start + 1)
    starts = {s.start_ns for s in series if s.start_ns}
    since = f"s since {text.moment(starts.pop(), '%H:%M:%S')} UTC" if len(starts) == 1 else "s since its own start"
    axes.set_xlabel(since)


def _finish(axes: Any, unit: str) -> None:
    """Unit at the top left, legend at the top right, the name of x at the bottom right."""
    figure = axes.figure
    tall = figure.get_figheight()
    head = axes.get_position().y1 + 0.55 * _HEAD_IN / tall
    figure.text(0.0, head, unit, color=MUTED, ha="left", va="center")
    figure.text(1 - _RIGHT_IN / _WIDTH_IN, 0.03 / tall, axes.get_xlabel(), color=MUTED, ha="right", va="bottom")
    axes.set_xlabel("")
    _, names = axes.get_legend_handles_labels()
    axes.legend(
        loc="lower right",
        ncols=_legend_columns(names, unit),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=2.4,
        columnspacing=1.6,
        handletextpad=0.5,
        bbox_transform=figure.transFigure,
        labelspacing=0.45,
        bbox_to_anchor=(1 - _RIGHT_IN / _WIDTH_IN, head - 0.06 / tall),
    )


def _svg(figure: Any) -> Markup:
    """The figure as an SVG element for a page: no header, no unused ids, short numbers, scalable."""
    stream = io.StringIO()
    # No bounding box is computed: text measured with a system's fonts must not move the picture.
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    raw = stream.getvalue()
    svg = raw[raw.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'href="#([\w.-]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'(?<=[ "(])-?\d+\.\d{3,}(?=[ ")])', lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", svg)
    svg = svg.replace("font-family: 'DejaVu Sans'", f"font-family: {_FONTS}")
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>',
        r'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        r'viewBox="\1" stroke-linejoin="round" aria-hidden="true">',
        svg,
        count=1,
    )
    # matplotlib escapes every text that it writes into an SVG.
    return Markup(svg)
