"""Optical power as vendors' show commands print it: no template reads thresholds and lanes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from perfharness.routers.state import Light, Optics
from perfharness.routers.tables import said

WAYS = {"receive": "rx", "transmit": "tx", "rx": "rx", "tx": "tx"}
NO_LIGHT = "it tells no optical power of this port"
_NUMBER = r"-?\d+(?:\.\d+)?"
_IOS_HEAD = re.compile(r"\b(Transmit|Receive|Tx|Rx) Power\b|\b(Temperature|Voltage|Current)\b", re.IGNORECASE)
_IOS_ROW = re.compile(rf"(?:{_NUMBER}|N/?A)(?:\s+(?:{_NUMBER}|N/?A)){{4,5}}")
_DIAGNOSIS = re.compile(
    rf"^\s*(Tx|Rx)Power\(dBm\)\s+({_NUMBER})\s*(?:\(lane\d+\))?\s+({_NUMBER})\s+({_NUMBER})"
    rf"((?:.*\n\s+{_NUMBER}\s*\(lane\d+\))*)",
    re.IGNORECASE | re.MULTILINE,
)
_IN_INTERFACE = re.compile(
    rf"(Rx|Tx) Power:\s+({_NUMBER})dBm,\s+(?:Warning|Alarm) range:\s+\[({_NUMBER}),\s+({_NUMBER})\]dBm"
)


def ios(text: str | None, module: str | None) -> Optics | None:
    """Of ``show interfaces … transceiver detail``: a table for each quantity, whose rows have a lane or not, a flag of
    an alarm or not, and high alarm, high warning, low warning, low alarm. ``module``: what it is, if that is told."""
    if text is None:
        return None
    lights, way = [], ""
    for line in text.splitlines():
        if head := _IOS_HEAD.search(line):
            way = WAYS.get((head[1] or "").lower(), "")
            continue
        words = [word for word in line.split()[1:] if word.strip("+-")]  # behind the port's name
        if not way or not _IOS_ROW.fullmatch(" ".join(words)):
            continue
        lane = int(words.pop(0)) if len(words) == 6 and words[0].isdigit() else 1
        if words[0].startswith("N"):
            continue
        high_alarm, high_warn, low_warn, low_alarm = (
            None if word.startswith("N") else float(word) for word in words[1:5]
        )
        lights.append(Light(way, lane, float(words[0]), digit(words[0]), low_alarm, low_warn, high_warn, high_alarm))
    return Optics(module, tuple(lights), "" if lights else NO_LIGHT)


def huawei(outputs: Mapping[str, str]) -> Optics | None:
    """Of ``display transceiver … verbose`` and ``display transceiver diagnosis …``, else of what some models print in
    ``display interface …`` of the port."""
    verbose, diagnosis, port = (outputs.get(name) for name in ("optics", "optics-levels", "optics-port"))
    if verbose is None and diagnosis is None and not _IN_INTERFACE.search(port or ""):
        return None
    if said(r"Digital Diagnostic Monitoring\s*:\s*(NO)\b", verbose):
        return Optics(_module(verbose), reason="its module has no digital monitoring")
    lights = tuple(_diagnosed(diagnosis or "")) or tuple(_listed(verbose or ""))
    lights = lights or tuple(
        Light(way.lower(), 1, float(dbm), digit(dbm), low_alarm=float(low), high_alarm=float(high))
        for way, dbm, low, high in _IN_INTERFACE.findall(port or "")
    )
    return Optics(_module(verbose), lights, "" if lights else NO_LIGHT)


def _module(verbose: str | None) -> str | None:
    return said(r"Transceiver Type\s*:\s*(\S+)", verbose)


def _diagnosed(text: str) -> Iterator[Light]:
    """One row a direction, with a line more for each further lane."""
    for way, first, low, high, more in _DIAGNOSIS.findall(text):
        for lane, dbm in enumerate((first, *re.findall(rf"({_NUMBER})\s*\(lane", more, re.IGNORECASE)), 1):
            yield Light(way.lower(), lane, float(dbm), digit(dbm), low_alarm=float(low), high_alarm=float(high))


def _listed(text: str) -> Iterator[Light]:
    """``Current Rx Power(dBM) :-5.55``, with the module's own thresholds in the next lines."""
    for way in ("Rx", "Tx"):
        told = {
            key: said(rf"(?i)^\s*{words}\s*\(dBm\)\s*:\s*({_NUMBER})", text)
            for key, words in (
                ("now", rf"Current {way} Power"),
                ("low", rf"Default {way} Power Low\s+Threshold"),
                ("high", rf"Default {way} Power High\s+Threshold"),
            )
        }
        if (dbm := told["now"]) is not None:
            low, high = (None if (word := told[key]) is None else float(word) for key in ("low", "high"))
            yield Light(way.lower(), 1, float(dbm), digit(dbm), low_alarm=low, high_alarm=high)


def digit(text: str) -> float:
    """Half of the last digit that is printed, in dB; of a word nothing."""
    return 0.0 if not re.fullmatch(_NUMBER, text) else 0.5 * 10.0 ** -len(text.partition(".")[2])
