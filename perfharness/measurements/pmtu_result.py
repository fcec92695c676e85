"""What a search for the path MTU says, one direction: the size, whether ICMP says the same, who should have, the MSS.

largest      the largest IP packet that arrives
swallowed    how many of the ordered bytes a packet lacks that vanishes without a word: a black hole where above 0
mss_cut      what the way took off the MSS of a SYN in this direction
host_excess  what the sender's interface allows beyond what arrives
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from perfharness.measurements.base import Context
from perfharness.model import Direction, Interval, Observation, Scope, Segment

STATISTICS = ("largest", "swallowed", "mss_cut", "host_excess")
CEILING = 9216
"""Above every MTU that this kind of circuit is sold with."""
ONPREM, CLOUD = "onprem", "cloud"


@dataclass(frozen=True, slots=True)
class Found:
    """One direction: what the searching end and the answering end left."""

    context: Context
    way: Direction
    family: str
    search: Mapping[str, Any]
    echo: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scope(self) -> Scope:
        return self.context.scope(self.way, family=self.family)

    @property
    def size(self) -> int:
        return int(self.search["pmtu"])

    @property
    def local_mtu(self) -> int | None:
        """Of the sender's interface."""
        return self.search.get("local_mtu")

    @property
    def said(self) -> tuple[int, ...]:
        """The MTUs that messages Packet Too Big named; 0 is a message that names none (RFC 1191, section 5)."""
        return tuple(sorted({int(message["mtu"]) for message in self.search.get("ptb") or ()}))

    @property
    def icmp(self) -> str:
        """Whether a host that believes ICMP would send what arrives: ``agrees``, ``less`` (larger packets arrive),
        ``more`` (these do not arrive either), ``unnamed``, ``silent``, or empty where there was nothing to say."""
        if self.size in self.said:
            return "agrees"
        if any(0 < mtu < self.size for mtu in self.said):
            return "less"
        if any(self.said):
            return "more"
        if self.said:
            return "unnamed"
        return "silent" if self.size < min(CEILING, self.local_mtu or CEILING) else ""

    @property
    def narrow(self) -> str:
        """Which host itself allows nothing larger than what was found; empty when both do, or a router says that it
        does not."""
        _, target = self.context.ends(self.way)
        if self.local_mtu is not None and self.local_mtu <= self.size:
            return f"The sender's own interface allows no more than {self.local_mtu} B."
        mtu = self.echo.get("local_mtu")
        if mtu is not None and mtu <= self.size and not self.said:
            return f"The interface of the receiver, {target.name}, need take no more than its MTU of {mtu} B."
        return ""


def facts(found: Found) -> dict[str, Any]:
    """What the search left, and what it means by the order."""
    return {
        **found.search,
        "icmp": found.icmp,
        "lies": [mtu for mtu in found.said if 0 < mtu < found.size],
        "planned": found.context.mtu,
        "receiver_mtu": found.echo.get("local_mtu"),
        "mss": _mss(found),
        "said_on_side": _side_of_speaker(found),
        "segment": _segment(found),
    }


def observations(found: Found, evidence: tuple[str, ...]) -> list[Observation]:
    return [
        _observation(found, evidence, *each)
        for each in (_largest(found), _swallowed(found), _cut(found), _excess(found))
    ]


def _observation(
    found: Found, evidence: tuple[str, ...], statistic: str, value: int | None, most: float, reason: str
) -> Observation:
    """``most``: up to where the true value may lie."""
    method = "search with DF, each failing size tried three times"
    return Observation(
        metric="pmtu",
        statistic=statistic,
        scope=found.scope,
        unit="B",
        value=value,
        n=found.search["tries"] if value is not None else 0,
        # Found by packets that arrived and packets that did not, to the byte.
        interval=None if value is None else Interval(value, most, 1.0, "exact", method),
        evidence=evidence,
        reason=reason,
    )


def _largest(found: Found) -> tuple[str, int, float, str]:
    # Where a host's own interface or the search ends, the path may carry more.
    most = math.inf if found.narrow or found.size >= CEILING else found.size
    return "largest", found.size, most, " ".join(filter(None, (found.narrow or _about(found), _lied(found))))


def _swallowed(found: Found) -> tuple[str, int, float, str]:
    lacking = max(0, found.context.mtu - found.size)
    if not lacking:
        return "swallowed", 0, 0, "No packet of the ordered size vanishes."
    if found.narrow:
        return "swallowed", 0, lacking, found.narrow
    if found.icmp in ("silent", "more"):
        return "swallowed", lacking, lacking, f"{_about(found)} {where_it_stops(found.search.get('stops'))}".strip()
    return "swallowed", 0, 0, f"What is too large is told so. {_about(found)}"


def _about(found: Found) -> str:
    """What limits it, as far as the packets and the ICMP messages say."""
    size = found.size
    messages = found.search.get("ptb") or []
    right = next((message for message in messages if message["mtu"] == size), None)
    if right:
        return f"{right['from']} says Packet Too Big, MTU {size} B, as packets do."
    if found.icmp == "silent":
        return "Larger packets vanish without a Packet Too Big message: a black hole."
    if found.icmp == "more":
        first = messages[0]
        return (
            f"{first['from']} says Packet Too Big, MTU {first['mtu']} B, but of more than {size} B none arrives, and "
            "nobody says so: a black hole behind it."
        )
    if found.icmp == "unnamed":
        return f"{messages[0]['from']} says Packet Too Big, and does not name an MTU."
    return ""


def _lied(found: Found) -> str:
    """What was said and is not so; nothing else that the search tells rests on it."""
    size = found.size
    wrong = next((m for m in found.search.get("ptb") or [] if 0 < m["mtu"] < size), None)
    if not wrong:
        return ""
    return f"{wrong['from']} says Packet Too Big, MTU {wrong['mtu']} B, and packets of {size} B arrive: not believed."


def where_it_stops(stops: Mapping[str, Any] | None) -> str:
    """Between whom packets that are too large are lost, as TTL-limited ones tell; empty if it was not looked for."""
    if not stops:
        return ""
    size, last, after = stops["size"], stops["last"], stops["next"]
    if last is None and after is None:
        return "No router answers TTL-limited probes, so the place is not known."
    if after is None:
        return f"{last} is the last to have packets of {size} B; nobody beyond it answers probes, small ones neither."
    gap = "" if stops["adjacent"] else ", with routers between them that keep silent"
    if last is None:
        return f"Packets of {size} B do not even reach {after}{gap}; small ones do."
    return f"Packets of {size} B reach {last} and not {after}{gap}; {last} should have said Packet Too Big."


def _cut(found: Found) -> tuple[str, int | None, float, str]:
    mss = _mss(found)
    if mss["arrived"] is None or mss["advertised"] is None:
        return "mss_cut", None, math.nan, f"The MSS is not known: {mss['reason']}."
    cut = mss["advertised"] - mss["arrived"]
    kept = f"A SYN that advertises {mss['advertised']} B arrives with {mss['arrived']} B."
    return "mss_cut", cut, cut, kept


def _mss(found: Found) -> dict[str, Any]:
    """``{"advertised", "arrived", "reason"}`` of a SYN in this direction; None where it is not known."""
    left, came = found.search.get("syn") or {}, found.echo.get("syn") or {}
    known = [mss for mss in came.get("arrived") or () if mss is not None]
    reason = left.get("reason") or came.get("reason") or ("" if known else "the SYN was not seen where it arrived")
    return {"advertised": left.get("advertised"), "arrived": min(known, default=None), "reason": reason}


def _excess(found: Found) -> tuple[str, int | None, float, str]:
    source = found.context.ends(found.way)[0].name
    if found.local_mtu is None:
        return "host_excess", None, math.nan, f"{source} does not tell the MTU of its interface."
    excess = max(0, found.local_mtu - found.size)
    return (
        "host_excess",
        excess,
        excess,
        f"The interface of {source} allows {found.local_mtu} B; {found.size} B arrive.",
    )


# --- where ------------------------------------------------------------------------------------------


def _side(found: Found, address: str | None) -> str:
    """``onprem`` or ``cloud``: where the order has this router; empty if it has it nowhere."""
    if address is None:
        return ""
    order, router = found.context.circuit, ip_address(address)
    ends = {ONPREM: [vbr.link.customer.ip for vbr in order.vbrs], CLOUD: [vbr.link.cloud.ip for vbr in order.vbrs]}
    sides = {ONPREM: order.prefixes.onprem, CLOUD: order.prefixes.cloud}
    return next((at for at in sides if router in ends[at] or any(router in each for each in sides[at])), "")


def _side_of_speaker(found: Found) -> str:
    """Of the router that says what the packets say, or of the first that says anything."""
    messages = sorted(found.search.get("ptb") or (), key=lambda message: message["mtu"] != found.size)
    return _side(found, messages[0]["from"] if messages else None)


def _segment(found: Found) -> str:
    """In which segment too large packets are lost, by the sides of the routers around; empty if that is not known."""
    stops = found.search.get("stops") or {}
    if not stops.get("adjacent"):
        return ""
    near = ONPREM if found.way is Direction.A_Z else CLOUD
    last = _side(found, stops["last"]) if stops["last"] else near
    after = _side(found, stops["next"])
    if not last or not after:
        return ""
    if last != after:
        return Segment.CARRIER.value
    return Segment.LAN.value if last == ONPREM else Segment.CLOUD_EDGE.value
