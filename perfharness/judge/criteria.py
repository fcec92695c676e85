"""The `judge` lines of a scenario, resolved against the order: what is required, and who says so."""

from __future__ import annotations

from perfharness.model import Criterion, Layer
from perfharness.order.circuit import Circuit
from perfharness.order.scenario import CriterionSpec, Literally, Reference

RATE_METRICS = ("throughput.", "capacity.", "ceiling", "policing.rate")


def resolve(spec: CriterionSpec, circuit: Circuit, pair: tuple[str, str], scenario: str) -> Criterion | None:
    """The criterion for one pair; None when neither the order nor the scenario gives a threshold."""
    found = _threshold(spec, circuit, pair, scenario)
    if found is None:
        return None
    threshold, origin = found
    return Criterion(
        metric=spec.metric,
        statistic=spec.statistic,
        operator=spec.operator,
        threshold=threshold,
        unit=spec.unit,
        origin=origin,
        mandatory=spec.mandatory,
        checklist=spec.rows,
        layer=(circuit.rate_layer or Layer.L2) if spec.metric.startswith(RATE_METRICS) else None,
    )


def _threshold(
    spec: CriterionSpec, circuit: Circuit, pair: tuple[str, str], scenario: str
) -> tuple[float | bool | str, str] | None:
    wanted = spec.threshold
    if isinstance(wanted, Literally):
        return wanted.value, f"scenario {scenario}"
    assert isinstance(wanted, Reference)
    ordered = circuit.ordered(wanted.of, pair)
    if ordered is not None:
        share = "" if wanted.share == 1 else f"{wanted.share:.4g} × "
        return ordered.value * wanted.share, f"{share}{ordered.origin}"
    if spec.fallback is not None:
        return spec.fallback.value, f"default of scenario {scenario}: the order does not say {wanted.of}"
    return None
