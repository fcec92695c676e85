"""The judged run as one self-contained page: nothing is loaded from outside, everything is escaped."""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from perfharness.model import Run
from perfharness.order.circuit import Circuit
from perfharness.order.scenario import Scenario
from perfharness.report import drawing, words
from perfharness.report.dossier import Dossier
from perfharness.report.sections import SECTIONS, cover

_UNIT = re.compile(r"(?<=[0-9≤≥<=]) (?=[0-9]|%|[kMGT]?bit/s\b|[mµn]?s\b|[KMGT]?i?B\b|min\b|h\b|packets\b)")
"""The space between a number and its unit, where no line may break."""


def render(run: Run, circuit: Circuit, scenario: Scenario, root: str = "") -> str:
    """The page. The same arguments give the same text: no clock, no network, no file is asked.

    ``root`` leads from the page to the run's folder (``../`` for a page in a folder of its own).
    """
    dossier = Dossier(run, circuit, scenario, root)
    page = _environment().get_template("page.html")
    return page.render(
        run=run,
        circuit=circuit,
        cover=cover.build(dossier),
        sections=[build(dossier) for build in SECTIONS],
        palette=drawing.PALETTE,
        verdicts=words.VERDICTS,
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("perfharness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__.lower()
    environment.filters["keep"] = lambda words: _UNIT.sub("\u00a0", words)
    # A colon is quoted too: what a file is named can never become a scheme such as javascript:.
    environment.filters["path"] = lambda path: quote(path, safe="/")
    return environment
