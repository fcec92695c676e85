"""Who keeps this host's clock, and how far it may be off.

Only a daemon that follows delay and dispersion up to the reference can bound the error: root distance =
root delay / 2 + root dispersion + offset (RFC 5905, section 11.2). The kernel's ``maxerror`` is no such
bound, since systemd-timesyncd leaves it at 0.
"""

from __future__ import annotations

import ctypes
import re
from typing import Any

from perfagent import tools

_OWN_CLOCK = ("7F7F", "127.127.1.", "LOCL", "LOCAL")
"""Reference of a daemon that serves its own undisciplined clock: it is synchronised with nothing."""


def state() -> dict[str, Any]:
    """``{source, synchronised, root_distance_ns, offset_ns, reference, reason}`` of the first daemon that answers."""
    tracking = tools.ask(["chronyc", "-n", "-c", "tracking"])
    if tracking and tracking.exit_code == 0:
        return chrony(tracking.text)
    variables = tools.ask(["ntpq", "-n", "-c", "rv 0 leap,rootdelay,rootdisp,offset,refid"])
    if variables and "rootdelay=" in variables.text:
        return ntpd(variables.text)
    status = tools.ask(["pmc", "-u", "-b", "0", "GET TIME_STATUS_NP"])
    if status and "master_offset" in status.text:
        return ptp(status.text)
    server = tools.ask(["timedatectl", "show-timesync", "-p", "ServerAddress", "--value"])
    if server and server.exit_code == 0 and server.text.strip():
        return timesyncd(server.text, _kernel_synchronised())
    return _nobody(_kernel_synchronised())


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
    """From ``ntpq -c rv``: ``name=value`` pairs, times in milliseconds; leap 3 (binary 11) = not synchronised."""
    values = dict(re.findall(r"(\w+)=\"?([^,\s\"]+)", text))
    reference = values.get("refid", "")
    if values.get("leap") in ("11", "3") or reference.startswith(_OWN_CLOCK):
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
        "synchronised": synchronised,
        "root_distance_ns": root_distance_ns,
        "offset_ns": offset_ns,
        "reference": reference,
        "reason": reason,
    }


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


def _kernel_synchronised() -> bool | None:
    """Whether somebody told the kernel that its clock is synchronised; ``None`` when it cannot be asked."""
    timex = _Timex()
    if ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) < 0:
        return None
    return not timex.status & _STA_UNSYNC
