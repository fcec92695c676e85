"""Pydantic's errors as sentences for the person who wrote the file: line, what is wrong, what to write."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from perfharness.errors import Problem
from perfharness.order.document import Document, KeyPath
from perfharness.order.units import duration_text, rate_text, size_text
from perfharness.order.wrong import KIND

M = TypeVar("M", bound=BaseModel)
_SENTENCES = {
    "missing": "{key!r} is missing.",
    "int_parsing": "{key!r}: {value} is not a whole number.",
    "int_parsing_size": "{key!r}: the number has too many digits.",
    "int_type": "{key!r}: {value} is not a whole number.",
    "float_parsing": "{key!r}: {value} is not a number.",
    "float_type": "{key!r}: {value} is not a number.",
    "greater_than": "{key!r}: {value} is not above {gt}.",
    "greater_than_equal": "{key!r}: {value} is below {ge}.",
    "less_than": "{key!r}: {value} is not below {lt}.",
    "less_than_equal": "{key!r}: {value} is above {le}.",
    "literal_error": "{key!r} cannot be {value}.",
    "enum": "{key!r} cannot be {value}.",
    "string_type": "{key!r} must be text.",
    "string_too_short": "{key!r} is still empty.",
    "string_pattern_mismatch": "{key!r}: {value} is not written as it must be.",
    "too_short": "{key!r} has too few items, {actual_length}.",
    "too_long": "{key!r} has too many items, {actual_length}.",
    "list_type": "{key!r} must be a list: lines of `- item`.",
    "tuple_type": "{key!r} must be a list: lines of `- item`.",
    # What was written is not repeated where someone may have put a secret: `md5: <the key>`.
    "bool_parsing": "{key!r} is neither true nor false.",
    "bool_type": "{key!r} is neither true nor false.",
    "dict_type": "{key!r} must be a mapping: lines of `key: value`.",
    "model_type": "{key!r} must be a mapping: lines of `key: value`.",
    "model_attributes_type": "{key!r} must be a mapping: lines of `key: value`.",
    KIND: "{message}",
}
_BOUNDS = frozenset(("greater_than", "greater_than_equal", "less_than", "less_than_equal"))
_UNITS = {"ns": duration_text, "bps": rate_text, "bytes": size_text}


class Strict(BaseModel):
    """Base of all that is read from a file: frozen, and no unknown key passes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def validate_mapping(
    model: type[M], data: Any, document: Document, path: KeyPath = (), known: Iterable[str] = ()
) -> tuple[M | None, list[Problem]]:
    """The model made of ``data``, which stands in the document at ``path``; or None and every problem.

    ``known``: keys that may stand beside the model's own, for "did you mean".
    """
    try:
        return model.model_validate(data, context={"folder": document.folder}), []
    except ValidationError as error:
        return None, problems_of(error, model, document, path, known)


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    document: Document,
    path: KeyPath = (),
    known: Iterable[str] = (),
) -> list[Problem]:
    """One problem for each error, in the order of their lines."""
    problems = []
    misspelt: set[KeyPath] = set()
    # Unknown keys first: a misspelt key explains why the right one is missing.
    details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")
    for detail in details:
        kind, loc = detail["type"], detail["loc"]
        fields = _fields_at(model, loc[:-1])
        if kind == "extra_forbidden":
            key, names = str(loc[-1]), [*fields, *(known if len(loc) == 1 else ())]
            close = _closest(key, names)
            misspelt.add((*loc[:-1], close))
            remedy = "" if close else f"Known here: {', '.join(names)}."
            problems.append(document.problem((*path, *loc), f"unknown key {key!r}{nearest(key, names)}", remedy))
        elif not _follows(detail) and not (kind == "missing" and loc in misspelt):
            problems.append(_explained(detail, fields, document, path))
    return sorted(dict.fromkeys(problems), key=lambda problem: problem.line)


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: `` — did you mean 'x'?`` or a full stop."""
    close = _closest(name, list(names))
    return f" — did you mean {close!r}?" if close else "."


def _closest(name: str, names: list[str]) -> str:
    return next(iter(difflib.get_close_matches(name.lower(), names, 1)), "")


def _follows(detail: ErrorDetails) -> bool:
    """Whether it only follows from another error: a list is not too short when its items are wrong."""
    too_short = detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]
    return too_short or detail["type"] == "default_factory_not_called"


class _Field(NamedTuple):
    attribute: str
    info: FieldInfo


def _explained(detail: ErrorDetails, fields: dict[str, _Field], document: Document, path: KeyPath) -> Problem:
    kind, context = detail["type"], detail.get("ctx", {})
    loc = tuple(part for part in detail["loc"] if part != "[key]")
    key = next((part for part in reversed(loc) if isinstance(part, str)), document.file)
    field = fields.get(key)
    if detail["input"] is None and kind != "missing":
        message = f"{key!r} is still empty."
    elif kind in _SENTENCES:
        written = _written(detail["input"], field)
        bounds = {name: _written(value, field) for name, value in context.items()} if kind in _BOUNDS else context
        message = _SENTENCES[kind].format(key=key, value=written, **bounds)
    else:
        message = f"{key!r}: {detail['msg']}."
    remedy = context.get("remedy") or (
        f"Write {context['expected']}." if "expected" in context else _example(key, field)
    )
    return document.problem((*path, *loc, *context.get("at", ())), message, remedy, context.get("row", ""))


def _written(value: Any, field: _Field | None) -> str:
    """A value as a person writes it: with its unit where the attribute's name ends in one."""
    if isinstance(value, (int, float)) and field is not None:
        suffix = field.attribute.rpartition("_")[2]
        return _UNITS[suffix](value) if suffix in _UNITS else str(value)
    if isinstance(value, (dict, list)):
        return "this"
    return textwrap.shorten(repr(value), 80, placeholder="…")


def _example(key: str, field: _Field | None) -> str:
    """What to write: the choices, or an example, else what the field is."""
    if field is None:
        return "Write it, or remove the line."
    info = field.info
    if get_origin(info.annotation) is Literal:
        return f"Write one of: {', '.join(map(str, get_args(info.annotation)))}."
    if info.annotation is bool:
        return "Write true or false."
    if info.examples:
        return f"Write for example `{key}: {info.examples[0]}`."
    return " ".join((info.description or "").split())


def _fields_at(model: type[BaseModel], loc: Iterable[str | int]) -> dict[str, _Field]:
    """The fields that may be written at this place, by the key under which they are written."""
    fields = _fields(model)
    for part in loc:
        inside = _models_in(fields[str(part)].info.annotation) if part in fields else []
        if inside:  # else it is a value, or the name of an entry
            fields = {key: field for each in inside for key, field in _fields(each).items()}
    return fields


def _fields(model: type[BaseModel]) -> dict[str, _Field]:
    return {info.alias or name: _Field(name, info) for name, info in model.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models within ``X | None``, ``tuple[X | Y, ...]`` or ``dict[str, X]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]
