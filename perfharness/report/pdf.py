"""The page as an A4 document. Deterministic on one machine: the same page gives the same bytes.

The text engine takes its fonts from the system, so two machines may set the lines differently.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from perfharness.errors import PerfharnessError

DATE = "SOURCE_DATE_EPOCH"
"""Variable that reproducible builds agree on."""


def render(html: str) -> bytes:
    """PDF bytes of a page made by :func:`perfharness.report.html.render`.

    Raises PerfharnessError when the page asks for anything outside itself, or the text engine is missing.
    """
    # Its warnings speak of links to files beside the page, which a PDF cannot follow: nothing to act on.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    try:
        from weasyprint import HTML
        from weasyprint.urls import FatalURLFetchingError, URLFetcher
    except OSError as error:
        raise PerfharnessError(
            f"The PDF cannot be made: {error}.", "Install Pango (libpango-1.0-0, libpangoft2-1.0-0)."
        ) from None
    nowhere = URLFetcher(allowed_protocols=(), fail_on_errors=True)
    try:
        with _rare_collection(), _fonts_of_no_date():
            data: bytes = HTML(string=html, url_fetcher=nowhere).write_pdf()
    except FatalURLFetchingError as error:
        raise PerfharnessError(f"The report refers to something outside itself: {error}.") from None
    return data


@contextmanager
def _rare_collection() -> Iterator[None]:
    """Nearly all that is made lives to the end: searching it for garbage again and again takes a sixth of the time."""
    usual = gc.get_threshold()
    gc.set_threshold(50_000, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@contextmanager
def _fonts_of_no_date() -> Iterator[None]:
    """Where the system has no HarfBuzz-Subset, fontTools makes the fonts small, and writes the time into each of them
    unless it is told another one."""
    usual = os.environ.get(DATE)
    os.environ[DATE] = "0"
    try:
        yield
    finally:
        if usual is None:
            del os.environ[DATE]
        else:
            os.environ[DATE] = usual
