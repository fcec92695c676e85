"""The path from host to host in one picture: what is known of each stretch, and which one is broken."""

from __future__ import annotations

from collections.abc import Sequence

from perfharness.model import Diagnosis
from perfharness.report import pathmap
from perfharness.report.blocks import Chart, Section
from perfharness.report.dossier import Dossier
from perfharness.report.stretches import Stretch, not_narrowed, stretches, through

NAME = "The path of the circuit"
LEGEND = (
    "Addresses, VLAN, rates and names as ordered; what the hosts say of their interfaces as read on them; ✓, ✕ and the "
    "like stand before what was judged. A cross in a ring marks what is proven, a question mark what is not."
)


def build(dossier: Dossier) -> Section:
    parts, between, ends = stretches(dossier), not_narrowed(dossier), through(dossier)
    chart = Chart(
        svg=pathmap.draw(parts, between, ends),
        title="From the on-prem host to the cloud host",
        caption=f"{_where(parts, between)} {LEGEND}",
        alt=_in_words(parts, between, ends),
    )
    return Section("circuit", NAME, (chart,))


def _where(parts: Sequence[Stretch], between: Sequence[Diagnosis]) -> str:
    named = [f"{part.name} ({'; '.join(pathmap.marked(part.wrong))})" for part in parts if part.wrong]
    if between:
        named.append(f"somewhere between the hosts ({'; '.join(pathmap.marked(between))})")
    return f"Marked: {', '.join(named)}." if named else "No diagnosis names a stretch of it."


def _in_words(parts: Sequence[Stretch], between: Sequence[Diagnosis], ends: Sequence[str]) -> str:
    """All that the picture shows, for those who do not see it."""
    told = [
        f"{part.name}: {', '.join((*pathmap.marked(part.wrong), *part.facts)) or 'nothing is known'}." for part in parts
    ]
    told += [f"Between the hosts: {'; '.join(pathmap.marked(between))}."] if between else []
    return " ".join((*told, *(f"{line}." for line in ends)))
