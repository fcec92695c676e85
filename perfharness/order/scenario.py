"""What to measure and how to judge it, as a scenario's file says it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from perfharness.errors import BadInput, Problem
from perfharness.model import Direction, Task
from perfharness.order import document, units
from perfharness.order.circuit import REFERENCES
from perfharness.order.document import Document
from perfharness.order.dscp import BEST_EFFORT, ClassName
from perfharness.order.hook import Without
from perfharness.order.units import Duration
from perfharness.order.validation import Strict, nearest, validate_mapping
from perfharness.order.values import FormatVersion, Name, Row, Text
from perfharness.order.wrong import wrong

M = TypeVar("M", bound=BaseModel)

METRICS = {
    "throughput.tcp": "bit/s",
    "throughput.udp": "bit/s",
    "capacity.sustained": "bit/s",
    "capacity.max": "bit/s",
    "ceiling": "bit/s",
    "policing": "",
    "policing.rate": "bit/s",
    "policing.bucket": "B",
    "policing.queue": "ns",
    "delay.rtt": "ns",
    "delay.oneway": "ns",
    "delay.loaded": "ns",
    "variation.pdv": "ns",
    "variation.ipdv": "ns",
    "loss": "1",
    "reordering": "1",
    "duplication": "1",
    "flows": "1",
    "pmtu": "B",
    "tcp.efficiency": "1",
    "tcp.buffer_delay": "",
    "tcp.transfer_time_ratio": "",
    "availability": "1",
    "outage": "ns",
    **dict.fromkeys(("path", "bgp", "vlan", "route", "port", "dscp", "portspec", "tools", "footprint"), ""),
}
"""Every metric and the unit in which it is judged; an empty unit is a count, a factor, or yes and no."""
OTHER_UNITS = {("outage", "flaps"): "", ("outage", "split"): "1"}
"""Of statistics that are counted in another unit than their metric."""
OPERATORS = {"at_most": "<=", "at_least": ">=", "equals": "=="}
_REFERENCE = re.compile(r"(?:(?P<percent>[0-9]+(?:\.[0-9]+)?) ?% of )?(?P<of>(?:order|objectives)\..*)")


class Literally(NamedTuple):
    """A threshold that stands in the scenario itself."""

    value: float | bool | str
    unit: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A threshold that the order names: ``share`` of one of :data:`perfharness.order.circuit.REFERENCES`."""

    of: str
    share: float = 1.0


Threshold: TypeAlias = Literally | Reference


class CriterionSpec(Strict):
    """One line of `judge`: what a figure of this step must be."""

    metric: Text = Field(examples=["delay.rtt"])
    """Which figure."""
    statistic: Text = Field(examples=["p99"])
    """Which summary of it: mean, p99, ratio, …"""
    at_most: str | None = None
    """Largest good value: 5ms, 1Gbps, 1e-4, or of the order: objectives.rtt, 90% of order.bandwidth."""
    at_least: str | None = None
    """Smallest good value."""
    equals: str | None = None
    """The only good value."""
    default: str | None = None
    """Used when the order does not say what at_most, at_least or equals refers to; the report says so."""
    rows: tuple[Row, ...] = ()
    """Rows of the checklist that this answers."""
    mandatory: bool = True
    """Whether the run fails when this fails; otherwise it is a warning."""
    direction: Literal["each", "a-z", "z-a", "round-trip", "both"] = "each"
    """One verdict for each direction in which the figure comes, or for one direction only."""
    load: Text | None = Field(default=None, examples=["udp"])
    """Only figures that were taken under this load: idle, tcp, udp, `udp both ways`, or a step of a service as
    `100% CIR`; without it, one verdict for each that a step offers one after the other."""
    service: ClassName | None = Field(default=None, alias="class")
    """Only figures of this class of service; without it, one verdict for each that the step sends."""

    @property
    def unit(self) -> str:
        """In which the figure is judged."""
        return OTHER_UNITS.get((self.metric, self.statistic), METRICS[self.metric])

    @property
    def operator(self) -> str:
        return OPERATORS[self._bound[0]]

    @property
    def threshold(self) -> Threshold:
        return parse_threshold(self._bound[1], self.unit)

    @property
    def fallback(self) -> Literally | None:
        """The default, parsed."""
        return None if self.default is None else parse_literal(self.default, self.unit)

    def directions(self, task: Task) -> tuple[Direction | None, ...]:
        """The directions of this task for which the criterion asks; empty when it does not concern the task."""
        if self.metric not in task.yields or not self.loads(task) or not self.services(task):
            return ()
        offered: tuple[Direction | None, ...] = tuple(task.yields[self.metric]) or (None,)
        return offered if self.direction == "each" else tuple(way for way in offered if way == self.direction)

    def services(self, task: Task) -> tuple[str, ...]:
        """The classes of service of this task for which the criterion asks."""
        return tuple(each for each in task.services if self.service in (None, each or BEST_EFFORT))

    def loads(self, task: Task) -> tuple[str, ...]:
        """The loads of this task for which the criterion asks."""
        return tuple(each for each in task.under if self.load in (None, each))

    @property
    def _bound(self) -> tuple[str, str]:
        """(key, text) of the one bound that is given."""
        return next((key, text) for key in OPERATORS if (text := getattr(self, key)) is not None)

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.metric not in METRICS:
            said = f"There is no metric {self.metric!r}{nearest(self.metric, METRICS)}"
            raise wrong(said, f"There are: {', '.join(METRICS)}.", at=("metric",))
        if self.metric.startswith(("throughput.tcp", "tcp.")) and self.mandatory:
            said = "TCP tells of the hosts and their windows too: it warns, and never fails a circuit."
            raise wrong(said, "Add `mandatory: false`, or judge throughput.udp.", at=("metric",))
        given = [key for key in OPERATORS if getattr(self, key) is not None]
        if len(given) != 1:
            said = f"One of at_most, at_least and equals is needed; here are {len(given) or 'none'}."
            raise wrong(said, "Write for example `at_most: objectives.rtt`.")
        for key in (given[0], "default"):
            try:
                _ = self.fallback if key == "default" else self.threshold
            except PydanticCustomError as error:
                context = error.context or {}
                raise wrong(context["message"], context["remedy"], at=(key,)) from None
        return self


def parse_threshold(text: str, unit: str) -> Threshold:
    """What a bound says, for a metric judged in ``unit``. Raises PydanticCustomError."""
    found = _REFERENCE.fullmatch(text.strip())
    if not found:
        return parse_literal(text, unit)
    of = found["of"]
    if of not in REFERENCES:
        raise wrong(f"The order has no {of!r}{nearest(of, REFERENCES)}", f"It has {', '.join(REFERENCES)}.")
    if REFERENCES[of] != unit:
        raise wrong(f"{of} is in {_named(REFERENCES[of])}, the metric in {_named(unit)}.", "Compare like with like.")
    return Reference(of, float(found["percent"]) / 100 if found["percent"] else 1.0)


def parse_literal(text: str, unit: str) -> Literally:
    """A value as people write it, for a metric judged in ``unit``. Raises PydanticCustomError."""
    readers = {"bit/s": units.rate, "ns": units.duration, "B": units.size, "1": units.ratio, "": _plain}
    return Literally(readers[unit](text), unit)


def _plain(text: str) -> float | bool | str:
    """``true``, ``false``, a number, or a word as it stands."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?[0-9]{1,15}", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?[0-9]{1,15}\.[0-9]{1,15}", text) else text


def _named(unit: str) -> str:
    return {"1": "shares", "": "counts"}.get(unit, unit)


class Step(Strict):
    """One measurement; all keys but these are its parameters."""

    model_config = ConfigDict(extra="allow")

    id: Name = Field(examples=["latency"])
    """Name of the step within the scenario."""
    measure: Text = Field(examples=["latency"])
    """Which measurement."""
    attempts: int = Field(default=1, ge=1, le=5)
    """How often it is measured at most, in all: again only where a host fell short of its part and a row is
    INCONCLUSIVE, never where one failed. Every attempt is kept, and the last one that was completed is judged."""
    judge: tuple[CriterionSpec, ...] = ()
    """What its figures must be; without any it only informs."""
    without: Without | None = None
    """This circuit is cut before it and given back after it: what is measured is what the other one carries."""

    @property
    def params(self) -> dict[str, Any]:
        """As written; the measurement validates them."""
        return dict(self.model_extra or {})


class Scenario(Strict):
    """What is measured, in which order, and what is good enough."""

    format_version: FormatVersion = Field(examples=["1"])
    """Version of this file's format."""
    id: Name = Field(examples=["smoke"])
    """Short name."""
    title: Text = Field(examples=["Smoke test"])
    """For the report."""
    description: str = ""
    """What it proves, and what it does not."""
    lease_ns: Duration = Field(default=30_000_000_000, alias="lease", ge=5_000_000_000)
    """How long an agent lives on a host without hearing from us."""
    steps: tuple[Step, ...] = Field(min_length=1)
    """The measurements, in this order."""

    _source: Document = PrivateAttr(default=Document("scenario", {}, {}))

    @property
    def source(self) -> str:
        """The file that it was read from."""
        return self._source.file

    def parameters(self, models: Mapping[str, type[M]]) -> dict[str, M]:
        """Each step's parameters by its id, as the model of its measurement.

        ``models``: name of the measurement → its parameters. Raises BadInput with every problem of every step.
        """
        parameters: dict[str, M] = {}
        problems: list[Problem] = []
        for i, step in enumerate(self.steps):
            path = ("steps", i)
            if step.measure not in models:
                said = f"There is no measurement {step.measure!r}{nearest(step.measure, models)}"
                known = f"There are: {', '.join(models)}."
                problems.append(self._source.problem((*path, "measure"), said, known))
                continue
            read, wrong_ones = validate_mapping(
                models[step.measure], step.params, self._source, path, known=Step.model_fields
            )
            problems += wrong_ones
            if read is not None:
                parameters[step.id] = read
        if problems:
            raise BadInput(problems)
        return parameters

    def problem(self, step: int, error: PydanticCustomError) -> Problem:
        """What is ``wrong`` with a parameter of the step at this position."""
        context = error.context or {}
        return self._source.problem(("steps", step, *context["at"]), context["message"], context["remedy"])

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        ids = [step.id for step in self.steps]
        for i, name in enumerate(ids):
            if name in ids[:i]:
                raise wrong(f"There are two steps {name!r}.", "Give each its own id.", at=("steps", i, "id"))
        return self


def load_scenario(name_or_path: str | Path) -> Scenario:
    """The scenario in this file, or the shipped one of this name. Raises BadInput with every problem."""
    source = document.load(find_scenario(name_or_path))
    scenario, problems = validate_mapping(Scenario, source.data, source)
    if scenario is None:
        raise BadInput(problems)
    scenario._source = source
    return scenario


def find_scenario(name_or_path: str | Path) -> Path:
    """The file of a scenario: a path as it is, a bare name among the shipped ones. Raises BadInput."""
    given = Path(name_or_path)
    return given if given.exists() or given.suffix or len(given.parts) > 1 else find_shipped(given.name)


def find_shipped(name: str) -> Path:
    """The file of a shipped scenario (``smoke``) or circuit (``circuits/lab``). Raises BadInput naming them all."""
    folder = next((folder for folder in _folders() if folder.is_dir()), Path())
    shipped = {str(path.relative_to(folder).with_suffix("")): path for path in sorted(folder.rglob("*.yaml"))}
    if name not in shipped:
        alike = [known for known in shipped if known.startswith("circuits/") == name.startswith("circuits/")]
        said = f"There is no {'circuit' if name.startswith('circuits/') else 'scenario'} {name!r}{nearest(name, alike)}"
        raise BadInput([Problem(name, 0, said, f"Name a file, or one of: {', '.join(alike)}.")])
    return shipped[name]


def _folders() -> tuple[Path, ...]:
    """Where shipped files are: beside the package in a checkout, else where an installation puts them."""
    return (
        Path(__file__).resolve().parents[2] / "scenarios",
        Path(sys.prefix) / "share" / "perfharness" / "scenarios",
    )
