"""What of an order with IPv6 nothing measures: said row by row, for what is not said would pass in silence."""

from __future__ import annotations

from collections.abc import Iterator

from perfharness.model import Verdict
from perfharness.order.check import Check
from perfharness.order.circuit import Circuit
from perfharness.order.document import KeyPath
from perfharness.order.values import Network

ROUTES = ("EC-015", "EC-016")
TRAFFIC = ("EC-033", "EC-039", "EC-042")
WAIVE = "Test that by hand and waive the row, or leave IPv6 out of the order."


def unmeasured(circuit: Circuit) -> Iterator[Check]:
    """Rows that are answered for IPv4 alone. Where prefixes are IPv6 a run cannot pass unless they are waived."""
    written = [*circuit.prefixes.onprem, *circuit.prefixes.cloud]
    bgp = [vbr.bgp for vbr in circuit.vbrs if vbr.bgp]
    exchanged: list[Network] = [net for each in bgp for some in (each.announced, each.received) for net in some or ()]
    hosts = {host.name: host for host in circuit.hosts}
    prefixes = dict.fromkeys(str(net) for net in (*written, *exchanged) if net.version == 6)
    found = list(prefixes) or [str(host.address6) for host in circuit.hosts if host.address6]
    if not found:
        return
    named = f"{', '.join(found[:3])}{' and more' if len(found) > 3 else ''}"
    path: KeyPath = ("prefixes",)
    must = bool(prefixes)
    for row in ROUTES:
        said = f"Routes are looked up for IPv4 alone: of those for {named} nothing is measured."
        yield Check(row, Verdict.NOT_RUN, said, WAIVE, path, must)
    if bgp and prefixes:
        said = f"Of a BGP session IPv4 unicast alone is read: whether {named} is exchanged is not measured."
        yield Check("EC-020", Verdict.NOT_RUN, said, WAIVE, path, must)
    ends = [[hosts[name] for name in pair if name in hosts] for pair in circuit.pairs]
    if not any(len(pair) == 2 and all(host.address6 for host in pair) for pair in ends):
        said = f"No pair of hosts has an IPv6 address at both ends, so that nothing is sent to {named}."
        yield Check("EC-024", Verdict.NOT_RUN, said, "Write `address6:` at both hosts of a pair.", path, must)
    for row in TRAFFIC:
        said = f"Rate, delay and loss are measured over IPv4 alone, not between {named}."
        yield Check(row, Verdict.NOT_RUN, said, "", path)
