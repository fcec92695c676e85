"""The verbs of the lab: arguments and what is printed. No logic lives here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

lab_app = typer.Typer(help="The virtual Express Connect on this machine.", no_args_is_help=True, rich_markup_mode=None)


@lab_app.command("up")
def lab_up(
    circuit: Annotated[Path | None, typer.Option("--circuit", help="Build the lab for this order.")] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", help="In place of the ordered one, as 200Mbps.", metavar="RATE")
    ] = None,
    meter: Annotated[
        str | None, typer.Option("--meter", help="What the rate counts: L1, L2+FCS, L2 or L3.", metavar="LAYER")
    ] = None,
    policer: Annotated[
        str | None,
        typer.Option("--policer", help="Drop what is above the rate; its bucket, as 1.5MB.", metavar="SIZE"),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option("--queue", help="Of a shaper, which is the default: what may wait there, 50ms.", metavar="TIME"),
    ] = None,
    rtt: Annotated[
        str | None,
        typer.Option("--rtt", help="Added to every round trip by the circuit, half each way, as 10ms.", metavar="TIME"),
    ] = None,
    mtu: Annotated[
        int | None, typer.Option("--mtu", help="Of every link from end to end, as 8500.", metavar="BYTES")
    ] = None,
    untagged: Annotated[
        bool, typer.Option("--untagged", help="No VLAN tag; else a rate counts its 4 bytes, but for L3.")
    ] = False,
    wire: Annotated[
        bool,
        typer.Option("--wire", help="All by the user-space wire: real tags, truth of every packet, but low rates."),
    ] = False,
    bgp: Annotated[
        bool, typer.Option("--bgp", help="Routes by BGP with BFD (needs FRR), as between two circuits; else static.")
    ] = False,
    standby: Annotated[
        bool, typer.Option("--standby", help="The companion carries only while the first circuit does not.")
    ] = False,
) -> None:
    """Build the lab; harmless when it is up as asked. What is not said is as ordered.

    The kernel meters, at any rate up to 1 Gbit/s; with --rtt a user-space wire delays behind it. `lab truth` tells
    what was passed and dropped. An order that names a companion gets both circuits, and BGP over them.
    """
    from perfharness.lab import control
    from perfharness.lab.options import Asked

    spec = Asked(circuit, rate, meter, policer, queue, rtt, mtu, untagged, bgp, standby).spec()
    _print(control.up(spec, "wire" if wire else None))


@lab_app.command("down")
def lab_down() -> None:
    """Remove what `lab up` made, and nothing else."""
    from perfharness.lab import control

    control.down()


@lab_app.command("status")
def lab_status() -> None:
    """What of the lab is there."""
    from perfharness.lab import control

    _print(control.status())


@lab_app.command("truth")
def lab_truth() -> None:
    """What the circuit really did. Packets in, out and dropped, by cause and direction."""
    from perfharness.lab import control

    _print(control.truth())


@lab_app.command("faults")
def lab_faults() -> None:
    """What can be made wrong with the lab, what a user would see of it, and the options that each takes."""
    from perfharness.lab.faults import FAULTS, options

    for name, fault in FAULTS.items():
        typer.echo(f"{name:22} {fault.seen} [{options(fault)}]")


def _option(name: str, help: str, metavar: str) -> Any:
    return typer.Option(name, help=help, metavar=metavar)


@lab_app.command("fault")
def lab_fault(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="One that `lab faults` lists.")],
    at: Annotated[
        str | None,
        _option("--at", "A host by its alias, or a router: core, ce-a, vbr-a, vpc, ce-b, vbr-b.", "PLACE"),
    ] = None,
    circuit: Annotated[
        str | None, _option("--circuit", "a, or b of a production pair; a by default.", "LETTER")
    ] = None,
    direction: Annotated[
        str | None, _option("--direction", "a-z (towards the cloud), z-a or both.", "DIRECTION")
    ] = None,
    share: Annotated[str | None, _option("--share", "Of packets; of each CPU, up to 90%.", "SHARE")] = None,
    rate_bps: Annotated[str | None, _option("--rate", "Half of the order by default.", "RATE")] = None,
    bucket_bytes: Annotated[
        str | None, _option("--bucket", "A policer's; 20 ms of its rate by default, a small one 3 packets.", "SIZE")
    ] = None,
    burst_packets: Annotated[str | None, _option("--burst", "Lost in a row, on average.", "PACKETS")] = None,
    delay_ns: Annotated[
        str | None, _option("--delay", "Added each way; the most of a jitter; how much later, if overtaken.", "TIME")
    ] = None,
    mtu: Annotated[str | None, _option("--mtu", "Of the circuit, or of a host's interface.", "BYTES")] = None,
    dscp: Annotated[str | None, _option("--dscp", "What everything arrives as: EF, AF41, 0 to 63.", "DSCP")] = None,
    vlan: Annotated[str | None, _option("--vlan", "What the circuit expects.", "ID")] = None,
    members: Annotated[str | None, _option("--members", "Of the LAG; one is bad.", "NUMBER")] = None,
    every_ns: Annotated[str | None, _option("--every", "From one flap to the next.", "TIME")] = None,
    down_ns: Annotated[str | None, _option("--down", "How long, each time.", "TIME")] = None,
    mss: Annotated[str | None, _option("--mss", "Written into SYNs.", "BYTES")] = None,
    port: Annotated[str | None, _option("--port", "That is blocked; 5201 by default.", "NUMBER")] = None,
    protocol: Annotated[str | None, _option("--protocol", "tcp or udp.", "NAME")] = None,
    answer: Annotated[
        str | None, _option("--answer", "Of a blocked port: none, reset or prohibited (ICMP).", "KIND")
    ] = None,
    prefix: Annotated[str | None, _option("--prefix", "That leaks, as 0.0.0.0/0.", "PREFIX")] = None,
) -> None:
    """Make something wrong, besides what is already, until `lab clear`. Options that mean nothing to it are refused."""
    from perfharness.lab import control, options

    asked = {field: text for field, text in context.params.items() if field != "name"}
    _print(control.fault(options.wish(name, asked)))


@lab_app.command("clear")
def lab_clear() -> None:
    """End all faults."""
    from perfharness.lab import control

    _print(control.clear())


@lab_app.command("prove")
def lab_prove(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[CASE]...", help="A fault, or a case that --list names.")
    ] = None,
    only: Annotated[str | None, typer.Option("--only", help="singles, pairs or healthy.", metavar="KIND")] = None,
    times: Annotated[
        int | None, typer.Option("--times", min=1, help="Of each; once by default, ten times the healthy lab.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Print the cases and what is true of them; play none.")] = False,
    results: Annotated[Path, typer.Option("--results", help="Where run folders are kept.")] = Path("results"),
) -> None:
    """Play every fault, pairs of faults and the healthy lab; is each verdict true, and the cause named?

    Exit code 1 where a verdict is false, a wrong cause is called proven, or too few causes are named.
    """
    from rich.console import Console

    from perfharness.lab import prove

    chosen = prove.cases(names or (), only)
    if show:
        for case in chosen:
            typer.echo(f"{case.name}: {', '.join(sorted(case.verdicts))}")
        return
    raise typer.Exit(0 if prove.prove(chosen, times, results, Console(stderr=True)) else 1)


def _print(value: Any) -> None:
    from perfharness.evidence import json_bytes

    sys.stdout.buffer.write(json_bytes(value))
