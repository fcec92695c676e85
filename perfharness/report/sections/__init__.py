"""The sections in their order. A new one is a file with ``build`` and a line here."""

from __future__ import annotations

from collections.abc import Callable

from perfharness.report.blocks import Section
from perfharness.report.dossier import Dossier
from perfharness.report.sections import (
    capacity,
    checklist,
    circuit,
    declared,
    delay,
    deviations,
    diagnosis,
    distribution,
    evidence,
    failover,
    flows,
    hosts,
    latency,
    ledger,
    losses,
    methods,
    oneway,
    ordered,
    path,
    rebuild,
    reroutes,
    rfc6349,
    service,
    summary,
    throughput,
)

SECTIONS: tuple[Callable[[Dossier], Section], ...] = (
    summary.build,
    circuit.build,
    diagnosis.build,
    ordered.build,
    declared.build,
    checklist.build,
    path.build,
    throughput.build,
    rfc6349.build,
    capacity.build,
    service.build,
    delay.build,
    distribution.build,
    latency.build,
    oneway.build,
    reroutes.build,
    flows.build,
    failover.build,
    losses.build,
    ledger.build,
    hosts.build,
    deviations.build,
    methods.build,
    evidence.build,
    rebuild.build,
)
