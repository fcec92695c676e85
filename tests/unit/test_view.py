"""The view of a run: what a person reads while it goes on and at its end."""

from __future__ import annotations

import io

from rich.console import Console

from perfharness.model import Scope, Status, Task
from perfharness.view import LineView, TerminalView, live_text, summary
from tests.unit import run_builder

TASK = Task("05-latency", "latency", "latency", Scope("a:z"), (), 34.0)


def said(width: int, *, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width, force_terminal=terminal, color_system=None, legacy_windows=False), out


def test_a_log_has_a_line_for_each_start_and_end() -> None:
    """Without a terminal: each task with its expected and its real time, and why it failed."""
    console, out = said(40, terminal=False)
    with LineView(console) as view:
        view.connecting("smoke on circuit-1", ["onprem-a", "ecs-a"], 94)
        assert out.getvalue() == ""
        view.task_started(TASK, 5, 10)
        view.task_ended(TASK, Status.FAILED, "no reply, and a reason that is longer than the log is wide")
    lines = out.getvalue().splitlines()
    assert lines[0] == "[5/10] 05-latency: about 34 s"
    assert lines[1].startswith("[5/10] 05-latency: failed after 0.")
    assert lines[1].endswith("s: no reply, and a reason that is longer than the log is wide")


def test_a_terminal_shows_the_running_task_with_live_figures() -> None:
    """The task, its clock and the whole run's, and the last figures of each host."""
    console, out = said(120, terminal=True)
    view = TerminalView(console)
    view.connecting("smoke on circuit-1", ["onprem-a", "ecs-a"], 94)
    view.task_started(TASK, 5, 10)
    live = {"event": "live", "job": "05-latency.probe", "data": {"sent": 2000, "received": 1999, "rtt_ns_p50": 35000}}
    view.event("onprem-a", live)
    assert out.getvalue() == "smoke on circuit-1: onprem-a, ecs-a; about 1:34 from here\n"
    console.print(view._now())
    assert "[5/10] 05-latency  0:00 of about 0:34   whole run 0:00 of about 1:34" in out.getvalue()
    assert "onprem-a probe" in out.getvalue()
    assert "2,000 probes sent, 1,999 received · RTT 0.035 ms" in out.getvalue()


def test_a_loads_rate_is_shown_while_it_runs() -> None:
    """What it sends or receives of payload, and what was lost of it so far."""
    assert live_text({"load_tx_bps": 941_000_000}) == "sends 941 Mbit/s (payload)"
    receiving = {"load_rx_bps": 940_000_000, "lost": 3, "packets": 80_000}
    assert live_text(receiving) == "receives 940 Mbit/s (payload) · 3 of 80,000 packets lost"


def test_figures_that_are_not_there_are_not_shown() -> None:
    """An event without a known figure has no text."""
    assert live_text({"something": 1}) == ""


def test_the_summary_of_a_narrow_terminal_keeps_what_is_required() -> None:
    """Verdict, row, figure and limit stay on one line of 100 columns; the intervals are left to the report."""
    run = run_builder.passing()
    console, wide = said(200, terminal=True)
    summary(run, console)
    console, narrow = said(100, terminal=True)
    summary(run, console)
    (line,) = (line for line in narrow.getvalue().splitlines() if "delay.rtt p99" in line)
    assert "≤" in line
    assert "95 %" not in line
    assert any("95 %" in line for line in wide.getvalue().splitlines() if "delay.rtt p99" in line)
