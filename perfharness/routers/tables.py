"""Vendors' show commands by the templates of ntc-templates, and the numbers that people write into them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TIME = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?")
_UNITS_S = (365 * 86_400, 7 * 86_400, 86_400, 3_600, 60)


def rows(platform: str, command: str, text: str | None) -> list[Mapping[str, Any]] | None:
    """The rows that the template finds; ``None`` for text that it does not fit, such as an error."""
    if not text:
        return None
    from ntc_templates.parse import ParsingException, parse_output  # it takes a moment: for who has a vendor's router
    from textfsm.parser import TextFSMError

    try:
        found: list[Mapping[str, Any]] = parse_output(platform=platform, command=command, data=text)
    except (ParsingException, TextFSMError):
        return None
    return found


def said(pattern: str, text: str | None) -> str | None:
    """The group of the pattern's first match: for what no template reads."""
    found = re.search(pattern, text or "", re.MULTILINE)
    return found[1] if found else None


def number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def duration_s(text: str | None) -> float | None:
    """``00:12:31``, ``1d02h``, ``2w3d``, ``0023h14m``; ``None`` for ``never``."""
    if not text:
        return None
    clock = re.fullmatch(r"(\d+):(\d\d):(\d\d)", text)
    if clock:
        hours, minutes, seconds = map(int, clock.groups())
        return hours * 3600.0 + minutes * 60 + seconds
    found = _TIME.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    return float(sum(int(part) * unit for part, unit in zip(found.groups(), _UNITS_S, strict=True) if part))
