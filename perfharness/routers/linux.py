"""A router that is a Linux host: what the agent read by netlink, and FRR on it where that answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perfharness.routers import frr, sff
from perfharness.routers.state import Hop, Interface, Neighbour, Optics, RouterState

_DAMAGED = ("rx_crc_errors", "rx_frame_errors", "rx_length_errors")
_DISCARDS = ("rx_dropped", "tx_dropped", "rx_missed_errors")


def parse(outputs: Mapping[str, str]) -> RouterState:
    try:
        told = json.loads(outputs.get("netlink", "{}"))
        known = frr.parse(outputs)
        return replace(
            known,
            interfaces=tuple(map(_interface, told["interfaces"])) if "interfaces" in told else None,
            neighbours=tuple(map(_neighbour, told["neighbours"])) if "neighbours" in told else None,
            optics=_optics(told["optics"]) if "optics" in told else None,
            lookups={target: _hop(hop) for target, hop in told.get("lookups", {}).items()},
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return RouterState()


def _interface(told: Mapping[str, Any]) -> Interface:
    counters = told["counters"]
    return Interface(
        name=told["name"],
        up=told["up"],
        carrier=told["carrier"],
        speed_bps=told["speed_bps"],
        duplex=told["duplex"],
        autoneg=told["autoneg"],
        mtu=told["mtu"],
        vlan=told["vlan"],
        carrier_changes=told["carrier_changes"],
        driver=told["driver"],
        addresses=tuple(told["addresses"]),
        frames_in=counters.get("rx_packets"),
        damaged=_sum(counters, _DAMAGED),
        discards=_sum(counters, _DISCARDS),
        vrf=told.get("vrf"),
    )


def _optics(told: Mapping[str, Any]) -> Optics:
    return (
        sff.optics(told["kind"], bytes.fromhex(told["memory"])) if "memory" in told else Optics(reason=told["reason"])
    )


def _sum(counters: Mapping[str, int], names: tuple[str, ...]) -> int | None:
    known = [counters[name] for name in names if name in counters]
    return sum(known) if known else None


def _neighbour(told: Mapping[str, Any]) -> Neighbour:
    return Neighbour(told["address"], told["mac"], told["interface"], told["answered"])


def _hop(told: Mapping[str, Any] | None) -> Hop | None:
    return None if told is None else Hop(told["gateway"], told["interface"])
