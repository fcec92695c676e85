"""Single values of an order that are written as text: addresses, dates, names, rows of the checklist."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from perfharness.order.wrong import wrong

FORMAT_VERSION = 1
LAST_ROW = 66
"""The checklist runs from EC-001 to EC-066."""

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


def _typed(parse: Callable[[str], Any], example: str) -> tuple[PlainValidator, PlainSerializer, WithJsonSchema]:
    """A value that is written as text, read by ``parse``; an already parsed one passes."""
    return (
        PlainValidator(lambda value: parse(value) if isinstance(value, str) else _not_text(value)),
        PlainSerializer(str, when_used="json"),
        WithJsonSchema({"type": "string", "examples": [example]}),
    )


def _not_text(value: Any) -> Any:
    if value is None or isinstance(value, (dict, list)):
        raise wrong("A single value is needed here.")
    return value


def _address(text: str) -> Address:
    try:
        return ip_address(text.strip())
    except ValueError:
        raise wrong(f"{text!r} is not an IP address.", "Write it as 10.10.0.10, without a mask.") from None


def _address6(text: str) -> IPv6Address:
    try:
        return IPv6Address(text.strip())
    except ValueError:
        raise wrong(f"{text!r} is not an IPv6 address.", "Write it as fd00:10::10, without a mask.") from None


def _network(text: str) -> Network:
    try:
        if "/" not in text:
            raise ValueError
        loose = ip_network(text.strip(), strict=False)
    except ValueError:
        raise wrong(f"{text!r} is not a prefix.", "Write address and mask, as 10.10.0.0/16.") from None
    if str(loose.network_address) != str(ip_address(text.strip().split("/")[0])):
        raise wrong(f"{text!r} has bits set beyond its mask.", f"The prefix that it lies in is {loose}.")
    return loose


def _link_address(text: str) -> IPv4Interface:
    try:
        if "/" not in text:
            raise ValueError
        return IPv4Interface(text.strip())
    except ValueError:
        raise wrong(
            f"{text!r} is not a link address.", "Write IPv4 address and mask, as 172.16.100.2/30.", "EC-005"
        ) from None


def _link_address6(text: str) -> IPv6Interface:
    try:
        if "/" not in text:
            raise ValueError
        return IPv6Interface(text.strip())
    except ValueError:
        said = f"{text!r} is not an IPv6 link address."
        raise wrong(said, "Write IPv6 address and prefix length, as fd00:16::2/126.", "EC-005") from None


def _row(text: str) -> str:
    found = re.fullmatch(r"EC-([0-9]{3})", text)
    if not found or not 1 <= int(found[1]) <= LAST_ROW:
        raise wrong(f"The checklist has no row {text!r}.", f"Its rows are EC-001 to EC-{LAST_ROW:03}.")
    return text


def _version(text: str) -> int:
    if text != str(FORMAT_VERSION):
        raise wrong(
            f"Format version {text} is not known to this release.",
            f"It reads format_version: {FORMAT_VERSION}.",
        )
    return FORMAT_VERSION


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise wrong(f"{text!r} is not a date.", "Write it as 2027-03-31.") from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise wrong(f"{text!r} is not a date with time.", "Write it as 2027-03-31T22:00+08:00.") from None
    if moment.tzinfo is None:
        raise wrong(f"{text!r} does not say in which time zone.", "Write it as 2027-03-31T22:00+08:00, or Z for UTC.")
    return moment


def _path(text: Any, info: ValidationInfo) -> Any:
    """Relative to the file's folder; ``~`` is the home of whoever runs the program."""
    if not isinstance(text, str):
        return text
    if not text:
        raise wrong("The name of a file is needed here.", "Leave the line out if there is none.")
    folder = (info.context or {}).get("folder", Path())
    try:
        return Path(folder) / Path(text).expanduser()
    except RuntimeError as error:
        raise wrong(f"{text!r}: {error}") from None


def _vlan(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > 2999:
        raise wrong(f"{text!r} is not a VLAN of the provider.", "Use 1 to 2999, or 0 for an untagged port.", "EC-004")
    return int(text)


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", text):
        raise wrong(f"{text!r} cannot be used as a name.", "Use letters, digits and . _ - only, at most 80.")
    return text


def _interface(text: str) -> str:
    """As the kernel's ``dev_valid_name``."""
    if not re.fullmatch(r"[^\s/:]{1,15}", text) or text in (".", ".."):
        raise wrong(
            f"{text!r} is not the name of an interface.", "Linux names have at most 15 characters, no space, / or :."
        )
    return text


def _router_port(text: str) -> str:
    """It becomes a part of show commands."""
    if not re.fullmatch(r"[A-Za-z0-9][\w./:-]{0,63}", text):
        said = f"{text!r} is not the name of a router's port."
        raise wrong(said, "Write it in one word as its own commands do: GigabitEthernet0/0/1, xe-0/0/0.")
    return text


def _vtysh(text: str) -> str:
    """It is started on a router, so nothing else may be."""
    if not re.fullmatch(r"(sudo -n )?(\S*/)?vtysh( (-N|--vty_socket) [\w./-]+)?", text):
        raise wrong(f"{text!r} does not start vtysh.", "Write it as `vtysh`, `sudo -n vtysh` or `vtysh -N name`.")
    return text


Row = Annotated[str, *_typed(_row, "EC-042")]
FormatVersion = Annotated[int, *_typed(_version, "1")]
Text = Annotated[str, Field(min_length=1)]
Interface = Annotated[str, *_typed(_interface, "eth0")]
Name = Annotated[str, *_typed(_name, "onprem-a")]
"""Becomes a part of file names."""
HostAddress = Annotated[Address, *_typed(_address, "10.10.0.10")]
HostAddress6 = Annotated[IPv6Address, *_typed(_address6, "fd00:10::10")]
Prefix = Annotated[Network, *_typed(_network, "10.10.0.0/16")]
LinkAddress = Annotated[IPv4Interface, *_typed(_link_address, "172.16.100.2/30")]
LinkAddress6 = Annotated[IPv6Interface, *_typed(_link_address6, "fd00:16::2/126")]
VlanId = Annotated[int, *_typed(_vlan, "100")]
Day = Annotated[date, *_typed(_date, "2027-03-31")]
Moment = Annotated[datetime, *_typed(_moment, "2027-03-31T22:00+08:00")]
RouterPort = Annotated[str, *_typed(_router_port, "GigabitEthernet0/0/1")]
Vtysh = Annotated[str, *_typed(_vtysh, "sudo -n vtysh")]
AsNumber = Annotated[int, Field(ge=1, le=4_294_967_295)]
Port16 = Annotated[int, Field(ge=1, le=65535)]
FilePath = Annotated[Path, BeforeValidator(_path)]
