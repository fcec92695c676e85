"""Capacity and policing on metered circuits of the lab, held against the truth: what the kernel's meter was told.

About a dozen cases, pairwise from rate, policer or shaper, tag, MTU and round trip. For each direction: the sustained
rate within 0.3 %, policer told from shaper, bucket within 10 %, the layer right (above 500 Mbit/s right or unknown),
and never FAIL or WARN, for each circuit is what was ordered. Exit code 1 where one is missed.

    python tests/bench/bench_meters.py [NUMBER …] [--keep FOLDER]

With --keep the run folders stay there, a folder for each case.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2])]

from perfharness.lab import control  # noqa: E402 - found only by the path above
from tests.bench.meters import Case, cases, hysteresis, run, values  # noqa: E402 - likewise

RATE, BUCKET = 0.003, 0.1
CERTAIN_UP_TO = 500


def missed(case: Case, findings: dict[str, Any], direction: str) -> tuple[list[str], list[str]]:
    """(what was found, what is wrong with it)."""
    told, wrong = [], []
    rows = {(metric, row["statistic"]): row for metric, row in values(findings, direction)}

    def value(metric: str, statistic: str) -> Any:
        return rows.get((metric, statistic), {}).get("value")

    def held(metric: str, right: bool, text: str) -> None:
        told.append(f"{metric} {text}")
        if not right:
            wrong.append(f"{metric} {text}")

    off = (value("capacity.sustained", "mean") or 0) / (case.mbps * 1e6) - 1
    verdict = rows.get(("capacity.sustained", "mean"), {}).get("verdict")
    held("sustained", abs(off) <= RATE and verdict in ("PASS", "INCONCLUSIVE"), f"{off:+.3%} {verdict}")
    kind = value("policing", "kind")
    held("kind", kind == ("policer" if case.policer else "shaper"), str(kind))
    if case.policer:
        bucket = value("policing.bucket", "median") or 0
        held("bucket", abs(bucket / case.bucket_bytes - 1) <= BUCKET, f"{bucket / case.bucket_bytes - 1:+.1%}")
    layer, right = value("policing", "layer"), "L2 with the VLAN tag" if case.tagged else "L2"
    held("layer", layer == right or (case.mbps > CERTAIN_UP_TO and layer is None), str(layer))
    return told, wrong


def main() -> int:
    chosen = cases()
    parser = argparse.ArgumentParser()
    parser.add_argument("numbers", nargs="*", type=int, default=range(1, len(chosen) + 1))
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    failed = 0
    for number in asked.numbers:
        case = chosen[number - 1]
        with tempfile.TemporaryDirectory() as temporary:
            folder = asked.keep / str(number) if asked.keep else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            order = case.order(folder)
            try:
                with hysteresis():
                    case.up(order)
                    findings = run(case.scenario(folder), order, folder)
            finally:
                control.down()
        note = "" if case.played == case.rtt_ms else f" (played with {case.played} ms)"
        print(f"{number:2d}  {case.name}{note}", flush=True)
        for direction in ("a-z", "z-a"):
            told, wrong = missed(case, findings, direction)
            failed += bool(wrong)
            print(f"    {direction}  {'; '.join(told)}{'   MISSED: ' + ', '.join(wrong) if wrong else ''}", flush=True)
    print("ok" if not failed else f"{failed} directions missed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
