"""A step without the circuit proves nothing of the other one where the circuit was not gone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from perfharness import evidence
from perfharness.measurements import Context
from perfharness.measurements.without import held
from perfharness.model import Direction, Interval, Measurement, Observation, Status
from perfharness.order.circuit import Ce
from tests.unit.job_files import CIRCUIT, CONTEXT, task_of

CE = Ce.model_validate({"name": "ce-1", "ssh": {"host": "ce-1"}, "lan": "lan", "wan": "wan"})
WITH_CE = replace(CONTEXT, circuit=CIRCUIT.model_copy(update={"ce": CE}))
LOAD = 10_000_000
"""Bytes that each host sent."""


def judged(tmp_path: Path, context: Context, wan: tuple[int, int] | None, lost: int = 0) -> Observation:
    """The figure of a load, while the CE's WAN interface sent and took so much and ``lost`` bytes did not arrive."""
    task = task_of("latency", context)
    scope = replace(task.scope, direction=Direction.A_Z)
    seen = Observation(
        "loss", "ratio", scope, "1", 0.0, 100, Interval(0.0, 0.01, 0.95, "one", "counted"), reason="Well."
    )
    folder = evidence.create(tmp_path, "c", "r", {})
    risen = {"onprem-a": (LOAD, LOAD), "ecs-a": (LOAD, LOAD - lost), "ce-1": wan}
    for name, bytes_ in risen.items():
        if bytes_ is not None:
            rows = [{"format_version": 1}]
            rows += [{"nic": {"tx_bytes": at * bytes_[0], "rx_bytes": at * bytes_[1]}} for at in (5, 6)]
            job = "counters-wan" if name == "ce-1" else "counters"
            folder.write(f"raw/{task.id}/{name}.{job}/counters.jsonl", "\n".join(map(json.dumps, rows)).encode())
    (told,) = held(
        Measurement(task, Status.COMPLETED, observations=(seen,)), folder.files(task.id), context
    ).observations
    return told


@pytest.mark.parametrize("wan", [(0, 0), (LOAD // 100, 5_000)])
def test_a_circuit_that_carried_nothing_was_gone(tmp_path: Path, wan: tuple[int, int]) -> None:
    """What routers say to one another is no traffic."""
    assert judged(tmp_path, WITH_CE, wan).value == 0


@pytest.mark.parametrize("wan", [(LOAD, LOAD), (LOAD, 0), (0, LOAD)])
def test_a_circuit_that_carried_was_not_gone(tmp_path: Path, wan: tuple[int, int]) -> None:
    """In whichever direction it did: the figure is none of the other circuit's."""
    told = judged(tmp_path, WITH_CE, wan)
    assert (told.value, told.interval) == (None, None)
    assert told.reason.startswith("The circuit was not gone: about 10,000,000 bytes crossed wan of ce-1 meanwhile")


def test_what_was_sent_into_a_dead_circuit_stays_lost(tmp_path: Path) -> None:
    """A route that nobody took back is a failure of the pair, and must fail."""
    assert judged(tmp_path, WITH_CE, (LOAD, 0), lost=LOAD).value == 0


def test_without_a_ce_each_figure_says_whose_word_it_is(tmp_path: Path) -> None:
    """Not read, or not named: measured, and the reader is told."""
    for place, context in (("named", WITH_CE), ("unnamed", CONTEXT)):
        told = judged(tmp_path / place, context, None)
        assert told.value == 0 and told.reason.startswith("Well. That the circuit was gone is the word of")
