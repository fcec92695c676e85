"""EC-003 to EC-061 as far as the order itself shows: addresses, VLANs, names, papers. One function a rule."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from itertools import combinations, product
from typing import TypeAlias

from perfharness.model import Verdict
from perfharness.order.check import FAIL, WARN, Check
from perfharness.order.circuit import Circuit
from perfharness.order.document import KeyPath
from perfharness.order.values import Network

SHARED_SPACE = ip_network("100.64.0.0/10")
"""RFC 6598; the provider uses it itself."""
TAGS = ("Environment", "Owner", "CostCenter", "Service")
SERVICE = "ExpressConnect"

_Net: TypeAlias = tuple[Network, str, KeyPath]
"""A prefix, what it is in words, and where it stands."""


def prefixes(circuit: Circuit) -> Iterator[Check]:
    onprem, cloud = _side(circuit, "onprem"), _side(circuit, "cloud")
    yield from _collisions(product(onprem, cloud))
    yield from _shared_space([*onprem, *cloud])


def change_record(circuit: Circuit) -> Iterator[Check]:
    """EC-002: what a plan asks for before it loads a circuit that carries users."""
    if circuit.change is not None:
        yield Check("EC-002", Verdict.PASS, f"The change record is {circuit.change.ticket}.")
    elif circuit.in_service:
        said = "No change record is named, and without one nothing is planned that loads the circuit."
        yield Check("EC-002", Verdict.NOT_APPLICABLE, said)
    else:
        yield Check("EC-002", Verdict.NOT_APPLICABLE, "The circuit carries no users yet, so none is asked for.")


def links(circuit: Circuit) -> Iterator[Check]:
    links: list[_Net] = [
        (vbr.link.network, f"Link {vbr.link.network}", ("vbrs", i, "link")) for i, vbr in enumerate(circuit.vbrs)
    ]
    yield from _collisions(combinations(links, 2))
    yield from _shared_space(links)


def links_and_prefixes(circuit: Circuit) -> Iterator[Check]:
    links: list[_Net] = [
        (vbr.link.network, f"Link {vbr.link.network}", ("vbrs", i, "link")) for i, vbr in enumerate(circuit.vbrs)
    ]
    yield from _collisions(product([*_side(circuit, "onprem"), *_side(circuit, "cloud")], links))


def _side(circuit: Circuit, side: str) -> list[_Net]:
    nets = circuit.prefixes.onprem if side == "onprem" else circuit.prefixes.cloud
    name = "LAN" if side == "onprem" else "VPC"
    return [(net, f"{name} {net}", ("prefixes", side, i)) for i, net in enumerate(nets)]


def _collisions(pairs: Iterable[tuple[_Net, _Net]]) -> Iterator[Check]:
    for (one, name, _), (other, other_name, path) in pairs:
        if one.version == other.version and one.overlaps(other):
            yield Check("EC-003", FAIL, f"{other_name} overlaps {name}.", "Give each its own addresses.", path)


def _shared_space(nets: Iterable[_Net]) -> Iterator[Check]:
    for net, name, path in nets:
        if net.version == 4 and net.overlaps(SHARED_SPACE):
            said = f"{name} overlaps {SHARED_SPACE}, which the provider uses itself."
            yield Check("EC-003", FAIL, said, "Use other private addresses.", path)


def vlans(circuit: Circuit) -> Iterator[Check]:
    vlans = [vbr.vlan for vbr in circuit.vbrs]
    for i, vlan in enumerate(vlans):
        if vlan in vlans[:i]:
            said = f"VLAN {vlan} is used twice on the port."
            yield Check("EC-004", FAIL, said, "Give each VBR its own VLAN.", ("vbrs", i, "vlan"))
        if vlan == 0 and len(vlans) > 1:
            said = "VLAN 0 makes the port untagged, and there are other VBRs on it."
            yield Check("EC-004", FAIL, said, "Use a VLAN from 1 to 2999.", ("vbrs", i, "vlan"))


def link_sides(circuit: Circuit) -> Iterator[Check]:
    for i, vbr in enumerate(circuit.vbrs):
        if vbr.link.customer.ip < vbr.link.cloud.ip:
            said = (
                f"The customer has {vbr.link.customer.ip}, the cloud {vbr.link.cloud.ip}: "
                "usually the cloud has the lower address (default)."
            )
            yield Check("EC-005", WARN, said, "Make sure that the sides are not swapped.", ("vbrs", i, "link"))


def region(circuit: Circuit) -> Iterator[Check]:
    if circuit.region.lower() not in circuit.access_point.lower():
        said = f"The access point {circuit.access_point} does not look like one of region {circuit.region}."
        yield Check("EC-006", WARN, said, "Mend one of them, or check that they belong together.", ("access_point",))


def two_of_everything(circuit: Circuit, companion: Circuit | None) -> Iterator[Check]:
    """Production needs a second circuit that shares nothing with the first; here as far as it is declared."""
    if circuit.environment != "production":
        said = f"A second circuit is asked of production only; this is {circuit.environment}."
        yield Check("EC-050", Verdict.NOT_APPLICABLE, said)
    elif circuit.companion is None:
        said = "A production circuit needs a second one, and none is named."
        yield Check(
            "EC-050",
            FAIL,
            said,
            "Write `companion:` with its file, or a waiver of EC-050.",
            ("environment",),
        )
    elif companion is None:
        yield Check("EC-050", Verdict.NOT_RUN, "The companion's file was not read.", path=("companion",))
    else:
        yield from _shared(circuit, companion)


def _shared(circuit: Circuit, companion: Circuit) -> Iterator[Check]:
    both: tuple[tuple[str, str | None, str | None, KeyPath], ...] = (
        ("circuit", circuit.id, companion.id, ("id",)),
        ("port", circuit.port.id, companion.port.id, ("port", "id")),
        ("access point", circuit.access_point, companion.access_point, ("access_point",)),
        ("carrier", circuit.carrier.name, companion.carrier.name, ("carrier", "name")),
        ("CE router", circuit.ce_name, companion.ce_name, ("ce",)),
    )
    for what, ours, theirs, path in both:
        if ours is None or theirs is None:
            said = f"The {what} of {'this circuit' if ours is None else 'its companion'} is not named."
            yield Check("EC-050", FAIL, said, f"Write `{path[-1]}:` in both files.", path)
        elif ours.casefold() == theirs.casefold():
            said = f"Both circuits have the same {what}, {ours}."
            yield Check("EC-050", FAIL, said, "Production needs two.", path)


def naming(circuit: Circuit) -> Iterator[Check]:
    region, environment = _slug(circuit.region), circuit.environment
    access_point = _slug(circuit.access_point).removeprefix("ap-").removeprefix(f"{region}-")
    carrier, number = _slug(circuit.carrier.name) or "<carrier>", _slug(circuit.carrier.circuit)
    expected = f"ec-{region}-{access_point}-{environment}-{carrier}-{number}"
    # A carrier whose name has no Latin letters is written in whichever its owner chose.
    if not re.fullmatch(re.escape(expected).replace("<carrier>", "[a-z0-9-]+"), circuit.id):
        said = f"The circuit is named {circuit.id}; by the naming rule it is {expected}."
        yield Check("EC-059", WARN, said, "Rename it.", ("id",))
    for i, vbr in enumerate(circuit.vbrs):
        expected = f"vbr-{region}-{environment}-vlan{vbr.vlan}"
        if vbr.name != expected:
            said = f"{vbr.id} is named {vbr.name}" if vbr.name else f"{vbr.id} has no name"
            path = ("vbrs", i, "name")
            yield Check("EC-059", WARN, f"{said}; by the naming rule it is {expected}.", "Rename it.", path)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def tags(circuit: Circuit) -> Iterator[Check]:
    missing = [tag for tag in TAGS if tag not in circuit.tags]
    if missing:
        said = f"Tags are missing: {', '.join(missing)}."
        yield Check("EC-060", WARN, said, "Add them, here and at the provider.", ("tags",))
    for tag, expected in (("Service", SERVICE), ("Environment", circuit.environment)):
        value = circuit.tags.get(tag)
        if value is not None and value.lower() != expected.lower():
            said = f"Tag {tag} is {value}, not {expected}."
            yield Check("EC-060", WARN, said, "Mend it, here and at the provider.", ("tags", tag))


def runbook(circuit: Circuit) -> Iterator[Check]:
    wanted: tuple[tuple[object, str, KeyPath], ...] = (
        (circuit.carrier.loa, "a reference of the LOA", ("carrier", "loa")),
        (any(contact.phone or contact.email for contact in circuit.contacts), "a contact", ("contacts",)),
        (circuit.runbook.policy, "the routing policy", ("runbook", "policy")),
        (circuit.runbook.escalation, "the escalation path", ("runbook", "escalation")),
    )
    for value, what, path in wanted:
        if not value:
            key = ".".join(map(str, path))
            yield Check("EC-061", WARN, f"The runbook lacks {what}.", f"Write `{key}`.", path)
