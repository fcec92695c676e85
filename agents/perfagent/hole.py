"""How far packets of one size get: probes of that size with growing TTL, beside small ones that prove who is there.

A router says Time Exceeded before it looks at the size, so the last one that does so for a large probe is the one
before the narrow link, and ought to have said Packet Too Big. It needs no privilege.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from perfagent.jobs import Job

MOST_HOPS = 30
TRIES = 3
_SILENT_HOPS = 4
"""After so many hops in a row that answer nothing, the rest is silent too."""


class Asked(Protocol):
    """As ``sized.Prober``."""

    control_bytes: int

    def ask_hop(self, ttl: int, size: int) -> str | None: ...


class Hop(NamedTuple):
    """Who answered for this TTL; None for nobody."""

    ttl: int
    small: str | None
    large: str | None


def walk(job: Job, prober: Asked, size: int, peer: str) -> dict[str, Any]:
    """``{"size", "hops": [{"ttl", "small", "large"}], "last", "next", "adjacent"}``

    ``last``: the farthest that had a packet of this size, None if not even the first hop did. ``next``: the nearest
    beyond it that small packets reach and these do not, None if none answers. ``adjacent``: no silent hop lies
    between them.
    """
    hops: list[Hop] = []
    for ttl in range(1, MOST_HOPS + 1):
        hop = _ask(job, prober, ttl, size)
        hops.append(hop)
        silent = all(each.small is each.large is None for each in hops[-_SILENT_HOPS:])
        if job.stopping or stopped_at(hop) or peer in hop or (silent and len(hops) >= _SILENT_HOPS):
            break
    return {"size": size, "hops": [hop._asdict() for hop in hops], **between(hops)}


def stopped_at(hop: Hop) -> bool:
    """Small packets reach it and large ones do not."""
    return hop.small is not None and hop.large is None


def between(hops: list[Hop]) -> dict[str, Any]:
    """Between whom packets of that size are lost."""
    beyond = next((hop for hop in hops if stopped_at(hop)), None)
    reached = [hop for hop in hops if hop.large is not None and (beyond is None or hop.ttl < beyond.ttl)]
    last = reached[-1] if reached else None
    adjacent = beyond is not None and beyond.ttl == (last.ttl if last else 0) + 1
    return {"last": last.large if last else None, "next": beyond.small if beyond else None, "adjacent": adjacent}


def _ask(job: Job, prober: Asked, ttl: int, size: int) -> Hop:
    """By turns, so that what is lost by chance, or kept back by a router that limits its messages, hits both alike."""
    small = large = None
    for _ in range(TRIES):
        large = large or prober.ask_hop(ttl, size)
        if small is None or large is None:
            small = prober.ask_hop(ttl, prober.control_bytes) or small
        if job.stopping or (small and large):
            break
    return Hop(ttl, small, large)
