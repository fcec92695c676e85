"""The page on paper."""

from __future__ import annotations

import gc
import os
import re
import zlib

import pytest
from weasyprint import HTML

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


def test_the_fonts_of_a_system_without_harfbuzz_subset_have_no_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """fontTools, which then makes the fonts small, stamps none of them with the time of the rendering."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setattr("weasyprint.pdf.fonts.harfbuzz_subset", None)
    pages = []
    for now in (1_700_000_000.0, 1_800_000_000.0):
        monkeypatch.setattr("fontTools.misc.timeTools.time.time", lambda now=now: now)
        pages.append(pdf.render("<p>page</p>"))
    assert pages[0] == pages[1]
    assert "SOURCE_DATE_EPOCH" not in os.environ


def test_a_page_that_asks_for_something_outside_is_refused() -> None:
    """The PDF never fetches anything."""
    with pytest.raises(PerfharnessError, match="outside itself"):
        pdf.render('<img src="file:///etc/hostname">')


def test_rendering_leaves_the_collection_of_garbage_as_it_was() -> None:
    """A process that goes on after the report collects garbage as before, also when the page was refused."""
    usual = gc.get_threshold()
    pdf.render("<p>page</p>")
    assert gc.get_threshold() == usual
    with pytest.raises(PerfharnessError):
        pdf.render('<img src="file:///etc/hostname">')
    assert gc.get_threshold() == usual


def test_a_table_never_begins_at_the_foot_of_a_page_without_a_row() -> None:
    """Head, heading of the group, row and its remark stay on one page, wherever on the page the table falls."""
    run = run_builder.half_rate()
    section = re.search(
        r'<section id="ordered">.*?</section>',
        html.render(run, run_builder.circuit(), run_builder.scenario()),
        re.DOTALL,
    )
    style = re.search(r"<style>.*?</style>", html.render(run, run_builder.circuit(), run_builder.scenario()), re.DOTALL)
    assert section and style
    for space_mm in range(200, 236, 6):
        page = f'{style[0]}<div style="height:{space_mm}mm"></div>{section[0]}'
        first = HTML(string=page).render().pages[0]
        names = {box.element_tag for box in first._page_box.descendants()}
        assert "thead" not in names or "td" in names


def _streams(data: bytes) -> list[bytes]:
    """Every stream of the file that unpacks."""
    found = []
    for raw in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL):
        try:
            found.append(zlib.decompress(raw))
        except zlib.error:
            found.append(raw)
    return found
