"""Findings → causes. One rule a function, by subject in the files beside this one; every rule looks at all findings, so
several causes can hold at once.

A rule returns what it concludes, from which findings, and what speaks against it; what several causes mean together is
told in :mod:`perfharness.judge.weighing`. What lies between the hosts is not narrowed
to the circuit here: LAN, CE and VPC router lie there too, and each such diagnosis says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from perfharness.judge import mtu
from perfharness.judge.background import background_traffic
from perfharness.judge.ceiling import host_limit
from perfharness.judge.delay import above_objective, out_of_order
from perfharness.judge.edge import edge
from perfharness.judge.failover import failover_slow
from perfharness.judge.filtered import probes_filtered
from perfharness.judge.hosts import clock_unsynchronised, host_cpu, host_nic, host_receive_buffer, sends_in_bursts
from perfharness.judge.link import link_member
from perfharness.judge.loss import ce_drop, lan_loss, loss
from perfharness.judge.rate import below_order, metered_below_order
from perfharness.judge.reach import dscp_remarked, far_host_unreachable, other_circuit, port_blocked
from perfharness.judge.tcp import tcp_short
from perfharness.judge.weighing import weigh
from perfharness.model import Diagnosis, Finding, Measurement

Findings = Sequence[Finding]
Measurements = Sequence[Measurement]


def diagnose(findings: Findings, measurements: Measurements) -> tuple[Diagnosis, ...]:
    """Every cause that a rule recognises, weighed against the others; the certain first and along the path."""
    return weigh((diagnosis for rule in RULES for diagnosis in rule(findings, measurements)), findings)


RULES: tuple[Callable[[Findings, Measurements], Iterable[Diagnosis]], ...] = (
    edge,
    far_host_unreachable,
    other_circuit,
    host_receive_buffer,
    lan_loss,
    ce_drop,
    host_cpu,
    host_nic,
    sends_in_bursts,
    host_limit,
    background_traffic,
    below_order,
    tcp_short,
    metered_below_order,
    *mtu.RULES,
    loss,
    dscp_remarked,
    link_member,
    failover_slow,
    clock_unsynchronised,
    probes_filtered,
    above_objective,
    out_of_order,
    port_blocked,
)
