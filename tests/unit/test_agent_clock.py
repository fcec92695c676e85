"""perfagent.clock: which daemon keeps the clock, and only real bounds are called bounds."""

from __future__ import annotations

import pytest

from perfagent import clock

CHRONY = (
    "C0000201,192.0.2.1,3,1795375624.138865536,-0.000001267,0.000000121,0.000000600,"
    "-0.139,0.003,0.287,0.000009270,0.000002556,1.0,Normal\n"
)
CHRONY_OWN_CLOCK = "7F7F0101,,2,1795375613.6,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,Normal\n"
CHRONY_UNSYNCHRONISED = "00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n"
NTPD = "leap=00, rootdelay=11.421, rootdisp=18.102, refid=192.0.2.1,\noffset=-0.123\n"
PMC = """\
sending: GET TIME_STATUS_NP
\t00163e.fffe.000001-0 seq 0 RESPONSE MANAGEMENT TIME_STATUS_NP
\t\tmaster_offset              -12
\t\tgmPresent                  true
\t\tgmIdentity                 00163e.fffe.0000aa
"""


def test_chrony_bounds_its_error() -> None:
    """Half the root delay, the dispersion and the larger offset add up."""
    state = clock.chrony(CHRONY)
    assert (state["source"], state["synchronised"], state["reference"]) == ("chrony", True, "192.0.2.1")
    assert state["offset_ns"] == -1267
    assert state["root_distance_ns"] == 4635 + 2556 + 1267


@pytest.mark.parametrize("text", [CHRONY_OWN_CLOCK, CHRONY_UNSYNCHRONISED])
def test_chrony_without_a_reference_bounds_nothing(text: str) -> None:
    """A daemon that follows itself or nobody is not synchronised, however small its numbers."""
    state = clock.chrony(text)
    assert state["synchronised"] is False
    assert state["root_distance_ns"] is None
    assert state["reason"]


def test_ntpd_states_milliseconds() -> None:
    """Its root distance is in ns here."""
    state = clock.ntpd(NTPD)
    assert state["root_distance_ns"] == 5_710_500 + 18_102_000 + 123_000
    assert state["reference"] == "192.0.2.1"


def test_ntpd_in_alarm_bounds_nothing() -> None:
    """leap=11 says that it is not synchronised."""
    assert clock.ntpd(NTPD.replace("leap=00", "leap=11"))["root_distance_ns"] is None


def test_ptp_states_an_offset_but_no_bound() -> None:
    """The offset from the master says nothing of the master."""
    state = clock.ptp(PMC)
    assert (state["offset_ns"], state["root_distance_ns"], state["synchronised"]) == (-12, None, True)


def test_timesyncd_is_no_bound() -> None:
    """Nor is the kernel's maxerror, which it leaves at 0."""
    assert clock.timesyncd("192.0.2.1\n", True)["root_distance_ns"] is None


def test_a_host_without_any_daemon_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent tools are a reason, not an error."""
    monkeypatch.setattr(clock.tools, "ask", lambda argv: None)
    state = clock.state()
    assert state["source"] in ("none", "unknown")
    assert "chrony" in state["reason"]
