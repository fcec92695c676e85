"""``findings.json``."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from perfharness.errors import EvidenceBroken
from perfharness.model import Interval
from perfharness.report.findings import KEYS, LATER, check, to_json
from tests.unit import run_builder

FINDING = {
    "id", "checklist", "metric", "statistic", "scope", "direction", "value", "unit", "layer", "interval", "n",
    "operator", "threshold", "origin", "mandatory", "verdict", "reason", "evidence",
}  # fmt: skip
SCOPE = {"circuit", "pair", "direction", "family", "service", "frame_bytes", "load", "window"}


def test_the_document_has_exactly_the_documented_keys() -> None:
    """Other programs are built on these names: none is missing and none is added."""
    data = to_json(run_builder.host_loss())
    assert set(data) == KEYS | LATER
    assert all(set(row) == FINDING for row in data["findings"])
    assert all(set(row["scope"]) == SCOPE for row in data["findings"])
    assert all(
        set(row["interval"]) == {"lo", "hi", "confidence", "sides", "method", "n_eff"}
        for row in data["findings"]
        if row["interval"]
    )
    assert set(data["diagnosis"][0]) == {
        "cause", "certainty", "segment", "owner", "because", "against", "checklist", "next",
        "findings", "hides",
    }  # fmt: skip
    assert set(data["ledger"][0]) == {"scope", "stage", "segment", "packets", "counter", "shared", "missing"}
    assert set(data["ledger"][0]["packets"]) == {"lo", "hi"}
    assert set(data["fitness"][0]) == {"host", "measurement", "fit", "reasons", "metrics"}


def test_it_is_json_without_extensions() -> None:
    """Infinity is the word ``unbounded``, so that every JSON parser reads the document."""
    data = to_json(run_builder.passing())
    again = json.loads(json.dumps(data, allow_nan=False))
    assert again == data
    loaded = next(row for row in data["findings"] if row["metric"] == "delay.loaded")
    assert loaded["value"] == "unbounded"
    assert loaded["interval"]["hi"] == "unbounded"


def test_numpy_numbers_become_plain_ones() -> None:
    """A figure that comes out of an array is written like any other."""
    run = run_builder.passing()
    row = replace(
        run.findings[-1],
        value=np.float64(0.25),
        n=int(np.int64(4)),
        interval=Interval(np.float64(0.1), np.float64(math.inf), 0.95, "one", "test"),
    )
    written = to_json(replace(run, findings=(row,)))["findings"][0]
    assert type(written["value"]) is float
    assert written["interval"]["hi"] == "unbounded"


def test_a_nan_is_refused() -> None:
    """A missing value is None with a reason, never NaN."""
    run = run_builder.passing()
    with pytest.raises(ValueError, match="NaN"):
        to_json(replace(run, findings=(replace(run.findings[0], value=math.nan),)))


def test_an_unknown_format_version_is_refused_with_a_sentence() -> None:
    """A later format is not guessed at."""
    data = {**to_json(run_builder.passing()), "format_version": 2}
    with pytest.raises(EvidenceBroken, match="have format 2; this version reads format 1"):
        check(data)


def test_a_document_that_lacks_a_key_is_refused() -> None:
    """What is missing is named."""
    data = to_json(run_builder.passing())
    assert check(data) is data
    del data["ledger"], data["verdict"]
    with pytest.raises(EvidenceBroken, match="lack ledger, verdict"):
        check(data)
