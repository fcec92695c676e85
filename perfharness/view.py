"""A person's view of a run: which step, how long, what is measured right now; and the table at the end.

All of it goes to standard error, so that standard output carries nothing but what was asked for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from perfharness.model import Finding, Run, Status, Task, Verdict
from perfharness.order.units import rate_text
from perfharness.report.text import finding_value, interval_text, threshold_text

STYLE = {
    Verdict.PASS: "bold green",
    Verdict.FAIL: "bold red",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.WARN: "yellow",
    Verdict.NOT_RUN: "dim",
    Verdict.NOT_APPLICABLE: "dim",
    Verdict.WAIVED: "magenta",
}

UNMEASURED = ("portspec", "footprint")
"""Rows that are only counted in the summary when they pass: what was declared, and our own manners."""
INTERVAL = 4
"""Its column in the summary."""


def live_text(data: Mapping[str, Any]) -> str:
    """The figures of a live event, in the order in which an engineer looks for them."""
    parts = []
    moved = [
        f"{word} {rate_text(data[key])}"
        for word, key in (("sends", "load_tx_bps"), ("receives", "load_rx_bps"))
        if key in data
    ]
    if moved:
        parts.append(f"{', '.join(moved)} (payload)")
    if data.get("packets"):
        parts.append(f"{data['lost']:,} of {data['packets']:,} packets lost")
    if "tx_bps" in data:
        parts.append(f"out {rate_text(data['tx_bps'])}, in {rate_text(data['rx_bps'])} (L2)")
    if "sent" in data:
        parts.append(f"{data['sent']:,} probes sent, {data['received']:,} received")
        if data.get("rtt_ns_p50") is not None:
            parts.append(f"RTT {data['rtt_ns_p50'] / 1e6:.3f} ms")
    return " · ".join(parts)


class LineView:
    """One line when a task starts and one when it ends: for logs and pipelines."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()
        self._place = ""

    def __enter__(self) -> LineView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def connecting(self, what: str, hosts: Sequence[str], duration_s: float) -> None:
        """What is going to be done, and the hosts that are being connected to for it.

        A log needs no sign of life, and what a host has to say then is one sentence.
        """

    def task_started(self, task: Task, index: int, total: int) -> None:
        self._began = time.monotonic()
        self._place = f"[{index}/{total}] {task.id}"
        line = f"{self._place}: about {task.duration_s:.0f} s"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def event(self, host: str, event: Mapping[str, Any]) -> None:
        pass

    def say(self, text: str) -> None:
        """What a person is to do now."""
        self.console.print(f"▶ {text}", markup=False, highlight=False, soft_wrap=True)

    def task_ended(self, task: Task, status: Status, reason: str) -> None:
        said = f": {reason}" if reason else ""
        elapsed = time.monotonic() - self._began
        line = f"{self._place}: {status.value} after {elapsed:.1f} s{said}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class TerminalView(LineView):
    """The same lines, and under them the running task with its clock and each host's live figures."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._task: Task | None = None
        self._run_began = time.monotonic()
        self._run_s = 0.0
        self._figures: dict[str, str] = {}
        self._live = Live(get_renderable=self._now, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> TerminalView:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def connecting(self, what: str, hosts: Sequence[str], duration_s: float) -> None:
        self._run_s = duration_s
        words = f"{what}: {', '.join(hosts)}; about {_clock(duration_s)} from here"
        self.console.print(words, markup=False, highlight=False, soft_wrap=True)

    def task_started(self, task: Task, index: int, total: int) -> None:
        self._began = time.monotonic()
        self._place = f"[{index}/{total}] {task.id}"
        self._task, self._figures = task, {}

    def event(self, host: str, event: Mapping[str, Any]) -> None:
        said = live_text(event["data"]) if event["event"] == "live" else ""
        if said:
            self._figures[f"{host} {event['job'].rsplit('.', 1)[-1]}"] = said

    def task_ended(self, task: Task, status: Status, reason: str) -> None:
        mark, style = ("✓", "green") if status is Status.COMPLETED else ("✗", "red")
        elapsed = time.monotonic() - self._began
        line = Text(f"{mark} ", style=style).append(f"{self._place}  {elapsed:.1f} s", style="default")
        if reason:
            line.append(f"  {status.value}: {reason}", style=style)
        self.console.print(line)

    def _now(self) -> Table:
        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        whole = f"{_clock(now - self._run_began)} of about {_clock(self._run_s)}"
        if self._task is None:
            table.add_row(Text("● connecting, and looking at the hosts", style="bold"), Text(whole, style="dim"))
            return table
        step = f"{_clock(now - self._began)} of about {_clock(self._task.duration_s)}"
        table.add_row(Text(f"● {self._place}", style="bold"), Text(step).append(f"   whole run {whole}", style="dim"))
        for who, said in sorted(self._figures.items()):
            table.add_row(Text(f"  {who}", style="dim"), said)
        return table


def _clock(seconds: float) -> str:
    """``1:04``: minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def view(console: Console) -> LineView:
    return TerminalView(console) if console.is_terminal else LineView(console)


def summary(run: Run, console: Console) -> None:
    """Every judged row, why it is not a PASS where it is not, the causes, and the verdict.

    On a terminal too narrow for all columns the intervals are left to the report.
    """
    judged = [row for row in run.findings if row.operator is not None or row.verdict is not Verdict.NOT_APPLICABLE]
    passed = [finding for finding in judged if finding.verdict is Verdict.PASS and finding.metric in UNMEASURED]
    several_pairs = len({finding.scope.pair for finding in judged if finding.scope.pair}) > 1
    rows: list[tuple[str, ...]] = [
        (
            finding.verdict.value,
            f"{finding.metric} {finding.statistic}",
            _where(finding, several_pairs),
            finding_value(finding),
            interval_text(finding),
            threshold_text(finding),
        )
        for finding in judged
        if finding not in passed
    ]
    reasons = [finding.reason for finding in judged if finding not in passed]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if console.is_terminal and sum(widths) + 2 * (len(widths) - 1) > console.width:
        rows = [(*row[:INTERVAL], *row[INTERVAL + 1 :]) for row in rows]
        del widths[INTERVAL]
    for row, reason in zip(rows, reasons, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        rest = "  " + "  ".join(cells[1:]).rstrip()
        line = Text(cells[0], style=STYLE[Verdict(row[0])]).append(rest, style="default")
        console.print(line, soft_wrap=True)
        if row[0] != Verdict.PASS:
            console.print(Padding(Text(reason, style="dim"), (0, 0, 0, widths[0] + 2)))
    console.print(Text(f"and {len(passed)} rows of the order itself: PASS", style="dim"))
    for diagnosis in run.diagnosis:
        about = f"{diagnosis.certainty} cause: {diagnosis.cause} ({diagnosis.owner}, {diagnosis.segment.value}). "
        console.print(Text(about, style="bold").append(" ".join(diagnosis.because), style="default"))
    for note in run.notes:
        console.print(Text(f"note: {note}"))
    console.print(Text(f"\n{run.verdict.value}", style=STYLE[run.verdict]).append(f"  {run.circuit}", style="default"))


def _where(finding: Finding, several_pairs: bool) -> str:
    scope = finding.scope
    load = scope.load if scope.load != "idle" else ""
    pair = scope.pair if several_pairs else ""
    return ", ".join(part for part in (scope.direction or "", load, pair, scope.service) if part)
