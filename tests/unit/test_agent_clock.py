"""perfagent.clock: which daemon keeps the clock, and only real bounds are called bounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfagent import clock, netlink
from perfagent.methods import clock as method
from perfagent.tools import Answer
from perfagent.wire import Fault
from tests.conftest import RecordingJob

GOLDEN = Path(__file__).parent.parent / "golden" / "clock"
CHRONY = (GOLDEN / "chrony-4.3.csv").read_text()
NTPD = (GOLDEN / "ntpq.txt").read_text()


def test_chrony_bounds_its_error() -> None:
    """Half the root delay, the dispersion and the larger offset add up."""
    state = clock.chrony(CHRONY)
    assert (state["source"], state["synchronised"], state["reference"]) == ("chrony", True, "192.0.2.1")
    assert state["offset_ns"] == -2505
    assert state["root_distance_ns"] == 3849 + 2528 + 2505


@pytest.mark.parametrize("name", ["chrony-4.3-local.csv", "chrony-4.3-unsynchronised.csv"])
def test_chrony_without_a_reference_bounds_nothing(name: str) -> None:
    """A daemon that follows itself or nobody is not synchronised, however small its numbers."""
    state = clock.chrony((GOLDEN / name).read_text())
    assert state["synchronised"] is False
    assert state["root_distance_ns"] is None
    assert state["reason"]


def test_ntpd_states_milliseconds() -> None:
    """Its root distance is in ns here."""
    state = clock.ntpd(NTPD)
    assert state["root_distance_ns"] == 5_710_500 + 18_102_000 + 123_000
    assert (state["reference"], state["address"]) == ("192.0.2.1", "192.0.2.1")


def test_ntpd_names_the_peer_and_not_a_hash_of_it() -> None:
    """The refid of an IPv6 server looks like an IPv4 address; a receiver of its own has no address at all."""
    six = NTPD.replace("*192.0.2.1 ", "*2001:db8::1 ")
    assert clock.ntpd(six)["address"] == "2001:db8::1"
    receiver = clock.ntpd(NTPD.replace("*192.0.2.1 ", "o127.127.20.0 "))
    assert (receiver["synchronised"], receiver["address"]) == (True, None)


def test_ntpd_in_alarm_bounds_nothing() -> None:
    """leap=11 says that it is not synchronised."""
    assert clock.ntpd(NTPD.replace("leap=00", "leap=11"))["root_distance_ns"] is None


def test_ptp_states_an_offset_but_no_bound() -> None:
    """The offset from the master says nothing of the master."""
    state = clock.ptp((GOLDEN / "ptp4l-3.1-pmc.txt").read_text())
    assert (state["offset_ns"], state["root_distance_ns"], state["synchronised"]) == (226, None, True)
    assert state["address"] is None
    assert clock.ptp((GOLDEN / "ptp4l-3.1-pmc-master.txt").read_text())["synchronised"] is False


def test_timesyncd_is_no_bound() -> None:
    """Nor is the kernel's maxerror, which it leaves at 0."""
    assert clock.timesyncd("192.0.2.1\n", True)["root_distance_ns"] is None


def test_a_host_without_any_daemon_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent tools are a reason, not an error."""
    monkeypatch.setattr(clock.tools, "ask", lambda argv, timeout_s: None)
    state = clock.state()
    assert state["source"] in ("none", "unknown")
    assert "chrony" in state["reason"]


def test_garbage_of_a_daemon_is_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read says nothing; nobody is said to keep the clock on its word."""
    for text in ("", "C0000201,192.0.2.1", "rootdelay=x, rootdisp=, offset=1", "master_offset"):
        monkeypatch.setattr(clock.tools, "ask", lambda argv, timeout_s, text=text: Answer(0, text) if text else None)
        state = clock.state()
        assert state["root_distance_ns"] is None
        assert state["reason"]


def test_the_way_to_a_reference_is_told() -> None:
    """As `ip route get` does, without a program."""
    assert netlink.Routes().to("127.0.0.1") == {"interface": "lo", "gateway": None, "source": "127.0.0.1"}
    assert netlink.Routes().to("127.0.0.1", "127.0.0.1")["interface"] == "lo"


def test_watching_asks_one_daemon_once_a_period(job: RecordingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look finds the daemon, later ones ask it alone; the last row has a state too."""
    asked: list[str] = []

    def ask(argv: tuple[str, ...], timeout_s: float) -> Answer | None:
        asked.append(argv[0])
        return Answer(0, NTPD) if argv[0] == "ntpq" else None

    def select(*_: object) -> None:
        if len(rows()) == 12:
            job.stop()

    def rows() -> list[dict[str, object]]:
        return [json.loads(line) for line in (job.folder / "clock.jsonl").read_text().splitlines()[1:]]

    monkeypatch.setattr(clock.tools, "ask", ask)
    monkeypatch.setattr(method.select, "select", select)
    assert method.watch(job, period_s=10) == {"rows": 13, "asked": 3}
    assert asked == ["chronyc", "ntpq", "ntpq", "ntpq"]
    assert [at for at, row in enumerate(rows()) if "state" in row] == [0, 10, 12]
    assert job.events == [("ready", {})]
    assert all(row["kernel"] for row in rows())


def test_watching_does_not_storm(job: RecordingJob) -> None:
    """A period below five seconds is refused."""
    with pytest.raises(Fault, match="5 or more"):
        method.watch(job, period_s=1)
