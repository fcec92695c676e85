"""Was the circuit gone while a step was done without it? The port of its CE towards it tells, where that is read."""

from __future__ import annotations

from perfharness.analysis.counters import Recording, record
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import COUNTERS, WAN_COUNTERS, Ends
from perfharness.model import Fitness, Task

MOST_SHARE = 0.1
"""Of what the on-prem host sent and received; hellos of protocols, and others' traffic on other VLANs, are less."""
_FILE = "counters.jsonl"


def uncut(task: Task, files: TaskFiles, context: Ends) -> Fitness | None:
    """That what was measured may have crossed the circuit all the same; ``None`` where nothing shows that."""
    router = context.circuit.ce_host
    if router is None or not any(act.around for act in task.acts):
        return None
    wan, near = (
        record(files.each_row(name, job, _FILE))
        for name, job in ((router.name, WAN_COUNTERS), (context.a.name, COUNTERS))
    )
    crossed, moved = _packets(wan), _packets(near)
    if crossed is None or not moved or crossed <= MOST_SHARE * moved:
        return None
    said = f"the circuit was to be cut, and the port of {router.name} towards it carried {crossed:,} packets meanwhile"
    said += f", of {moved:,} that this host sent and received"
    return Fitness(context.a.name, task.id, False, (said,), (files.path(router.name, WAN_COUNTERS, _FILE),))


def _packets(rows: Recording) -> int | None:
    """Both ways, from the first row to the last; ``None`` where they are not told."""
    columns = [rows.counters.get(("nic", name)) for name in ("tx_packets", "rx_packets")]
    known = [column[1] for column in columns if column is not None and len(column[1])]
    return sum(int(values[-1] - values[0]) for values in known) if len(known) == len(columns) else None
