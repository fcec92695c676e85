"""The error that a validator raises about a value in a file."""

from __future__ import annotations

import textwrap

from pydantic_core import PydanticCustomError

from perfharness.order.document import KeyPath

KIND = "order"
"""Its type among pydantic's."""


def wrong(message: str, remedy: str = "", row: str = "", at: KeyPath = ()) -> PydanticCustomError:
    """An error for a validator to raise: ``row`` of the checklist, ``at`` = where below the value."""
    message = textwrap.shorten(message, 300, placeholder="…")
    return PydanticCustomError(KIND, "{message}", {"message": message, "remedy": remedy, "row": row, "at": at})
