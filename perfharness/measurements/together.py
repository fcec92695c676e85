"""Several pairs of hosts as one: a load that no single host could make, begun by all of them at once.

Each pair's task is made as if it were alone; here they become one, and its jobs are those of all. What each pair did
is still told apart afterwards, so a task of several pairs keeps the tasks that it was made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from perfharness.evidence import TaskFiles
from perfharness.measurements.base import Context
from perfharness.model import TOGETHER, Job, Role, Task
from perfharness.order.circuit import Circuit, Endpoint
from perfharness.order.wrong import wrong


def contexts(circuit: Circuit) -> tuple[Context, ...]:
    """One for each pair of hosts, which share the ordered rate. Raises ``wrong`` for pairs that cannot be one load."""
    ends = [(circuit.end(a), circuit.end(z)) for a, z in circuit.pairs]
    hosts = [(a, z) for a, z in ends if isinstance(a, Endpoint) and isinstance(z, Endpoint)]
    vbrs = list(dict.fromkeys(circuit.vbr_of((a.name, z.name)).id for a, z in hosts))
    if len(vbrs) > 1:
        said = f"The pairs of this order go through {' and '.join(vbrs)}, each with a rate of its own."
        raise wrong(said, "Write `pairs: each`, or an order with the pairs of one VBR.", at=("pairs",))
    clouds = [z.name for _, z in hosts]
    shared = next((name for name in clouds if clouds.count(name) > 1), None)
    if shared is not None:
        said = f"{shared} is in several pairs, and its ports serve one of them at a time."
        raise wrong(said, "Write `pairs: each`, or give each pair a cloud host of its own.", at=("pairs",))
    return tuple(Context(circuit, a, z, among=len(hosts)) for a, z in hosts)


def merged(parts: Sequence[Task]) -> Task:
    """One task of those of each pair; a single one stays what it is."""
    first = parts[0]
    if len(parts) == 1:
        return first
    jobs = {(job.endpoint, job.id): job for number, part in enumerate(parts, 1) for job in _named(part, number)}
    a, z = zip(*(pair for part in parts for pair in part.scope.pairs), strict=True)
    paced = "udp" in first.scope.load  # TCP is not, and its peak is the port however many there are
    return replace(
        first,
        scope=replace(first.scope, pair=f"{TOGETHER.join(a)}:{TOGETHER.join(z)}"),
        jobs=tuple(jobs.values()),
        load_bps=sum(part.load_bps for part in parts) if paced else first.load_bps,
        load_bytes=sum(part.load_bytes for part in parts),
        ports=tuple(dict.fromkeys(use for part in parts for use in part.ports)),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        parts=tuple(parts),
    )


def part_files(files: TaskFiles, task: Task, number: int) -> TaskFiles:
    """The files of one part, from 1, by the names that its jobs have in it."""
    part = task.parts[number - 1]
    return replace(files, filed={job.id: new.id for job, new in zip(part.jobs, _named(part, number), strict=True)})


def _named(part: Task, number: int) -> tuple[Job, ...]:
    """Its jobs by names, and with keys, that no other part has. A host is watched once for all of them."""
    return tuple(
        job
        if job.role is Role.WATCH
        else replace(
            job,
            id=f"{job.id}-pair{number}",
            secret=f"{job.secret}-pair{number}" if job.secret else "",
            hears={name: (f"{server}-pair{number}", value) for name, (server, value) in job.hears.items()},
        )
        for job in part.jobs
    )
