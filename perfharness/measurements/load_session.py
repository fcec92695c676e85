"""A session of our own UDP load: its two jobs, and what they recorded, in arrays and phase by phase.

One session is one direction. Like iperf3's server the cloud end serves and the on-prem end drives, whatever the
direction. The receiver tells the sender each 50 ms what came, over the same ports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfharness.analysis.capacity import overhead_bytes
from perfharness.analysis.statistics import Bools, Floats, Ints
from perfharness.errors import ToolFailed
from perfharness.evidence import TaskFiles
from perfharness.measurements import load_files
from perfharness.measurements.base import SETUP_S, Context
from perfharness.model import Direction, Job, Role, Task, Window

SERVE, DRIVE = "load.serve", "load.drive"
ARRIVALS, SENT = "arrivals.jsonl", "sent.jsonl"
ARRIVAL_COLUMNS = ("t_ns", "phase", "packets", "bytes", "highest", "delay_ns", "drops")
SENT_COLUMNS = ("t_ns", "phase", "packets", "rate_bps")
ARRIVAL_ROW_BYTES, SENT_ROW_BYTES = 80, 60
LEAST_ROW_NS, SENT_ROW_NS = 200_000, 10_000_000
"""Between two rows of arrivals where every batch leaves one; between two of what was sent."""
SET_BACK_NS = 1_000_000
"""Stamps of packets that different CPUs took in may be out of order by less than this."""
OF_ITSELF = "by itself"


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Batches as the receiver read them, in order: (n,) each, counts over the whole session up to and with the batch's
    last packet."""

    t_ns: Ints
    """The kernel's stamp of that packet, the receiver's clock; never decreases."""
    phase: Ints
    packets: Ints
    """Duplicates included."""
    bytes: Ints
    """Of UDP payload, likewise."""
    highest: Ints
    """Sequence number seen so far + 1."""
    delay_ns: Ints
    """Contains the difference of the clocks: only differences of it mean anything."""
    drops: Ints | None
    """Of this socket; None where the kernel does not tell."""

    def part(self, chosen: Bools) -> Arrivals:
        drops = None if self.drops is None else self.drops[chosen]
        return Arrivals(
            self.t_ns[chosen],
            self.phase[chosen],
            self.packets[chosen],
            self.bytes[chosen],
            self.highest[chosen],
            self.delay_ns[chosen],
            drops,
        )


@dataclass(frozen=True, slots=True)
class Departures:
    """What the sender did, every 10 ms and at each end of a phase: (n,) each."""

    t_ns: Ints
    """The sender's clock."""
    phase: Ints
    packets: Ints
    """Sent so far."""
    rate_bps: Floats
    """Aimed at, at the ordered layer."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase as both ends counted it."""

    name: str
    packet_bytes: int
    """UDP payload."""
    rate_bps: float
    """Aimed at, at the ordered layer; of a search the last one."""
    sent: int
    received: int
    """Without duplicates."""
    duplicates: int
    reordered: int
    started_ns: int
    ended_ns: int
    """The sender's clock."""
    first_ns: int | None
    last_ns: int | None
    """Of the packets that arrived, the receiver's clock; None when none did."""
    late_ns: int
    """How far the sender was behind its schedule at most."""
    shed: int
    """Packets that it did not offer since their time was past."""
    blocked: int
    """Times that its socket took no more."""
    burst_ns: int | None = None
    """How long its bursts took together, each from its first packet to its last; None: it has none."""

    @property
    def lost(self) -> int:
        """The end of the phase included."""
        return self.sent - self.received


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a search: rates at the ordered layer, bit/s."""

    rate_bps: float
    carried_bps: float
    share: float
    """Arrived of sent."""
    queue_ns: float


@dataclass(frozen=True, slots=True)
class Search:
    found_bps: float | None
    """None where no step was completed."""
    steps: tuple[Step, ...]
    ended: str
    """``overloaded``, ``most``, ``sender`` or ``time``."""


@dataclass(frozen=True, slots=True)
class Session:
    """One direction of a load, as both ends recorded it."""

    way: Direction
    phases: tuple[Phase, ...]
    arrivals: Arrivals
    departures: Departures
    search: Search | None
    rtt_ns: int | None
    drops: int | None
    """Of the receiving socket; None where the kernel does not tell."""
    unread: int
    """Packets that waited in it at the end."""
    cpu_ns: Mapping[str, int]
    """CPU time of the load's own process, by endpoint."""
    args: Mapping[str, Any]
    """What the sender was asked for."""
    window: Window
    """The sender's clock."""
    evidence: tuple[str, ...]

    @property
    def overhead_bytes(self) -> int:
        """What the ordered layer counts for a packet beside its payload."""
        return int(self.args["overhead_bytes"])

    def named(self, name: str) -> Phase | None:
        """The first phase of this name."""
        return next((phase for phase in self.phases if phase.name == name), None)

    def during(self, *names: str) -> Arrivals:
        """What arrived of the phases of these names."""
        wanted = [index for index, phase in enumerate(self.phases) if phase.name in names]
        return self.arrivals.part(np.isin(self.arrivals.phase, wanted))

    def counted(self, phase: Phase) -> int:
        """Bytes of one packet of this phase at the ordered layer."""
        return phase.packet_bytes + self.overhead_bytes


# --- before the run ---------------------------------------------------------------------------------


def jobs(
    context: Context,
    way: Direction,
    port: int,
    phases: Sequence[Mapping[str, Any]],
    deadline_s: float,
    *,
    dscp: int = 0,
    row_ns: int = 0,
    receive_buffer_bytes: int | None = None,
    after_s: float = 0.0,
    name: str = "",
) -> tuple[Job, Job]:
    """Server at the cloud end, client at the on-prem end; ``name``: of the session, where there are several one way."""
    common = {
        "port": port,
        "dscp": dscp,
        "overhead_bytes": overhead_bytes(context.layer, tagged=context.tagged),
        "phases": [dict(phase) for phase in phases],
        "row_ns": row_ns,
        "receive_buffer_bytes": receive_buffer_bytes,
    }
    seconds = sum(float(phase["seconds"]) for phase in phases)
    rows = {True: seconds * 1e9 / max(row_ns, SENT_ROW_NS) * SENT_ROW_BYTES}
    rows[False] = seconds * 1e9 / max(row_ns, LEAST_ROW_NS) * ARRIVAL_ROW_BYTES
    suffix = f"{way.value}-{name}" if name else way.value
    a, z = context.a, context.z
    sends = way is Direction.Z_A
    server = Job(
        id=f"load-server-{suffix}",
        endpoint=z.name,
        method=SERVE,
        args={"address": str(z.address), "peer": str(a.address), "sends": sends, **common},
        role=Role.SERVE,
        deadline_s=deadline_s + SETUP_S,
        one_shot=True,
        writes_bytes=round(rows[sends]),
        secret=f"load-{suffix}",
        load=True,
    )
    client = Job(
        id=f"load-client-{suffix}",
        endpoint=a.name,
        method=DRIVE,
        args={"peer": str(z.address), "source": str(a.address), "sends": not sends, **common},
        role=Role.DRIVE,
        deadline_s=deadline_s,
        after_s=after_s,
        writes_bytes=round(rows[not sends]),
        secret=f"load-{suffix}",
        load=True,
    )
    return server, client


# --- after the run ----------------------------------------------------------------------------------


def sessions(task: Task, files: TaskFiles, *, outages: bool = False) -> tuple[Session, ...]:
    """All sessions of a task, in the order of its jobs; ``outages``: what fell into one counts as what the circuit did.
    Else such a session cannot be used, since a rate or a meter would be told from it. Raises ToolFailed,
    EvidenceBroken."""
    loads = [job for job in task.jobs if job.method in (SERVE, DRIVE)]
    names = dict.fromkeys(job.secret for job in loads)
    return tuple(read([job for job in loads if job.secret == name], files, outages=outages) for name in names)


def read(pair: Sequence[Job], files: TaskFiles, *, outages: bool = False) -> Session:
    """What the two jobs of one session left. Raises ToolFailed with one sentence where it cannot be used."""
    sender = next(job for job in pair if job.args["sends"])
    receiver = next(job for job in pair if not job.args["sends"])
    told, heard = _data(sender, "sender", files), _data(receiver, "receiver", files)
    ended = told.get("ended")
    if ended != OF_ITSELF:
        raise ToolFailed(f"The load of {sender.endpoint} ended early: {ended if isinstance(ended, str) else 'why?'}.")
    unheard_ns = load_files.optional(told, "unheard_ns", sender) or 0
    if unheard_ns and not outages:
        raise ToolFailed(f"{sender.endpoint} heard nothing from {receiver.endpoint} for {unheard_ns / 1e9:.1f} s.")
    arrivals, departures = _arrivals(receiver, files), _departures(sender, files)
    phases = _phases(sender, receiver, told, heard)
    _must_have_stayed(receiver, heard, arrivals, phases)
    _within(arrivals.phase, phases, receiver)
    _within(departures.phase, phases, sender)
    return Session(
        way=Direction.A_Z if sender.role is Role.DRIVE else Direction.Z_A,
        phases=phases,
        arrivals=arrivals,
        departures=departures,
        search=_search(sender, told.get("search")),
        rtt_ns=load_files.optional(told, "rtt_ns", sender),
        drops=load_files.optional(heard, "drops", receiver),
        unread=load_files.optional(heard, "unread", receiver) or 0,
        cpu_ns={
            job.endpoint: load_files.optional(data, "cpu_ns", job) or 0
            for job, data in ((sender, told), (receiver, heard))
        },
        args=sender.args,
        window=Window(phases[0].started_ns, max(phases[0].started_ns, phases[-1].ended_ns)),
        evidence=(
            files.path(sender.endpoint, sender.id, SENT),
            files.path(receiver.endpoint, receiver.id, ARRIVALS),
        ),
    )


def _must_have_stayed(job: Job, heard: Mapping[str, Any], arrivals: Arrivals, phases: Sequence[Phase]) -> None:
    """A receiver that was told of no end must have waited for the last packet, by the sender's clock as its packets
    told it: what came to nobody is no loss of the circuit's."""
    if heard.get("ended") == OF_ITSELF:
        return
    until_ns = load_files.count(heard, "ended_ns", job) - int(arrivals.delay_ns.max())
    if until_ns < phases[-1].ended_ns:
        raise ToolFailed(f"{job.endpoint} left the load before it was over.")


def _data(job: Job, role: str, files: TaskFiles) -> Mapping[str, Any]:
    result = files.result(job.endpoint, job.id)
    if result is None or result.get("status") != "completed":
        raise ToolFailed(f"{job.endpoint} left no result of its load.")
    data = result.get("data")
    if not isinstance(data, dict) or data.get("role") != role:
        raise ToolFailed(f"{job.endpoint} left a result that is not that of a load's {role}.")
    return data


def _phases(sender: Job, receiver: Job, told: Mapping[str, Any], heard: Mapping[str, Any]) -> tuple[Phase, ...]:
    """As both ends counted them; a phase of which the receiver saw nothing is missing at the end of its list."""
    sent, came = load_files.rows(told, "phases", sender), load_files.rows(heard, "phases", receiver)
    wanted = sender.args["phases"]
    if len(sent) < len(wanted):
        raise ToolFailed(f"The load of {sender.endpoint} ended after {len(sent)} of {len(wanted)} phases.")
    if len(sent) > len(wanted) or len(came) > len(wanted):
        raise ToolFailed(f"{sender.endpoint} and {receiver.endpoint} tell of phases that nobody asked for.")
    nothing: dict[str, Any] = {"packets": 0, "duplicates": 0, "reordered": 0, "first_ns": None, "last_ns": None}
    came += [nothing] * (len(wanted) - len(came))
    return tuple(
        _phase(str(asked["name"]), one, other, sender, receiver)
        for asked, one, other in zip(wanted, sent, came, strict=True)
    )


def _phase(name: str, sent: Mapping[str, Any], came: Mapping[str, Any], sender: Job, receiver: Job) -> Phase:
    duplicates = load_files.count(came, "duplicates", receiver)
    found = Phase(
        name=name,
        packet_bytes=load_files.count(sent, "packet_bytes", sender),
        rate_bps=load_files.number(sent, "rate_bps", sender),
        sent=load_files.count(sent, "packets", sender),
        received=load_files.count(came, "packets", receiver) - duplicates,
        duplicates=duplicates,
        reordered=load_files.count(came, "reordered", receiver),
        started_ns=load_files.count(sent, "started_ns", sender),
        ended_ns=load_files.count(sent, "ended_ns", sender),
        first_ns=load_files.optional(came, "first_ns", receiver),
        last_ns=load_files.optional(came, "last_ns", receiver),
        late_ns=load_files.count(sent, "late_ns", sender),
        shed=load_files.count(sent, "shed", sender),
        blocked=load_files.count(sent, "blocked", sender),
        burst_ns=load_files.optional(sent, "burst_ns", sender),
    )
    if not 0 <= found.received <= found.sent:
        raise ToolFailed(f"{receiver.endpoint} counts more packets of phase {name} than {sender.endpoint} sent.")
    return found


def _search(job: Job, told: Any) -> Search | None:
    if told is None:
        return None
    if not isinstance(told, dict):
        raise load_files.broken(job, "search")
    ended = told.get("ended")
    steps = tuple(
        Step(
            rate_bps=load_files.number(step, "rate_bps", job),
            carried_bps=load_files.number(step, "carried_bps", job),
            share=load_files.number(step, "share", job),
            queue_ns=load_files.number(step, "queue_ns", job),
        )
        for step in load_files.rows(told, "steps", job)
    )
    found = None if told.get("found_bps") is None else load_files.number(told, "found_bps", job)
    return Search(found, steps, ended if isinstance(ended, str) else "unknown")


def _arrivals(job: Job, files: TaskFiles) -> Arrivals:
    *columns, drops = load_files.table(job, files, ARRIVALS, ARRIVAL_COLUMNS)
    t_ns, phase, packets, octets, highest, delay_ns = (load_files.ints(column, job, ARRIVALS) for column in columns)
    if not len(t_ns):
        raise ToolFailed(f"Nothing of the load arrived at {job.endpoint}.")
    if any((np.diff(column) < 0).any() for column in (packets, octets, highest)):
        raise ToolFailed(f"The counts in {ARRIVALS} of {job.endpoint} go down.")
    latest = np.maximum.accumulate(t_ns)
    if (latest - t_ns).max() > SET_BACK_NS:
        raise ToolFailed(f"The clock of {job.endpoint} was set back while it received.")
    known = None if None in drops else load_files.ints(drops, job, ARRIVALS)
    return Arrivals(latest, phase, packets, octets, highest, delay_ns, known)


def _departures(job: Job, files: TaskFiles) -> Departures:
    *columns, rates = load_files.table(job, files, SENT, SENT_COLUMNS)
    t_ns, phase, packets = (load_files.ints(column, job, SENT) for column in columns)
    if not all(type(rate) in (int, float) for rate in rates):
        raise load_files.damaged(job, SENT)
    rate_bps = np.array(rates, np.float64)
    if not len(t_ns) or (np.diff(packets) < 0).any() or not np.isfinite(rate_bps).all():
        raise load_files.damaged(job, SENT)
    return Departures(t_ns, phase, packets, rate_bps)


def _within(phase: Ints, phases: Sequence[Phase], job: Job) -> None:
    if len(phase) and not 0 <= int(phase.min()) <= int(phase.max()) < len(phases):
        raise ToolFailed(f"{job.endpoint} tells of phases that nobody asked for.")
