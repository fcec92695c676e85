"""The BGP session with the VBR as the router sees it, against the order. It is read, and never spoken to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Network, collapse_addresses, ip_network
from math import inf
from typing import Any, TypeAlias

from perfharness.measurements.base import Context
from perfharness.measurements.edge_reading import Reading, figure
from perfharness.model import Observation
from perfharness.order.vbr import Bgp
from perfharness.routers.state import BgpSession

Net: TypeAlias = IPv4Network | IPv6Network
STATISTICS = (
    "established",
    "as_agree",
    "port_open",
    "flaps",
    "missing",
    "extra",
    "broad",
    "limit_share",
    "guarded",
    "bfd",
)
BROAD_BITS = 8
"""0.0.0.0/0 to 10.0.0.0/8: no plan of a circuit means so much (EC-021)."""
BROAD = "broader than any plan, or over the other side's own prefixes"
ESTABLISHED = "Established"
BAD_PEER_AS = "2/2"
HEALTH_CHECK = (
    "The order has the cloud's health check in place of BFD: only the cloud's console tells whether it is on."
)
ASK = "name its `platform:` under `ce:`, and a user who may ask it (`vtysh:` for FRR)."
IN_VRF = "It may be in a VRF, whose tables are not read: look there on the router."
NO_SESSION = "The order has no BGP session on this link (`bgp:` of the VBR): its routes are static."
UNTRIED = (
    "Not tried: only an agent on a Linux router whose FRR says that the session is down can; try it on the router."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the order says of the link of a pair, and of the session on it."""

    vlan: int
    own_with_mask: IPv4Interface
    peer: str
    bgp: Bgp | None
    health_check: bool
    announced: tuple[Net, ...]
    received: tuple[Net, ...]

    @property
    def own(self) -> str:
        """The customer's address."""
        return str(self.own_with_mask.ip)


def plan_of(context: Context) -> Plan:
    vbr = context.circuit.vbr_of((context.a.name, context.z.name))
    prefixes, bgp = context.circuit.prefixes, vbr.bgp
    announced = prefixes.onprem if bgp is None or bgp.announced is None else bgp.announced
    received = prefixes.cloud if bgp is None or bgp.received is None else bgp.received
    return Plan(vbr.vlan, vbr.link.customer, str(vbr.link.cloud.ip), bgp, bool(vbr.health_check), announced, received)


def bgp_figures(
    context: Context, now: Reading, before: Reading | None
) -> tuple[tuple[Observation, ...], dict[str, Any]]:
    """The figures of ``bgp``, and the session as it is told; not applicable where the order has no session."""
    plan = plan_of(context)
    if plan.bgp is None:
        unasked = {name: figure(context, "bgp", name, None, NO_SESSION, now.evidence) for name in STATISTICS}
        told = [replace(one, applicable=False) for name, one in unasked.items() if name != "bfd"]
        return (*told, _said(context, "bfd", *_bfd(plan, now), now)), {}
    session = now.state.session(plan.peer)
    name = context.circuit.ce_name
    why = now.reason or (f"{name} does not tell its BGP sessions: {ASK}" if now.state.bgp is None else "")
    hidden = session is None and now.state.bgp is not None and now.state.in_vrf(plan.own) is not False
    if not why and hidden:
        why = f"{name} has no session with {plan.peer} in its default table. {IN_VRF}"
    elif not why and session is None:
        others = ", ".join(each.peer for each in now.state.bgp or ()) or "nobody"
        why = f"{name} has no session with {plan.peer}; it has one with {others}."
    held = _held(plan, session)
    facts = {
        "peer": plan.peer,
        "ordered_as": {"local": plan.bgp.customer_as, "remote": plan.bgp.cloud_as},
        "md5": plan.bgp.md5,
        "port": now.port,
        "session": session and asdict(session),
        "others": [each.peer for each in now.state.bgp or () if each.peer != plan.peer],
        **held,
    }
    figures = (
        _said(context, "established", *_established(now, session, why, hidden), now),
        _said(context, "as_agree", *_as_agree(plan.bgp, session, why), now),
        _said(context, "port_open", *_port_open(plan.bgp, now, session, why), now),
        _said(context, "flaps", *_flaps(plan, now, before, why), now),
        *(_prefixes(context, kind, held[kind], session, why, now) for kind in ("missing", "extra", "broad")),
        _said(context, "limit_share", *_limit_share(plan.bgp, session, why), now),
        _said(context, "guarded", *_guarded(session, why), now),
        _said(context, "bfd", *_bfd(plan, now), now),
    )
    return figures, facts


def _said(
    context: Context, statistic: str, value: Any, reason: str, now: Reading, most: float | None = None
) -> Observation:
    return figure(context, "bgp", statistic, value, reason, now.evidence, most)


def _established(now: Reading, session: BgpSession | None, why: str, hidden: bool) -> tuple[bool | None, str]:
    if session is None:
        return (None if now.reason or now.state.bgp is None or hidden else False), why
    if session.state == ESTABLISHED:
        up = "" if session.uptime_s is None else f" for {session.uptime_s:,.0f} s"
        return True, f"It stands with {session.peer}{up}."
    said = f"The session with {session.peer} is {session.state}."
    if session.notification:
        said += f" Last notification: {session.notification}."
    elif session.last_reset:
        said += f" Last reset: {session.last_reset}."
    return False, said + (f" TCP/179 of it is {now.port}." if now.port else "")


def _as_agree(bgp: Bgp, session: BgpSession | None, why: str) -> tuple[bool | None, str]:
    """As configured here against the order; and the far end says otherwise by a notification."""
    if session is None:
        return None, why
    pairs = (("own", session.local_as, bgp.customer_as), ("the VBR's", session.remote_as, bgp.cloud_as))
    wrong = [
        f"{whose} AS is {is_} and ordered {ordered}" for whose, is_, ordered in pairs if is_ not in (None, ordered)
    ]
    if wrong:
        return False, f"On the router {' and '.join(wrong)}."
    if session.state != ESTABLISHED and (session.notification or "").startswith(BAD_PEER_AS):
        if not session.dated:
            return None, f"Configured as ordered here; the last error is {session.notification}, and may be an old one."
        return False, f"Configured as ordered, but the other end has another AS: {session.notification}."
    if session.state != ESTABLISHED:
        return None, "Configured as ordered here; the other end has not said its own."
    return True, f"AS {bgp.customer_as} and {bgp.cloud_as}."


def _port_open(bgp: Bgp, now: Reading, session: BgpSession | None, why: str) -> tuple[bool | None, str]:
    if session is None:
        return None, why
    if session.state == ESTABLISHED:
        return True, "The session stands."
    if bgp.md5:
        return None, "Not tried: where sessions are signed an unsigned SYN is not answered."
    if now.port is None:
        return None, UNTRIED
    return now.port == "open", f"TCP/179 of {session.peer} is {now.port}."


def _flaps(plan: Plan, now: Reading, before: Reading | None, why: str) -> tuple[int | None, str]:
    """How often it went down since the first step of this kind."""
    session = now.state.session(plan.peer)
    first = before.state.session(plan.peer) if before else None
    if session is None:
        return None, why
    if before is None or first is None:
        return None, "One reading tells of no flap: this is the first, or the first since the run cut the circuit."
    was, is_ = first.state == ESTABLISHED, session.state == ESTABLISHED
    if session.established is not None and first.established is not None and session.established >= first.established:
        down = session.established - first.established + was - is_
        return max(0, down), f"It came up {session.established - first.established} times meanwhile." if down else ""
    if was and not is_:
        return 1, "It stood and stands no more."
    if is_ and session.uptime_s is not None and now.at_ns is not None and before.at_ns is not None:
        went = was and session.uptime_s < (now.at_ns - before.at_ns) / 1e9 - 1.0
        return int(went), f"It stands for {session.uptime_s:,.0f} s."
    return None, "The router does not tell how long it stands."


def _held(plan: Plan, session: BgpSession | None) -> dict[str, dict[str, list[str] | None]]:
    """Prefixes that are missing, extra and over-broad, by direction; ``None`` where the router does not tell them, as
    those of IPv6: of a session its IPv4 unicast is read."""
    stands = session is not None and session.state == ESTABLISHED
    told = {
        "announced": (session.sent if session and stands else None, plan.announced),
        "received": (session.learned if session and stands else None, plan.received),
    }
    held: dict[str, dict[str, list[str] | None]] = {"missing": {}, "extra": {}, "broad": {}}
    for way, (written, everything) in told.items():
        planned = [prefix for prefix in everything if prefix.version == 4]
        if len(planned) < len(everything):
            held["missing"][f"{way} of IPv6"] = None
        if written is None:
            for kind in held.values():
                kind[way] = None
            continue
        actual = [ip_network(prefix) for prefix in written]
        held["missing"][way] = [str(prefix) for prefix in planned if not _covered(prefix, actual)]
        extra = [prefix for prefix in actual if not any(within(prefix, each) for each in planned)]
        other = plan.announced if way == "received" else plan.received
        broad = [prefix for prefix in extra if prefix.prefixlen <= BROAD_BITS or _over(prefix, other)]
        held["broad"][way] = [str(prefix) for prefix in broad]
        held["extra"][way] = [str(prefix) for prefix in extra if prefix not in broad]
    return held


def _covered(prefix: Net, actual: Sequence[Net]) -> bool:
    """By itself, by parts that make it whole, or by a wider one that is not over-broad: extra, but it routes it."""
    parts = [each for each in actual if within(each, prefix)]
    wider = any(within(prefix, each) for each in actual if each.prefixlen > BROAD_BITS)
    return wider or prefix in collapse_addresses(parts)  # type: ignore[type-var]  # of one family


def _over(prefix: Net, others: Sequence[Net]) -> bool:
    return any(prefix.version == each.version and prefix.overlaps(each) for each in others)


def within(inner: Net, outer: Net) -> bool:
    """Part of it, or the same."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # of one family


def _prefixes(
    context: Context,
    kind: str,
    held: dict[str, list[str] | None],
    session: BgpSession | None,
    why: str,
    now: Reading,
) -> Observation:
    known = [f"{prefix} {way}" for way, prefixes in held.items() for prefix in prefixes or ()]
    untold = [way for way, prefixes in held.items() if prefixes is None]
    if session is not None and session.state != ESTABLISHED:
        why = "The session does not stand, so nothing is exchanged."
    if untold and not known:
        return _said(context, kind, None, why or f"The router does not tell the prefixes {' and '.join(untold)}.", now)
    words = {"missing": "not there as ordered", "extra": "not in the plan", "broad": BROAD}[kind]
    return _said(
        context, kind, len(known), f"{', '.join(known[:10])}: {words}." if known else "", now, inf if untold else None
    )


def _limit_share(bgp: Bgp, session: BgpSession | None, why: str) -> tuple[float | None, str]:
    if session is None:
        return None, why
    if session.sent is None or session.state != ESTABLISHED:
        return None, "What it announces is not told." if session.sent is None else "The session does not stand."
    shares = [(len(session.sent) / bgp.max_prefixes, f"{len(session.sent)} of {bgp.max_prefixes} announced")]
    count = session.accepted_count if session.learned is None else len(session.learned)
    if session.prefix_limit and count is not None:
        shares.append((count / session.prefix_limit, f"{count} of {session.prefix_limit} received"))
    said = ", ".join(words for _, words in shares)
    return max(shares)[0], f"{said}{'' if session.prefix_limit else '; the router sets no limit of its own'}."


def _guarded(session: BgpSession | None, why: str) -> tuple[bool | None, str]:
    """Whether the router limits what it takes, and has a policy of its own both ways."""
    if session is None:
        return None, why
    if session.filters is None:
        return None, "The router does not tell the filters of the session."
    there = (session.prefix_limit is not None, *session.filters)
    words = ("no limit of prefixes", "no filter of what comes", "no filter of what it announces")
    lacking = [word for word, is_there in zip(words, there, strict=True) if not is_there]
    return not lacking, f"The session has {' and '.join(lacking)}." if lacking else ""


def _bfd(plan: Plan, now: Reading) -> tuple[bool | None, str]:
    """Whether it is up as ordered; where none is ordered, whether it is up at all."""
    ordered = plan.bgp.bfd if plan.bgp else None
    if ordered is None and plan.health_check:
        return None, HEALTH_CHECK
    if now.state.bfd is None:
        return None, now.reason or f"The router does not tell its BFD sessions: {ASK}"
    peer = now.state.bfd_with(plan.peer)
    if peer is None and now.state.in_vrf(plan.own):
        return None, f"BFD with {plan.peer} is not told. {IN_VRF}"
    if peer is None:
        unordered = (
            " Nor is it ordered, and no health check either: what no carrier shows is noticed by BGP's hold time, "
        )
        unordered += "and with static routes never."
        return False, f"BFD with {plan.peer} is not on.{'' if ordered else unordered}"
    is_ = (peer.tx_ms, peer.rx_ms, peer.multiplier)
    if ordered is None:
        return peer.state == "up", f"It is {peer.state}, {_timing(is_)}; the order asks for none."
    wanted = (ordered.tx_ns // 10**6, ordered.rx_ns // 10**6, ordered.multiplier)
    said = f"It is {peer.state}, {_timing(is_)}; ordered is {_timing(wanted)}."
    if peer.state != "up":
        return False, said
    there = (peer.remote_tx_ms, peer.remote_rx_ms, peer.remote_multiplier)
    agree = all(told in (None, asked) for told, asked in zip(there, wanted, strict=True))
    if not agree:
        said += f" The other end has {_timing(there)}."
    return (None if None in is_ and agree else is_ == wanted and agree), said


def _timing(of: Iterable[int | None]) -> str:
    tx, rx, multiplier = ("?" if one is None else one for one in of)
    return f"{tx} ms and {rx} ms × {multiplier}"
