"""The ends of a circuit from which is measured: hosts that take an agent, and routers that answer by themselves."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, PlainValidator, TypeAdapter, ValidationInfo, model_validator

from perfharness.order.closed import UNDECLARED, FewPorts
from perfharness.order.units import Ports, Rate, Size
from perfharness.order.validation import Strict
from perfharness.order.values import (
    FilePath,
    HostAddress,
    HostAddress6,
    Interface,
    Name,
    Port16,
    RouterPort,
    Text,
    Vtysh,
)
from perfharness.order.wrong import wrong


class Ssh(Strict):
    """How to reach the host; what is left out comes from the SSH configuration."""

    host: Text = Field(examples=["onprem-a"])
    """Alias in the SSH configuration, or host name."""
    config: FilePath | None = None
    """SSH configuration to use in place of ~/.ssh/config; relative to this file."""
    user: Text | None = None
    """User name."""
    port: Port16 | None = None
    """TCP port of sshd."""
    known_hosts: FilePath | None = None
    """Known hosts to use in place of ~/.ssh/known_hosts; relative to this file."""


class RouterSsh(Ssh):
    """How to reach a router of a vendor: by a key, or by a password where it takes none."""

    password_file: FilePath | None = None
    """File with the user's password, which only its owner may read (mode 0600); relative to this file."""

    @model_validator(mode="before")
    @classmethod
    def _not_in_the_order(cls, value: Any) -> Any:
        if isinstance(value, dict) and "password" in value:
            remedy = "Write it alone into a file of mode 0600, and the name of that as `password_file:`."
            raise wrong("A password does not belong into the order.", remedy, at=("password",))
        return value


class Ce(Strict):
    """The customer's router (CE), where it is a Linux host: its counters are read beside every measurement, and what it
    knows of link, neighbours, routes and BGP by a step `edge`."""

    name: Name = Field(examples=["ce-hz-1"])
    """The router's name, other than any endpoint's."""
    platform: Literal["linux", "frr"] = "linux"
    """Who speaks BGP on it: with `frr` it is asked and must answer; otherwise FRR is asked where it is there."""
    vtysh: Vtysh = "vtysh"
    """How FRR is asked, e.g. `sudo -n vtysh`."""
    ssh: Ssh
    """How to reach it."""
    python: Text = "python3"
    """Python 3.9 or later on it."""
    lan: Interface = Field(examples=["eth0"])
    """Interface towards the on-prem hosts."""
    wan: Interface = Field(examples=["eth1"])
    """Interface towards the circuit: the port rather than a VLAN on it, which has no queue and no ring of its own."""
    address: HostAddress | None = Field(default=None, examples=["10.10.0.1"])
    """Its address towards the on-prem hosts, from which it sends to them and takes from them; with `iperf3` only."""
    iperf3: Text | None = None
    """iperf3 program on it: then what an on-prem host can do is tried against the router too."""

    @property
    def has_iperf3(self) -> bool:
        """It can stand at the end of a load."""
        return self.address is not None and self.iperf3 is not None

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.address is None) is not (self.iperf3 is None):
            raise wrong("A CE that takes loads needs `address` and `iperf3`.", "Add the other one.", at=("address",))
        return self


class Appliance(Strict):
    """The customer's router (CE) of a vendor: no agent goes there; a step `edge` asks it by read-only show commands."""

    name: Name = Field(examples=["ce-hz-1"])
    """The router's name, other than any endpoint's."""
    platform: Literal["cisco_ios", "huawei_vrp", "juniper_junos"] = Field(examples=["cisco_ios"])
    """Its make."""
    ssh: RouterSsh
    """How to reach it, as a user who may only look."""
    wan: RouterPort = Field(examples=["GigabitEthernet0/0/1"])
    """Port towards the circuit, as its own commands write it."""


_PLATFORMS: tuple[tuple[type[Ce | Appliance], tuple[str, ...]], ...] = tuple(
    (kind, get_args(kind.model_fields["platform"].annotation)) for kind in (Ce, Appliance)
)


def read_ce(value: Any, info: ValidationInfo) -> Any:
    """Its name alone, or how to read it. Raises ``wrong``."""
    if isinstance(value, dict):
        platform = value.get("platform", "linux")
        kind = next((kind for kind, known in _PLATFORMS if platform in known), None)
        if kind is None:
            known = ", ".join(name for _, names in _PLATFORMS for name in names)
            raise wrong(f"There is no platform {platform!r} of a router.", f"There are {known}.", at=("platform",))
        return kind.model_validate(value, context=info.context)
    if value is None or isinstance(value, Ce | Appliance) or (isinstance(value, str) and value):
        return value
    said = "'ce' must be the router's name, or a mapping of name, ssh, lan and wan."
    raise wrong(said, "Write for example `ce: ce-hz-1`.")


def _without_name(schema: dict[str, Any]) -> None:
    """In the file the name is the key."""
    del schema["properties"]["name"]
    schema["required"].remove("name")


class End(Strict):
    """One end of a pair: what every entry under `endpoints` says."""

    model_config = ConfigDict(json_schema_extra=_without_name)

    name: Name
    """Key of this entry under `endpoints`."""
    site: Literal["onprem", "cloud"]
    """Which side of the circuit it stands on."""
    address: HostAddress = Field(examples=["10.10.0.10"])
    """Test address: of a host, on its interface."""
    vbr: Name | None = None
    """Id of the VBR that it is reached through, when there is more than one."""


class Tune(Strict):
    """Settings of the host that a test may change while it runs; the agent puts them back, also when it is killed."""

    socket_buffers_bytes: Size | None = Field(default=None, alias="socket_buffers", ge=1 << 16, le=1 << 30)
    """Up to which size socket buffers may grow: net.core.rmem_max and wmem_max, net.ipv4.tcp_rmem and tcp_wmem."""


class Endpoint(End):
    """A host from which is measured: it takes an agent."""

    ssh: Ssh
    """How to reach it; a router that answers probes by itself has `reflector:` in its place."""
    python: Text = "python3"
    """Python 3.9 or later on that host."""
    iperf3: Text = "iperf3"
    """iperf3 program on that host."""
    interface: Interface = Field(examples=["eth0"])
    """Interface that faces the circuit."""
    address6: HostAddress6 | None = Field(default=None, examples=["fd00:10::10"])
    """Its IPv6 address on that interface: with one at both ends the path MTU is measured over IPv6 too."""
    ports: Ports = Field(examples=["5201-5217"])
    """TCP and UDP ports that tests may use on this host."""
    undeclared: FewPorts = Field(default=UNDECLARED, examples=["23, 445, 3389"])
    """TCP ports of this host that must be closed to the other side: each is tried once, unless it is among `ports`."""
    ceiling_bps: Rate | None = Field(default=None, alias="ceiling")
    """The most that this host can send or receive (its instance type)."""
    tune: Tune = Field(default=Tune(), examples=["{socket_buffers: 64MiB}"])
    """What its owner agrees to have changed for the time of a test."""


class Reflector(Strict):
    """STAMP (RFC 8762) or TWAMP Light (RFC 5357, appendix I), unauthenticated, as configured on the router."""

    port: Port16 = 862
    """UDP port on which it answers."""


class Router(End):
    """A router that answers probes by itself: no agent goes there, and nobody logs in."""

    reflector: Reflector = Field(examples=["{port: 862}"])
    """Its own reflector."""

    @property
    def told(self) -> str:
        """What it is, for a plan and a report."""
        return f"router's reflector, UDP {self.reflector.port}, no agent"


def _host_or_router(body: Any, info: ValidationInfo) -> Any:
    if not isinstance(body, dict) or "reflector" not in body:
        return Endpoint.model_validate(body, context=info.context)
    fields = {field.alias or name for name, field in Endpoint.model_fields.items()} - set(Router.model_fields)
    meaningless = [key for key in body if key in fields]
    if meaningless:
        said = f"A router's reflector takes no agent, so {', '.join(meaningless)} cannot be said of it."
        raise wrong(said, "Leave that out, or `reflector:` if it is a host.", at=(meaningless[0],))
    return Router.model_validate(body, context=info.context)


def by_name(value: Any, info: ValidationInfo) -> Any:
    """The mapping name → endpoint as a tuple of endpoints that know their names. Raises ``wrong``."""
    if not isinstance(value, dict):
        raise wrong("'endpoints' must be a mapping: lines of `name: …`.")
    for name, body in value.items():
        if isinstance(body, dict) and "name" in body:
            raise wrong("An endpoint's name is its key.", "Remove the line.", at=(name, "name"))
    named = {name: {**body, "name": name} if isinstance(body, dict) else body for name, body in value.items()}
    return tuple(_ENDPOINTS.validate_python(named, context=info.context).values())


_ENDPOINTS: TypeAdapter[dict[str, Endpoint | Router]] = TypeAdapter(
    dict[Name, Annotated[Endpoint | Router, PlainValidator(_host_or_router)]]
)
