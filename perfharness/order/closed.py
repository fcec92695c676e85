"""What must not get through: ports that nobody declared, and connections that are forbidden."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from perfharness.order.units import PortRanges, Ports, ports
from perfharness.order.validation import Strict
from perfharness.order.values import Address, Name, Port16, Text
from perfharness.order.wrong import wrong

MOST_UNDECLARED = 32
"""Ports of one host that may be tried beside the agreed ones: a look, not a scan."""
NONE = PortRanges(())
UNDECLARED = ports("23, 111, 135, 139, 445, 1433, 2375, 3306, 3389, 5432, 5900, 6379, 9200, 11211, 27017")
"""Services that are for a host's own network, and a favourite of intruders: Telnet, portmapper, Windows' RPC and file
shares, Docker, remote desktops, databases and caches. SSH and the web, which are often meant to be reached, are not
among them."""


def _none(value: Any) -> Any:
    return NONE if value == "none" else value


def _few(found: PortRanges) -> PortRanges:
    if len(found) > MOST_UNDECLARED:
        said = f"{len(found)} ports are too many: at most {MOST_UNDECLARED} are tried, lest a test be taken for a scan."
        raise wrong(said, "Name those that matter most.")
    return found


FewPorts = Annotated[Ports, BeforeValidator(_none), AfterValidator(_few)]
"""A few ports, or the word none."""


class Forbidden(Strict):
    """A connection that the segmentation must not allow (EC-057): it is tried, and must not come about."""

    source: Name = Field(alias="from", examples=["onprem-a"])
    """The host that tries it: one of `endpoints`."""
    to: Text = Field(examples=["ecs-a"])
    """The host that must not be reached: one of `endpoints`, or any address."""
    protocol: Literal["tcp", "udp"] = "tcp"
    """UDP only to one of `endpoints`: of another nobody tells that a datagram came."""
    port: Port16 = Field(examples=["3306"])
    """Its port."""

    @property
    def address(self) -> Address | None:
        """Where `to` is one; None for the name of an endpoint."""
        try:
            return ip_address(self.to)
        except ValueError:
            return None
