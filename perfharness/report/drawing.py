"""What all pictures share: inline SVG, deterministic, a few KB each, readable without colour and in the dark.

Text stays text (selectable, drawn with the reader's font). Colours are written into the SVG as those
of a light page; a dark page overrides them one by one through its style sheet (``PALETTE``).
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from perfharness.model import Direction, Series
from perfharness.report import text

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

STYLE: dict[Any, Any] = {
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
WIDTH_IN, HEIGHT_IN = 7.1, 2.2
LEFT_IN, RIGHT_IN, HEAD_IN, FOOT_IN = 0.5, 0.08, 0.36, 0.42
LETTER_IN, ROW_IN = 0.062, 0.17
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_MOST_TICKS = 10
_LONG = re.compile(r'(?<=[ "(])-?\d+\.\d{3,}(?=[ ")])')
DASH_DOT = (0, (7, 2, 1.5, 2))
"""How a limit is drawn: ordered rate, objective."""
FONTS = "Noto Sans,DejaVu Sans,sans-serif"
"""Unquoted and without spaces: the PDF's SVG reader takes only the first family otherwise."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve to draw with its name in the legend."""

    series: Series
    name: str


@contextmanager
def style(salt: str) -> Iterator[None]:
    """Everything is drawn within it; ``salt`` keeps the ids of the pictures of one page apart."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt}):
        yield


def axes_of(names: Sequence[str], unit: str, height_in: float = HEIGHT_IN) -> tuple[Any, Any]:
    """Margins are fixed in inches, so that pictures under one another line up; a long legend gets more rows."""
    columns = legend_columns(names, unit)
    head_in = HEAD_IN + (math.ceil(len(names) / columns) - 1) * ROW_IN
    height_in += head_in - HEAD_IN
    figure = Figure(figsize=(WIDTH_IN, height_in))
    low, head = FOOT_IN / height_in, head_in / height_in
    axes = figure.add_axes((LEFT_IN / WIDTH_IN, low, 1 - (LEFT_IN + RIGHT_IN) / WIDTH_IN, 1 - low - head))
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", clip_on=False)
    axes.set_axisbelow(True)
    return figure, axes


def legend_columns(names: Sequence[str], unit: str) -> int:
    """As many as fit beside the unit, by a guess at the width of a letter: no font is asked, so nothing moves."""
    free = WIDTH_IN - len(unit) * LETTER_IN - 0.3
    for columns in range(len(names), 1, -1):
        longest = [max(map(len, part)) for part in np.array_split(np.asarray(names), columns)]
        if sum(longest) * LETTER_IN + columns * 0.52 <= free:
            return columns
    return 1


def look(direction: Direction | None, number: int) -> dict[str, Any]:
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


def plain_ticks(axis: Any, low: float, high: float) -> None:
    """1, 2, 5 steps with plain numbers on a logarithmic axis."""
    steps = (1, 2, 5) if high / low < 200 else (1,)
    ticks = [m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in steps]
    shown = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(shown, [f"{tick:.10g}" for tick in shown])
    axis.set_ticks([], minor=True)


def time_axis(axes: Any, series: Sequence[Series]) -> None:
    """In UTC where all begin at one known moment, else in seconds."""
    start, end = min(float(s.x.min()) for s in series), max(float(s.x.max()) for s in series)
    start, end = min(start, 0.0), end if end > start else start + 1
    axes.set_xlim(start, end)
    starts = {s.start_ns for s in series if s.start_ns}
    if len(starts) != 1:
        axes.set_xlabel("s since its own start")
        return
    begin_ns = starts.pop()
    step = next((step for step in _STEPS_S if (end - start) / step <= _MOST_TICKS), 86_400 * math.ceil(end / 604_800))
    first = -(-(begin_ns + round(start * 1e9)) // (step * 10**9)) * step
    at = np.arange(first, begin_ns / 1e9 + end + 1e-6, step, dtype=np.int64)
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86_400 else "%m-%d"
    axes.set_xticks([int(one) - begin_ns / 1e9 for one in at], [text.moment(int(one) * 10**9, form) for one in at])
    for one, label in zip(at, axes.get_xticklabels(), strict=True):
        if int(one) - begin_ns / 1e9 > end - 0.03 * (end - start):
            label.set_ha("right")  # else it would stand out of the picture
    days = [text.moment(begin_ns + round(x * 1e9), "%Y-%m-%d") for x in (start, end)]
    axes.set_xlabel("UTC, " + " to ".join(dict.fromkeys(days)))


def finish(axes: Any, unit: str) -> None:
    """Unit at the top left, legend at the top right, the name of x at the bottom right."""
    figure = axes.figure
    tall = figure.get_figheight()
    head = axes.get_position().y1 + 0.55 * HEAD_IN / tall
    figure.text(0.0, head, unit, color=MUTED, ha="left", va="center")
    figure.text(1 - RIGHT_IN / WIDTH_IN, 0.03 / tall, axes.get_xlabel(), color=MUTED, ha="right", va="bottom")
    axes.set_xlabel("")
    _, names = axes.get_legend_handles_labels()
    axes.legend(
        loc="lower right",
        ncols=legend_columns(names, unit),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=2.4,
        columnspacing=1.6,
        handletextpad=0.5,
        bbox_transform=figure.transFigure,
        labelspacing=0.45,
        bbox_to_anchor=(1 - RIGHT_IN / WIDTH_IN, head - 0.06 / tall),
    )


def svg(figure: Any) -> Markup:
    """The figure as an SVG element for a page: no header, no unused ids, short numbers, scalable."""
    stream = io.StringIO()
    # No bounding box is computed: text measured with a system's fonts must not move the picture.
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    raw = stream.getvalue()
    svg = raw[raw.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'href="#([\w.-]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    # A mark takes its colours from where it is used, so that a dark page can override them there.
    svg = re.sub(r'(<path id="m[^>]*?) style="[^"]*"', r"\1", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: _LONG.sub(_short, tag[0]), svg)  # coordinates, never a number that is read
    svg = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", svg)
    svg = svg.replace("font-family: 'DejaVu Sans'", f"font-family: {FONTS}")
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


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
