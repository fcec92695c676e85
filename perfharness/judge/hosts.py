"""What the test hosts did wrong themselves: drops, CPU, clocks. It is never booked to the circuit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from perfharness.analysis.ledger import BURSTS
from perfharness.judge.material import harm, ids, judged_with, left_open, losses_of, missing, of_missing, segment_of
from perfharness.model import Diagnosis, Finding, LedgerRow, Measurement, Segment, Verdict

HOSTS = (Segment.HOST_A, Segment.HOST_Z)
INTERFACE = ("its interface", "its socket took no more")
"""How a reason begins that its network interface was the limit: then it offered less with CPU to spare."""


def host_receive_buffer(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """The receiving host dropped packets that had crossed the circuit, and a finding is the worse for it."""
    received = harm(findings, measurements, _dropped_by_receiver)
    for segment in HOSTS:
        here = [each for each in received if each.row.segment is segment]
        if here:
            yield Diagnosis(
                cause="host-receive-buffer",
                certainty="proven",
                segment=segment,
                owner="own",
                because=tuple(
                    f"{row.packets_lo:,} packets{of_missing(row, losses)} arrived at the host and were dropped there "
                    f"({row.counter})."
                    for row, losses, _ in here
                ),
                checklist=("EC-042",),
                next="Give the receiver more buffer or CPU and run the step again; do not call the carrier for this.",
                findings=ids(finding for each in here for finding in each.worse),
            )


def _dropped_by_receiver(row: LedgerRow) -> bool:
    return row.stage.startswith("receiver") and row.packets_lo > 0


def host_cpu(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """A tester did not keep up with what it was asked to send or receive."""
    for measurement in measurements:
        for fitness in measurement.fitness:
            reasons = tuple(reason for reason in fitness.reasons if "CPU" in reason or "offered" in reason)
            if reasons and not any(reason.startswith(INTERFACE) for reason in fitness.reasons):
                yield Diagnosis(
                    cause="host-cpu",
                    certainty="likely",
                    segment=segment_of(measurement, fitness.host),
                    owner="own",
                    because=tuple(f"{fitness.host} in {fitness.measurement}: {reason}." for reason in reasons),
                    checklist=("EC-033",),
                    next="Use a host with more CPU, or free this one, and run the step again.",
                    findings=ids(left_open(fitness, findings)),
                )


def host_nic(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """A tester's interface took less than its program had to send, and a finding is open for it."""
    for measurement in measurements:
        for fitness in measurement.fitness:
            open_ = left_open(fitness, findings)
            if open_ and any(reason.startswith(INTERFACE) for reason in fitness.reasons):
                yield Diagnosis(
                    cause="host-nic-limit",
                    certainty="likely",
                    segment=segment_of(measurement, fitness.host),
                    owner="own",
                    because=tuple(f"{fitness.host} in {fitness.measurement}: {each}." for each in fitness.reasons),
                    checklist=("EC-033",),
                    next="Use a faster interface, or lift the limit that its queue is set to, and run it again.",
                    findings=ids(open_),
                )


def sends_in_bursts(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """A sender that had to catch up sent faster than the ordered rate, and a finding is open: any queue on the way may
    have dropped just that, or half of what is missing at least."""
    for measurement in measurements:
        for row in measurement.ledger:
            losses = losses_of(row, measurement, findings)
            open_ = [each for each in judged_with(row, measurement, findings) if each.verdict is Verdict.INCONCLUSIVE]
            if row.stage == BURSTS and open_ and 0 < missing(row, losses) <= 2 * row.packets_hi:
                yield Diagnosis(
                    cause="host-cpu",
                    certainty="likely",
                    segment=row.segment,
                    owner="own",
                    because=(
                        f"It sent up to {row.packets_hi:,} packets{of_missing(row, losses)} faster than it was asked "
                        f"to, in bursts after pauses ({row.counter}).",
                    ),
                    against=("Where such bursts end is not known: the queue that they overflow may be anybody's.",),
                    checklist=("EC-033",),
                    next="Use a host with more CPU, or free this one, and run the step again.",
                    findings=ids(open_),
                )


def clock_unsynchronised(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """A requirement on one-way delay stays open, and the clocks are why. Without such a one, clocks do not matter."""
    still_open = [
        finding
        for finding in findings
        if finding.metric == "delay.oneway"
        and finding.operator is not None
        and finding.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_RUN)
    ]
    for measurement in measurements:
        concerned = [finding for finding in still_open if finding.task == measurement.task.id]
        known = measurement.facts.get("oneway", {})
        because = tuple(known.get("unsynchronised", ()))
        free = [host for host, told in known.get("clocks", {}).items() if told["error_ns"] is None]
        if concerned and because:
            yield Diagnosis(
                cause="clock-unsynchronised",
                certainty="proven",
                segment=segment_of(measurement, free[0]) if len(free) == 1 else Segment.BETWEEN,
                owner="own",
                because=because,
                checklist=concerned[0].checklist,
                next="Let chrony or ntpd follow servers that are not reached through the circuit, on both hosts; "
                "wait until they are in step and run the step again.",
                findings=ids(concerned),
            )
