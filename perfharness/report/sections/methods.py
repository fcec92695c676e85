"""How each figure came about, and the standard that defines it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from perfharness.report.blocks import Code, Points, Section, Sub, absent
from perfharness.report.dossier import Dossier

NAME = "How it was measured"
METHODS = {
    "host": (
        "Hosts",
        "Before the first test each host tells its kernel, CPUs, interface, queues, limits, programs and clock. During "
        "every test that moves packets its interface, queue, socket and CPU counters are read ten times a second, or "
        "once a second in a long one and beside TCP. A host is judged before the circuit: figures that rest on a host "
        "that was not fit are inconclusive.",
    ),
    "edge": (
        "Edge of the site",
        "The CE is asked and never told, by rtnetlink and FRR's vtysh on a Linux host, by show commands over SSH on a "
        "vendor's router, and what it says is held against the order: carrier, speed, duplex, MTU and addresses of the "
        "port, BGP session, AS numbers, prefixes both ways and BFD. Where it can send by itself, the VBR's address is "
        "asked for by ARP on the ordered VLAN and on others. Routes to the far side are looked up on both hosts and on "
        "the router. Counters, routes and sessions are compared between the first step of this kind and a later one. "
        "What no router tells is not measured.",
    ),
    "path": (
        "Path",
        "In each direction: echo requests (RFC 792), the route that the host would take, the hops with a constant flow "
        "identity so that load balancing does not mix paths, and the agreed TCP and UDP ports tried one by one against "
        "a listener that answers only its peer, which also counts what arrives if nothing comes back. A few ports that "
        "nobody declared, and the connections that the order forbids, are tried as well. A few packets of each class "
        "are counted by the DSCP with which they come. Loss at a middle hop alone means nothing and is not judged.",
    ),
    "pmtu": (
        "Path MTU",
        "The largest IP packet with the don't-fragment bit that arrives, in each direction, found by packets that "
        "arrive and not by ICMP's word (RFC 4821, RFC 8899; ICMP's answers after RFC 1191 are recorded beside it). "
        "Every size that fails is tried three times among small control packets. The timers are shorter than those RFC "
        "8899 gives to transports. Both directions are searched at once, over IPv6 too where both hosts have such an "
        "address. Where no router says what the packets say, packets one byte too large are sent with growing TTL, "
        "beside small ones: the last router that answers them is the one before the narrow link. The MSS that a SYN "
        "advertises (RFC 9293) is compared with the one in the header that the receiving kernel kept.",
    ),
    "latency": (
        "Delay and loss",
        "UDP probes in the STAMP format (RFC 8762) on absolute deadlines, with time stamps at both ends by the kernel, "
        "or by the network card where it stamps all packets already. Round-trip time is (T4 − T1) − (T3 − T2) (RFC "
        "2681). Percentiles are over all packets sent: a lost packet has infinite delay (RFC 7679). Delay variation is "
        "PDV over the least delay of the window (RFC 5481) and signed IPDV (RFC 3393). Loss is counted each way by "
        "what the reflector logged (RFC 7680), against the sender's own count, so that losses at the end count; "
        "reordering after RFC 4737. Streams are periodic (RFC 3432) or Poisson (RFC 2330); classes of service, and "
        "sizes (RFC 6985), take turns in one stream. One-way delay (RFC 7679) is what both clocks say, less their "
        "offset and skew between two steps (lower convex hulls, Moon, Skelly and Towsley 1999), within what is known "
        "of the offset: no delay is negative, and the clocks differ by no more than the sum of their root distances "
        "(RFC 5905). Each host's clock is asked before, every ten seconds during, and after the packets.",
    ),
    "flows": (
        "Flow by flow",
        "Many UDP flows that differ in their source port alone, each sent once a round in an order drawn anew for "
        "every round, so that loss which does not look at flows meets all of them alike. A likelihood ratio of two "
        "rates of loss, permuted over the flows, tells whether some fare worse; delays are compared between flows.",
    ),
    "ceiling": (
        "What the hosts can do by themselves",
        "iperf3 without the circuit: each host against itself, against another host of its site, and against the CE "
        "where that has iperf3. What arrived is the least that both ends can do. Where less arrived than was offered, "
        "or less was offered than intended, one of the two is at its limit: that bounds what either can do, and a load "
        "that asks more of it is inconclusive and never the circuit's fault. A cloud instance's limit drops without a "
        "counter in it, so nothing else shows it.",
    ),
    "throughput": (
        "Throughput",
        "iperf3, counted at the receiver, warm-up left out, each direction and both at once. The contract is judged on "
        "paced UDP at the committed rate; TCP over many streams (RFC 6349) stands beside it and by itself never fails "
        "a circuit. A probe stream beside the load measures the delay under load: it is not the load's own frames. The "
        "output, version and exact arguments of both ends are evidence.",
    ),
    "rfc6349": (
        "TCP by RFC 6349",
        "In each direction: path MTU, baseline round trip on the idle path, bottleneck bandwidth by our own even UDP "
        "at the ordered rate, then TCP in several streams whose window fills the path, and in a single one. "
        "Efficiency, buffer delay and transfer time ratio are those of RFC 6349 (section 4); the round trips come from "
        "one stream of probes that runs throughout. What limited TCP is told by TCP_INFO of its connections and the "
        "hosts' counters. It recommends, and never fails a circuit.",
    ),
    "capacity": (
        "Capacity",
        "Our own UDP, sent evenly, each packet with its number and its time. A search raises the rate until less "
        "arrives than is sent; then up to a quarter more than it found is offered for seconds, and what arrives once "
        "every token bucket is empty is the sustained rate. It has an upper bound only where clearly more left the "
        "sending host than the receiving one took in or dropped itself. A rest and a load just below the rate follow: "
        "does that pass without loss?",
    ),
    "policing": (
        "Policer or shaper",
        "The same load. An overload of large packets and one of small ones tell the rate, and by the ratio of what "
        "passes of each the layer at which it is counted. Trains of packets from rest, faster than the rate, tell the "
        "size of a token bucket; a long overload from rest tells the queue of a shaper, by the delay that grows, and a "
        "bucket that is larger than the trains.",
    ),
    "service-configuration": (
        "Service configuration",
        "Each service by itself (ITU-T Y.1564, 8.1): steps up to its CIR, CIR+EIR, what is let through of more than "
        "that, and bursts where they were ordered, as parts of one paced stream of UDP with short rests between them. "
        "Every packet has a number, so losses are counted to the packet, step by step, the end of each included. The "
        "recommendation measures delay by the load's own frames; here a probe stream beside the load does, in the "
        "service's class.",
    ),
    "service-performance": (
        "Service performance",
        "All services at their CIR at once (ITU-T Y.1564, 8.2), each a paced stream of UDP in its own class. "
        "Availability is by severely errored seconds (ITU-T Y.1563) of the loads' own packets; delay and variation "
        "come from a probe stream beside them in which the classes take turns.",
    ),
    "failover": (
        "Failover",
        "Probe streams of several flows each run from both ends, while the circuit is cut and after it is back. An "
        "outage of a flow lasted at least from the first probe that was lost to the last, and at most from the last "
        "that arrived before it to the first that arrived after it, by the times at which they left (loss-derived "
        "method, RFC 6412, 3.5.2); what hosts dropped is taken off the lower bound. Each direction is told by what "
        "arrived of the stream that was sent that way. Routers that can be read say meanwhile when their routes, "
        "carriers and sessions changed.",
    ),
}
GENERAL = (
    (
        "Layers",
        "Every rate names what it counts: L1 with preamble and gap, L2 the frame without its check sequence, L2+FCS "
        "with it, L3 the IP packet, L4 the payload of TCP or UDP. A rate is compared with the order at the order's "
        "layer.",
    ),
    (
        "Statistics",
        "Packets of one stream are not independent. Shares are counted per block of one second, the design effect "
        "is estimated from the blocks, and the interval is Clopper and Pearson's on the packets that effectively "
        "remain; percentiles invert it. The interval of a mean rate takes the likeness of neighbouring intervals "
        "into account. Each bound holds by itself with the confidence shown. Zero losses prove "
        "less than 1.0e-4 only after 29,956 packets, and nothing of bursts rarer than the test is long.",
    ),
    (
        "Verdicts",
        "Pass: the whole interval is on the good side. Fail: the whole interval is on the bad side, and what the "
        "hosts' own counters explain is taken off first. Otherwise inconclusive, with what would decide. A row "
        "that is a recommendation warns and never fails. What was not measured is never a pass.",
    ),
)


def build(dossier: Dossier) -> Section:
    kinds = dict.fromkeys(item.task.measurement for item in dossier.run.measurements)
    if not kinds:
        return Section("methods", NAME, absent("Nothing was measured."))
    known = tuple(METHODS[kind] for kind in METHODS if kind in kinds)
    arguments = _arguments(dossier)
    more = (Sub("Programs as they were called"), Code(arguments)) if arguments else ()
    return Section("methods", NAME, (Points((*known, *_authenticity(dossier), *GENERAL)), *more))


def _authenticity(dossier: Dossier) -> tuple[tuple[str, str], ...]:
    """What the digests of the probes showed, task by task."""
    signed = [item for item in dossier.run.measurements if isinstance(item.facts.get("authenticated"), Mapping)]
    if not signed:
        return ()
    told = (
        f"{item.task.id}: {found['replies']:,} replies with the right digest, {found['forged']:,} packets refused"
        for item in signed
        if (found := item.facts["authenticated"])
    )
    about = (
        "Each packet and each reply carries an HMAC-SHA-256 digest over its base packet, cut to 128 bits (RFC 8762, "
        "section 4.4), made with a random key of its task that only the two hosts were given, over SSH. A packet "
        "without it, altered or of somebody else, is refused, counted, and never answered or measured."
    )
    return (("Authenticated probes", f"{about} {'; '.join(told)}."),)


def _arguments(dossier: Dossier) -> tuple[str, ...]:
    """The exact command of every load program, with the task and the host that it ran on."""
    lines = []
    for item in (*dossier.measured("ceiling"), *dossier.measured("throughput")):
        called = item.facts.get("argv")
        for name, words in called.items() if isinstance(called, Mapping) else ():
            if isinstance(words, list | tuple) and words:
                lines.append(f"{item.task.id}, {name}: {shlex.join(map(str, words))}")
    return tuple(lines)
