"""A host's counters over time, and what each rose by in the moments in which packets were lost.

A counter that rose in another moment than the loss cannot explain it. Where a counter is missing in some rows, its
rise may have come at any time between the rows that have it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfharness.analysis import stolen
from perfharness.analysis.statistics import Ints
from perfharness.model import Window

Row = Mapping[str, Any]
Path = tuple[str, ...]

PACKETS = ("rx_packets", "tx_packets")
INGRESS = ("ingress", "drops")
UNACCOUNTED, UNACCOUNTED6 = ("ip", "unaccounted"), ("ip6", "unaccounted")
"""Packets that IP took in and neither delivered, forwarded, kept for reassembly nor counted as discarded: what the
host's own netfilter drops is in no counter of its own, but missing here."""
UNTRANSMITTED, UNTRANSMITTED6 = ("ip", "untransmitted"), ("ip6", "untransmitted")
"""Packets that IP was to send or to forward and never handed on. Since Linux 6.6, which brought OutTransmits, a packet
counts as forwarded before netfilter has seen it; in older ones what is filtered on the way through is UNACCOUNTED."""

COUNTED: tuple[Path, ...] = (
    *(("nic", name) for name in PACKETS),
    ("qdisc", "drops"),
    ("qdisc", "requeues"),
    INGRESS,
    *(("nic", name) for name in ("tx_dropped", "tx_errors", "rx_dropped", "rx_missed_errors", "rx_errors")),
    *(("nic", name) for name in ("rx_fifo_errors", "rx_over_errors")),
    *(("nic", name) for name in ("rx_length_errors", "rx_crc_errors", "rx_frame_errors")),
    ("softnet", "dropped"),
    *(
        ("snmp", table, name)
        for table in ("Udp", "Udp6")
        for name in ("RcvbufErrors", "MemErrors", "InCsumErrors", "NoPorts", "SndbufErrors")
    ),
    *(
        ("snmp", table, name)
        for table in ("Ip", "Ip6")
        for name in ("InDiscards", "InHdrErrors", "InAddrErrors", "ReasmFails", "OutDiscards", "OutNoRoutes")
    ),
    ("snmp", "Ip6", "InTruncatedPkts"),
    ("snmp", "Ip6", "InNoRoutes"),
    ("snmp", "IpExt", "InNoRoutes"),
    ("snmp", "IpExt", "InTruncatedPkts"),
    ("snmp", "TcpExt", "IPReversePathFilter"),
)
"""The counters that the stages read, by their path in a row; beside them, all of ``driver``."""

_KEPT = ("InDelivers", "InHdrErrors", "InAddrErrors", "InDiscards", "InUnknownProtos", "ReasmReqds")
_KEPT_EXT = (("IpExt", "InNoRoutes"), ("IpExt", "InTruncatedPkts"), ("TcpExt", "IPReversePathFilter"))
_KEPT6 = ("InNoRoutes", "InTruncatedPkts", "InTooBigErrors")

_BETWEEN_COUNTERS = 1_000
"""Packets that may arrive while a table of counters is read."""


@dataclass(frozen=True, slots=True)
class Moments:
    """When packets were lost, by the clock of the host that is asked: brackets of ns since the epoch, (k,) each."""

    start_ns: Ints
    end_ns: Ints
    packets: Ints
    """Lost in each bracket."""

    def part(self, chosen: slice) -> Moments:
        return Moments(self.start_ns[chosen], self.end_ns[chosen], self.packets[chosen])


@dataclass(frozen=True, slots=True)
class Rises:
    """What the counters rose by, in each of r runs of time that hold the losses, (r,) each."""

    lost: Ints
    """Packets lost in each run: no stage can explain more of them."""
    runs: Mapping[Path, Ints]
    whole: Mapping[Path, int]
    """Over the whole recording."""
    broken: frozenset[Path] = frozenset()
    """Counters that the host has and that nevertheless do not tell."""
    timed: bool = True
    """The runs hold the moments that were asked for; where False, there is one and it is all of the recording."""

    def total(self, must: Sequence[Path], may: Sequence[Path] = ()) -> Ints | None:
        """The sum of these counters in each run; those of ``may`` not every host has. None where that is unknown."""
        if not all(path in self.runs for path in must) or any(path in self.broken for path in may):
            return None
        return sum((self.runs[path] for path in (*must, *may) if path in self.runs), np.zeros_like(self.lost))

    def driver(self, *words: str) -> tuple[Path, ...]:
        """The driver's statistics with one of these words in their name."""
        paths = sorted({path for path in (*self.runs, *self.broken) if path[0] == "driver"})
        return tuple(path for path in paths if any(word in path[1] for word in words))


@dataclass(frozen=True, slots=True)
class Recording:
    """One host's rows of counters.jsonl as columns."""

    t_ns: Ints
    length_ns: int
    """By the monotonic clock, where the rows have it: Unix time may be set meanwhile."""
    counters: Mapping[Path, tuple[Ints, Ints]]
    """(places of the rows that have it, its values)."""
    broken: frozenset[Path]
    """Left out of them: one that is not in the first and the last row, and one that fell on the way (reset, or 32 bits
    wide and run over): what it missed is unknown."""
    stolen: float = 0.0
    """Share of the time for which a hypervisor withheld a CPU (:mod:`perfharness.analysis.stolen`)."""

    def rises(self, window: Window, lost: int, moments: Moments | None) -> Rises:
        """Over ``moments``, where they are known and lie within the recording, else over all of it.

        Without any counter when the recording is shorter than the window: it missed a part of the stream. The window
        is not compared with its times, since it may be told by another host's clock.
        """
        if len(self.t_ns) < 2 or self.length_ns < abs(window.end_ns - window.start_ns):
            return Rises(np.array([lost], np.int64), {}, {}, timed=False)
        found = None if moments is None else self._runs(moments)
        run_of_gap, lost_of_run = found or (np.zeros(len(self.t_ns) - 1, np.int64), np.array([lost], np.int64))
        runs, whole = {}, {}
        for path, (places, values) in self.counters.items():
            whole[path] = int(values[-1] - values[0])
            runs[path] = _by_run(places, values, run_of_gap, len(lost_of_run))
        return Rises(lost_of_run, runs, whole, self.broken, timed=found is not None)

    def _runs(self, moments: Moments) -> tuple[Ints, Ints] | None:
        """(the run of each gap between two rows or -1, packets lost in each run); None when the rows' clock cannot
        tell."""
        gaps = len(self.t_ns) - 1
        if (np.diff(self.t_ns) <= 0).any():
            return None
        if (moments.end_ns < self.t_ns[0]).any() or (moments.start_ns > self.t_ns[-1]).any():
            return None  # it is told by another clock than we thought
        first = np.clip(np.searchsorted(self.t_ns, moments.start_ns, "right") - 1, 0, gaps - 1)
        last = np.clip(np.searchsorted(self.t_ns, moments.end_ns, "left") - 1, first, gaps - 1)
        edges = np.zeros(gaps + 1, np.int64)
        np.add.at(edges, first, 1)
        np.add.at(edges, last + 1, -1)
        covered = np.cumsum(edges[:-1]) > 0
        begins = covered & ~np.concatenate([[False], covered[:-1]])
        run_of_gap = np.where(covered, np.cumsum(begins) - 1, -1)
        lost_of_run = np.zeros(int(begins.sum()), np.int64)
        np.add.at(lost_of_run, run_of_gap[first], moments.packets)
        return run_of_gap, lost_of_run


def record(rows: Iterable[Row]) -> Recording:
    """The rows as columns; rows without a time are left out."""
    kept: dict[Path, tuple[array[int], array[int]]] = {}
    unix_ns, mono_ns = array("q"), array("q")
    first: Row = {}
    row: Row = {}
    for row in rows:
        if not isinstance(row.get("t_ns"), int):
            continue
        first = first or row
        for path, value in _read(row):
            places, values = kept.setdefault(path, (array("q"), array("q")))
            places.append(len(unix_ns))
            values.append(value)
        unix_ns.append(row["t_ns"])
        if isinstance(row.get("mono_ns"), int):
            mono_ns.append(row["mono_ns"])
    clock = mono_ns if len(mono_ns) == len(unix_ns) else unix_ns
    last = len(unix_ns) - 1
    found: dict[Path, tuple[Sequence[int], Sequence[int]]] = {**kept}
    if unix_ns:
        found[INGRESS] = _from_nothing(*found.get(INGRESS, ([], [])), last)
    columns = {
        path: (np.array(places, np.int64), np.array(values, np.int64)) for path, (places, values) in found.items()
    }
    for path in (UNACCOUNTED, UNACCOUNTED6, UNTRANSMITTED, UNTRANSMITTED6):
        if path in columns:
            columns[path] = columns[path][0], _settled(columns[path][1])
    good = {path: column for path, column in columns.items() if _tells(*column, last)}
    return Recording(
        t_ns=np.array(unix_ns, np.int64),
        length_ns=clock[-1] - clock[0] if unix_ns else 0,
        counters=good,
        broken=frozenset(columns.keys() - good.keys()),
        stolen=stolen.share(first, row),
    )


def _tells(places: Ints, values: Ints, last: int) -> bool:
    return bool(places[0] == 0 and places[-1] == last and (np.diff(values) >= 0).all())


def _settled(values: Ints) -> Ints:
    """A difference of counters that are not read at one instant: a packet between two of them in a single row is no
    drop, but what falls by more was reset."""
    if (np.diff(values) < -_BETWEEN_COUNTERS).any():
        return values
    calm = values.copy()
    calm[1:-1] = np.sort([values[:-2], values[1:-1], values[2:]], axis=0)[1]
    return np.maximum.accumulate(calm)


def _from_nothing(places: Sequence[int], values: Sequence[int], last: int) -> tuple[Sequence[int], Sequence[int]]:
    """There is no row of the ingress qdisc where none is attached: one that comes begins at 0."""
    if not places or places[0] > 0:
        places, values = [0, *places], [0, *values]
    return (places, values) if places[-1] == last else ([*places, last], [*values, values[-1]])


def _read(row: Row) -> list[tuple[Path, int]]:
    """The counters that this row has."""
    found = []
    for path in COUNTED:
        value: Any = row
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, int):
            found.append((path, value))
    driver = row.get("driver")
    if isinstance(driver, Mapping):
        found += [(("driver", name), value) for name, value in driver.items() if isinstance(value, int)]
    snmp = row.get("snmp")
    if isinstance(snmp, Mapping):
        found += [(path, value) for path, value in _unaccounted(snmp) if value is not None]
    return found


def _unaccounted(snmp: Mapping[str, Any]) -> tuple[tuple[Path, int | None], ...]:
    """For both families: received less delivered, forwarded and discarded (RFC 4293)."""
    ip, ip6 = snmp.get("Ip"), snmp.get("Ip6")
    more = sum(snmp.get(table, {}).get(name, 0) for table, name in _KEPT_EXT)
    four, six = _missing(ip, _KEPT, "ForwDatagrams"), _missing(ip6, (*_KEPT, *_KEPT6), "OutForwDatagrams")
    return (
        (UNACCOUNTED, None if four is None else four - more),
        (UNACCOUNTED6, six),
        (UNTRANSMITTED, _untransmitted(ip, "ForwDatagrams")),
        (UNTRANSMITTED6, _untransmitted(ip6, "OutForwDatagrams")),
    )


def _untransmitted(table: Any, forwarded: str) -> int | None:
    if not isinstance(table, Mapping) or not {"OutTransmits", "OutRequests", forwarded} <= table.keys():
        return None
    return int(table["OutRequests"]) + int(table[forwarded]) - int(table["OutTransmits"])


def _missing(table: Any, kept: Sequence[str], forwarded: str) -> int | None:
    if not isinstance(table, Mapping) or "InReceives" not in table or "InDelivers" not in table:
        return None
    came = int(table["InReceives"]) + int(table.get("ReasmOKs", 0))
    return came - sum(int(table.get(name, 0)) for name in (*kept, forwarded))


def _by_run(places: Ints, values: Ints, run_of_gap: Ints, runs: int) -> Ints:
    """What a counter rose by in each run."""
    rose = np.zeros(runs, np.int64)
    if values[-1] == values[0]:  # most counters of drops never move
        return rose
    steps = np.diff(values)
    short = np.diff(places) == 1
    run = run_of_gap[places[:-1][short]]
    np.add.at(rose, run[run >= 0], steps[short][run >= 0])
    for step in np.flatnonzero(~short & (steps > 0)):
        touched = np.unique(run_of_gap[places[step] : places[step + 1]])
        rose[touched[touched >= 0]] += steps[step]
    return rose
