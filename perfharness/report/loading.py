"""What draws and sets the reports takes two seconds to load: done while the hosts are reached, not after the run."""

from __future__ import annotations

from contextlib import suppress
from threading import Thread

from perfharness.errors import PerfharnessError


def loading(as_pdf: bool) -> Thread:
    """A thread that loads it; join it before anything is measured. What is missing is said when it is needed."""
    thread = Thread(target=_load, args=(as_pdf,), daemon=True)
    thread.start()
    return thread


def _load(as_pdf: bool) -> None:
    from perfharness.report import pdf, write  # noqa: F401 - for what they load: matplotlib

    if as_pdf:
        with suppress(PerfharnessError):
            pdf.render("<p>.")  # the text engine and its fonts
