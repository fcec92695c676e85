"""service-performance: all services at their CIR at once, for a quarter of an hour, two hours or a day.

Based on the service performance test of ITU-T Y.1564 (8.2). Availability is that of the load's own packets by severely
errored seconds (Y.1563); delay and its variation come from STAMP probes beside the loads, in the same classes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import Field

from perfharness.evidence import TaskFiles
from perfharness.measurements import service_result, service_tasks
from perfharness.measurements.base import Context, not_completed
from perfharness.measurements.service_params import ServiceParams, in_both
from perfharness.model import Direction, Measurement, Task
from perfharness.order.circuit import Circuit
from perfharness.order.scenario import CriterionSpec
from perfharness.order.units import Duration

LOAD = "CIR"
ROW_NS = 100_000_000
PROBE_NS = 10_000_000


class PerformanceParams(ServiceParams):
    duration_ns: Duration = Field(default=900_000_000_000, alias="duration", ge=3_000_000_000, le=90_000_000_000_000)
    """15m, 2h or 24h in Y.1564."""

    def criteria(self, circuit: Circuit) -> tuple[CriterionSpec, ...]:
        return tuple(
            spec
            for service in self.services.values()
            for named in self.direction_loads(LOAD)
            for spec in self.met(service, named, 1.0, circuit)
        )


class ServicePerformance:
    name = "service-performance"
    parameters = PerformanceParams
    statistics: Mapping[str, Collection[str]] = {**service_result.STATISTICS, "availability": ("ratio",)}

    def tasks(self, params: PerformanceParams, step: str, context: Context) -> tuple[Task, ...]:
        params.must_fit(context)
        return tuple(self._task(params, step, context, way) for way in params.direction)

    def _task(self, params: PerformanceParams, step: str, context: Context, way: Direction) -> Task:
        services, order = params.services, context.committed_bps
        seconds = params.duration_ns / 1e9
        probes = service_tasks.stream(params, list(services.values()), seconds, PROBE_NS)
        load = in_both(LOAD) if way is Direction.BOTH else LOAD
        offered = {
            name: (
                service,
                [
                    {
                        "name": load,
                        "seconds": seconds,
                        "packet_bytes": service.packet_bytes,
                        "rate_bps": service_tasks.less_probes(service.cir.of(order), probes, name, context),
                    }
                ],
            )
            for name, service in services.items()
        }
        return service_tasks.task(
            self.name,
            params,
            step,
            context,
            way,
            offered,
            probes,
            load,
            (),
            f"{step}-{way.value}",
            ROW_NS,
            ("throughput.udp", "loss", "availability"),
        )

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        return not_completed(task, files) or service_result.at_once(task, files, context)
