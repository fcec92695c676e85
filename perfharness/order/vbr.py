"""A virtual border router as ordered: VLAN, rate, link addresses and BGP session."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Self

from pydantic import Field, model_validator

from perfharness.order.units import Duration, Rate
from perfharness.order.validation import Strict
from perfharness.order.values import AsNumber, LinkAddress, LinkAddress6, Name, Prefix, Text, VlanId
from perfharness.order.wrong import wrong


class Link(Strict):
    """The two addresses on the VLAN between the CE and the VBR (EC-005)."""

    customer: LinkAddress = Field(examples=["172.16.100.2/30"])
    """Address of the customer's router, with mask."""
    cloud: LinkAddress = Field(examples=["172.16.100.1/30"])
    """Address of the VBR, with mask."""

    @property
    def network(self) -> IPv4Network:
        return self.customer.network

    @model_validator(mode="after")
    def _usable(self) -> Self:
        for side, end in (("customer", self.customer), ("cloud", self.cloud)):
            mask = end.network.prefixlen
            if not 24 <= mask <= 30:
                remedy = "Use a /24 to /30; a single link needs a /30."
                raise wrong(f"The provider does not accept the link mask /{mask}.", remedy, "EC-005", (side,))
            if end.ip.is_multicast or end.ip.is_loopback or end.ip.is_reserved or end.ip.is_unspecified:
                raise wrong(f"{end.ip} cannot be a router's address.", "Use private ones.", "EC-005", (side,))
            if end.ip in (end.network.network_address, end.network.broadcast_address):
                kind = "network" if end.ip == end.network.network_address else "broadcast"
                first, last = end.network[1], end.network[-2]
                remedy = f"Use one of {first} to {last}."
                raise wrong(f"{end.ip} is the {kind} address of {end.network}.", remedy, "EC-005", (side,))
        if self.customer.network != self.cloud.network:
            nets = f"{self.customer.network} and {self.cloud.network}"
            remedy = "Give both ends the same subnet and mask."
            raise wrong(f"The two link addresses are in two subnets, {nets}.", remedy, "EC-005")
        if self.customer.ip == self.cloud.ip:
            raise wrong("Both ends of the link have the same address.", "Give each end its own.", "EC-005")
        return self


class Link6(Strict):
    """The two IPv6 addresses on the same VLAN, where the VBR has IPv6."""

    customer: LinkAddress6 = Field(examples=["fd00:16::2/126"])
    """Address of the customer's router, with its prefix length."""
    cloud: LinkAddress6 = Field(examples=["fd00:16::1/126"])
    """Address of the VBR, with its prefix length."""

    @property
    def network(self) -> IPv6Network:
        return self.customer.network

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.customer.network != self.cloud.network or self.customer.ip == self.cloud.ip:
            remedy = "Give each end its own address of one subnet."
            raise wrong("The two IPv6 link addresses are not of one link.", remedy, "EC-005")
        return self


class Bfd(Strict):
    """BFD as ordered; the provider accepts 200 to 1000 ms and a multiplier of 3 to 10."""

    tx_ns: Duration = Field(default=10**9, alias="tx", ge=200_000_000, le=10**9)
    """Transmit interval."""
    rx_ns: Duration = Field(default=10**9, alias="rx", ge=200_000_000, le=10**9)
    """Receive interval."""
    multiplier: int = Field(default=3, ge=3, le=10)
    """Missed packets until the session is down."""

    @property
    def detection_ns(self) -> int:
        """How long a failure may be unnoticed at most (RFC 5880, section 6.8.4), both ends set alike."""
        return self.multiplier * max(self.tx_ns, self.rx_ns)


class HealthCheck(Strict):
    """The cloud's own check of the link as ordered: it pings the customer's address; 2 to 3 s, 3 to 8 packets."""

    interval_ns: Duration = Field(default=2 * 10**9, alias="interval", ge=2 * 10**9, le=3 * 10**9)
    """Between two packets."""
    packets: int = Field(default=8, ge=3, le=8)
    """Missed packets until the link is taken for failed."""

    @property
    def detection_ns(self) -> int:
        """How long a failure may be unnoticed."""
        return self.packets * self.interval_ns


class Bgp(Strict):
    """The BGP session on the link."""

    customer_as: AsNumber = Field(examples=["65010"])
    """AS number of the customer's router."""
    cloud_as: AsNumber = 45104
    """AS number of the VBR."""
    md5: bool = False
    """Whether the session is signed. Never the key itself."""
    bfd: Bfd | None = None
    """BFD beside the session."""
    announced: tuple[Prefix, ...] | None = None
    """What the customer's router announces; `prefixes.onprem` unless it is something else."""
    received: tuple[Prefix, ...] | None = None
    """What the VBR announces; `prefixes.cloud` unless it is something else."""
    max_prefixes: int = Field(default=110, ge=1)
    """How many prefixes the cloud takes of one peer and drops what is more; the provider's default."""


class Vbr(Strict):
    """A virtual border router: one VLAN on the port."""

    id: Name = Field(examples=["vbr-bp1example"])
    """The provider's id."""
    name: Text | None = None
    """Its name: vbr-<region>-<environment>-vlan<n>."""
    vlan: VlanId = Field(examples=["100"])
    """802.1Q VLAN id, 1 to 2999; 0 = untagged, the only VBR of its port."""
    bandwidth_bps: Rate = Field(alias="bandwidth", examples=["1Gbps"])
    """Contracted rate."""
    mtu: int = Field(default=1500, ge=576, le=9216)
    """IP MTU in bytes; 8500 only where the VBR is attached to an ECR."""
    link: Link
    """The two link addresses."""
    link6: Link6 | None = None
    """The two IPv6 link addresses; by them a trace over IPv6 is known to cross this circuit."""
    bgp: Bgp | None = None
    """Leave out for static routes."""
    health_check: HealthCheck | None = None
    """The cloud's health check, where there is one beside BFD or in place of it."""

    @property
    def noticed_by(self) -> tuple[str, int] | None:
        """What notices first that the circuit has failed, as ordered, and within how many ns; None if nothing does."""
        bfd = self.bgp.bfd if self.bgp else None
        ordered = {"BFD": bfd, "health check": self.health_check}
        times = {name: each.detection_ns for name, each in ordered.items() if each}
        return min(times.items(), key=lambda found: found[1], default=None)
