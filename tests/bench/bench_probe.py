"""Our probe stream beside irtt's and sockperf's at 1 ms and 100 µs: punctuality, delay floor, cost and memory.

The three send packets of one size at one pace over one path of three namespaces, in interleaved rounds of changing
order; sockperf, which takes seconds to start, in each third. What decides are ratios and shares of one run, each by
the worse end of the interval of its median; exit code 1 when one misses its target. Needs root, iproute2, nftables,
ping, irtt and sockperf.

sockperf runs ``under-load`` with a reply to each message: like the two others it sends by the clock, whether
replies have come or not, where its ``ping-pong`` would wait for them. It spins between packets, on a thread of
its own: the other way to be punctual, at the price of a core.

    python tests/bench/bench_probe.py [--rounds 9] [--seconds 1.5]
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from intervals import FEWEST, Median, median_interval

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "agents")]

from perfagent import schedule  # noqa: E402 - found only by the path above
from perfharness.analysis.delay import rtt_ns  # noqa: E402 - likewise
from perfharness.analysis.samples import join  # noqa: E402 - likewise
from tests.integration.namespaces import ADDRESSES, Path3  # noqa: E402 - likewise

INTERVALS_NS = (1_000_000, 100_000)
BYTES = 172
PORT, IRTT_PORT = 8620, 2112
A, Z = ADDRESSES[4]["a"], ADDRESSES[4]["z"]
STARTED_S = 0.5
"""After which a sender sends at its pace; sockperf takes its time."""
SOCKPERF_STARTED_S = 2.7
SOCKPERF_EACH = 3
"""Rounds: what no target is about is not run in all of them."""
FLOOR = 1
"""Percentile of the round-trip times: the minimum would be one packet's luck."""


class Stream(NamedTuple):
    interval_ns: int
    seconds: float

    @property
    def count(self) -> int:
        return round(self.seconds * 1e9 / self.interval_ns)


class Run(NamedTuple):
    """One stream of one tool: times in ns, CPU as shares of one core, nan where the tool does not tell."""

    kept: float
    """Share of the packets that left within an interval of when they were due."""
    rtt_floor: float
    rtt_median: float
    timer_error_mean: float
    timer_error_median: float
    sender_cpu: float
    reflector_cpu: float
    sender_cpu_packet: float
    """ns for each packet that was sent."""
    reflector_cpu_packet: float
    sender_mb: float
    reflector_mb: float


class Usage:
    """CPU time of a sender and its reflector over the middle of a stream, and the most memory they held."""

    def __init__(
        self,
        stream: Stream,
        sender: subprocess.Popen[bytes],
        reflector: subprocess.Popen[bytes],
        started_s: float = STARTED_S,
    ) -> None:
        time.sleep(started_s)
        pids = [process.pid for process in (sender, reflector)]
        before, start = [_cpu_ns(pid) for pid in pids], time.monotonic_ns()
        time.sleep((stream.seconds - STARTED_S) * 0.8)
        if sender.poll() is not None or reflector.poll() is not None:
            raise SystemExit(f"{sender.args!r} or its server ended too soon; run it by hand to see why.")
        span = time.monotonic_ns() - start
        self.cpu = [(_cpu_ns(pid) - ns) / span for pid, ns in zip(pids, before, strict=True)]
        self.mb = [_most_resident_mb(pid) for pid in pids]

    def per_packet(self, sent_per_s: float) -> list[float]:
        return [share * 1e9 / sent_per_s for share in self.cpu]


def _cpu_ns(pid: int) -> int:
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def _most_resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


# --- the three --------------------------------------------------------------------------------


def ours(path: Path3, folder: Path, stream: Stream) -> Run:
    path.spool = folder
    reflector = path.serve("z", "reflect", "stamp.reflect", address=Z, port=PORT, peer=A, ssid=1)
    sender = path.start(
        *("a", "send", "stamp.send"),
        **{"peer": Z, "port": PORT, "source": A, "ssid": 1, "interval_ns": stream.interval_ns, "count": stream.count},
        **{"packet_bytes": BYTES, "dscp": 0, "wait_ns": 200_000_000, "pattern": "periodic", "seed": 1},
    )
    usage = Usage(stream, sender.process, reflector.process)
    data = sender.data()
    reflector.stop()
    samples = join((sender.folder / "sender.rec").read_bytes(), (reflector.folder / "reflector.rec").read_bytes(), data)
    due = data["start_unix_ns"] + np.fromiter(schedule.offsets_ns(**data["schedule"]), np.int64)
    late = samples.t1 - due[samples.seq]
    kept = float((late <= stream.interval_ns).sum() / stream.count)
    rtt = rtt_ns(samples)[samples.replied]
    return _run(kept, rtt, (late.mean(), np.median(late)), usage, data["sent"] / stream.seconds)


def irtt(path: Path3, folder: Path, stream: Stream) -> Run:
    """Tells its own missed packets and mean timer error."""
    server = _serve(path, IRTT_PORT, "irtt", "server", "-i", "0", "-b", f"{Z}:{IRTT_PORT}")
    out = folder / "irtt.json"
    argv = ["irtt", "client", "-i", f"{stream.interval_ns}ns", "-d", f"{stream.seconds}s", "-l", str(BYTES), "-q"]
    client = path.popen("a", *argv, "-o", str(out), f"{Z}:{IRTT_PORT}")
    usage = Usage(stream, client, server)
    _end(client, server, stream)
    result = json.loads(out.read_bytes())
    stats = result["stats"]
    rtt = np.array([trip["delay"]["rtt"] for trip in result["round_trips"] if trip["lost"] == "false"])
    kept = 1 - stats["timer_miss_percent"] / 100
    return _run(kept, rtt, (stats["timer_error"]["mean"], math.nan), usage, stats["packets_sent"] / stream.seconds)


def sockperf(path: Path3, folder: Path, stream: Stream) -> Run:
    """Its log holds each packet that was answered, on a fixed grid whose start it does not tell.

    As it sends nothing early, the grid starts no later than with its most punctual packet: errors are at least
    what is said here. With an answer missing, packets have no number and so no error.
    """
    server = _serve(path, PORT, "sockperf", "server", "-i", Z, "-p", str(PORT))
    log, per_s = folder / "sockperf.csv", 1_000_000_000 // stream.interval_ns
    argv = ["sockperf", "under-load", "-i", Z, "-p", str(PORT), "-m", str(BYTES), "--mps", str(per_s)]
    options = ["--reply-every", "1", "--full-rtt", "--full-log", str(log), "-t", str(math.ceil(stream.seconds))]
    client = path.popen("a", *argv, *options)
    usage = Usage(stream, client, server, SOCKPERF_STARTED_S)
    _end(client, server, stream)
    text = log.read_text()
    lines = [line for line in text.split("packet, ")[1].splitlines()[1:] if not line.startswith("-")]
    times = np.array([line.split(",")[1:3] for line in lines], np.float64) * 1e9  # sent, received
    late = times[:, 0] - np.arange(len(times)) * stream.interval_ns
    late -= late.min()
    if "dropped messages = 0;" not in text:
        late = np.full(len(times), np.nan)
    kept = float(np.mean(late <= stream.interval_ns)) if not np.isnan(late).any() else math.nan
    errors = (float(late.mean()), float(np.median(late)))
    return _run(kept, times[:, 1] - times[:, 0], errors, usage, len(times) * 1e9 / np.ptp(times[:, 0]))


def _run(kept: float, rtt: npt.NDArray[np.number], errors: tuple[float, float], usage: Usage, sent_per_s: float) -> Run:
    floor, median = np.nanpercentile(rtt, (FLOOR, 50))
    return Run(kept, floor, median, *errors, *usage.cpu, *usage.per_packet(sent_per_s), *usage.mb)


def _serve(path: Path3, port: int, *argv: str) -> subprocess.Popen[bytes]:
    """Start a server at the far end and wait for its UDP port."""
    server = path.popen("z", *argv)
    for _ in range(500):
        if f":{port:04X} " in Path(f"/proc/{server.pid}/net/udp").read_text():
            return server
        time.sleep(0.01)
    raise SystemExit(f"{argv[0]} does not listen on port {port}; run it by hand to see why.")


def _end(client: subprocess.Popen[bytes], server: subprocess.Popen[bytes], stream: Stream) -> None:
    client.wait(timeout=stream.seconds + 30)
    server.terminate()
    server.wait(timeout=10)


TOOLS = {"perfharness": ours, "irtt": irtt, "sockperf": sockperf}

# --- the verdict ------------------------------------------------------------------------------


class Target(NamedTuple):
    label: str
    read: Callable[[Run, Run], float]
    """From a run of ours and one of irtt's."""
    limit: float
    better: str
    intervals_ns: tuple[int, ...] = INTERVALS_NS

    def good(self, value: Median) -> bool:
        return value.low >= self.limit if self.better == "above" else value.high <= self.limit


TARGETS = (
    Target("schedule kept", lambda us, _: us.kept, 0.999, "above"),
    Target("timer error mean / irtt's", lambda us, them: us.timer_error_mean / them.timer_error_mean, 0.2, "below"),
    Target("RTT floor / irtt's", lambda us, them: us.rtt_floor / them.rtt_floor, 0.4, "below"),
    Target("RTT median / irtt's", lambda us, them: us.rtt_median / them.rtt_median, 0.5, "below"),
    Target("sender, share of a core", lambda us, _: us.sender_cpu, 0.15, "below", (1_000_000,)),
    Target("reflector, share of a core", lambda us, _: us.reflector_cpu, 0.06, "below", (1_000_000,)),
    Target("memory of either, MB", lambda us, _: max(us.sender_mb, us.reflector_mb), 30, "below"),
)
ROWS = (
    ("schedule kept", "kept", "%", 100),
    ("timer error mean", "timer_error_mean", "µs", 1e-3),
    ("timer error median", "timer_error_median", "µs", 1e-3),
    (f"RTT floor (p{FLOOR})", "rtt_floor", "µs", 1e-3),
    ("RTT median", "rtt_median", "µs", 1e-3),
    ("sender CPU", "sender_cpu", "% of a core", 100),
    ("reflector CPU", "reflector_cpu", "% of a core", 100),
    ("sender CPU / packet", "sender_cpu_packet", "µs", 1e-3),
    ("reflector CPU / packet", "reflector_cpu_packet", "µs", 1e-3),
    ("sender memory", "sender_mb", "MB", 1),
    ("reflector memory", "reflector_mb", "MB", 1),
)

Round = dict[str, Run]
"""By tool."""


def measure(rounds: int, seconds: float) -> dict[int, list[Round]]:
    """Rounds by interval: in each, the tools one after the other at each interval."""
    done: dict[int, list[Round]] = {interval: [] for interval in INTERVALS_NS}
    with tempfile.TemporaryDirectory(prefix="perfharness-bench-") as top, Path3(Path(top), tag="bench") as path:
        for number in range(rounds):
            order = [name for name in TOOLS if name != "sockperf" or number % SOCKPERF_EACH == 0]
            order = order[::-1] if number % 2 else order
            for interval_ns, so_far in done.items():
                runs = {}
                for tool in order:
                    folder = Path(top) / f"{number}-{interval_ns}-{tool}"
                    folder.mkdir()
                    runs[tool] = TOOLS[tool](path, folder, Stream(interval_ns, seconds))
                so_far.append(runs)
    return done


def print_medians(interval_ns: int, rounds: list[Round]) -> None:
    print(f"\n{f'one packet each {interval_ns / 1e6:g} ms':24}" + "".join(f"{tool:>12}" for tool in TOOLS))
    for label, field, unit, scale in ROWS:
        cells = "".join(f"{_median(rounds, tool, field, scale):>12}" for tool in TOOLS)
        print(f"{label:24}{cells} {unit}")


def _median(rounds: list[Round], tool: str, field: str, scale: float) -> str:
    told = [value for runs in rounds if tool in runs and not math.isnan(value := getattr(runs[tool], field))]
    return f"{np.median(told) * scale:.2f}" if told else "–"


def print_target(target: Target, interval_ns: int, rounds: list[Round]) -> bool:
    value = median_interval([target.read(runs["perfharness"], runs["irtt"]) for runs in rounds])
    good = target.good(value)
    measured = f"{value.median:>9.4g} {f'({value.low:.4g} to {value.high:.4g})':22}"
    limit = f"{'≥' if target.better == 'above' else '≤'} {target.limit:g}"
    print(f"{target.label:28}{interval_ns / 1e6:>5g} ms{measured}{limit:>8}   {'ok' if good else 'MISSED'}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.5)
    options = parser.parse_args()
    if options.rounds < FEWEST or options.seconds < 2 * STARTED_S:
        parser.error(f"at least {FEWEST} rounds, for an interval of their median, of {2 * STARTED_S:g} s each")
    results = measure(options.rounds, options.seconds)
    print(
        f"{options.rounds} interleaved rounds of {options.seconds:g} s, packets of {BYTES} bytes; medians of the runs"
    )
    for interval_ns, rounds in results.items():
        print_medians(interval_ns, rounds)
    print(f"\n{'target':28}{'each':>8}{'median':>9} {'95 % interval':22}{'limit':>8}")
    good = [
        print_target(target, interval_ns, results[interval_ns])
        for target in TARGETS
        for interval_ns in target.intervals_ns
    ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
