"""Our probe stream beside irtt's: punctuality, delay floor and cost, in interleaved pairs on one path.

Needs root, iproute2, nftables, ping and irtt. What decides are the ratios: a shared machine moves both sides.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "agents")]

from perfagent import records, schedule  # noqa: E402 - found only by the path above
from tests.integration.namespaces import ADDRESSES, Path3  # noqa: E402 - likewise

PAIRS = 5
SECONDS = 5
INTERVAL_NS = 1_000_000
COUNT = SECONDS * 1_000_000_000 // INTERVAL_NS
BYTES = 172
PORT = 8620
A, Z = ADDRESSES[4]["a"], ADDRESSES[4]["z"]


class Run(NamedTuple):
    """Times in ns; CPU as shares of one core."""

    kept: float
    rtt_median: float
    timer_error_mean: float
    timer_error_median: float
    sender_cpu: float
    reflector_cpu: float
    sender_rss_mib: float
    reflector_rss_mib: float


class Usage:
    """CPU time of two processes over the middle of a run, and their memory."""

    def __init__(self, *pids: int) -> None:
        time.sleep(SECONDS * 0.3)
        before, start = [_cpu_ns(pid) for pid in pids], time.monotonic_ns()
        time.sleep(SECONDS * 0.5)
        span = time.monotonic_ns() - start
        self.cpu = [(_cpu_ns(pid) - ns) / span for pid, ns in zip(pids, before, strict=True)]
        self.rss_mib = [_rss_mib(pid) for pid in pids]


def _cpu_ns(pid: int) -> int:
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def _rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def ours(path: Path3, spool: Path, run: int) -> Run:
    path.spool = spool / f"run{run}"
    reflector = path.serve("z", "reflect", "stamp.reflect", address=Z, port=PORT, peer=A, ssid=1)
    sender = path.start(
        *("a", "send", "stamp.send"),
        **{"peer": Z, "port": PORT, "source": A, "ssid": 1, "interval_ns": INTERVAL_NS, "count": COUNT},
        **{"packet_bytes": BYTES, "dscp": 0, "wait_ns": 200_000_000, "pattern": "periodic", "seed": run},
    )
    usage = Usage(sender.process.pid, reflector.process.pid)
    data = sender.data()
    reflector.stop()
    rec = np.fromfile(sender.folder / "sender.rec", records.DTYPE_FIELDS, offset=records.HEADER_BYTES)
    due = data["start_unix_ns"] + np.fromiter(schedule.offsets_ns(**data["schedule"]), np.int64)
    sent, replied = (rec["flags"] & records.SENT) > 0, (rec["flags"] & records.REPLIED) > 0
    late = (rec["t1"] - due)[sent]
    rtt = (rec["t4"] - rec["t1"] - (rec["t3"] - rec["t2"]))[replied]
    return Run(data["sent"] / COUNT, np.median(rtt), late.mean(), np.median(late), *usage.cpu, *usage.rss_mib)


def irtt(path: Path3, spool: Path, run: int) -> Run:
    out = spool / f"irtt{run}.json"
    server = path.popen("z", "irtt", "server", "-i", "0", "-b", Z)
    time.sleep(0.3)
    argv = ["irtt", "client", "-i", f"{INTERVAL_NS}ns", "-d", f"{SECONDS}s", "-l", str(BYTES), "-q", "-o", str(out)]
    client = path.popen("a", *argv, Z)
    usage = Usage(client.pid, server.pid)
    client.wait(timeout=SECONDS + 10)
    server.terminate()
    server.wait(timeout=10)
    stats = json.loads(out.read_bytes())["stats"]
    return Run(
        1 - stats["timer_miss_percent"] / 100,
        stats["rtt"]["median"],
        stats["timer_error"]["mean"],
        math.nan,  # irtt does not tell
        *usage.cpu,
        *usage.rss_mib,
    )


# --- the verdict ------------------------------------------------------------------------------

TARGETS = (
    # what, how to read it from a run of ours and one of irtt's, limit, good when
    ("schedule kept", lambda us, them: us.kept, 0.999, "above"),
    ("RTT median / irtt's", lambda us, them: us.rtt_median / them.rtt_median, 0.5, "below"),
    ("timer error mean / irtt's", lambda us, them: us.timer_error_mean / them.timer_error_mean, 0.2, "below"),
)
ROWS = (
    ("schedule kept", "kept", "%", 100),
    ("RTT median", "rtt_median", "µs", 1e-3),
    ("timer error mean", "timer_error_mean", "µs", 1e-3),
    ("timer error median", "timer_error_median", "µs", 1e-3),
    ("sender CPU", "sender_cpu", "%", 100),
    ("reflector CPU", "reflector_cpu", "%", 100),
    ("sender memory", "sender_rss_mib", "MiB", 1),
    ("reflector memory", "reflector_rss_mib", "MiB", 1),
)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="perfharness-bench-") as name, Path3(Path(name)) as path:
        pairs = [(ours(path, Path(name), run), irtt(path, Path(name), run)) for run in range(PAIRS)]
    us, them = (Run(*np.median([pair[side] for pair in pairs], axis=0)) for side in (0, 1))
    print(f"{PAIRS} interleaved pairs of {SECONDS} s, one packet each {INTERVAL_NS / 1e6:g} ms, medians of the runs\n")
    print(f"{'':24}{'perfharness':>12}{'irtt':>12}")
    for label, field, unit, scale in ROWS:
        mine, its = (getattr(run, field) * scale for run in (us, them))
        print(f"{label:24}{mine:12.2f}{'–' if math.isnan(its) else f'{its:.2f}':>12} {unit}")
    print(f"\n{'target':32}{'limit':>8}{'median':>8}{'':4}each pair")
    missed = 0
    for label, read, limit, better in TARGETS:
        value, each = read(us, them), " ".join(f"{read(*pair):.3f}" for pair in pairs)
        good = value >= limit if better == "above" else value <= limit
        missed += not good
        print(f"{label:32}{limit:8.3f}{value:8.3f}{'' if good else ' !':4}{each}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
