"""A run and its order, with the few look-ups that several sections share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from perfharness.model import Direction, Finding, Measurement, Run, Series, Status, Verdict
from perfharness.order.circuit import Circuit
from perfharness.order.scenario import Scenario
from perfharness.report import text, words
from perfharness.report.blocks import Link, Ref
from perfharness.report.checklist import is_declared
from perfharness.report.words import VERDICTS

OF_MANY = ("portspec", "bgp", "route")
"""Metrics of which each statistic is another matter."""


@dataclass(frozen=True)
class Dossier:
    """What a section is given: a judged run, what was ordered, what was asked to be measured."""

    run: Run
    circuit: Circuit
    scenario: Scenario
    root: str = ""
    """Leads from the page to the run's folder."""

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Evidence path -> its number in the index, from 1."""
        return {entry.path: number for number, entry in enumerate(self.run.evidence, 1)}

    def refs(self, paths: tuple[str, ...]) -> tuple[Ref, ...]:
        """Links to the index, in its order; a path that is not indexed keeps its name and says so."""
        unique = dict.fromkeys(paths)
        found = [Ref(self.numbers.get(path), path) for path in unique]
        return tuple(sorted(found, key=lambda ref: (ref.number is None, ref.number or 0, ref.path)))

    @cached_property
    def measurements(self) -> tuple[Measurement, ...]:
        """All of the run, and after one of several pairs together each pair's part, named by its pair."""
        found: list[Measurement] = []
        for item in self.run.measurements:
            found.append(item)
            named = ((part, f"{part.task.id}, {words.between(part.task.scope)}") for part in item.parts)
            found += (replace(part, task=replace(part.task, id=name)) for part, name in named)
        return tuple(found)

    @cached_property
    def several_pairs(self) -> bool:
        """More than one pair of hosts was measured, so that each row must name its own."""
        return len({row.scope.pair for row in self.run.findings if row.scope.pair}) > 1

    def where(self, row: Finding) -> str:
        """Direction and load of a finding in words; a throughput is its own load."""
        own = row.metric.startswith("throughput.") and row.scope.load in ("idle", "tcp", "udp")
        return words.scope(row.scope, pair=self.several_pairs, load_too=not own)

    def name(self, row: Finding) -> str:
        """``Packet loss, on-prem → cloud``; ``BGP, as agree`` where the metric alone does not say what."""
        what = row.statistic.replace("_", " ") if row.metric in OF_MANY and not is_declared(row) else ""
        return ", ".join(part for part in (words.metric(row.metric, row.statistic), what, self.where(row)) if part)

    def link(self, row: Finding, *, named: bool = True) -> Link:
        """To the row of a finding, ``✓ Path MTU, on-prem → cloud: 1,500 B``; of one that the order answers what its
        check says."""
        word = VERDICTS[row.verdict]
        if is_declared(row):
            return Link(f"f-{row.id}", f"{word.symbol} {row.reason}")
        name = self.name(row) if named else self.where(row)
        value = word.word if row.verdict is Verdict.NOT_RUN else text.finding_value(row)
        return Link(f"f-{row.id}", f"{word.symbol} " + ": ".join(filter(None, (name, value))))

    @staticmethod
    def load(item: Measurement) -> str:
        """What was on the path beside this measurement, and which way: ``under UDP load on-prem → cloud``."""
        scope = item.task.scope
        one_way = scope.load != "idle" and scope.direction in (Direction.A_Z, Direction.Z_A)
        return words.load(scope.load) + (f" {words.direction(scope.direction)}" if one_way else "")

    @cached_property
    def by_class(self) -> tuple[Measurement, ...]:
        """The measurements, one of several classes of service once for each with its name at the step's."""
        views: list[Measurement] = []
        for item in self.run.measurements:
            for service, facts in item.facts.get("classes", {}).items():
                task = replace(item.task, step=f"{item.task.step}, {words.direction(None, service)}")
                series = tuple(one for one in item.series if one.service == service)
                views.append(replace(item, task=task, facts={**item.facts, **facts}, series=series))
            if "classes" not in item.facts:
                views.append(item)
        return tuple(views)

    def with_verdict(self, *verdicts: Verdict) -> tuple[Finding, ...]:
        return tuple(row for row in self.run.findings if row.verdict in verdicts)

    @cached_property
    def stepped(self) -> frozenset[str]:
        """Tasks whose figures come under several loads one after the other: they have a section of their own."""
        return frozenset(item.task.id for item in self.run.measurements if item.task.loads)

    @staticmethod
    def declared(row: Finding) -> bool:
        """The order itself answers it, without a measurement."""
        return is_declared(row)

    @cached_property
    def required(self) -> tuple[Finding, ...]:
        """Findings about the circuit that something was required of."""
        return tuple(row for row in self.run.findings if row.operator is not None)

    @cached_property
    def reported(self) -> tuple[Finding, ...]:
        """Figures beside them: measured, and nothing was required."""
        return tuple(row for row in self.run.findings if row.operator is None and row.value is not None)

    def of_metric(self, *metrics: str) -> tuple[Finding, ...]:
        return tuple(row for row in self.run.findings if row.metric in metrics)

    def measured(self, kind: str) -> tuple[Measurement, ...]:
        """Completed measurements of one kind, in the order in which they ran."""
        return tuple(
            item for item in self.measurements if item.task.measurement == kind and item.status is Status.COMPLETED
        )

    def samples(self, item: Measurement) -> tuple[Ref, ...]:
        """Links to the files of a measurement's probe stream."""
        named = {path for row in item.observations for path in row.evidence}
        return self.refs(tuple(path for path in named if path.split("/")[-1].split(".")[0] in ("sender", "reflector")))

    def with_series(self, kind: str) -> tuple[tuple[Measurement, tuple[Series, ...]], ...]:
        """Measurements that left a series of this kind, with these series."""
        pairs = (
            (item, tuple(series for series in item.series if series.kind == kind and series.x.size))
            for item in self.measurements
        )
        return tuple((item, series) for item, series in pairs if series)
