"""Classes of service by their names in IANA's registry of DSCPs (RFC 2474, 2597, 3246, 5865, 8622), or by number."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from perfharness.order.wrong import wrong

BEST_EFFORT = "BE"
_NAMES = {
    BEST_EFFORT: 0,
    "LE": 1,
    **{f"CS{number}": number << 3 for number in range(1, 8)},
    **{f"AF{number}{drop}": number << 3 | drop << 1 for number in range(1, 5) for drop in range(1, 4)},
    "VOICE-ADMIT": 44,
    "EF": 46,
}
_ALSO = {"CS0": 0, "DF": 0, "DEFAULT": 0, "VA": 44}
_REMEDY = "Write EF, AF41, CS1, BE, LE or another name of IANA's registry, or a number from 0 to 63."


def class_name(dscp: int) -> str:
    """``EF``; ``BE`` for 0; ``DSCP 7`` for one without a name."""
    return next((known for known, number in _NAMES.items() if number == dscp), f"DSCP {dscp}")


def number(text: str) -> int:
    """The DSCP of a name, or of a number from 0 to 63. Raises ``wrong``."""
    word = text.strip().upper().removeprefix("DSCP ")
    found = {**_NAMES, **_ALSO}.get(word)
    if found is None and word.isascii() and word.isdigit() and len(word) <= 2:
        found = int(word)
    if found is None or found > 63:
        raise wrong(f"{text!r} is no class of service.", _REMEDY)
    return found


def _read(value: Any) -> Any:
    return number(value) if isinstance(value, str) else value


def _named(value: Any) -> Any:
    return class_name(number(value)) if isinstance(value, str) else value


Dscp = Annotated[
    int,
    BeforeValidator(_read),
    Field(ge=0, le=63),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["EF"]}),
]
"""0..63"""
ClassName = Annotated[str, BeforeValidator(_named), Field(examples=["EF"])]
"""As ``class_name`` writes it."""
