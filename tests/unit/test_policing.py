"""Who meters a circuit, and how: what the analysis and the measurement say of simulated policers and shapers."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfharness.analysis import overload, policing
from perfharness.analysis.policing import Accepted, Train
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.judge import judge
from perfharness.model import Direction, Layer, Status, Verdict
from perfharness.order.scenario import Scenario
from tests.unit.job_files import find
from tests.unit.load_builder import measured, one_way, ordered
from tests.unit.load_truth import OFFSET_NS, Load, Meter, through

MBIT = 1_000_000
CONTEXT_100 = ordered(100 * MBIT)
SENDERS: list[dict[str, Any]] = [
    {},
    {"burst": 40},
    {"jitter_ns": 300_000},
    {"drop_batches": 0.5},
    {"reorder": 0.01},
    {"stalls": [(1.0, 0.03), (2.0, 0.05), (3.3, 0.02)]},
]


@pytest.mark.parametrize("load", SENDERS)
@pytest.mark.parametrize(
    ("meter", "saves"),
    [({"bucket_bytes": 750_000}, 750_000), ({"bucket_bytes": 256_000, "queue_ns": 50e6}, 625_000)],
)
def test_the_steady_rate_of_an_overload_is_the_meters(load: dict[str, Any], meter: dict[str, Any], saves: int) -> None:
    """Whatever the sender's bursts and stalls, the receiver's gaps and the order of packets: within 0.1 % in each of
    five, and the interval holds the true rate, with what the sender left out; that is less where the meter saves up."""
    for seed in range(5):
        seen = through(Meter(100 * MBIT, **meter), Load(125 * MBIT, **load), np.random.default_rng(seed))
        found = overload.steady(seen.batches)
        assert found is not None and found.overloaded
        assert found.rate_bps == pytest.approx(100 * MBIT, rel=1e-3)
        kept = seen.batches.between(found.start_ns, found.end_ns)
        idle = [overload.idle_bps(kept, found.rate_bps, memory) for memory in (0, saves)]
        assert found.interval.lo <= 100 * MBIT <= found.interval.hi + min(idle)
        assert idle[1] <= idle[0]
        rate, spread = overload.kept_rate(kept, 1442)
        assert abs(rate - 100 * MBIT) <= spread <= 3e-4 * 100 * MBIT


def test_tokens_that_are_saved_up_are_not_wasted() -> None:
    """A sender that goes every other 10 ms at twice and a half of the rate: half of the time is wasted by a meter that
    saves nothing, none by one whose bucket holds 10 ms."""
    t_ns = np.arange(0, 2_000_000_000, 1_000_000)
    sending = (t_ns // 10_000_000) % 2 == 0
    offered = np.cumsum(np.where(sending, 250 * MBIT / 8 / 1000, 0)).astype(np.int64)
    batches = overload.Batches(t_ns, offered // 2, offered)
    assert overload.idle_bps(batches, 100 * MBIT) > 20 * MBIT
    assert overload.idle_bps(batches, 100 * MBIT, 200_000) == 0


def test_the_interval_of_a_rate_that_wanders_covers_it() -> None:
    """A carrier's rate that changes from tenth to tenth of a second by 5 %, each by itself: both bounds hold nineteen
    times of twenty, give or take chance."""
    random = np.random.default_rng(7)
    t_ns = np.arange(0, 5_000_000_000, 1_000_000)
    inside = np.zeros(2)
    runs = 300
    for _ in range(runs):
        rates = np.repeat(random.normal(100 * MBIT, 5 * MBIT, 50), 100)
        arrived = np.cumsum(rates / 8 / 1000).astype(np.int64)
        offered = np.cumsum(np.full(5000, 125 * MBIT / 8 / 1000)).astype(np.int64)
        found = overload.steady(overload.Batches(t_ns, arrived, offered))
        assert found is not None
        inside += found.interval.lo <= 100 * MBIT, found.interval.hi >= 100 * MBIT
    assert (inside / runs >= 0.92).all()


@pytest.mark.parametrize("load", [each for each in SENDERS if "stalls" not in each])
@pytest.mark.parametrize("bucket", [150_000, 750_000])
def test_a_bucket_is_the_height_of_the_line(load: dict[str, Any], bucket: int) -> None:
    """Within 10 % from a train of 60 ms at two and a half times the rate; one that is not emptied is not guessed."""
    random = np.random.default_rng(3)
    seen = through(Meter(300 * MBIT, bucket), Load(750 * MBIT, seconds=0.06, **load), random)
    train = Train(seen.batches, OFFSET_NS + 1_000_000, 1442)
    assert policing.emptied(train, 300 * MBIT) == pytest.approx(bucket, rel=0.1)
    large = through(Meter(300 * MBIT, 9_000_000), Load(750 * MBIT, seconds=0.06, **load), random)
    assert policing.emptied(Train(large.batches, 0, 1442), 300 * MBIT) is None


@pytest.mark.parametrize(
    ("counts", "tagged", "layer"),
    [
        (42, False, (Layer.L2, False)),
        (46, True, (Layer.L2, True)),
        (66, False, (Layer.L1, False)),
        (28, True, (Layer.L3, False)),
        (35, True, None),
    ],
)
def test_two_sizes_tell_the_layer(counts: int, tagged: bool, layer: tuple[Layer, bool] | None) -> None:
    """The header that makes both sizes the same rate names one layer, or none."""

    def accepted(payload: int, error: float, offered: float = 1.25) -> Accepted:
        per_s = 50 * MBIT / (payload + counts)
        return Accepted(payload, per_s, per_s * (1 - error), per_s * (1 + error), per_s * offered)

    found = policing.metered(accepted(1400, 1e-4), accepted(400, 1e-4))
    assert found is not None
    assert found.value == pytest.approx(counts, abs=1e-6)
    assert found.layer(tagged) == layer
    vague = policing.metered(accepted(1400, 0.02), accepted(400, 0.02))
    assert vague is not None and vague.layer(tagged) is None
    assert policing.metered(accepted(1400, 1e-4), accepted(400, 1e-4, offered=1.03)) is None


@pytest.mark.parametrize(
    ("meter", "kind", "words"),
    [
        (Meter(80 * MBIT, 200_000, header_bytes=46), "policer", "polices 80 Mbit/s at L2 with the VLAN tag, bucket "),
        (Meter(80 * MBIT, 64_000, 50e6, header_bytes=46), "shaper", "shapes to 80 Mbit/s at L2 with the VLAN tag"),
    ],
)
def test_the_meter_is_told_in_one_sentence(tmp_path: Path, meter: Meter, kind: str, words: str) -> None:
    """Kind, rate, layer and bucket or queue of a whole measurement."""
    found = measured(tmp_path, one_way("policing", CONTEXT_100), meter, context=CONTEXT_100)
    assert found.status is Status.COMPLETED, found.reason
    facts = found.facts["policing"]["a-z"]
    assert facts["kind"] == kind
    assert words in facts["sentence"].replace("79.98", "80")
    if kind == "policer":
        assert find(found, "policing.bucket", "median", Direction.A_Z).value == pytest.approx(200_000, rel=0.1)
    else:
        queue = find(found, "policing.queue", "median", Direction.A_Z).value
        assert queue == pytest.approx(50e6, rel=0.1)


def test_a_bucket_larger_than_the_trains_is_told_by_the_long_overload(tmp_path: Path) -> None:
    """3 MB at 80 Mbit/s: no train of 60 ms empties it."""
    found = measured(tmp_path, one_way("policing", CONTEXT_100), Meter(80 * MBIT, 3_000_000, header_bytes=46))
    assert find(found, "policing.bucket", "median", Direction.A_Z).value == pytest.approx(3_000_000, rel=0.1)


def test_where_the_port_is_the_order_nobody_meters() -> None:
    """Nothing is sent, and the reason is an observation."""
    (task,) = (one_way("policing"),)
    assert not task.jobs and not task.load_bytes


def test_a_capacity_below_the_order_names_the_meter(tmp_path: Path) -> None:
    """Policed at 80 where 100 was ordered: one cause, with the sentence of the policing step."""
    meter = Meter(80 * MBIT, 200_000, header_bytes=46)
    runs = [
        measured(tmp_path / name, one_way(name, CONTEXT_100), meter, context=CONTEXT_100)
        for name in ("capacity", "policing")
    ]
    spec = {"metric": "capacity.sustained", "statistic": "mean", "at_least": "99.5% of order.bandwidth"}
    steps = [{"id": "step", "measure": "capacity", "judge": [spec]}]
    scenario = Scenario.model_validate({"format_version": 1, "id": "s", "title": "S", "steps": steps})
    findings = judge(CONTEXT_100.circuit, scenario, runs, (), date(2027, 1, 1), {})
    assert Verdict.FAIL in {row.verdict for row in findings if row.metric == "capacity.sustained"}
    (cause,) = diagnose(findings, runs)
    assert (cause.cause, cause.certainty) == ("policed-below-order", "likely")
    assert any("It polices " in said for said in cause.because)
