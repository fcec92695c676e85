"""Of the port towards the circuit: is it up, at the ordered speed, and does the VBR answer on the ordered VLAN?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from perfharness.analysis.statistics import CONFIDENCE, clopper_pearson
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import Context
from perfharness.measurements.edge_bgp import Plan, plan_of
from perfharness.measurements.edge_reading import TAGGED, Reading, figure
from perfharness.model import Interval, Observation
from perfharness.order.circuit import Ce
from perfharness.order.units import rate_text
from perfharness.routers.state import Interface

VIRTUAL = ("veth", "tun", "bridge", "virtio_net", "vmxnet3", "vif", "hv_netvsc", "macvlan", "dummy")
"""Drivers whose speed is a name."""
UNTOLD = "The router does not tell it: look at the port there."
FIRST = "Counters tell by how they rise: this is the first step that reads them."
LAST = "It speaks for the last segment before this router."
WHY_DROPPED = "a queue was full (a load of this run fills it too), or nobody on the router wanted them."
UNPROBED = "No agent sends probes from this router: have the VBR asked for on other VLANs from a Linux host on its port"


def link_figures(
    context: Context, now: Reading, before: Reading | None
) -> tuple[tuple[Observation, ...], dict[str, Any]]:
    """The figures of ``portspec``, and what is known of the port."""
    router, plan = context.circuit.ce_router, plan_of(context)
    wan = now.state.interface(router.wan) if router else None
    holder = now.state.holder(plan.own)
    why = now.reason or f"{context.circuit.ce_name} does not tell of an interface {router.wan if router else ''}."

    def told(statistic: str, value: Any, reason: str = "") -> Observation:
        missing = why if wan is None else reason or UNTOLD
        return figure(context, "portspec", statistic, value, missing if value is None else reason, now.evidence)

    virtual = wan is not None and wan.driver in VIRTUAL
    unreal = f"{wan.driver} is a virtual interface: it has no speed." if wan is not None and virtual else ""
    speed = wan.speed_bps if wan and not virtual else None
    mtus = [each.mtu for each in (wan, holder) if each is not None and each.mtu is not None]
    first = before.state.interface(router.wan) if router and before else None
    changes = _rise(wan.carrier_changes, first.carrier_changes) if wan and first else None
    figures = (
        told("carrier", wan.carrier if wan else None, _carrier(wan)),
        told("speed", None if speed is None else rate_text(speed), unreal),
        told("duplex", wan.duplex if wan and not virtual else None, unreal),
        told("autonegotiation", wan.autoneg if wan and not virtual else None, unreal or _autoneg(wan, context)),
        told("mtu", min(mtus) if wan and mtus else None),
        told("link_address", *_address(now, wan, holder, plan)),
        told("flaps", changes, _flaps(changes, wan, first)),
        *_counted(context, now, before, why),
    )
    interfaces = {"carrier_changes": changes, "wan": wan and asdict(wan), "holder": holder and asdict(holder)}
    return figures, {**interfaces, "ordered_address": str(plan.own_with_mask)}


def _carrier(wan: Interface | None) -> str:
    return f"{wan.name} is switched off by its configuration." if wan is not None and wan.up is False else ""


def _flaps(changes: int | None, wan: Interface | None, first: Interface | None) -> str:
    if changes is None:
        return "" if wan is None else UNTOLD if first else FIRST
    return f"The carrier changed {changes} times since the first step of this kind." if changes else ""


def _autoneg(wan: Interface | None, context: Context) -> str:
    if wan is None or wan.autoneg is None or wan.autoneg == context.circuit.port.autonegotiation:
        return ""
    return "That harms where the other end is set otherwise: ask how it is."


def _address(now: Reading, wan: Interface | None, holder: Interface | None, plan: Plan) -> tuple[str | None, str]:
    """The ordered address as it is configured, or what stands in its place."""
    if holder is not None:
        return next(one for one in holder.addresses or () if one.split("/")[0] == plan.own), f"It is on {holder.name}."
    if now.state.interfaces is None or wan is None:
        return None, ""
    there = [
        one for each in now.state.interfaces if _of_port(each, wan) for one in each.addresses or () if ":" not in one
    ]
    return ", ".join(there) or "none", f"No interface has {plan.own}."


def _of_port(each: Interface, wan: Interface) -> bool:
    return each.name == wan.name or each.name.startswith(f"{wan.name}.")


def _counted(context: Context, now: Reading, before: Reading | None, why: str) -> tuple[Observation, Observation]:
    """Frames that came damaged, as a share, and frames that were dropped, since the first step of this kind."""
    router = context.circuit.ce_router
    here = now.state.interface(router.wan) if router else None
    there = before.state.interface(router.wan) if router and before else None

    def told(statistic: str, value: Any, reason: str) -> Observation:
        return figure(context, "portspec", statistic, value, reason, now.evidence)

    if here is None or there is None:
        reason = why if here is None else FIRST
        return told("errors", None, reason), told("discards", None, reason)
    frames, damaged = _rise(here.frames_in, there.frames_in), _rise(here.damaged, there.damaged)
    dropped = _rise(here.discards, there.discards)
    if not frames or damaged is None:
        why = "No frame came meanwhile." if frames == 0 else UNTOLD
        errors = told("errors", None, why)
    else:
        errors = replace(told("errors", damaged / frames, f"{damaged:,} of {frames:,} frames. {LAST}"), n=frames)
        if damaged:
            # What came is all that there was; but of a few damaged ones nobody knows whether the line damages so many.
            least = clopper_pearson(damaged / frames, frames)[0]
            interval = Interval(least, damaged / frames, CONFIDENCE, "one", "Clopper–Pearson below, counted above")
            errors = replace(errors, interval=interval)
    drops = f"{dropped} whole frames were dropped at this port: {WHY_DROPPED}" if dropped else ""
    return errors, told("discards", dropped, UNTOLD if dropped is None else drops)


def _rise(now: int | None, before: int | None) -> int | None:
    """``None`` as well for a counter that was set back meanwhile."""
    return None if now is None or before is None or now < before else now - before


# --- the VLAN -----------------------------------------------------------------------------------


def vlan_figures(context: Context, now: Reading, files: TaskFiles) -> tuple[tuple[Observation, ...], dict[str, Any]]:
    """``answers``: the VBR's link address answers on the ordered VLAN; ``answers_elsewhere``: on another one."""
    router, plan = context.circuit.ce_router, plan_of(context)
    result = files.result(router.name, TAGGED) if isinstance(router, Ce) else None
    evidence = now.evidence + ((files.path(router.name, TAGGED),) if router and result else ())
    carried = _carried(now, context, plan)
    wan = now.state.interface(router.wan) if router else None
    probe: Mapping[str, Any] = {"asked": [], "answers": []}
    heard: set[int] = set()
    why = "The port has no carrier, so nothing can answer."
    if wan is not None and wan.carrier is False:
        answers, elsewhere, said = None, None, why
    elif result is None or result["status"] != "completed":
        unsent = ((result or {}).get("error") or {}).get("message", UNPROBED)
        why = f"{(now.reason or unsent).rstrip('.')}."
        answers, told = _by_the_router(now, plan, carried)
        elsewhere, said = None, told or why
    else:
        probe = result["data"]
        heard = {int(each["vlan"]) for each in probe["answers"]}
        if wan is not None and wan.vlan:
            heard, asked = _through(wan.vlan, heard), {wan.vlan}
            why = f"Probes leave {wan.name} with VLAN {wan.vlan}, whatever their own tag: write its port as `wan:`."
        else:
            asked = {int(tag) for tag in probe["asked"]}
        answers, elsewhere, said = _heard(heard, asked, plan, carried)
        if plan.vlan not in asked and not heard:
            answers, said = None, why
        if len(asked) == 1 and not elsewhere:
            elsewhere = None
    facts = {
        "ordered": plan.vlan,
        "address": plan.peer,
        "carried": carried,
        "asked": len(probe["asked"]),
        "answers": list(probe["answers"]),
        "heard": sorted(heard),
        "answered": answers,
        "elsewhere": elsewhere or [],
    }
    other = None if elsewhere is None else bool(elsewhere)
    return (
        figure(context, "vlan", "answers", answers, said, evidence),
        figure(context, "vlan", "answers_elsewhere", other, said if elsewhere is not None else why, evidence),
    ), facts


def _through(vlan: int, heard: set[int]) -> set[int]:
    """What a VLAN on a port heard, as the port would have: it takes its own tag off, and others are behind it."""
    return {vlan} if 0 in heard else set()


def _heard(heard: set[int], asked: set[int], plan: Plan, carried: int | None) -> tuple[bool, list[int], str]:
    """(answers on the ordered VLAN, other VLANs with an answer, in words); 0 = without a tag.

    Where the router itself sends without a tag and is answered so, another device puts it on: that the tag is right
    is then shown by the answer.
    """
    behind = plan.vlan not in heard and 0 in heard and carried == 0
    elsewhere = sorted(heard - {plan.vlan} - ({0} if carried == 0 else set()))
    otherwise = carried not in (None, 0, plan.vlan)
    if behind:
        said = f"{plan.peer} answers ARP without a tag: whatever puts on VLAN {plan.vlan} stands behind this port."
    else:
        said = f"{plan.peer} answers ARP on {_named(heard)}; ordered is {_named({plan.vlan})}."
    said += f" {len(asked):,} tag{'s were' if len(asked) > 1 else ' was'} tried."
    if otherwise:
        said += f" The router itself sends on {_named({carried or 0})}."
    return (plan.vlan in heard and not otherwise) or behind, elsewhere, said


def _carried(now: Reading, context: Context, plan: Plan) -> int | None:
    """The tag with which the router itself sends to the VBR: that of the interface with the link address."""
    holder = now.state.holder(plan.own)
    if holder is None:
        return None
    router = context.circuit.ce_router
    return holder.vlan if holder.vlan is not None else 0 if router and holder.name == router.wan else None


def _by_the_router(now: Reading, plan: Plan, carried: int | None) -> tuple[bool | None, str]:
    """Without probes of our own: a session that stands proves that it works, an unanswered ARP the contrary."""
    session = now.state.session(plan.peer)
    if session is not None and session.state == "Established" and carried == plan.vlan:
        return True, f"The BGP session with {plan.peer} stands on VLAN {plan.vlan}."
    entry = next((each for each in now.state.neighbours or () if each.address == plan.peer), None)
    if entry is not None and entry.answered is False and carried == plan.vlan:
        return False, f"The router's own ARP requests for {plan.peer} on VLAN {plan.vlan} are not answered."
    return None, ""


def _named(vlans: set[int]) -> str:
    """``VLAN 100``, ``no VLAN``, ``VLAN 100 and 200``."""
    tags = " and ".join(str(vlan) if vlan else "none (untagged)" for vlan in sorted(vlans))
    return f"VLAN {tags}" if vlans else "no VLAN that was tried"
