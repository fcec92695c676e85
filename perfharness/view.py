"""A person's view of a run: which step, how long, what is measured right now; and the table at the end.

All of it goes to standard error, so that standard output carries nothing but what was asked for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
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


def live_text(data: Mapping[str, Any]) -> str:
    """The figures of a live event, in the order in which an engineer looks for them."""
    parts = []
    if "tx_bps" in data:
        parts.append(f"out {rate_text(data['tx_bps'])}, in {rate_text(data['rx_bps'])} (L2)")
    if "sent" in data:
        missing = data["sent"] - data["received"]
        parts.append(f"{data['sent']} probes, {missing} without answer")
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

    def task_started(self, task: Task, index: int, total: int) -> None:
        self._began = time.monotonic()
        self._place = f"[{index}/{total}] {task.id}"
        self.console.print(f"{self._place}: about {task.duration_s:.0f} s", markup=False, highlight=False)

    def event(self, host: str, event: Mapping[str, Any]) -> None:
        pass

    def task_ended(self, task: Task, status: Status, reason: str) -> None:
        said = f": {reason}" if reason else ""
        elapsed = time.monotonic() - self._began
        self.console.print(f"{self._place}: {status.value} after {elapsed:.1f} s{said}", markup=False, highlight=False)


class TerminalView(LineView):
    """The same lines, and under them the running task with its clock and each host's live figures."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._task: Task | None = None
        self._figures: dict[str, str] = {}
        self._live = Live(get_renderable=self._now, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> TerminalView:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def task_started(self, task: Task, index: int, total: int) -> None:
        self._began = time.monotonic()
        self._place = f"[{index}/{total}] {task.id}"
        self._task, self._figures = task, {}

    def event(self, host: str, event: Mapping[str, Any]) -> None:
        said = live_text(event["data"]) if event["event"] == "live" else ""
        if said:
            self._figures[f"{host} {event['job'].rsplit('.', 1)[-1]}"] = said

    def task_ended(self, task: Task, status: Status, reason: str) -> None:
        self._task = None
        mark, style = ("✓", "green") if status is Status.COMPLETED else ("✗", "red")
        elapsed = time.monotonic() - self._began
        line = Text(f"{mark} ", style=style).append(f"{self._place}  {elapsed:.1f} s", style="default")
        if reason:
            line.append(f"  {status.value}: {reason}", style=style)
        self.console.print(line)

    def _now(self) -> Table:
        table = Table.grid(padding=(0, 2))
        if self._task is None:
            return table
        elapsed = time.monotonic() - self._began
        table.add_row(
            Text(f"● {self._place}", style="bold"), f"{elapsed:4.0f} s of about {self._task.duration_s:.0f} s"
        )
        for who, said in sorted(self._figures.items()):
            table.add_row(Text(f"  {who}", style="dim"), said)
        return table


def view(console: Console) -> LineView:
    return TerminalView(console) if console.is_terminal else LineView(console)


def summary(run: Run, console: Console) -> None:
    """Every judged row, then the verdict."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("verdict", "what", "direction", "measured", "interval", "required", "why"):
        table.add_column(column, overflow="fold")
    for finding in run.findings:
        table.add_row(
            Text(finding.verdict.value, style=STYLE[finding.verdict]),
            f"{finding.metric} {finding.statistic}",
            _where(finding),
            finding_value(finding),
            interval_text(finding),
            threshold_text(finding),
            Text("" if finding.verdict is Verdict.PASS else finding.reason),
        )
    console.print(table)
    for diagnosis in run.diagnosis:
        console.print(
            Text(
                f"{diagnosis.certainty} cause: {diagnosis.cause} ({diagnosis.owner}, {diagnosis.segment.value}). "
            ).append(" ".join(diagnosis.because))
        )
    console.print(Text(f"\n{run.verdict.value}", style=STYLE[run.verdict]).append(f"  {run.circuit}", style="default"))


def _where(finding: Finding) -> str:
    scope = finding.scope
    direction = scope.direction.value if scope.direction else ""
    return f"{direction}, {scope.load}" if scope.load != "idle" else direction
