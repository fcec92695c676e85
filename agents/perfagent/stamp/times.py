"""Timestamps and error estimates of test packets (RFC 8762, section 4.2.1). Times are ns since the Unix epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_NTP_TO_UNIX_S = 2_208_988_800
_NS = 1_000_000_000
_PTP_BIT = 0x4000
_NTP_ROUNDED = (_NTP_TO_UNIX_S * _NS << 32) + _NS // 2
"""The seconds from 1900 to 1970, and half a ns: added to ns << 32 before the division by ``_NS``."""


class ErrorEstimate(NamedTuple):
    """How far a timestamp may be off (RFC 4656, section 4.1.2): ``multiplier · 2**(scale - 32)`` seconds."""

    synchronised: bool
    """S: the clock follows UTC from an outside source."""
    ptp: bool
    """Z: timestamps are PTPv2 truncated ones, not NTP ones (RFC 8186, section 2.3)."""
    scale: int
    multiplier: int

    @classmethod
    def of_word(cls, word: int) -> ErrorEstimate:
        return cls(bool(word & 0x8000), bool(word & _PTP_BIT), word >> 8 & 0x3F, word & 0xFF)

    @classmethod
    def of_error(cls, error_ns: int, *, synchronised: bool, ptp: bool = False) -> ErrorEstimate:
        """The smallest estimate that is not below ``error_ns``; capped at the largest there is."""
        units = -(-(max(error_ns, 1) << 32) // _NS)
        scale = max(0, (units - 1).bit_length() - 8)
        multiplier = -(-units >> scale)
        if multiplier > 0xFF:
            scale, multiplier = scale + 1, -(-units >> scale + 1)
        return cls(synchronised, ptp, scale, multiplier) if scale <= 63 else cls(synchronised, ptp, 63, 0xFF)

    @classmethod
    def of_clock(cls, state: Mapping[str, Any], *, ptp: bool = False) -> ErrorEstimate:
        """From what ``perfagent.clock.state`` says of this host's clock.

        A clock that follows a source but states no bound is synchronised, and off by a second for all we say;
        one of which nobody knows anything is not synchronised.
        """
        synchronised = state.get("synchronised") is True
        distance_ns = state.get("root_distance_ns") if synchronised else None
        return cls.of_error(_NS if distance_ns is None else distance_ns, synchronised=synchronised, ptp=ptp)

    @property
    def word(self) -> int:
        return self.synchronised << 15 | self.ptp << 14 | self.scale << 8 | self.multiplier

    @property
    def error_ns(self) -> int | None:
        """Rounded up; None when the estimate is invalid (multiplier 0)."""
        return -(-(self.multiplier * _NS << self.scale) >> 32) if self.multiplier else None


UNSYNCHRONISED = ErrorEstimate.of_error(_NS, synchronised=False).word
"""Nothing is known of this host's clock: off by a second for all we say."""


def encode_time(time_ns: int, error_word: int = 0) -> int:
    """64 bits in the format that the error estimate announces: NTP 32.32 since 1900, or PTPv2 truncated."""
    if error_word & _PTP_BIT:
        seconds, ns = divmod(time_ns, _NS)
        return (seconds & 0xFFFFFFFF) << 32 | ns
    return ((time_ns << 32) + _NTP_ROUNDED) // _NS & 0xFFFFFFFFFFFFFFFF


def decode_time(bits: int, error_word: int = 0) -> int:
    """ns since the Unix epoch, exact for what ``encode_time`` wrote; 0 when the field was left at zero.

    NTP seconds with a clear top bit are of the era that begins in 2036 (RFC 4330, section 3), which serves
    until 2104. PTP seconds are taken as they stand: a peer that counts TAI seconds differs by a constant,
    like any other clock offset.
    """
    seconds, fraction = bits >> 32, bits & 0xFFFFFFFF
    if bits == 0:
        return 0
    if error_word & _PTP_BIT:
        return seconds * _NS + fraction
    if seconds < 0x80000000:
        seconds += 1 << 32
    return (seconds - _NTP_TO_UNIX_S) * _NS + (fraction * _NS + 0x80000000 >> 32)
