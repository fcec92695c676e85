"""What the host is (``facts``) and what its counters say while something runs (``counters``)."""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from perfagent import clock, procfs
from perfagent.ethtool import Card
from perfagent.jobs import Job
from perfagent.netlink import INGRESS, ROOT, Addresses, Counters, Link, Links
from perfagent.program import inspect
from perfagent.sockets import canonical
from perfagent.wire import Code, Fault

FORMAT_VERSION = 1

SYSCTLS = (
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.wmem_default",
    "net.core.wmem_max",
    "net.core.netdev_max_backlog",
    "net.core.netdev_budget",
    "net.core.default_qdisc",
    "net.core.busy_poll",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_mtu_probing",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_no_metrics_save",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.udp_rmem_min",
)

_SNMP_TABLES = ("Ip", "Udp", "Tcp")
_SNMP6_TABLES = ("Ip6", "Udp6")
_DRIVER_NS = 1_000_000_000
"""Between looks at the driver's statistics: some drivers ask the card's firmware for them."""
_TOLD = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets")
_NETSTAT_FIELDS = (
    "IPReversePathFilter",
    "PruneCalled",
    "RcvPruned",
    "OfoPruned",
    "TCPBacklogDrop",
    "TCPRcvQDrop",
    "TCPZeroWindowDrop",
    "TCPTimeouts",
    "TCPLostRetransmit",
    "TCPSpuriousRTOs",
)
"""Those of TcpExt that tell a host's own trouble from the path's; all of them would triple the file."""


# --- facts ------------------------------------------------------------------------------------


def facts(job: Job, *, interface: str, address: str, iperf3: str) -> dict[str, Any]:
    """The host, its card, limits, iperf3 and clock. Raises Fault(ADDRESS) if interface and address are not its own."""
    data: dict[str, Any] = {**_machine(), **_interface(interface, canonical(address))}
    try:
        data["iperf3"], data["iperf3_reason"] = inspect(iperf3)._asdict(), ""
    except Fault as fault:
        data["iperf3"], data["iperf3_reason"] = None, fault.message
    data["congestion"] = {
        "current": _sysctl("net.ipv4.tcp_congestion_control"),
        "available": str(_sysctl("net.ipv4.tcp_available_congestion_control") or "").split(),
    }
    data["sysctls"] = {name: _sysctl(name) for name in SYSCTLS}
    data["clock"] = clock.state()
    return data


def _machine() -> dict[str, Any]:
    name = os.uname()
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory_kib = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal:"))
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "kernel": name.release,
        "hostname": name.nodename,
        "machine": name.machine,
        "cpus": {"count": len(os.sched_getaffinity(0)), "model": models[0] if models else None},
        "memory_bytes": memory_kib * 1024,
        "uptime_s": float(_lines("/proc/uptime")[0].split()[0]),
        "virtual": _virtual(),
    }


def _virtual() -> str | None:
    """Words for the virtual machine that this is; ``None`` on bare metal."""
    words = " ".join(line for name in ("sys_vendor", "product_name") for line in _lines(f"/sys/class/dmi/id/{name}"))
    flagged = any(line.startswith("flags") and " hypervisor" in line for line in _lines("/proc/cpuinfo"))
    if flagged or any(vendor in words for vendor in ("Alibaba Cloud", "QEMU", "KVM")):  # Arm has no such flag
        return words.strip() or "a hypervisor without a name"
    return None


def _interface(interface: str, address: str) -> dict[str, Any]:
    """Through netlink and ioctl: /sys/class/net may show another network namespace."""
    with closing(Links()) as links, closing(Addresses()) as addresses:
        found = links.all()
        names = {index: link.name for index, link in found.items()}
        held = [(names.get(index), cidr) for index, cidr in addresses.all()]
        index = next((index for index, name in names.items() if name == interface), None)
        if index is None:
            raise Fault(
                Code.ADDRESS, f"there is no interface {interface}; this host has {', '.join(sorted(names.values()))}"
            )
        if not any(name == interface and cidr.split("/")[0] == address for name, cidr in held):
            raise Fault(Code.ADDRESS, f"{interface} does not hold {address}; {_who_holds(address, interface, held)}")
        qdiscs = links.qdiscs(index)
    return {
        "nic": _nic(found[index]),
        "addresses": [cidr for name, cidr in held if name == interface],
        "qdisc": qdiscs,
    }


def _who_holds(address: str, interface: str, held: list[tuple[str | None, str]]) -> str:
    others = [str(name) for name, cidr in held if cidr.split("/")[0] == address]
    if others:
        return f"{others[0]} does"
    return f"it holds {', '.join(cidr for name, cidr in held if name == interface) or 'no address'}"


def _nic(link: Link) -> dict[str, Any]:
    with closing(Card(link.name)) as card:
        return {
            "name": link.name,
            "mac": link.mac,
            "mtu": link.mtu,
            "carrier": link.carrier,
            **card.link(),
            "driver": card.driver(),
            "offloads": card.offloads(),
            "stamping": card.stamping(),
            "rings": card.rings(),
            "queues": card.queues() or {"rx": link.rx_queues, "tx": link.tx_queues},
        }


def _sysctl(name: str) -> int | str | None:
    """An integer where it is one; ``None`` where this namespace or kernel does not show it."""
    lines = _lines("/proc/sys/" + name.replace(".", "/"))
    if not lines:
        return None
    text = " ".join(lines[0].split())
    return int(text) if text.lstrip("-").isdigit() else text


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []


# --- counters ---------------------------------------------------------------------------------


def counters(job: Job, *, interface: str, period_ms: int, tell: bool = False) -> dict[str, Any]:
    """Write ``counters.jsonl``: a row at the start, one each period, one at the end; ``tell`` the interface's. Raises
    Fault(BAD_ARGUMENT, ADDRESS)."""
    if period_ms < 10:
        raise Fault(Code.BAD_ARGUMENT, f"period_ms is {period_ms}; below 10 the sampler would disturb what it watches")
    try:
        sampler = Sampler(interface)
    except OSError as error:
        raise Fault(Code.ADDRESS, f"there is no interface {interface}") from error
    path = job.folder / "counters.jsonl"
    rows, speed = 0, _Speed(job)
    header = {"format_version": FORMAT_VERSION, "interface": interface, "period_ms": period_ms, "hz": sampler.hz}
    with path.open("w", encoding="utf-8", buffering=1) as out:  # by line: a kill loses nothing
        out.write(json.dumps(header) + "\n")
        next_ns = time.monotonic_ns()
        while True:
            last = job.stopping
            row = sampler.row(whole=last)
            out.write(json.dumps(row, separators=(",", ":")) + "\n")
            rows += 1
            if tell and "nic" in row:
                job.counted({name: row["nic"][name] for name in _TOLD})
            if rows == 1:
                job.ready({})
            if last:
                return {"rows": rows}
            speed.tell(row)
            now_ns = time.monotonic_ns()  # once: on a busy host the next reading may be much later
            next_ns = max(next_ns + period_ms * 1_000_000, now_ns)
            select.select([job.stop_fd], [], [], (next_ns - now_ns) / 1e9)


class Sampler:
    """Reads all counters at once, as cheaply as it goes: about a millisecond, files stay open."""

    def __init__(self, interface: str) -> None:
        """Raises OSError if there is no such interface."""
        self._index = socket.if_nametoindex(interface)
        self._netlink = Counters()
        self._card = Card(interface)
        self._next_driver_ns = 0
        self.hz = os.sysconf("SC_CLK_TCK")
        names = ("stat", "net/softnet_stat", "net/snmp", "net/snmp6", "net/netstat")
        self._files = {name: _open(f"/proc/{name}") for name in names}

    def row(self, *, whole: bool = False) -> dict[str, Any]:
        """One row; what cannot be read just now, like a card that has gone, is absent from it. The driver's own
        statistics and the interface's speed are in the first row, in one a second and in a ``whole`` one."""
        row: dict[str, Any] = {"t_ns": time.time_ns(), "mono_ns": time.monotonic_ns()}
        try:
            row["nic"] = self._netlink.link(self._index)
            qdiscs = self._netlink.qdiscs(self._index)
        except OSError:
            qdiscs = {}
        for name, parent in (("qdisc", ROOT), ("ingress", INGRESS)):
            if parent in qdiscs:
                row[name] = qdiscs[parent]
        if whole or row["mono_ns"] >= self._next_driver_ns:
            self._next_driver_ns = row["mono_ns"] + _DRIVER_NS
            row["driver"] = self._card.statistics_of_loss()
            row["speed_bps"] = self._card.link()["speed_bps"]
        softnet = self._read("net/softnet_stat")
        if softnet:
            row["softnet"] = procfs.softnet(softnet)
        row["snmp"] = self._snmp()
        row["cpu"] = {**procfs.cpu(self._read("stat")), "hz": self.hz}
        return row

    def _snmp(self) -> dict[str, dict[str, int]]:
        tables = procfs.chosen(procfs.snmp(self._read("net/snmp")), _SNMP_TABLES)
        tables.update(procfs.chosen(procfs.snmp6(self._read("net/snmp6")), _SNMP6_TABLES))
        extended = procfs.snmp(self._read("net/netstat"))
        tables.update(procfs.chosen(extended, ("IpExt",)))
        if "TcpExt" in extended:
            tables["TcpExt"] = procfs.chosen(extended["TcpExt"], _NETSTAT_FIELDS)
        return tables

    def _read(self, name: str) -> str:
        """The file afresh; empty if this kernel has none."""
        number = self._files[name]
        if number is None:
            return ""
        text = b""
        while piece := os.pread(number, 1 << 16, len(text)):
            text += piece
        return text.decode("ascii")


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


class _Speed:
    """Tells the live rates at L2, from one told row to the next."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._last: tuple[int, dict[str, int]] | None = None

    def tell(self, row: dict[str, Any]) -> None:
        if "nic" not in row:
            return
        now_ns, nic = row["mono_ns"], row["nic"]
        if self._last is None:
            self._last = now_ns, nic
            return
        then_ns, before = self._last
        if now_ns - then_ns < 1_000_000_000:
            return
        rates = {
            f"{way}_bps": (nic[f"{way}_bytes"] - before[f"{way}_bytes"]) * 8_000_000_000 // (now_ns - then_ns)
            for way in ("rx", "tx")
        }
        self._last = now_ns, nic
        self._job.live(rates)
