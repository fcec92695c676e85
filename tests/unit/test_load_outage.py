"""What the real ends of a load leave of an outage, through a relay that is dead for a while, and what it means."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfagent.jobs import Job as AgentJob
from perfagent.load import phases, receiving
from perfagent.load.receiving import Receiver
from perfagent.load.sending import Sender
from perfharness.errors import ToolFailed
from perfharness.measurements import load_session
from perfharness.model import Direction, Job, Measurement, Status
from tests.unit import service_files
from tests.unit.probe_stream import START_UNIX_NS
from tests.unit.service_files import AHEAD_NS, LEAD_NS, store, tasks

TOKEN = 7
FASTER = 10
"""The ends play the load in a tenth of its time; what they write down is stretched."""
SECONDS = 30
ASKED: dict[str, Any] = {
    "services": {"gold": {"cir": "1Mbps", "flr": "1e-3"}},
    "duration": f"{SECONDS}s",
    "direction": "a-z",
}
Dead = tuple[float, float]
"""From when to when nothing passes, s."""
NEVER, FOR_EVER = (9.0, 9.0), 99.0


class Relay(threading.Thread):
    """Stands between the two ends; each way has its own outage."""

    def __init__(self, there: Dead, back: Dead) -> None:
        super().__init__(daemon=True)
        self.near, self.far, self.sender, self.receiver = (_socket() for _ in range(4))
        for one, other in ((self.near, self.sender), (self.far, self.receiver)):
            one.connect(other.getsockname())
            other.connect(one.getsockname())
        self._ways = {self.near: (self.far, there), self.far: (self.near, back)}
        self.over = threading.Event()

    def run(self) -> None:
        began_s = time.monotonic()
        while not self.over.is_set():
            for each in select.select(list(self._ways), [], [], 0.02)[0]:
                data, (to, (begin, end)) = each.recv(2048), self._ways[each]
                if not begin <= time.monotonic() - began_s < end:
                    to.send(data)

    def close(self) -> None:
        self.over.set()
        self.join()
        for each in (self.near, self.far, self.sender, self.receiver):
            each.close()


def _socket() -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.bind(("127.0.0.1", 0))
    return found


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(receiving, "MARGIN_S", 0.5)
    yield


def played(folder: Path, given: list[dict[str, Any]], there: Dead, back: Dead) -> tuple[Any, Any]:
    """(what the sender tells, what the receiver tells)."""
    ends = [AgentJob(folder / name, 1 << 62, lambda *_: None) for name in ("sender", "receiver")]
    for end in ends:
        end.folder.mkdir(parents=True)
    relay, plan = Relay(there, back), phases.read(given)
    receiver = Receiver(ends[1], relay.receiver, TOKEN, plan, 10_000_000)
    sender = Sender(ends[0], relay.sender, TOKEN, plan, 42, 10_000_000)
    hears = threading.Thread(target=receiver.run, daemon=True)
    relay.start()
    hears.start()
    sender.play()
    hears.join()
    found = sender.figures(), receiver.figures()
    relay.close()
    return found


def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: Dead, back: Dead) -> Measurement:
    """What service-performance makes of the files that the real ends left."""

    def session(job: Job, *_: Any) -> tuple[dict[str, Any], bytes, dict[str, Any], bytes]:
        faster = [
            {**phase, "seconds": phase["seconds"] / FASTER, "rate_bps": phase["rate_bps"] * FASTER}
            for phase in job.args["phases"]
        ]
        sent, came = played(tmp_path / "ends", faster, there, back)
        began_ns = sent["phases"][0]["started_ns"]

        def stretched(at_ns: int | None, ahead_ns: int = 0) -> int | None:
            return None if at_ns is None else START_UNIX_NS + LEAD_NS + ahead_ns + (at_ns - began_ns) * FASTER

        for phase in sent["phases"]:
            phase.update(rate_bps=phase["rate_bps"] // FASTER)
            phase.update({key: stretched(phase[key]) for key in ("started_ns", "ended_ns")})
        for phase in came["phases"]:
            phase.update({key: stretched(phase[key], AHEAD_NS) for key in ("first_ns", "last_ns")})
        came["ended_ns"] = stretched(came["ended_ns"], AHEAD_NS)
        rows = _rows(tmp_path / "ends/sender/sent.jsonl", lambda row: [stretched(row[0]), *row[1:]])
        arrivals = _rows(
            tmp_path / "ends/receiver/arrivals.jsonl",
            lambda row: [stretched(row[0], AHEAD_NS), *row[1:5], row[5] * FASTER + AHEAD_NS, row[6]],
        )
        return sent, rows, came, arrivals

    monkeypatch.setattr(service_files, "session", session)
    (task,) = tasks("service-performance", **ASKED)
    return store(tmp_path / "run", task)


def _rows(path: Path, change: Any) -> bytes:
    head, *lines = path.read_text().splitlines()
    return "".join(f"{line}\n" for line in (head, *(json.dumps(change(json.loads(line))) for line in lines))).encode()


def figure(found: Measurement, metric: str) -> Any:
    (seen,) = (seen for seen in found.observations if seen.metric == metric and seen.scope.direction is Direction.A_Z)
    return seen


@pytest.mark.parametrize(
    ("there", "back", "lost"),
    [
        ((0.3, 1.5), (0.3, 1.5), 0.4),
        ((0.3, 1.5), NEVER, 0.4),
        (NEVER, (0.3, 1.5), 0.0),
        ((1.8, FOR_EVER), (1.8, FOR_EVER), 0.4),
    ],
    ids=["both ways", "there", "back", "to the end"],
)
def test_a_load_goes_through_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: Dead, back: Dead, lost: float
) -> None:
    """Dead for twelve seconds of thirty: measured to the end, its loss and its unavailable time are the circuit's; a
    way back that is dead alone takes nothing from the way there."""
    found = measured(tmp_path, monkeypatch, there, back)
    assert found.status is Status.COMPLETED, found.reason
    loss, available = figure(found, "loss"), figure(found, "availability")
    assert loss.value == pytest.approx(lost, abs=0.1)
    assert available.value == pytest.approx(1 - lost, abs=0.12)
    assert (loss.interval.lo > 1e-4) == (lost > 0), "one event: its share is wide, and not zero"


def test_what_is_steered_ends_without_reports(tmp_path: Path) -> None:
    """A search that hears nothing does not go on, nor what is a multiple of what it found."""
    size = {"packet_bytes": 1000}
    plan = [
        {"name": "search", "seconds": 2.0, "search": {"from_bps": 1_000_000, "most_bps": 2_000_000}, **size},
        {"name": "hold", "seconds": 1.0, "times_found": 1.0, **size},
    ]
    sent, _ = played(tmp_path, plan, NEVER, (0.05, FOR_EVER))
    assert (sent["ended"], len(sent["phases"])) == ("the receiver reported nothing for 0.5 s", 1)


def test_a_load_ends_where_nobody_receives(tmp_path: Path) -> None:
    """The peer's host says that the port is closed: that is no outage, and nothing is sent for the rest of the plan."""
    job = AgentJob(tmp_path, 1 << 62, lambda *_: None)
    gone, sock = _socket(), _socket()
    sock.connect(gone.getsockname())
    gone.close()
    plan = phases.read([{"name": "long", "seconds": 30.0, "rate_bps": 1_000_000, "packet_bytes": 1000}])
    sender = Sender(job, sock, TOKEN, plan, 42, 10_000_000)
    sender.play()
    sock.close()
    assert sender.figures()["ended"] == "the receiver reported nothing for 0.5 s"
    (told,) = sender.figures()["phases"]
    assert told["ended_ns"] - told["started_ns"] < 20e9


def test_bursts_are_so_many_packets_however_busy_the_host(tmp_path: Path) -> None:
    """Each to its last packet, and none faster than its rate: no bucket must hold more than was ordered."""
    packets, times, rate_bps = 11, 10, 20_000_000
    bursts = {"packets": packets, "times": times, "rest_s": 0.02, "refill_bps": 5_000_000}
    plan = [{"name": "CBS", "seconds": 20.0, "packet_bytes": 1000, "rate_bps": rate_bps, "bursts": bursts}]
    sent, came = played(tmp_path, plan, NEVER, NEVER)
    assert sent["ended"] == came["ended"] == "by itself"
    assert sent["phases"][0]["packets"] == came["phases"][0]["packets"] == packets * times
    assert sent["phases"][0]["burst_ns"] >= times * (packets - 1) * (1000 + 42) * 8e9 / rate_bps - times


def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sender: Any, receiver: Any) -> tuple[Any, Any]:
    """A task and its files, with something changed in what the ends tell."""
    made = service_files.session

    def session(*given: Any) -> Any:
        sent, rows, came, arrivals = made(*given)
        return {**sent, **sender}, rows, {**came, **receiver}, arrivals

    monkeypatch.setattr(service_files, "session", session)
    (task,) = tasks("service-performance", **ASKED)
    found = store(tmp_path, task)
    return found, task


def test_a_receiver_that_left_early_is_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent after it had gone came to nobody: not measured, by its name."""
    early = {"ended": "no end was told", "ended_ns": START_UNIX_NS + AHEAD_NS + 15 * 10**9}
    found, _ = left(tmp_path, monkeypatch, {}, early)
    assert found.status is Status.FAILED
    assert found.reason == "ecs-a left the load before it was over."


def test_a_rate_is_not_told_from_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks for a rate or a meter does not take a session in which nothing was heard for a while."""
    found, task = left(tmp_path, monkeypatch, {"unheard_ns": 700_000_000}, {})
    assert found.status is Status.COMPLETED
    (run,) = tmp_path.glob("**/raw")
    files = service_files.evidence.RunFolder(run.parent).files(task.id)
    with pytest.raises(ToolFailed, match=r"onprem-a heard nothing from ecs-a for 0\.7 s"):
        load_session.sessions(task, files)
