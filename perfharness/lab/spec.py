"""What the lab is to play: one circuit between an on-prem host and an ECS instance, or the two of a production pair."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Interface, IPv4Network, ip_interface, ip_network
from typing import TYPE_CHECKING, Any

from perfharness.errors import LabFault
from perfharness.lab.frames import MAC_BYTES
from perfharness.lab.linespec import LineSpec, Rate
from perfharness.model import Direction, Layer

if TYPE_CHECKING:
    from perfharness.order.circuit import Circuit, Endpoint, Vbr

HOST_PREFIX = 24
"""Every end host sits in a /24 of its own site."""
CE_ALIAS, CE_B_ALIAS = "ce-a", "ce-b"
CLOUD_AS = 45104
TAG_BYTES = 4
QUEUE_NS = 50_000_000
"""How long a frame may wait for its turn: bursts of a paced sender pass, a standing overload does not."""
LEAST_BUCKET_PACKETS = 3
"""Of full size: one in the kernel's queue, and more than one of tokens, whose number it rounds."""
BEYOND_L2_BYTES = {Layer.L1: 24, Layer.L2_FCS: 4, Layer.L2: 0, Layer.L3: -MAC_BYTES}
"""What a meter of this layer counts for each untagged frame besides the frame itself."""


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
class Bgp:
    """The session across the link, with BFD (RFC 5880): the fastest that the provider accepts, if not ordered else."""

    customer_as: int = 65010
    cloud_as: int = CLOUD_AS
    tx_ns: int = 200_000_000
    rx_ns: int = 200_000_000
    multiplier: int = 3


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
    """0: untagged."""
    mtu: int = 1500
    rate_bps: int | None = 1_000_000_000
    """``None``: not metered, as fast as this machine."""
    rate_layer: Layer = Layer.L2
    policer_bytes: int | None = None
    """The bucket of a policer, counted at ``rate_layer``; ``None``: the rate is shaped."""
    queue_ns: int = QUEUE_NS
    """Of a shaper."""
    rtt_ns: int = 0
    """What the circuit adds to a round trip, half of it each way."""
    onprem_b: Host | None = None
    """A second host on the LAN of the first."""
    ecs_b: Host | None = None
    """A second instance on the vSwitch of the first."""
    bgp: Bgp | None = None
    """``None``: static routes."""
    second: LabSpec | None = None
    """The other circuit of a production pair; its hosts and prefixes are those of the first."""
    standby: bool = False
    """The second circuit carries only while the first does not; else flows are spread over both."""

    def __post_init__(self) -> None:
        for host, prefix in ((self.onprem, self.onprem_prefix), (self.ecs, self.cloud_prefix)):
            network = ip_network(prefix)
            if network.version != 4 or network.prefixlen >= HOST_PREFIX or not host.network.subnet_of(network):
                raise LabFault(
                    f"The lab cannot play prefix {prefix} with host {host.address}.",
                    f"Declare an IPv4 prefix wider than /{HOST_PREFIX} that holds the host.",
                )
        if self.rate_layer not in BEYOND_L2_BYTES:
            layers = ", ".join(BEYOND_L2_BYTES)
            raise LabFault(f"No circuit meters at {self.rate_layer}.", f"Choose one of {layers}.")
        if self.policer_bytes is not None and self.policer_bytes < self.least_bucket_bytes:
            raise LabFault(
                f"A policer's bucket of {self.policer_bytes} bytes is too small for packets of {self.mtu} bytes.",
                f"Choose at least {self.least_bucket_bytes}: {LEAST_BUCKET_PACKETS} of them as the meter counts.",
            )
        if self.second and self.second.link.overlaps(self.link):
            raise LabFault(f"Both circuits have the link {self.link}.", "Give each its own.")

    @property
    def circuits(self) -> dict[str, LabSpec]:
        """Each circuit by its letter."""
        return {"a": self, "b": self.second} if self.second else {"a": self}

    def with_circuits(self, circuits: Mapping[str, LabSpec]) -> LabSpec:
        """The same with these in their places."""
        return replace(circuits["a"], second=circuits.get("b"))

    @property
    def overhead_bytes(self) -> int:
        """What the meter counts for each packet besides its untagged frame."""
        tag = 0 if self.rate_layer is Layer.L3 or not self.vlan else TAG_BYTES
        return BEYOND_L2_BYTES[self.rate_layer] + tag

    @property
    def metered_bytes(self) -> int:
        """What the meter counts for a packet of full size."""
        return self.mtu + MAC_BYTES + self.overhead_bytes

    @property
    def least_bucket_bytes(self) -> int:
        return LEAST_BUCKET_PACKETS * self.metered_bytes

    @property
    def link(self) -> IPv4Network:
        return self.customer.network

    @property
    def customer(self) -> IPv4Interface:
        return _ipv4(self.customer_link)

    @property
    def cloud(self) -> IPv4Interface:
        return _ipv4(self.cloud_link)

    def lines(self, *, metered: bool = True) -> dict[Direction, LineSpec]:
        """Both directions of the circuit as ordered: delay, VLAN and, unless the kernel meters, the rate."""
        tag = self.vlan or None
        rate = None
        if metered and self.rate_bps is not None:
            overhead = self.overhead_bytes - (TAG_BYTES if tag is not None else 0)  # the wire's frames carry the tag
            rate = Rate(self.rate_bps, self.queue_ns, self.policer_bytes, overhead)
        line = LineSpec(delay_ns=self.rtt_ns // 2, rate=rate, vlan_push=tag, vlan_expect=tag)
        return {Direction.A_Z: line, Direction.Z_A: line}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabSpec:
        """Raises TypeError for what it does not know."""
        parts: dict[str, Any] = {
            key: Host(**data[key]) for key in ("onprem", "ecs", "onprem_b", "ecs_b") if data[key] is not None
        }
        if data["bgp"] is not None:
            parts["bgp"] = Bgp(**data["bgp"])
        if data["second"] is not None:
            parts["second"] = cls.from_json(data["second"])
        return cls(**{**data, **parts, "rate_layer": Layer(data["rate_layer"])})

    @classmethod
    def from_circuit(cls, circuit: Circuit, companion: Circuit | None = None, *, bgp: bool = False) -> LabSpec:
        """The lab that plays this order: its first pair of hosts, over that pair's VBR.

        And beside each of the two the first other host of the order whose address is on the same LAN. Between a circuit
        and its companion BGP decides; a single one has static routes, unless ``bgp``.
        """
        first = cls._single(circuit, CE_ALIAS, bgp or companion is not None)
        if companion is None:
            return first
        other = cls._single(companion, CE_B_ALIAS, True)
        theirs = ("onprem", "ecs", "onprem_b", "ecs_b", "onprem_prefix", "cloud_prefix")
        return replace(first, second=replace(other, **{name: getattr(first, name) for name in theirs}))

    @classmethod
    def _single(cls, circuit: Circuit, ce_alias: str, bgp: bool) -> LabSpec:
        by_name = {endpoint.name: endpoint for endpoint in circuit.hosts}
        pair = next((pair for pair in circuit.pairs if set(pair) <= set(by_name)), None)
        if pair is None:
            raise LabFault("The lab plays two hosts, and no pair of this order has them.", "Add a host on each side.")
        a, z = (by_name[name] for name in pair)
        vbr = next((vbr for vbr in circuit.vbrs if vbr.id in (a.vbr, z.vbr)), circuit.vbrs[0])
        return cls(
            onprem=_host(a),
            ecs=_host(z),
            ce_alias=circuit.ce_host.ssh.host if circuit.ce_host else ce_alias,
            onprem_prefix=_prefix_of(a, circuit.prefixes.onprem),
            cloud_prefix=_prefix_of(z, circuit.prefixes.cloud),
            customer_link=str(vbr.link.customer),
            cloud_link=str(vbr.link.cloud),
            vlan=vbr.vlan,
            mtu=vbr.mtu,
            rate_bps=vbr.bandwidth_bps,
            rate_layer=circuit.rate_layer or Layer.L2,
            onprem_b=_beside(a, circuit.hosts),
            ecs_b=_beside(z, circuit.hosts),
            bgp=_session(vbr) if bgp else None,
        )


def _ipv4(text: str) -> IPv4Interface:
    interface = ip_interface(text)
    if not isinstance(interface, IPv4Interface):
        raise LabFault(f"The lab plays IPv4 only, not {text}.")
    return interface


def _session(vbr: Vbr) -> Bgp:
    if vbr.bgp is None:
        return Bgp()
    ends = Bgp(vbr.bgp.customer_as, vbr.bgp.cloud_as)
    bfd = vbr.bgp.bfd
    return replace(ends, tx_ns=bfd.tx_ns, rx_ns=bfd.rx_ns, multiplier=bfd.multiplier) if bfd else ends


def _host(endpoint: Endpoint) -> Host:
    return Host(endpoint.ssh.host, str(endpoint.address), endpoint.interface)


def _beside(first: Endpoint, hosts: Iterable[Endpoint]) -> Host | None:
    others = (_host(host) for host in hosts if host.site == first.site and host.name != first.name)
    lan = _host(first).network
    return next((host for host in others if ip_interface(host.address).ip in lan), None)


def _prefix_of(endpoint: Endpoint, prefixes: tuple[Any, ...]) -> str:
    address = ip_interface(str(endpoint.address)).ip
    for prefix in prefixes:
        if address in ip_network(str(prefix)):
            return str(prefix)
    raise LabFault(f"No declared prefix holds {endpoint.name} ({address}).", "Correct prefixes or address.")
