"""What routers say, in their own words, made one: the text of show commands → ``RouterState``.

One small interface: a platform is its read-only commands and a pure function from their outputs to the state. Outputs
are named alike everywhere (``interfaces``, ``bgp-neighbor`` …); who runs the commands is not known here.
"""

from __future__ import annotations

from perfharness.routers import frr, huawei, ios, junos, linux
from perfharness.routers.state import Platform, RouterState

PLATFORMS: dict[str, Platform] = {
    "linux": Platform({}, linux.parse),
    "frr": Platform({}, frr.parse),
    "cisco_ios": Platform(ios.COMMANDS, ios.parse),
    "huawei_vrp": Platform(huawei.COMMANDS, huawei.parse),
    "juniper_junos": Platform(junos.COMMANDS, junos.parse),
}
"""By the name in the order. On a Linux host the agent asks, by commands of its own; the others are asked over SSH."""


def parse(platform: str, outputs: dict[str, str]) -> RouterState:
    """The state that these outputs, by name, tell of. What they do not tell, or not as expected, is ``None``."""
    return PLATFORMS[platform].parse(outputs)


__all__ = ["PLATFORMS", "Platform", "RouterState", "parse"]
