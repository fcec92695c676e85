"""The registry: every measurement that a scenario can name. One line each."""

from __future__ import annotations

from collections.abc import Mapping

from perfharness.measurements import (
    capacity,
    ceiling,
    edge,
    failover,
    flows,
    host,
    latency,
    latency_router,
    path,
    pmtu,
    policing,
    rfc6349,
    service_configuration,
    service_performance,
    throughput,
)
from perfharness.measurements.base import Context, Ends, MeasurementKind, Params, RouterContext
from perfharness.order.circuit import Circuit, Endpoint, Pair

REGISTRY: dict[str, MeasurementKind] = {
    "host": host.HostFacts(),
    "ceiling": ceiling.Ceiling(),
    "edge": edge.Edge(),
    "path": path.Path(),
    "pmtu": pmtu.PathMtu(),
    "latency": latency.Latency(),
    "flows": flows.Flows(),
    "throughput": throughput.Throughput(),
    "rfc6349": rfc6349.Rfc6349(),
    "capacity": capacity.Capacity(),
    "policing": policing.Policing(),
    "failover": failover.Failover(),
    "service-configuration": service_configuration.ServiceConfiguration(),
    "service-performance": service_performance.ServicePerformance(),
}
TO_ROUTERS: dict[str, MeasurementKind] = {
    "latency": latency_router.LatencyToRouter(),
}
"""What needs no agent at the far end: all that can be measured between a host and a router's own reflector."""


def measurable(circuit: Circuit, pair: Pair) -> tuple[Ends, Mapping[str, MeasurementKind]]:
    """The context of a pair, and what can be measured on it."""
    a, z = (circuit.end(name) for name in pair)
    if isinstance(a, Endpoint) and isinstance(z, Endpoint):
        return Context(circuit, a, z), REGISTRY
    return RouterContext(circuit, a, z), TO_ROUTERS


__all__ = ["REGISTRY", "TO_ROUTERS", "Context", "Ends", "MeasurementKind", "Params", "RouterContext", "measurable"]
