"""The path as a picture: stations and what lies between them, and where it is broken, by shape and word.

Drawn twice, lying for a page and standing for a narrow screen, of which the style sheet shows one.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from markupsafe import Markup, escape

from perfharness.judge.weighing import UNKNOWN
from perfharness.model import Diagnosis, Segment
from perfharness.report import words
from perfharness.report.drawing import FONTS, INK, LOST, MUTED
from perfharness.report.stretches import BETWEEN, Stretch

WORDS = {"proven": "broken", "likely": "likely here", "possible": "possibly here"}
BETWEEN_HOSTS = "somewhere between the hosts"
SIZE, LINE = 13, 17
STATION, LINK, HIGH = 158, 118, 46
"""Width of a station and of a link in the lying picture, and height of a station."""
WIDE = 4 * STATION + 3 * LINK + 4
NARROW = 340
LETTER = 6.9
"""Width of a letter, guessed: no font is asked, so nothing moves."""
MOST = 4
"""Causes that are named at one place."""


def draw(stretches: Sequence[Stretch], between: Sequence[Diagnosis], through: Sequence[str]) -> Markup:
    return Markup(_lying(stretches, between, through) + _standing(stretches, between, through))


def marked(rows: Sequence[Diagnosis]) -> list[str]:
    """What stands at a place that is marked: how sure, and the causes; the first is the most certain."""
    unique = list(dict.fromkeys(map(_marked, rows)))
    return unique[:MOST] + ([f"and {len(unique) - MOST} more"] if len(unique) > MOST else [])


def _marked(row: Diagnosis) -> str:
    if row.cause == UNKNOWN:
        return f"cause not known: {', '.join(row.checklist) or 'see the diagnosis'}"
    sure = row.certainty if row.segment is Segment.BETWEEN else WORDS.get(row.certainty, row.certainty)
    return f"{sure}: {words.cause(row.cause)}"


def _lying(stretches: Sequence[Stretch], between: Sequence[Diagnosis], through: Sequence[str]) -> str:
    labels = [_wrapped(marked(each.wrong), STATION if each.station else LINK) for each in stretches]
    above = _wrapped([BETWEEN_HOSTS, *marked(between)], WIDE - 2 * STATION) if between else []
    y = LINE * len(above) + (34 if between else 0)  # the bracket has its labels above it
    top = y + LINE * max(map(len, labels)) + 12
    middle, x, parts, deep, ends = top + HIGH / 2, 2.0, [], 0, {}
    for each, label in zip(stretches, labels, strict=True):
        width = STATION if each.station else LINK
        centre = x + width / 2
        ends[each.segment] = (x, x + width)
        parts += [
            _text(centre, top - 10 - LINE * (len(label) - 1 - n), line, LOST, bold=True) for n, line in enumerate(label)
        ]
        parts += _station(x, top, width, each) if each.station else _link(x, middle, width, each)
        facts = _wrapped(each.facts, width - 6)
        below = top + HIGH + 22
        parts += [_text(centre, below + LINE * n, line, INK if n == 0 else MUTED) for n, line in enumerate(facts)]
        deep, x = max(deep, len(facts)), x + width
    if between:
        left, right = ends[BETWEEN[0]][0] + 4, ends[BETWEEN[-1]][1] - 4
        parts += _bracket(left, right, LINE * len(above) + 8, between)
        parts += [_text((left + right) / 2, 14 + LINE * n, line, LOST, bold=True) for n, line in enumerate(above)]
    foot = top + HIGH + 34 + LINE * deep
    parts += [_text(WIDE / 2, foot + LINE * n, line, INK) for n, line in enumerate(through)]
    return _svg("lying", WIDE, foot + LINE * len(through), parts)


def _station(x: float, top: float, width: float, of: Stretch) -> list[str]:
    bad = bool(of.wrong)
    edge = f"stroke: {LOST}; stroke-width: 3.5" if bad else f"stroke: {INK}; stroke-width: 1.4"
    box = f'<rect x="{x:g}" y="{top:g}" width="{width}" height="{HIGH}" rx="4" style="fill: none; {edge}"/>'
    middle = top + HIGH / 2
    found = [box, _text(x + width / 2 + (11 if bad else 0), middle + 5, of.name, INK, bold=True)]
    return found + (_mark(x + 15, middle, of.wrong) if bad else [])


def _link(x: float, y: float, width: float, of: Stretch) -> list[str]:
    """A line, double for the circuit; where it is broken there is a gap with the mark in it."""
    gap = 15 if of.wrong else 0
    colour = LOST if of.wrong else INK
    rows = (-3, 3) if of.name == "Carrier" else (0,)
    centre = x + width / 2
    pieces = ((x, centre - gap), (centre + gap, x + width)) if gap else ((x, x + width),)
    found = [_line(a, y + dy, b, y + dy, colour, 1.6) for dy in rows for a, b in pieces]
    found += [_text(centre, y - 13 - (4 if gap else 0), of.name, INK, bold=True)]
    return found + (_mark(centre, y, of.wrong) if gap else [])


def _standing(stretches: Sequence[Stretch], between: Sequence[Diagnosis], through: Sequence[str]) -> str:
    parts: list[str] = []
    spine, left, y = 30.0, 56.0, 0.0
    ends: dict[object, tuple[float, float]] = {}
    for line in _wrapped([BETWEEN_HOSTS, *marked(between)], NARROW - 10) if between else ():
        y += LINE
        parts.append(_text(NARROW, y, line, LOST, bold=True, anchor="end"))
    y += 12
    for each in stretches:
        lines = [(each.name, INK, True)]
        lines += [(line, LOST, True) for line in _wrapped(marked(each.wrong), NARROW - left - 14)]
        lines += [(line, MUTED, False) for line in _wrapped(each.facts, NARROW - left - 14)]
        begin, y = y, y + LINE * len(lines) + 12
        ends[each.segment] = (begin, y)
        parts += [_text(left, begin + 15 + LINE * n, *line, anchor="start") for n, line in enumerate(lines)]
        parts += _standing_place(spine, begin, y, each)
    if between:
        begin, end = ends[BETWEEN[0]][0] + 4, ends[BETWEEN[-1]][1] - 4
        x, middle = NARROW - 11, (begin + end) / 2
        halves = (f"M {x - 9} {begin:g} H {x} V {middle - 15:g}", f"M {x - 9} {end:g} H {x} V {middle + 15:g}")
        parts += [*(_path(half, LOST, 2.5) for half in halves), *_mark(x, middle, between)]
    y += 8
    for line in _wrapped(through, NARROW):
        y += LINE
        parts.append(_text(0, y, line, INK, anchor="start"))
    return _svg("standing", NARROW, y + 6, parts)


def _standing_place(x: float, begin: float, end: float, of: Stretch) -> list[str]:
    """A box for a station and a line for a link, on the spine at the left."""
    bad = bool(of.wrong)
    colour = LOST if bad else INK
    if of.station:
        weight = 3.5 if bad else 1.4
        box = f'<rect x="{x - 13:g}" y="{begin:g}" width="26" height="26" rx="3" '
        box += f'style="fill: none; stroke: {colour}; stroke-width: {weight}"/>'
        after = [] if of.segment is Segment.HOST_Z else [_line(x, begin + 26, x, end, INK, 1.6)]
        return [box, *after, *(_mark(x, begin + 13, of.wrong) if bad else [])]
    middle, gap = (begin + end) / 2, 15 if bad else 0
    pieces = ((begin, middle - gap), (middle + gap, end)) if gap else ((begin, end),)
    rows = (-3, 3) if of.name == "Carrier" else (0,)
    found = [_line(x + dx, a, x + dx, b, colour, 1.6) for dx in rows for a, b in pieces]
    return found + (_mark(x, middle, of.wrong) if gap else [])


def _bracket(left: float, right: float, y: float, between: Sequence[Diagnosis]) -> list[str]:
    """Over all that is not told apart, with the mark in a gap of it."""
    centre = (left + right) / 2
    halves = (
        f"M {left:g} {y + 20:g} V {y + 6:g} H {centre - 15:g}",
        f"M {right:g} {y + 20:g} V {y + 6:g} H {centre + 15:g}",
    )
    return [*(_path(half, LOST, 2.5) for half in halves), *_mark(centre, y + 6, between)]


def _mark(x: float, y: float, wrong: Sequence[Diagnosis]) -> list[str]:
    """A cross in a ring where something is proven, a question mark where it is not."""
    ring = f'<circle cx="{x:g}" cy="{y:g}" r="9" style="fill: none; stroke: {LOST}; stroke-width: 2"/>'
    if wrong[0].certainty != "proven":
        return [ring, _text(x, y + 4.5, "?", LOST, bold=True)]
    return [ring, _path(f"M {x - 4:g} {y - 4:g} l 8 8 m 0 -8 l -8 8", LOST, 2.5)]


def _wrapped(lines: Sequence[str], width: float) -> list[str]:
    return [part for line in lines for part in textwrap.wrap(line, max(8, int(width / LETTER)))]


def _text(x: float, y: float, said: str, colour: str, bold: bool = False, anchor: str = "middle") -> str:
    weight = "; font-weight: 600" if bold else ""
    look = f"font-family: {FONTS}; font-size: {SIZE}px{weight}; fill: {colour}"
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" style="{look}">{escape(said)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    return _path(f"M {x1:g} {y1:g} L {x2:g} {y2:g}", colour, width)


def _path(d: str, colour: str, width: float) -> str:
    return f'<path d="{d}" style="fill: none; stroke: {colour}; stroke-width: {width}"/>'


def _svg(name: str, width: float, height: float, parts: Sequence[str]) -> str:
    box = f"0 0 {width:g} {height + 4:g}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="{name}" viewBox="{box}" aria-hidden="true">'
    return head + "".join(parts) + "</svg>"
