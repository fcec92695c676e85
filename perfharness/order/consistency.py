"""EC-001: the plan does not contradict itself, nor what the provider offers. One function a rule."""

from __future__ import annotations

import re
from collections.abc import Iterator

from perfharness.model import Layer
from perfharness.order.check import FAIL, WARN, Check
from perfharness.order.circuit import Ce, Circuit, End, Endpoint, Forbidden, Router
from perfharness.order.document import KeyPath
from perfharness.order.units import VXLAN_PORT, rate_text

VBR_STEPS_MBPS = (50, 100, 200, 300, 400, 500, 1000, 2048, 5120, 8192, 10240, 20480, 40960, 50120, 61440, 102400)
"""Bandwidths that the provider lists; a default, not a law."""
PORT_TYPES = ("100Base-T", "1000Base-T", "1000Base-LX", "10GBase-T", "10GBase-LR", "40GBase-LR", "100GBase-LR")
NOMINAL = 1.024
"""10240 Mbit/s are sold on a port of 10 Gbit/s."""
PROVIDER_AS = 45104
PRIVATE_AS = (range(64_512, 65_535), range(4_200_000_000, 4_294_967_295))
"""RFC 6996."""
RESERVED_AS = (23_456, 65_535, 4_294_967_295)
"""RFC 6793 section 9, RFC 7300: no session has one of these."""
CEILING_FACTOR = 1.2
"""A host that can do less than this times the order may be the limit itself."""
WIRE_BYTES = 38
"""Preamble 8, MAC header 14, FCS 4, gap 12: on the wire around each IP packet; 4 more with a VLAN tag."""
COUNTED_BYTES = {Layer.L1: WIRE_BYTES, Layer.L2_FCS: 18, Layer.L2: 14, Layer.L3: 0, Layer.L4: -28}
"""Of those, what each layer counts; UDP over IPv4 leaves 28 bytes of the packet itself uncounted."""


def port(circuit: Circuit) -> Iterator[Check]:
    port = circuit.port
    found = re.match(r"([0-9]+)(G?)Base-", port.type)
    if found and int(found[1]) * (10**9 if found[2] else 10**6) != port.speed_bps:
        said = f"A {port.type} port does not run at {rate_text(port.speed_bps)}."
        yield Check("EC-001", FAIL, said, "Mend type or speed.", ("port", "speed"))
    if port.type not in PORT_TYPES:
        said = f"{port.type} is not a port type that the provider lists (default list)."
        yield Check("EC-001", WARN, said, f"It lists {', '.join(PORT_TYPES)}.", ("port", "type"))


def bandwidths(circuit: Circuit) -> Iterator[Check]:
    speed = circuit.port.speed_bps
    for i, vbr in enumerate(circuit.vbrs):
        path = ("vbrs", i, "bandwidth")
        if vbr.bandwidth_bps > speed:
            said = f"{vbr.id} is ordered at {rate_text(vbr.bandwidth_bps)} on a port of {rate_text(speed)}."
            if vbr.bandwidth_bps > speed * NOMINAL:
                yield Check("EC-001", FAIL, said, "Mend bandwidth or port speed.", path)
            else:
                remedy = "Put what can be reached under `objectives.rate`."
                yield Check("EC-001", WARN, said, remedy, path)
        yield from _listed(vbr.id, vbr.bandwidth_bps, path)
    total = sum(vbr.bandwidth_bps for vbr in circuit.vbrs)
    if len(circuit.vbrs) > 1 and total > speed:
        said = f"The VBRs are ordered at {rate_text(total)} together and share a port of {rate_text(speed)}."
        yield Check("EC-001", WARN, said, "Test one at a time, with the others quiet.", ("vbrs",))


def _listed(vbr: str, bandwidth_bps: int, path: KeyPath) -> Iterator[Check]:
    """A rate off the provider's list may be a slip; ``2G`` is sold as 2048 Mbit/s and read as 2000."""
    if bandwidth_bps in (step * 10**6 for step in VBR_STEPS_MBPS):
        return
    nearest = min(VBR_STEPS_MBPS, key=lambda step: abs(step * 10**6 - bandwidth_bps))
    said = f"{vbr}: {rate_text(bandwidth_bps)} is not a bandwidth that the provider lists (default list)."
    remedy = f"The nearest is {nearest}Mbps; the contract decides."
    yield Check("EC-001", WARN, said, remedy, path)


def rate_fits_layer(circuit: Circuit) -> Iterator[Check]:
    """The order's bits against what the port can carry of such bits in packets of the VBR's MTU."""
    if circuit.environment == "lab":
        return  # its port is a name: the lab shapes the ordered layer itself
    if circuit.rate_layer is None:
        said = "The order does not say which bits of a frame its rate counts."
        remedy = "Ask the provider and write `rate_layer`: L1, L2+FCS, L2 or L3."
        yield Check("EC-001", WARN, said, remedy, ("rate_layer",))
        return
    for i, vbr in enumerate(circuit.vbrs):
        tag = 4 if vbr.vlan else 0
        counted = vbr.mtu + COUNTED_BYTES[circuit.rate_layer]
        counted += tag if circuit.rate_layer in (Layer.L1, Layer.L2_FCS, Layer.L2) else 0
        most = circuit.port.speed_bps * counted / (vbr.mtu + WIRE_BYTES + tag)
        asked = circuit.objectives.rate_bps or vbr.bandwidth_bps
        if most < asked <= circuit.port.speed_bps:
            said = (
                f"{rate_text(asked)} counted at {circuit.rate_layer} do not fit on a port of "
                f"{rate_text(circuit.port.speed_bps)}: with MTU {vbr.mtu} it carries {rate_text(most)}."
            )
            remedy = "Write the layer of the contract (L1 if the order is the port's rate) or `objectives.rate`."
            yield Check("EC-001", WARN, said, remedy, ("vbrs", i, "bandwidth"))


def objectives(circuit: Circuit) -> Iterator[Check]:
    rate = circuit.objectives.rate_bps
    for vbr in circuit.vbrs:
        if rate is not None and rate > vbr.bandwidth_bps:
            said = f"A rate of {rate_text(rate)} cannot pass {vbr.id}, ordered at {rate_text(vbr.bandwidth_bps)}."
            yield Check("EC-001", FAIL, said, "Lower the objective or mend the bandwidth.", ("objectives", "rate"))
    if circuit.objectives.loss == 0:
        said = "No number of packets can prove that none is ever lost: this stays undecided."
        yield Check("EC-001", WARN, said, "Write the largest share that does no harm, as 1e-5.", ("objectives", "loss"))


def bgp(circuit: Circuit) -> Iterator[Check]:
    for i, vbr in enumerate(circuit.vbrs):
        if vbr.bgp is None:
            continue
        ends = {"customer_as": vbr.bgp.customer_as, "cloud_as": vbr.bgp.cloud_as}
        for key, number in ends.items():
            if number in RESERVED_AS:
                said = f"AS {number} is reserved; no router may use it."
                yield Check("EC-001", FAIL, said, "Write the AS number of the order.", ("vbrs", i, "bgp", key))
        customer, cloud = ends.values()
        if customer == cloud:
            said = f"Both ends of the BGP session of {vbr.id} have AS {customer}."
            remedy = "It is an external session: each end has its own AS."
            yield Check("EC-001", FAIL, said, remedy, ("vbrs", i, "bgp", "customer_as"))
        elif cloud != PROVIDER_AS and not any(cloud in numbers for numbers in PRIVATE_AS):
            said = f"The cloud's AS {cloud} is neither {PROVIDER_AS} nor a private one (default)."
            yield Check("EC-001", WARN, said, "Mend it, unless the order says so.", ("vbrs", i, "bgp", "cloud_as"))


def mtu(circuit: Circuit) -> Iterator[Check]:
    for i, vbr in enumerate(circuit.vbrs):
        if vbr.mtu not in (1500, 8500):
            said = f"{vbr.id} has MTU {vbr.mtu}; the provider's VBRs have 1500, or 8500 on an ECR."
            yield Check("EC-001", WARN, said, "Mend it, unless the order says so.", ("vbrs", i, "mtu"))
        if (circuit.objectives.pmtu or 0) > vbr.mtu:
            said = f"A path MTU of {circuit.objectives.pmtu} cannot pass {vbr.id} with MTU {vbr.mtu}."
            yield Check("EC-001", FAIL, said, "Lower the objective or mend the MTU.", ("objectives", "pmtu"))


def hosts(circuit: Circuit) -> Iterator[Check]:
    for endpoint in circuit.hosts:
        if not _within(endpoint, circuit, endpoint.site):
            prefixes = circuit.prefixes.onprem if endpoint.site == "onprem" else circuit.prefixes.cloud
            said = f"{endpoint.address} of {endpoint.name} is in none of the {endpoint.site} prefixes."
            remedy = f"They are {', '.join(map(str, prefixes))}: mend the address, the site or the prefixes."
            yield Check("EC-001", FAIL, said, remedy, ("endpoints", endpoint.name, "address"))
        if VXLAN_PORT in endpoint.ports:
            said = f"UDP {VXLAN_PORT} (VXLAN) does not work on this kind of circuit."
            yield Check("EC-001", FAIL, said, "Leave it out of the ports.", ("endpoints", endpoint.name, "ports"))


def routers(circuit: Circuit) -> Iterator[Check]:
    """A router may also be asked at its end of a link, or at an address of its own that no prefix names."""
    links = {
        "onprem": [vbr.link.customer.ip for vbr in circuit.vbrs],
        "cloud": [vbr.link.cloud.ip for vbr in circuit.vbrs],
    }
    for end in circuit.endpoints:
        if not isinstance(end, Router):
            continue
        other = "cloud" if end.site == "onprem" else "onprem"
        path = ("endpoints", end.name, "address")
        if _within(end, circuit, other) or end.address in links[other]:
            said = f"{end.address} of {end.name} is on the {other} side, and its site is {end.site}."
            yield Check("EC-001", FAIL, said, "Mend the address or the site.", path)
        elif not _within(end, circuit, end.site) and end.address not in links[end.site]:
            said = f"{end.address} of {end.name} is in none of the {end.site} prefixes and at no end of a link."
            yield Check("EC-001", WARN, said, "Make sure that it is reached over this circuit.", path)
        if end.reflector.port == VXLAN_PORT:
            said = f"UDP {VXLAN_PORT} (VXLAN) does not work on this kind of circuit."
            yield Check("EC-001", FAIL, said, "Use another port.", ("endpoints", end.name, "reflector"))


def _within(end: End, circuit: Circuit, site: str) -> bool:
    return any(end.address in net for net in (circuit.prefixes.onprem if site == "onprem" else circuit.prefixes.cloud))


def addresses(circuit: Circuit) -> Iterator[Check]:
    for end in circuit.endpoints:
        if end.address.version != 4:
            said = f"{end.address} of {end.name} is an IPv6 address, and the tests use IPv4."
            yield Check("EC-001", FAIL, said, "Write its IPv4 address.", ("endpoints", end.name, "address"))
    v6 = [one for one in circuit.hosts if one.address6]
    for address6 in dict.fromkeys(one.address6 for one in v6):
        names = [one.name for one in v6 if one.address6 == address6]
        if len(names) > 1:
            said = f"{' and '.join(names)} have the same address {address6}."
            yield Check("EC-001", FAIL, said, "Give each its own.", ("endpoints", names[1], "address6"))
    for address in dict.fromkeys(one.address for one in circuit.endpoints):
        same = [one.name for one in circuit.endpoints if one.address == address]
        if len(same) > 1:
            said = f"{' and '.join(same)} have the same address {address}."
            yield Check("EC-001", FAIL, said, "Give each its own.", ("endpoints", same[1], "address"))


def ce_host(circuit: Circuit) -> Iterator[Check]:
    ce = circuit.ce_router
    if ce is None:
        return
    if ce.name in {endpoint.name for endpoint in circuit.endpoints}:
        said = f"The CE has the name of the endpoint {ce.name}."
        yield Check("EC-001", FAIL, said, "Give it another: nothing is measured from the CE.", ("ce", "name"))
    for side, interface in (("lan", ce.lan), ("wan", ce.wan)) if isinstance(ce, Ce) else ():
        if re.search(r"\.[0-9]+$", interface):
            said = f"{interface} of the CE looks like a VLAN on a port, which has no queue and no ring of its own."
            remedy = f"Write the port, {interface.rpartition('.')[0]}, or its drops go unseen."
            yield Check("EC-001", WARN, said, remedy, ("ce", side))


def pairs(circuit: Circuit) -> Iterator[Check]:
    sites = {endpoint.name: endpoint.site for endpoint in circuit.endpoints}
    agents = {host.name for host in circuit.hosts}
    for site in [site for site in ("onprem", "cloud") if site not in sites.values()]:
        yield Check("EC-001", FAIL, f"There is no endpoint with site {site}.", "Add one.", ("endpoints",))
    for i, pair in enumerate(circuit.pairs):
        unknown = [name for name in pair if name not in sites]
        if unknown:
            said = f"A pair names {unknown[0]!r}, which is no endpoint."
            yield Check("EC-001", FAIL, said, f"There are: {', '.join(sites)}.", ("pairs", i))
        elif [sites[name] for name in pair] != ["onprem", "cloud"]:
            said = f"The pair {pair[0]}, {pair[1]} is not an on-prem host followed by a cloud host."
            yield Check("EC-001", FAIL, said, "Write the on-prem host first.", ("pairs", i))
        elif not any(name in agents for name in pair):
            said = f"Neither {pair[0]} nor {pair[1]} takes an agent: nobody would send."
            yield Check("EC-001", FAIL, said, "Pair each router with a host.", ("pairs", i))
        elif pair in circuit.pairs[:i]:
            said = f"The pair {pair[0]}, {pair[1]} is written twice."
            yield Check("EC-001", FAIL, said, "Keep one of the two.", ("pairs", i))
    if circuit.pairs and not any(agents.issuperset(pair) for pair in circuit.pairs):
        said = "No pair has an agent at both ends: all but delay and loss of the round trip stays unmeasured."
        yield Check("EC-001", WARN, said, "Add a host beside the router, if there can be one.", ("endpoints",))


def vbr_of_pairs(circuit: Circuit) -> Iterator[Check]:
    """Which VBR a pair tests must be known, or its rate and MTU are not."""
    hosts = {endpoint.name: endpoint for endpoint in circuit.endpoints}
    ids = [vbr.id for vbr in circuit.vbrs]
    for i, name in enumerate(ids):
        if name in ids[:i]:
            said = f"There are two VBRs {name!r}."
            yield Check("EC-001", FAIL, said, "Give each its own id.", ("vbrs", i, "id"))
    for endpoint in circuit.endpoints:
        if endpoint.vbr is not None and endpoint.vbr not in ids:
            path = ("endpoints", endpoint.name, "vbr")
            said = f"{endpoint.vbr!r} is not a VBR of this circuit."
            yield Check("EC-001", FAIL, said, f"There are: {', '.join(ids)}.", path)
    for pair in circuit.pairs:
        named = {hosts[name].vbr for name in pair if name in hosts} - {None}
        if len(named) > 1 or (not named and len(ids) > 1):
            said = f"It is not clear which VBR {pair[0]} and {pair[1]} are connected by."
            yield Check("EC-001", FAIL, said, "Write `vbr:` at one of the two.", ("endpoints", pair[-1]))


def forbidden(circuit: Circuit) -> Iterator[Check]:
    """Each can be tried, by somebody, and is not what the tests need."""
    ends = {end.name: end for end in circuit.endpoints}
    agents = {host.name for host in circuit.hosts}
    for i, each in enumerate(circuit.forbidden):
        path = ("forbidden", i)
        target = ends.get(each.to)
        if each.source not in agents:
            said = f"A forbidden connection is from {each.source!r}, which is no host under `endpoints`."
            yield Check("EC-001", FAIL, said, f"Only these can try: {', '.join(sorted(agents))}.", path)
        elif target is None and each.address is None:
            said = f"A forbidden connection is to {each.to!r}, which is no endpoint and no address."
            yield Check("EC-001", FAIL, said, f"There are: {', '.join(ends)}.", path)
        elif not _tried_by_a_pair(each, circuit):
            said = f"Nobody tries the forbidden connection from {each.source} to {each.to}: no pair of hosts has it."
            remedy = "Add the pair under `pairs`, or name another host."
            if each.address is not None and each.address.version == 6:
                remedy = "Over IPv6 both hosts of a pair need `address6:`."
            yield Check("EC-001", FAIL, said, remedy, path)
        elif each.protocol == "udp" and target is None:
            said = f"Whether a datagram came to {each.to} tells nobody: no agent is there."
            yield Check("EC-001", FAIL, said, "Name an endpoint, or forbid a TCP port.", path)
        elif isinstance(target, Endpoint) and each.port in target.ports:
            said = f"Port {each.port} of {each.to} is forbidden, and among the ports that tests may use there."
            yield Check("EC-001", FAIL, said, "Take it out of one of the two.", path)


def _tried_by_a_pair(each: Forbidden, circuit: Circuit) -> bool:
    hosts = {host.name for host in circuit.hosts}
    pairs = [set(pair) for pair in circuit.pairs if hosts.issuperset(pair)]
    if each.address is not None and each.address.version == 6:
        over = {host.name for host in circuit.hosts if host.address6}
        pairs = [pair for pair in pairs if pair <= over]
    return any({each.source, each.to} == pair or (each.address is not None and each.source in pair) for pair in pairs)


def ceilings(circuit: Circuit) -> Iterator[Check]:
    for pair in circuit.pairs:
        hosts = [one for one in circuit.hosts if one.name in pair]
        for endpoint in hosts if len(hosts) == 2 else ():
            order = circuit.committed_bps(pair)
            if endpoint.ceiling_bps is not None and endpoint.ceiling_bps < CEILING_FACTOR * order:
                said = (
                    f"{endpoint.name} can do {rate_text(endpoint.ceiling_bps)}, less than {CEILING_FACTOR} × "
                    f"the order of {rate_text(order)}: it may be the limit itself."
                )
                path = ("endpoints", endpoint.name, "ceiling")
                yield Check("EC-001", WARN, said, "Use a larger host, or several.", path)
