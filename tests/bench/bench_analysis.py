"""A day of samples at 1 kHz: time, memory and bytes a packet of packing and analysing them, at three sizes.

``bench_analysis.py [packets …]``; without arguments a hundredth, a tenth and the whole of 24 h. Each size is analysed
in a process of its own, as ``latency`` does it: the figures, their intervals, the pictures' points. What decides: the
largest size within ``MOST_S`` (scaled to its packets) and ``MOST_MIB``, ``MOST_BYTES`` a packet for both ends together,
and time that grows no faster than the packets. Needs 8 GB of disk for the whole day.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "agents")]

from perfagent import records  # noqa: E402 - found only by the path above
from perfharness import recording  # noqa: E402 - likewise
from perfharness.analysis.columns import CHUNK_ROWS, RECORD_DTYPE, Records  # noqa: E402 - likewise
from perfharness.analysis.distribution import Held  # noqa: E402 - likewise

DAY = 86_400_000
SIZES = (DAY // 100, DAY // 10, DAY)
MOST_S, MOST_MIB, MOST_BYTES = 30.0, 1536, 10.0
STEEPER = 1.5
"""Seconds a packet at the largest size, of those at the next smaller one."""
INTERVAL_NS = 1_000_000
MONO_NS, UNIX_NS = 5_000_000_000_000, 1_795_375_078_000_000_000
SEED = 20_261_122


def main() -> int:
    if sys.argv[1:2] == ["--analyse"]:
        print(json.dumps(analyse(Path(sys.argv[2]))))
        return 0
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    print(f"{'packets':>12} {'pack s':>8} {'bytes/packet':>13} {'analyse s':>10} {'ns/packet':>10} {'peak MiB':>9}")
    costs, missed = [], []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), size)
            began = time.monotonic()
            packed = recording.pack_all(sorted(Path(folder).glob("*.rec")))
            took = time.monotonic() - began
            bytes_each = sum(path.stat().st_size for path in packed.values()) / size
            child = [sys.executable, __file__, "--analyse", folder]
            found = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
        costs.append((size, found["seconds"] / size))
        print(
            f"{size:>12,} {took:>8.1f} {bytes_each:>13.2f} {found['seconds']:>10.2f} {costs[-1][1] * 1e9:>10.0f} "
            f"{found['peak_mib']:>9.0f}",
            flush=True,
        )
        if len(packed) != 2 or bytes_each > MOST_BYTES:
            missed.append(f"{bytes_each:.2f} bytes a packet at {size:,} packets: at most {MOST_BYTES:g}")
        if found["peak_mib"] > MOST_MIB:
            missed.append(f"{found['peak_mib']:.0f} MiB at {size:,} packets: at most {MOST_MIB}")
        if size == max(sizes) and found["seconds"] > MOST_S * size / DAY:
            missed.append(f"{found['seconds']:.1f} s at {size:,} packets: at most {MOST_S * size / DAY:.1f}")
    if len(costs) > 1 and costs[-1][1] > STEEPER * costs[-2][1]:
        missed.append(f"a packet costs {costs[-1][1] / costs[-2][1]:.2f} times what it costs in a shorter run")
    print("\n".join(f"MISSED: {each}" for each in missed) or "all targets held")
    return 1 if missed else 0


def write(folder: Path, count: int) -> None:
    """Both ends' files as the agents write them: 20 ms of path with jitter, 1 in 10,000 lost in bursts, a reroute."""
    random = np.random.default_rng(SEED)
    with (folder / "sender.rec").open("wb") as sender, (folder / "reflector.rec").open("wb") as log:
        sender.write(records.HEADER)
        log.write(records.HEADER)
        for first in range(0, count, CHUNK_ROWS):
            mine, his = _chunk(random, first, min(CHUNK_ROWS, count - first), count)
            mine.tofile(sender)
            his.tofile(log)
    seconds = np.arange(-1, count // 1000 + 3) * 1_000_000_000
    result = {
        "duplicates": 0,
        "start_mono_ns": MONO_NS,
        "schedule": {"pattern": "periodic", "interval_ns": INTERVAL_NS, "count": count, "seed": 1},
        "clock": np.stack((MONO_NS + seconds, UNIX_NS + seconds), axis=1).tolist(),
    }
    (folder / "result.json").write_text(json.dumps(result))


def _chunk(random: np.random.Generator, first: int, count: int, total: int) -> tuple[Records, Records]:
    """Noise as on our lab's hosts: 12 to 16 bits a stamp."""
    place = first + np.arange(count)

    def noise(median_ns: float) -> Any:
        return (median_ns * np.exp(0.4 * random.standard_normal(count))).astype(np.int64)

    path = 10_000_000 + np.where(place > total // 2, 750_000, 0)
    mine, his = np.zeros(count, RECORD_DTYPE), np.zeros(count, RECORD_DTYPE)
    t1 = UNIX_NS + place * INTERVAL_NS + noise(12_000)
    t2 = t1 + path + noise(8_000) + 3_000_000_000
    t3 = t2 + noise(60_000)
    kernel_t3 = t3 + noise(20_000)
    t4 = kernel_t3 - 3_000_000_000 + path + noise(8_000)
    lost = np.convolve(random.random(count) < 2e-5, np.ones(5), "same") > 0
    there = lost & (random.random(count) < 0.5)
    mine["seq"] = his["seq"] = place
    mine["t1"], mine["sources12"], mine["flags"] = t1, records.KERNEL, records.SENT
    ok = ~lost
    mine["t2"][ok], mine["t3"][ok], mine["t4"][ok] = t2[ok], t3[ok], t4[ok]
    mine["sources12"][ok] |= records.REMOTE << 4
    mine["sources34"][ok] = records.REMOTE | records.KERNEL << 4
    mine["flags"][ok] |= records.REPLIED
    mine["ttl"][ok] = his["ttl"] = 251
    his["t2"], his["t3"], his["flags"] = t2, kernel_t3, records.SENT
    his["sources12"], his["sources34"] = records.KERNEL << 4, records.KERNEL
    return mine, his[~there]


def analyse(folder: Path) -> dict[str, float]:
    """All figures of ``latency`` from the packed files."""
    from perfharness.analysis import delay, oneway
    from perfharness.analysis.summary import one_in, piece, summarise
    from perfharness.measurements.latency import PDV_QUANTILES, QUANTILES
    from perfharness.measurements.latency_oneway import IPDV_QUANTILES
    from perfharness.measurements.latency_oneway import QUANTILES as ONE_WAY
    from perfharness.measurements.pieces import open_pieces

    began = time.monotonic()
    sender, log = (recording.open_recording(folder / name) for name in ("sender", "reflector"))
    assert sender is not None
    pieces = open_pieces(sender, log, json.loads((folder / "result.json").read_text()), True)
    every = one_in(pieces.packets)
    summary = summarise(pieces.each(lambda samples: piece(samples, every, 2_000_000_000)), pieces.packets, INTERVAL_NS)
    read = time.monotonic()
    for found, which in ((summary.rtt, QUANTILES), (summary.pdv, PDV_QUANTILES)):
        for q in which.values():
            value, interval = found.quantile(q)
            assert interval.lo <= value <= interval.hi and math.isfinite(value)
        found.ccdf()
    figured = time.monotonic()
    told = summary.sampled
    assert told is not None
    known = oneway.clocks(told.due_ns, *told.comparable(), np.zeros(len(told.due_ns), np.int64), None)
    assert isinstance(known, oneway.Clocks)
    ways = oneway.delays(known.apart(told.due_ns, np.zeros(len(told.due_ns), np.int64)), *told.comparable())
    for values in ways:
        for each, asked in ((values, ONE_WAY), (delay.ipdv(values), IPDV_QUANTILES)):
            one_way = Held(each, summary.sampled_block)
            for q in asked.values():
                one_way.quantile(q)
            one_way.ccdf()
    seconds = time.monotonic() - began
    print(f"pass {read - began:.2f} s, intervals {figured - read:.2f} s", file=sys.stderr)
    print(f"one way {seconds + began - figured:.2f} s", file=sys.stderr)
    return {"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    sys.exit(main())
