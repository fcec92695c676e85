"""The memory of an optical module, as the module writes it: what it is, and its light.

SFF-8472 (SFP, SFP+) and SFF-8636 (QSFP); layouts of the dump as the kernel makes it (``ethtool -m … raw on``): of an
SFP the pages A0h and A2h, of a QSFP the lower page and the upper ones 00h to 03h, 128 bytes each.
"""

from __future__ import annotations

from math import log10

from perfharness.routers.state import DARK_DBM, Light, Optics

SFP, QSFP = (0x1, 0x2), (0x3, 0x4)
"""Kinds of memory by the kernel's numbers (linux/ethtool.h, ETH_MODULE_SFF_*)."""
_A2 = 256
_UPPER_3 = 512 - 128
"""Where a byte of page 03h stands, less its own number."""
_SFP_WHOLE, _QSFP_WHOLE = 512, 640
_COUNT_MW = 1e-4  # a count is 0.1 µW
_SFP_CODES = {
    3: ((0x80, "10GBASE-ER"), (0x40, "10GBASE-LRM"), (0x20, "10GBASE-LR"), (0x10, "10GBASE-SR")),
    6: ((0x08, "1000BASE-T"), (0x02, "1000BASE-LX"), (0x01, "1000BASE-SX")),
}
"""Byte → bits (SFF-8472, table 5-3)."""
_QSFP_CODES = {
    131: ((0x04, "40GBASE-SR4"), (0x02, "40GBASE-LR4")),
    192: ((0x02, "100GBASE-SR4"), (0x03, "100GBASE-LR4"), (0x04, "100GBASE-ER4")),
}
"""Byte → bits, and of byte 192 values (SFF-8636, table 6-17; SFF-8024, table 4-4)."""


def optics(kind: int, memory: bytes) -> Optics:
    """What a dump tells; where it tells no light, why."""
    if kind in SFP and len(memory) >= 96:
        return _sfp(memory)
    if kind in QSFP and len(memory) >= 256:
        return _qsfp(memory)
    return Optics(reason=f"its module has a memory of kind {kind}, {len(memory)} bytes, that is not read here")


def _sfp(memory: bytes) -> Optics:
    module = _name(memory, [word for byte, bits in _SFP_CODES.items() for bit, word in bits if memory[byte] & bit], 20)
    monitoring = memory[92]
    if not monitoring & 0x40 or len(memory) < _SFP_WHOLE:
        return Optics(module, reason="its module has no digital monitoring (SFF-8472)")
    if not monitoring & 0x20:
        return Optics(module, reason="its module is calibrated externally, which is not reckoned here")
    if memory[_A2 + 110] & 0x01:
        return Optics(module, reason="its module had no readings ready")
    page = memory[_A2:]
    return Optics(module, (_light("rx", 1, page, 104, 32), _light("tx", 1, page, 102, 24)))


def _qsfp(memory: bytes) -> Optics:
    codes = [word for bit, word in _QSFP_CODES[131] if memory[131] & bit]
    codes += [word for value, word in _QSFP_CODES[192] if memory[192] == value and memory[131] & 0x80]
    module = _name(memory, codes, 148)
    if memory[2] & 0x04 or len(memory) < _QSFP_WHOLE:
        return Optics(module, reason="its module tells no thresholds of its own")
    if memory[2] & 0x01:
        return Optics(module, reason="its module had no readings ready")
    at = {"rx": (34, 176), "tx": (50, 192)}
    ways = ("rx", "tx") if memory[220] & 0x04 else ("rx",)
    return Optics(
        module,
        tuple(
            _light(way, lane, memory, at[way][0] + 2 * lane - 2, _UPPER_3 + at[way][1])
            for way in ways
            for lane in range(1, 5)
        ),
    )


def _name(memory: bytes, codes: list[str], vendor: int) -> str | None:
    """Its codes, vendor and part number."""
    told = (memory[vendor : vendor + 16], memory[vendor + 20 : vendor + 36])
    words = [text.decode("ascii", "replace").strip("\0 ") for text in told]
    return " ".join(filter(None, (*codes, *words))) or None


def _light(way: str, lane: int, page: bytes, at: int, limits: int) -> Light:
    """``limits``: high and low alarm, high and low warning, of two bytes each."""
    high_alarm, low_alarm, high_warn, low_warn = (_count(page, limits + 2 * place) for place in range(4))
    count = _count(page, at)
    known = high_alarm > low_alarm
    warned = known and high_warn > low_warn
    return Light(
        way,
        lane,
        _dbm(count),
        _dbm(count + 1) - _dbm(count),
        low_alarm=_dbm(low_alarm) if known else None,
        low_warn=_dbm(low_warn) if warned else None,
        high_warn=_dbm(high_warn) if warned else None,
        high_alarm=_dbm(high_alarm) if known else None,
    )


def _count(page: bytes, at: int) -> int:
    return int.from_bytes(page[at : at + 2], "big")


def _dbm(count: int) -> float:
    return round(10 * log10(count * _COUNT_MW), 2) if count else DARK_DBM
