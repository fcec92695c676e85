"""iperf3's JSON, versions 3.7 to 3.21, plain or as a stream of events, from either end.

Each end speaks for itself only. An end's report also holds what the other told it over the control connection,
but some versions lose or zero that: a sender's counts are read from the sender's output, a receiver's from the
receiver's (3.20 tells a sender of none lost, whatever an older receiver lost). Totals are the sums of the intervals
after the warm-up, so that they exist for a broken-off test too. The exit code is not asked: 3.12 exits 0 with an error
in its output, and since 3.19 so does one that a signal ended.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfharness.analysis.statistics import Floats, Ints
from perfharness.errors import ToolFailed

_MOST_WORDS = 80
_FULL = 0.5
"""An interval shorter than this share of the longest is the scrap at the end of a test: no rate of its own."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One interval of one direction, all streams together. A count that iperf3 does not give is None."""

    start_s: float
    seconds: float
    bytes: int
    omitted: bool
    """Warm-up: belongs to no total."""
    retransmits: int | None
    packets: int | None
    """Sender: sent. Receiver: by the highest sequence number, so the lost ones are included."""
    lost: int | None
    """Gaps in the sequence, less the late ones that filled one: a single interval's may be negative."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction of the data as one end saw it."""

    reverse: bool
    """From server to client."""
    sending: bool
    """This end sent; else it received."""
    slices: tuple[Slice, ...]

    @property
    def kept(self) -> tuple[Slice, ...]:
        """Without the warm-up."""
        return tuple(part for part in self.slices if not part.omitted)

    @property
    def seconds(self) -> float:
        return math.fsum(part.seconds for part in self.kept)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.kept)

    @property
    def rate_bps(self) -> float | None:
        """Payload bit/s over the whole test; None without any interval."""
        return self.bytes * 8 / self.seconds if self.seconds > 0 else None

    @property
    def rates_bps(self) -> Floats:
        """Payload bit/s of each full interval, for ``statistics.mean_rate``."""
        longest = max((part.seconds for part in self.kept), default=0.0)
        return np.array([part.bytes * 8 / part.seconds for part in self.kept if part.seconds > _FULL * longest])

    @property
    def torn(self) -> bool:
        """Intervals are missing at the beginning or on the way, or out of order; after ``-O`` they begin anew."""
        scrap = _FULL * max((part.seconds for part in self.slices), default=0.0)
        ends = [0.0, *(part.start_s + part.seconds for part in self.slices)]
        anew = [False, *(was.omitted for was in self.slices)]
        return any(
            abs(part.start_s - end) > scrap and not (new and part.start_s < scrap)
            for part, end, new in zip(self.slices, ends, anew, strict=False)
        )

    @property
    def retransmits(self) -> int | None:
        return _total([part.retransmits for part in self.kept])

    @property
    def packets(self) -> int | None:
        return _total([part.packets for part in self.kept])

    @property
    def lost(self) -> int | None:
        """By gaps: packets lost after the last one that arrived are in no count of iperf3's."""
        return _total([part.lost for part in self.kept])

    @property
    def loss_blocks(self) -> tuple[Ints, Ints]:
        """(lost, packets) of each interval, for ``statistics.counts_interval``; only if ``loss_problem`` is empty."""
        parts = [part for part in self.kept if part.packets]
        return np.array([part.lost for part in parts], np.int64), np.array([part.packets for part in parts], np.int64)

    @property
    def loss_problem(self) -> str:
        """Why the loss of this flow cannot be believed; empty when it can."""
        lost, packets = self.lost, self.packets
        if self.sending:
            return "a sender does not know what was lost"
        if lost is None or packets is None:
            return "iperf3 gave no count of lost packets"
        if packets <= 0:
            return "no packet arrived"
        if not 0 <= lost <= packets:
            return f"iperf3 counted {lost} lost of {packets} packets, which cannot be"
        return ""


@dataclass(frozen=True, slots=True)
class Iperf3Result:
    """What one iperf3 process reported."""

    version: str
    """E.g. ``3.12``; empty if it did not say."""
    role: str
    """``client`` or ``server``; empty when it broke off before a connection."""
    error: str | None
    """iperf3's own words. The flows then hold what was measured before."""
    protocol: str
    """``tcp`` or ``udp``; empty when no test began."""
    streams: int
    flows: tuple[Flow, ...]
    """Two with ``--bidir``, else one; none when no test began."""
    cpu_percent: float | None
    """Of one core, of this process's end."""
    start_unix_s: int | None

    def flow(self, *, reverse: bool) -> Flow | None:
        """The direction client to server, or with ``reverse`` server to client."""
        return next((flow for flow in self.flows if flow.reverse == reverse), None)


def parse(raw: bytes, warm_up_s: float = 0.0) -> Iperf3Result:
    """Read one process's standard output; what lies in the first ``warm_up_s`` is left out of the totals, and
    what iperf3 itself omitted.

    Raises ToolFailed when it is not a report of iperf3's.
    """
    report = _report(raw)
    start, end = _object(report, "start"), _object(report, "end")
    settings = _object(start, "test_start")
    role = "client" if "connecting_to" in start else "server" if "accepted_connection" in start else ""
    flows = tuple(
        flow
        for name, backwards in (("sum", False), ("sum_bidir_reverse", True))
        if (flow := _flow(report, name, role, bool(_count(settings, "reverse")) != backwards, warm_up_s)) is not None
    )
    return Iperf3Result(
        version=_text(start, "version").removeprefix("iperf "),
        role=role,
        error=_error(report, flows),
        protocol=_text(settings, "protocol").lower(),
        streams=_count(settings, "num_streams") or 0,
        flows=flows,
        cpu_percent=_number(_object(end, "cpu_utilization_percent"), "host_total"),
        start_unix_s=_count(_object(start, "timestamp"), "timesecs"),
    )


# --- the report as a whole ------------------------------------------------------------------------


def _report(raw: bytes) -> Mapping[str, Any]:
    text = raw.decode(errors="replace").strip()
    if not text:
        raise ToolFailed("iperf3 left no output.")
    if _event(text.split("\n", 1)[0]) is not None:
        return _stream(text)
    if not text.startswith("{"):
        raise ToolFailed(f"iperf3's output is no report but begins with {_excerpt(text)}.")
    try:
        report, end = json.JSONDecoder(object_pairs_hook=_pairs).raw_decode(text)
    except (ValueError, RecursionError):
        raise ToolFailed("iperf3's output is cut off or not JSON.") from None
    if text[end:].strip():
        raise ToolFailed(f"iperf3's report is followed by {_excerpt(text[end:])}.")
    return dict(report)


def _pairs(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A key given twice keeps its first value: of errors that is the cause. But for the two sums of ``--bidir``, which
    up to 3.9 have one name."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        found.setdefault("sum_bidir_reverse" if key == "sum" and key in found else key, value)
    return found


def _stream(text: str) -> Mapping[str, Any]:
    """``--json-stream``: one event a line, put together to what ``--json`` prints. What begins with a brace and is no
    event is a torn line, or the document of ``--json-stream-full-output``: all of it has been said by then."""
    report: dict[str, Any] = {}
    intervals: list[Any] = []
    for number, line in enumerate(text.split("\n"), 1):
        event = _event(line)
        if event is None:
            if line.startswith("{"):
                break
            raise ToolFailed(f"Line {number} of iperf3's output is none of its events but {_excerpt(line)}.")
        if event["event"] == "interval":
            intervals.append(event.get("data"))
        else:
            report.setdefault(event["event"], event.get("data"))
    return report | {"intervals": intervals}


def _event(line: str) -> Mapping[str, Any] | None:
    try:
        event = json.loads(line, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _excerpt(text: str) -> str:
    return repr(text.strip().split("\n", 1)[0][:_MOST_WORDS])


def _error(report: Mapping[str, Any], flows: tuple[Flow, ...]) -> str | None:
    if "error" in report:
        return str(report["error"])
    if not report.get("end"):
        until_s = max((part.start_s + part.seconds for flow in flows for part in flow.slices), default=0.0)
        return f"the output ends before the test did{f', after second {until_s:.1f}' if until_s else ''}"
    if not flows:
        return "no interval was reported"
    return "intervals are missing from its report or out of order" if any(flow.torn for flow in flows) else None


def _flow(report: Mapping[str, Any], name: str, role: str, reverse: bool, warm_up_s: float) -> Flow | None:
    """``reverse`` by the test's settings, for reports that do not say of each sum which end it is."""
    intervals = report.get("intervals")
    rows = [_object(interval, name) for interval in intervals] if isinstance(intervals, list) else []
    slices = tuple(part for row in rows if (part := _slice(row, warm_up_s)) is not None)
    if not slices or not role:
        return None
    says = next((row["sender"] for row in rows if isinstance(row.get("sender"), bool)), None)
    sending = says if says is not None else (role == "client") != reverse
    return Flow(reverse=(role == "client") != sending, sending=sending, slices=slices)


def _slice(row: Mapping[str, Any], warm_up_s: float) -> Slice | None:
    start, seconds, size = _number(row, "start"), _number(row, "seconds"), _count(row, "bytes")
    if start is None or seconds is None or size is None or seconds <= 0:
        return None
    return Slice(
        start_s=start,
        seconds=seconds,
        bytes=size,
        omitted=row.get("omitted") is True or start + seconds / 2 < warm_up_s,
        retransmits=_count(row, "retransmits"),
        packets=_count(row, "packets"),
        lost=_signed(row, "lost_packets"),
    )


# --- values, none of them trusted -----------------------------------------------------------------


def _object(parent: Any, key: str) -> Mapping[str, Any]:
    found = parent.get(key) if isinstance(parent, dict) else None
    return found if isinstance(found, dict) else {}


def _text(parent: Mapping[str, Any], key: str) -> str:
    found = parent.get(key)
    return found if isinstance(found, str) else ""


def _number(parent: Mapping[str, Any], key: str) -> float | None:
    found = parent.get(key)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not abs(found) < 1e18:
        return None
    return float(found)


def _count(parent: Mapping[str, Any], key: str) -> int | None:
    found = _number(parent, key)
    return int(found) if found is not None and found == int(found) else None


def _signed(parent: Mapping[str, Any], key: str) -> int | None:
    """A count that may be below 0 (packets counted as lost that came in the next interval): iperf3 prints that as an
    unsigned number of 64 bits."""
    found = parent.get(key)
    return found - 2**64 if isinstance(found, int) and 2**63 <= found < 2**64 else _count(parent, key)


def _total(counts: list[int | None]) -> int | None:
    """Nothing, or one unknown: unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None
