"""Who keeps this host's clock, from where and by which route, and how far it may be off.

Only a daemon that follows delay and dispersion up to the reference can bound the error: root distance =
root delay / 2 + root dispersion + offset (RFC 5905, section 11.2). The kernel's ``maxerror`` is no such
bound, since systemd-timesyncd leaves it at 0.
"""

from __future__ import annotations

import ctypes
import re
import socket
from contextlib import closing
from typing import Any

from perfagent import tools
from perfagent.netlink import Routes

_OWN_CLOCK = ("7F7F", "127.127.1.", "LOCL", "LOCAL")
"""Reference of a daemon that serves its own undisciplined clock: it is synchronised with nothing."""
_TIMEOUT_S = 2.0

ASKED = {
    "chrony": ("chronyc", "-n", "-c", "tracking"),
    "ntpd": ("ntpq", "-n", "-w", "-c", "rv 0 leap,rootdelay,rootdisp,offset,refid", "-c", "peers"),
    "ptp": ("pmc", "-u", "-b", "0", "GET TIME_STATUS_NP"),
    "timesyncd": ("timedatectl", "show-timesync", "-p", "ServerAddress", "--value"),
}
"""One short command for each daemon, in the order in which they are asked."""


def state(source: str | None = None) -> dict[str, Any]:
    """``{source, synchronised, root_distance_ns, offset_ns, reference, address, route, reason}``.

    Of the first daemon that answers; with ``source`` only that one is asked, so that watching costs one command.
    ``address`` is the IP address of the reference, ``route`` how this host reaches it.
    """
    for name in ASKED if source is None else (source,):
        found = _asked(name)
        if found is not None:
            return {**found, "route": _route(found["address"])}
    if source is not None:
        return {**_state(source, synchronised=None, reason=f"{source} does not answer any more"), "route": None}
    return {**_nobody(_kernel_synchronised()), "route": None}


def _asked(name: str) -> dict[str, Any] | None:
    """What one daemon says; ``None`` when it is not there or says nothing that can be read."""
    answer = tools.ask(ASKED[name], _TIMEOUT_S)
    if answer is None:
        return None
    try:
        if name == "chrony":
            return chrony(answer.text) if answer.exit_code == 0 else None
        if name == "ntpd":
            return ntpd(answer.text) if "rootdelay=" in answer.text else None
        if name == "ptp":
            return ptp(answer.text) if "master_offset" in answer.text else None
        server = answer.text.strip()
        return timesyncd(server, _kernel_synchronised()) if answer.exit_code == 0 and server else None
    except (ValueError, IndexError, KeyError):
        return None


def _route(address: str | None) -> dict[str, str | None] | None:
    if address is None:
        return None
    try:
        with closing(Routes()) as routes:
            return routes.to(address)
    except OSError:
        return None


def chrony(text: str) -> dict[str, Any]:
    """From ``chronyc -c tracking``: refid, address, stratum, reference time, system time, last offset, RMS offset,
    frequency, residual, skew, root delay, root dispersion, interval, leap status; times in seconds."""
    row = text.strip().split(",")
    if row[13] == "Not synchronised" or row[0].startswith(_OWN_CLOCK):
        reason = "chrony follows no reference" if row[13] == "Not synchronised" else "chrony serves its own clock"
        return _state("chrony", synchronised=False, reason=reason)
    system, last, delay, dispersion = (float(row[column]) for column in (4, 5, 10, 11))
    distance_s = delay / 2 + dispersion + max(abs(system), abs(last))
    return _state(
        "chrony", synchronised=True, reference=row[1] or row[0], offset_ns=_ns(system), root_distance_ns=_ns(distance_s)
    )


def ntpd(text: str) -> dict[str, Any]:
    """From ``ntpq -c rv -c peers``: ``name=value`` pairs, times in milliseconds; leap 3 (binary 11) = not synchronised.

    The reference is the peer that is marked ``*`` (``o`` with a pulse): of IPv6 the refid is only a hash.
    """
    values = dict(re.findall(r"(\w+)=\"?([^,\s\"]+)", text))
    peer = re.search(r"^[*o]([^\s=]+)\s+\S+\s+\d+\s", text, re.MULTILINE)
    refid = values.get("refid", "")
    reference = peer[1] if peer else refid
    if values.get("leap") in ("11", "3") or refid.startswith(_OWN_CLOCK) or reference.startswith(_OWN_CLOCK):
        return _state("ntpd", synchronised=False, reason=f"ntpd follows no reference but {reference or 'none'}")
    delay, dispersion, offset = (float(values[name]) / 1e3 for name in ("rootdelay", "rootdisp", "offset"))
    distance_s = delay / 2 + dispersion + abs(offset)
    return _state(
        "ntpd", synchronised=True, reference=reference, offset_ns=_ns(offset), root_distance_ns=_ns(distance_s)
    )


def ptp(text: str) -> dict[str, Any]:
    """From ``pmc 'GET TIME_STATUS_NP'``: lines of a name and a value, the offset in nanoseconds."""
    values = dict(line.split(None, 1) for line in text.splitlines() if len(line.split(None, 1)) == 2)
    present = values.get("gmPresent", "").strip() == "true"
    return _state(
        "ptp",
        synchronised=present,
        reference=values.get("gmIdentity", "").strip() or None,
        offset_ns=int(values["master_offset"]) if present else None,
        reason="PTP states an offset from its master, no bound from the reference",
    )


def timesyncd(server: str, synchronised: bool | None) -> dict[str, Any]:
    return _state(
        "timesyncd",
        synchronised=synchronised,
        reference=server.strip(),
        reason="systemd-timesyncd follows a single server and states no bound",
    )


def _nobody(synchronised: bool | None) -> dict[str, Any]:
    nobody = "none of chrony, ntpd, ptp4l, systemd-timesyncd answers here"
    if synchronised:
        return _state("unknown", synchronised=None, reason=f"somebody disciplines the clock, but {nobody}")
    return _state("none", synchronised=False, reason=nobody)


def _state(
    source: str,
    *,
    synchronised: bool | None,
    reference: str | None = None,
    offset_ns: int | None = None,
    root_distance_ns: int | None = None,
    reason: str = "",
) -> dict[str, Any]:
    return {
        "source": source,
        "address": _address(reference),
        "synchronised": synchronised,
        "root_distance_ns": root_distance_ns,
        "offset_ns": offset_ns,
        "reference": reference,
        "reason": reason,
    }


def _address(reference: str | None) -> str | None:
    """The IP address that a reference is; ``None`` for a card, a receiver (127.127.x.y is ntpd's) or a name."""
    if reference is None or reference.startswith("127.127."):
        return None
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, reference.partition("%")[0]))
        except OSError:
            continue
    return None


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


class _Timex(ctypes.Structure):
    """The head of struct timex (linux/timex.h); the kernel writes the rest into the padding."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


_STA_UNSYNC = 0x40
_LIBC = ctypes.CDLL(None)


def kernel() -> dict[str, int] | None:
    """``{freq_ppb, status, esterror_us, maxerror_us}`` as the kernel has them; ``None`` when it cannot be asked."""
    timex = _Timex()
    if _LIBC.adjtimex(ctypes.byref(timex)) < 0:
        return None
    return {
        "freq_ppb": timex.freq * 1000 >> 16,
        "status": timex.status,
        "esterror_us": timex.esterror,
        "maxerror_us": timex.maxerror,
    }


def _kernel_synchronised() -> bool | None:
    """Whether somebody told the kernel that its clock is synchronised; ``None`` when it cannot be asked."""
    said = kernel()
    return None if said is None else not said["status"] & _STA_UNSYNC
