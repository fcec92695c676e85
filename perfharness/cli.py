"""The verbs: arguments, progress, exit code. No logic lives here."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perfharness import __version__
from perfharness.cli_lab import lab_app
from perfharness.errors import Exit, PerfharnessError

if TYPE_CHECKING:
    from perfharness.model import Run

UsageProblem: Any = typer.BadParameter.__mro__[2]
"""click's ClickException, wherever this version of typer keeps it: every complaint about the command line."""

app = typer.Typer(
    name="perfharness",
    help="Is this circuit what was ordered, and if not, whose fault is it - with proof?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(lab_app, name="lab")
stamp_app = typer.Typer(
    help="One STAMP (or TWAMP Light) probe stream by hand, against a router or another tool.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(stamp_app, name="stamp")

CircuitArgument = Annotated[Path, typer.Argument(help="The circuit file: what was ordered.")]
ScenarioName = Annotated[str, typer.Argument(help="A scenario file, or the name of a shipped one.")]
CircuitFile = Annotated[Path, typer.Option("--circuit", help="The circuit file: what was ordered.")]
Results = Annotated[Path, typer.Option("--results", help="Where run folders are kept.")]
Only = Annotated[list[str] | None, typer.Option("--only", help="This step alone; can be given again.", metavar="STEP")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help="Authenticated mode with the key in this file.", metavar="FILE")
]
Ptp = Annotated[bool, typer.Option("--ptp/--ntp", help="Format of our timestamps.")]
StampJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")]
Json = Annotated[bool, typer.Option("--json", help="Print findings.json and nothing else on standard output.")]
Pdf = Annotated[bool, typer.Option("--pdf/--no-pdf", help="The report as PDF too; `report` makes it later.")]
TYPERS_INTERRUPT = 130
"""What typer returns for a KeyboardInterrupt instead of letting it pass."""


def exit_code() -> int:
    """What the command line asks for; every error of ours is one sentence and its exit code. An interrupt passes."""
    try:
        # Not standalone: click would turn an interrupt into exit code 1, which here says FAIL.
        code = int(app(standalone_mode=False) or 0)
        if code == TYPERS_INTERRUPT:
            raise KeyboardInterrupt
        return code
    except UsageProblem as error:
        error.show()
        return int(Exit.BAD_INPUT)
    except PerfharnessError as error:
        _say(str(error))
        return int(error.exit_code)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads any more: nothing must be flushed there at exit
        return int(Exit.HARNESS)
    except OSError as error:  # a full disk, a folder that is not ours
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = " Free some, or choose another place with --results." if full else ""
        _say(f"perfharness cannot go on: {error}.{remedy}")
        return int(Exit.HARNESS)
    except Exception as error:
        # Python's own exit code would be 1, which here says that the circuit FAILed.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name} line {frame.lineno}"
        _say(f"perfharness itself failed, at {where}: {type(error).__name__}: {error}. Please report this.")
        return int(Exit.HARNESS)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"perfharness {__version__}")
        raise typer.Exit


@app.command()
def demo(results: Results = Path("results"), as_json: Json = False) -> None:
    """The whole job on the built-in lab. Brings it up, runs smoke on lab.yaml, takes it down."""
    from perfharness.demo import demo

    _finish(demo(results, _console()), as_json)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write them; made if needed.")]) -> None:
    """Write a commented circuit and scenario to fill in."""
    from perfharness.order.init import write

    for path in write(folder):
        typer.echo(path)


@app.command()
def validate(
    circuit: Annotated[Path | None, typer.Argument(help="The circuit file.")] = None,
    scenario: Annotated[str | None, typer.Argument(help="A scenario file, or the name of a shipped one.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of both files.")] = False,
) -> None:
    """Check the files for form and sense. All problems at once, each with its line."""
    from perfharness import dryrun

    if schema:
        typer.echo(dryrun.schemas())
        return
    if circuit is None:
        raise typer.BadParameter("name a circuit file, or use --schema")
    for line in dryrun.validate(circuit, scenario):
        typer.echo(line)


@app.command()
def plan(
    scenario: ScenarioName,
    circuit: CircuitFile,
    only: Only = None,
    firewall: Annotated[bool, typer.Option("--firewall", help="Print the firewall rules to ask for.")] = False,
) -> None:
    """The dry run for a change board. Steps, duration, bytes, peak rate, hosts, ports, privileges."""
    from perfharness import dryrun

    dryrun.show_plan(circuit, scenario, only or (), firewall, _console(stderr=False))


@app.command()
def check(circuit: CircuitArgument) -> None:
    """Can every host be used? Reach it, start the agent, say what it found, leave nothing."""
    from perfharness import preflight

    preflight.check(circuit, _console())


@app.command()
def run(
    scenario: ScenarioName,
    circuit: CircuitFile,
    results: Results = Path("results"),
    only: Only = None,
    as_json: Json = False,
    pdf: Pdf = True,
) -> None:
    """Collect, judge, report."""
    from perfharness.run import run as run_scenario

    _finish(run_scenario(scenario, circuit, results, only or (), _console(), as_pdf=pdf), as_json)


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="results/<circuit>/<run>")],
    circuit: Annotated[
        Path | None,
        typer.Option("--circuit", help="A corrected order: judge the same evidence again, beside the old."),
    ] = None,
    as_json: Json = False,
    pdf: Pdf = True,
) -> None:
    """Make findings and report again from the evidence."""
    from perfharness.run import rebuild

    _finish(rebuild(run_folder, circuit, _console(), as_pdf=pdf), as_json)


@app.command()
def clean(circuit: CircuitArgument) -> None:
    """Remove what was left on the hosts. Only what is ours."""
    from perfharness import preflight

    preflight.clean(circuit, _console())


@stamp_app.command("sender")
def stamp_sender(
    target: Annotated[str, typer.Argument(metavar="TARGET[:PORT]", help="Address or name; port 862 by default.")],
    count: Annotated[int | None, typer.Option("--count", min=1, help="Packets; 100 by default.")] = None,
    duration: Annotated[str | None, typer.Option("--duration", help="Instead of --count, as 10s.")] = None,
    interval: Annotated[str, typer.Option("--interval", help="Between packets.")] = "100ms",
    size: Annotated[int | None, typer.Option("--size", help="Of the UDP payload; the smallest by default.")] = None,
    dscp: Annotated[int, typer.Option("--dscp", min=0, max=63)] = 0,
    source: Annotated[str | None, typer.Option("--source", help="Our address.")] = None,
    pattern: Annotated[str, typer.Option("--pattern", help="periodic or poisson")] = "periodic",
    wait: Annotated[str, typer.Option("--wait", help="How long a reply may take.")] = "2s",
    key_file: KeyFile = None,
    ptp: Ptp = False,
    ssid: Annotated[int, typer.Option("--ssid", min=0, max=65_535, help="0: none, as in TWAMP Light.")] = 0,
    strict_ssid: Annotated[bool, typer.Option("--strict-ssid", help="Take no reply without our SSID.")] = False,
    tlv: Annotated[
        list[str] | None,
        typer.Option("--tlv", help="cos or cos=DSCP of the replies, follow-up, hmac (the key signs extensions only)."),
    ] = None,
    as_json: StampJson = False,
) -> None:
    """Send probes and print what came back."""
    from perfharness import stamp
    from perfharness.report import stream

    mode = stamp.Mode(key_file, ptp, ssid, tuple(tlv or ()))
    order = stamp.SenderOrder(target, mode, count, duration, interval, size, dscp, source, pattern, wait, strict_ssid)
    found = stamp.send(order, _console())
    if as_json:
        _print_json(stream.as_json(found.target, found.data, found.figures))
    else:
        title = f"{found.target}, {found.args['packet_bytes']} bytes each {found.args['interval_ns'] / 1e6:g} ms"
        typer.echo(stream.table(title, stream.sender_rows(found.figures, found.data)), nl=False)


@stamp_app.command("reflector")
def stamp_reflector(
    address: Annotated[
        str, typer.Argument(metavar="[ADDRESS[:PORT]]", help="Ours; all of IPv4 and port 862 by default.")
    ] = "0.0.0.0",
    peer: Annotated[str | None, typer.Option("--peer", help="ADDRESS[:PORT] of the only sender to answer.")] = None,
    ssid: Annotated[int | None, typer.Option("--ssid", min=0, max=65_535, help="The only session to answer.")] = None,
    stateless: Annotated[bool, typer.Option("--stateless", help="Return the sender's sequence numbers.")] = False,
    duration: Annotated[str | None, typer.Option("--duration", help="End after this time, as 10m.")] = None,
    key_file: KeyFile = None,
    ptp: Ptp = False,
    tlv: Annotated[list[str] | None, typer.Option("--tlv", help="hmac: the key signs extensions only.")] = None,
    as_json: StampJson = False,
) -> None:
    """Answer probes until Ctrl-C, and print how many."""
    from perfharness import stamp
    from perfharness.report import stream

    mode = stamp.Mode(key_file, ptp, ssid, tuple(tlv or ()))
    data = stamp.reflect(stamp.ReflectorOrder(address, mode, peer, stateless, duration), _console())
    if as_json:
        _print_json(stream.as_json(address, data))
    else:
        typer.echo(stream.table(f"reflector on {address}", stream.reflector_rows(data)), nl=False)


def _finish(run: Run, as_json: bool) -> None:
    """The run's verdict is the exit code."""
    from perfharness.model import Verdict

    if as_json:
        from perfharness.report.findings import to_json

        _print_json(to_json(run))
    codes = {Verdict.PASS: Exit.PASS, Verdict.FAIL: Exit.FAIL}
    raise typer.Exit(int(codes.get(run.verdict, Exit.INCONCLUSIVE)))


def _print_json(value: Any) -> None:
    from perfharness.evidence import json_bytes

    sys.stdout.buffer.write(json_bytes(value))


def _console(stderr: bool = True) -> Any:
    from rich.console import Console

    return Console(stderr=stderr)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
