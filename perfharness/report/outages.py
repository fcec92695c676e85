"""The picture of a failover test: when each flow was cut off, what was done, and what routers said, on one UTC axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from perfharness.model import Direction, Series
from perfharness.report.drawing import FOOT_IN, INK, LOST, MUTED, THIRD, axes_of, finish, look, style, svg, time_axis

ROW_IN = 0.16
_NAMES_IN = 1.5
"""Room for the names of the rows."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: a flow, with the times (s since the start) in which it was cut off."""

    name: str
    direction: Direction
    outages: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at x, s since the start, at a router."""

    row: str
    x: float


def timeline(
    bars: Sequence[Bar],
    marks: Sequence[Mark],
    acts: Sequence[tuple[str, float, float]],
    span: tuple[int, float],
    salt: str,
) -> Markup:
    """``acts``: (name, begin, end); ``span``: (start in ns since the epoch, length in s)."""
    start_ns, length_s = span
    routers = list(dict.fromkeys(mark.row for mark in marks))
    rows = len(bars) + len(routers)
    with style(salt):
        legend = ["flow there", "cut off", *["router changed"] * bool(marks), *[name for name, *_ in acts]]
        figure, axes = axes_of(legend, "", FOOT_IN + 0.45 + rows * ROW_IN)
        box = axes.get_position()
        left = _NAMES_IN / figure.get_figwidth()
        axes.set_position((left, box.y0, box.x1 - left, box.height))
        axes.grid(visible=False)
        for at, bar in enumerate(bars):
            drawn = look(bar.direction, 0)
            axes.plot([0, length_s], [at, at], color=drawn["color"], lw=1.0, label="" if at else "flow there", zorder=2)
            for number, (begin, end) in enumerate(bar.outages):
                name = "cut off" if number == 0 and not any(other.outages for other in bars[:at]) else ""
                axes.plot([begin, end], [at, at], color=LOST, lw=5, solid_capstyle="butt", label=name, zorder=3)
        for number, mark in enumerate(marks):
            at = len(bars) + routers.index(mark.row)
            name = "" if number else "router changed"
            axes.plot([mark.x], [at], color=THIRD, marker="d", ms=4, ls="none", label=name, zorder=4)
        for number, (name, begin, end) in enumerate(acts):
            axes.axvspan(begin, end, color=MUTED, alpha=0.25, lw=0)
            axes.axvline(begin, color=INK, lw=1.0, ls=("-", (0, (4, 1.6)))[number % 2], label=name, zorder=1.5)
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_yticks(range(rows), [*(bar.name for bar in bars), *routers])
        ends = np.array([0.0, length_s])
        time_axis(axes, [Series("", ends, ends, "", "", start_ns=start_ns)])
        finish(axes, "")
        return svg(figure)
