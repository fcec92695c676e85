"""The picture of a train through a meter: bytes over time, and the line of rate and bucket."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from perfharness.model import Series
from perfharness.report.drawing import DASH_DOT, INK, MUTED, axes_of, finish, look, style, svg

FITTED = "rate and bucket"


def train(curves: Sequence[Series], salt: str) -> Markup:
    """Bytes sent, arrived, and the line through what arrived once the bucket was empty; x in ms since its first."""
    with style(salt):
        unit = "MB since the first packet"
        figure, axes = axes_of([curve.label for curve in curves], unit)
        for curve in curves:
            drawn = (
                {"color": INK, "lw": 1.0, "ls": DASH_DOT}
                if curve.label == FITTED
                else {"color": MUTED, "lw": 1.0, "ls": (0, (1.2, 1.4))}
                if curve.label == "sent"
                else look(curve.direction, 0)
            )
            axes.plot(curve.x, curve.y / 1e6, label=curve.label, clip_on=False, **drawn)
        axes.set_xlim(0, max(float(curve.x.max()) for curve in curves))
        axes.set_ylim(0, max(float(curve.y.max()) for curve in curves) / 1e6 * 1.05)
        axes.set_xlabel("ms since the first packet")
        finish(axes, unit)
        return svg(figure)
