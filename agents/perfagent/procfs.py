"""The kernel's counters and sockets as /proc tells them. Pure: text in, numbers out.

A counter that this kernel does not have is absent from the answer, never 0. All of /proc/net belongs to the
network namespace of the process that reads it, but for softnet_stat: its rows are the CPUs of the machine.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

_T = TypeVar("_T")

CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""In ticks; time of guests is contained in user and nice already (proc(5))."""

_SNMP6_TABLES = ("Icmp6", "UdpLite6", "Udp6", "Ip6")
_TCP_LISTEN = 0x0A


def snmp(text: str) -> dict[str, dict[str, int]]:
    """Tables of /proc/net/snmp or /proc/net/netstat: pairs of lines, ``Udp: names`` and ``Udp: values``."""
    lines = text.splitlines()
    tables = {}
    for names, values in zip(lines[::2], lines[1::2]):
        table, _, fields = names.partition(":")
        tables[table] = dict(zip(fields.split(), map(int, values.partition(":")[2].split())))
    return tables


def snmp6(text: str) -> dict[str, dict[str, int]]:
    """Tables of /proc/net/snmp6, whose lines are ``Udp6InDatagrams 12``."""
    tables: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        name, value = line.split()
        table = next((table for table in _SNMP6_TABLES if name.startswith(table)), None)
        if table is not None:
            tables.setdefault(table, {})[name[len(table) :]] = int(value)
    return tables


def softnet(text: str) -> dict[str, Any]:
    """What the CPUs of the machine dropped before the protocol saw it, and how often they ran out of budget.

    /proc/net/softnet_stat has a row of hexadecimal columns for each CPU: processed, dropped, time_squeeze, …; since
    Linux 5.10 column 12 is the CPU's number. ``by_cpu`` names those that ever dropped.
    """
    rows = [[int(column, 16) for column in line.split()] for line in text.splitlines()]
    by_cpu = {str(row[12] if len(row) > 12 else place): row[1] for place, row in enumerate(rows) if row[1]}
    return {"dropped": sum(row[1] for row in rows), "time_squeeze": sum(row[2] for row in rows), "by_cpu": by_cpu}


def cpu(text: str) -> dict[str, object]:
    """``{"total": {…}, "per_cpu": [{…}]}`` of /proc/stat, in ticks since boot."""
    rows = [line.split() for line in text.splitlines() if line.startswith("cpu")]
    total, *each = (dict(zip(CPU_FIELDS, map(int, row[1:]))) for row in rows)
    return {"total": total, "per_cpu": each}


def listeners(text: str, address: str, port: int) -> set[int]:
    """Inodes of the sockets that listen on exactly ``address`` and ``port``, from /proc/net/tcp or tcp6."""
    local = f"{_hex_address(address)}:{port:04X}"
    rows = (line.split() for line in text.splitlines()[1:])
    return {int(row[9]) for row in rows if row[1] == local and int(row[3], 16) == _TCP_LISTEN}


def _hex_address(address: str) -> str:
    """As /proc/net/tcp prints it: 32-bit words in the byte order of the machine."""
    packed = ipaddress.ip_address(address).packed
    words = (packed[i : i + 4] for i in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def chosen(rows: dict[str, _T], names: Iterable[str]) -> dict[str, _T]:
    """Those of the rows that are named and exist."""
    return {name: rows[name] for name in names if name in rows}
