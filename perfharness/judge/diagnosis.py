"""Findings → causes. One rule a function; every rule looks at all findings, so several causes can hold at once.

A rule returns what it concludes and what speaks against it. What lies between the hosts is not narrowed
to the circuit here: LAN, CE and VPC router lie there too, and each such diagnosis says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from perfharness.judge.ceiling import host_limit, proven
from perfharness.judge.filtered import swallowed
from perfharness.judge.link import link_member
from perfharness.judge.material import (
    MATERIAL,
    NOT_NARROWED,
    judged_with,
    losses_of,
    matters,
    missing,
    of_ce,
    of_missing,
    where,
)
from perfharness.judge.tcp import tcp_short
from perfharness.model import Diagnosis, Finding, Measurement, Segment, Verdict

SHAPER_QUEUE_NS = 5_000_000
"""A shaper delays before it drops: at least this much more RTT under an overload than when idle."""
NOT_NARROWED_PAST_CE = "LAN and VPC router lie between the hosts too; this run did not measure them apart."
NOT_THE_HOSTS = "The hosts' own counters do not explain it."
NOT_THE_CE = "The counters of the hosts and of the CE do not explain it."
LOST_IDLE = "Packets are lost in this direction without a load as well: that may be all that is missing."
UNSEEN_LIMIT = (
    "An instance's limit drops without a counter in it, and no bracket run of this run shows that both hosts can do "
    "what was asked of them."
)
FIREWALL = "Compare with the firewall rules that `plan --firewall` prints."
ROUTE = "Compare the hops both ways with the ordered route and ask the carrier for the path in use."
ASK_FOR_RATE = "Ask the carrier and the cloud for the rate set on the port and on the VBR."
HOSTS = (Segment.HOST_A, Segment.HOST_Z)
OWNER_OF_SIDE = {"onprem": "own", "cloud": "cloud"}
SPEAKER = (
    "By the order that router is of this side: its interface is too small, or what it was told of the link behind it."
)

Findings = Sequence[Finding]
Measurements = Sequence[Measurement]


def diagnose(findings: Findings, measurements: Measurements) -> tuple[Diagnosis, ...]:
    """Every cause that a rule recognises, in the order of the rules."""
    return tuple(diagnosis for rule in RULES for diagnosis in rule(findings, measurements))


def host_receive_buffer(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """The receiving host dropped packets that had crossed the circuit, and a finding is the worse for it."""
    for segment in HOSTS:
        because = tuple(
            f"{row.packets_lo:,} packets{of_missing(row, losses)} arrived at the host and were dropped there "
            f"({row.counter})."
            for measurement in measurements
            for row in measurement.ledger
            if row.segment is segment and row.stage.startswith("receiver") and row.packets_lo > 0
            for losses in (losses_of(row, measurement, findings),)
            if matters(row, losses, judged_with(row, measurement, findings))
        )
        if because:
            yield Diagnosis(
                cause="host-receive-buffer",
                certainty="proven",
                segment=segment,
                owner="own",
                because=because,
                checklist=("EC-042",),
                next="Give the receiver more buffer or CPU and run the step again; do not call the carrier for this.",
            )


def ce_drop(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """The CE's counters of drops rose when packets were lost, and a finding is the worse for it."""
    because = tuple(
        f"{row.stage}: up to {row.packets_hi:,} packets{of_missing(row, losses)} ({row.counter})."
        for measurement in measurements
        for row in measurement.ledger
        if of_ce(row) and row.packets_hi > 0
        for losses in (losses_of(row, measurement, findings),)
        if any(loss.verdict is not Verdict.PASS for loss in losses)
        if row.packets_hi >= MATERIAL * missing(row, losses)
    )
    if because:
        yield Diagnosis(
            cause="ce-drop",
            certainty="likely",
            segment=Segment.CE,
            owner="own",
            because=because,
            against=("The CE's counters count all traffic that passes it, so that the drops may be of other packets.",),
            checklist=("EC-048",),
            next="Look at queue limits, rates and CPU of the CE; run the step again without other traffic on it.",
        )


def host_cpu(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """A tester did not keep up with what it was asked to send or receive."""
    for measurement in measurements:
        for fitness in measurement.fitness:
            reasons = tuple(reason for reason in fitness.reasons if "CPU" in reason or "offered" in reason)
            if reasons:
                yield Diagnosis(
                    cause="host-cpu",
                    certainty="likely",
                    segment=_segment(measurement, fitness.host),
                    owner="own",
                    because=tuple(f"{fitness.host} in {fitness.measurement}: {reason}." for reason in reasons),
                    checklist=("EC-033",),
                    next="Use a host with more CPU, or free this one, and run the step again.",
                )


def below_order(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """Less than the committed rate arrives although the hosts sent it and dropped nothing."""
    lossy = {loss.scope.direction for loss in _failed(findings, "loss") if loss.scope.load == "idle"}
    for finding in _failed(findings, "throughput.udp"):
        if finding.operator == "<=" and _exceeds(finding):
            continue  # a policer that lets too much through
        rise = _delay_rise(findings, finding)
        if rise is None:
            cause, because = (
                "policed-below-order",
                "There is no delay figure under load to tell a policer from a shaper.",
            )
            certainty = "possible"
        elif rise >= SHAPER_QUEUE_NS:
            cause, certainty = "shaped-below-order", "likely"
            because = f"The median RTT rises by {rise / 1e6:.1f} ms under the load: packets queue before they are lost."
        else:
            cause, certainty = "policed-below-order", "likely"
            because = (
                f"The median RTT rises by only {rise / 1e6:.1f} ms under the load: packets are lost without a queue."
            )
        also = (LOST_IDLE,) if finding.scope.direction in lossy and cause != "shaped-below-order" else ()
        yield Diagnosis(
            cause=cause,
            certainty="possible" if also else certainty,
            segment=Segment.BETWEEN,
            owner="carrier",
            because=(f"{where(finding)}: {finding.reason}", because),
            against=(NOT_NARROWED, *also, *(() if _can(finding, measurements) else (UNSEEN_LIMIT,))),
            checklist=finding.checklist,
            next=ASK_FOR_RATE,
        )


def metered_below_order(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """An overload was cut to less than the committed rate, and the meter's own behaviour tells what it is."""
    for finding in _failed(findings, "capacity.sustained"):
        way = str(finding.scope.direction)
        facts = {item.task.id: item.facts.get("capacity", {}).get(way, {}) for item in measurements}[finding.task]
        meters = [
            item.facts["policing"][way]
            for item in measurements
            if item.task.scope.pair == finding.scope.pair and way in item.facts.get("policing", {})
        ]
        how = next((meter["kind"] for meter in meters if meter["kind"]), facts.get("limited_by", {}).get("how"))
        yield Diagnosis(
            cause="shaped-below-order" if how == "shaper" else "policed-below-order",
            certainty="likely" if how else "possible",
            segment=Segment.BETWEEN,
            owner="carrier",
            because=(
                f"{where(finding)}: {finding.reason}",
                *(f"It {meter['sentence']}." for meter in meters if meter["sentence"]),
            ),
            against=(NOT_NARROWED,),
            checklist=finding.checklist,
            next=ASK_FOR_RATE,
        )


def _can(finding: Finding, measurements: Measurements) -> bool:
    """Both ends are proven to do by themselves what this load asked of them."""
    item = next((item for item in measurements if item.task.id == finding.task), None)
    return item is not None and proven(finding.scope.direction, item, measurements)


def mtu(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """Packets of the ordered size do not arrive."""
    for finding in _failed(findings, "pmtu"):
        hole = "black hole" in finding.reason
        facts = next((item.facts for item in measurements if item.task.id == finding.task), {})
        side = facts.get(str(finding.scope.direction), {}).get("said_on_side", "")
        yield Diagnosis(
            cause="mtu-black-hole" if hole else "mtu-below-plan",
            certainty="proven",
            segment=Segment.BETWEEN,
            owner=OWNER_OF_SIDE.get(side, "carrier"),
            because=(f"{where(finding)}: {finding.reason}", *([SPEAKER] if side else [])),
            against=(NOT_NARROWED,),
            checklist=("EC-029", "EC-030") if hole else ("EC-029",),
            next="Compare the MTU of both hosts, the CE, the VBR and the circuit; let ICMP Packet Too Big through.",
        )


def loss(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """Packets are lost between the hosts without load."""
    failed = [finding for finding in _failed(findings, "loss") if finding.scope.load == "idle"]
    directions = {finding.scope.direction for finding in failed}
    for finding in failed:
        read = any(of_ce(row) for item in measurements if item.task.id == finding.task for row in item.ledger)
        yield Diagnosis(
            cause="loss-one-way" if len(directions) == 1 else "unattributed-loss",
            certainty="proven",
            segment=Segment.BETWEEN,
            owner="carrier",
            because=(
                f"{where(finding)}: {finding.reason}",
                NOT_THE_CE if read else NOT_THE_HOSTS,
                *_other_classes(finding, findings),
            ),
            against=(NOT_NARROWED_PAST_CE if read else NOT_NARROWED,),
            checklist=finding.checklist,
            next="Ask the carrier for the interface counters over the same window."
            if read
            else "Read the interface counters of the CE and ask the carrier for theirs over the same window.",
        )


def _other_classes(failed: Finding, findings: Findings) -> tuple[str, ...]:
    """What the same criterion says of the classes that were sent at the same time."""
    same = [
        finding.scope.service
        for finding in findings
        if (finding.task, finding.metric, finding.statistic, finding.scope.direction)
        == (failed.task, failed.metric, failed.statistic, failed.scope.direction)
        and finding.scope.service != failed.scope.service
        and finding.verdict is Verdict.PASS
    ]
    if not same:
        return ()
    said = f"At the same time nothing of the kind befell {', '.join(same)}: ask how class {failed.scope.service} is "
    return (said + "queued and policed.",)


def dscp_remarked(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """Packets arrive in another class than they were sent in."""
    for finding in findings:
        if finding.metric == "dscp" and finding.verdict in (Verdict.FAIL, Verdict.WARN):
            yield Diagnosis(
                cause="dscp-remarked",
                certainty="proven",
                segment=Segment.BETWEEN,
                owner="carrier",
                because=(f"{where(finding)}: {finding.reason}",),
                against=(NOT_NARROWED,),
                checklist=finding.checklist,
                next="Ask the carrier and the cloud which DSCPs they keep, and look at the trust settings of the CE.",
            )


def clock_unsynchronised(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """A requirement on one-way delay stays open, and the clocks are why. Without such a one, clocks do not matter."""
    open_tasks = {
        finding.task: finding
        for finding in findings
        if finding.metric == "delay.oneway"
        and finding.operator is not None
        and finding.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_RUN)
    }
    for measurement in measurements:
        finding = open_tasks.get(measurement.task.id)
        known = measurement.facts.get("oneway", {})
        because = tuple(known.get("unsynchronised", ()))
        free = [host for host, told in known.get("clocks", {}).items() if told["error_ns"] is None]
        if finding is not None and because:
            yield Diagnosis(
                cause="clock-unsynchronised",
                certainty="proven",
                segment=_segment(measurement, free[0]) if len(free) == 1 else Segment.BETWEEN,
                owner="own",
                because=because,
                checklist=finding.checklist,
                next="Let chrony or ntpd follow servers that are not reached through the circuit, on both hosts; "
                "wait until they are in step and run the step again.",
            )


def probes_filtered(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """No probe came back, and a packet filter is why."""
    because: dict[str, list[str]] = {}
    for measurement in measurements:
        for told in swallowed(measurement, measurements):
            because.setdefault(f"{told.host}: {told.reasons[0]}.", []).append(told.measurement)
    if because:
        yield Diagnosis(
            cause="probes-filtered",
            certainty="likely",
            segment=Segment.BETWEEN,
            owner="own",
            because=tuple(f"{', '.join(tasks)}: {said}" for said, tasks in because.items()),
            against=(NOT_NARROWED,),
            checklist=("EC-025",),
            next=FIREWALL,
        )


def objectives(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """Delay or variation beyond what was ordered, and ports that are closed."""
    causes = {
        "delay.rtt": "delay-above-objective",
        "delay.oneway": "delay-above-objective",
        "variation.pdv": "jitter-above-objective",
        "variation.ipdv": "jitter-above-objective",
        "port": "port-blocked",
    }
    lossy = {loss.task for loss in _failed(findings, "loss")}
    for cause, finding in ((cause, each) for metric, cause in causes.items() for each in _failed(findings, metric)):
        if finding.value == math.inf and finding.task in lossy:
            continue  # the packets that were lost are late for ever: the loss has its own cause
        own = cause == "port-blocked"
        yield Diagnosis(
            cause=cause,
            certainty="proven",
            segment=Segment.BETWEEN,
            owner="own" if own else "carrier",
            because=(f"{where(finding)}: {finding.reason}", *_other_classes(finding, findings)),
            against=(NOT_NARROWED,),
            checklist=finding.checklist,
            next=FIREWALL if own else ROUTE,
        )


RULES: tuple[Callable[[Findings, Measurements], Iterable[Diagnosis]], ...] = (
    host_receive_buffer,
    ce_drop,
    host_cpu,
    host_limit,
    below_order,
    tcp_short,
    metered_below_order,
    mtu,
    loss,
    dscp_remarked,
    link_member,
    clock_unsynchronised,
    probes_filtered,
    objectives,
)


def _failed(findings: Findings, metric: str) -> list[Finding]:
    return [finding for finding in findings if finding.metric == metric and finding.verdict is Verdict.FAIL]


def _delay_rise(findings: Findings, of: Finding) -> float | None:
    """Median RTT beside this load less the idle median of the same pair, ns; of several pairs, of the longest."""

    def median(metric: str, beside: tuple[str, str] | None) -> float | None:
        values = [
            finding.value
            for finding in findings
            if finding.metric == metric
            and finding.statistic == "p50"
            and set(finding.scope.pairs) <= set(of.scope.pairs)
            and beside in (None, (finding.task, finding.scope.load))
        ]
        known = [value for value in values if isinstance(value, int | float)]
        return max(known) if known and len(of.scope.pairs) > 1 else next(iter(known), None)

    loaded, idle = median("delay.loaded", (of.task, of.scope.load)), median("delay.rtt", None)
    return None if loaded is None or idle is None else loaded - idle


def _exceeds(finding: Finding) -> bool:
    value, limit = finding.value, finding.threshold
    return isinstance(value, int | float) and isinstance(limit, int | float) and value > limit


def _segment(measurement: Measurement, host: str) -> Segment:
    return Segment.HOST_A if host in {a for a, _ in measurement.task.scope.pairs} else Segment.HOST_Z
