"""The neighbour on the wire: who answers for an address."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from typing import Any

from perfagent.jobs import Job
from perfagent.netlink import Routes
from perfagent.sockets import canonical
from perfagent.tagged import LAST_VLAN, Probe
from perfagent.wire import Code, Fault

_ETH_P_ARP = 0x0806
_PATIENCE_S = 0.5
_TRIES = 3


def neighbour(job: Job, *, interface: str, address: str) -> dict[str, Any]:
    """Ask by ARP who has ``address``; twice more if nobody answers. Two different MACs = a duplicate address.

    Raises Fault(NOT_PERMITTED) without CAP_NET_RAW, Fault(ADDRESS) for an unknown interface or an IPv6 address.
    """
    address = canonical(address)
    if ":" in address:
        raise Fault(Code.ADDRESS, f"{address} is IPv6: only IPv4 neighbours are asked for")
    _scapy_at(job)
    from scapy.arch import get_if_addr, get_if_hwaddr
    from scapy.config import conf
    from scapy.layers.l2 import ARP, Ether

    conf.verb = 0
    try:
        source, mac = get_if_addr(interface), get_if_hwaddr(interface)
        wire = conf.L2socket(iface=interface, type=_ETH_P_ARP, promisc=False)
    except PermissionError as error:
        raise Fault(Code.NOT_PERMITTED, "asking by ARP needs root or CAP_NET_RAW") from error
    except (OSError, ValueError) as error:
        raise Fault(Code.ADDRESS, f"cannot ask on {interface}: {error}") from error
    question = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op="who-has", hwsrc=mac, psrc=source, pdst=address)
    answers: list[dict[str, Any]] = []
    asked = 0
    with wire:
        while asked < _TRIES and not answers and not job.stopping:
            asked += 1
            answered, _ = wire.sr(question, timeout=_PATIENCE_S, multi=True, verbose=0)
            answers = [_answer(sent, reply) for sent, reply in answered]
    return {"answers": answers, "asked": asked}


def next_hop(job: Job, *, peer: str, source: str) -> dict[str, Any]:
    """Ask for the station that gets this host's packets for ``peer``: what ``neighbour`` says, with its ``address``.

    Raises Fault(ADDRESS) when there is no route.
    """
    peer = canonical(peer)
    try:
        with closing(Routes()) as routes:
            way = routes.to(peer, canonical(source))
    except OSError as error:
        raise Fault(Code.ADDRESS, f"the kernel has no route to {peer}: {error.strerror}") from error
    address = way["gateway"] or peer
    return {"address": address, **neighbour(job, interface=str(way["interface"]), address=address)}


def tagged(
    job: Job, *, interface: str, address: str, source: str, vlan: int, others: list[int], sweep: bool
) -> dict[str, Any]:
    """Ask by ARP on ``vlan`` (0 = without a tag), without a tag and on ``others`` who has ``address``, as ``source``;
    where ``sweep`` is true, then once on each of 1 to 2999 besides.

    ``{"asked": [vlan, …], "answers": [{"vlan", "mac"}, …]}``. Raises Fault(NOT_PERMITTED) without CAP_NET_RAW,
    Fault(ADDRESS) for an interface that there is not, or that is down.
    """
    address, source = canonical(address), canonical(source)
    _scapy_at(job)
    from scapy.layers.l2 import ARP, Dot1Q, Ether

    def question(mac: str, tag: int) -> bytes:
        ethernet = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
        ask = ARP(op="who-has", hwsrc=mac, psrc=source, pdst=address)
        return bytes(ethernet / Dot1Q(vlan=tag) / ask if tag else ethernet / ask)

    try:
        probe = Probe(interface, address, question)
    except PermissionError as error:
        raise Fault(Code.NOT_PERMITTED, "asking by ARP on a VLAN needs root or CAP_NET_RAW") from error
    except OSError as error:
        raise Fault(Code.ADDRESS, f"cannot ask on {interface}: {error.strerror}") from error
    with closing(probe):
        try:
            asked = list(dict.fromkeys((vlan, 0, *others)))
            for _ in range(_TRIES):
                probe.ask(asked, _PATIENCE_S, job.stop_fd)
            if sweep and not job.stopping:
                probe.ask([tag for tag in range(1, LAST_VLAN + 1) if tag not in asked], _PATIENCE_S, job.stop_fd)
                asked += [tag for tag in range(1, LAST_VLAN + 1) if tag not in asked]
        except OSError as error:
            raise Fault(Code.ADDRESS, f"cannot ask on {interface}: {error.strerror}") from error
        found = [{"vlan": tag, "mac": mac} for tag, mac in sorted(probe.answers)]
    return {"asked": asked, "answers": found}


def _scapy_at(job: Job) -> None:
    """Import scapy: it makes folders in the user's home when it is, where nothing of ours may stay."""
    with tempfile.TemporaryDirectory(dir=job.folder) as folder:
        os.environ.update(XDG_CONFIG_HOME=folder, XDG_CACHE_HOME=folder)
        import scapy.arch  # noqa: F401 - for what it loads


def _answer(sent: Any, reply: Any) -> dict[str, Any]:
    return {"mac": reply.src, "rtt_ns": round((reply.time - sent.sent_time) * 1e9)}
