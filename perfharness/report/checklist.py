"""The acceptance checklist of an Express Connect circuit: each row, what can see it, and how it stands after a run.

The judge names rows; here are their words, so that a report can also name those it says nothing about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from perfharness.model import Finding, Measurement, Run, Status, Verdict

HOSTS, EDGE, CLOUD, FILE, SELF = (
    "other tests between the hosts",
    "the edge router",
    "the cloud API",
    "the order",
    "the harness",
)


@dataclass(frozen=True, slots=True)
class Item:
    id: str
    requirement: str
    needs: tuple[str, ...]
    """Any of these can see it, at least in part."""
    steps: tuple[str, ...] = ()
    """Measurements that answer it."""
    metrics: tuple[str, ...] = ()
    """How the names of the figures (``metric.statistic``) begin that tell of it, also where nothing is required."""


def _items(*rows: tuple[Any, ...]) -> tuple[Item, ...]:
    """Of (requirement, needs, steps in one word, metrics in one word), numbered from EC-001."""
    return tuple(
        Item(f"EC-{number:03}", words, needs, *(tuple(names.split()) for names in rest))
        for number, (words, needs, *rest) in enumerate(rows, 1)
    )


CHECKLIST = _items(
    ("documented plan", (FILE,)),
    ("change record", (FILE,)),
    ("no overlap of address ranges", (FILE, CLOUD)),
    ("VLAN valid and free", (FILE, CLOUD, EDGE), "edge", "vlan"),
    ("link mask", (FILE, CLOUD)),
    ("region fits the access point", (CLOUD, HOSTS), "latency"),
    ("cloud host has no public address", (CLOUD,)),
    ("tools present", (HOSTS,), "host", "tools"),
    ("provisioned as ordered", (CLOUD, FILE), "edge"),
    ("circuit enabled", (CLOUD,)),
    ("link layer up", (EDGE, HOSTS), "edge", "portspec.carrier portspec.speed portspec.duplex"),
    ("optics in range", (EDGE,), "edge", "portspec.light"),
    ("VLAN matches end to end", (HOSTS, EDGE), "edge", "vlan"),
    ("link addresses match the plan", (EDGE, CLOUD), "edge", "portspec.link_address"),
    ("route VPC to on-prem", (CLOUD, HOSTS), "edge", "route.to_onprem"),
    ("route on-prem to VPC", (HOSTS, EDGE), "edge", "route.to_cloud"),
    ("BGP established and stable", (EDGE, CLOUD), "edge", "bgp.established bgp.flaps"),
    ("AS numbers agree", (EDGE, CLOUD), "edge", "bgp.as_agree"),
    ("TCP 179 reachable on the link", (EDGE,), "edge", "bgp.port_open"),
    ("prefixes as expected", (EDGE, CLOUD), "edge", "bgp.missing bgp.extra"),
    ("no default or over-broad route", (EDGE, CLOUD), "edge", "bgp.broad"),
    ("prefix limit and filters set", (EDGE, CLOUD), "edge", "bgp.limit_share bgp.guarded"),
    ("no prefix leak across a change", (EDGE, CLOUD), "edge", "route.leaked route.changed"),
    ("reachable both ways", (HOSTS,), "path", "path.reachable"),
    ("declared ports open", (HOSTS,), "path", "port.blocked"),
    ("undeclared ports closed", (HOSTS,), "path", "port.open_undeclared"),
    ("not through the Internet", (HOSTS,), "path", "path.internet"),
    ("forward and reverse path", (HOSTS,), "path", "path.symmetric"),
    ("path MTU in each direction", (HOSTS,), "pmtu", "pmtu.largest"),
    ("no MTU black hole", (HOSTS,), "pmtu", "pmtu.swallowed"),
    ("MSS clamping", (HOSTS,), "pmtu", "pmtu.mss_cut"),
    ("MTU the same everywhere", (HOSTS, EDGE, CLOUD), "pmtu edge", "pmtu.host_excess portspec.mtu"),
    ("ordered throughput in each direction", (HOSTS,), "throughput capacity", "throughput. capacity."),
    ("full duplex", (HOSTS,), "throughput"),
    ("committed rate carried without loss", (HOSTS,), "throughput service-configuration"),
    ("policing above the committed rate", (HOSTS,), "policing service-configuration", "policing"),
    ("TCP efficiency, buffer delay, transfer time", (HOSTS,), "rfc6349", "tcp."),
    ("one stream against the limit per flow", (HOSTS,), "rfc6349"),
    ("latency when idle", (HOSTS,), "latency", "delay.rtt delay.oneway"),
    ("latency under load", (HOSTS,), "throughput", "delay.loaded"),
    ("delay variation", (HOSTS,), "latency", "variation."),
    ("loss in each direction", (HOSTS,), "latency", "loss"),
    ("loss pattern", (HOSTS,), "latency"),
    ("reordering and duplication", (HOSTS,), "latency", "reordering duplication"),
    ("DSCP preserved", (HOSTS,), "path latency", "dscp"),
    ("every member of a link group healthy", (HOSTS,), "flows", "flows"),
    ("availability over hours", (HOSTS,), "latency", "availability"),
    ("interface error counters", (HOSTS, EDGE), "edge", "portspec.errors portspec.discards"),
    ("the circuit was quiet", (EDGE, HOSTS)),
    ("two circuits, access points, routers, carriers", (FILE, CLOUD)),
    ("BFD or health check on", (EDGE, CLOUD), "edge", "bgp.bfd"),
    ("failover works", (HOSTS,), "failover", "outage.duration"),
    ("failback works", (HOSTS,), "failover", "outage.failback outage.flaps"),
    ("active/active splits", (HOSTS,), "failover", "outage.split"),
    ("the survivor carries the load", (HOSTS,)),
    ("VPN backup takes over", (HOSTS,)),
    ("segmentation", (HOSTS,), "path", "port.forbidden_open"),
    ("encryption where policy says so", (HOSTS,)),
    ("naming", (FILE, CLOUD)),
    ("tags", (FILE, CLOUD)),
    ("runbook complete", (FILE,)),
    ("cloud metrics agree with ours", (CLOUD,)),
    ("alerts exist", (CLOUD,)),
    ("no configuration change during the test", (CLOUD, EDGE)),
    ("no secret in any output", (SELF,)),
    ("nothing left behind", (SELF,)),
)


_STEP = {"edge": "`edge` (and a router that it can ask under `ce:` of the order)"}
_TWICE = "Needs two steps `edge`, the later one with `stable: true`, and a router that they can ask under `ce:`."
REMEDIES = {
    "EC-007": "No measurement sees it: look up the instance's public IP and EIP in the cloud's console.",
    "EC-010": "No measurement sees it: look up the physical connection's two statuses in the cloud's console.",
    "EC-023": _TWICE,
    "EC-048": _TWICE,
    "EC-049": "No step reads what others sent meanwhile, but for a load in service (`in_service: true` and "
    "a CE of Linux under `ce:`): read the port's rate at the CE for the time of this run.",
    "EC-055": "Needs a step `throughput` with `without:`, which cuts the circuit meanwhile (scenario `failover`).",
    "EC-056": "Needs steps `path` and `pmtu` with `without:` whose `judge:` names EC-056: they stand ready in the "
    "scenario `failover`, and `objectives: vpn_pmtu:` of the order says what must fit.",
    "EC-058": "No step looks into packets: capture a few on the circuit, or read the IPsec counters of your gateways.",
    "EC-062": "No step reads the cloud's metrics: compare its rate, drops and health check of this time with ours.",
    "EC-063": "No measurement sees it: look up the alert rules for link, BGP and utilisation in the cloud's console.",
    "EC-064": "No step reads audit events: look up this window's in the cloud's console and in the router's log.",
}
"""What to do about rows that no measurement answers by itself, or that one answers only where a scenario says so."""


def is_declared(row: Finding) -> bool:
    """The order itself answers it, without a measurement."""
    return row.metric == "portspec" and row.statistic == "declared"


MEASURED, DECLARED, NOT_MEASURED = "measured", "declared", "not measured"
WORST = (
    Verdict.FAIL,
    Verdict.INCONCLUSIVE,
    Verdict.NOT_RUN,
    Verdict.WARN,
    Verdict.WAIVED,
    Verdict.PASS,
    Verdict.NOT_APPLICABLE,
)
"""Of a row's findings the first of these stands for the row: what is open in one direction is open."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one row stands after a run."""

    item: Item
    standing: str
    """``measured``, ``declared`` (the order says so, and nothing has seen it) or ``not measured``."""
    verdict: Verdict
    findings: tuple[Finding, ...]
    """That tell of it, the worst first."""
    why: str = ""
    """Of a row that was not measured, or that was and nothing was required: why."""


def standings(run: Run) -> tuple[Standing, ...]:
    """All rows of the checklist, each once, in their order."""
    return tuple(_doubted(_standing(item, run), run) for item in CHECKLIST)


def _doubted(row: Standing, run: Run) -> Standing:
    """A pass that a diagnosis speaks against is open."""
    named = [
        one.cause for one in run.diagnosis if row.item.id in one.checklist and one.certainty in ("proven", "likely")
    ]
    if row.verdict is not Verdict.PASS or not named:
        return row
    return replace(row, verdict=Verdict.INCONCLUSIVE, why=f"Open: see the diagnosis {', '.join(named)}.")


def _standing(item: Item, run: Run) -> Standing:
    named = sorted((row for row in run.findings if item.id in row.checklist), key=lambda row: WORST.index(row.verdict))
    if any(row.verdict is not Verdict.NOT_RUN and row.value is not None for row in named):
        return Standing(item, MEASURED, named[0].verdict, tuple(named))
    if any(is_declared(row) for row in named):
        return Standing(item, DECLARED, named[0].verdict, tuple(named))
    if named:
        return Standing(item, NOT_MEASURED, named[0].verdict, tuple(named), _once([row.reason for row in named]))
    beside = tuple(
        row for row in run.findings if item.metrics and f"{row.metric}.{row.statistic}".startswith(item.metrics)
    )
    beside = tuple(row for row in beside if row.value is not None)
    if beside:
        return Standing(item, MEASURED, Verdict.NOT_APPLICABLE, beside, "The scenario requires nothing of it.")
    return Standing(item, NOT_MEASURED, Verdict.NOT_RUN, (), _why_not(item, run.measurements))


def _once(reasons: Sequence[str]) -> str:
    return " ".join(dict.fromkeys(filter(None, reasons))) or "No reason was recorded."


def _why_not(item: Item, measurements: Sequence[Measurement]) -> str:
    """What broke, or ran without looking at it, or would have to be done to see it."""
    if item.id in REMEDIES:
        return REMEDIES[item.id]
    if item.needs == (SELF,):
        return "The harness itself would have to show it, and this run recorded nothing of the kind."
    planned = [each for each in measurements if each.task.measurement in item.steps]
    broken = [each for each in planned if each.status is not Status.COMPLETED]
    if broken:
        return _once([_broken(each) for each in broken])
    if planned:
        steps = ", ".join(dict.fromkeys(each.task.step for each in planned))
        line = f"a `judge:` line with `rows: [{item.id}]` would"
        return f"Step {steps} ran, and neither required nor told anything of it: {line}."
    would = [f"a step {' or '.join(_STEP.get(name, f'`{name}`') for name in item.steps)}"] if item.steps else []
    if EDGE in item.needs and "edge" not in item.steps:
        would.append(EDGE)
    if CLOUD in item.needs:
        would.append("the cloud API, which this version does not ask")
    if not would:
        would = ["more than the order says" if need == FILE else f"{need} than this version has" for need in item.needs]
    return f"Needs {' or '.join(would)}."


def _broken(of: Measurement) -> str:
    was = "" if of.status is Status.FAILED else "was "
    return f"Step {of.task.step} {was}{of.status.value}: {of.reason}"
