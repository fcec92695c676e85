"""The VLAN tag of a circuit that the kernel plays: an 802.1Q interface on the port at each end, where it has such.

The port stays ``wan``, as an order calls a CE's: it has the carrier, the counters and the meter. These see frames
without their tag, which the kernel keeps beside a frame. What stands on the port, ``wan.100``, has the address; the
kernel takes it down and up with its port, and removes it with it.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfharness.lab import namespaces

CONF = Path("/proc/sys/net/ipv4/conf")


def add(netlink: Any, namespace: str, port: str, vlan: int) -> None:
    """Nothing for VLAN 0, and nothing where the kernel has no 802.1Q: only trying tells, since the request loads its
    module if there is one."""
    from pyroute2.netlink.exceptions import NetlinkError

    if not vlan:
        return
    (index,) = netlink.link_lookup(ifname=port)
    try:
        netlink.link("add", kind="vlan", ifname=_name(port, vlan), link=index, vlan_id=vlan)
    except NetlinkError as error:
        if error.code != errno.EOPNOTSUPP:
            raise
        return
    with namespaces.entered(namespace):
        # Linux answers ARP on every port for all of its addresses: here without a tag for that of the VLAN.
        (CONF / port / "arp_ignore").write_text("1", encoding="ascii")


def found(netlink: Any, port: str, vlan: int) -> Sequence[int]:
    """The index of the VLAN's interface on this port, if there is one."""
    indices: Sequence[int] = netlink.link_lookup(ifname=_name(port, vlan)) if vlan else ()
    return indices


def _name(port: str, vlan: int) -> str:
    return f"{port}.{vlan}"
