"""What a section is made of. Sections say *what* is shown, ``templates/blocks.html`` says how.

All text is plain and is escaped by the template; only charts (made by ``charts`` and ``shares``) are markup.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from perfharness.model import Verdict


@dataclass(frozen=True, slots=True)
class Ref:
    """``E12``: the entry of the evidence index for a path. ``number`` is None for a file not indexed."""

    number: int | None
    path: str


@dataclass(frozen=True, slots=True)
class Link:
    """Leads to another place of this page."""

    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table or one value of a list of facts."""

    text: str
    sub: str = ""
    """A second, quieter line."""
    kind: str = ""
    """``num`` aligned to the right, ``code`` in a monospaced face, ``head`` names the row."""
    verdict: Verdict | None = None
    """Shown as symbol and word instead of ``text``."""
    refs: tuple[Ref, ...] = ()
    """Links to the evidence index, after the text."""
    links: tuple[Link, ...] = ()
    """Each in a line of its own, after the text."""
    anchor: str = ""
    file: str = ""
    """A file beside this page that the text opens."""


@dataclass(frozen=True, slots=True)
class Row:
    cells: tuple[Cell, ...]
    note: str = ""
    """A sentence in a line of its own under the row."""
    tone: str = ""
    group: str = ""
    """A heading above the row, printed when it differs from the row before."""


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[str, ...]
    """Column heads; ``>`` at the start aligns the column to the right."""
    rows: tuple[Row, ...]
    widths: tuple[float, ...] = ()
    """Percent of each column; empty = as the text needs."""
    caption: str = ""
    small: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values side by side."""

    pairs: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True, slots=True)
class Para:
    text: str
    kind: str = ""
    """``lead``, ``note`` (quiet) or ``absent`` (what this section lacks)."""


@dataclass(frozen=True, slots=True)
class Points:
    """A list; an item of two parts has its first in bold."""

    items: tuple[str | tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sub:
    """A heading within the section."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Commands, each in a line of its own."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    svg: Markup
    title: str
    caption: str
    """What the reader sees, in words: also the text for those who do not see the picture."""
    alt: str = ""
    """... instead of it, where there is more to tell."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of verdicts, large."""

    counts: tuple[tuple[Verdict, int, str], ...]


@dataclass(frozen=True, slots=True)
class Card:
    """A diagnosis: head, facts, what speaks for it and against."""

    title: str
    tag: str
    pairs: tuple[tuple[str, str], ...]
    lists: tuple[tuple[str, tuple[str, ...]], ...]
    links: tuple[Link, ...] = ()
    """To the rows that it rests on."""


Block = Table | Facts | Para | Points | Sub | Code | Chart | Tally | Card


@dataclass(frozen=True, slots=True)
class Section:
    """One numbered part of the report."""

    id: str
    title: str
    blocks: tuple[Block, ...]


def absent(text: str) -> tuple[Block, ...]:
    """A section without data says so in one line."""
    return (Para(text, "absent"),)
