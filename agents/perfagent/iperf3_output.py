"""What iperf3 has written so far or at last: its error, how far it came, and its rates while it runs.

Output is one document (``-J``, written at the end), or an event a line as they come (``--json-stream``, 3.17). The
latter is asked for where the program has it: it can be watched, and what was killed leaves all seconds before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perfagent.child import Child
from perfagent.jobs import Job

_SUMS = ("sum", "sum_bidir_reverse")
_LOOK_S = 0.25
_TELL_S = 0.95
"""Between two figures: a job passes on no more than one in 0.9 s."""
_MOST_WORDS = 120


def options(features: Sequence[str]) -> list[str]:
    return ["--json-stream"] if "json-stream" in features else ["-J"]


class Said(NamedTuple):
    """A whole output, or what there is of it."""

    error: str
    """iperf3's own word for what went wrong; empty if there is none."""
    trouble: str
    """Why this is no report of a test that came to its end; empty if it is."""
    until_s: float
    """Second of the test up to which there are figures; 0 without any."""


def read(output: bytes) -> Said:
    """Of anything that a program may have written."""
    text = output.decode(errors="replace").strip()
    if not text:
        return Said("", "it left no output", 0.0)
    found = _events(text) if text.startswith('{"event"') else _document(text)
    if isinstance(found, str):
        return Said("", found, 0.0)
    error = str(found.get("error") or "")
    return Said(error, "" if found.get("end") or error else "its output is cut off", _until(found.get("intervals")))


def _document(text: str) -> Mapping[str, Any] | str:
    if not text.startswith("{"):
        return f"its output begins with {_excerpt(text)}"
    try:
        report, end = json.JSONDecoder(object_pairs_hook=_first_wins).raw_decode(text)
    except (ValueError, RecursionError):
        return "its output is cut off"
    rest = text[end:].strip()
    return f"after its report comes {_excerpt(rest)}" if rest else dict(report)


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of errors the first is the cause."""
    return dict(reversed(pairs))


def _events(text: str) -> Mapping[str, Any] | str:
    """Put together as ``-J`` has it. What begins with a brace and is no event is one that was torn off, or the whole
    document that ``--json-stream-full-output`` adds."""
    found: dict[str, Any] = {"intervals": []}
    for line in text.split("\n"):
        event = _event(line)
        if event is None:
            if line.startswith("{"):
                break
            return f"among its events comes {_excerpt(line)}"
        if event["event"] == "interval":
            found["intervals"].append(event.get("data"))
        else:
            found.setdefault(event["event"], event.get("data"))
    return found


def _event(line: str | bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _until(intervals: Any) -> float:
    ends = [float(row["end"]) for each in _list(intervals) for row in _rows(each) if _is_number(row.get("end"))]
    return max(ends, default=0.0)


def _rows(interval: Any) -> Iterator[dict[str, Any]]:
    """The sums of each direction."""
    if isinstance(interval, dict):
        yield from (row for name in _SUMS if isinstance(row := interval.get(name), dict))


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else ()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18


def _excerpt(text: str) -> str:
    return repr(text.split("\n", 1)[0][:_MOST_WORDS])


# --- while it runs ----------------------------------------------------------------------------------


class Live:
    """Tells the payload rates of each second: ``load_tx_bps``, ``load_rx_bps``, of UDP ``lost`` and ``packets`` so far.

    By iperf3's events where there are any; else by what TCP knows of the connections. An older iperf3 says nothing of
    UDP before its end: then the interface's rates stand alone.
    """

    def __init__(self, job: Job, output: Path, features: Sequence[str]) -> None:
        self._job = job
        self._file = output.open("rb") if "json-stream" in features else None
        self._torn = b""
        self._next_s = self._next_figure_s = 0.0
        self._span_s = 0.0
        self._bytes: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._last: tuple[int, dict[str, int]] | None = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def look(self, child: Child) -> None:
        """Call it often; it tells once a second."""
        if self._file is None:
            self._tell_tcp(child)
        elif (now_s := time.monotonic()) >= self._next_s:
            self._next_s = now_s + _LOOK_S
            self._read(self._file.read())
            if self._span_s and now_s >= self._next_figure_s:
                self._next_figure_s = now_s + _TELL_S
                self._tell_events()

    def _read(self, more: bytes) -> None:
        *lines, self._torn = (self._torn + more).split(b"\n")
        for line in lines:
            event = _event(line)
            if event is not None and event["event"] == "interval":
                self._add(event.get("data"))

    def _add(self, interval: Any) -> None:
        rows = [row for row in _rows(interval) if _is_number(row.get("bytes")) and _is_number(row.get("seconds"))]
        if not rows:
            return
        for row in rows:
            way = "tx" if row.get("sender") is True else "rx"
            self._bytes[way] = self._bytes.get(way, 0) + int(row["bytes"])
            if way == "rx" and _is_number(row.get("lost_packets")) and _is_number(row.get("packets")):
                for key, name in (("lost", "lost_packets"), ("packets", "packets")):
                    self._counts[key] = self._counts.get(key, 0) + _signed(int(row[name]))
        self._span_s += float(rows[0]["seconds"])

    def _tell_events(self) -> None:
        """The mean of the intervals that are new."""
        rates = {f"load_{way}_bps": round(count * 8 / self._span_s) for way, count in self._bytes.items()}
        self._job.live({**rates, **self._counts})
        self._bytes, self._span_s = {}, 0.0

    def _tell_tcp(self, child: Child) -> None:
        now = child.carried
        if now is None or now == self._last:
            return
        if self._last is not None:
            span_ns = now[0] - self._last[0]
            moved = {way: count - self._last[1].get(way, 0) for way, count in now[1].items()}
            self._job.live(
                {f"load_{way}_bps": count * 8_000_000_000 // span_ns for way, count in moved.items() if count > 0}
            )
        self._last = now


def _signed(count: int) -> int:
    """iperf3 prints a negative one, of packets that came late, as an unsigned number of 64 bits."""
    return count - 2**64 if 2**63 <= count < 2**64 else count
