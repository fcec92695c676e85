"""The page on paper."""

from __future__ import annotations

import re
import zlib

import pytest

from perfharness.errors import PerfharnessError
from perfharness.report import html, pdf
from tests.unit import run_builder


def test_the_same_page_gives_the_same_bytes_on_a4() -> None:
    """A report made again from the same evidence is the same file; its pages are A4."""
    page = html.render(run_builder.half_rate(), run_builder.circuit(), run_builder.scenario())
    first, second = pdf.render(page), pdf.render(page)
    assert first == second
    assert first.startswith(b"%PDF-")
    assert len(first) < 1_000_000
    objects = first + b"".join(_streams(first))
    boxes = re.findall(rb"/MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]", objects)
    assert len(boxes) >= 5
    assert {(round(float(wide)), round(float(tall))) for wide, tall in boxes} == {(595, 842)}
    assert b"CreationDate" not in objects


def test_a_page_that_asks_for_something_outside_is_refused() -> None:
    """The PDF never fetches anything."""
    with pytest.raises(PerfharnessError, match="outside itself"):
        pdf.render('<img src="file:///etc/hostname">')


def _streams(data: bytes) -> list[bytes]:
    """Every stream of the file that unpacks."""
    found = []
    for raw in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL):
        try:
            found.append(zlib.decompress(raw))
        except zlib.error:
            found.append(raw)
    return found
