"""The registry: every measurement that a scenario can name. One line each."""

from __future__ import annotations

from perfharness.measurements import flows, host, latency, path, pmtu, throughput
from perfharness.measurements.base import Context, MeasurementKind, Params

REGISTRY: dict[str, MeasurementKind] = {
    "host": host.HostFacts(),
    "path": path.Path(),
    "pmtu": pmtu.PathMtu(),
    "latency": latency.Latency(),
    "flows": flows.Flows(),
    "throughput": throughput.Throughput(),
}

__all__ = ["REGISTRY", "Context", "MeasurementKind", "Params"]
