"""Does the order make sense? Rules over a whole circuit, each bound to a row of the checklist.

``checks`` is pure: the circuit, its companion and the day are arguments. What a single value must be was
checked while it was read, so a circuit that exists has passed most of EC-001, EC-004 and EC-005 already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from pydantic import TypeAdapter, ValidationError

from perfharness.errors import BadInput, Problem
from perfharness.model import Verdict
from perfharness.order import checklist, consistency, ipv6
from perfharness.order.check import Check, Rule
from perfharness.order.circuit import Circuit, load_companion
from perfharness.order.document import Document

RULES: Sequence[tuple[frozenset[str], Rule]] = tuple(
    (frozenset(parts.split()), rule)
    for parts, rule in (
        ("port", consistency.port),
        ("port vbrs", consistency.bandwidths),
        ("environment rate_layer port vbrs objectives", consistency.rate_fits_layer),
        ("vbrs objectives", consistency.objectives),
        ("vbrs", consistency.bgp),
        ("vbrs objectives", consistency.mtu),
        ("prefixes endpoints", consistency.hosts),
        ("prefixes endpoints vbrs", consistency.routers),
        ("endpoints", consistency.addresses),
        ("ce endpoints", consistency.ce_host),
        ("endpoints pairs", consistency.pairs),
        ("endpoints pairs vbrs", consistency.vbr_of_pairs),
        ("endpoints pairs forbidden", consistency.forbidden),
        ("endpoints pairs vbrs objectives", consistency.ceilings),
        ("prefixes", checklist.prefixes),
        ("prefixes vbrs endpoints pairs", ipv6.unmeasured),
        ("change in_service", checklist.change_record),
        ("vbrs", checklist.links),
        ("prefixes vbrs", checklist.links_and_prefixes),
        ("vbrs", checklist.vlans),
        ("vbrs", checklist.link_sides),
        ("region access_point", checklist.region),
        ("id region access_point environment carrier vbrs", checklist.naming),
        ("environment tags", checklist.tags),
        ("carrier contacts runbook", checklist.runbook),
    )
)
"""Each rule with the parts of a circuit that it reads: it can be applied when these are well formed."""

PASSED = {
    "EC-001": "The circuit file is well formed and does not contradict itself.",
    "EC-003": "LAN, VPC, link and 100.64.0.0/10 do not overlap.",
    "EC-004": "Each VLAN is valid and used once on the port.",
    "EC-005": "Each link has two usable addresses of one subnet, /24 to /30.",
    "EC-006": "Region and access point agree by name.",
    "EC-050": "The two circuits share no circuit, port, access point, carrier or CE router, as declared.",
    "EC-059": "Circuit and VBRs are named by the rule.",
    "EC-060": "All tags are there.",
    "EC-061": "The runbook is complete.",
}
"""What is said of a row when no rule complains."""


def checks(circuit: Circuit, today: date, companion: Circuit | None = None) -> tuple[Check, ...]:
    """Every complaint, and a PASS for each row without any, in the order of the rows."""
    found = [check for _, rule in RULES for check in rule(circuit)]
    found += _expired(circuit, today)
    found += checklist.two_of_everything(circuit, companion)
    said = {check.row for check in found}
    found += [Check(row, Verdict.PASS, message) for row, message in PASSED.items() if row not in said]
    return tuple(sorted((_waived(check, circuit, today) for check in found), key=lambda check: check.row))


def must_make_sense(circuit: Circuit, today: date) -> list[Problem]:
    """What should be better or was waived, in the order of its lines. Raises BadInput with all that cannot be so."""
    unread: list[Check] = []
    companion = None
    try:
        companion = load_companion(circuit)
    except BadInput as error:
        said = f"The companion's file cannot be used: {error.problems[0].message}"
        remedy = f"Run `perfharness validate {circuit.companion}`."
        unread = [Check("EC-050", Verdict.FAIL, said, remedy, ("companion",))]
    found = [*checks(circuit, today, companion), *unread]
    failed = _placed(found, circuit.source, Verdict.FAIL)
    if failed:
        raise BadInput(failed)
    return _placed(found, circuit.source, Verdict.WARN, Verdict.NOT_RUN, Verdict.WAIVED)


def problems_beside(source: Document) -> list[Problem]:
    """What makes no sense in a file that is malformed as well: rules apply where the parts they read are sound."""
    parts: dict[str, Any] = {}
    broken = set()
    for name, info in Circuit.model_fields.items():
        if name not in source.data and not info.is_required():
            continue
        adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
        try:
            parts[name] = adapter.validate_python(source.data.get(name), context={"folder": source.folder})
        except ValidationError:
            broken.add(name)
    rough = Circuit.model_construct(**parts)
    found = [check for needs, rule in RULES if not needs & broken for check in rule(rough)]
    return _placed(found, source, Verdict.FAIL)


def _placed(found: Iterable[Check], source: Document, *verdicts: Verdict) -> list[Problem]:
    """The checks with one of these verdicts as problems, in the order of their lines."""
    chosen = (check for check in found if check.verdict in verdicts)
    placed = (source.problem(check.path, check.message, check.remedy, check.row) for check in chosen)
    return sorted(placed, key=lambda problem: problem.line)


def _waived(check: Check, circuit: Circuit, today: date) -> Check:
    """A complaint about a row that someone waived says who, why and until when.

    EC-001 cannot be waived: with an order that contradicts itself nothing can be judged.
    """
    if check.verdict not in (Verdict.FAIL, Verdict.WARN, Verdict.NOT_RUN) or check.row == "EC-001":
        return check
    for waiver in circuit.waivers:
        if waiver.row == check.row and today <= waiver.until:
            said = f"{check.message} Waived by {waiver.who} until {waiver.until}: {waiver.why}"
            return replace(check, verdict=Verdict.WAIVED, message=said, remedy="")
    return check


def _expired(circuit: Circuit, today: date) -> Iterator[Check]:
    for i, waiver in enumerate(circuit.waivers):
        if waiver.until < today:
            said = f"The waiver of {waiver.row} ended on {waiver.until}; it has no effect."
            yield Check("EC-001", Verdict.WARN, said, "Renew or remove it.", ("waivers", i, "until"))
