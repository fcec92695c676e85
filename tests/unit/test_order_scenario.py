"""Scenarios: the shipped ones, how they are found, and what a judge line means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from perfharness.errors import BadInput
from perfharness.order import init
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import (
    CriterionSpec,
    Literally,
    Reference,
    Scenario,
    find_scenario,
    find_shipped,
    load_scenario,
)
from perfharness.order.schema import json_schema
from perfharness.order.units import Duration, duration
from perfharness.order.validation import Strict


def measuring_s(scenario: Scenario) -> float:
    """Seconds in which packets are measured, by the steps' own words."""
    seconds = 0.0
    for step in scenario.steps:
        runs = len(step.params.get("direction", ["once"]))
        seconds += runs * sum(duration(step.params.get(key, "0s")) for key in ("duration", "omit")) / 1e9
        seconds += 2 * int(step.params.get("ping_count", 0)) / 100
    return seconds


@pytest.mark.parametrize(("name", "most_s"), [("smoke", 60), ("acceptance", 600), ("classes", 60)])
def test_shipped_scenarios_keep_their_time(name: str, most_s: float) -> None:
    """smoke and classes measure for a minute at most, acceptance for ten."""
    assert most_s / 2 < measuring_s(load_scenario(name)) <= most_s


@pytest.mark.parametrize("name", ["smoke", "acceptance"])
def test_shipped_scenarios_judge_what_was_ordered(name: str) -> None:
    """The rows of the checklist that both scenarios answer."""
    rows = {row for step in load_scenario(name).steps for spec in step.judge for row in spec.rows}
    assert rows >= {f"EC-{number:03}" for number in (24, 25, 29, 33, 35, 39, 40, 41, 42, 44)}


def test_thirty_seconds_of_smoke_can_prove_the_labs_loss() -> None:
    """29 956 packets without a loss prove a ratio below 1e-4 with 95 % confidence."""
    latency = next(step for step in load_scenario("smoke").steps if step.id == "latency")
    assert duration(latency.params["duration"]) / duration(latency.params["interval"]) >= 29_956


@pytest.mark.parametrize(
    ("bound", "operator", "threshold"),
    [
        ({"at_most": "5ms"}, "<=", Literally(5_000_000, "ns")),
        ({"at_most": "objectives.rtt"}, "<=", Reference("objectives.rtt")),
        ({"at_least": "50 % of objectives.pdv"}, ">=", Reference("objectives.pdv", 0.5)),
        (
            {"metric": "throughput.udp", "at_least": "99.5% of order.bandwidth"},
            ">=",
            Reference("order.bandwidth", 0.995),
        ),
        ({"metric": "loss", "at_most": "0.01%"}, "<=", Literally(1e-4, "1")),
        ({"metric": "pmtu", "at_least": "1500B"}, ">=", Literally(1500, "B")),
        ({"metric": "path", "equals": "true"}, "==", Literally(True, "")),
        ({"metric": "port", "at_most": "0"}, "<=", Literally(0, "")),
        ({"metric": "tcp.buffer_delay", "at_most": "1.5", "mandatory": False}, "<=", Literally(1.5, "")),
        ({"metric": "dscp", "equals": "EF"}, "==", Literally("EF", "")),
    ],
)
def test_a_bound_is_a_value_or_a_share_of_the_order(
    bound: dict[str, str], operator: str, threshold: Literally | Reference
) -> None:
    """A judge line says operator and threshold in the unit of its metric."""
    spec = CriterionSpec.model_validate({"metric": "delay.rtt", "statistic": "p99", **bound})
    assert (spec.operator, spec.threshold, spec.fallback) == (operator, threshold, None)


def test_the_default_is_read_in_the_metrics_unit() -> None:
    """What is used when the order is silent is a value of the same kind."""
    spec = CriterionSpec.model_validate(
        {"metric": "delay.rtt", "statistic": "p99", "at_most": "objectives.rtt", "default": "50ms"}
    )
    assert spec.fallback == Literally(50_000_000, "ns")


class Params(Strict):
    interval_ns: Annotated[Duration, Field(alias="interval", ge=1000)] = 10**6
    count: int = 1


TEXT = """\
format_version: 1
id: test
title: Test
steps:
  - id: one
    measure: probe
    interval: 2ms
    count: 5
  - id: two
    measure: probe
    intervall: 2ms
    judges: []
    count: many
  - id: three
    measure: prob
"""


def test_parameters_are_validated_by_the_measurement_with_their_lines(tmp_path: Path) -> None:
    """Every problem of every step at once; a misspelt key of the step itself is recognised too."""
    (tmp_path / "s.yaml").write_text(TEXT)
    with pytest.raises(BadInput) as caught:
        load_scenario(tmp_path / "s.yaml").parameters({"probe": Params})
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems] == [
        "s.yaml:11: unknown key 'intervall' — did you mean 'interval'?",
        "s.yaml:12: unknown key 'judges' — did you mean 'judge'?",
        "s.yaml:13: 'count': 'many' is not a whole number.",
        "s.yaml:15: There is no measurement 'prob' — did you mean 'probe'? There are: probe.",
    ]
    (tmp_path / "s.yaml").write_text(TEXT[: TEXT.index("  - id: two")])
    read = load_scenario(tmp_path / "s.yaml").parameters({"probe": Params})
    assert (read["one"].interval_ns, read["one"].count) == (2_000_000, 5)


def test_shipped_files_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From any folder; a file in this folder wins over a shipped name; an unknown name lists what there is."""
    monkeypatch.chdir(tmp_path)
    assert find_scenario("smoke").name == "smoke.yaml"
    assert find_shipped("circuits/lab").parts[-2:] == ("circuits", "lab.yaml")
    (tmp_path / "smoke").write_text("")
    assert find_scenario("smoke") == Path("smoke")
    with pytest.raises(BadInput) as caught:
        find_scenario("smok")
    assert str(caught.value).startswith("smok: There is no scenario 'smok' — did you mean 'smoke'?")
    with pytest.raises(BadInput, match="There is no such file"):
        load_scenario("missing.yaml")


def test_the_schema_lets_a_step_have_parameters() -> None:
    """A step's own keys are described; the measurement's are open; all else is closed."""
    schema = json_schema("scenario")
    assert schema["$defs"]["Step"]["additionalProperties"] is True
    assert schema["$defs"]["CriterionSpec"]["additionalProperties"] is False
    assert schema["additionalProperties"] is False


def test_init_writes_files_that_say_what_to_fill_in(tmp_path: Path) -> None:
    """Every line of the circuit that must be filled in is named, and nothing else is wrong with it."""
    circuit, scenario = init.write(tmp_path / "new")
    with pytest.raises(BadInput) as caught:
        load_circuit(circuit)
    problems = caught.value.problems
    assert all(problem.message.endswith("is still empty.") for problem in problems)
    lines = circuit.read_text().splitlines()
    assert all(lines[problem.line - 1].split("#")[0].rstrip().endswith(":") for problem in problems)
    with pytest.raises(BadInput) as caught:
        load_scenario(scenario)
    assert {problem.message for problem in caught.value.problems} == {
        "'id' is still empty.",
        "'title' is still empty.",
        "'description' is still empty.",
    }


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    """A file that is there stays as it is, and the other one is not written either."""
    (tmp_path / "scenario.yaml").write_text("mine")
    with pytest.raises(BadInput, match="already there"):
        init.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scenario.yaml"]
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        init.write(tmp_path / "file" / "below")
