"""Judged runs made up for the report's tests: one that passes, one at half the rate, one with an unfit host."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from perfharness.model import (
    Diagnosis,
    Evidence,
    Finding,
    Fitness,
    Interval,
    LedgerRow,
    Measurement,
    Run,
    Segment,
    Verdict,
)
from perfharness.order.circuit import Circuit
from perfharness.order.scenario import Scenario, load_scenario
from tests.unit.finding_builder import file, findings
from tests.unit.measurement_builder import A_Z, CIRCUIT_ID, measurements, scope

ORDER: dict[str, Any] = {
    "format_version": "1",
    "id": CIRCUIT_ID,
    "carrier": {"name": "ExampleTel", "circuit": "EXT-0042", "loa": "LOA-2027-118"},
    "region": "cn-hangzhou",
    "access_point": "ap-cn-hangzhou-xs-A",
    "environment": "lab",
    "in_service": "false",
    "rate_layer": "L2",
    "port": {"id": "pc-bp1example", "type": "1000Base-LX", "speed": "1Gbps"},
    "vbrs": [
        {
            "id": "vbr-bp1example",
            "vlan": "100",
            "bandwidth": "1Gbps",
            "link": {"customer": "172.16.100.2/30", "cloud": "172.16.100.1/30"},
            "bgp": {"customer_as": "65010"},
        }
    ],
    "prefixes": {"onprem": ["10.10.0.0/16"], "cloud": ["192.168.0.0/16"]},
    "objectives": {"rtt": "5ms", "pdv": "2ms", "loss": "0.01%", "pmtu": "1500B"},
    "endpoints": {
        "onprem": {
            "site": "onprem",
            "ssh": {"host": "ph-onprem"},
            "interface": "eth0",
            "address": "10.10.0.10",
            "ports": "862, 5201-5216",
        },
        "ecs": {
            "site": "cloud",
            "ssh": {"host": "ph-ecs"},
            "interface": "eth0",
            "address": "192.168.10.10",
            "ports": "862, 5201-5216",
        },
    },
    "waivers": [
        {
            "row": "EC-050",
            "who": "Head of Networks",
            "why": "the second circuit is ordered for the third quarter",
            "until": "2027-09-30",
        }
    ],
}


def circuit(**changes: Any) -> Circuit:
    """The order as if read from a file; ``changes`` replace its top-level keys."""
    return Circuit.model_validate({**ORDER, **changes})


def scenario() -> Scenario:
    return load_scenario("smoke")


def passing(**changes: Any) -> Run:
    """Everything as ordered; one recommendation is missed, one row not measured, one waived."""
    return replace(_run(measurements(1.0), findings(1.0), Verdict.PASS), **changes)


def half_rate() -> Run:
    """The circuit carries half of what was ordered: a FAIL with its cause."""
    cause = Diagnosis(
        cause="shaped-below-order",
        certainty="likely",
        segment=Segment.BETWEEN,
        owner="carrier",
        because=(
            "a-z: 498.6 Mbit/s arrive of 1 Gbit/s offered; the sender's interface transmitted all of it.",
            "The median RTT rises by 48.2 ms under the load: packets queue before they are lost.",
        ),
        against=("LAN, CE and VPC router lie between the hosts too; this run did not measure them apart.",),
        checklist=("EC-033",),
        next="Ask the carrier and the cloud for the rate set on the port and on the VBR.",
    )
    return replace(_run(measurements(0.5), findings(0.5), Verdict.FAIL), diagnosis=(cause,))


def host_loss() -> Run:
    """The receiver dropped what the circuit delivered: INCONCLUSIVE, and never the circuit's fault."""
    taken = tuple(_dropped(item) if item.task.id == "udp-a-z" else item for item in measurements(1.0))
    judged = tuple(
        replace(
            row,
            value=0.913e9,
            interval=Interval(0.905e9, 0.921e9, 0.95, "one", "Student's t, autocorrelation", 30),
            verdict=Verdict.INCONCLUSIVE,
            reason="ecs dropped 34,858 packets that had crossed the circuit, which explains all of the loss: "
            "the circuit's rate is not known. Repeat with a receiver that keeps up.",
        )
        if row.metric == "throughput.udp" and row.scope.direction is A_Z
        else row
        for row in findings(1.0)
    )
    cause = Diagnosis(
        "host-receive-buffer",
        "proven",
        Segment.HOST_Z,
        "own",
        ("34,858 packets arrived at the host and were dropped there (sock_diag drops of iperf3's socket).",),
        (),
        ("EC-042",),
        "Give the receiver more buffer or CPU and run the step again.",
    )
    return replace(
        _run(taken, judged, Verdict.INCONCLUSIVE),
        diagnosis=(cause,),
        notes=("ecs was under CPU pressure of another process during step udp.",),
    )


def _dropped(load: Measurement) -> Measurement:
    """A load towards ecs of which its receiver dropped a part."""
    counters = (file(load.task.id, "ecs.counters", "counters.jsonl"),)
    drops = LedgerRow(
        scope(A_Z, "udp"),
        "receiver socket buffer",
        Segment.HOST_Z,
        34_858,
        34_858,
        "sock_diag drops of iperf3's socket",
        False,
        counters,
    )
    shared = replace(
        drops, stage="receiver softnet", packets_lo=0, packets_hi=212, counter="softnet dropped", shared=True
    )
    reasons = ("its socket dropped 34,858 of the packets that arrived", "its CPU was 99 % busy")
    unfit = Fitness("ecs", load.task.id, False, reasons, counters)
    return replace(load, ledger=(drops, shared, *load.ledger), fitness=(*load.fitness[:1], unfit))


def empty() -> Run:
    """A run that was cut short before anything was measured."""
    return replace(_run((), (), Verdict.INCONCLUSIVE), evidence=(), ended="", notes=("The run was cut short.",))


def _run(measurements: tuple[Measurement, ...], findings: tuple[Finding, ...], verdict: Verdict) -> Run:
    return Run(
        run_id="20270225T093005Z-smoke-7c1e",
        circuit=CIRCUIT_ID,
        scenario="smoke",
        started="2027-02-25T09:30:05.118Z",
        ended="2027-02-25T09:33:41.402Z",
        version="0.1.0",
        verdict=verdict,
        findings=findings,
        diagnosis=(),
        measurements=measurements,
        evidence=_evidence(measurements, findings),
    )


def _evidence(measurements: tuple[Measurement, ...], findings: tuple[Finding, ...]) -> tuple[Evidence, ...]:
    """One entry for the run's own files and for each file that a finding names."""
    named = {path for row in findings for path in row.evidence}
    named |= {path for item in measurements for row in (*item.ledger, *item.fitness) for path in row.evidence}
    first = (
        "run.json",
        "order/circuit.yaml",
        "order/scenario.yaml",
        "plan.json",
        "hosts/onprem.json",
        "hosts/ecs.json",
    )
    paths = (*first, *sorted(named - set(first)), "end.json")
    return tuple(
        Evidence(
            path,
            hashlib.sha256(path.encode()).hexdigest(),
            480 + 7_919 * number,
            f"2027-02-25T09:31:{number:02}.000Z",
            path.split("/")[1] if path.startswith("raw/") else "",
            path.split("/")[2].split(".")[0] if path.startswith("raw/") else "",
        )
        for number, path in enumerate(paths)
    )
