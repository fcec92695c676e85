"""What the lab is to play: one circuit between an on-prem host and an ECS instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv4Interface, IPv4Network, ip_interface, ip_network
from typing import TYPE_CHECKING, Any

from perfharness.errors import LabFault
from perfharness.lab.linespec import LineSpec, Rate
from perfharness.model import Direction, Layer

if TYPE_CHECKING:
    from perfharness.order.circuit import Circuit, Endpoint

HOST_PREFIX = 24
"""Every end host sits in a /24 of its own site."""
CE_ALIAS = "ce-a"
TAG_BYTES = 4
QUEUE_NS = 50_000_000
"""How long a frame may wait for its turn: bursts of a paced sender pass, a standing overload does not."""
BEYOND_L2_BYTES = {Layer.L1: 24, Layer.L2_FCS: 4, Layer.L2: 0, Layer.L3: -14 - TAG_BYTES}
"""What a meter of this layer counts for each tagged frame besides the frame itself."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host with an sshd: the alias that SSH knows it by, and its test interface."""

    alias: str
    address: str
    interface: str = "eth0"

    @property
    def network(self) -> IPv4Network:
        return ip_network(f"{self.address}/{HOST_PREFIX}", strict=False)  # type: ignore[return-value]  # IPv4, see _ipv4


@dataclass(frozen=True, slots=True)
class LabSpec:
    """The defaults are the healthy circuit of ``scenarios/circuits/lab.yaml``."""

    onprem: Host = Host("onprem-a", "10.10.0.10")
    ecs: Host = Host("ecs-a", "192.168.10.10")
    ce_alias: str = CE_ALIAS
    """The customer's router has an sshd too: its counters can be read."""
    onprem_prefix: str = "10.10.0.0/16"
    cloud_prefix: str = "192.168.0.0/16"
    customer_link: str = "172.16.100.2/30"
    cloud_link: str = "172.16.100.1/30"
    vlan: int = 100
    mtu: int = 1500
    rate_bps: int | None = 1_000_000_000
    """``None``: not shaped, as fast as this machine."""
    rate_layer: Layer = Layer.L2

    def __post_init__(self) -> None:
        for host, prefix in ((self.onprem, self.onprem_prefix), (self.ecs, self.cloud_prefix)):
            network = ip_network(prefix)
            if network.version != 4 or network.prefixlen >= HOST_PREFIX or not host.network.subnet_of(network):
                raise LabFault(
                    f"The lab cannot play prefix {prefix} with host {host.address}.",
                    f"Declare an IPv4 prefix wider than /{HOST_PREFIX} that holds the host.",
                )

    @property
    def link(self) -> IPv4Network:
        return self.customer.network

    @property
    def customer(self) -> IPv4Interface:
        return _ipv4(self.customer_link)

    @property
    def cloud(self) -> IPv4Interface:
        return _ipv4(self.cloud_link)

    def lines(self) -> dict[Direction, LineSpec]:
        """Both directions of the circuit as ordered: nothing but the rate and the VLAN."""
        line = LineSpec(vlan_push=self.vlan, vlan_expect=self.vlan)
        if self.rate_bps is not None:
            rate = Rate(self.rate_bps, QUEUE_NS, overhead_bytes=BEYOND_L2_BYTES[self.rate_layer])
            line = LineSpec(rate=rate, vlan_push=self.vlan, vlan_expect=self.vlan)
        return {Direction.A_Z: line, Direction.Z_A: line}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabSpec:
        fields = {**data, "onprem": Host(**data["onprem"]), "ecs": Host(**data["ecs"])}
        return cls(**{**fields, "rate_layer": Layer(data["rate_layer"])})

    @classmethod
    def from_circuit(cls, circuit: Circuit) -> LabSpec:
        """The lab that plays this order: its first pair of hosts, over that pair's VBR."""
        by_name = {endpoint.name: endpoint for endpoint in circuit.hosts}
        pair = next((pair for pair in circuit.pairs if set(pair) <= set(by_name)), None)
        if pair is None:
            raise LabFault("The lab plays two hosts, and no pair of this order has them.", "Add a host on each side.")
        a, z = (by_name[name] for name in pair)
        vbr = next((vbr for vbr in circuit.vbrs if vbr.id in (a.vbr, z.vbr)), circuit.vbrs[0])
        return cls(
            onprem=_host(a),
            ecs=_host(z),
            ce_alias=circuit.ce_host.ssh.host if circuit.ce_host else CE_ALIAS,
            onprem_prefix=_prefix_of(a, circuit.prefixes.onprem),
            cloud_prefix=_prefix_of(z, circuit.prefixes.cloud),
            customer_link=str(vbr.link.customer),
            cloud_link=str(vbr.link.cloud),
            vlan=vbr.vlan,
            mtu=vbr.mtu,
            rate_bps=vbr.bandwidth_bps,
            rate_layer=circuit.rate_layer or Layer.L2,
        )


def _ipv4(text: str) -> IPv4Interface:
    interface = ip_interface(text)
    if not isinstance(interface, IPv4Interface):
        raise LabFault(f"The lab plays IPv4 only, not {text}.")
    return interface


def _host(endpoint: Endpoint) -> Host:
    return Host(endpoint.ssh.host, str(endpoint.address), endpoint.interface)


def _prefix_of(endpoint: Endpoint, prefixes: tuple[Any, ...]) -> str:
    address = ip_interface(str(endpoint.address)).ip
    for prefix in prefixes:
        if address in ip_network(str(prefix)):
            return str(prefix)
    raise LabFault(f"No declared prefix holds {endpoint.name} ({address}).", "Correct prefixes or address.")
