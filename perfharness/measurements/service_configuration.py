"""service-configuration: each service by itself, from a quarter of its CIR to beyond what it may send.

Based on the service configuration test of ITU-T Y.1564 (8.1): steps up to the CIR, CIR+EIR, the policing of what is
above, and bursts where they were ordered. Delay and its variation come from STAMP probes beside the load, in the same
class, and not from the load's own frames.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from perfharness.analysis.capacity import convert, headers_bytes, overhead_bytes
from perfharness.evidence import TaskFiles
from perfharness.measurements import service_result, service_tasks
from perfharness.measurements.base import Context, not_completed
from perfharness.measurements.probe import Stream
from perfharness.measurements.service_params import Portion, Service, ServiceParams, in_both
from perfharness.measurements.service_tasks import REST
from perfharness.model import Direction, Layer, Measurement, Task
from perfharness.order.circuit import Circuit
from perfharness.order.scenario import CriterionSpec
from perfharness.order.units import Duration, rate_text
from perfharness.order.wrong import wrong

EXCESS, POLICING, COMMITTED_BURST, EXCESS_BURST = "CIR+EIR", "policing", "CBS", "CBS+EBS"
SCOPE_LOAD = "service"
ROW_NS = 10_000_000
PROBE_NS = 2_000_000
LEAST_EIR = 0.2
"""Share of the CIR from which on an EIR decides how much is offered to the policer (Y.1564, 8.1.2)."""
BEYOND = 1.25
BURST_TIMES = 4
"""A burst comes at so many times the CIR, or as the port can: a sender keeps that pace, and tokens do not care."""
CLEAR = 1.05
"""A policer is tested by offering at least so many times what it may let through."""
BURST = 0.05
"""Share of a burst that may be lost: a policer counts in packets and ticks, and a hundred packets prove no less."""
TELLING, LEAST_PACKETS = 100, 2
"""A burst comes again until so many packets tell of it; one packet is none."""
BURST_REST_S = 0.2
"""Between two of them at least."""
BURST_SLACK_S = 1.0
"""For bursts whose sender is late."""


def _distinct(steps: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(steps)) < len(steps):
        raise wrong("A step is there twice.", "Write each once, as [25, 50, 75, 100].")
    return steps


class ConfigurationParams(ServiceParams):
    steps: Annotated[
        tuple[Annotated[int, Field(ge=1, le=100)], ...], Field(min_length=1, max_length=10), AfterValidator(_distinct)
    ] = (25, 50, 75, 100)
    """Percent of the CIR, in this order."""
    step_ns: Duration = Field(default=10_000_000_000, alias="step", ge=2_000_000_000, le=600_000_000_000)
    """How long each takes."""
    rest_ns: Duration = Field(default=1_000_000_000, alias="rest", ge=200_000_000, le=60_000_000_000)
    """Between two of them: queues drain and token buckets fill."""
    policing: bool = True
    """Whether more is offered than CIR and EIR, to see what is let through; needs a port with room above them."""

    def criteria(self, circuit: Circuit) -> tuple[CriterionSpec, ...]:
        return tuple(
            spec
            for service in self.services.values()
            for load in self.loads(service, circuit, min(map(circuit.committed_bps, circuit.pairs)))
            for named in self.direction_loads(load)
            for spec in self._required(service, load, named, circuit)
        )

    def _required(self, service: Service, load: str, named: str, circuit: Circuit) -> Iterator[CriterionSpec]:
        if load.endswith("% CIR"):
            yield from self.met(service, named, int(load.split("%")[0]) / 100, circuit)
        elif load == COMMITTED_BURST:
            said = {"metric": "loss", "statistic": "ratio", "at_most": str(BURST), "load": named, "rows": ("EC-036",)}
            yield CriterionSpec.model_validate({**said, "class": self.scope_name(service) or None})
        elif load in (EXCESS, POLICING):
            yield self.least(service, named, 1.0, circuit)
        if load == POLICING:
            most = (service.cir + service.eir).bound(1 + self.margin)
            yield self.rate_bound(service, named, {"at_most": most}, "EC-036", mandatory=False)

    def loads(self, service: Service, circuit: Circuit, order_bps: int) -> tuple[str, ...]:
        """The names of a service's steps, in order."""
        found = [f"{percent}% CIR" for percent in self.steps]
        if service.eir:
            found.append(EXCESS)
        if self.policing and policed_bps(service, circuit, order_bps) is not None:
            found.append(POLICING)
        if service.cbs_bytes:
            found.append(COMMITTED_BURST)
        if service.ebs_bytes:
            found.append(EXCESS_BURST)
        return tuple(found)


def policed_bps(service: Service, circuit: Circuit, order_bps: int) -> int | None:
    """What is offered to see the policer: CIR + 1.25·EIR if the EIR is at least a fifth of the CIR, else 1.25·CIR + EIR
    (Y.1564, 8.1.2), at most what the port carries; None where that is hardly more than CIR and EIR."""
    cir, eir = service.cir.of(order_bps), service.eir.of(order_bps)
    wanted = cir + BEYOND * eir if eir >= LEAST_EIR * cir else BEYOND * cir + eir
    offered = min(wanted, port_bps(service, circuit))
    return round(offered) if offered >= CLEAR * (cir + eir) else None


def port_bps(service: Service, circuit: Circuit) -> float:
    """What the port carries of packets of this service, at the ordered layer."""
    layer, ip_bytes = circuit.rate_layer or Layer.L2, service.packet_bytes + headers_bytes()
    return convert(circuit.port.speed_bps, Layer.L1, layer, ip_bytes, tagged=circuit.vbrs[0].vlan != 0)


class ServiceConfiguration:
    name = "service-configuration"
    parameters = ConfigurationParams
    statistics: Mapping[str, Collection[str]] = service_result.STATISTICS

    def tasks(self, params: ConfigurationParams, step: str, context: Context) -> tuple[Task, ...]:
        params.must_fit(context)
        return tuple(
            self._task(params, step, context, name, service, direction)
            for name, service in params.services.items()
            for direction in params.direction
        )

    def _task(
        self, params: ConfigurationParams, step: str, context: Context, name: str, service: Service, way: Direction
    ) -> Task:
        order, circuit = context.committed_bps, context.circuit
        loads = params.loads(service, circuit, order)
        beside = service_tasks.stream(params, [service], 1.0, PROBE_NS)
        phases = _phases(params, name, service, loads, context, beside)
        both = way is Direction.BOTH
        if both:
            loads = tuple(map(in_both, loads))
            phases = [
                {**phase, "name": phase["name"] if phase["name"] == REST else in_both(phase["name"])}
                for phase in phases
            ]
        return service_tasks.task(
            self.name,
            params,
            step,
            context,
            way,
            {name: (service, phases)},
            service_tasks.stream(params, [service], service_tasks.seconds_of(phases), PROBE_NS),
            in_both(SCOPE_LOAD) if both else SCOPE_LOAD,
            loads,
            f"{step}-{name}-{way.value}" if len(params.services) > 1 else f"{step}-{way.value}",
            ROW_NS,
            ("throughput.udp", "loss"),
        )

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        return not_completed(task, files) or service_result.by_step(task, files, context)


def _phases(
    params: ConfigurationParams, name: str, service: Service, loads: tuple[str, ...], context: Context, beside: Stream
) -> list[dict[str, Any]]:
    """Each load for its time, with a rest before the next one. Raises ``wrong``."""
    order = context.committed_bps
    policed = policed_bps(service, context.circuit, order) or 0
    rates: dict[str, Portion] = {EXCESS: service.cir + service.eir, POLICING: Portion(bps=policed)}
    phases: list[dict[str, Any]] = []
    for load in loads:
        rest = params.rest_ns / 1e9
        packet = {"packet_bytes": service.packet_bytes}
        if load in (COMMITTED_BURST, EXCESS_BURST):
            phase = {"name": load, **packet, **_bursts(name, service, load, context, beside)}
            rest = max(rest, phase["bursts"]["rest_s"])
        else:
            asked = rates.get(load) or Portion(bps=round(service.cir.of(order) * int(load.split("%")[0]) / 100))
            rate = service_tasks.less_probes(asked.of(order), beside, name, context)
            phase = {"name": load, "seconds": params.step_ns / 1e9, "rate_bps": rate, **packet}
        if phases:
            phases.append({"name": REST, "seconds": rest, "rate_bps": 0, **packet})
        phases.append(phase)
    return phases


def _bursts(name: str, service: Service, load: str, context: Context, beside: Stream) -> dict[str, Any]:
    """Whole packets that a full bucket of tokens holds, with what the CIR fills meanwhile and less the probes that fall
    into them; after a rest in which it fills again, as often as it takes to be sure of them. Raises ``wrong``."""
    cir = service.cir.of(context.committed_bps)
    rate = round(min(port_bps(service, context.circuit), BURST_TIMES * cir))
    if rate < BEYOND * cir:
        said = f"A burst of {name} cannot be told from its CIR of {rate_text(cir)} on this port."
        raise wrong(said, "Leave out its `cbs` and `ebs`.", at=("services", name, "cbs"))
    burst_bits = ((service.cbs_bytes or 0) + ((service.ebs_bytes or 0) if load == EXCESS_BURST else 0)) * 8
    packet_bits = 8 * (service.packet_bytes + overhead_bytes(context.layer, tagged=context.tagged))
    probes_bps = beside.rate_bps(context.layer, context.tagged)
    probe_bits = probes_bps * beside.mean_interval_ns / 1e9
    seconds = burst_bits / (rate - cir)
    packets = int((seconds * (rate - probes_bps) - probe_bits) / packet_bits)
    if packets < LEAST_PACKETS:
        said = f"The burst of {name} is less than {LEAST_PACKETS} of its packets."
        raise wrong(said, "Raise its `cbs`, or make its `packet` smaller.", at=("services", name, "cbs"))
    times = math.ceil(TELLING / packets)
    rest = max(BURST_REST_S, BEYOND * burst_bits / (cir - probes_bps))
    bursts = {"packets": packets, "times": times, "rest_s": rest, "refill_bps": cir}
    return {"seconds": times * (seconds + rest) + BURST_SLACK_S, "rate_bps": rate, "bursts": bursts}
