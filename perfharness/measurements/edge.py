"""edge: what the customer's router knows of the circuit, asked and never told: link, VLAN, routes, BGP, BFD.

The router is read by its agent where it is a Linux host, by show commands over SSH where it is a vendor's. Where the
order names none that can be asked, each figure says so: what was not seen is not measured.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from perfharness.evidence import TaskFiles
from perfharness.measurements import edge_bgp
from perfharness.measurements.base import SETUP_S, Context, failed, not_completed, window_of
from perfharness.measurements.base import Params as NoParams
from perfharness.measurements.edge_bgp import bgp_figures, plan_of
from perfharness.measurements.edge_link import link_figures, vlan_figures
from perfharness.measurements.edge_optics import has_optics, optics_figures
from perfharness.measurements.edge_reading import READ, TAGGED, Reading, earlier, read
from perfharness.measurements.edge_routes import ROUTE, route_figures
from perfharness.model import Direction, Job, Measurement, Role, Status, Task
from perfharness.order.circuit import Appliance, Ce, Circuit
from perfharness.order.scenario import CriterionSpec
from perfharness.order.units import rate_text

NEAR = 3
"""VLANs on either side of the ordered one that are tried as well: a slip of the hand is seldom far."""
READ_S = 40.0
SHOW_S = 90.0
"""A vendor's router is asked a dozen commands one after the other; a large table takes it ten seconds."""
SWEEP_S = 20.0
LAST_VLAN = 2999
ARP_BYTES = 64
"""Of a question, tagged and padded."""
ARP_BPS = 500 * ARP_BYTES * 8
"""As the agent paces them."""
DAMAGED_SHARE = 1e-6
"""Of the frames that came: a hundred times what a bit error rate of 1e-12 damages, the best that most ports promise."""
LIMIT_SHARE = 0.8
"""Of the prefixes that a peer takes (EC-022)."""

STATISTICS: Mapping[str, Collection[str]] = {
    "vlan": ("answers", "answers_elsewhere"),
    "bgp": edge_bgp.STATISTICS,
    "route": ("to_cloud", "to_onprem", "leaked", "changed"),
    "portspec": (
        "carrier",
        "speed",
        "duplex",
        "autonegotiation",
        "mtu",
        "link_address",
        "light",
        "light_warning",
        "module_fits",
        "flaps",
        "errors",
        "discards",
    ),
}


class EdgeParams(NoParams):
    vlans: tuple[Annotated[int, Field(ge=1, le=2999)], ...] = Field(default=(), max_length=32)
    """VLANs on which the VBR is asked for besides those near the ordered one and of the circuit's other VBRs."""
    sweep: bool = False
    """Whether it is asked for once on each VLAN from 1 to 2999 besides; that takes 6 s."""
    stable: bool = False
    """Judge as well what changed since the first step of this kind: flaps, damaged frames, routes."""

    def criteria(self, circuit: Circuit) -> tuple[CriterionSpec, ...]:
        """The checklist's own. Mandatory is what the order says can be read: of the rest it is said that it was not."""
        router = circuit.ce_router
        vbr = circuit.vbrs[0]
        real = router is not None and circuit.environment != "lab"  # the lab's port is a name
        probed = isinstance(router, Ce)
        asked = router is not None and (isinstance(router, Appliance) or router.platform != "linux")
        rows = [
            _spec("vlan", "answers", "EC-013", probed, equals="true"),
            _spec("vlan", "answers_elsewhere", "EC-013", probed, equals="false"),
            _spec("portspec", "carrier", "EC-011", router is not None, equals="true"),
            _spec("portspec", "speed", "EC-011", real, equals=rate_text(circuit.port.speed_bps)),
            _spec("portspec", "duplex", "EC-011", real, equals=circuit.port.duplex),
            _spec("portspec", "autonegotiation", "EC-011", False, equals=_yes(circuit.port.autonegotiation)),
            _spec("portspec", "light", "EC-012", real and has_optics(circuit.port.type), at_least="0"),
            _spec("portspec", "light_warning", "EC-012", False, at_least="0"),
            _spec("portspec", "module_fits", "EC-012", False, equals="true"),
            _spec("route", "to_cloud", "EC-016", router is not None, equals="true"),
            _spec("route", "to_onprem", "EC-015", router is not None, equals="true"),
        ]
        if len(circuit.vbrs) == 1:  # else they differ from pair to pair
            address = str(vbr.link.customer)
            rows.append(_spec("portspec", "link_address", "EC-014", router is not None, equals=address))
            rows.append(_spec("portspec", "mtu", "EC-032", False, equals=str(vbr.mtu)))
        rows += _of_bgp(asked)
        if self.stable:
            rows += [
                _spec("portspec", "flaps", "EC-011", probed, at_most="0"),
                _spec("portspec", "errors", "EC-048", router is not None and real, at_most=f"{DAMAGED_SHARE:.6f}"),
                _spec("portspec", "discards", "EC-048", False, at_most="0"),
                _spec("route", "changed", "EC-023", False, at_most="0"),
                _spec("bgp", "flaps", "EC-017", asked, at_most="0"),
                _spec("route", "leaked", "EC-023", asked, at_most="0"),
            ]
        return tuple(rows)


def _yes(it: bool) -> str:
    return "true" if it else "false"


def _of_bgp(asked: bool) -> list[CriterionSpec]:
    return [
        _spec("bgp", "established", "EC-017", asked, equals="true"),
        _spec("bgp", "as_agree", "EC-018", asked, equals="true"),
        _spec("bgp", "port_open", "EC-019", False, equals="true"),
        _spec("bgp", "missing", "EC-020", asked, at_most="0"),
        _spec("bgp", "extra", "EC-020", False, at_most="0"),
        _spec("bgp", "broad", "EC-021", asked, at_most="0"),
        _spec("bgp", "limit_share", "EC-022", False, at_most=str(LIMIT_SHARE)),
        _spec("bgp", "guarded", "EC-022", False, equals="true"),
        _spec("bgp", "bfd", "EC-051", False, equals="true"),
    ]


def _spec(metric: str, statistic: str, row: str, mandatory: bool, **bound: Any) -> CriterionSpec:
    return CriterionSpec(metric=metric, statistic=statistic, rows=(row,), mandatory=mandatory, **bound)


class Edge:
    name = "edge"
    parameters = EdgeParams
    statistics = STATISTICS

    def tasks(self, params: EdgeParams, step: str, context: Context) -> tuple[Task, ...]:
        ways = (Direction.A_Z, Direction.Z_A)
        jobs = [self._lookup(context, way) for way in ways]
        router = context.circuit.ce_router
        privileges: tuple[str, ...] = ()
        if isinstance(router, Ce):
            jobs += [self._read(router, context), self._tagged(router, params, context)]
            privileges = (
                "CAP_NET_RAW on the CE for ARP on the ordered VLAN, CAP_NET_ADMIN to read its optical module; leave to "
                "ask FRR, where it speaks BGP",
            )
        elif isinstance(router, Appliance):
            args = {"platform": router.platform, "peer": plan_of(context).peer, "wan": router.wan}
            jobs.append(Job(READ, router.name, "router.show", args, Role.DRIVE, SHOW_S, optional=True))
        return (
            Task(
                id=step,
                step=step,
                measurement=self.name,
                scope=context.scope(None),
                jobs=tuple(jobs),
                duration_s=SETUP_S,
                load_bps=ARP_BPS if isinstance(router, Ce) else 0,
                load_bytes=ARP_BYTES * (LAST_VLAN if params.sweep else 100) if isinstance(router, Ce) else 0,
                privileges=privileges,
                yields=dict.fromkeys(STATISTICS, ()),
            ),
        )

    @staticmethod
    def _lookup(context: Context, way: Direction) -> Job:
        source, target = context.ends(way)
        args = {"peer": str(target.address), "source": str(source.address)}
        return Job(f"{ROUTE}-{way.value}", source.name, "path.route", args, Role.DRIVE, READ_S)

    @staticmethod
    def _read(router: Ce, context: Context) -> Job:
        plan = plan_of(context)
        args = {
            "interfaces": [router.wan, router.lan],
            "targets": [str(context.z.address), str(context.a.address), plan.peer],
            "peer": plan.peer if plan.bgp else None,
            "source": plan.own,
            "vtysh_command": router.vtysh,
            "knock": plan.bgp is not None and not plan.bgp.md5,
        }
        writes = 32 << 20
        return Job(READ, router.name, "edge.read", args, Role.DRIVE, READ_S, optional=True, writes_bytes=writes)

    @staticmethod
    def _tagged(router: Ce, params: EdgeParams, context: Context) -> Job:
        plan = plan_of(context)
        near = range(max(1, plan.vlan - NEAR), min(2999, plan.vlan + NEAR) + 1) if plan.vlan else range(1, 1 + NEAR)
        others = {*near, *(vbr.vlan for vbr in context.circuit.vbrs), *params.vlans} - {plan.vlan, 0}
        args = {
            "interface": router.wan,
            "address": plan.peer,
            "source": plan.own,
            "vlan": plan.vlan,
            "others": sorted(others),
            "sweep": params.sweep,
        }
        return Job(TAGGED, router.name, "link.tagged", args, Role.DRIVE, READ_S + SWEEP_S, optional=True)

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        for way, end in ((Direction.A_Z, context.a), (Direction.Z_A, context.z)):
            if (files.result(end.name, f"{ROUTE}-{way.value}") or {}).get("status") != "completed":
                return failed(task, files, f"{end.name} left no look-up of its route.")
        now = read(files, context)
        first = earlier(task, files)
        before = read(first, context) if first else None
        link, link_facts = link_figures(context, now, before)
        optics, light = optics_figures(context, now)
        vlan, vlan_facts = vlan_figures(context, now, files)
        bgp, bgp_facts = bgp_figures(context, now, before)
        routes, route_facts = route_figures(context, now, before, files)
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=(*vlan, *bgp, *routes, *link, *optics),
            facts={
                "router": _router(context, now),
                "vlan": vlan_facts,
                "bgp": bgp_facts,
                "routes": route_facts,
                "link": {**link_facts, "light": light},
            },
        )


def _router(context: Context, now: Reading) -> dict[str, Any]:
    """Who was asked, and all that it said, but for tables that may be long."""
    router, state = context.circuit.ce_router, now.state
    told = asdict(state)
    if state.routes is not None:
        told["routes"] = len(state.routes)
    return {
        "name": context.circuit.ce_name,
        "platform": router.platform if router else None,
        "reason": now.reason,
        "outputs": list(now.evidence),
        "state": {**told, "lookups": {target: hop and asdict(hop) for target, hop in state.lookups.items()}},
    }
