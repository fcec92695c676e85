"""A YAML file as plain data, with the line on which each value stands.

Only the shape of YAML is used: mappings, lists and scalars. Every scalar stays the text that was
written, for the field it fills to interpret: a circuit number ``0012`` keeps its zeros, a country
``NO`` stays a country, and no tag can make an object. An empty value and ``null`` are ``None``.
Anchors, aliases, tags, deep nesting and very large files are refused, so no file can harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from perfharness.errors import BadInput, Problem

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and list positions that lead to a value, e.g. ``("vbrs", 0, "vlan")``."""

MOST_BYTES = 1 << 18
MOST_VALUES = 20_000
MOST_LEVELS = 20
"""Far above any real order; keeps time and memory small for a hostile one."""
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_PLAIN = "Write the value out; only mappings, lists and plain values are read."


@dataclass(frozen=True, slots=True)
class Document:
    """``data`` holds ``dict``, ``list``, ``str`` and ``None`` only; lines count from 1."""

    file: str
    """As the user named it."""
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]

    @property
    def folder(self) -> Path:
        """What relative paths in the file are relative to."""
        return Path(self.file).parent

    def line_of(self, path: KeyPath) -> int:
        """The line of this value, or of the nearest thing around it that stands in the file."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 0)

    def at(self, path: KeyPath) -> Any:
        """The value there; None when there is none."""
        value: Any = self.data
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def problem(self, path: KeyPath, message: str, remedy: str = "", row: str = "") -> Problem:
        return Problem(self.file, self.line_of(path), message, remedy, row)


def load(path: str | Path) -> Document:
    """Read a file of at most 256 KiB. Raises BadInput."""
    file = str(path)
    try:
        if not Path(path).is_file():
            known = Path(path).exists()
            raise _bad(file, 0, "This is not a regular file." if known else "There is no such file.")
        with Path(path).open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _bad(file, 0, f"The file cannot be read: {reason}.") from None
    return parse(raw, file)


def parse(raw: bytes, file: str) -> Document:
    """The document in these bytes. Raises BadInput: one problem of syntax, or all duplicate keys."""
    if len(raw) > MOST_BYTES:
        raise _bad(file, 0, "The file is larger than 256 KiB.", "No order needs that: is it the right file?")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _bad(file, line, "This is not UTF-8 text.", "Save the file as UTF-8.") from None
    reader = _Reader(file)
    try:
        data = reader.read(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(error.problem or error.context or "syntax error").split())
        raise _bad(
            file,
            mark.line + 1 if mark else 0,
            f"This is not YAML: {what}.",
            "Check indentation, colons and quotes.",
        ) from None
    except ReaderError as error:
        said = f"The character {chr(error.character)!r} cannot stand in YAML."
        raise _bad(file, text.count("\n", 0, error.position) + 1, said, "Is it a text file? Remove it.") from None
    except (YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, AssertionError):
        # The scanner's own slips on malformed escapes and directives; whatever it was, it is no order.
        raise _bad(file, 0, "This is not YAML: it holds characters that cannot be read.") from None
    if not isinstance(data, dict):
        said = "The file is empty." if data is None else "The file must be a mapping: lines of `key: value`."
        raise _bad(file, 0 if data is None else 1, said, "`perfharness init DIR` writes an example to fill in.")
    if reader.problems:
        raise BadInput(reader.problems)
    return Document(file, data, reader.lines)


@dataclass(slots=True)
class _Reader:
    """Builds the data from the parser's events: no resolver, no constructor, bounded recursion."""

    file: str
    lines: dict[KeyPath, int] = field(default_factory=lambda: {(): 1})
    problems: list[Problem] = field(default_factory=list)
    values: int = 0

    def read(self, text: str) -> Any:
        events = self._counted(YAML(typ="safe", pure=True).parse(text))
        data = None
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._refuse(event, "A second document (`---`) begins here.", "Write one file for each.")
            elif isinstance(event, NodeEvent):
                data = self._value(event, events, ())
        return data

    def _counted(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            if isinstance(event, NodeEvent):
                self.values += 1
                if self.values > MOST_VALUES:
                    raise self._refuse(event, f"The file holds more than {MOST_VALUES} values.")
                if isinstance(event, AliasEvent) or event.anchor:
                    raise self._refuse(event, "Anchors and aliases (`&name`, `*name`) are not read.", _PLAIN)
                if getattr(event, "tag", None):
                    raise self._refuse(event, "Tags (`!name`) are not read.", _PLAIN)
            yield event

    def _value(self, event: Event, events: Iterator[Event], path: KeyPath) -> Any:
        if len(path) > MOST_LEVELS:
            raise self._refuse(event, f"More than {MOST_LEVELS} levels are nested here.")
        self.lines.setdefault(path, event.start_mark.line + 1)
        if isinstance(event, MappingStartEvent):
            return self._mapping(events, path)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(events, path)
        return self._scalar(event)

    def _mapping(self, events: Iterator[Event], path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(events), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise self._refuse(event, "A key must be a word, not a list or a mapping.")
            key = str(event.value)
            here = (*path, key)
            line = event.start_mark.line + 1
            if key in mapping:
                first = self.lines[here]
                said = f"The key {key!r} is written twice, first in line {first}."
                self.problems.append(Problem(self.file, line, said, "Keep one of the two."))
                self._value(next(events), events, (*here, "second"))
                continue
            self.lines[here] = line
            mapping[key] = self._value(next(events), events, here)
        return mapping

    def _sequence(self, events: Iterator[Event], path: KeyPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(events), SequenceEndEvent):
            items.append(self._value(event, events, (*path, len(items))))
        return items

    @staticmethod
    def _scalar(event: Any) -> str | None:
        plain = event.style is None or event.style == ""
        return None if plain and event.value in _NULLS else str(event.value)

    def _refuse(self, event: Event, message: str, remedy: str = "") -> BadInput:
        return _bad(self.file, event.start_mark.line + 1, message, remedy)


def _bad(file: str, line: int, message: str, remedy: str = "") -> BadInput:
    return BadInput([Problem(file, line, message, remedy)])
