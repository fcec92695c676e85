"""The testers: what each host is, and whether it was fit for what it measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perfharness.model import Fitness
from perfharness.order.circuit import Router
from perfharness.report import ceilings, prober, text
from perfharness.report.blocks import Block, Cell, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier

Facts = Mapping[str, Any]
_LIMITS = ("rmem_max", "wmem_max", "tcp_rmem", "tcp_wmem", "netdev_max_backlog")
UNKNOWN = "not told by the host"


def build(dossier: Dossier) -> Section:
    return Section(
        "hosts",
        "Hosts and their fitness",
        (
            Sub("Were the hosts fit for what they measured?"),
            *_fitness(dossier),
            *ceilings.build(dossier),
            Sub("How exact were the probes?"),
            *prober.build(dossier),
            Sub("What the hosts are"),
            *_facts(dossier),
            *_routers(dossier),
        ),
    )


def _fitness(dossier: Dossier) -> tuple[Block, ...]:
    rows = dossier.run.fitness
    if not rows:
        return absent("No fitness was judged: no measurement came to its end.")
    ordered = sorted(rows, key=lambda row: row.fit)
    unfit = [row for row in ordered if not row.fit]
    blocks: list[Block] = []
    if unfit:
        blocks.append(
            Table(
                ("Host", "Measurement", "Fitness", "Why", "Evidence"),
                tuple(_unfit(dossier, row) for row in unfit),
                widths=(14, 16, 12, 48, 10),
            )
        )
    fit: dict[str, list[str]] = {}
    for row in ordered:
        if row.fit:
            fit.setdefault(row.host, []).append(row.measurement)
    if fit:
        blocks.append(
            Table(
                ("Host", "✓ Fit for"),
                tuple(
                    Row((Cell(host, kind="head"), Cell(", ".join(dict.fromkeys(names))))) for host, names in fit.items()
                ),
                widths=(20, 80),
            )
        )
    return tuple(blocks)


def _unfit(dossier: Dossier, row: Fitness) -> Row:
    return Row(
        (
            Cell(row.host, kind="head"),
            Cell(row.measurement),
            Cell(f"✕ not fit for {', '.join(row.metrics)}" if row.metrics else "✕ not fit"),
            Cell("; ".join(row.reasons)),
            Cell("", refs=dossier.refs(row.evidence)),
        ),
        tone="open",
    )


def _facts(dossier: Dossier) -> tuple[Block, ...]:
    facts = _by_host(dossier)
    if not facts:
        return absent("The hosts' facts were not collected in this run.")
    names = list(facts)
    addresses = {end.name: f"{end.address} on {end.interface}" for end in dossier.circuit.hosts}
    rows = [("Test address", [addresses.get(name, UNKNOWN) for name in names])]
    rows += [(label, [_told(write, facts[name]) for name in names]) for label, write in _WRITERS]
    return (
        Table(
            columns=("", *names),
            widths=(20, *(80 / len(names) for _ in names)),
            rows=tuple(Row((Cell(label, kind="head"), *map(Cell, values))) for label, values in rows),
        ),
        Para("As the hosts said before the first measurement.", "note"),
    )


def _routers(dossier: Dossier) -> tuple[Block, ...]:
    routers = [end for end in dossier.circuit.endpoints if isinstance(end, Router)]
    if not routers:
        return ()
    rows = tuple(Row((Cell(end.name, kind="head"), Cell(str(end.address)), Cell(end.told))) for end in routers)
    return (Sub("Routers that answer by themselves"), Table(("Router", "Test address", "What it is"), rows))


def _by_host(dossier: Dossier) -> dict[str, Facts]:
    found: dict[str, Facts] = {}
    for item in dossier.measured("host"):
        for name, facts in item.facts.items():
            if isinstance(facts, Mapping):
                found.setdefault(name, facts)
    return found


def _told(write: Callable[[Facts], str], facts: Facts) -> str:
    """What a writer makes of the facts; hosts differ in what they can tell, and a gap is said."""
    try:
        return write(facts) or UNKNOWN
    except (KeyError, TypeError, ValueError, AttributeError):
        return UNKNOWN


def _system(facts: Facts) -> str:
    kind = f", virtual ({facts['virtual']})" if facts.get("virtual") else ""
    return f"{facts['hostname']}: Linux {facts['kernel']}, {facts['machine']}{kind}"


def _cpu(facts: Facts) -> str:
    model = facts["cpus"].get("model") or "unnamed CPU"
    return f"{facts['cpus']['count']} × {model}, {text.file_size(facts['memory_bytes'])}"


def _iperf3(facts: Facts) -> str:
    tool = facts["iperf3"]
    return f"{tool['version']} at {tool['path']}" if tool else f"missing: {facts.get('iperf3_reason', '')}"


def _nic(facts: Facts) -> str:
    nic = facts["nic"]
    speed = text.rate(nic["speed_bps"]) if nic.get("speed_bps") else "speed not told"
    return ", ".join(
        str(part) for part in (nic["name"], nic.get("driver"), speed, nic.get("duplex"), f"MTU {nic['mtu']}") if part
    )


def _offloads(facts: Facts) -> str:
    offloads = facts["nic"]["offloads"]
    on = [name for name, state in offloads.items() if state]
    off = [name for name, state in offloads.items() if state is False]
    return "; ".join(f"{word} {', '.join(names)}" for word, names in (("on:", on), ("off:", off)) if names)


def _stamping(facts: Facts) -> str:
    told = facts["nic"]["stamping"]
    return f"{told['ability']}: {told['reason']}" if told["reason"] else f"{told['ability']}, /dev/ptp{told['clock']}"


def _rings(facts: Facts) -> str:
    rings, queues = facts["nic"].get("rings"), facts["nic"].get("queues")
    told = f"rx {rings['rx']} of {rings['rx_max']}, tx {rings['tx']} of {rings['tx_max']}" if rings else "no rings"
    return f"{told}; queues {_plain(queues)}" if queues else told


def _plain(thing: Any) -> str:
    if isinstance(thing, Mapping):
        return ", ".join(f"{name} {_plain(value)}" for name, value in thing.items())
    if isinstance(thing, Sequence) and not isinstance(thing, str):
        return " ".join(map(_plain, thing))
    return str(thing)


def _qdisc(facts: Facts) -> str:
    return ", ".join(dict.fromkeys(str(one["kind"]) for one in facts["qdisc"]))


def _congestion(facts: Facts) -> str:
    known = facts["congestion"]
    others = [name for name in known.get("available") or () if name != known["current"]]
    return str(known["current"]) + (f" (also {', '.join(others)})" if others else "")


def _limits(facts: Facts) -> str:
    told = {key.rsplit(".", 1)[-1]: value for key, value in facts["sysctls"].items() if value is not None}
    return ", ".join(f"{name} {_plain(told[name])}" for name in _LIMITS if name in told)


def _clock(facts: Facts) -> str:
    clock = facts["clock"]
    state = {True: "synchronised", False: "not synchronised"}.get(clock["synchronised"], "synchronisation unknown")
    if clock.get("root_distance_ns") is not None:
        return f"{clock['source']}, {state}, within {text.delay(clock['root_distance_ns'])}"
    reason = f" ({clock['reason']})" if clock.get("reason") else ""
    return f"{clock['source']}, {state}, no error bound{reason}"


_WRITERS: tuple[tuple[str, Callable[[Facts], str]], ...] = (
    ("System", _system),
    ("CPU and memory", _cpu),
    ("Python", lambda facts: str(facts["python"])),
    ("iperf3", _iperf3),
    ("Interface", _nic),
    ("Offloads", _offloads),
    ("Time stamps by the card", _stamping),
    ("Rings and queues", _rings),
    ("Queueing discipline", _qdisc),
    ("Congestion control", _congestion),
    ("Kernel limits", _limits),
    ("Clock", _clock),
)
